"""Accounts and contacts through the schema: made, changed, reached, shared with a team, merged, each once and by whom it befits."""

from typing import Any

import pytest

from domain import accounts, people
from domain.accounts import Account, Contact
from domain.kernel import SYSTEM, Text, load
from tests.api.conftest import Ask, Company, Statements
from tests.factories import Clock

ACCOUNT = """account { id version name industry region domain employees lifecycleStage creditGrade annualRevenue { amount currency }
  owner { name } parent { name } territory { key } brand { key } team { id version role user { name } } }"""
CREATE = (
    "mutation($input: CreateAccountInput!) { createAccount(input: $input) { "
    + ACCOUNT
    + " errors { path code message } } }"
)
UPDATE = (
    "mutation($input: UpdateAccountInput!) { updateAccount(input: $input) { "
    + ACCOUNT
    + " errors { path code message } } }"
)
CONTACT = "contact { id version name title buyingRole account { name } contactPoints { id version channel masked verifiedAt } }"
CREATE_CONTACT = (
    "mutation($input: CreateContactInput!) { createContact(input: $input) { " + CONTACT + " errors { path code } } }"
)
UPDATE_CONTACT = (
    "mutation($input: UpdateContactInput!) { updateContact(input: $input) { " + CONTACT + " errors { path code } } }"
)
POINT = " { contactPoint { id version channel masked verifiedAt } " + CONTACT + " errors { path code message } } }"
ADD_POINT = "mutation($input: AddContactPointInput!) { addContactPoint(input: $input)" + POINT
UPDATE_POINT = "mutation($input: UpdateContactPointInput!) { updateContactPoint(input: $input)" + POINT
REMOVE_POINT = "mutation($input: RemoveContactPointInput!) { removeContactPoint(input: $input)" + POINT
MEMBER = " { member { id version role user { name } } account { name team { user { name } } } errors { path code } } }"
ADD_MEMBER = "mutation($input: AddAccountTeamMemberInput!) { addAccountTeamMember(input: $input)" + MEMBER
REMOVE_MEMBER = "mutation($input: RemoveAccountTeamMemberInput!) { removeAccountTeamMember(input: $input)" + MEMBER
MERGE = """mutation($input: MergeAccountsInput!) { mergeAccounts(input: $input) {
  account { id name contacts { totalCount } opportunities { totalCount } activities(last: 100) { id } } errors { path code message } } }"""
MERGE_CONTACTS = """mutation($input: MergeContactsInput!) { mergeContacts(input: $input) {
  contact { id name title contactPoints { masked } } errors { path code } } }"""


async def send(ask: Ask, document: str, who: str = "lei", **input: Any) -> dict[str, Any]:
    """The payload of a mutation."""
    answer = await ask(document, who, input=input)
    assert answer.errors == []
    (payload,) = answer.data.values()
    assert isinstance(payload, dict)
    return payload


async def refused(ask: Ask, document: str, who: str = "lei", **input: Any) -> tuple[str, tuple[str, ...]]:
    """The code and path of the one refusal."""
    payload = await send(ask, document, who, **input)
    (error,) = payload.pop("errors")
    assert set(payload.values()) == {None}
    return error["code"], tuple(error["path"])


async def version(ask: Ask, id: str, who: str = "min") -> int:
    kind = {"acc": "Account", "con": "Contact"}[id[:3]]
    answer = await ask("query($id: ID!) { node(id: $id) { ... on " + kind + " { version } } }", who, id=id)
    return int(answer.data["node"]["version"])


async def totals(ask: Ask) -> list[int]:
    data = (await ask("{ accounts { totalCount } contacts { totalCount } auditEvents { totalCount } }", SYSTEM)).data
    return [data[name]["totalCount"] for name in ("accounts", "contacts", "auditEvents")]


# ---- accounts --------------------------------------------------------------------------------------------------------


