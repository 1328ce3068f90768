"""Orders: from an accepted quote, free, or many at once from another system."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain import custom_fields, ledger
from domain.accounts import Account
from domain.commerce.model import Order, OrderLine, Quote, QuoteLine, QuoteStatus
from domain.commerce.service.lines import (
    Item,
    check_number,
    check_products,
    check_terms,
    line,
    next_number,
    runs,
    total,
)
from domain.deals import Opportunity
from domain.kernel import Actor, Conflict, Invalid, Money, Role, Text, UnitOfWork, load, not_found, rows_visible

ORDERING = (Role.REP, Role.MANAGER, Role.SALES_OPS)
"""Who takes orders in."""
FULFILLING = (*ORDERING, Role.FINANCE)
"""Who keeps what becomes of them."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order as it comes in; its number is its source's own."""

    number: str
    account_id: UUID
    ordered_at: datetime
    items: tuple[Item, ...]
    opportunity_id: UUID | None = None
    external_id: str | None = None
    quote_id: UUID | None = None
    payment_terms_days: int | None = None
    po_number: str | None = None
    expected_on: date | None = None


async def place_order(
    uow: UnitOfWork, *, account_id: UUID, items: Sequence[Item], number: str | None = None, ordered_at: datetime | None = None,
    opportunity_id: UUID | None = None, source: str | None = None, external_id: str | None = None,
    custom: Mapping[str, Any] | None = None, **more: Any,
) -> Order:  # fmt: skip
    """Take in a purchase of an account that the actor sells to, under its own number or the next of ours.

    `more` are the rest of a `Purchase`. Raises NotFound for a foreign account or deal, a deal of another account, or an
    unknown product; Conflict for a number that is taken; Invalid for an empty number, lines that make no order, payment
    terms out of bounds, or an instant more than a day ahead.
    """
    if number is not None:
        check_number(number)
    told = number if number is not None else await next_number(uow, Order, "O")
    purchase = Purchase(told, account_id, ordered_at or uow.now, tuple(items), opportunity_id, external_id, **more)
    _check(uow, purchase)
    await _check_parents(uow, [purchase], uow.actor.only(*ORDERING))
    await check_products(uow, items)
    await _check_free(uow, told, source)
    order = Order(**_order(uow, purchase, source))
    order.custom = await custom_fields.apply(uow, Order.entity(), None, custom, new=custom is not None)
    uow.session.add(order)
    await uow.session.flush()
    uow.session.add_all(OrderLine(order_id=order.id, **line(uow, item)) for item in items)
    uow.note("order.placed", order)
    await uow.session.flush()
    return order


async def _check_free(uow: UnitOfWork, number: str, source: str | None) -> None:
    await uow.wait_turn(f"order\0{source}\0{number}")
    taken = (Order.number == number) & (Order.source.is_(None) if source is None else Order.source == source)
    if (await uow.session.execute(select(Order.id).where(taken))).first():
        raise Conflict(Text(f"订单编号 {number} 已存在", f"there is an order {number} already"), ("number",))


async def order_quote(uow: UnitOfWork, quote_id: UUID, **more: Any) -> Order:
    """Take in the order that a customer made of an accepted quote: its account, deal, lines and terms.

    `more` are what `place_order` takes beside these. Raises NotFound for a foreign quote, Conflict for one that is not
    accepted, has no account, or was ordered already.
    """
    actor = uow.actor.only(*ORDERING)
    quote = await load(uow.session, actor, Quote, quote_id, path=("quoteId",), lock=True)
    if quote.status is not QuoteStatus.ACCEPTED or quote.account_id is None:
        words = Text(
            f"报价 {quote.number} 未被客户接受或没有客户，不能下单",
            f"quote {quote.number} is not accepted or has no account: it makes no order",
        )
        raise Conflict(words, ("quoteId",))
    if (await uow.session.execute(select(Order.id).where(Order.quote_id == quote_id))).first():
        raise Conflict(
            Text(f"报价 {quote.number} 已有订单", f"quote {quote.number} has its order already"), ("quoteId",)
        )
    of_quote = select(QuoteLine).where(QuoteLine.quote_id == quote_id).order_by(QuoteLine.id)
    items = [
        Item(row.product_id, row.quantity, Money(row.unit_price_minor, quote.currency))
        for row in (await uow.session.execute(of_quote)).scalars()
    ]
    terms = {"payment_terms_days": quote.payment_terms_days} | more
    return await place_order(
        uow, account_id=quote.account_id, opportunity_id=quote.opportunity_id, items=items, quote_id=quote_id, **terms
    )  # fmt: skip


