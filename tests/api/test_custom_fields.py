"""Custom fields through the schema: declared, filled in, shown in the reader's language, filtered on both databases."""

from typing import Any

import pytest

from domain.kernel import Language
from tests.api.conftest import Ask, Company, Statements

DEFINE = """mutation($input: DefineCustomFieldInput!) { defineCustomField(input: $input) {
  customField { id version key label labelZh kind required retiredAt choices { key label retired } } errors { path code message } } }"""
UPDATE = """mutation($input: UpdateCustomFieldInput!) { updateCustomField(input: $input) {
  customField { label version choices { key label retired } } errors { path code message } } }"""
RETIRE = """mutation($input: RetireCustomFieldInput!) { retireCustomField(input: $input) {
  customField { retiredAt } errors { path code } } }"""
EDIT = """mutation($input: UpdateAccountInput!) { updateAccount(input: $input) {
  account { version customFields { key label kind text value } } errors { path code message } } }"""
LIST = "query($custom: [CustomFieldFilter!]) { accounts(filter: { custom: $custom }) { totalCount edges { node { name } } } }"

FIELDS: list[dict[str, Any]] = [
    {"key": "level", "labelZh": "客户等级", "labelEn": "Level", "kind": "CHOICE", "choices": [
        {"key": "strategic", "labelZh": "战略客户", "labelEn": "Strategic"}, {"key": "key", "labelZh": "重点客户", "labelEn": "Key account"}]},
    {"key": "beds", "labelZh": "床位数", "labelEn": "Beds", "kind": "NUMBER"},
    {"key": "opened", "labelZh": "开业日期", "labelEn": "Opened", "kind": "DATE"},
    {"key": "public", "labelZh": "公立", "labelEn": "Public", "kind": "BOOLEAN"},
    {"key": "note", "labelZh": "备注", "labelEn": "Note", "kind": "TEXT"},
    {"key": "budget", "labelZh": "年度预算", "labelEn": "Yearly budget", "kind": "MONEY"},
]  # fmt: skip
VALUES: dict[str, dict[str, Any]] = {
    "hospital": {
        "level": "strategic", "beds": 1200, "opened": "1998-05-01", "public": True, "note": "三甲，100%公立_医院", "budget": {"amount": "9500000", "currency": "CNY"},
    },
    "parts": {"level": "key", "beds": 9.5, "opened": "2012-10-08", "public": False, "budget": {"amount": "800000.00", "currency": "USD"}},
    "device": {"note": "Private clinic"},
}  # fmt: skip


async def define_all(ask: Ask) -> None:
    for field in FIELDS:
        answer = await ask(DEFINE, "SALES_OPS", input={"clientKey": field["key"], "entity": "ACCOUNT"} | field)
        assert answer.data["defineCustomField"]["errors"] == []


async def edit(ask: Ask, company: Company, key: str, values: dict[str, Any], who: str = "min", **more: Any) -> Any:
    custom = [{"key": name, "value": value} for name, value in values.items()]
    found = await ask("query($id: ID!) { node(id: $id) { ... on Account { version } } }", who, id=account(company, key))
    version = found.data["node"]["version"]
    answer = await ask(
        EDIT, who, input={"id": account(company, key), "expectedVersion": version, "custom": custom}, **more
    )
    assert answer.errors == []
    return answer.data["updateAccount"]


def account(company: Company, key: str) -> str:
    return company.id(company.accounts[key])


@pytest.fixture
async def filled(company: Company, ask: Ask) -> Company:
    await define_all(ask)
    for key, values in VALUES.items():
        assert (await edit(ask, company, key, values))["errors"] == []
    return company


async def test_a_field_is_declared_filled_in_and_read_in_both_languages(company: Company, ask: Ask) -> None:
    await define_all(ask)
    told = await edit(ask, company, "hospital", VALUES["hospital"])
    assert [(one["label"], one["text"]) for one in told["account"]["customFields"]] == [
        ("客户等级", "战略客户"), ("床位数", "1,200"), ("开业日期", "1998年5月1日"), ("公立", "是"), ("备注", "三甲，100%公立_医院"), ("年度预算", "¥9,500,000"),
    ]  # fmt: skip
    assert [one["value"] for one in told["account"]["customFields"]][:4] == ["strategic", 1200, "1998-05-01", True]
    english = await edit(ask, company, "hospital", {"note": None}, language=Language.EN)
    assert [(one["label"], one["text"]) for one in english["account"]["customFields"]] == [
        ("Level", "Strategic"), ("Beds", "1,200"), ("Opened", "May 1, 1998"), ("Public", "Yes"), ("Yearly budget", "CN¥9,500,000"),
    ]  # fmt: skip