async def test_a_rep_makes_an_account_once_and_owns_it(company: Company, ask: Ask) -> None:
    input: dict[str, Any] = {
        "clientKey": "新客户-1", "name": " 宁波电子股份有限公司 ", "industry": "electronics", "region": "华东", "parentId": company.id(company.accounts["parts"]),
        "lifecycleStage": "ONBOARDING", "creditGrade": "A", "employees": 300, "annualRevenue": {"amount": "25000000.50", "currency": "CNY"},
        "domain": "https://www.Ningbo-Dianzi.example.CN/about",
    }  # fmt: skip
    first = await send(ask, CREATE, **input)
    assert first["errors"] == []
    id = first["account"].pop("id")
    assert first["account"] == {
        "version": 1, "name": "宁波电子股份有限公司", "industry": "electronics", "region": "east-china", "domain": "ningbo-dianzi.example.cn", "employees": 300,
        "lifecycleStage": "ONBOARDING", "creditGrade": "A", "annualRevenue": {"amount": "25000000.50", "currency": "CNY"}, "owner": {"name": "张磊"},
        "parent": {"name": "苏州精密零部件"}, "territory": {"key": "east-china"}, "brand": None, "team": [],
    }  # fmt: skip
    before = await totals(ask)
    again = await send(ask, CREATE, **input)
    assert (again["errors"], again["account"]["id"]) == ([], id)
    assert await refused(ask, CREATE, **input | {"name": "宁波电子"}) == ("KEY_REUSED", ("clientKey",))
    assert await totals(ask) == before


async def test_an_account_without_a_region_lies_in_its_makers_territory(company: Company, ask: Ask) -> None:
    made = await send(ask, CREATE, clientKey="1", name="无锡医院")
    assert (made["account"]["region"], made["account"]["territory"]["key"]) == (None, "east-china")
    led = await send(ask, CREATE, "min", clientKey="1", name="苏州医院", region="华南", ownerId=company.user("na"))
    assert (led["account"]["owner"]["name"], led["account"]["region"]) == ("李娜", "south-china")


CREATE_REFUSED: list[tuple[str, dict[str, Any], tuple[str, tuple[str, ...]]]] = [
    ("lei", {"name": "　"}, ("INVALID", ("name",))),
    ("lei", {"name": "长" * 201}, ("INVALID", ("name",))),
    ("lei", {"employees": -1}, ("INVALID", ("employees",))),
    ("lei", {"annualRevenue": {"amount": "1", "currency": "元元元"}}, ("INVALID", ("annualRevenue", "currency"))),
    ("lei", {"annualRevenue": {"amount": "-1", "currency": "CNY"}}, ("INVALID", ("annualRevenue", "amount"))),
    ("lei", {"domain": "不是 网址"}, ("INVALID", ("domain",))),
    ("min", {"ownerId": "usr_00000000000000000000000000000001"}, ("NOT_FOUND", ("ownerId",))),
    ("min", {"ownerId": "nobody"}, ("NOT_FOUND", ("ownerId",))),
    ("lei", {"brandId": "brd_00000000000000000000000000000001"}, ("NOT_FOUND", ("brandId",))),
    ("lei", {"parentId": "acc_00000000000000000000000000000001"}, ("NOT_FOUND", ("parentId",))),
    ("FINANCE", {}, ("FORBIDDEN", ())),
    ("AUDITOR", {}, ("FORBIDDEN", ())),
    ("CSM", {}, ("FORBIDDEN", ())),
]


@pytest.mark.parametrize(("who", "input", "expected"), CREATE_REFUSED)
async def test_an_account_that_cannot_be_is_not_made(
    company: Company, ask: Ask, who: str, input: dict[str, Any], expected: tuple[str, tuple[str, ...]]
) -> None:
    before = await totals(ask)
    assert await refused(ask, CREATE, who, **{"clientKey": "1", "name": "宁波电子"} | input) == expected
    assert await totals(ask) == before


