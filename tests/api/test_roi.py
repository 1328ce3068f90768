"""ROI models through the schema: what they ask, what records fill, what is kept, and who sees it."""

from typing import Any

import pytest

from domain import custom_fields
from domain.custom_fields import CustomFieldEntity, CustomFieldKind
from domain.kernel import SYSTEM, Language, Text
from tests.api.conftest import Answer, Ask, Company
from tests.api.test_knowledge import published

BODY = """## 适用
有维修台账的医院。

## 这样说
这台设备多久回本，用您自己的数来算。

```roi
inputs:
  - {key: devices, label: {zh: 在用台数, en: devices in use}, unit: devices, min: 1, max: 10000, from: account.custom.installed_units}
  - {key: saved, label: {zh: 每台每年省下, en: saved per device and year}, unit: CNY/devices/years, min: 0, max: 100000}
  - {key: staff, label: {zh: 员工数, en: staff}, unit: people, min: 1, max: 1000000, from: account.employees}
  - {key: price, label: {zh: 设备款, en: price}, unit: CNY, min: 0, max: 150000, from: opportunity.amount}
  - {key: upkeep, label: {zh: 每年维护, en: upkeep a year}, unit: CNY/years, min: 0, max: 100000, default: 1000}
steps:
  - {key: saving, label: {zh: 年净节省, en: net saving a year}, unit: CNY/years, decimals: 2, formula: devices * saved - upkeep}
  - {key: payback, label: {zh: 回本时间, en: payback}, unit: months, min: 0, formula: price / saving}
results:
  - {step: saving, decimals: 0}
  - {step: payback, decimals: 1}
examples:
  - label: {zh: 一家医院, en: A hospital}
    inputs: {devices: 50, saved: 500, staff: 100, price: 120000, upkeep: 1000}
    results: {saving: 24000, payback: 60}
```"""
FIGURES = "key label unit value why formula uses"
USED = "key label unit value source recordId"
MODEL = """query($item: ID!) { roiModel(item: $item) { item { id title } versionNumber
  inputs { key label unit least most default filledFrom question } steps { key formula } results { key unit decimals formula }
  examples { label inputs { key value } results { key value } } } }"""
PREVIEW = f"""query($input: PreviewRoiInput!) {{ roiPreview(input: $input) {{ versionNumber questions {{ key text }} refused {{ key text }}
  notes {{ key text }} inputs {{ {USED} }} steps {{ {FIGURES} }} results {{ {FIGURES} }} }} }}"""
KEPT = f"""id versionNumber calculatedAt calculatedBy {{ name }} item {{ id }} account {{ name }} opportunity {{ name }} lead {{ name }}
  inputs {{ {USED} }} steps {{ {FIGURES} }} results {{ {FIGURES} }}"""
CALCULATE = f"""mutation($input: CalculateRoiInput!) {{ calculateRoi(input: $input) {{ calculation {{ {KEPT} }}
  questions {{ key text }} refused {{ key text }} notes {{ key text }} errors {{ path code message }} }} }}"""
LIST = f"query($filter: RoiCalculationFilter) {{ roiCalculations(first: 10, filter: $filter) {{ totalCount edges {{ node {{ {KEPT} }} }} }} }}"
EVENTS = "{ auditEvents(first: 20) { edges { node { action detail } } } }"


@pytest.fixture
async def item(company: Company, ask: Ask) -> str:
    """A published model; the hospital has 50 devices."""
    async with company.database.open_uow(SYSTEM) as uow:
        await custom_fields.define(
            uow, entity=CustomFieldEntity.ACCOUNT, key="installed_units", label=Text("在用设备台数", "Units in use"), kind=CustomFieldKind.NUMBER
        )  # fmt: skip
        account = await uow.session.get(type(company.accounts["hospital"]), company.accounts["hospital"].id)
        assert account is not None
        account.custom = {"installed_units": 50}
        uow.note("account.updated", account)
    return str((await published(ask, kind="ROI_MODEL", title="设备回本账", body=BODY))["id"])


def given(item: str, company: Company, deal: str = "hospital-1", **values: str) -> dict[str, Any]:
    answers = [{"key": key, "value": value} for key, value in values.items()]
    return {"item": item, "inputs": answers, "opportunity": company.id(company.deals[deal])}


def preview(answer: Answer) -> dict[str, Any]:
    assert answer.errors == []
    found: dict[str, Any] = answer.data["roiPreview"]
    return found


