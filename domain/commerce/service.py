"""Operations on products, prices, quotes and orders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain import ledger
from domain.accounts import Account
from domain.commerce.model import ISSUED, Order, OrderLine, PriceBookEntry, Product, Quote, QuoteLine, QuoteStatus
from domain.commerce.policy import STANDARD_PAYMENT_TERMS_DAYS
from domain.deals import Opportunity
from domain.kernel import Conflict, Invalid, Money, Text, UnitOfWork, load, not_found, rows_visible

RUN = 500
"""How many ids fit into one statement with room to spare."""


# ---- products and prices ---------------------------------------------------------------------------------------------


async def add_product(
    uow: UnitOfWork, *, code: str, name: Text, list_price: Money, floor_price: Money, series: str | None = None
) -> Product:
    """Add a product with its price, or return the one that has the code.

    Raises Invalid for an empty code, two currencies, or a floor that is not positive or above list.
    """
    if not code.strip():
        raise Invalid(Text("产品编码不能为空", "a product needs a code"), ("code",))
    found = (await uow.session.execute(select(Product).where(Product.code == code))).scalar_one_or_none()
    if found is not None:
        return found
    product = Product(id=uow.new_id(), code=code, name_zh=name.zh, name_en=name.en, series=series)
    entry = _priced(uow, product, list_price, floor_price)
    uow.session.add(product)
    await uow.session.flush()
    uow.session.add(entry)
    uow.note("product.added", product)
    await uow.session.flush()
    return product


async def set_price(uow: UnitOfWork, product: Product, list_price: Money, floor_price: Money) -> PriceBookEntry:
    """Give a product new prices from now on; the ones before stay on record.

    Raises Invalid for two currencies, or a floor that is not positive or above list.
    """
    fresh = _priced(uow, product, list_price, floor_price)
    current = (PriceBookEntry.product_id == product.id) & PriceBookEntry.valid_to.is_(None)
    for entry in (await uow.session.execute(select(PriceBookEntry).where(current))).scalars():
        entry.valid_to = uow.now
    uow.session.add(fresh)
    uow.note("product.priced", product)
    await uow.session.flush()
    return fresh


def _priced(uow: UnitOfWork, product: Product, list_price: Money, floor_price: Money) -> PriceBookEntry:
    if floor_price.currency != list_price.currency or not 0 < floor_price.amount_minor <= list_price.amount_minor:
        words = Text(
            f"{product.code} 的底价须为正、不高于目录价、币种一致",
            f"the floor of {product.code} must be positive, not above list, in the same currency",
        )
        raise Invalid(words, ("floorPrice",))
    return PriceBookEntry(
        id=uow.new_id(), product_id=product.id, list_minor=list_price.amount_minor, floor_minor=floor_price.amount_minor,
        currency=list_price.currency, valid_from=uow.now,
    )  # fmt: skip


# ---- lines -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One product, how many, and at what price a piece."""

    product_id: UUID
    quantity: int
    unit_price: Money


def _total(items: Sequence[Item], path: tuple[str, ...]) -> Money:
    currencies = {item.unit_price.currency for item in items}
    if len(currencies) != 1 or any(item.quantity < 1 or item.unit_price.amount_minor < 0 for item in items):
        words = Text(
            "至少一行，数量为正，价格不为负，币种一致",
            "at least one line, positive quantities, no negative price, one currency",
        )
        raise Invalid(words, path)
    return Money(sum(item.unit_price.amount_minor * item.quantity for item in items), currencies.pop())


def _line(uow: UnitOfWork, item: Item) -> dict[str, Any]:
    return {
        "id": uow.new_id(), "product_id": item.product_id, "quantity": item.quantity, "unit_price_minor": item.unit_price.amount_minor,
    }  # fmt: skip


async def _check_products(uow: UnitOfWork, items: Sequence[Item]) -> None:
    wanted = sorted({item.product_id for item in items})
    for run in _runs(wanted):
        known = set((await uow.session.execute(select(Product.id).where(Product.id.in_(run)))).scalars())
        if known != set(run):
            raise not_found("Product", ("lines", "productId"))