async def test_nobody_makes_an_account_for_another_or_where_they_see_nothing(company: Company, ask: Ask) -> None:
    before = await totals(ask)
    given: dict[str, Any] = {"clientKey": "1", "name": "宁波电子"}
    assert await refused(ask, CREATE, "lei", **given, ownerId=company.user("na")) == ("FORBIDDEN", ("ownerId",))
    foreign = company.id(company.accounts["device"])
    assert await refused(ask, CREATE, "lei", **given, parentId=foreign) == ("NOT_FOUND", ("parentId",))
    async with company.database.open_uow(SYSTEM) as uow:
        await people.add_territory(uow, key="north", label=Text("华北", "North China"))
    before = await totals(ask)
    assert await refused(ask, CREATE, "min", **given, region="华北") == ("FORBIDDEN", ("region",))
    assert await totals(ask) == before


async def test_what_is_left_out_stays_and_null_clears(company: Company, ask: Ask) -> None:
    id = company.id(company.accounts["hospital"])
    told = await send(ask, UPDATE, id=id, expectedVersion=1, industry=None, creditGrade="B", employees=1300)
    account = told["account"]
    assert (account["version"], account["name"], account["industry"]) == (2, "杭州第一医院", None)
    assert (account["creditGrade"], account["employees"], account["owner"]) == ("B", 1300, {"name": "张磊"})
    before = await totals(ask)
    same = await send(ask, UPDATE, id=id, expectedVersion=2, creditGrade="B", name=" 杭州第一医院 ")
    assert (same["account"]["version"], same["errors"]) == (2, [])
    assert await totals(ask) == before
    assert await refused(ask, UPDATE, id=id, expectedVersion=1, employees=5) == ("STALE_VERSION", ("expectedVersion",))
    assert await refused(ask, UPDATE, id=id, expectedVersion=2, name=None) == ("INVALID", ("name",))
    assert await refused(ask, UPDATE, id=id, expectedVersion=2, lifecycleStage=None) == (
        "INVALID",
        ("lifecycleStage",),
    )
    assert await totals(ask) == before


async def test_a_region_that_names_no_territory_leaves_the_account_where_it_is(company: Company, ask: Ask) -> None:
    id = company.id(company.accounts["hospital"])
    told = (await send(ask, UPDATE, "min", id=id, expectedVersion=1, region="浙江"))["account"]
    assert (told["region"], told["territory"]) == ("浙江", {"key": "east-china"})
    cleared = (await send(ask, UPDATE, "min", id=id, expectedVersion=2, region=None))["account"]
    assert (cleared["region"], cleared["territory"]) == (None, {"key": "east-china"})
    moved = (await send(ask, UPDATE, "min", id=id, expectedVersion=3, region="South China"))["account"]
    assert (moved["region"], moved["territory"]) == ("south-china", {"key": "south-china"})