async def update_order(uow: UnitOfWork, id: UUID, *, expected_version: int, changes: Mapping[str, Any]) -> Order:
    """Change `po_number`, `expected_on`, `delivered_on`, `payment_terms_days` or `custom`; number, lines and total stand.

    Raises NotFound, StaleVersion, Invalid for payment terms out of bounds or a delivery before the order.
    """
    actor = uow.actor.only(*FULFILLING)
    order = await load(uow.session, actor, Order, id, expected_version=expected_version, lock=True)
    check_terms(changes.get("payment_terms_days"))
    delivered = changes.get("delivered_on")
    # A day of the customer's calendar may begin half a day before ours.
    if delivered is not None and delivered < order.ordered_at.date():
        raise Invalid(Text("交货日期早于下单日期", "delivered before it was ordered"), ("deliveredOn",))
    values = dict(changes)
    if "custom" in values:
        values["custom"] = await custom_fields.apply(uow, Order.entity(), order.custom, values["custom"])
    if order.change(values):
        uow.note("order.updated", order)
    await uow.session.flush()
    return order


async def place_orders(uow: UnitOfWork, purchases: Sequence[Purchase], *, source: str) -> int:
    """Take in many purchases of one source as one batch, those that are there already left out. Returns how many were new.

    Raises what `place_order` does, with the number of the purchase where it is one purchase's fault, before anything is
    written.
    """
    for number, purchase in enumerate(purchases):
        check_number(purchase.number, (str(number), "number"))
        _check(uow, purchase, (str(number),))
    await _check_parents(uow, purchases, uow.actor.only(*ORDERING))
    await check_products(uow, [item for purchase in purchases for item in purchase.items])
    fresh: dict[str, Purchase] = {}
    for purchase in purchases:
        fresh.setdefault(purchase.number, purchase)
    for run in runs(list(fresh)):
        same = (Order.source == source) & Order.number.in_(run)
        for known in (await uow.session.execute(select(Order.number).where(same))).scalars():
            del fresh[known]
    orders, lines = [], []
    for purchase in fresh.values():
        order = _order(uow, purchase, source)
        orders.append(order)
        lines += [line(uow, item) | {"order_id": order["id"]} for item in purchase.items]
    if orders:
        await ledger.import_rows(uow, source, {Order: orders, OrderLine: lines})
    return len(orders)


def _check(uow: UnitOfWork, purchase: Purchase, path: tuple[str, ...] = ()) -> None:
    total(purchase.items, (*path, "lines"))
    check_terms(purchase.payment_terms_days)
    if purchase.ordered_at > uow.now + timedelta(days=1):
        raise Invalid(Text("下单时间不能晚于一天之后", "orderedAt is more than a day ahead"), (*path, "orderedAt"))


async def _check_parents(uow: UnitOfWork, purchases: Sequence[Purchase], actor: Actor) -> None:
    """See that the actor sees every account, and every deal as one of its account's."""
    seen: set[UUID] = set()
    for run in runs(sorted({purchase.account_id for purchase in purchases})):
        visible = select(Account.id).where(Account.id.in_(run), rows_visible(Account, actor))
        seen.update((await uow.session.execute(visible)).scalars())
    deals: dict[UUID, UUID | None] = {}
    for run in runs(sorted({purchase.opportunity_id for purchase in purchases if purchase.opportunity_id is not None})):
        of = select(Opportunity.id, Opportunity.account_id).where(Opportunity.id.in_(run))
        rows = await uow.session.execute(of.where(rows_visible(Opportunity, actor)))
        deals.update((row.id, row.account_id) for row in rows)
    for number, purchase in enumerate(purchases):
        path = () if len(purchases) == 1 else (str(number),)
        if purchase.account_id not in seen:
            raise not_found("Account", (*path, "accountId"))
        if purchase.opportunity_id is not None and deals.get(purchase.opportunity_id) != purchase.account_id:
            raise not_found("Opportunity", (*path, "opportunityId"))


def _order(uow: UnitOfWork, purchase: Purchase, source: str | None) -> dict[str, Any]:
    sum_ = total(purchase.items, ("lines",))
    return {
        "id": uow.new_id(), "number": purchase.number, "account_id": purchase.account_id, "opportunity_id": purchase.opportunity_id,
        "quote_id": purchase.quote_id, "ordered_at": purchase.ordered_at, "total_minor": sum_.amount_minor, "currency": sum_.currency,
        "payment_terms_days": purchase.payment_terms_days, "po_number": purchase.po_number, "expected_on": purchase.expected_on, "source": source,
        "external_id": purchase.external_id,
    }  # fmt: skip
