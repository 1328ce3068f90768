"""What we sell and sold: products with list and floor prices, quotes, orders, and the reckoning that briefs need."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Account
from domain.deals import Opportunity
from domain.kernel import (
    Access,
    Conflict,
    Everyone,
    Invalid,
    Money,
    Record,
    Role,
    Sight,
    Text,
    Through,
    UnitOfWork,
    load,
    sights,
)

STANDARD_PAYMENT_TERMS_DAYS = 30
COST_OF_CAPITAL_PER_YEAR = Decimal("0.06")
"""The yearly price of money with which payment terms are reckoned, until pricing definitions carry it."""


class QuoteStatus(StrEnum):
    """Where a quote stands."""

    DRAFT = "DRAFT"
    IN_APPROVAL = "IN_APPROVAL"
    APPROVED = "APPROVED"
    ISSUED = "ISSUED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


PRICED = (Role.REP, Role.MANAGER, Role.FINANCE, Role.SALES_OPS)
QUOTE_FIELDS = frozenset({"opportunity", "account", "total", "issued_at", "valid_until", "lines"})
ORDER_FIELDS = frozenset({"account", "opportunity", "total", "lines"})


class Product(Record):
    """One thing that we sell."""

    __tablename__ = "products"
    __access__ = Access(sights(tuple(Role), Everyone(), frozenset({"series"})))

    code: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]
    series: Mapped[str | None]


class PriceBookEntry(Record):
    """The list price of a product, and the floor below which nobody sells, from one instant to another."""

    __tablename__ = "price_book_entries"
    __aggregate__ = ("Product", "product_id")
    __access__ = Access(sights(PRICED, Everyone(), frozenset({"floor_price"})))

    product_id: Mapped[UUID] = mapped_column(ForeignKey("products.id"))
    list_minor: Mapped[int]
    floor_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]

    __table_args__ = (Index("ix_price_book_entries_product", "product_id", "valid_from"),)


class Quote(Record):
    """One version of an offer on a deal; from its issue on it does not change."""

    __tablename__ = "quotes"
    __access__ = Access(
        sights((Role.REP, Role.MANAGER), Through("opportunity_id", "Opportunity"), QUOTE_FIELDS) | sights((Role.FINANCE, Role.SALES_OPS), Everyone(), QUOTE_FIELDS)
    )

    number: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    opportunity_id: Mapped[UUID] = mapped_column(ForeignKey("opportunities.id"), index=True)
    status: Mapped[QuoteStatus]
    total_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    payment_terms_days: Mapped[int]
    issued_at: Mapped[datetime | None]
    valid_until: Mapped[date | None]


class QuoteLine(Record):
    """One product of a quote at its price."""

    __tablename__ = "quote_lines"
    __aggregate__ = ("Quote", "quote_id")
    __access__ = Access(sights(PRICED, Through("quote_id", "Quote"), frozenset({"product"})))

    quote_id: Mapped[UUID] = mapped_column(ForeignKey("quotes.id"), index=True)
    product_id: Mapped[UUID] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    unit_price_minor: Mapped[int]


class Order(Record):
    """One purchase."""

    __tablename__ = "orders"
    __access__ = Access(
        sights((Role.REP, Role.MANAGER, Role.CSM), Through("account_id", "Account"), ORDER_FIELDS)
        | sights((Role.FINANCE, Role.SALES_OPS), Everyone(), ORDER_FIELDS)
    )

    number: Mapped[str]
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    opportunity_id: Mapped[UUID | None] = mapped_column(ForeignKey("opportunities.id"))
    ordered_at: Mapped[datetime]
    total_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (UniqueConstraint("source", "external_id"), UniqueConstraint("source", "number"), Index("ix_orders_account", "account_id", "ordered_at", "id"))


class OrderLine(Record):
    """One product of an order at its price."""

    __tablename__ = "order_lines"
    __aggregate__ = ("Order", "order_id")
    __access__ = Access(sights((*PRICED, Role.CSM), Through("order_id", "Order"), frozenset({"product"})))

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    product_id: Mapped[UUID] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    unit_price_minor: Mapped[int]


# ---- decisions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PurchaseCycle:
    """The rhythm of a customer's last three orders."""

    interval_days: int
    swing_days: int
    next_due: date
    overdue_days: int


CYCLE_ORDERS = 3


def purchase_cycle(orders: Sequence[tuple[datetime, Money]], now: datetime) -> PurchaseCycle | None:
    """The rhythm of the last three orders; None for fewer, or when all fell on one day.

    interval = mean of the two gaps in whole days, rounded half up; swing = the larger deviation of a gap from it; next due
    = last order + interval; overdue = days since then, 0 when it lies ahead.
    """
    days = sorted((at.date() for at, _ in orders), reverse=True)[:CYCLE_ORDERS]
    if len(days) < CYCLE_ORDERS or days[0] == days[-1]:
        return None
    gaps = [(newer - older).days for newer, older in zip(days, days[1:], strict=False)]
    interval = int((Decimal(sum(gaps)) / len(gaps)).quantize(Decimal(1), ROUND_HALF_UP))
    next_due = days[0] + timedelta(days=interval)
    return PurchaseCycle(interval, max(abs(gap - interval) for gap in gaps), next_due, max((now.date() - next_due).days, 0))