@pytest.mark.parametrize("order", ["CREATED_DESC", "UPDATED_DESC", "NAME_ASC"])
async def test_lists_come_in_an_order_and_page_on(company: Company, ask: Ask, clock: Clock, order: str) -> None:
    clock.advance(hours=1)
    await send(ask, UPDATE, id=company.id(company.accounts["hospital"]), expectedVersion=1, employees=7)
    query = """query($order: RecordOrder!, $after: String) { accounts(first: 1, after: $after, orderBy: $order) {
      edges { node { name } } pageInfo { endCursor } } contacts(orderBy: $order) { totalCount } }"""
    names, after = [], None
    for _ in range(3):
        page = (await ask(query, "min", order=order, after=after)).data["accounts"]
        names += [edge["node"]["name"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    hospital, parts, device = "杭州第一医院", "苏州精密零部件", "广州医疗器械"
    assert names == {
        "CREATED_DESC": [device, parts, hospital], "UPDATED_DESC": [hospital, device, parts], "NAME_ASC": sorted([hospital, parts, device]),
    }[order]  # fmt: skip


async def test_a_brand_is_chosen_and_cleared(company: Company, ask: Ask) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        brand = await people.add_brand(uow, key="medical", label=Text("医疗", "Medical"))
    id = company.id(company.accounts["hospital"])
    told = await send(ask, UPDATE, id=id, expectedVersion=1, brandId=company.id(brand))
    assert told["account"]["brand"] == {"key": "medical"}
    found = "query($id: ID!) { accounts(filter: { brandId: $id }) { edges { node { name } } } }"
    listed = await ask(found, "lei", id=company.id(brand))
    assert [edge["node"]["name"] for edge in listed.data["accounts"]["edges"]] == ["杭州第一医院"]
    assert (await send(ask, UPDATE, id=id, expectedVersion=2, brandId=None))["account"]["brand"] is None


async def test_a_manager_gives_an_account_to_another_and_a_rep_does_not(company: Company, ask: Ask) -> None:
    id = company.id(company.accounts["hospital"])
    for who in ("lei", "SALES_OPS"):
        input = {"id": id, "expectedVersion": 1, "ownerId": company.user("na")}
        assert await refused(ask, UPDATE, who, **input) == ("FORBIDDEN", ("ownerId",))
    kept = await send(ask, UPDATE, id=id, expectedVersion=1, ownerId=company.user("lei"))
    assert (kept["errors"], kept["account"]["version"]) == ([], 1)
    given = await send(ask, UPDATE, "min", id=id, expectedVersion=1, ownerId=company.user("na"))
    assert given["account"]["owner"] == {"name": "李娜"}
    assert await refused(ask, UPDATE, id=id, expectedVersion=2, employees=1) == ("NOT_FOUND", ("id",))


async def test_a_foreign_account_an_absent_one_and_one_seen_by_another_role_are_alike(
    company: Company, ask: Ask
) -> None:
    before = await totals(ask)
    for id in (company.id(company.accounts["device"]), "acc_00000000000000000000000000000001", "acc_1", "usr_1"):
        assert await refused(ask, UPDATE, id=id, expectedVersion=1, employees=1) == ("NOT_FOUND", ("id",))
    assert await refused(ask, UPDATE, "FINANCE", id="acc_1", expectedVersion=1) == ("FORBIDDEN", ())
    assert await totals(ask) == before


async def test_an_account_is_not_above_itself(company: Company, ask: Ask) -> None:
    hospital, parts = (company.id(company.accounts[key]) for key in ("hospital", "parts"))
    assert (await send(ask, UPDATE, id=parts, expectedVersion=1, parentId=hospital))["errors"] == []
    for parent in (parts, hospital):
        expected = ("INVALID", ("parentId",))
        assert await refused(ask, UPDATE, id=hospital, expectedVersion=1, parentId=parent) == expected
    children = "query($id: ID!) { accounts(filter: { parentId: $id }) { edges { node { name } } } }"
    listed = await ask(children, "lei", id=hospital)
    assert [edge["node"]["name"] for edge in listed.data["accounts"]["edges"]] == ["苏州精密零部件"]


# ---- the team --------------------------------------------------------------------------------------------------------


async def test_a_team_lets_colleagues_in_and_out(company: Company, ask: Ask) -> None:
    id, na = company.id(company.accounts["hospital"]), company.user("na")
    seen = "query($id: ID!) { node(id: $id) { id } }"
    assert (await ask(seen, "na", id=id)).data["node"] is None
    added = await send(ask, ADD_MEMBER, clientKey="1", accountId=id, userId=na, role="REP")
    assert (added["errors"], added["account"]["team"]) == ([], [{"user": {"name": "李娜"}}])
    assert (await ask(seen, "na", id=id)).data["node"] == {"id": id}
    again = await send(ask, ADD_MEMBER, "min", clientKey="2", accountId=id, userId=na, role="REP")
    assert again["member"]["id"] == added["member"]["id"]
    member: dict[str, Any] = {"id": added["member"]["id"], "expectedVersion": 1}
    assert await refused(ask, REMOVE_MEMBER, "na", **member) == ("FORBIDDEN", ("id",))
    more: dict[str, Any] = {"clientKey": "3", "accountId": id, "userId": company.user("CSM"), "role": "CSM"}
    assert await refused(ask, ADD_MEMBER, "na", **more) == ("FORBIDDEN", ("accountId",))
    nobody: dict[str, Any] = {"userId": "usr_00000000000000000000000000000001"}
    assert await refused(ask, ADD_MEMBER, **more | nobody) == ("NOT_FOUND", ("userId",))
    assert await refused(ask, REMOVE_MEMBER, **member | {"expectedVersion": 2}) == (
        "STALE_VERSION",
        ("expectedVersion",),
    )
    removed = await send(ask, REMOVE_MEMBER, **member)
    assert (removed["errors"], removed["account"]["team"]) == ([], [])
    assert (await ask(seen, "na", id=id)).data["node"] is None


# ---- contacts and addresses ------------------------------------------------------------------------------------------


async def test_a_contact_is_made_changed_and_reached(company: Company, ask: Ask) -> None:
    account = company.id(company.accounts["hospital"])
    input: dict[str, Any] = {
        "clientKey": "1",
        "accountId": account,
        "name": " 陈芳 ",
        "title": "设备科主任",
        "buyingRole": "TECHNICAL_EVALUATOR",
    }
    made = (await send(ask, CREATE_CONTACT, **input))["contact"]
    assert (made["name"], made["title"], made["account"]) == ("陈芳", "设备科主任", {"name": "杭州第一医院"})
    assert (await send(ask, CREATE_CONTACT, **input))["contact"]["id"] == made["id"]
    moved = await send(
        ask, UPDATE_CONTACT, id=made["id"], expectedVersion=1, title=None, buyingRole=None, accountId=company.id(company.accounts["parts"])
    )  # fmt: skip
    assert (moved["contact"]["title"], moved["contact"]["account"]) == (None, {"name": "苏州精密零部件"})
    for changes, path in (
        ({"accountId": None}, "accountId"), ({"name": " "}, "name"), ({"name": None}, "name"), ({"title": "长" * 201}, "title"),
    ):  # fmt: skip
        expected = ("INVALID", (path,))
        assert await refused(ask, UPDATE_CONTACT, id=made["id"], expectedVersion=2, **changes) == expected
    foreign = company.id(company.accounts["device"])
    given: dict[str, Any] = {"id": made["id"], "expectedVersion": 2, "accountId": foreign}
    assert await refused(ask, UPDATE_CONTACT, **given) == ("NOT_FOUND", ("accountId",))
    assert await refused(ask, CREATE_CONTACT, **input | {"clientKey": "2", "accountId": foreign}) == (
        "NOT_FOUND",
        ("accountId",),
    )
    assert await refused(ask, UPDATE_CONTACT, "na", id=made["id"], expectedVersion=2) == ("NOT_FOUND", ("id",))
    assert await refused(ask, UPDATE_CONTACT, "LEGAL", id=made["id"], expectedVersion=2) == ("FORBIDDEN", ())


async def test_addresses_are_added_verified_changed_and_removed(company: Company, ask: Ask) -> None:
    contact = company.id(company.contacts["hospital"])
    add: dict[str, Any] = {"clientKey": "1", "contactId": contact, "channel": "WECHAT", "value": "chenfang_88"}
    added = (await send(ask, ADD_POINT, **add))["contactPoint"]
    assert (added["masked"], added["verifiedAt"], added["version"]) == ("c***8", None, 1)
    assert (await send(ask, ADD_POINT, **add))["contactPoint"]["id"] == added["id"]
    other: dict[str, Any] = add | {"clientKey": "2", "value": " ChenFang_88"}
    assert (await send(ask, ADD_POINT, **other))["contactPoint"]["id"] == added["id"]
    point = await ask("query($id: ID!) { node(id: $id) { ... on ContactPoint { masked } } }", "lei", id=added["id"])
    assert point.data["node"] == {"masked": "c***8"}
    verified = await send(ask, UPDATE_POINT, id=added["id"], expectedVersion=1, verified=True)
    assert verified["contactPoint"]["verifiedAt"] is not None
    changed = await send(ask, UPDATE_POINT, id=added["id"], expectedVersion=2, value="fang_99")
    assert (changed["contactPoint"]["masked"], changed["contactPoint"]["verifiedAt"]) == ("f***9", None)
    stale: dict[str, Any] = {"id": added["id"], "expectedVersion": 2}
    assert await refused(ask, UPDATE_POINT, **stale, verified=True) == ("STALE_VERSION", ("expectedVersion",))
    removed = await send(ask, REMOVE_POINT, id=added["id"], expectedVersion=3)
    assert removed["contactPoint"] is None
    assert [one["channel"] for one in removed["contact"]["contactPoints"]] == ["PHONE", "EMAIL"]


async def test_an_address_that_cannot_be_or_is_there_already_is_refused(company: Company, ask: Ask) -> None:
    contact = company.id(company.contacts["hospital"])
    query = "query($id: ID!) { node(id: $id) { ... on Contact { contactPoints { id version channel } } } }"
    points = (await ask(query, "lei", id=contact)).data["node"]["contactPoints"]
    phone = next(one for one in points if one["channel"] == "PHONE")
    before = await totals(ask)
    add: dict[str, Any] = {"clientKey": "9", "contactId": contact, "channel": "PHONE"}
    assert await refused(ask, ADD_POINT, **add, value="改天再给") == ("INVALID", ("value",))
    second = await send(ask, ADD_POINT, **add, value="13911112222")
    same: dict[str, Any] = {"id": second["contactPoint"]["id"], "expectedVersion": 1, "value": "+86 138 0000 1200"}
    assert await refused(ask, UPDATE_POINT, **same) == ("CONFLICT", ("value",))
    assert await refused(ask, UPDATE_POINT, **same | {"value": None}) == ("INVALID", ("value",))
    for who, code in (("na", "NOT_FOUND"), ("SALES_OPS", "FORBIDDEN"), ("LEGAL", "FORBIDDEN"), ("DPO", "FORBIDDEN")):
        told = await refused(ask, REMOVE_POINT, who, id=phone["id"], expectedVersion=phone["version"])
        assert told[0] == code
    assert (await totals(ask))[2] == before[2] + 1


async def test_an_erased_contact_is_not_changed(company: Company, ask: Ask) -> None:
    contact = company.contacts["hospital"]
    async with company.database.open_uow(SYSTEM) as uow:
        await accounts.erase_contact(uow, await load(uow.session, SYSTEM, Contact, contact.id))
    id, before = company.id(contact), await totals(ask)
    assert await refused(ask, UPDATE_CONTACT, id=id, expectedVersion=2, name="陈芳") == ("CONFLICT", ("id",))
    point: dict[str, Any] = {"clientKey": "1", "contactId": id, "channel": "PHONE", "value": "13800138000"}
    assert (await refused(ask, ADD_POINT, **point))[0] == "CONFLICT"
    assert await totals(ask) == before


# ---- duplicates ------------------------------------------------------------------------------------------------------

LIKE = "query($id: ID!) { node(id: $id) { ... on Account { possibleDuplicates { name } } ... on Contact { possibleDuplicates { name } } } }"


async def _add_duplicates(company: Company) -> tuple[Account, Contact]:
    async with company.database.open_uow(SYSTEM) as uow:
        lei = company.people["lei"].user_id
        double = await accounts.create_account(uow, name="杭州第一医院（有限公司）", region="华东", owner_id=lei)
        await accounts.create_account(uow, name="杭州第一医院", region="华南", owner_id=company.people["na"].user_id)
        person = await accounts.create_contact(uow, name="陈 芳", account_id=double.id, title="主任")
        await accounts.add_contact_point(uow, person, accounts.Channel.SMS, "+86 138-0000-1200")
    return double, person


async def test_what_may_be_the_same_is_suggested_among_what_the_reader_sees(company: Company, ask: Ask) -> None:
    double, person = await _add_duplicates(company)
    hospital, contact = company.accounts["hospital"], company.contacts["hospital"]

    async def like(row: Any, who: str) -> list[str]:
        node = (await ask(LIKE, who, id=company.id(row))).data["node"]
        return [one["name"] for one in node["possibleDuplicates"]]

    assert await like(hospital, "lei") == ["杭州第一医院（有限公司）"]
    assert await like(double, "min") == ["杭州第一医院", "杭州第一医院"]
    assert await like(hospital, "FINANCE") == []
    assert await like(company.accounts["parts"], "min") == []
    assert await like(contact, "lei") == ["陈 芳"]
    assert await like(person, "min") == [contact.name]
    assert await like(company.contacts["parts"], "min") == []


async def test_suggestions_for_many_take_two_statements_more(
    company: Company, ask: Ask, statements: Statements
) -> None:
    await _add_duplicates(company)
    statements.seen.clear()
    answer = await ask("{ accounts { edges { node { possibleDuplicates { name industry } } } } }", "min")
    assert answer.errors == []
    assert len(statements) == 3


async def test_two_accounts_become_one_and_old_links_lead_to_it(company: Company, ask: Ask) -> None:
    double, _ = await _add_duplicates(company)
    one, two = company.id(company.accounts["hospital"]), company.id(double)
    input: dict[str, Any] = {
        "survivorId": one,
        "survivorVersion": 1,
        "duplicateId": two,
        "duplicateVersion": 1,
        "keep": ["name"],
    }
    assert await refused(ask, MERGE, "na", **input) == ("NOT_FOUND", ("survivorId",))
    assert await refused(ask, MERGE, "FINANCE", **input) == ("FORBIDDEN", ())
    assert await refused(ask, MERGE, **input | {"duplicateVersion": 3}) == ("STALE_VERSION", ("duplicateVersion",))
    assert await refused(ask, MERGE, **input | {"keep": ["phone"]}) == ("INVALID", ("keep",))
    told = (await send(ask, MERGE, **input))["account"]
    assert (told["id"], told["name"], told["contacts"]) == (one, "杭州第一医院（有限公司）", {"totalCount": 2})
    found = await ask("query($id: ID!) { node(id: $id) { id ... on Account { name } } }", "lei", id=two)
    assert found.data["node"] == {"id": one, "name": "杭州第一医院（有限公司）"}
    hidden = await ask("query($id: ID!) { node(id: $id) { id } }", "na", id=two)
    assert hidden.data["node"] is None
    listed = (await ask("{ accounts { edges { node { id } } } }", "min")).data["accounts"]["edges"]
    assert two not in [edge["node"]["id"] for edge in listed]
    again: dict[str, Any] = input | {"survivorVersion": await version(ask, one)}
    assert await refused(ask, MERGE, **again) == ("NOT_FOUND", ("duplicateId",))


async def test_two_contacts_become_one(company: Company, ask: Ask) -> None:
    _, person = await _add_duplicates(company)
    one, two = company.id(company.contacts["hospital"]), company.id(person)
    input: dict[str, Any] = {
        "survivorId": one,
        "survivorVersion": 1,
        "duplicateId": two,
        "duplicateVersion": 1,
        "keep": ["title"],
    }
    assert await refused(ask, MERGE_CONTACTS, "na", **input) == ("NOT_FOUND", ("survivorId",))
    told = (await send(ask, MERGE_CONTACTS, **input))["contact"]
    assert (told["id"], told["title"], len(told["contactPoints"])) == (one, "主任", 3)
    found = await ask("query($id: ID!) { node(id: $id) { id } }", "lei", id=two)
    assert found.data["node"] == {"id": one}
    assert await version(ask, one) == 2
