"""Products, quotes, orders, invoices and payments as the schema shows them."""

from datetime import date, datetime
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, case, literal, select
from sqlalchemy import Enum as SqlEnum

from api.accounts import Account
from api.attachments import Attachment
from api.custom_fields import CustomFieldValue, custom_values
from api.deals import Opportunity
from api.people import User
from api.reads import (
    STAMPS,
    TODAY,
    Connection,
    Money,
    View,
    by,
    column,
    connection,
    derived,
    expressed,
    localized,
    many,
    money,
    newest,
    node,
    to_one,
)
from api.records import RECORD_HIDDEN, Record
from api.scalars import enum
from domain import commerce
from domain.commerce import ApprovalReason, PaymentMethod, PaymentStatus, QuoteStatus

enum(
    QuoteStatus,
    "Where a quote stands.",
    DRAFT="Being written.",
    IN_APPROVAL="Prices or terms need somebody else's word.",
    APPROVED="May be issued.",
    ISSUED="The customer has it; it does not change any more.",
    ACCEPTED="The customer takes it.",
    REJECTED="The customer does not take it.",
    EXPIRED="Out of date, withdrawn, or overtaken by its next revision.",
)
enum(
    ApprovalReason,
    "Why an offer needs approval.",
    BELOW_FLOOR="A line is below its product's floor, or no floor is known in its currency.",
    LONG_TERMS="The customer gets more days to pay than the standard 30; finance approves.",
)
enum(
    PaymentMethod,
    "How a customer pays.",
    BANK_TRANSFER="By transfer.",
    BANK_DRAFT="By a bank's draft or acceptance bill.",
    LETTER_OF_CREDIT="By letter of credit.",
    CHEQUE="By cheque.",
    CARD="By card.",
    CASH="In cash.",
    OTHER="In another way.",
)
enum(
    PaymentStatus,
    "Where a payment stands today.",
    DUE="Nothing came in; its day is not over.",
    PARTLY="A part came in; its day is not over.",
    PAID="All of it came in.",
    OVERDUE="Its day is over and not all of it came in.",
)


@node(commerce.PriceBookEntry, hidden=STAMPS | {"product_id"}, order=by("-valid_from", "-id"))
class PriceBookEntry:
    """The prices of a product in one currency, for a time."""

    list_price: Money = money("list_minor", "currency", "The list price a piece.")
    floor_price: Money | None = money(
        "floor_minor", "currency", "The price a piece below which an offer needs approval."
    )
    valid_from: datetime = column("From when on it holds.")
    valid_to: datetime | None = column("Until when it held; null while it holds.")


@node(commerce.Product, hidden=RECORD_HIDDEN)
class Product(Record):
    """Something that we sell."""

    code: str = column("Its code, unique.")
    name: str = localized("name", "Its name in the reader's language.")
    name_zh: str = column("Its Chinese name.")
    name_en: str = column("Its English name.")
    series: str | None = column("The series to which it belongs.")
    discontinued_at: datetime | None = column("Since when it is sold no more; null while it is.")
    custom_fields: list[CustomFieldValue] = custom_values("Product")
    prices: list[PriceBookEntry] = many(
        "product_id", "The prices that hold now, one a currency.", where={"valid_to": None}
    )
    price_history: Connection[PriceBookEntry] = connection("product_id", "All its prices, newest first.")


def _line_money(parent: type[commerce.Quote | commerce.Order], column: str, description: str, *, whole: bool) -> Any:
    """What one piece of a line costs, or all of them, in the currency of the quote or order above: who sees a line sees that."""

    def together(view: View) -> ColumnElement[int]:
        return view.column("unit_price_minor") * view.column("quantity")

    def currency(view: View) -> ColumnElement[str]:
        above = parent.__table__.alias()
        found = select(above.c.currency).where(above.c.id == view.column(column))
        return found.correlate_except(above).scalar_subquery()

    return money(together if whole else "unit_price_minor", currency, description)


@node(commerce.QuoteLine, hidden=STAMPS | {"quote_id"}, order=by("id"))
class QuoteLine:
    """One product of a quote at its price."""

    product: Product | None = to_one("product_id", "The product.")
    quantity: int = column("How many.")
    unit_price: Money = _line_money(commerce.Quote, "quote_id", "The price a piece.", whole=False)
    total: Money = _line_money(commerce.Quote, "quote_id", "Quantity times price.", whole=True)


def _reasons(names: list[str]) -> list[ApprovalReason]:
    return [ApprovalReason(name) for name in names]


