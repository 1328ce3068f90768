"""What people do with products, quotes, orders, bills and payments."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

import strawberry

from api.commerce.inputs import (
    CreateOrderInput,
    CreateProductInput,
    CreateQuoteInput,
    QuoteActionInput,
    RecordInvoiceInput,
    RecordPaymentInput,
    ReviseQuoteInput,
    SetProductPriceInput,
    UpdateInvoiceInput,
    UpdateOrderInput,
    UpdatePaymentInput,
    UpdateProductInput,
    UpdateQuoteInput,
    translated,
)
from api.commerce.types import Invoice, Order, Payment, Product, Quote
from api.context import Info
from api.mutations import UserError, changes, create_once, given, mutation, refusals
from api.reads import expect, selected
from domain import commerce
from domain.commerce import APPROVING, COLLECTING, FULFILLING, ORDERING, PRICING, SELLING
from domain.kernel import Invalid, Text


@strawberry.type(description="The product as it is now, or why it is not.")
class ProductPayload:
    """The answer about a product."""

    product: Product | None = strawberry.field(default=None, description="The product.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The quote as it is now, or why it is not.")
class QuotePayload:
    """The answer about a quote."""

    quote: Quote | None = strawberry.field(default=None, description="The quote.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The order as it is now, or why it is not.")
class OrderPayload:
    """The answer about an order."""

    order: Order | None = strawberry.field(default=None, description="The order.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The bill as it is now, or why it is not.")
class InvoicePayload:
    """The answer about a bill."""

    invoice: Invoice | None = strawberry.field(default=None, description="The bill.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The payment as it is now, or why it is not.")
class PaymentPayload:
    """The answer about a payment."""

    payment: Payment | None = strawberry.field(default=None, description="The payment.")
    errors: list[UserError] = refusals()


async def _product(info: Info, id: UUID) -> ProductPayload:
    return ProductPayload(product=selected(info, Product, id))


async def _quote(info: Info, id: UUID) -> QuotePayload:
    return QuotePayload(quote=selected(info, Quote, id))


async def _order(info: Info, id: UUID) -> OrderPayload:
    return OrderPayload(order=selected(info, Order, id))


async def _invoice(info: Info, id: UUID) -> InvoicePayload:
    return InvoicePayload(invoice=selected(info, Invoice, id))


async def _payment(info: Info, id: UUID) -> PaymentPayload:
    return PaymentPayload(payment=selected(info, Payment, id))


async def _updated(
    info: Info, entity: str, input: Any, operation: Callable[..., Awaitable[Any]], words: dict[str, Any]
) -> UUID:
    id = expect(entity, input.id, "id")
    async with info.context.open_uow() as uow:
        await operation(uow, id, expected_version=input.expected_version, changes=words)
    return id


async def _step(
    info: Info, input: QuoteActionInput, operation: Callable[..., Awaitable[Any]], **more: Any
) -> QuotePayload:
    id = expect("Quote", input.id, "id")
    async with info.context.open_uow() as uow:
        await operation(uow, id, expected_version=input.expected_version, **more)
    return await _quote(info, id)


FORM: dict[str, Any] = {"custom": {}}
"""Who fills in a new record gives values for custom fields, if none: the required ones are asked for."""
QuoteStep = Annotated[QuoteActionInput, strawberry.argument(description="The quote and its version.")]


@strawberry.type
class ProductMutations:
    """What sales operations do with products."""

    @mutation("Add a product with its prices.", *PRICING)
    async def create_product(
        self, info: Info, input: Annotated[CreateProductInput, strawberry.argument(description="The product.")]
    ) -> ProductPayload | None:
        """Create it once."""
        words = FORM | translated(changes(input, "code", "series", "list_price", "floor_price", "custom"))
        words["name"] = Text(input.name_zh, input.name_en)
        id = await create_once(info, input, commerce.Product, commerce.create_product, words)
        return await _product(info, id)

    @mutation("Change a product's names or series, or whether it is sold.", *PRICING)
    async def update_product(
        self, info: Info, input: Annotated[UpdateProductInput, strawberry.argument(description="The change.")]
    ) -> ProductPayload | None:
        """Change it."""
        words = translated(changes(input, "name_zh", "name_en", "series", "discontinued", "custom"))
        return await _product(info, await _updated(info, "Product", input, commerce.update_product, words))

    @mutation("Give a product new prices in one currency from now on; the ones before stay on record.", *PRICING)
    async def set_product_price(
        self, info: Info, input: Annotated[SetProductPriceInput, strawberry.argument(description="The prices.")]
    ) -> ProductPayload | None:
        """Price it."""
        id, words = expect("Product", input.id, "id"), translated(changes(input, "list_price", "floor_price"))
        async with info.context.open_uow() as uow:
            await commerce.set_price(uow, id, **words, expected_version=input.expected_version)
        return await _product(info, id)


@strawberry.type
class QuoteMutations:
    """The life of a quote."""

    @mutation("Draft an offer on a deal under the next number.", *SELLING)
    async def create_quote(
        self, info: Info, input: Annotated[CreateQuoteInput, strawberry.argument(description="The offer.")]
    ) -> QuotePayload | None:
        """Draft it once."""
        words = FORM | translated(
            changes(input, "opportunity_id", "payment_terms_days", "valid_until", "custom", lines="items")
        )
        if words.get("payment_terms_days", 0) is None:
            del words["payment_terms_days"]
        return await _quote(info, await create_once(info, input, commerce.Quote, commerce.create_quote, words))

    @mutation("Change a draft's terms, or replace its lines.", *SELLING)
    async def update_quote(
        self, info: Info, input: Annotated[UpdateQuoteInput, strawberry.argument(description="The change.")]
    ) -> QuotePayload | None:
        """Change it."""
        words = translated(changes(input, "payment_terms_days", "valid_until", "custom", lines="items"))
        return await _quote(info, await _updated(info, "Quote", input, commerce.update_quote, words))

    @mutation("Hand a draft in: to approval where prices or terms need it, else it is approved at once.", *SELLING)
    async def submit_quote(self, info: Info, input: QuoteStep) -> QuotePayload | None:
        """Submit it."""
        return await _step(info, input, commerce.submit_quote)

    @mutation("Let an offer go out that needs approval; somebody else than who handed it in does.", *APPROVING)
    async def approve_quote(self, info: Info, input: QuoteStep) -> QuotePayload | None:
        """Approve it."""
        return await _step(info, input, commerce.approve_quote)

    @mutation("Turn what was handed in or approved back into a draft.", *SELLING, *APPROVING)
    async def return_quote(self, info: Info, input: QuoteStep) -> QuotePayload | None:
        """Return it."""
        return await _step(info, input, commerce.return_quote, reason=given(input.reason))

    @mutation("Give the customer an approved quote, or a draft that needs no approval.", *SELLING)
    async def issue_quote(self, info: Info, input: QuoteStep) -> QuotePayload | None:
        """Issue it."""
        return await _step(info, input, commerce.issue_quote)

    @mutation("Note that the customer takes an issued quote.", *SELLING)
    async def accept_quote(self, info: Info, input: QuoteStep) -> QuotePayload | None:
        """Accept it."""
        return await _step(info, input, commerce.accept_quote)

    @mutation("Note that the customer does not take an issued quote.", *SELLING)
    async def reject_quote(self, info: Info, input: QuoteStep) -> QuotePayload | None:
        """Reject it."""
        return await _step(info, input, commerce.reject_quote, reason=given(input.reason))

    @mutation("Let an issued quote hold no longer.", *SELLING)
    async def expire_quote(self, info: Info, input: QuoteStep) -> QuotePayload | None:
        """Expire it."""
        return await _step(info, input, commerce.expire_quote, reason=given(input.reason))

    @mutation("Draft the next revision of an issued, rejected or expired quote.", *SELLING)
    async def revise_quote(
        self, info: Info, input: Annotated[ReviseQuoteInput, strawberry.argument(description="The quote.")]
    ) -> QuotePayload | None:
        """Revise it once."""
        words = {"id": expect("Quote", input.id, "id"), "expected_version": input.expected_version}
        return await _quote(info, await create_once(info, input, commerce.Quote, commerce.revise_quote, words))


FREE = ("account_id", "opportunity_id", "items")
BOTH_WAYS = Text(
    "订单来自报价，或自带客户与明细，二者择一", "an order takes a quote, or an account and lines of its own"
)


def _ordered(input: CreateOrderInput) -> dict[str, Any]:
    words = changes(
        input, "quote_id", "account_id", "opportunity_id", "number", "ordered_at", "payment_terms_days", "po_number", "expected_on", "custom",
        lines="items",
    )  # fmt: skip
    words = translated({name: value for name, value in words.items() if value is not None})
    if ("quote_id" in words) == any(name in words for name in FREE):
        raise Invalid(BOTH_WAYS, ("quoteId",))
    for name, field in (("account_id", "accountId"), ("items", "lines")):
        if "quote_id" not in words and name not in words:
            raise Invalid(BOTH_WAYS, (field,))
    return FORM | words


@strawberry.type
class OrderMutations:
    """Orders, bills and payments."""

    @mutation("Take in a purchase, of an accepted quote or free.", *ORDERING)
    async def create_order(
        self, info: Info, input: Annotated[CreateOrderInput, strawberry.argument(description="The purchase.")]
    ) -> OrderPayload | None:
        """Place it once."""
        words = _ordered(input)
        operation = commerce.order_quote if "quote_id" in words else commerce.place_order
        return await _order(info, await create_once(info, input, commerce.Order, operation, words))

    @mutation("Change what is expected and known of an order; its lines and total stand.", *FULFILLING)
    async def update_order(
        self, info: Info, input: Annotated[UpdateOrderInput, strawberry.argument(description="The change.")]
    ) -> OrderPayload | None:
        """Change it."""
        words = translated(changes(input, "po_number", "expected_on", "delivered_on", "payment_terms_days", "custom"))
        return await _order(info, await _updated(info, "Order", input, commerce.update_order, words))

    @mutation("Take in a bill on an order.", *COLLECTING)
    async def record_invoice(
        self, info: Info, input: Annotated[RecordInvoiceInput, strawberry.argument(description="The bill.")]
    ) -> InvoicePayload | None:
        """Record it once."""
        words = translated(changes(input, "order_id", "number", "amount", "issued_on", "due_on"))
        return await _invoice(info, await create_once(info, input, commerce.Invoice, commerce.record_invoice, words))

    @mutation("Change a bill's due day, or make it void.", *COLLECTING)
    async def update_invoice(
        self, info: Info, input: Annotated[UpdateInvoiceInput, strawberry.argument(description="The change.")]
    ) -> InvoicePayload | None:
        """Change it."""
        words = changes(input, "due_on", "voided_on")
        return await _invoice(info, await _updated(info, "Invoice", input, commerce.update_invoice, words))

    @mutation("Take in a sum that is owed by a day, and what came in of it.", *COLLECTING)
    async def record_payment(
        self, info: Info, input: Annotated[RecordPaymentInput, strawberry.argument(description="The payment.")]
    ) -> PaymentPayload | None:
        """Record it once."""
        words = translated(
            changes(input, "order_id", "invoice_id", "amount", "due_on", "received", "paid_on", "method", "reference")
        )
        return await _payment(info, await create_once(info, input, commerce.Payment, commerce.record_payment, words))

    @mutation("Change what is owed, by when, or what came in.", *COLLECTING)
    async def update_payment(
        self, info: Info, input: Annotated[UpdatePaymentInput, strawberry.argument(description="The change.")]
    ) -> PaymentPayload | None:
        """Change it."""
        words = translated(
            changes(input, "invoice_id", "amount", "due_on", "received", "paid_on", "method", "reference")
        )
        return await _payment(info, await _updated(info, "Payment", input, commerce.update_payment, words))


@strawberry.type
class CommerceMutations(ProductMutations, QuoteMutations, OrderMutations):
    """The mutations of this room."""
