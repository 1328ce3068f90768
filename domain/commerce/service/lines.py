"""Lines of quotes and orders: what makes one, what they add up to, and the numbers of what bears them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain.commerce.model import NumberSeries, Order, Product, Quote
from domain.kernel import Conflict, Invalid, Money, Text, UnitOfWork, not_found

RUN = 500
"""How many ids fit into one statement with room to spare."""
AMOUNT_LIMIT = 10**15
"""Minor units that an amount stays below, as `domain.kernel.money` has it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One product, how many, and at what price a piece."""

    product_id: UUID
    quantity: int
    unit_price: Money


def total(items: Sequence[Item], path: tuple[str, ...]) -> Money:
    """The sum of the lines.

    Raises Invalid for none of them, a quantity below one, a negative price, two currencies, or a sum that is too large.
    """
    currencies = {item.unit_price.currency for item in items}
    if len(currencies) != 1 or any(item.quantity < 1 or item.unit_price.amount_minor < 0 for item in items):
        words = Text(
            "至少一行，数量为正，价格不为负，币种一致",
            "at least one line, positive quantities, no negative price, one currency",
        )
        raise Invalid(words, path)
    minor = sum(item.unit_price.amount_minor * item.quantity for item in items)
    if minor >= AMOUNT_LIMIT:
        raise Invalid(Text("合计金额过大", "the lines add up to too much"), path)
    return Money(minor, currencies.pop())


def line(uow: UnitOfWork, item: Item) -> dict[str, Any]:
    """The columns of one line."""
    return {
        "id": uow.new_id(), "product_id": item.product_id, "quantity": item.quantity, "unit_price_minor": item.unit_price.amount_minor,
    }  # fmt: skip


async def check_products(uow: UnitOfWork, items: Sequence[Item], *, sold_now: bool = False) -> None:
    """See that every product is there, and (with `sold_now`) that it is still sold.

    Raises NotFound for an unknown product, Conflict for a discontinued one.
    """
    for run in runs(sorted({item.product_id for item in items})):
        known = select(Product.id, Product.code, Product.discontinued_at).where(Product.id.in_(run))
        rows = {row.id: row for row in await uow.session.execute(known)}
        if rows.keys() != set(run):
            raise not_found("Product", ("lines", "productId"))
        for row in rows.values():
            if sold_now and row.discontinued_at is not None:
                raise Conflict(
                    Text(f"产品 {row.code} 已停售", f"product {row.code} is discontinued"), ("lines", "productId")
                )


def runs(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The ids in runs that fit into one statement."""
    return (ids[start : start + RUN] for start in range(0, len(ids), RUN))


def check_number(number: str, path: tuple[str, ...] = ("number",)) -> None:
    """Refuse an empty number.

    Raises Invalid.
    """
    if not number.strip():
        raise Invalid(Text("编号不能为空", "a number is needed"), path)


def check_terms(days: int | None) -> None:
    """Refuse payment terms below zero or above ten years.

    Raises Invalid.
    """
    if days is not None and not 0 <= days <= 3650:  # noqa: PLR2004 - ten years
        words = Text("账期须在 0 到 3650 天之间", "payment terms must be from 0 to 3650 days")
        raise Invalid(words, ("paymentTermsDays",))


async def next_number(uow: UnitOfWork, model: type[Quote | Order], letter: str) -> str:
    """The next free number of this year's series, such as Q-2026-000042."""
    key = f"{letter}-{uow.now.year}"
    await uow.wait_turn(f"number\0{key}")
    series = await uow.session.get(NumberSeries, key)
    if series is None:
        series = NumberSeries(key=key, last=0)
        uow.session.add(series)
    while True:
        series.last += 1
        number = f"{key}-{series.last:06}"
        # Records from elsewhere keep their own numbers, which may look like ours.
        if (await uow.session.execute(select(model.id).where(model.number == number))).first() is None:
            await uow.session.flush()
            return number