async def test_a_model_shows_what_it_asks_in_the_readers_language(company: Company, ask: Ask, item: str) -> None:
    found = (await ask(MODEL, item=item)).data["roiModel"]
    assert (found["item"]["title"], found["versionNumber"]) == ("设备回本账", 1)
    assert [(each["key"], each["label"], each["unit"]) for each in found["inputs"]][:2] == [
        ("devices", "在用台数", "devices"),
        ("saved", "每台每年省下", "CNY/devices/years"),
    ]
    assert (found["inputs"][3]["filledFrom"], found["inputs"][3]["most"]) == ("opportunity.amount", "150000")
    assert found["inputs"][4]["default"] == "1000"
    assert found["inputs"][1]["question"] == "请问每台每年省下是多少？（¥0/台/年 至 ¥100,000/台/年）"
    assert found["results"][1] == {"key": "payback", "unit": "months", "decimals": 1, "formula": "price / saving"}
    assert found["examples"][0]["results"] == [{"key": "saving", "value": "24000"}, {"key": "payback", "value": "60"}]
    english = (await ask(MODEL, language=Language.EN, item=item)).data["roiModel"]
    assert english["inputs"][0]["label"] == "devices in use"


async def test_records_fill_what_the_reader_sees_and_the_rest_is_asked(company: Company, ask: Ask, item: str) -> None:
    asked = preview(await ask(PREVIEW, input=given(item, company)))
    assert [each["key"] for each in asked["questions"]] == ["saved"]
    assert asked["questions"][0]["text"].startswith("请问每台每年省下是多少？")
    assert asked["results"] == []
    done = preview(await ask(PREVIEW, input=given(item, company, saved="500")))
    hospital, deal = company.id(company.accounts["hospital"]), company.id(company.deals["hospital-1"])
    assert [(each["key"], each["value"], each["source"], each["recordId"]) for each in done["inputs"]] == [
        ("devices", "50", "RECORD", hospital),
        ("saved", "500", "ANSWER", None),
        ("staff", "1200", "RECORD", hospital),
        ("price", "100000.00", "RECORD", deal),
        ("upkeep", "1000", "DEFAULT", None),
    ]
    assert [(each["key"], each["value"], each["unit"]) for each in done["results"]] == [
        ("saving", "24000", "CNY/years"),
        ("payback", "50.0", "months"),
    ]
    nobody = preview(await ask(PREVIEW, input={"item": item}))
    assert [each["key"] for each in nobody["questions"]] == ["devices", "saved", "staff", "price"]


async def test_what_somebody_answers_comes_before_what_records_say(company: Company, ask: Ask, item: str) -> None:
    done = preview(await ask(PREVIEW, input=given(item, company, saved="500", devices="20", price="90000")))
    assert [(each["key"], each["value"], each["source"]) for each in done["inputs"] if each["key"] in {"devices", "price"}] == [
        ("devices", "20", "ANSWER"),
        ("price", "90000", "ANSWER"),
    ]  # fmt: skip
    assert done["results"][1]["value"] == "120.0"


async def test_a_record_beyond_the_bounds_is_said_and_asked(company: Company, ask: Ask, item: str) -> None:
    asked = preview(await ask(PREVIEW, input=given(item, company, "hospital-2", saved="500")))
    assert [each["key"] for each in asked["questions"]] == ["price"]
    assert asked["notes"] == [{"key": "price", "text": "记录中的值没有采用：“设备款”须在 ¥0 至 ¥150,000 之间"}]


async def test_foreign_records_fill_nothing(company: Company, ask: Ask, item: str) -> None:
    foreign = await ask(PREVIEW, "na", input=given(item, company, saved="500"))
    assert foreign.codes == ["NOT_FOUND"]
    # Finance sees the customer and the amount, and neither its staff nor the company's own fields.
    seen = preview(await ask(PREVIEW, "FINANCE", input=given(item, company, saved="500")))
    assert [each["key"] for each in seen["questions"]] == ["devices", "staff"]


async def test_a_calculation_is_kept_with_its_sources_and_its_note(company: Company, ask: Ask, item: str) -> None:
    input = given(item, company, saved="500") | {"clientKey": "回本-1"}
    kept = (await ask(CALCULATE, input=input)).data["calculateRoi"]
    assert (kept["errors"], kept["questions"]) == ([], [])
    row = kept["calculation"]
    assert (row["calculatedBy"]["name"], row["account"]["name"], row["opportunity"]["name"]) == (
        "张磊",
        "杭州第一医院",
        "杭州第一医院 第1期",
    )
    assert [(each["key"], each["value"], each["source"]) for each in row["inputs"]][:2] == [
        ("devices", "50", "RECORD"),
        ("saved", "500", "ANSWER"),
    ]
    assert row["inputs"][0]["recordId"] == company.id(company.accounts["hospital"])
    assert [each["value"] for each in row["results"]] == ["24000", "50.0"]
    assert row["steps"][1]["uses"] == ["price", "saving"]
    again = (await ask(CALCULATE, input=input)).data["calculateRoi"]["calculation"]
    assert again["id"] == row["id"]
    other = (await ask(CALCULATE, input=input | {"inputs": []})).data["calculateRoi"]
    assert other["errors"][0]["code"] == "KEY_REUSED"
    events = (await ask(EVENTS, "AUDITOR")).data["auditEvents"]["edges"]
    assert [edge["node"]["action"] for edge in events].count("roi.calculated") == 1


