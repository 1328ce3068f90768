"""Commerce's tables: products and their prices, quotes, orders, invoices, payments."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, ForeignKey, Index, String, UniqueConstraint, event, inspect, select
from sqlalchemy.orm import Mapped, Mapper, mapped_column

from domain.accounts import Account
from domain.kernel import Access, Base, Conflict, Everyone, Money, Record, Role, Text, Through, found_by, sights


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


class PaymentMethod(StrEnum):
    """How a customer pays."""

    BANK_TRANSFER = "BANK_TRANSFER"
    BANK_DRAFT = "BANK_DRAFT"
    LETTER_OF_CREDIT = "LETTER_OF_CREDIT"
    CHEQUE = "CHEQUE"
    CARD = "CARD"
    CASH = "CASH"
    OTHER = "OTHER"


PRICED = (Role.REP, Role.MANAGER, Role.FINANCE, Role.SALES_OPS)
"""Who sees the floor."""
PRICE_FIELDS = frozenset({"prices", "price_history"})
PRODUCT_FIELDS = frozenset({"series", "discontinued_at", "custom_fields"})
QUOTE_FIELDS = frozenset({
    "opportunity", "account", "total", "issued_at", "valid_until", "lines", "revises", "approval_reasons", "submitted_by", "approved_by", "approved_at", "decided_at", "reason",
    "attachments", "custom_fields",
})  # fmt: skip
BILLING_FIELDS = frozenset({"invoices", "payments"})
ORDER_FIELDS = BILLING_FIELDS | {
    "account", "opportunity", "total", "lines", "quote", "po_number", "expected_on", "delivered_on", "payment_terms_days", "attachments", "custom_fields",
}  # fmt: skip
INVOICE_FIELDS = frozenset({"order", "account", "due_on", "voided_on", "payments"})
PAYMENT_FIELDS = frozenset({"order", "account", "invoice", "paid_on", "method", "reference"})


class NumberSeries(Base):
    """The last number given to quotes, or to orders, of one year."""

    __tablename__ = "number_series"
    __unledgered__ = "each number stands on the noted record that bears it"

    key: Mapped[str] = mapped_column(primary_key=True)
    last: Mapped[int]


class Product(Record):
    """One thing that we sell, or sold until it was discontinued."""

    __tablename__ = "products"
    __searched__ = found_by("name_zh", "name_en", "code")
    __access__ = Access(
        sights(tuple(Role), Everyone(), PRODUCT_FIELDS)
        | sights((*PRICED, Role.CSM), Everyone(), PRODUCT_FIELDS | PRICE_FIELDS)
    )

    code: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]
    series: Mapped[str | None]
    discontinued_at: Mapped[datetime | None]
    custom: Mapped[dict[str, Any] | None]


class PriceBookEntry(Record):
    """The list price of a product, and the floor below which nobody sells unasked, from one instant to another."""

    __tablename__ = "price_book_entries"
    __aggregate__ = ("Product", "product_id")
    __access__ = Access(
        sights(PRICED, Everyone(), frozenset({"floor_price", "valid_to"}))
        | sights((Role.CSM,), Everyone(), frozenset({"valid_to"}))
    )

    product_id: Mapped[UUID] = mapped_column(ForeignKey("products.id"))
    list_minor: Mapped[int]
    floor_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]

    __table_args__ = (Index("ix_price_book_entries_product", "product_id", "valid_from"),)


class Quote(Record):
    """One revision of an offer on a deal; from its issue on it does not change."""

    __tablename__ = "quotes"
    __searched__ = found_by("number")
    __access__ = Access(
        sights((Role.REP, Role.MANAGER), Through("opportunity_id", "Opportunity"), QUOTE_FIELDS)
        | sights((Role.FINANCE, Role.SALES_OPS), Everyone(), QUOTE_FIELDS)
    )

    number: Mapped[str]
    revision: Mapped[int] = mapped_column(default=1, server_default="1")
    revises_id: Mapped[UUID | None] = mapped_column(ForeignKey("quotes.id"))
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    opportunity_id: Mapped[UUID] = mapped_column(ForeignKey("opportunities.id"), index=True)
    status: Mapped[QuoteStatus]
    total_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    payment_terms_days: Mapped[int]
    issued_at: Mapped[datetime | None]
    valid_until: Mapped[date | None]
    approval_reasons: Mapped[list[str] | None]
    submitted_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    approved_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    approved_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    custom: Mapped[dict[str, Any] | None]

    __table_args__ = (UniqueConstraint("number", "revision"), Index("ix_quotes_status", "status", "valid_until"))

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
    """One purchase; its lines and total stand from the start."""

    __tablename__ = "orders"
    __searched__ = found_by("number", po_number="po_number")
    __access__ = Access(
        sights((Role.REP, Role.MANAGER, Role.CSM), Through("account_id", "Account"), ORDER_FIELDS)
        | sights((Role.FINANCE, Role.SALES_OPS), Everyone(), ORDER_FIELDS)
    )

    number: Mapped[str]
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    opportunity_id: Mapped[UUID | None] = mapped_column(ForeignKey("opportunities.id"), index=True)
    quote_id: Mapped[UUID | None] = mapped_column(ForeignKey("quotes.id"), unique=True)
    ordered_at: Mapped[datetime]
    total_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    payment_terms_days: Mapped[int | None]
    po_number: Mapped[str | None]
    expected_on: Mapped[date | None]
    delivered_on: Mapped[date | None]
    custom: Mapped[dict[str, Any] | None]
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


BILLED = (Role.REP, Role.MANAGER, Role.CSM)
"""Who sees the billing of the accounts that they see."""


def _billing(fields: frozenset[str]) -> Access:
    return Access(
        sights(BILLED, Through("account_id", "Account"), fields)
        | sights((Role.FINANCE, Role.SALES_OPS), Everyone(), fields)
    )


class Invoice(Record):
    """One bill on an order under the number that the tax system gave it; a void one counts no more."""

    __tablename__ = "invoices"
    __access__ = _billing(INVOICE_FIELDS)

    number: Mapped[str] = mapped_column(unique=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    amount_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    issued_on: Mapped[date]
    due_on: Mapped[date | None]
    voided_on: Mapped[date | None]


class Payment(Record):
    """One sum that a customer owes on an order by a day, and how much of it has come in."""

    __tablename__ = "payments"
    __access__ = _billing(PAYMENT_FIELDS)

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    opportunity_id: Mapped[UUID | None] = mapped_column(ForeignKey("opportunities.id"), index=True)
    invoice_id: Mapped[UUID | None] = mapped_column(ForeignKey("invoices.id"), index=True)
    amount_minor: Mapped[int]
    received_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    due_on: Mapped[date]
    paid_on: Mapped[date | None]
    method: Mapped[PaymentMethod | None]
    reference: Mapped[str | None]

    __table_args__ = (
        Index("ix_payments_account", "account_id", "due_on", "id"),
        Index("ix_payments_due", "due_on", "id"),
    )


FROZEN = frozenset(
    {
        "number",
        "revision",
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


def _goes_along(connection: Connection, quote: Quote) -> bool:
    """Whether the quote's account was merged into the one to which the quote moves: the customer is the same."""
    before = inspect(quote).attrs.account_id.history.deleted or [None]
    into = select(Account.merged_into_id).where(Account.id == before[0])
    return quote.account_id is not None and connection.scalar(into) == quote.account_id