class StrategyKind(StrEnum):
    """How hard a quote strategy goes for the deal."""

    CONSERVATIVE = "CONSERVATIVE"
    BALANCED = "BALANCED"
    AGGRESSIVE = "AGGRESSIVE"


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One product with its quantity, list and floor price a piece."""

    quantity: int
    list_price: Money
    floor_price: Money


@dataclass(frozen=True, slots=True)
class QuoteStrategy:
    """One way to price a deal; shares are 0–1."""

    kind: StrategyKind
    price: Money
    discount_share: Decimal
    margin: Money
    margin_share: Decimal
    payment_terms_days: int
    terms_cost: Money
    why: Text


ROOM_GIVEN = {StrategyKind.CONSERVATIVE: Decimal("0.15"), StrategyKind.BALANCED: Decimal("0.45"), StrategyKind.AGGRESSIVE: Decimal("0.80")}
"""The share of the room between list and floor that a strategy gives away."""
ROUNDING_MINOR = 100_00


def quote_strategies(
    lines: Sequence[PricedLine], *, payment_terms_days: int = STANDARD_PAYMENT_TERMS_DAYS, credit_grade: str | None = None, rivals: int = 0,
    price_concern: bool = False, cost_of_capital_per_year: Decimal = COST_OF_CAPITAL_PER_YEAR,
) -> list[QuoteStrategy]:  # fmt: skip
    """Three prices for the lines: conservative, balanced, aggressive, each at or above floor and below the one before.

    price = list − share × (list − floor), rounded up to 100 units of currency but never above list; margin = price − floor,
    its share over price; cost of terms = price × yearly cost of capital × days / 365. The conservative one asks for payment
    within the standard terms, the aggressive one grants what the customer has now.

    Raises Invalid for no lines, mixed currencies, or a floor above list.
    """
    currencies = {line.list_price.currency for line in lines} | {line.floor_price.currency for line in lines}
    if len(currencies) != 1:
        raise Invalid(Text("报价行须有且只有一种币种", "the lines need one currency"), ("lines",))
    total_list = sum(line.list_price.amount_minor * line.quantity for line in lines)
    total_floor = sum(line.floor_price.amount_minor * line.quantity for line in lines)
    if not 0 < total_floor <= total_list:
        raise Invalid(Text("底价不得高于目录价，且须为正", "the floor must be positive and not above list"), ("lines",))
    currency = currencies.pop()
    short = min(payment_terms_days, STANDARD_PAYMENT_TERMS_DAYS)
    safe = short if (credit_grade or "A").upper().startswith(("C", "D")) else payment_terms_days
    terms = {StrategyKind.CONSERVATIVE: short, StrategyKind.BALANCED: safe, StrategyKind.AGGRESSIVE: safe}
    strategies = []
    for kind, share in ROOM_GIVEN.items():
        exact = Decimal(total_list) - share * (total_list - total_floor)
        minor = min(int((exact / ROUNDING_MINOR).to_integral_value(ROUND_CEILING)) * ROUNDING_MINOR, total_list)
        price, margin = Money(minor, currency), Money(minor - total_floor, currency)
        cost = price.times(cost_of_capital_per_year * terms[kind] / 365)
        strategies.append(QuoteStrategy(
            kind, price, 1 - Decimal(minor) / total_list, margin, Decimal(minor - total_floor) / minor, terms[kind], cost,
            _why(kind, rivals=rivals, price_concern=price_concern, shortened=terms[kind] < payment_terms_days),
        ))  # fmt: skip
    return strategies


def _why(kind: StrategyKind, *, rivals: int, price_concern: bool, shortened: bool) -> Text:
    if kind is StrategyKind.CONSERVATIVE:
        reason = Text("守住价格，让步放在服务和交付上。", "Hold the price and give way on service and delivery instead.")
    elif kind is StrategyKind.BALANCED:
        reason = (
            Text("客户提过价格，用一次性让步换签约日期。", "Price has been raised: trade one concession for a signing date.")
            if price_concern
            else Text("客户没有把价格当作主要问题，适度让步即可。", "Price is not their main point: a moderate concession will do.")
        )
    else:
        reason = (
            Text("有竞争对手在场，只在对方当场承诺时使用。", "A competitor is in the deal: use it only against a commitment on the spot.")
            if rivals
            else Text("没有竞争对手的记录，除非要锁定多年订单，不必用到。", "No competitor is known: keep it for a multi-year order.")
        )
    if not shortened:
        return reason
    return Text(f"{reason.zh}账期收回到标准天数。", f"{reason.en} Payment terms go back to standard.")


# ---- operations ------------------------------------------------------------------------------------------------------


async def add_product(uow: UnitOfWork, *, code: str, name: Text, list_price: Money, floor_price: Money, series: str | None = None) -> Product:
    """Add a product with its price, or return the one that has the code.

    Raises Invalid for a floor above list or two currencies.
    """
    found = (await uow.session.execute(select(Product).where(Product.code == code))).scalar_one_or_none()
    if found is not None:
        return found
    if floor_price.currency != list_price.currency or not 0 < floor_price.amount_minor <= list_price.amount_minor:
        raise Invalid(Text(f"{code} 的底价须为正且不高于目录价", f"the floor of {code} must be positive and not above list"), ("floorPrice",))
    product = Product(id=uow.new_id(), code=code, name_zh=name.zh, name_en=name.en, series=series)
    uow.session.add(product)
    await uow.session.flush()
    uow.session.add(_priced(uow, product, list_price, floor_price))
    uow.note("product.added", product)
    await uow.session.flush()
    return product


async def set_price(uow: UnitOfWork, product: Product, list_price: Money, floor_price: Money) -> PriceBookEntry:
    """Give a product new prices from now on; the ones before stay on record."""
    if floor_price.currency != list_price.currency or not 0 < floor_price.amount_minor <= list_price.amount_minor:
        raise Invalid(Text("底价须为正且不高于目录价", "the floor must be positive and not above list"), ("floorPrice",))
    current = (PriceBookEntry.product_id == product.id) & PriceBookEntry.valid_to.is_(None)
    for entry in (await uow.session.execute(select(PriceBookEntry).where(current))).scalars():
        entry.valid_to = uow.now
    fresh = _priced(uow, product, list_price, floor_price)
    uow.session.add(fresh)
    uow.note("product.priced", product)
    await uow.session.flush()
    return fresh


def _priced(uow: UnitOfWork, product: Product, list_price: Money, floor_price: Money) -> PriceBookEntry:
    return PriceBookEntry(
        id=uow.new_id(), product_id=product.id, list_minor=list_price.amount_minor, floor_minor=floor_price.amount_minor, currency=list_price.currency, valid_from=uow.now
    )


@dataclass(frozen=True, slots=True)
class Item:
    """One product, how many, and at what price a piece."""

    product_id: UUID
    quantity: int
    unit_price: Money


def _total(items: Sequence[Item], path: str) -> Money:
    currencies = {item.unit_price.currency for item in items}
    if len(currencies) != 1 or any(item.quantity < 1 or item.unit_price.amount_minor < 0 for item in items):
        raise Invalid(Text("至少一行，数量为正，价格不为负，币种一致", "at least one line, positive quantities, no negative price, one currency"), (path,))
    return Money(sum(item.unit_price.amount_minor * item.quantity for item in items), currencies.pop())


async def issue_quote(
    uow: UnitOfWork, *, number: str, opportunity_id: UUID, items: Sequence[Item], payment_terms_days: int = STANDARD_PAYMENT_TERMS_DAYS,
    issued_at: datetime | None = None, valid_until: date | None = None, status: QuoteStatus = QuoteStatus.ISSUED,
) -> Quote:  # fmt: skip
    """Put an offer on a deal that the actor sees.

    Raises NotFound for a foreign deal, Conflict for a number that is taken, Invalid for lines that make no offer.
    """
    opportunity = await load(uow.session, uow.actor, Opportunity, opportunity_id, path=("opportunityId",))
    if (await uow.session.execute(select(Quote.id).where(Quote.number == number))).first():
        raise Conflict(Text(f"报价编号 {number} 已存在", f"there is a quote {number} already"), ("number",))
    total = _total(items, "lines")
    quote = Quote(
        id=uow.new_id(), number=number, account_id=opportunity.account_id, opportunity_id=opportunity.id, status=status, total_minor=total.amount_minor,
        currency=total.currency, payment_terms_days=payment_terms_days, issued_at=None if status is QuoteStatus.DRAFT else issued_at or uow.now, valid_until=valid_until,
    )  # fmt: skip
    uow.session.add(quote)
    await uow.session.flush()
    uow.session.add_all(
        QuoteLine(id=uow.new_id(), quote_id=quote.id, product_id=item.product_id, quantity=item.quantity, unit_price_minor=item.unit_price.amount_minor) for item in items
    )
    uow.note("quote.issued" if quote.issued_at else "quote.drafted", quote)
    await uow.session.flush()
    return quote


async def place_order(
    uow: UnitOfWork, *, number: str, account_id: UUID, ordered_at: datetime, items: Sequence[Item], opportunity_id: UUID | None = None,
    source: str | None = None, external_id: str | None = None,
) -> Order:  # fmt: skip
    """Take in a purchase of an account that the actor sees.

    Raises NotFound for a foreign account, Invalid for lines that make no order.
    """
    account = await load(uow.session, uow.actor, Account, account_id, path=("accountId",))
    total = _total(items, "lines")
    order = Order(
        id=uow.new_id(), number=number, account_id=account.id, opportunity_id=opportunity_id, ordered_at=ordered_at, total_minor=total.amount_minor,
        currency=total.currency, source=source, external_id=external_id,
    )  # fmt: skip
    uow.session.add(order)
    await uow.session.flush()
    uow.session.add_all(
        OrderLine(id=uow.new_id(), order_id=order.id, product_id=item.product_id, quantity=item.quantity, unit_price_minor=item.unit_price.amount_minor) for item in items
    )
    uow.note("order.placed", order)
    await uow.session.flush()
    return order