def _runs(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (ids[start : start + RUN] for start in range(0, len(ids), RUN))


# ---- quotes ----------------------------------------------------------------------------------------------------------


async def issue_quote(
    uow: UnitOfWork, *, number: str, opportunity_id: UUID, items: Sequence[Item], payment_terms_days: int = STANDARD_PAYMENT_TERMS_DAYS,
    issued_at: datetime | None = None, valid_until: date | None = None, status: QuoteStatus = QuoteStatus.ISSUED,
) -> Quote:  # fmt: skip
    """Put an offer on a deal that the actor sees: issued at once, or in a status that comes before.

    Raises NotFound for a foreign deal or an unknown product, Conflict for a number that is taken, Invalid for an empty
    number, lines that make no offer, or payment terms below zero.
    """
    opportunity = await load(uow.session, uow.actor, Opportunity, opportunity_id, path=("opportunityId",))
    _check_number(number)
    if payment_terms_days < 0:
        raise Invalid(Text("账期不能为负", "payment terms cannot be negative"), ("paymentTermsDays",))
    total = _total(items, ("lines",))
    await _check_products(uow, items)
    if (await uow.session.execute(select(Quote.id).where(Quote.number == number))).first():
        raise Conflict(Text(f"报价编号 {number} 已存在", f"there is a quote {number} already"), ("number",))
    quote = Quote(
        id=uow.new_id(), number=number, account_id=opportunity.account_id, opportunity_id=opportunity.id, status=status, total_minor=total.amount_minor,
        currency=total.currency, payment_terms_days=payment_terms_days, issued_at=(issued_at or uow.now) if status in ISSUED else None, valid_until=valid_until,
    )  # fmt: skip
    uow.session.add(quote)
    await uow.session.flush()
    uow.session.add_all(QuoteLine(quote_id=quote.id, **_line(uow, item)) for item in items)
    uow.note("quote.issued" if quote.issued_at else "quote.drafted", quote)
    await uow.session.flush()
    return quote


def _check_number(number: str, path: tuple[str, ...] = ("number",)) -> None:
    if not number.strip():
        raise Invalid(Text("编号不能为空", "a number is needed"), path)


# ---- orders ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order as it comes in; its number is its source's own."""

    number: str
    account_id: UUID
    ordered_at: datetime
    items: tuple[Item, ...]
    opportunity_id: UUID | None = None
    external_id: str | None = None


async def place_order(
    uow: UnitOfWork, *, number: str, account_id: UUID, ordered_at: datetime, items: Sequence[Item], opportunity_id: UUID | None = None,
    source: str | None = None, external_id: str | None = None,
) -> Order:  # fmt: skip
    """Take in a purchase of an account that the actor sees.

    Raises NotFound for a foreign account or deal, a deal of another account, or an unknown product; Conflict for a number
    that is taken; Invalid for an empty number, lines that make no order, or an instant more than a day ahead.
    """
    purchase = Purchase(number, account_id, ordered_at, tuple(items), opportunity_id, external_id)
    _check(uow, purchase)
    await _check_parents(uow, [purchase])
    await _check_products(uow, items)
    taken = (Order.number == number) & (Order.source.is_(None) if source is None else Order.source == source)
    if (await uow.session.execute(select(Order.id).where(taken))).first():
        raise Conflict(Text(f"订单编号 {number} 已存在", f"there is an order {number} already"), ("number",))
    order = Order(**_order(uow, purchase, source))
    uow.session.add(order)
    await uow.session.flush()
    uow.session.add_all(OrderLine(order_id=order.id, **_line(uow, item)) for item in items)
    uow.note("order.placed", order)
    await uow.session.flush()
    return order


async def place_orders(uow: UnitOfWork, purchases: Sequence[Purchase], *, source: str) -> int:
    """Take in many purchases of one source as one batch, those that are there already left out. Returns how many were new.

    Raises what `place_order` does, with the number of the purchase where it is one purchase's fault, before anything is
    written.
    """
    for number, purchase in enumerate(purchases):
        _check(uow, purchase, (str(number),))
    await _check_parents(uow, purchases)
    await _check_products(uow, [item for purchase in purchases for item in purchase.items])
    fresh: dict[str, Purchase] = {}
    for purchase in purchases:
        fresh.setdefault(purchase.number, purchase)
    for run in _runs(list(fresh)):
        same = (Order.source == source) & Order.number.in_(run)
        for known in (await uow.session.execute(select(Order.number).where(same))).scalars():
            del fresh[known]
    orders, lines = [], []
    for purchase in fresh.values():
        order = _order(uow, purchase, source)
        orders.append(order)
        lines += [_line(uow, item) | {"order_id": order["id"]} for item in purchase.items]
    if orders:
        await ledger.import_rows(uow, source, {Order: orders, OrderLine: lines})
    return len(orders)


def _check(uow: UnitOfWork, purchase: Purchase, path: tuple[str, ...] = ()) -> None:
    _check_number(purchase.number, (*path, "number"))
    _total(purchase.items, (*path, "lines"))
    if purchase.ordered_at > uow.now + timedelta(days=1):
        raise Invalid(Text("下单时间不能晚于一天之后", "orderedAt is more than a day ahead"), (*path, "orderedAt"))


async def _check_parents(uow: UnitOfWork, purchases: Sequence[Purchase]) -> None:
    """See that the actor sees every account, and every deal as one of its account's."""
    seen: set[UUID] = set()
    for run in _runs(sorted({purchase.account_id for purchase in purchases})):
        visible = select(Account.id).where(Account.id.in_(run), rows_visible(Account, uow.actor))
        seen.update((await uow.session.execute(visible)).scalars())
    deals: dict[UUID, UUID | None] = {}
    for run in _runs(
        sorted({purchase.opportunity_id for purchase in purchases if purchase.opportunity_id is not None})
    ):
        of = select(Opportunity.id, Opportunity.account_id).where(Opportunity.id.in_(run))
        rows = await uow.session.execute(of.where(rows_visible(Opportunity, uow.actor)))
        deals.update((row.id, row.account_id) for row in rows)
    for number, purchase in enumerate(purchases):
        path = () if len(purchases) == 1 else (str(number),)
        if purchase.account_id not in seen:
            raise not_found("Account", (*path, "accountId"))
        if purchase.opportunity_id is not None and deals.get(purchase.opportunity_id) != purchase.account_id:
            raise not_found("Opportunity", (*path, "opportunityId"))


def _order(uow: UnitOfWork, purchase: Purchase, source: str | None) -> dict[str, Any]:
    total = _total(purchase.items, ("lines",))
    return {
        "id": uow.new_id(), "number": purchase.number, "account_id": purchase.account_id, "opportunity_id": purchase.opportunity_id,
        "ordered_at": purchase.ordered_at, "total_minor": total.amount_minor, "currency": total.currency, "source": source,
        "external_id": purchase.external_id,
    }  # fmt: skip
