"""Commerce on real databases: prices, recorded quotes that stand, orders alone and in bulk, and who sees them."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from domain import commerce
from domain.commerce import Item, Order, OrderLine, PriceBookEntry, Product, Quote, QuoteLine, QuoteStatus
from domain.kernel import SYSTEM, ErrorCode, Money, Text, field_visible, load
from domain.ledger import AuditEvent, ImportBatch
from tests.domain.test_commerce.conftest import Company, Refused, cny
from tests.factories import START


async def test_a_product_is_added_once(company: Company) -> None:
    before = await company.counts()
    async with company.database.open_uow(SYSTEM) as uow:
        again = await commerce.add_product(
            uow, code="CM-PM8", name=Text("别的", "Other"), list_price=cny(1), floor_price=cny(1)
        )
    assert (again.id, again.name_zh, await company.counts()) == (company.monitor.id, "病人监护仪 PM8", before)


@pytest.mark.parametrize(
    "floor", [cny(0), cny(40_000), Money(31_500_00, "USD")], ids=["zero", "above list", "other currency"]
)
async def test_an_unsound_floor_is_refused(company: Company, refused: Refused, floor: Money) -> None:
    async def set_price() -> None:
        async with company.database.open_uow(SYSTEM) as uow:
            await commerce.set_price(uow, company.monitor.id, cny(38_000), floor)

    error = await refused(set_price())
    assert (error.code, error.path, error.text.zh) == (
        ErrorCode.INVALID,
        ("floorPrice",),
        "CM-PM8 的底价须为正、不高于目录价、币种一致",
    )


async def test_a_new_price_ends_the_one_before(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await commerce.set_price(uow, company.monitor.id, cny(39_000), cny(34_650))
    entries = select(PriceBookEntry.floor_minor, PriceBookEntry.valid_to).where(
        PriceBookEntry.product_id == company.monitor.id
    )
    async with company.database.read() as connection:
        found = (await connection.execute(entries.order_by(PriceBookEntry.id))).all()
    assert [tuple(row) for row in found] == [(31_500_00, START), (34_650_00, None)]


async def test_a_quote_sums_its_lines_and_is_noted(company: Company) -> None:
    quote = await company.quote()
    assert (quote.total, quote.status, quote.issued_at, quote.account_id) == (
        cny(389_500),
        QuoteStatus.ISSUED,
        START,
        company.accounts["hospital"],
    )
    assert await company.count(QuoteLine) == 2
    async with company.database.read() as connection:
        event = (await connection.execute(select(AuditEvent.__table__).where(AuditEvent.subject_id == quote.id))).one()
    assert event.action == "quote.issued"
    assert len(event.detail["changes"]) == 3


@pytest.mark.parametrize("status", list(QuoteStatus))
async def test_only_what_the_customer_has_is_issued(company: Company, status: QuoteStatus) -> None:
    quote = await company.quote(status=status)
    assert (quote.issued_at is not None) == (
        status not in {QuoteStatus.DRAFT, QuoteStatus.IN_APPROVAL, QuoteStatus.APPROVED}
    )


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"number": " "}, ErrorCode.INVALID, ("number",)),
        ({"items": []}, ErrorCode.INVALID, ("lines",)),
        ({"items": [Item(UUID(int=1), 0, cny(1))]}, ErrorCode.INVALID, ("lines",)),
        ({"items": [Item(UUID(int=1), 1, cny(-1))]}, ErrorCode.INVALID, ("lines",)),
        (
            {"items": [Item(UUID(int=1), 1, cny(1)), Item(UUID(int=1), 1, Money(1, "USD"))]},
            ErrorCode.INVALID,
            ("lines",),
        ),
        ({"items": [Item(UUID(int=1), 1, cny(1))]}, ErrorCode.NOT_FOUND, ("lines", "productId")),
        ({"payment_terms_days": -1}, ErrorCode.INVALID, ("paymentTermsDays",)),
        ({"opportunity_id": UUID(int=1)}, ErrorCode.NOT_FOUND, ("opportunityId",)),
    ],
)
async def test_what_makes_no_quote_is_refused(
    company: Company, refused: Refused, changes: dict[str, Any], code: ErrorCode, path: tuple[str, ...]
) -> None:
    error = await refused(company.quote(**changes))
    assert (error.code, error.path) == (code, path)


async def test_a_foreign_deal_and_a_taken_number_are_refused(company: Company, refused: Refused) -> None:
    assert (await refused(company.quote("na"))).code is ErrorCode.NOT_FOUND
    await company.quote()
    error = await refused(company.quote())
    assert (error.code, error.text.zh) == (ErrorCode.CONFLICT, "报价编号 Q-2026-001 已存在")


async def change_quote(company: Company, quote: Quote, **values: Any) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        row = await load(uow.session, SYSTEM, Quote, quote.id)
        for name, value in values.items():
            setattr(row, name, value)
        uow.note("quote.changed", row)


@pytest.mark.parametrize(
    "values",
    [
        {"total_minor": 1},
        {"payment_terms_days": 90},
        {"status": QuoteStatus.DRAFT, "number": "Q-9"},
        {"valid_until": date(2027, 1, 1)},
    ],
)
async def test_an_issued_quote_stands(company: Company, refused: Refused, values: dict[str, Any]) -> None:
    quote = await company.quote()
    error = await refused(change_quote(company, quote, **values))
    assert (error.code, error.text.zh.endswith("已发出，不能再改")) == (ErrorCode.CONFLICT, True)


async def test_an_issued_quote_is_accepted_and_a_draft_changes(company: Company) -> None:
    await change_quote(company, await company.quote(), status=QuoteStatus.ACCEPTED)
    await change_quote(company, await company.quote(number="Q-2", status=QuoteStatus.DRAFT), payment_terms_days=60)
    async with company.database.read() as connection:
        found = (await connection.execute(select(Quote.status, Quote.payment_terms_days).order_by(Quote.number))).all()
    assert [tuple(row) for row in found] == [(QuoteStatus.DRAFT, 60), (QuoteStatus.ACCEPTED, 45)]


@pytest.mark.parametrize("way", ["changed", "deleted"])
async def test_the_lines_of_a_quote_stand(company: Company, refused: Refused, way: str) -> None:
    quote = await company.quote()

    async def touch() -> None:
        async with company.database.open_uow(SYSTEM) as uow:
            line = (await uow.session.execute(select(QuoteLine).limit(1))).scalar_one()
            if way == "deleted":
                await uow.session.delete(line)
            else:
                line.unit_price_minor -= 1
            uow.note("quote.changed", quote)

    assert (await refused(touch())).code is ErrorCode.CONFLICT


async def test_an_order_sums_its_lines(company: Company) -> None:
    order = await company.order(opportunity_id=company.deals["hospital"])
    assert (order.total, order.ordered_at, await company.count(OrderLine)) == (
        cny(389_500),
        START - timedelta(days=20),
        2,
    )


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"number": ""}, ErrorCode.INVALID, ("number",)),
        ({"items": ()}, ErrorCode.INVALID, ("lines",)),
        ({"ordered_at": START + timedelta(days=1, seconds=1)}, ErrorCode.INVALID, ("orderedAt",)),
        ({"account_id": UUID(int=1)}, ErrorCode.NOT_FOUND, ("accountId",)),
        ({"opportunity_id": UUID(int=1)}, ErrorCode.NOT_FOUND, ("opportunityId",)),
        ({"items": (Item(UUID(int=1), 1, cny(1)),)}, ErrorCode.NOT_FOUND, ("lines", "productId")),
    ],
)
async def test_what_makes_no_order_is_refused_alone_and_in_bulk(
    company: Company, refused: Refused, changes: dict[str, Any], code: ErrorCode, path: tuple[str, ...]
) -> None:
    error = await refused(company.order(**changes))
    assert (error.code, error.path) == (code, path)
    bulk = await refused(company.orders([company.purchase("O-0"), company.purchase(**{"number": "O-1"} | changes)]))
    assert (bulk.code, bulk.path) == (code, path if "productId" in path else ("1", *path))


async def test_a_deal_of_another_account_and_a_taken_number_are_refused(company: Company, refused: Refused) -> None:
    assert (await refused(company.order("system", opportunity_id=company.deals["device"]))).path == ("opportunityId",)
    assert (await refused(company.order("na"))).path == ("accountId",)
    await company.order()
    assert (await refused(company.order())).text.zh == "订单编号 O-001 已存在"
    await company.order(source="ERP")


async def test_orders_come_in_bulk_once(company: Company) -> None:
    purchases = [company.purchase(f"O-{number}") for number in range(700)]
    before = await company.counts()
    assert await company.orders([*purchases, purchases[0]]) == 700
    after = await company.counts()
    assert (after[0] - before[0], await company.count(Order), await company.count(OrderLine)) == (1, 700, 1400)
    assert await company.orders([*purchases, company.purchase("O-700")]) == 1
    assert await company.orders(purchases) == 0
    assert await company.orders([]) == 0
    async with company.database.read() as connection:
        batches = (
            await connection.execute(select(ImportBatch.source, ImportBatch.row_count).order_by(ImportBatch.id))
        ).all()
        totals = set(
            (await connection.execute(select(Order.total_minor).where(Order.import_batch_id.is_not(None)))).scalars()
        )
    assert ([tuple(batch) for batch in batches], totals) == ([("ERP", 2100), ("ERP", 3)], {389_500_00})


SIGHTS = {
    "lei": (1, 2, 1, 2, 2), "na": (0, 0, 0, 0, 2), "min": (1, 2, 1, 2, 2), "FINANCE": (1, 2, 1, 2, 2), "SALES_OPS": (1, 2, 1, 2, 2), "CSM": (0, 0, 0, 0, 2),
    "EXECUTIVE": (0, 0, 0, 0, 0), "CURATOR": (0, 0, 0, 0, 0), "LEGAL": (0, 0, 0, 0, 0), "AUDITOR": (0, 0, 0, 0, 0), "DPO": (0, 0, 0, 0, 0), "ADMIN": (0, 0, 0, 0, 0),
}  # fmt: skip


async def test_who_reads_quotes_orders_and_prices(company: Company) -> None:
    await company.quote()
    await company.order()
    seen = {
        who: tuple([await company.count(model, who) for model in (Quote, QuoteLine, Order, OrderLine, PriceBookEntry)])
        for who in SIGHTS
    }
    assert seen == SIGHTS
    assert {await company.count(Product, who) for who in SIGHTS} == {2}


@pytest.mark.parametrize("who", ["lei", "min", "FINANCE"])
async def test_who_prices_sees_the_floor(company: Company, who: str) -> None:
    assert str(field_visible(PriceBookEntry, "floor_price", company.people[who])) == "true"


async def test_who_looks_after_customers_sees_the_list_price_alone(company: Company) -> None:
    assert str(field_visible(PriceBookEntry, "floor_price", company.people["CSM"])) == "false"
