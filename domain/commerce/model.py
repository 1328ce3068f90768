"""Commerce's tables: products and their prices, quotes, orders."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, ForeignKey, Index, String, UniqueConstraint, event, inspect
from sqlalchemy.orm import Mapped, Mapper, mapped_column

from domain.kernel import Access, Conflict, Everyone, Money, Record, Role, Text, Through, sights


class QuoteStatus(StrEnum):
    """Where a quote stands."""

    DRAFT = "DRAFT"
    IN_APPROVAL = "IN_APPROVAL"
    APPROVED = "APPROVED"
    ISSUED = "ISSUED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


ISSUED = frozenset({QuoteStatus.ISSUED, QuoteStatus.ACCEPTED, QuoteStatus.REJECTED, QuoteStatus.EXPIRED})
"""Where a quote stands once the customer has it."""

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
        sights((Role.REP, Role.MANAGER), Through("opportunity_id", "Opportunity"), QUOTE_FIELDS)
        | sights((Role.FINANCE, Role.SALES_OPS), Everyone(), QUOTE_FIELDS)
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

    @property
    def total(self) -> Money:
        """The sum of the lines."""
        return Money(self.total_minor, self.currency)


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

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        UniqueConstraint("source", "number"),
        Index("ix_orders_account", "account_id", "ordered_at", "id"),
    )

    @property
    def total(self) -> Money:
        """The sum of the lines."""
        return Money(self.total_minor, self.currency)


class OrderLine(Record):
    """One product of an order at its price."""

    __tablename__ = "order_lines"
    __aggregate__ = ("Order", "order_id")
    __access__ = Access(sights((*PRICED, Role.CSM), Through("order_id", "Order"), frozenset({"product"})))

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    product_id: Mapped[UUID] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    unit_price_minor: Mapped[int]


FROZEN = frozenset(
    {
        "number",
        "account_id",
        "opportunity_id",
        "total_minor",
        "currency",
        "payment_terms_days",
        "issued_at",
        "valid_until",
    }
)
"""What a quote says to the customer; only where it stands may change after its issue."""


@event.listens_for(Quote, "before_update")
def _keep_issued(_mapper: Mapper[Quote], _connection: Connection, quote: Quote) -> None:
    state = inspect(quote)
    before = state.attrs.status.history.deleted or [quote.status]
    if before[0] in ISSUED and any(state.attrs[name].history.has_changes() for name in FROZEN):
        raise Conflict(
            Text(f"报价 {quote.number} 已发出，不能再改", f"quote {quote.number} is issued: it cannot be changed"),
            ("id",),
        )


@event.listens_for(QuoteLine, "before_update")
@event.listens_for(QuoteLine, "before_delete")
def _keep_lines(_mapper: Mapper[QuoteLine], _connection: Connection, line: QuoteLine) -> None:
    raise Conflict(
        Text("报价行不能更改，请另做一份报价", "the lines of a quote do not change: make another quote"), ("lines",)
    )
