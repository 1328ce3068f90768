"""The lists of commerce: what filters and orders its roots take."""

from datetime import date, datetime
from enum import StrEnum

import strawberry
from sqlalchemy import ColumnElement, and_

from api.commerce.types import Invoice, Order, Payment, Product, Quote
from api.custom_fields import CustomFieldFilter, custom_filter
from api.reads import (
    TODAY,
    Connection,
    View,
    by,
    contains,
    contains_in,
    equals,
    listing,
    matching,
    names,
    roots,
    since,
    until,
)
from api.scalars import enum
from domain.commerce import PaymentStatus, QuoteStatus


def _discontinued(view: View, wanted: bool) -> ColumnElement[bool]:
    gone = view.column("discontinued_at")
    return gone.is_not(None) if wanted else gone.is_(None)


def _delivered(view: View, wanted: bool) -> ColumnElement[bool]:
    day = view.column("delivered_on")
    return day.is_not(None) if wanted else day.is_(None)


def _stands(view: View, status: PaymentStatus) -> ColumnElement[bool]:
    owed, received, late = (
        view.column("amount_minor"),
        view.column("received_minor"),
        view.column("due_on") < TODAY,
    )
    return {
        PaymentStatus.PAID: received >= owed,
        PaymentStatus.OVERDUE: and_(received < owed, late),
        PaymentStatus.PARTLY: and_(received > 0, received < owed, ~late),
        PaymentStatus.DUE: and_(received == 0, received < owed, ~late),
    }[status]


@strawberry.input(description="Which products; all conditions hold together.")
class ProductFilter:
    """Conditions on products."""

    search: str | None = contains_in(
        ("code", "name_zh", "name_en"), "A part of the code or of a name, upper and lower case alike."
    )
    series: str | None = equals("series", "The series.")
    discontinued: bool | None = matching(_discontinued, "True: sold no more; false: still sold.")
    custom: list[CustomFieldFilter] | None = custom_filter()


@strawberry.input(description="Which quotes; all conditions hold together.")
class QuoteFilter:
    """Conditions on quotes."""

    status: QuoteStatus | None = equals("status", "Where it stands.")
    account_id: strawberry.ID | None = names("Account", "account_id", "The customer.")
    opportunity_id: strawberry.ID | None = names("Opportunity", "opportunity_id", "The deal.")
    search: str | None = contains("number", "A part of the number.")
    issued_since: datetime | None = since("issued_at", "Issued at or after this instant.")
    issued_before: datetime | None = until("issued_at", "Issued before this instant.")
    ends_before: date | None = until("valid_until", "Its last day is before this one.")
    custom: list[CustomFieldFilter] | None = custom_filter()


@strawberry.input(description="Which orders; all conditions hold together.")
class OrderFilter:
    """Conditions on orders."""

    account_id: strawberry.ID | None = names("Account", "account_id", "The customer.")
    opportunity_id: strawberry.ID | None = names("Opportunity", "opportunity_id", "The deal.")
    search: str | None = contains("number", "A part of the number.")
    po_number: str | None = equals("po_number", "The number of the customer's own purchase order.")
    ordered_since: datetime | None = since("ordered_at", "Placed at or after this instant.")
    ordered_before: datetime | None = until("ordered_at", "Placed before this instant.")
    expected_before: date | None = until("expected_on", "Expected before this day.")
    delivered: bool | None = matching(_delivered, "True: delivered; false: not yet.")
    custom: list[CustomFieldFilter] | None = custom_filter()


@strawberry.input(description="Which bills; all conditions hold together.")
class InvoiceFilter:
    """Conditions on bills."""

    account_id: strawberry.ID | None = names("Account", "account_id", "The customer.")
    order_id: strawberry.ID | None = names("Order", "order_id", "The order.")
    search: str | None = contains("number", "A part of the number.")
    issued_since: date | None = since("issued_on", "Issued on or after this day.")
    issued_before: date | None = until("issued_on", "Issued before this day.")