async def test_what_cannot_be_taken_is_told_and_nothing_changes(company: Company, ask: Ask) -> None:
    await define_all(ask)
    before = await edit(ask, company, "hospital", {"beds": 5})
    for values, key, word in (
        ({"level": "钻石"}, "level", "战略客户（strategic）"),
        ({"beds": "五"}, "beds", "数字"),
        ({"bedz": 5}, "bedz", "bedz"),
        ({"beds": 6, "opened": "昨天"}, "opened", "2026-03-02"),
    ):
        told = await edit(ask, company, "hospital", values)
        assert told["account"] is None
        assert [(error["path"], error["code"]) for error in told["errors"]] == [(["custom", key], "INVALID")]
        assert word in told["errors"][0]["message"]
    twice = {
        "id": account(company, "hospital"), "expectedVersion": before["account"]["version"], "custom": [{"key": "beds", "value": 1}, {"key": "beds", "value": 2}],
    }  # fmt: skip
    told = (await ask(EDIT, "min", input=twice)).data["updateAccount"]
    assert [(error["path"], error["code"]) for error in told["errors"]] == [(["custom", "beds"], "INVALID")]
    assert (await edit(ask, company, "hospital", {}))["account"] == before["account"]


FOUND: list[tuple[list[dict[str, Any]], set[str]]] = [
    ([{"key": "level", "is": "strategic"}], {"hospital"}),
    ([{"key": "level", "oneOf": ["strategic", "key"]}], {"hospital", "parts"}),
    ([{"key": "level", "oneOf": []}], set()),
    ([{"key": "level", "isSet": False}], {"device"}),
    ([{"key": "level", "isSet": True}, {"key": "public", "is": False}], {"parts"}),
    ([{"key": "beds", "atLeast": 9.5}], {"hospital", "parts"}),
    ([{"key": "beds", "atLeast": 10, "atMost": 1200}], {"hospital"}),
    ([{"key": "beds", "is": 1200}], {"hospital"}),
    ([{"key": "opened", "atMost": "2000-01-01"}], {"hospital"}),
    ([{"key": "opened", "atLeast": "2012-10-08", "atMost": "2012-10-08"}], {"parts"}),
    ([{"key": "public", "is": True}], {"hospital"}),
    ([{"key": "note", "contains": "公立"}], {"hospital"}),
    ([{"key": "note", "contains": "100%公立_"}], {"hospital"}),
    ([{"key": "note", "contains": "PRIVATE"}], {"device"}),
    ([{"key": "note", "contains": "%"}], {"hospital"}),
    ([{"key": "note", "is": "'; DROP TABLE accounts; --"}], set()),
    ([{"key": "budget", "is": {"amount": "9500000.00", "currency": "CNY"}}], {"hospital"}),
    ([{"key": "budget", "atLeast": {"amount": "1000", "currency": "usd"}}], {"parts"}),
    ([{"key": "budget", "atMost": {"amount": "1000", "currency": "CNY"}}], set()),
    ([], {"hospital", "parts", "device"}),
]  # fmt: skip


async def test_lists_are_filtered_by_every_kind(filled: Company, ask: Ask) -> None:
    for custom, expected in FOUND:
        answer = await ask(LIST, "min", custom=custom)
        assert answer.errors == []
        names = {edge["node"]["name"] for edge in answer.data["accounts"]["edges"]}
        assert names == {filled.accounts[key].name for key in expected}, custom
        assert answer.data["accounts"]["totalCount"] == len(expected)


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"key": "bedz", "is": 5}, ["filter", "custom", "bedz"]),
    ({"key": "beds", "is": "五"}, ["filter", "custom", "beds", "is"]),
    ({"key": "beds", "oneOf": [5, "五"]}, ["filter", "custom", "beds", "oneOf"]),
    ({"key": "beds", "oneOf": [5] * 101}, ["filter", "custom", "beds", "oneOf"]),
    ({"key": "level", "atLeast": "key"}, ["filter", "custom", "level", "atLeast"]),
    ({"key": "note", "atMost": "中"}, ["filter", "custom", "note", "atMost"]),
    ({"key": "beds", "contains": "5"}, ["filter", "custom", "beds", "contains"]),
    ({"key": "budget", "atLeast": 5}, ["filter", "custom", "budget", "atLeast"]),
]


async def test_a_filter_that_cannot_be_asked_is_refused(filled: Company, ask: Ask) -> None:
    for condition, path in WRONG:
        answer = await ask(LIST, "min", custom=[condition])
        assert answer.codes == ["INVALID"], condition
        assert answer.errors[0]["extensions"]["path"] == path