@event.listens_for(Quote, "before_update")
def _keep_issued(_mapper: Mapper[Quote], connection: Connection, quote: Quote) -> None:
    state = inspect(quote)
    before = state.attrs.status.history.deleted or [quote.status]
    changed = {name for name in FROZEN if state.attrs[name].history.has_changes()}
    if before[0] in ISSUED and changed and not (changed == {"account_id"} and _goes_along(connection, quote)):
        raise Conflict(
            Text(f"报价 {quote.number} 已发出，不能再改", f"quote {quote.number} is issued: it cannot be changed"),
            ("id",),
        )


@event.listens_for(QuoteLine, "before_update")
@event.listens_for(OrderLine, "before_update")
@event.listens_for(OrderLine, "before_delete")
def _keep_lines(_mapper: Mapper[Base], _connection: Connection, _line: Base) -> None:
    raise Conflict(
        Text("报价行和订单行不能更改，请另做一份", "the lines of a quote or an order do not change: make another"),
        ("lines",),
    )


@event.listens_for(QuoteLine, "before_delete")
def _replace_drafted(mapper: Mapper[QuoteLine], connection: Connection, line: QuoteLine) -> None:
    if connection.scalar(select(Quote.status).where(Quote.id == line.quote_id)) is not QuoteStatus.DRAFT:
        _keep_lines(mapper, connection, line)


@event.listens_for(Order, "before_update")
def _keep_order(_mapper: Mapper[Order], _connection: Connection, order: Order) -> None:
    state = inspect(order)
    if any(state.attrs[name].history.has_changes() for name in ("number", "total_minor", "currency")):
        raise Conflict(
            Text(f"订单 {order.number} 的编号与金额不能更改", f"number and amount of order {order.number} stand"),
            ("id",),
        )
