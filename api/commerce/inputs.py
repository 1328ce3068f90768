"""What commerce's mutations take, and how it becomes what the domain takes."""

from datetime import date, datetime
from typing import Any

import strawberry

from api.custom_fields import CustomFieldInput, custom_input, with_custom
from api.leads import MoneyInput
from api.mutations import text
from api.reads import expect
from domain import kernel
from domain.commerce import Item, PaymentMethod

NUMBER_LENGTH, REASON_LENGTH, LINES = 100, 1000, 500


def _optional(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


def _key(what: str) -> Any:
    return text(f"The caller's key: the same one makes {what} once.", 200, required=True)


def _version(what: str = "change is made") -> Any:
    return strawberry.field(description=f"The `version` on which the {what}.")


@strawberry.input(description="One product of a quote or an order.")
class LineInput:
    """A line as it comes in."""

    product_id: strawberry.ID = strawberry.field(description="The product.")
    quantity: int = strawberry.field(description="How many: 1 at least.")
    unit_price: MoneyInput = strawberry.field(description="The price a piece; one currency for all lines.")


@strawberry.input(description="A product to add.")
class CreateProductInput:
    """What creating a product takes."""

    client_key: strawberry.ID = _key("the product")
    code: str = text("Its code, unique.", NUMBER_LENGTH, required=True)
    name_zh: str = text("Its Chinese name.", 300, required=True)
    name_en: str = text("Its English name.", 300, required=True)
    series: str | None = text("The series to which it belongs.", 200)
    list_price: MoneyInput = strawberry.field(description="The list price a piece.")
    floor_price: MoneyInput = strawberry.field(description="The price a piece below which an offer needs approval.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="What to change in a product; what is left out stays.")
class UpdateProductInput:
    """What updating a product takes."""

    id: strawberry.ID = strawberry.field(description="The product.")
    expected_version: int = _version()
    name_zh: str | None = text("Its Chinese name.", 300)
    name_en: str | None = text("Its English name.", 300)
    series: str | None = text("The series to which it belongs.", 200)
    discontinued: bool | None = _optional("Whether it is sold no more.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="New prices of a product in one currency, from now on.")
class SetProductPriceInput:
    """What pricing takes."""

    id: strawberry.ID = strawberry.field(description="The product.")
    expected_version: int = _version()
    list_price: MoneyInput = strawberry.field(description="The list price a piece.")
    floor_price: MoneyInput = strawberry.field(description="The price a piece below which an offer needs approval.")


@strawberry.input(description="An offer to draft.")
class CreateQuoteInput:
    """What drafting takes."""

    client_key: strawberry.ID = _key("the quote")
    opportunity_id: strawberry.ID = strawberry.field(description="The deal.")
    lines: list[LineInput] = strawberry.field(description="What it offers: 1 to 500 lines.")
    payment_terms_days: int | None = _optional("Within how many days the customer pays; 30 without it.")
    valid_until: date | None = _optional("The last day on which it holds.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="What to change in a draft; what is left out stays.")
class UpdateQuoteInput:
    """What updating a draft takes."""

    id: strawberry.ID = strawberry.field(description="The quote.")
    expected_version: int = _version()
    lines: list[LineInput] | None = _optional("What it offers now: these replace all its lines.")
    payment_terms_days: int | None = _optional("Within how many days the customer pays.")
    valid_until: date | None = _optional("The last day on which it holds.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="A step in the life of a quote.")
class QuoteActionInput:
    """What a step takes."""

    id: strawberry.ID = strawberry.field(description="The quote.")
    expected_version: int = _version("step is taken")
    reason: str | None = text("Why; kept where it is returned, rejected or let expire.", REASON_LENGTH)


@strawberry.input(description="A quote to revise.")
class ReviseQuoteInput:
    """What revising takes."""

    client_key: strawberry.ID = _key("the revision")
    id: strawberry.ID = strawberry.field(description="The quote that was issued.")
    expected_version: int = _version("revision begins")


@strawberry.input(description="A purchase: of an accepted quote, or of an account with lines of its own.")
class CreateOrderInput:
    """What an order takes."""

    client_key: strawberry.ID = _key("the order")
    quote_id: strawberry.ID | None = _optional("The accepted quote; then account, deal and lines are its own.")
    account_id: strawberry.ID | None = _optional("The customer, where there is no quote.")
    opportunity_id: strawberry.ID | None = _optional("The deal, where there is no quote.")
    lines: list[LineInput] | None = _optional("What was bought, where there is no quote: 1 to 500 lines.")
    number: str | None = text("Its number; the next of ours without it.", NUMBER_LENGTH)
    ordered_at: datetime | None = _optional("When it was placed; now without it.")
    payment_terms_days: int | None = _optional("Within how many days the customer pays; the quote's without it.")
    po_number: str | None = text("The number of the customer's own purchase order.", NUMBER_LENGTH)
    expected_on: date | None = _optional("When it is expected to be delivered.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="What to change in an order; what is left out stays, lines and total stand.")
class UpdateOrderInput:
    """What updating an order takes."""

    id: strawberry.ID = strawberry.field(description="The order.")
    expected_version: int = _version()
    po_number: str | None = text("The number of the customer's own purchase order.", NUMBER_LENGTH)
    expected_on: date | None = _optional("When it is expected to be delivered.")
    delivered_on: date | None = _optional("When it was delivered.")
    payment_terms_days: int | None = _optional("Within how many days the customer pays.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="A bill to take in.")
class RecordInvoiceInput:
    """What a bill takes."""

    client_key: strawberry.ID = _key("the bill")
    order_id: strawberry.ID = strawberry.field(description="The order.")
    number: str = text("The number that the tax system gave it.", NUMBER_LENGTH, required=True)
    amount: MoneyInput = strawberry.field(description="What it bills, in the order's currency.")
    issued_on: date = strawberry.field(description="When it was issued.")
    due_on: date | None = _optional("When it is to be paid.")


@strawberry.input(description="What to change in a bill; what is left out stays.")
class UpdateInvoiceInput:
    """What updating a bill takes."""

    id: strawberry.ID = strawberry.field(description="The bill.")
    expected_version: int = _version()
    due_on: date | None = _optional("When it is to be paid.")
    voided_on: date | None = _optional("When it was made void.")


@strawberry.input(description="A sum that is owed by a day, and what came in of it.")
class RecordPaymentInput:
    """What a payment takes."""

    client_key: strawberry.ID = _key("the payment")
    order_id: strawberry.ID = strawberry.field(description="The order.")
    invoice_id: strawberry.ID | None = _optional("The bill that it pays.")
    amount: MoneyInput = strawberry.field(description="What is owed, in the order's currency.")
    due_on: date = strawberry.field(description="The last day on which it is not late.")
    received: MoneyInput | None = _optional("What came in; all of it where only the day of payment is given.")
    paid_on: date | None = _optional("When the latest of it came in.")
    method: PaymentMethod | None = _optional("How it was paid.")
    reference: str | None = text("The bank's or customer's own words for it.", 500)


@strawberry.input(description="What to change in a payment; what is left out stays.")
class UpdatePaymentInput:
    """What updating a payment takes."""

    id: strawberry.ID = strawberry.field(description="The payment.")
    expected_version: int = _version()
    invoice_id: strawberry.ID | None = _optional("The bill that it pays.")
    amount: MoneyInput | None = _optional("What is owed, in the order's currency.")
    due_on: date | None = _optional("The last day on which it is not late.")
    received: MoneyInput | None = _optional("What came in altogether; all of it where only the day is given.")
    paid_on: date | None = _optional("When the latest of it came in.")
    method: PaymentMethod | None = _optional("How it was paid.")
    reference: str | None = text("The bank's or customer's own words for it.", 500)


# ---- what the domain takes -------------------------------------------------------------------------------------------


def amount(given: MoneyInput, *path: str) -> kernel.Money:
    """The money.

    Raises Invalid as `domain.kernel.money` does.
    """
    return kernel.money(given.amount, given.currency, path)


def items(lines: list[LineInput] | None) -> list[Item]:
    """The lines.

    Raises Invalid for too many of them or a price that is no money, NotFound for an id that names no product.
    """
    if lines is not None and len(lines) > LINES:
        words = kernel.Text(f"一次最多 {LINES} 行", f"{LINES} lines at most")
        raise kernel.Invalid(words, ("lines",))
    return [
        Item(
            expect("Product", line.product_id, "lines", str(place), "productId"),
            line.quantity,
            amount(line.unit_price, "lines", str(place), "unitPrice"),
        )
        for place, line in enumerate(lines or ())
    ]


def translated(words: dict[str, Any]) -> dict[str, Any]:
    """Words of an input with ids, money, lines and custom values as the domain has them; null stays null.

    Raises what `amount`, `items` and `expect` do.
    """
    for name, entity in (("account_id", "Account"), ("opportunity_id", "Opportunity"), ("order_id", "Order"), ("quote_id", "Quote"), ("invoice_id", "Invoice")):  # fmt: skip
        if words.get(name) is not None:
            stem = name.removesuffix("_id")
            words[name] = expect(entity, words[name], f"{stem}Id")
    for name, path in (("amount", "amount"), ("received", "received"), ("list_price", "listPrice"), ("floor_price", "floorPrice")):  # fmt: skip
        if words.get(name) is not None:
            words[name] = amount(words[name], path)
    if "items" in words:
        words["items"] = items(words["items"])
    return with_custom(words)
