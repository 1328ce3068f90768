"""People over GraphQL: what ADMIN does with users, grants, passwords and keys, and what everybody else is refused."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from domain import people
from domain.kernel import Database, Role
from domain.ledger import AuditEvent
from domain.people import Password
from tests.api.conftest import Ask, Company
from tests.factories import Clock, sign_in

PASSWORD = "正确的长密码 2026 年"
USER = "user { id version kind name email language timeZone disabledAt roles grants { id version role territory { key } account { name } validTo } serviceKeys { id version label scopes revokedAt lastUsedOn } }"


def mutation(name: str, kind: str, fields: str = USER) -> str:
    return f"mutation($input: {kind}!) {{ {name}(input: $input) {{ {fields} errors {{ path code message }} }} }}"


ADD = mutation("addUser", "AddUserInput")
UPDATE = mutation("updateUser", "UpdateUserInput")
DISABLE, ENABLE = mutation("disableUser", "UserActionInput"), mutation("enableUser", "UserActionInput")
GRANT_FIELDS = "roleGrant { id version role user { name } territory { key label } brand { key } accountId account { name } validFrom validTo }"
GRANT = mutation("grantRole", "GrantRoleInput", GRANT_FIELDS)
REVOKE = mutation("revokeRole", "RevokeRoleInput", GRANT_FIELDS)
SET, CHANGE = mutation("setPassword", "SetPasswordInput"), mutation("changePassword", "ChangePasswordInput")
KEY_FIELDS = "secret serviceKey { id version label scopes expiresAt revokedAt }"
ADD_KEY, REVOKE_KEY = (
    mutation("addServiceKey", "AddServiceKeyInput", KEY_FIELDS),
    mutation("revokeServiceKey", "RevokeServiceKeyInput", KEY_FIELDS),
)

NEW = {"clientKey": "k-1", "email": "fang.chen@example.com", "name": "陈芳"}


async def done(ask: Ask, document: str, who: Any = "ADMIN", **input: Any) -> Any:
    """The payload of a mutation that is taken."""
    answer = await ask(document, who, input=input)
    assert answer.errors == []
    payload = next(iter(answer.data.values()))
    assert payload["errors"] == [], payload["errors"]
    return payload


async def refused(ask: Ask, document: str, who: Any = "ADMIN", **input: Any) -> Any:
    """The one refusal of a mutation."""
    answer = await ask(document, who, input=input)
    assert answer.errors == []
    payload = next(iter(answer.data.values()))
    (error,) = payload.pop("errors")
    assert not any(payload.values())
    return error


async def events(database: Database) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(AuditEvent))).scalar_one()


async def test_an_admin_adds_changes_disables_and_enables_a_user(company: Company, ask: Ask) -> None:
    user = (await done(ask, ADD, **NEW))["user"]
    assert (user["name"], user["email"], user["language"], user["timeZone"], user["kind"]) == (
        "陈芳", "fang.chen@example.com", "ZH", "Asia/Shanghai", "USER",
    )  # fmt: skip
    again = (await done(ask, ADD, **NEW))["user"]
    assert again["id"] == user["id"]
    assert (await refused(ask, ADD, **(NEW | {"name": "别人"})))["code"] == "KEY_REUSED"
    taken = await refused(ask, ADD, **(NEW | {"clientKey": "k-2"}))
    assert (taken["code"], taken["path"]) == ("CONFLICT", ["email"])
    changed = (await done(ask, UPDATE, id=user["id"], expectedVersion=user["version"], name="陈小芳"))["user"]
    assert (changed["name"], changed["email"]) == ("陈小芳", "fang.chen@example.com")
    stale = await refused(ask, UPDATE, id=user["id"], expectedVersion=user["version"], name="旧")
    assert (stale["code"], stale["path"]) == ("STALE_VERSION", ["expectedVersion"])
    gone = (await done(ask, DISABLE, id=user["id"], expectedVersion=changed["version"]))["user"]
    assert gone["disabledAt"] is not None
    back = (await done(ask, ENABLE, id=user["id"], expectedVersion=gone["version"]))["user"]
    assert back["disabledAt"] is None


async def test_a_grant_is_given_shown_and_taken_back(company: Company, ask: Ask, clock: Clock) -> None:
    lei, account = company.user("na"), company.id(company.accounts["hospital"])
    until = clock() + timedelta(days=10)
    made = (
        await done(ask, GRANT, clientKey="g-1", userId=lei, role="CSM", accountId=account, until=until.isoformat())
    )["roleGrant"]
    assert (made["role"], made["user"], made["territory"]) == ("CSM", {"name": "李娜"}, None)
    assert made["accountId"] == account
    assert made["account"] is None, "an ADMIN sees no accounts, not through a grant either"
    again = await done(ask, GRANT, clientKey="g-1", userId=lei, role="CSM", accountId=account, until=until.isoformat())
    assert again["roleGrant"]["id"] == made["id"]
    na = await sign_in(company.database, "na.li@example.com")
    names = "{ accounts { edges { node { name } } } viewer { grants { role account { name } territory { key } } } }"
    seen = await ask(names, na)
    assert {edge["node"]["name"] for edge in seen.data["accounts"]["edges"]} == {"广州医疗器械", "杭州第一医院"}
    assert {"role": "CSM", "account": {"name": "杭州第一医院"}, "territory": None} in seen.data["viewer"]["grants"]
    ended = (await done(ask, REVOKE, id=made["id"], expectedVersion=made["version"]))["roleGrant"]
    assert ended["validTo"] is not None
    na = await sign_in(company.database, "na.li@example.com")
    assert {edge["node"]["name"] for edge in (await ask(names, na)).data["accounts"]["edges"]} == {"广州医疗器械"}
    assert (await refused(ask, REVOKE, id=made["id"], expectedVersion=ended["version"]))["code"] == "CONFLICT"


async def test_a_territory_is_named_in_either_language_and_a_wrong_one_is_told(company: Company, ask: Ask) -> None:
    lei = company.user("lei")
    made = (await done(ask, GRANT, clientKey="g-1", userId=lei, role="MANAGER", territory="上海"))["roleGrant"]
    assert made["territory"] == {"key": "shanghai", "label": "上海"}
    wrong = await refused(ask, GRANT, clientKey="g-2", userId=lei, role="MANAGER", territory="华北")
    assert (wrong["code"], wrong["path"], wrong["message"]) == ("NOT_FOUND", ["territory"], "没有“华北”")
    bound = await refused(ask, GRANT, clientKey="g-3", userId=lei, role="ADMIN", territory="上海")
    assert (bound["code"], bound["path"]) == ("INVALID", ["territory"])


async def test_the_last_admin_cannot_lock_everybody_out(company: Company, ask: Ask) -> None:
    admin = company.user("ADMIN")
    document = "query($id: ID!) { node(id: $id) { ... on User { version grants { id version role } } } }"
    me = (await ask(document, "ADMIN", id=admin)).data["node"]
    (grant,) = me["grants"]
    assert (await refused(ask, DISABLE, id=admin, expectedVersion=me["version"]))["code"] == "CONFLICT"
    assert (await refused(ask, REVOKE, id=grant["id"], expectedVersion=grant["version"]))["code"] == "CONFLICT"


async def test_a_password_is_set_by_an_admin_and_changed_by_its_owner(company: Company, ask: Ask) -> None:
    lei, database = company.user("lei"), company.database
    version = (await ask("{ viewer { version } }", "lei")).data["viewer"]["version"]
    poor = await refused(ask, SET, id=lei, expectedVersion=version, password="123456789012")
    assert (poor["code"], poor["path"]) == ("INVALID", ["password"])
    await done(ask, SET, id=lei, expectedVersion=version, password=PASSWORD)
    assert await people.check_password(database, "lei.zhang@example.com", PASSWORD, "10.0.0.1")
    wrong = await refused(
        ask, CHANGE, "lei", currentPassword="不是这个密码吧，我猜", newPassword="又一个很长的密码 2027"
    )
    assert (wrong["code"], wrong["path"]) == ("INVALID", ["currentPassword"])
    short = await refused(ask, CHANGE, "lei", currentPassword=PASSWORD, newPassword="太短")
    assert (short["code"], short["path"]) == ("INVALID", ["newPassword"])
    await done(ask, CHANGE, "lei", currentPassword=PASSWORD, newPassword="又一个很长的密码 2027")
    assert await people.check_password(database, "lei.zhang@example.com", "又一个很长的密码 2027", "10.0.0.1")


async def test_a_key_is_told_once_and_revoked(company: Company, ask: Ask) -> None:
    machine = (await done(ask, ADD, **(NEW | {"serviceAccount": True, "name": "ERP 同步"})))["user"]
    assert machine["kind"] == "INTEGRATION"
    given = {"clientKey": "s-1", "userId": machine["id"], "label": "订单", "scopes": ["READ", "WRITE"]}
    first = await done(ask, ADD_KEY, **given)
    assert first["secret"].startswith("sk_sortie_")
    again = await done(ask, ADD_KEY, **given)
    assert (again["secret"], again["serviceKey"]["id"]) == (None, first["serviceKey"]["id"])
    key = first["serviceKey"]
    await done(ask, REVOKE_KEY, id=key["id"], expectedVersion=key["version"])
    shown = await ask(
        "query($id: ID!) { node(id: $id) { ... on User { serviceKeys { label scopes revokedAt } } } }",
        "ADMIN",
        id=machine["id"],
    )
    (one,) = shown.data["node"]["serviceKeys"]
    assert (one["label"], one["scopes"]) == ("订单", ["READ", "WRITE"])
    assert one["revokedAt"] is not None
    poor: tuple[dict[str, Any], ...] = (
        {"scopes": []},
        {"label": " "},
        {"expiresAt": "2040-01-01T00:00:00Z"},
        {"userId": company.user("lei")},
    )
    for input in poor:
        assert (await refused(ask, ADD_KEY, **(given | {"clientKey": str(input)} | input)))["code"] in {
            "INVALID",
            "CONFLICT",
        }


OTHERS = ["lei", "min", *(role.value for role in Role if role not in {Role.REP, Role.MANAGER, Role.ADMIN})]


@pytest.mark.parametrize("who", OTHERS)
async def test_nobody_but_an_admin_keeps_people(company: Company, ask: Ask, who: str) -> None:
    lei, before = company.user("lei"), await events(company.database)
    acting = {"id": lei, "expectedVersion": 1}
    tried: tuple[tuple[str, dict[str, Any]], ...] = (
        (ADD, NEW), (UPDATE, acting | {"name": "谁"}), (DISABLE, acting), (ENABLE, acting), (GRANT, {"clientKey": "1", "userId": lei, "role": "ADMIN"}),
        (REVOKE, {"id": "grt_1", "expectedVersion": 1}), (SET, acting | {"password": PASSWORD}),
        (ADD_KEY, {"clientKey": "1", "userId": lei, "label": "x", "scopes": ["READ"]}), (REVOKE_KEY, {"id": "key_1", "expectedVersion": 1}),
    )  # fmt: skip
    for document, input in tried:
        assert (await refused(ask, document, who, **input))["code"] == "FORBIDDEN", document
    assert await events(company.database) == before


async def test_a_rep_sees_their_own_grants_and_nobodys_keys(company: Company, ask: Ask) -> None:
    document = (
        "{ users(first: 100) { totalCount edges { node { name disabledAt grants { role } serviceKeys { id } } } } }"
    )
    seen = {edge["node"]["name"]: edge["node"] for edge in (await ask(document, "lei")).data["users"]["edges"]}
    assert seen["张磊"]["grants"] == [{"role": "REP"}]
    assert seen["王敏"]["grants"] == []
    all_ = {edge["node"]["name"]: edge["node"] for edge in (await ask(document, "ADMIN")).data["users"]["edges"]}
    assert [grant["role"] for grant in all_["王敏"]["grants"]] == ["MANAGER", "MANAGER"]
    assert seen.keys() == all_.keys()


async def test_passwords_are_reached_by_no_reader(company: Company, ask: Ask) -> None:
    assert Password.__access__ is None
    words = (await ask("{ __schema { types { name fields { name } } } }", "ADMIN")).data["__schema"]["types"]
    names = {field["name"] for kind in words for field in kind["fields"] or []}
    assert not [name for name in names if "hash" in name.lower() and name != "rootHash" and "quote" not in name.lower()]


async def test_without_a_token_nobody_is_asked_about(company: Company, ask: Ask) -> None:
    assert (await ask("{ users { totalCount } }", None)).codes == ["UNAUTHENTICATED"]
    assert (await ask(ADD, None, input=NEW)).codes == ["UNAUTHENTICATED"]


async def test_a_lead_on_one_customer_has_a_brief_written_of_it_and_of_no_other(company: Company, ask: Ask) -> None:
    hospital, device = (company.id(company.accounts[key]) for key in ("hospital", "device"))
    await done(ask, GRANT, clientKey="g-1", userId=company.user("CSM"), role="REP", accountId=hospital)
    email = f"{b'Csm'.hex()}@example.com"
    who = await sign_in(company.database, email)
    brief = mutation(
        "draftVisitBrief",
        "DraftVisitBriefInput",
        "generation { id text subject { ... on Account { name } } sections { key } }",
    )
    made = (await done(ask, brief, who, clientKey="b-1", accountId=hospital))["generation"]
    assert made["subject"] == {"name": "杭州第一医院"}
    assert len(made["sections"]) == 13
    assert "广州" not in made["text"]
    assert (await refused(ask, brief, who, clientKey="b-2", accountId=device))["code"] == "NOT_FOUND"
    generations = await ask("{ generations { edges { node { id } } } }", who)
    assert [edge["node"]["id"] for edge in generations.data["generations"]["edges"]] == [made["id"]]