@strawberry.input(description="Which payments; all conditions hold together.")
class PaymentFilter:
    """Conditions on payments."""

    status: PaymentStatus | None = matching(_stands, "Where it stands today.")
    account_id: strawberry.ID | None = names("Account", "account_id", "The customer.")
    order_id: strawberry.ID | None = names("Order", "order_id", "The order.")
    invoice_id: strawberry.ID | None = names("Invoice", "invoice_id", "The bill.")
    due_since: date | None = since("due_on", "Due on or after this day.")
    due_before: date | None = until("due_on", "Due before this day.")
    paid_since: date | None = since("paid_on", "Paid on or after this day.")
    paid_before: date | None = until("paid_on", "Paid before this day.")


class ProductOrder(StrEnum):
    """How products can be ordered."""

    CODE_ASC = "CODE_ASC"
    CREATED_DESC = "CREATED_DESC"


class QuoteOrder(StrEnum):
    """How quotes can be ordered."""

    CREATED_DESC = "CREATED_DESC"
    TOTAL_DESC = "TOTAL_DESC"
    VALID_UNTIL_ASC = "VALID_UNTIL_ASC"


class OrderOrder(StrEnum):
    """How orders can be ordered."""

    ORDERED_DESC = "ORDERED_DESC"
    TOTAL_DESC = "TOTAL_DESC"
    EXPECTED_ASC = "EXPECTED_ASC"


class PaymentOrder(StrEnum):
    """How payments can be ordered."""

    DUE_ASC = "DUE_ASC"
    DUE_DESC = "DUE_DESC"
    AMOUNT_DESC = "AMOUNT_DESC"


enum(ProductOrder, "The orders of products.", CODE_ASC="By code.", CREATED_DESC="The newest first.")
enum(
    QuoteOrder,
    "The orders of quotes; without a value last, equal ones by id.",
    CREATED_DESC="The newest first.",
    TOTAL_DESC="The largest first.",
    VALID_UNTIL_ASC="What ends soonest first.",
)
enum(
    OrderOrder,
    "The orders of purchases; without a value last, equal ones by id.",
    ORDERED_DESC="The latest first.",
    TOTAL_DESC="The largest first.",
    EXPECTED_ASC="What is expected soonest first.",
)
enum(
    PaymentOrder,
    "The orders of payments; equal ones by id.",
    DUE_ASC="What is due soonest first.",
    DUE_DESC="What is due last first.",
    AMOUNT_DESC="The largest first.",
)


@roots
class CommerceQueries:
    """The roots of this room."""

    products: Connection[Product] = listing(
        "What we sell and sold, newest first.",
        filter=ProductFilter,
        orders={ProductOrder.CODE_ASC: by("code", "id"), ProductOrder.CREATED_DESC: by("-created_at", "-id")},
    )
    quotes: Connection[Quote] = listing(
        "The quotes that the reader sees, newest first.",
        filter=QuoteFilter,
        orders={
            QuoteOrder.CREATED_DESC: by("-created_at", "-id"),
            QuoteOrder.TOTAL_DESC: by("-total_minor", "id"),
            QuoteOrder.VALID_UNTIL_ASC: by("valid_until", "id"),
        },
    )
    orders: Connection[Order] = listing(
        "The purchases that the reader sees, latest first.",
        filter=OrderFilter,
        orders={
            OrderOrder.ORDERED_DESC: by("-ordered_at", "-id"),
            OrderOrder.TOTAL_DESC: by("-total_minor", "id"),
            OrderOrder.EXPECTED_ASC: by("expected_on", "id"),
        },
    )
    invoices: Connection[Invoice] = listing("The bills that the reader sees, newest first.", filter=InvoiceFilter)
    payments: Connection[Payment] = listing(
        "What customers owe and paid, as far as the reader sees it, by due day.",
        filter=PaymentFilter,
        orders={
            PaymentOrder.DUE_ASC: by("due_on", "id"),
            PaymentOrder.DUE_DESC: by("-due_on", "-id"),
            PaymentOrder.AMOUNT_DESC: by("-amount_minor", "id"),
        },
    )