async def test_withheld_values_are_neither_shown_nor_found_out(filled: Company, ask: Ask) -> None:
    """FINANCE sees the names of accounts, not what the company added to them."""
    shown = await ask("{ accounts { edges { node { name customFields { key } } } } }", "FINANCE")
    assert [edge["node"]["customFields"] for edge in shown.data["accounts"]["edges"]] == [[], [], []]
    for condition in (
        {"key": "level", "is": "strategic"},
        {"key": "beds", "atLeast": 1},
        {"key": "note", "isSet": True},
    ):
        found = await ask(LIST, "FINANCE", custom=[condition])
        assert (found.errors, found.data["accounts"]["totalCount"]) == ([], 0)


async def test_values_of_many_records_take_one_statement_more(
    filled: Company, ask: Ask, statements: Statements
) -> None:
    document = "{ accounts { edges { node { name customFields { label text } } } } }"
    answer = await ask(document, "min")
    assert answer.errors == []
    assert len(statements) == 2


async def test_a_retired_field_is_shown_and_taken_no_more(filled: Company, ask: Ask) -> None:
    listed = await ask("{ customFields(entity: ACCOUNT) { id version key } }", "lei")
    note = next(one for one in listed.data["customFields"] if one["key"] == "note")
    answer = await ask(RETIRE, "ADMIN", input={"id": note["id"], "expectedVersion": note["version"]})
    assert answer.data["retireCustomField"]["errors"] == []
    told = await edit(ask, filled, "hospital", {"beds": 1})
    assert "note" not in [one["key"] for one in told["account"]["customFields"]]
    assert (await edit(ask, filled, "hospital", {"note": "新"}))["errors"][0]["path"] == ["custom", "note"]
    assert (await ask(LIST, "min", custom=[{"key": "note", "contains": "公"}])).codes == ["INVALID"]
    query = "{ now: customFields(entity: ACCOUNT) { key } ever: customFields(entity: ACCOUNT, includeRetired: true) { key retiredAt } }"
    lists = (await ask(query, "lei")).data
    assert len(lists["ever"]) == len(lists["now"]) + 1
    again = await ask(RETIRE, "ADMIN", input={"id": note["id"], "expectedVersion": note["version"] + 1})
    assert again.data["retireCustomField"]["errors"] == [{"path": ["id"], "code": "CONFLICT"}]


async def test_choices_change_and_those_in_use_stay_readable(filled: Company, ask: Ask) -> None:
    listed = await ask("{ customFields(entity: ACCOUNT) { id version key } }", "lei")
    level = next(one for one in listed.data["customFields"] if one["key"] == "level")
    choices = [{"key": "key", "labelZh": "核心客户", "labelEn": "Core"}]
    change = {"id": level["id"], "expectedVersion": level["version"], "choices": choices, "labelZh": "级别"}
    told = (await ask(UPDATE, "SALES_OPS", input=change)).data["updateCustomField"]
    assert told["errors"] == []
    assert told["customField"]["label"] == "级别"
    assert [(one["key"], one["label"], one["retired"]) for one in told["customField"]["choices"]] == [
        ("key", "核心客户", False),
        ("strategic", "战略客户", True),
    ]
    stale = (await ask(UPDATE, "SALES_OPS", input=change)).data["updateCustomField"]
    assert [(error["path"], error["code"]) for error in stale["errors"]] == [(["expectedVersion"], "STALE_VERSION")]
    assert (await edit(ask, filled, "parts", {"level": "strategic"}))["errors"][0]["code"] == "INVALID"
    assert (await ask(LIST, "min", custom=[{"key": "level", "is": "strategic"}])).data["accounts"]["totalCount"] == 1


async def test_sellers_declare_nothing(company: Company, ask: Ask) -> None:
    for who in ("lei", "min", "FINANCE", "AUDITOR"):
        answer = await ask(DEFINE, who, input={"clientKey": "1", "entity": "ACCOUNT"} | FIELDS[1])
        assert [error["code"] for error in answer.data["defineCustomField"]["errors"]] == ["FORBIDDEN"]
    assert (await ask("{ customFields(entity: ACCOUNT) { key } }", "lei")).data == {"customFields": []}


# ---- the other records -----------------------------------------------------------------------------------------------

VALUE = [{"key": "channel", "value": "老客户介绍"}]
SHOWN = [{"label": "渠道", "text": "老客户介绍"}]
MONEY = {"amount": "100", "currency": "CNY"}


