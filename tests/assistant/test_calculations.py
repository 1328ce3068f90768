"""What records fill in a ROI model: each source, as one reader sees it; what does not fit is left aside and said."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

import knowledge
from assistant import calculations
from assistant.calculations import About, IncompleteError, Reckoned
from domain import commerce, custom_fields
from domain.accounts import Account
from domain.commerce import Item
from domain.custom_fields import CustomField, CustomFieldEntity, CustomFieldKind
from domain.deals import Opportunity
from domain.kernel import SYSTEM, Conflict, Invalid, Language, NotFound, Text
from knowledge import Content, KnowledgeKind, Source
from tests.assistant.company import Company, ago, yuan

SOURCES = {
    "account.employees": "people", "account.annual_revenue": "CNY", "opportunity.amount": "CNY", "quote_total": "CNY", "order_total": "CNY",
    "product.list_price": "CNY", "account.custom.beds": "number", "opportunity.custom.subsidy": "CNY",
}  # fmt: skip
KEYS = {source: source.replace(".", "_") for source in SOURCES}


def model(currency: str = "CNY") -> str:
    """A model that takes every source, with CNY in another currency where one is given."""
    units = {source: unit.replace("CNY", currency) for source, unit in SOURCES.items()}
    inputs = [
        {"key": KEYS[source], "label": {"zh": source, "en": source}, "unit": unit, "min": 0, "max": 1000000000, "from": source}
        for source, unit in units.items()
    ]  # fmt: skip
    step = {
        "key": "all",
        "label": {"zh": "合计", "en": "sum"},
        "unit": currency,
        "formula": "quote_total + order_total",
    }
    example = {"label": {"zh": "例", "en": "example"}, "inputs": dict.fromkeys(KEYS.values(), 1), "results": {"all": 2}}
    body = {"inputs": inputs, "steps": [step], "results": [{"step": "all"}], "examples": [example]}
    return f"## 适用\n各种来源。\n\n```roi\n{json.dumps(body, ensure_ascii=False)}\n```"


async def publish(company: Company, body: str, **dates: Any) -> Any:
    async with company.database.open_uow(SYSTEM) as uow:
        item = await knowledge.draft(
            uow, kind=KnowledgeKind.ROI_MODEL, language=Language.ZH, content=Content("各种来源", body, **dates)
        )
        await knowledge.submit(uow, item.id, None)
        return (await knowledge.publish(uow, item.id, None)).id


async def fill(company: Company) -> None:
    """Put something into every field that a source names and the company does not have yet."""
    async with company.database.open_uow(SYSTEM) as uow:
        for entity, key, kind in (
            (CustomFieldEntity.ACCOUNT, "beds", CustomFieldKind.NUMBER), (CustomFieldEntity.OPPORTUNITY, "subsidy", CustomFieldKind.MONEY),
        ):  # fmt: skip
            await custom_fields.define(uow, entity=entity, key=key, label=Text(key, key), kind=kind)
        account = await uow.session.get_one(Account, company.accounts["hospital"].id)
        account.annual_revenue_minor, account.currency, account.custom = 88_000_000_00, "CNY", {"beds": 420.5}
        deal = await uow.session.get_one(Opportunity, company.deals["hospital"].id)
        deal.custom = {"subsidy": {"amount": "150000.00", "currency": "CNY"}}
        uow.note("account.updated", account)
        uow.note("opportunity.updated", deal)


async def preview(company: Company, item: Any, who: str = "lei", **about: Any) -> Reckoned:
    subject = About(**about) if about else About(opportunity_id=company.deals["hospital"].id)
    return await calculations.preview(company.database, company.people[who], item, {}, subject)


def filled(reckoned: Reckoned) -> dict[str, Decimal]:
    return {each.key: each.value for each in reckoned.computation.inputs if each.source is Source.RECORD}


def asked(reckoned: Reckoned) -> set[str]:
    return {each.key for each in reckoned.computation.questions}


async def test_each_source_fills_its_input_and_names_its_record(company: Company) -> None:
    await fill(company)
    done = await preview(company, await publish(company, model()))
    assert filled(done) == {
        "account_employees": 1200, "account_annual_revenue": 88_000_000, "opportunity_amount": 2_900_000, "quote_total": 2_880_000,
        "order_total": 432_000, "product_list_price": 38_000, "account_custom_beds": Decimal("420.5"), "opportunity_custom_subsidy": 150_000,
    }  # fmt: skip
    assert {key: ref.kind for key, ref in done.records.items()} == {
        "account_employees": "Account", "account_annual_revenue": "Account", "opportunity_amount": "Opportunity", "quote_total": "Quote",
        "order_total": "Order", "product_list_price": "Product", "account_custom_beds": "Account", "opportunity_custom_subsidy": "Opportunity",
    }  # fmt: skip
    assert done.computation.results[0].value == 3_312_000


async def test_nothing_is_guessed_where_records_say_nothing(company: Company) -> None:
    item = await publish(company, model())
    assert asked(await preview(company, item)) == {
        "account_annual_revenue",
        "account_custom_beds",
        "opportunity_custom_subsidy",
    }
    of_customer = await preview(company, item, account_id=company.accounts["hospital"].id)
    assert asked(of_customer) == set(KEYS.values()) - {"account_employees", "order_total"}
    of_lead = await preview(company, item, lead_id=next(iter(company.leads.values())).id)
    assert asked(of_lead) == set(KEYS.values())


async def test_a_quote_for_two_products_has_no_one_list_price(company: Company) -> None:
    await fill(company)
    item = await publish(company, model())
    async with company.database.open_uow(SYSTEM) as uow:
        both = [Item(company.products[code].id, 1, yuan(1000)) for code in ("CM-PM8", "CM-US6")]
        company.database.clock.now += timedelta(days=1)  # type: ignore[attr-defined]
        await commerce.record_quote(
            uow, number="Q-2", opportunity_id=company.deals["hospital"].id, items=both, payment_terms_days=30, issued_at=ago(1), valid_until=ago(-20).date(),
        )  # fmt: skip
    done = await preview(company, item)
    assert asked(done) == {"product_list_price"}


async def test_another_currency_is_left_aside_and_said(company: Company) -> None:
    await fill(company)
    done = await preview(company, await publish(company, model("EUR")))
    assert asked(done) == {KEYS[source] for source, unit in SOURCES.items() if unit == "CNY"}
    notes = {each.key: each.text.zh for each in done.notes}
    assert notes["quote_total"] == "记录中的值没有采用：“quote_total”须以 EUR 计，给的是 CNY"
    assert "product_list_price" not in notes


async def test_a_retired_field_fills_nothing(company: Company) -> None:
    await fill(company)
    item = await publish(company, model())
    async with company.database.open_uow(SYSTEM) as uow:
        field = (await uow.session.execute(select(CustomField).where(CustomField.key == "beds"))).scalar_one()
        await custom_fields.retire(uow, field.id, expected_version=field.version)
    assert asked(await preview(company, item)) == {"account_custom_beds"}


async def test_one_reader_gets_no_more_than_they_see(company: Company) -> None:
    await fill(company)
    item = await publish(company, model())
    for who in ("na", "yu", "dpo"):
        with pytest.raises(NotFound):
            await preview(company, item, who)
    money = {"opportunity_amount", "quote_total", "order_total", "product_list_price"}
    assert set(KEYS.values()) - asked(await preview(company, item, "fang")) == money


async def test_a_model_that_is_not_in_use_is_computed_and_not_kept(company: Company) -> None:
    await fill(company)
    item = await publish(company, model(), effective_from=ago(-300_000))
    subject = About(opportunity_id=company.deals["hospital"].id)
    with pytest.raises(NotFound):
        await preview(company, item)
    with pytest.raises(Conflict):
        async with company.database.open_uow(SYSTEM) as uow:
            await calculations.calculate(uow, item_id=item, answers={}, about=subject)


async def test_a_deal_of_another_customer_and_a_lead_beside_a_deal_are_refused(company: Company) -> None:
    item = await publish(company, model())
    deal = company.deals["hospital"].id
    with pytest.raises(NotFound):
        await preview(company, item, opportunity_id=deal, account_id=company.accounts["clinic"].id)
    with pytest.raises(Invalid) as refused:
        await preview(company, item, opportunity_id=deal, lead_id=next(iter(company.leads.values())).id)
    assert refused.value.path == ("lead",)
    with pytest.raises(IncompleteError) as missing:
        async with company.database.open_uow(company.people["lei"]) as uow:
            await calculations.calculate(uow, item_id=item, answers={}, about=About(opportunity_id=deal))
    assert asked(missing.value.reckoned)
