"""Orders of accepted quotes and free ones, invoices, and payments whose status follows from amounts and days."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from domain import commerce
from domain.commerce import Item, Order, OrderLine, Payment, PaymentMethod, PriceBookEntry, Product, Quote, QuoteStatus
from domain.kernel import SYSTEM, ErrorCode, Money, Text
from domain.ledger import AuditEvent
from domain.signals import Signal
from tests.domain.test_commerce.conftest import Company, Refused, cny
from tests.factories import START

TODAY = START.date()


def days(count: int) -> date:
    """So many days from today."""
    return TODAY + timedelta(days=count)


async def product(company: Company, operation: Any, *arguments: Any, who: str = "SALES_OPS", **more: Any) -> Product:
    async with company.database.open_uow(company.people[who]) as uow:
        found: Product = await operation(uow, *arguments, **more)
        return found


# ---- products --------------------------------------------------------------------------------------------------------


async def test_a_code_is_taken_once(company: Company, refused: Refused) -> None:
    words: dict[str, Any] = {
        "name": Text("输液泵", "Infusion Pump"),
        "list_price": cny(9_800),
        "floor_price": cny(8_000),
    }
    pump = await product(company, commerce.create_product, code=" CM-IP1 ", **words)
    assert (pump.code, pump.name_zh) == ("CM-IP1", "输液泵")
    error = await refused(product(company, commerce.create_product, code="CM-IP1", **words))
    assert (error.code, error.path) == (ErrorCode.CONFLICT, ("code",))
    error = await refused(product(company, commerce.create_product, code="CM-IP2", **words | {"name": Text("泵", " ")}))
    assert (error.code, error.path) == (ErrorCode.INVALID, ("nameEn",))


async def test_a_product_changes_where_it_differs(company: Company, refused: Refused) -> None:
    monitor = company.monitor
    words = {"name_zh": "监护仪 PM8", "discontinued": True}
    changed = await product(company, commerce.update_product, monitor.id, expected_version=1, changes=words)
    assert (changed.name_zh, changed.discontinued_at, changed.version) == ("监护仪 PM8", START, 2)
    same = await product(company, commerce.update_product, monitor.id, expected_version=2, changes=words)
    assert same.version == 2
    empty = product(company, commerce.update_product, monitor.id, expected_version=2, changes={"name_en": None})
    assert (await refused(empty)).path == ("nameEn",)
    stale = product(company, commerce.update_product, monitor.id, expected_version=1, changes={"series": "PM"})
    assert (await refused(stale)).code is ErrorCode.STALE_VERSION
    foreign = product(company, commerce.update_product, monitor.id, who="min", expected_version=2, changes={})
    assert (await refused(foreign)).code is ErrorCode.NOT_FOUND


async def test_each_currency_has_its_own_price(company: Company) -> None:
    dollars = (Money(5_400_00, "USD"), Money(4_500_00, "USD"))
    priced = await product(company, commerce.set_price, company.monitor.id, *dollars, expected_version=1)
    assert priced.version == 2
    now = (PriceBookEntry.product_id == priced.id) & PriceBookEntry.valid_to.is_(None)
    async with company.database.read() as connection:
        found = (await connection.execute(select(PriceBookEntry.currency).where(now))).scalars()
        assert sorted(found) == ["CNY", "USD"]


# ---- orders ----------------------------------------------------------------------------------------------------------


async def accepted(company: Company, **changes: Any) -> Quote:
    return await company.quote(status=QuoteStatus.ACCEPTED, **changes)


async def order_of(company: Company, quote: Quote, who: str = "lei", **more: Any) -> Order:
    async with company.database.open_uow(company.people[who]) as uow:
        return await commerce.order_quote(uow, quote.id, **more)


async def test_an_accepted_quote_becomes_one_order(company: Company, refused: Refused) -> None:
    quote = await accepted(company)
    order = await order_of(company, quote, po_number="HZ-2026-88", expected_on=days(45))
    assert (order.number, order.quote_id, order.account_id, order.opportunity_id, order.total, order.payment_terms_days) == (
        "O-2026-000001", quote.id, quote.account_id, quote.opportunity_id, quote.total, 45,
    )  # fmt: skip
    assert (order.po_number, order.expected_on, await company.count(OrderLine)) == ("HZ-2026-88", days(45), 2)
    error = await refused(order_of(company, quote))
    assert (error.code, error.path, error.text.zh) == (
        ErrorCode.CONFLICT, ("quoteId",), "报价 Q-2026-001 已有订单",
    )  # fmt: skip


@pytest.mark.parametrize("status", [status for status in QuoteStatus if status is not QuoteStatus.ACCEPTED])
async def test_no_other_quote_becomes_an_order(company: Company, refused: Refused, status: QuoteStatus) -> None:
    quote = await company.quote(status=status)
    assert (await refused(order_of(company, quote))).code is ErrorCode.CONFLICT


async def test_a_foreign_quote_becomes_no_order(company: Company, refused: Refused) -> None:
    quote = await accepted(company)
    for who in ("na", "CSM", "FINANCE"):
        assert (await refused(order_of(company, quote, who))).code is ErrorCode.NOT_FOUND, who


async def change_order(company: Company, order: Order, who: str = "lei", **changes: Any) -> Order:
    async with company.database.open_uow(company.people[who]) as uow:
        return await commerce.update_order(uow, order.id, expected_version=order.version, changes=changes)


async def test_what_becomes_of_an_order_is_kept_and_its_total_stands(company: Company, refused: Refused) -> None:
    order = await company.order()
    order = await change_order(company, order, "FINANCE", po_number="HZ-1", delivered_on=TODAY)
    assert (order.po_number, order.delivered_on, order.version) == ("HZ-1", TODAY, 2)
    assert (await refused(change_order(company, order, delivered_on=days(-21)))).path == ("deliveredOn",)
    assert (await refused(change_order(company, order, payment_terms_days=-1))).path == ("paymentTermsDays",)
    wrong: list[dict[str, Any]] = [{"total_minor": 1}, {"number": "O-9"}, {"currency": "USD"}]
    for changes in wrong:
        error = await refused(change_order(company, order, **changes))
        assert (error.code, error.text.zh.endswith("的编号与金额不能更改")) == (ErrorCode.CONFLICT, True)


async def test_the_lines_of_an_order_stand(company: Company, refused: Refused) -> None:
    order = await company.order()

    async def touch() -> None:
        async with company.database.open_uow(SYSTEM) as uow:
            line = (await uow.session.execute(select(OrderLine).limit(1))).scalar_one()
            line.quantity += 1
            uow.note("order.changed", order)

    assert (await refused(touch())).code is ErrorCode.CONFLICT


async def test_an_order_without_a_number_gets_the_next_and_keeps_no_gap(company: Company, refused: Refused) -> None:
    words: dict[str, Any] = {"account_id": company.accounts["hospital"], "items": company.items()}

    async def place(**more: Any) -> Order:
        async with company.database.open_uow(company.people["lei"]) as uow:
            return await commerce.place_order(uow, **words | more)

    first = await place()
    await refused(place(items=[Item(company.monitor.id, 0, cny(1))]))
    assert [first.number, (await place()).number, first.ordered_at] == ["O-2026-000001", "O-2026-000002", START]


# ---- invoices --------------------------------------------------------------------------------------------------------


async def bill(company: Company, order: Order, who: str = "FINANCE", **changes: Any) -> commerce.Invoice:
    words: dict[str, Any] = {"number": "24117000001234567890", "amount": cny(100_000), "issued_on": TODAY}
    async with company.database.open_uow(company.people[who]) as uow:
        return await commerce.record_invoice(uow, order_id=order.id, **words | changes)


async def change_bill(company: Company, invoice: commerce.Invoice, **changes: Any) -> commerce.Invoice:
    async with company.database.open_uow(company.people["FINANCE"]) as uow:
        return await commerce.update_invoice(uow, invoice.id, expected_version=invoice.version, changes=changes)


async def test_a_bill_is_recorded_due_and_voided(company: Company, refused: Refused) -> None:
    order = await company.order()
    invoice = await bill(company, order)
    assert (invoice.account_id, invoice.amount_minor) == (order.account_id, 100_000_00)
    invoice = await change_bill(company, invoice, due_on=days(30))
    invoice = await change_bill(company, invoice, voided_on=days(1))
    assert (invoice.due_on, invoice.voided_on, invoice.version) == (days(30), days(1), 3)
    assert (await refused(change_bill(company, invoice, due_on=days(-1)))).path == ("dueOn",)
    assert (await refused(change_bill(company, invoice, voided_on=days(-1)))).path == ("voidedOn",)


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"number": " "}, ErrorCode.INVALID, ("number",)),
        ({"amount": cny(0)}, ErrorCode.INVALID, ("amount", "amount")),
        ({"amount": Money(1, "USD")}, ErrorCode.INVALID, ("amount", "currency")),
        ({"issued_on": days(2)}, ErrorCode.INVALID, ("issuedOn",)),
        ({"due_on": days(-1)}, ErrorCode.INVALID, ("dueOn",)),
        ({"who": "lei"}, ErrorCode.NOT_FOUND, ("orderId",)),
    ],
)
async def test_what_makes_no_bill_is_refused(
    company: Company, refused: Refused, changes: dict[str, Any], code: ErrorCode, path: tuple[str, ...]
) -> None:
    error = await refused(bill(company, await company.order(), **changes))
    assert (error.code, error.path) == (code, path)


async def test_a_bills_number_is_taken_once(company: Company, refused: Refused) -> None:
    order = await company.order()
    await bill(company, order)
    assert (await refused(bill(company, order))).path == ("number",)


# ---- payments --------------------------------------------------------------------------------------------------------


async def pay(company: Company, order: Order, who: str = "FINANCE", **changes: Any) -> Payment:
    words: dict[str, Any] = {"amount": cny(100_000), "due_on": days(30)}
    async with company.database.open_uow(company.people[who]) as uow:
        return await commerce.record_payment(uow, order_id=order.id, **words | changes)


async def change_payment(company: Company, payment: Payment, who: str = "FINANCE", **changes: Any) -> Payment:
    version = changes.pop("version", payment.version)
    async with company.database.open_uow(company.people[who]) as uow:
        return await commerce.update_payment(uow, payment.id, expected_version=version, changes=changes)


async def told(company: Company) -> list[tuple[Any, ...]]:
    """What signals say of money that came in."""
    received = select(Signal.subject_id, Signal.payload, Signal.occurred_at).where(Signal.type == "payment_received")
    async with company.database.read() as connection:
        return [tuple(row) for row in await connection.execute(received.order_by(Signal.id))]


async def test_a_payment_comes_in_by_parts_and_each_part_is_told(company: Company) -> None:
    order = await company.order()
    payment = await pay(company, order)
    assert (payment.received_minor, payment.account_id, await told(company)) == (0, order.account_id, [])
    payment = await change_payment(
        company, payment, received=cny(38_950), paid_on=days(-1), method=PaymentMethod.BANK_TRANSFER
    )
    payment = await change_payment(company, payment, received=cny(77_900), paid_on=TODAY)
    account = company.accounts["hospital"]
    assert await told(company) == [
        (account, {"order": "O-001", "share": 0.1}, datetime(2026, 3, 1, 4, tzinfo=UTC)),
        (account, {"order": "O-001", "share": 0.1}, START),
    ]
    payment = await change_payment(company, payment, reference="招行 尾款")
    same = await change_payment(company, payment, reference="招行 尾款")
    assert (same.version, len(await told(company))) == (payment.version, 2)


async def test_a_day_of_payment_alone_means_all_of_it(company: Company) -> None:
    order = await company.order()
    at_once = await pay(company, order, paid_on=TODAY)
    later = await change_payment(company, await pay(company, order, amount=cny(5)), paid_on=TODAY)
    assert (at_once.received_minor, later.received_minor) == (100_000_00, 5_00)


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"amount": cny(-1)}, ErrorCode.INVALID, ("amount", "amount")),
        ({"amount": Money(1, "USD")}, ErrorCode.INVALID, ("amount", "currency")),
        ({"received": cny(100_001), "paid_on": TODAY}, ErrorCode.INVALID, ("received", "amount")),
        ({"received": cny(-1), "paid_on": TODAY}, ErrorCode.INVALID, ("received", "amount")),
        ({"received": Money(1, "USD"), "paid_on": TODAY}, ErrorCode.INVALID, ("received", "currency")),
        ({"received": cny(1)}, ErrorCode.INVALID, ("paidOn",)),
        ({"received": cny(0), "paid_on": TODAY}, ErrorCode.INVALID, ("paidOn",)),
        ({"paid_on": days(2)}, ErrorCode.INVALID, ("paidOn",)),
        ({"invoice_id": UUID(int=1)}, ErrorCode.NOT_FOUND, ("invoiceId",)),
        ({"who": "lei"}, ErrorCode.NOT_FOUND, ("orderId",)),
    ],
)
async def test_what_makes_no_payment_is_refused(
    company: Company, refused: Refused, changes: dict[str, Any], code: ErrorCode, path: tuple[str, ...]
) -> None:
    order = await company.order()
    error = await refused(pay(company, order, **changes))
    assert (error.code, error.path) == (code, path)
    if "who" not in changes:
        payment = await pay(company, order)
        error = await refused(change_payment(company, payment, **changes))
        assert (error.code, error.path) == (code, path)


async def test_amount_and_day_cannot_be_cleared(company: Company, refused: Refused) -> None:
    payment = await pay(company, await company.order())
    assert (await refused(change_payment(company, payment, amount=None))).path == ("amount",)
    assert (await refused(change_payment(company, payment, due_on=None))).path == ("dueOn",)
    assert (await refused(change_payment(company, payment, version=9, due_on=TODAY))).code is ErrorCode.STALE_VERSION


async def test_a_payment_pays_a_bill_of_its_own_order(company: Company, refused: Refused) -> None:
    order, other = await company.order(), await company.order(number="O-002")
    invoice = await bill(company, order)
    payment = await pay(company, order, invoice_id=invoice.id)
    assert payment.invoice_id == invoice.id
    assert (await refused(pay(company, other, invoice_id=invoice.id))).code is ErrorCode.NOT_FOUND
    await change_bill(company, invoice, voided_on=TODAY)
    assert (await refused(pay(company, order, invoice_id=invoice.id))).code is ErrorCode.CONFLICT


async def test_every_step_is_noted_with_what_it_changed(company: Company) -> None:
    payment = await pay(company, await company.order())
    await change_payment(company, payment, paid_on=TODAY)
    events = select(AuditEvent.action, AuditEvent.detail).where(AuditEvent.subject_id == payment.id)
    async with company.database.read() as connection:
        recorded, updated = (await connection.execute(events.order_by(AuditEvent.id))).all()
    assert [recorded.action, updated.action] == ["payment.recorded", "payment.updated"]
    (change,) = updated.detail["changes"]
    assert change["fields"]["received_minor"] == {"before": 0, "after": 100_000_00}


SIGHTS = {"lei": 1, "na": 0, "min": 1, "FINANCE": 1, "SALES_OPS": 1, "CSM": 0, "LEGAL": 0, "AUDITOR": 0, "EXECUTIVE": 0}


async def test_who_sees_bills_and_payments(company: Company) -> None:
    order = await company.order()
    await bill(company, order)
    await pay(company, order)
    for model in (commerce.Invoice, Payment):
        assert {who: await company.count(model, who) for who in SIGHTS} == SIGHTS