async def _made(ask: Ask, company: Company, entity: str) -> tuple[str, str, dict[str, Any]]:
    """Who makes and changes a record of an entity, the stem of its mutations, and what making it takes."""
    deal = company.deals["hospital-1"]
    product = await ask(
        "mutation($input: CreateProductInput!) { createProduct(input: $input) { product { id } errors { message } } }", "SALES_OPS",
        input={"clientKey": "p", "code": "P-9", "nameZh": "监护仪", "nameEn": "Monitor", "listPrice": MONEY, "floorPrice": MONEY},
    )  # fmt: skip
    assert product.data["createProduct"]["errors"] == []
    lines = [{"productId": product.data["createProduct"]["product"]["id"], "quantity": 2, "unitPrice": MONEY}]
    key = {"clientKey": "记录"}
    made: dict[str, tuple[str, str, dict[str, Any]]] = {
        "CONTACT": ("lei", "Contact", key | {"accountId": account(company, "hospital"), "name": "陈芳"}),
        "LEAD": ("lei", "Lead", {"source": "展会", "externalId": "9", "name": "赵工", "claim": True}),
        "OPPORTUNITY": ("lei", "Opportunity", key | {"accountId": account(company, "hospital"), "name": "二期"}),
        "PRODUCT": ("SALES_OPS", "Product", key | {"code": "P-10", "nameZh": "呼吸机", "nameEn": "Ventilator", "listPrice": MONEY, "floorPrice": MONEY}),
        "QUOTE": ("lei", "Quote", key | {"opportunityId": company.id(deal), "lines": lines}),
        "ORDER": ("lei", "Order", key | {"accountId": account(company, "hospital"), "lines": lines}),
    }  # fmt: skip
    return made[entity]


ENTITIES = ("CONTACT", "LEAD", "OPPORTUNITY", "PRODUCT", "QUOTE", "ORDER")


@pytest.mark.parametrize("entity", ENTITIES)
async def test_every_record_is_given_values_changed_and_found_by_them(company: Company, ask: Ask, entity: str) -> None:
    field = {"key": "channel", "labelZh": "渠道", "labelEn": "Channel", "kind": "TEXT"}
    await ask(DEFINE, "ADMIN", input={"clientKey": "1", "entity": entity} | field)
    who, name, input = await _made(ask, company, entity)
    node, verb = name.lower(), "Capture" if entity == "LEAD" else "Create"
    selection = f"{node} {{ id version customFields {{ label text }} }} errors {{ path code }}"
    create = f"mutation($input: {verb}{name}Input!) {{ answer: {verb.lower()}{name}(input: $input) {{ {selection} }} }}"
    bad = (await ask(create, who, input=input | {"custom": [{"key": "kanal", "value": "x"}]})).data["answer"]
    assert bad == {node: None, "errors": [{"path": ["custom", "kanal"], "code": "INVALID"}]}
    made = (await ask(create, who, input=input | {"custom": VALUE})).data["answer"]
    assert (made["errors"], made[node]["customFields"]) == ([], SHOWN)
    root = {"OPPORTUNITY": "opportunities"}.get(entity, f"{node}s")
    query = f"query($custom: [CustomFieldFilter!]) {{ {root}(filter: {{ custom: $custom }}) {{ edges {{ node {{ id }} }} }} }}"
    wanted = [{"key": "channel", "contains": "介绍"}]
    assert (await ask(query, who, custom=wanted)).data[root]["edges"] == [{"node": {"id": made[node]["id"]}}]
    update = f"mutation($input: Update{name}Input!) {{ answer: update{name}(input: $input) {{ {selection} }} }}"
    change = {"id": made[node]["id"], "expectedVersion": made[node]["version"]}
    cleared = (await ask(update, who, input=change | {"custom": [{"key": "channel", "value": None}]})).data["answer"]
    assert (cleared["errors"], cleared[node]["customFields"]) == ([], [])
    assert (await ask(query, who, custom=wanted)).data[root]["edges"] == []


@pytest.mark.parametrize("entity", ["CONTACT", "OPPORTUNITY", "PRODUCT", "QUOTE", "ORDER"])
async def test_a_form_asks_for_what_is_required(company: Company, ask: Ask, entity: str) -> None:
    field = {"key": "channel", "labelZh": "渠道", "labelEn": "Channel", "kind": "TEXT", "required": True}
    who, name, input = await _made(ask, company, entity)
    await ask(DEFINE, "ADMIN", input={"clientKey": "1", "entity": entity} | field)
    create = (
        f"mutation($input: Create{name}Input!) {{ answer: create{name}(input: $input) {{ errors {{ path code }} }} }}"
    )
    missing = {"errors": [{"path": ["custom", "channel"], "code": "INVALID"}]}
    assert (await ask(create, who, input=input)).data["answer"] == missing
    given = await ask(create, who, input=input | {"custom": VALUE})
    assert given.data["answer"] == {"errors": []}
