"""Users and grants kept by an ADMIN: what is refused, what races come to, and that somebody always keeps the house."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from domain import accounts, people
from domain.kernel import (
    SYSTEM,
    Actor,
    ActorKind,
    Conflict,
    Database,
    ErrorCode,
    Language,
    Role,
    SalesError,
    StaleVersion,
    Text,
    UnitOfWork,
    load,
    new_id,
)
from domain.ledger import AuditEvent
from domain.people import BY_ACCOUNT, BY_BRAND, BY_TERRITORY, RoleGrant, User
from tests.factories import Clock, add_colleague, add_territories, sign_in


async def add(database: Database, name: str = "张磊", email: str = "lei.zhang@example.com", **more: Any) -> User:
    async with database.open_uow(SYSTEM) as uow:
        return await people.add_user(uow, name=name, email=email, **more)


async def give(database: Database, user_id: UUID | None, role: Role, **context: Any) -> RoleGrant:
    async with database.open_uow(SYSTEM) as uow:
        return await people.give_role(uow, await load(uow.session, SYSTEM, User, user_id, lock=True), role, **context)


async def count(database: Database, model: Any) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(model))).scalar_one()


async def last_event(database: Database) -> Any:
    async with database.read() as connection:
        found = select(AuditEvent.action, AuditEvent.subject_id, AuditEvent.detail).order_by(AuditEvent.seq.desc())
        return (await connection.execute(found.limit(1))).one()


async def outcomes(*works: Any) -> list[str]:
    """What each of several works that run at once comes to: the code of its refusal, or OK."""
    found = []
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, SalesError):
            found.append(result.code.value)
        else:
            assert not isinstance(result, BaseException), result
            found.append("OK")
    return sorted(found)


# ---- users -----------------------------------------------------------------------------------------------------------


async def test_two_who_add_one_address_at_once_make_one_user(database: Database) -> None:
    assert await outcomes(*(add(database, f"张磊{number}") for number in range(4))) == ["CONFLICT"] * 3 + ["OK"]
    assert await count(database, User) == 1


async def test_the_same_client_key_adds_one_user(database: Database) -> None:
    made = await outcomes(*(add(database, client_key="k-1") for _ in range(3)))
    assert made == ["OK"] * 3
    assert await count(database, User) == 1
    assert await outcomes(add(database, "另一个人", client_key="k-1")) == ["KEY_REUSED"]


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"name": " "}, ("name",), "姓名"),
        ({"name": "磊" * 201}, ("name",), "200"),
        ({"email": "张磊"}, ("email",), "不是邮箱地址"),
        ({"email": "a@b"}, ("email",), "不是邮箱地址"),
        ({"email": f"{'a' * 250}@example.com"}, ("email",), "不是邮箱地址"),
        ({"time_zone": "Asia/上海"}, ("timeZone",), "Asia/Shanghai"),
        ({"time_zone": "../../etc/passwd"}, ("timeZone",), "时区"),
    ],
)
async def test_a_user_that_cannot_be_is_refused(
    database: Database, given: dict[str, str], path: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SalesError) as refused:
        await add(database, **given)
    assert (refused.value.code, refused.value.path) == (ErrorCode.INVALID, path)
    assert words in refused.value.text.zh
    assert await count(database, User) == 0


async def test_what_changes_about_a_user_is_noted_and_an_old_version_is_refused(database: Database) -> None:
    user = await add(database)
    changes = {"name": "张小磊", "email": "xiaolei@example.com", "language": Language.EN, "time_zone": "Europe/Berlin"}

    async def change(version: int, **wanted: Any) -> User:
        async with database.open_uow(SYSTEM) as uow:
            return await people.update_user(uow, user.id, expected_version=version, changes=wanted)

    changed = await change(user.version, **changes)
    assert (changed.name, changed.email, changed.language, changed.time_zone) == tuple(changes.values())
    event = await last_event(database)
    assert (event.action, event.subject_id) == ("user.updated", user.id)
    with pytest.raises(StaleVersion):
        await change(user.version - 1, name="谁")
    events = await count(database, AuditEvent)
    same = await change(changed.version, **changes)
    assert same.version == changed.version
    assert await count(database, AuditEvent) == events, "nothing changed, nothing is noted"
    await add(database, "李娜", "na.li@example.com")
    with pytest.raises(Conflict):
        await change(changed.version, email="NA.LI@example.com")
    for wanted in ({"name": None}, {"email": None}, {"language": None}, {"time_zone": None}):
        with pytest.raises(SalesError) as refused:
            await change(changed.version, **wanted)
        assert refused.value.code is ErrorCode.INVALID
    assert (await sign_in(database, "xiaolei@example.com")).display_name == "张小磊"


# ---- somebody keeps the house ----------------------------------------------------------------------------------------


async def admins(database: Database, count: int) -> list[Actor]:
    return [await add_colleague(database, f"管理员{number}", Role.ADMIN) for number in range(count)]


async def grant_of(uow: UnitOfWork, actor: Actor) -> RoleGrant:
    return (await uow.session.execute(select(RoleGrant).where(RoleGrant.user_id == actor.user_id))).scalar_one()


async def leave(database: Database, actor: Actor, how: str) -> None:
    async with database.open_uow(SYSTEM) as uow:
        if how == "disabled":
            await people.disable_user(uow, actor.user_id)
        else:
            await people.revoke_role(uow, (await grant_of(uow, actor)).id)


@pytest.mark.parametrize("how", ["disabled", "revoked"])
async def test_the_last_admin_stays(database: Database, how: str) -> None:
    one, two = await admins(database, 2)
    await add_colleague(database, "张磊", Role.REP)
    await leave(database, one, how)
    events = await count(database, AuditEvent)
    with pytest.raises(Conflict) as refused:
        await leave(database, two, how)
    assert "最后一位系统管理员" in refused.value.text.zh
    assert await count(database, AuditEvent) == events
    async with database.read() as connection:
        assert (await people.sign_in(connection, database.clock(), user_id=two.user_id)).roles == {Role.ADMIN}


@pytest.mark.parametrize("hows", [("disabled", "disabled"), ("revoked", "revoked"), ("disabled", "revoked")])
async def test_two_admins_who_leave_at_once_do_not_both(database: Database, hows: tuple[str, str]) -> None:
    one, two = await admins(database, 2)
    assert await outcomes(leave(database, one, hows[0]), leave(database, two, hows[1])) == ["CONFLICT", "OK"]


async def test_who_is_disabled_a_machine_or_here_for_a_while_does_not_count(database: Database, clock: Clock) -> None:
    last, gone, brief = await admins(database, 3)
    await leave(database, gone, "disabled")
    await leave(database, brief, "revoked")
    await give(database, brief.user_id, Role.ADMIN, valid_to=clock() + timedelta(days=3))
    machine = await add(database, "同步", "erp@example.com", kind=ActorKind.INTEGRATION)
    await give(database, machine.id, Role.ADMIN)
    with pytest.raises(Conflict):
        await leave(database, last, "disabled")
    async with database.open_uow(SYSTEM) as uow:
        lasting = select(RoleGrant.id).where(RoleGrant.user_id == brief.user_id, RoleGrant.valid_to > uow.now)
        await people.revoke_role(uow, (await uow.session.execute(lasting)).scalar_one())
    await leave(database, gone, "revoked")


# ---- grants ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
async def test_a_context_that_does_not_bound_the_role_is_refused(database: Database, role: Role) -> None:
    await add_territories(database)
    user = await add(database)
    async with database.open_uow(SYSTEM) as uow:
        await people.add_brand(uow, key="med", label=Text("医疗", "Medical"))
        account = await accounts.create_account(uow, name="华山医院", owner_id=user.id)
    contexts: dict[str, tuple[Any, frozenset[Role]]] = {
        "territory": ("华东", BY_TERRITORY),
        "brand": ("医疗", BY_BRAND),
        "account_id": (account.id, BY_ACCOUNT),
    }
    for field, (value, roles) in contexts.items():
        found = await outcomes(give(database, user.id, role, **{field: value}))
        assert found == (["OK"] if role in roles else ["INVALID"]), field


async def test_a_grant_that_cannot_be_is_refused_and_leaves_nothing(database: Database, clock: Clock) -> None:
    await add_territories(database)
    user = await add(database)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="华山医院", owner_id=user.id)
    refused: list[tuple[dict[str, Any], str, tuple[str, ...]]] = [
        ({"territory": "华北"}, "NOT_FOUND", ("territory",)),
        ({"brand": "无此品牌"}, "NOT_FOUND", ("brand",)),
        ({"account_id": new_id()}, "NOT_FOUND", ("accountId",)),
        ({"account_id": account.id, "territory": "华东"}, "INVALID", ("territory",)),
        ({"valid_to": clock()}, "INVALID", ("until",)),
        ({"valid_to": clock() - timedelta(days=1)}, "INVALID", ("until",)),
        ({"valid_from": clock() - timedelta(days=1)}, "INVALID", ("validFrom",)),
        ({"valid_from": clock() + timedelta(days=2), "valid_to": clock() + timedelta(days=2)}, "INVALID", ("until",)),
    ]
    for context, code, path in refused:
        with pytest.raises(SalesError) as error:
            await give(database, user.id, Role.REP, **context)
        assert (error.value.code.value, error.value.path) == (code, path)
    assert await count(database, RoleGrant) == 0


async def test_the_same_grant_is_given_once_but_may_be_prolonged(database: Database, clock: Clock) -> None:
    await add_territories(database)
    user = await add(database)
    end = clock() + timedelta(days=10)
    first = await give(database, user.id, Role.REP, territory="华东", valid_to=end)
    assert await outcomes(give(database, user.id, Role.REP, territory="east-china", valid_to=end)) == ["CONFLICT"]
    assert await outcomes(*(give(database, user.id, Role.REP, territory="华东") for _ in range(2))) == [
        "CONFLICT",
        "OK",
    ]
    async with database.open_uow(SYSTEM) as uow:
        owner = await load(uow.session, SYSTEM, User, user.id)
        held = await people.grants_in(uow, owner, Role.REP, territory="华东")
        assert {grant.valid_to for grant in held} == {end, None}
        assert await people.grants_in(uow, owner, Role.REP) == []
        await people.revoke_role(uow, first.id)
    event = await last_event(database)
    assert (event.action, event.detail["detail"]["grant"]) == ("user.role_revoked", first.id.hex)
    with pytest.raises(Conflict):
        async with database.open_uow(SYSTEM) as uow:
            await people.revoke_role(uow, first.id)
    assert (await sign_in(database, user.email)).roles == {Role.REP}


async def test_a_grant_may_begin_later_and_does_so_at_its_instant(database: Database, clock: Clock) -> None:
    user = await add(database)
    begin, end = clock() + timedelta(days=2), clock() + timedelta(days=4)
    await give(database, user.id, Role.LEGAL, valid_from=begin, valid_to=end)
    for roles, turn in ((frozenset(), begin), (frozenset({Role.LEGAL}), end), (frozenset(), None)):
        actor = await sign_in(database, user.email)
        assert (actor.roles, actor.valid_until) == (roles, turn)
        clock.advance(days=2)
    await give(database, user.id, Role.DPO, valid_from=clock() + timedelta(days=2))
    async with database.open_uow(SYSTEM) as uow:
        owner = await load(uow.session, SYSTEM, User, user.id)
        (coming,) = await people.grants_in(uow, owner, Role.DPO)
        await people.revoke_role(uow, coming.id)
    clock.advance(days=3)
    assert (await sign_in(database, user.email)).roles == frozenset()


async def test_the_ledger_says_in_which_context_and_until_when(database: Database, clock: Clock) -> None:
    user = await add(database)
    async with database.open_uow(SYSTEM) as uow:
        await people.add_brand(uow, key="med", label=Text("医疗", "Medical"))
        account = await accounts.create_account(uow, name="华山医院", owner_id=user.id)
    end = clock() + timedelta(days=5)
    await give(database, user.id, Role.CSM, account_id=account.id, brand="医疗", valid_to=end)
    event = await last_event(database)
    assert (event.action, event.subject_id) == ("user.role_granted", user.id)
    expected = {"role": "CSM", "territory": None, "brand": "med", "account": account.id.hex, "until": end.isoformat()}
    assert event.detail["detail"] == expected


async def test_the_directory_shows_everybody_with_what_they_hold_now(database: Database, clock: Clock) -> None:
    await add_territories(database)
    user = await add(database)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="华山医院", owner_id=user.id)
    await give(database, user.id, Role.REP, territory="上海")
    await give(database, user.id, Role.CSM, account_id=account.id, valid_to=clock() + timedelta(days=1))
    async with database.read() as connection:
        (entry,) = await people.directory(connection, clock())
        assert [(held.role, held.territory, held.account) for held in entry.held] == [
            (Role.CSM, None, "华山医院"),
            (Role.REP, "shanghai", None),
        ]
        clock.advance(days=1)
        (later,) = await people.directory(connection, clock())
        assert [held.role for held in later.held] == [Role.REP]