@node(commerce.Quote, hidden=RECORD_HIDDEN)
class Quote(Record):
    """One revision of an offer on a deal; from its issue on it does not change."""

    number: str = column("Its number, the same for all its revisions.")
    revision: int = column("Which revision of the number it is, from 1.")
    revises: Annotated["Quote", strawberry.lazy("api.commerce")] | None = to_one(
        "revises_id", "The revision before it."
    )
    status: QuoteStatus = column("Where it stands.")
    opportunity: Opportunity | None = to_one("opportunity_id", "The deal.")
    account: Account | None = to_one("account_id", "The customer.")
    total: Money | None = money("total_minor", "currency", "The sum of its lines.")
    payment_terms_days: int = column("Within how many days the customer pays.")
    issued_at: datetime | None = column("When the customer got it.")
    valid_until: date | None = column("The last day on which it holds.")
    approval_reasons: list[ApprovalReason] | None = derived(
        ("approval_reasons",), _reasons, "Why it needs approval; empty where it needs none, null until it is handed in."
    )
    submitted_by: User | None = to_one("submitted_by_id", "Who handed it in.")
    approved_by: User | None = to_one("approved_by_id", "Who approved it.")
    approved_at: datetime | None = column("When that was.")
    decided_at: datetime | None = column("When it was accepted, rejected or let expire.")
    reason: str | None = column("Why it was returned, rejected or let expire.")
    custom_fields: list[CustomFieldValue] = custom_values("Quote")
    lines: list[QuoteLine] = many("quote_id", "What it offers.")
    attachments: list[Attachment] = newest(
        "subject_id", "Its documents, newest first.", where={"subject_kind": "Quote"}
    )


@node(commerce.OrderLine, hidden=STAMPS | {"order_id"}, order=by("id"))
class OrderLine:
    """One product of an order at its price."""

    product: Product | None = to_one("product_id", "The product.")
    quantity: int = column("How many.")
    unit_price: Money = _line_money(commerce.Order, "order_id", "The price a piece.", whole=False)
    total: Money = _line_money(commerce.Order, "order_id", "Quantity times price.", whole=True)


@node(commerce.Order, hidden=RECORD_HIDDEN | {"source", "external_id"}, order=by("-ordered_at", "-id"))
class Order(Record):
    """A purchase; its lines and total stand from the start."""

    number: str = column("Its number: ours, or its source's own.")
    account: Account | None = to_one("account_id", "The customer.")
    opportunity: Opportunity | None = to_one("opportunity_id", "The deal that it came of.")
    quote: Quote | None = to_one("quote_id", "The quote that it took.")
    ordered_at: datetime = column("When it was placed.")
    total: Money | None = money("total_minor", "currency", "The sum of its lines.")
    payment_terms_days: int | None = column("Within how many days the customer pays.")
    po_number: str | None = column("The number of the customer's own purchase order.")
    expected_on: date | None = column("When it is expected to be delivered.")
    delivered_on: date | None = column("When it was delivered.")
    custom_fields: list[CustomFieldValue] = custom_values("Order")
    lines: list[OrderLine] = many("order_id", "What was bought.")
    invoices: list[Annotated["Invoice", strawberry.lazy("api.commerce")]] = newest("order_id", "Its bills.")
    payments: list[Annotated["Payment", strawberry.lazy("api.commerce")]] = newest("order_id", "What is owed and paid.")
    attachments: list[Attachment] = newest(
        "subject_id", "Its documents, newest first.", where={"subject_kind": "Order"}
    )


@node(commerce.Invoice, hidden=RECORD_HIDDEN, order=by("-issued_on", "-id"))
class Invoice(Record):
    """A bill on an order."""

    number: str = column("The number that the tax system gave it.")
    order: Order | None = to_one("order_id", "The order.")
    account: Account | None = to_one("account_id", "The customer.")
    amount: Money = money("amount_minor", "currency", "What it bills.")
    issued_on: date = column("When it was issued.")
    due_on: date | None = column("When it is to be paid.")
    voided_on: date | None = column("When it was made void; null while it counts.")
    payments: list[Annotated["Payment", strawberry.lazy("api.commerce")]] = newest(
        "invoice_id", "What is owed and paid on it."
    )


STATUS = SqlEnum(PaymentStatus, native_enum=False)


def _stands(view: View) -> ColumnElement[PaymentStatus]:
    """The words of `commerce.payment_status` in SQL."""
    owed, received = view.column("amount_minor"), view.column("received_minor")
    return case(
        (received >= owed, literal(PaymentStatus.PAID, STATUS)),
        (view.column("due_on") < TODAY, literal(PaymentStatus.OVERDUE, STATUS)),
        (received != 0, literal(PaymentStatus.PARTLY, STATUS)),
        else_=literal(PaymentStatus.DUE, STATUS),
    )


@node(commerce.Payment, hidden=RECORD_HIDDEN | {"opportunity_id"}, order=by("due_on", "id"))
class Payment(Record):
    """A sum that a customer owes on an order by a day, and how much of it has come in."""

    order: Order | None = to_one("order_id", "The order.")
    account: Account | None = to_one("account_id", "The customer.")
    invoice: Invoice | None = to_one("invoice_id", "The bill that it pays.")
    amount: Money = money("amount_minor", "currency", "What is owed.")
    received: Money = money("received_minor", "currency", "What came in of it.")
    due_on: date = column("The last day on which it is not late.")
    paid_on: date | None = column("When the latest of it came in.")
    method: PaymentMethod | None = column("How it was paid.")
    reference: str | None = column("The bank's or customer's own words for it.")

    status: PaymentStatus = expressed(_stands, "Where it stands today: it follows from its amounts and its day.")
