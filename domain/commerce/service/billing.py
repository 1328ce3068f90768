"""Billing and collection facts: invoices, and payments that are owed and come in."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain import signals
from domain.commerce.model import Invoice, Order, Payment, PaymentMethod
from domain.commerce.service.lines import check_number
from domain.kernel import Conflict, Invalid, Money, Ref, Role, Text, UnitOfWork, load, not_found

COLLECTING = (Role.FINANCE, Role.SALES_OPS, Role.MANAGER)
"""Who keeps what is billed and paid."""
SIGNAL_SOURCE = "payments"
MIDDAY = time(4, tzinfo=UTC)
"""Noon in China: the instant of a payment of which only the day is known."""


async def _order(uow: UnitOfWork, order_id: UUID, amount: Money) -> Order:
    order = await load(uow.session, uow.actor.only(*COLLECTING), Order, order_id, path=("orderId",))
    _check_amount(amount, order.currency)
    return order


def _check_amount(amount: Money, currency: str) -> None:
    if amount.currency != currency:
        words = Text(f"币种须与订单一致（{currency}）", f"the currency must be the order's, {currency}")
        raise Invalid(words, ("amount", "currency"))
    if amount.amount_minor <= 0:
        raise Invalid(Text("金额须为正", "the amount must be positive"), ("amount", "amount"))


def _check_past(uow: UnitOfWork, day: date | None, field: str) -> None:
    if day is not None and day > (uow.now + timedelta(days=1)).date():
        raise Invalid(Text(f"{field} 不能晚于明天", f"{field} is more than a day ahead"), (field,))


# ---- invoices --------------------------------------------------------------------------------------------------------


async def record_invoice(
    uow: UnitOfWork, *, order_id: UUID, number: str, amount: Money, issued_on: date, due_on: date | None = None
) -> Invoice:
    """Take in a bill on an order.

    Raises NotFound for a foreign order, Conflict for a number that is taken, Invalid for an empty number, an amount that
    is not positive or in another currency, a day of issue ahead, or a due day before it.
    """
    check_number(number)
    order = await _order(uow, order_id, amount)
    _check_past(uow, issued_on, "issuedOn")
    _check_due(issued_on, due_on)
    await uow.wait_turn(f"invoice\0{number.strip()}")
    if (await uow.session.execute(select(Invoice.id).where(Invoice.number == number.strip()))).first():
        raise Conflict(Text(f"发票 {number} 已存在", f"there is an invoice {number} already"), ("number",))
    invoice = Invoice(
        id=uow.new_id(), number=number.strip(), order_id=order.id, account_id=order.account_id, amount_minor=amount.amount_minor,
        currency=amount.currency, issued_on=issued_on, due_on=due_on,
    )  # fmt: skip
    uow.session.add(invoice)
    uow.note("invoice.recorded", invoice)
    await uow.session.flush()
    return invoice


def _check_due(issued_on: date, due_on: date | None) -> None:
    if due_on is not None and due_on < issued_on:
        raise Invalid(Text("到期日早于开票日", "due before it was issued"), ("dueOn",))


async def update_invoice(uow: UnitOfWork, id: UUID, *, expected_version: int, changes: Mapping[str, Any]) -> Invoice:
    """Change `due_on` or `voided_on`; number and amount stand, a wrong invoice is voided.

    Raises NotFound, StaleVersion, Invalid for days that do not follow its issue.
    """
    actor = uow.actor.only(*COLLECTING)
    invoice = await load(uow.session, actor, Invoice, id, expected_version=expected_version, lock=True)
    _check_due(invoice.issued_on, changes.get("due_on"))
    voided = changes.get("voided_on")
    _check_past(uow, voided, "voidedOn")
    if voided is not None and voided < invoice.issued_on:
        raise Invalid(Text("作废日早于开票日", "voided before it was issued"), ("voidedOn",))
    if invoice.change(changes):
        uow.note("invoice.updated", invoice)
    await uow.session.flush()
    return invoice


# ---- payments --------------------------------------------------------------------------------------------------------


async def record_payment(
    uow: UnitOfWork, *, order_id: UUID, amount: Money, due_on: date, received: Money | None = None, paid_on: date | None = None,
    invoice_id: UUID | None = None, method: PaymentMethod | None = None, reference: str | None = None,
) -> Payment:  # fmt: skip
    """Take in a sum that is owed on an order by a day, and what came in of it; with a day of payment alone, all of it.

    What came in is told by the signal `payment_received` on the account.

    Raises NotFound for a foreign order or an invoice of another one, Conflict for a void invoice, Invalid for amounts that
    are not positive, in another currency or more than is owed, or a day of payment that is missing, idle or ahead.
    """
    order = await _order(uow, order_id, amount)
    payment = Payment(
        id=uow.new_id(), order_id=order.id, account_id=order.account_id, opportunity_id=order.opportunity_id, amount_minor=amount.amount_minor,
        received_minor=0, currency=amount.currency, due_on=due_on,
    )  # fmt: skip
    given = {
        "received": received,
        "paid_on": paid_on,
        "invoice_id": invoice_id,
        "method": method,
        "reference": reference,
    }
    await _settle(uow, payment, {name: value for name, value in given.items() if value is not None})
    uow.session.add(payment)
    uow.note("payment.recorded", payment)
    await uow.session.flush()
    await _tell(uow, payment, order, payment.received_minor)
    return payment


async def update_payment(uow: UnitOfWork, id: UUID, *, expected_version: int, changes: Mapping[str, Any]) -> Payment:
    """Change `amount`, `due_on`, `received`, `paid_on`, `invoice_id`, `method` or `reference`.

    Raises NotFound, StaleVersion, and what `record_payment` does.
    """
    actor = uow.actor.only(*COLLECTING)
    payment = await load(uow.session, actor, Payment, id, expected_version=expected_version, lock=True)
    before = payment.received_minor
    if not await _settle(uow, payment, changes):
        return payment
    uow.note("payment.updated", payment)
    await uow.session.flush()
    if payment.received_minor > before:
        order = (await uow.session.execute(select(Order).where(Order.id == payment.order_id))).scalar_one()
        await _tell(uow, payment, order, payment.received_minor - before)
    return payment


async def _settle(uow: UnitOfWork, payment: Payment, changes: Mapping[str, Any]) -> bool:
    """Put the changes on a payment that makes sense with them; whether there is any."""
    values = dict(changes)
    for name in {"amount", "due_on"} & values.keys():
        if values[name] is None:
            raise Invalid(Text("应付金额和到期日不能为空", "amount and due day are needed"), (_CAMEL[name],))
    amount: Money = values.pop("amount", Money(payment.amount_minor, payment.currency))
    _check_amount(amount, payment.currency)
    paid_on = values.get("paid_on", payment.paid_on)
    received: Money | None = values.pop("received", Money(payment.received_minor, payment.currency))
    if paid_on is not None and "received" not in changes and payment.received_minor == 0:
        received = amount
    _check_received(received or Money(0, payment.currency), amount, paid_on)
    _check_past(uow, paid_on, "paidOn")
    await _check_invoice(uow, payment, values.get("invoice_id"))
    values |= {"amount_minor": amount.amount_minor, "received_minor": received.amount_minor if received else 0}
    return payment.change(values)


_CAMEL = {"amount": "amount", "due_on": "dueOn"}


def _check_received(received: Money, amount: Money, paid_on: date | None) -> None:
    if received.currency != amount.currency:
        words = Text(f"币种须与订单一致（{amount.currency}）", f"the currency must be the order's, {amount.currency}")
        raise Invalid(words, ("received", "currency"))
    if not 0 <= received.amount_minor <= amount.amount_minor:
        words = Text("实收须在 0 与应付金额之间", "what came in must be from 0 to what is owed")
        raise Invalid(words, ("received", "amount"))
    if (paid_on is None) != (received.amount_minor == 0):
        words = Text(
            "有实收才有付款日期，二者须一起填", "a day of payment goes with what came in, and the other way round"
        )
        raise Invalid(words, ("paidOn",))


async def _check_invoice(uow: UnitOfWork, payment: Payment, invoice_id: UUID | None) -> None:
    if invoice_id is None:
        return
    invoice = await load(uow.session, uow.actor, Invoice, invoice_id, path=("invoiceId",))
    if invoice.order_id != payment.order_id:
        raise not_found("Invoice", ("invoiceId",))
    if invoice.voided_on is not None:
        raise Conflict(Text(f"发票 {invoice.number} 已作废", f"invoice {invoice.number} is void"), ("invoiceId",))


async def _tell(uow: UnitOfWork, payment: Payment, order: Order, minor: int) -> None:
    """Have the account's signals say that money came in."""
    if minor <= 0 or payment.paid_on is None:
        return
    payload: dict[str, Any] = {"order": order.number}
    if order.total_minor > 0:
        payload["share"] = round(minor / order.total_minor, 4)
    at = min(datetime.combine(payment.paid_on, MIDDAY), uow.now)
    await signals.record(
        uow, type="payment_received", subject=Ref("Account", order.account_id), source=SIGNAL_SOURCE,
        dedupe_key=f"{payment.id.hex}/{payment.version}", occurred_at=at, payload=payload,
    )  # fmt: skip