async def test_what_is_asked_or_refused_is_told_and_nothing_is_kept(company: Company, ask: Ask, item: str) -> None:
    asked = (await ask(CALCULATE, input=given(item, company))).data["calculateRoi"]
    assert (asked["calculation"], [each["key"] for each in asked["questions"]]) == (None, ["saved"])
    refused = (await ask(CALCULATE, input=given(item, company, saved="-1", speed="3"))).data["calculateRoi"]
    assert [each["key"] for each in refused["refused"]] == ["saved", "speed"]
    assert refused["refused"][0]["text"].startswith("“每台每年省下”须在")
    assert (await ask(LIST, "AUDITOR")).data["roiCalculations"]["totalCount"] == 0


async def test_what_cannot_be_computed_says_why(company: Company, ask: Ask, item: str) -> None:
    row = (await ask(CALCULATE, input=given(item, company, saved="20"))).data["calculateRoi"]["calculation"]
    assert (row["results"][1]["value"], row["results"][1]["why"]) == (
        None,
        "无法计算：“回本时间”的除数为零，取决于在用台数、每台每年省下、每年维护",
    )


async def test_who_sees_the_deal_sees_what_was_calculated_for_it(company: Company, ask: Ask, item: str) -> None:
    await ask(CALCULATE, input=given(item, company, saved="500"))
    lead = {"item": item, "lead": company.id(company.leads["mine"])}
    answers = {"devices": "5", "saved": "900", "staff": "40", "price": "9000"}
    for_lead = lead | {"inputs": [{"key": key, "value": value} for key, value in answers.items()]}
    assert (await ask(CALCULATE, input=for_lead)).data["calculateRoi"]["calculation"]["lead"]["name"] == "线索mine"
    counts = {who: (await ask(LIST, who)).data["roiCalculations"]["totalCount"] for who in company.people}
    assert {who: count for who, count in counts.items() if count} == {
        "lei": 2,
        "min": 2,
        "SALES_OPS": 1,
        "AUDITOR": 2,
    }
    of_deal = {"opportunity": company.id(company.deals["hospital-1"])}
    found = (await ask(LIST, filter=of_deal)).data["roiCalculations"]["edges"]
    assert [edge["node"]["opportunity"]["name"] for edge in found] == ["杭州第一医院 第1期"]


async def test_only_a_model_in_use_is_kept_and_only_a_model_computes(company: Company, ask: Ask, item: str) -> None:
    faq = await published(ask, kind="FAQ", title="常见问题", body="## 问\n多久到货？\n\n## 答\n三周。")
    wrong = await ask(MODEL, item=faq["id"])
    assert wrong.errors[0]["message"] == "该条目不是 ROI 模型"
    both = given(item, company, saved="500") | {"lead": company.id(company.leads["mine"])}
    assert (await ask(CALCULATE, input=both)).data["calculateRoi"]["errors"][0]["path"] == ["lead"]
    version = (await ask("query($id: ID!) { node(id: $id) { ... on KnowledgeItem { version } } }", "CURATOR", id=item)).data["node"]["version"]  # fmt: skip
    retire = "mutation($input: KnowledgeItemActionInput!) { retireKnowledgeItem(input: $input) { errors { code } } }"
    await ask(retire, "CURATOR", input={"id": item, "expectedVersion": version})
    assert (await ask(CALCULATE, input=given(item, company, saved="500"))).data["calculateRoi"]["errors"][0][
        "code"
    ] == "NOT_FOUND"
    answers = [{"key": key, "value": value} for key, value in {"devices": "5", "saved": "9", "staff": "4", "price": "9"}.items()]  # fmt: skip
    own = {"item": item, "inputs": answers}
    assert (await ask(CALCULATE, "CURATOR", input=own)).data["calculateRoi"]["errors"][0]["code"] == "CONFLICT"


async def test_a_model_that_does_not_hold_is_not_drafted(company: Company, ask: Ask) -> None:
    draft = "mutation($input: DraftKnowledgeItemInput!) { draftKnowledgeItem(input: $input) { item { id } errors { path code message } } }"
    input = {
        "kind": "ROI_MODEL",
        "title": "回本账",
        "language": "ZH",
        "body": BODY.replace("payback: 60", "payback: 61"),
    }
    done = (await ask(draft, "CURATOR", input=input)).data["draftKnowledgeItem"]
    assert (done["item"], done["errors"][0]["path"]) == (None, ["body", "examples", "0", "results", "payback"])
    assert done["errors"][0]["message"] == "算例不成立：写的是 61，算出的是 60.0 个月"
