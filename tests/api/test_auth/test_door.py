"""Who stands at the door: a change bites on the next request, whichever process made it; service accounts keep to their grants and scopes."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text

from api.auth import ACTOR_SECONDS, Door, LocalVerifier
from api.schema import schema, scope_of
from domain import people
from domain.accounts import Account
from domain.kernel import (
    SYSTEM,
    Actor,
    ActorKind,
    Database,
    Role,
    Scope,
    Unauthenticated,
    UnitOfWork,
    load,
    rows_visible,
)
from domain.ledger import AuditEvent, LedgerRecorder
from domain.people import KeySecret, RoleGrant, ServiceKey, User
from tests.api.conftest import Ask, Company
from tests.factories import Clock, add_colleague

KEY = LocalVerifier(bytes(range(32)))


def bearer(actor: Actor, clock: Clock) -> str:
    assert actor.user_id is not None
    return f"Bearer {KEY.sign(actor.user_id, clock(), timedelta(hours=1))}"


async def admitted(door: Door, authorization: str) -> Actor:
    admission = await door.admit(authorization)
    assert admission is not None
    return admission.actor


Change = Callable[[UnitOfWork, Actor], Awaitable[object]]


async def _revoke(uow: UnitOfWork, actor: Actor) -> None:
    grant = (await uow.session.execute(select(RoleGrant).where(RoleGrant.user_id == actor.user_id))).scalar_one()
    await people.revoke_role(uow, grant.id)


async def _grant(uow: UnitOfWork, actor: Actor) -> None:
    await people.give_role(uow, await uow.session.get_one(User, actor.user_id), Role.LEGAL)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda uow, actor: people.disable_user(uow, actor.user_id), None),
        (_revoke, frozenset()),
        (_grant, {Role.REP, Role.LEGAL}),
    ],
    ids=["disabled", "revoked", "granted"],
)
async def test_a_change_bites_on_the_next_request_in_every_process(
    database: Database, clock: Clock, change: Change, left: set[Role] | None
) -> None:
    """The clock stands still: nothing is forgotten by waiting."""
    lei = await add_colleague(database, "张磊", Role.REP)
    token = bearer(lei, clock)
    other = Database(database.url, LedgerRecorder(), clock=clock)
    try:
        doors = [Door(database, KEY), Door(other, KEY)]
        for door in doors:
            assert (await admitted(door, token)).roles == {Role.REP}
        async with database.open_uow(SYSTEM) as uow:
            await change(uow, lei)
        for door in doors:
            if left is None:
                with pytest.raises(Unauthenticated) as error:
                    await door.admit(token)
                assert "停用" in error.value.text.zh
            else:
                assert (await admitted(door, token)).roles == left
    finally:
        await other.close()


async def test_a_request_of_somebody_known_costs_one_small_read(database: Database, clock: Clock) -> None:
    door, token = Door(database, KEY), bearer(await add_colleague(database, "张磊", Role.REP), clock)
    await door.admit(token)
    seen: list[str] = []
    engine = database.reader.sync_engine

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    try:
        await door.admit(token)
        assert len(seen) == 1
        assert "users.id = " in seen[0]
        clock.advance(seconds=ACTOR_SECONDS)
        await door.admit(token)
        assert len(seen) > 2, "after a while the grants are read again"
    finally:
        event.remove(engine, "before_cursor_execute", count)


async def test_an_enabled_user_is_back_with_what_still_holds(database: Database, clock: Clock) -> None:
    lei = await add_colleague(database, "张磊", Role.REP)
    door, token = Door(database, KEY), bearer(lei, clock)
    async with database.open_uow(SYSTEM) as uow:
        await people.disable_user(uow, lei.user_id)
    with pytest.raises(Unauthenticated):
        await door.admit(token)
    async with database.open_uow(SYSTEM) as uow:
        await people.enable_user(uow, lei.user_id)
    assert await admitted(door, token) == lei


# ---- service accounts ------------------------------------------------------------------------------------------------


async def service(
    database: Database, *roles: Role, scopes: tuple[Scope, ...] = (Scope.READ,), **more: Any
) -> tuple[User, ServiceKey, str]:
    """A service account with roles, and a key."""
    async with database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name="ERP 同步", email="erp@example.com", kind=ActorKind.INTEGRATION)
        await uow.session.flush()
        for role in roles:
            await people.grant_role(uow, user, role, **more)
        key, secret = await people.add_service_key(uow, user, label="订单同步", scopes=scopes)
    assert secret is not None
    return user, key, secret


async def test_a_service_account_is_bound_by_its_grants_like_a_person(company: Company, ask: Ask) -> None:
    account = company.accounts["parts"]
    _, _, secret = await service(company.database, Role.CSM, account_id=account.id)
    actor = await admitted(Door(company.database, KEY), f"Bearer {secret}")
    assert (actor.kind, actor.unrestricted, actor.roles) == (ActorKind.INTEGRATION, False, frozenset({Role.CSM}))
    document = (
        "{ viewer { name kind } accounts { edges { node { name } } } leads { totalCount } auditEvents { totalCount } }"
    )
    answer = await ask(document, actor)
    assert answer.data["viewer"] == {"name": "ERP 同步", "kind": "INTEGRATION"}
    assert [edge["node"]["name"] for edge in answer.data["accounts"]["edges"]] == ["苏州精密零部件"]
    assert answer.data["leads"] == {"totalCount": 0}
    assert (answer.data["auditEvents"], answer.codes) == (None, ["FORBIDDEN"])


async def test_a_service_account_without_grants_sees_nothing_and_with_all_no_more_than_a_person(
    company: Company,
) -> None:
    _, _, bare = await service(company.database)
    actor = await admitted(Door(company.database, KEY), f"Bearer {bare}")
    async with company.database.open_uow(SYSTEM) as uow:
        user = await uow.session.get_one(User, actor.user_id)
        for role in Role:
            await people.grant_role(uow, user, role)
    person = await add_colleague(company.database, "什么都管", *Role)
    everything = await admitted(Door(company.database, KEY), f"Bearer {bare}")
    assert everything.reaches == person.reaches
    async with company.database.read() as connection:
        for model in (Account, AuditEvent, RoleGrant):

            async def seen(who: Actor, model: Any = model) -> int:
                return len((await connection.execute(select(model.id).where(rows_visible(model, who)))).all())

            assert await seen(actor) == 0
            assert await seen(everything) == await seen(person)


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_key_keeps_to_its_scopes(company: Company, ask: Ask, scope: Scope) -> None:
    territory = await _territory(company.database)
    _, _, secret = await service(company.database, Role.REP, scopes=(scope,), territory=territory)
    actor = await admitted(Door(company.database, KEY), f"Bearer {secret}")
    documents = {
        Scope.READ: "{ leads { totalCount } }",
        Scope.WRITE: 'mutation { captureLead(input: {source: "官网", externalId: "k1", name: "钱伟"}) { errors { code } } }',
        Scope.DRAFT: 'mutation { draftVisitBrief(input: {clientKey: "1", accountId: "acc_1"}) { errors { code } } }',
    }
    for needed, document in documents.items():
        answer = await ask(document, actor)
        assert answer.codes == ([] if needed is scope else ["FORBIDDEN"]), (needed, answer)


async def _territory(database: Database) -> people.Territory:
    async with database.open_uow(SYSTEM) as uow:
        found = await people.find_territory(uow.session, "华东")
    assert found is not None
    return found


def test_every_root_has_a_scope() -> None:
    kinds = {
        kind.name: kind
        for kind in (schema._schema.query_type, schema._schema.mutation_type, schema._schema.subscription_type)
        if kind
    }
    needed = {(kind, name): scope_of(kind, name) for kind, found in kinds.items() for name in found.fields}
    assert {scope for (kind, _), scope in needed.items() if kind != "Mutation"} == {Scope.READ}
    drafts = {name for (kind, name), scope in needed.items() if scope is Scope.DRAFT}
    assert {"draftVisitBrief", "draftObjectionReply", "draftReactivationScript", "draftGeneration"} <= drafts
    assert not [name for (kind, name), scope in needed.items() if kind == "Mutation" and scope is Scope.READ]


async def test_a_key_that_is_revoked_expired_or_disabled_is_refused_at_once(database: Database, clock: Clock) -> None:
    user, key, secret = await service(database, Role.FINANCE)
    door = Door(database, KEY)
    assert (await admitted(door, f"Bearer {secret}")).scopes == frozenset({Scope.READ})
    async with database.open_uow(SYSTEM) as uow:
        await people.revoke_service_key(uow, key.id)
    with pytest.raises(Unauthenticated) as error:
        await door.admit(f"Bearer {secret}")
    assert "吊销" in error.value.text.zh
    async with database.open_uow(SYSTEM) as uow:
        owner = await load(uow.session, SYSTEM, User, user.id)
        short = clock() + timedelta(minutes=5)
        _, second = await people.add_service_key(uow, owner, label="二", scopes=[Scope.READ], expires_at=short)
        _, third = await people.add_service_key(uow, owner, label="三", scopes=[Scope.READ])
    assert await admitted(door, f"Bearer {second}")
    clock.advance(minutes=5)
    with pytest.raises(Unauthenticated):
        await door.admit(f"Bearer {second}")
    assert await admitted(door, f"Bearer {third}")
    async with database.open_uow(SYSTEM) as uow:
        await people.disable_user(uow, user.id)
    with pytest.raises(Unauthenticated):
        await door.admit(f"Bearer {third}")


async def test_a_wrong_key_is_refused_and_the_right_one_is_kept_nowhere(database: Database, clock: Clock) -> None:
    _, key, secret = await service(database, Role.FINANCE)
    door = Door(database, KEY)
    for wrong in (
        f"{secret}x",
        secret[:-1],
        f"sk_sortie_{'0' * 32}_{'a' * 43}",
        f"sk_sortie_{key.id.hex}_",
        "sk_sortie_",
        "sk_sortie_x_y",
    ):
        with pytest.raises(Unauthenticated):
            await door.admit(f"Bearer {wrong}")
    hidden = secret.split("_", 3)[3]
    async with database.read() as connection:
        stored = (await connection.execute(select(KeySecret.__table__))).all()
        events = (await connection.execute(select(AuditEvent.action, AuditEvent.detail))).all()
        dump = [*stored, *(await connection.execute(select(ServiceKey.__table__))).all(), *events]
    assert "user.key_added" in {event.action for event in events}
    assert hidden not in repr(dump)
    assert stored[0].secret_hash not in repr(events)


async def test_the_last_day_of_use_is_kept_and_written_once_a_day(database: Database, clock: Clock) -> None:
    _, key, secret = await service(database)
    door = Door(database, KEY)
    days = []
    for hours in (0, 1, 25):
        clock.advance(hours=hours)
        await door.admit(f"Bearer {secret}")
        async with database.read() as connection:
            days.append((await people.days_of_use(connection, [key.id]))[key.id])
    assert days[0] == days[1]
    assert days[0] is not None
    assert days[2] == clock().date() != days[0]


async def test_a_service_account_comes_with_a_key_alone(database: Database, clock: Clock) -> None:
    user, _, _ = await service(database, Role.REP)
    async with database.read() as connection:
        with pytest.raises(Unauthenticated):
            await people.sign_in(connection, clock(), email="erp@example.com")
    async with database.open_uow(SYSTEM) as uow:
        owner = await load(uow.session, SYSTEM, User, user.id)
        with pytest.raises(Exception, match="not a password"):
            await people.set_password(uow, owner, "x")
    person = await add_colleague(database, "张磊")
    async with database.open_uow(SYSTEM) as uow:
        with pytest.raises(Exception, match="service accounts alone"):
            await people.add_service_key(
                uow, await uow.session.get_one(User, person.user_id), label="x", scopes=[Scope.READ]
            )


async def test_what_a_service_account_does_bears_its_name(company: Company, ask: Ask) -> None:
    user, _, secret = await service(
        company.database, Role.REP, scopes=(Scope.WRITE,), territory=await _territory(company.database)
    )
    actor = await admitted(Door(company.database, KEY), f"Bearer {secret}")
    document = 'mutation { captureLead(input: {source: "ERP", externalId: "k1", name: "钱伟", region: "华东"}) { lead { id } errors { message } } }'
    assert (await ask(document, actor)).data["captureLead"]["errors"] == []
    async with company.database.read() as connection:
        last = select(AuditEvent.actor_kind, AuditEvent.actor_id).where(AuditEvent.action == "lead.captured")
        found = (await connection.execute(last.order_by(AuditEvent.seq.desc()).limit(1))).one()
    assert (found.actor_kind, found.actor_id) == (ActorKind.INTEGRATION, user.id)


async def test_a_busy_database_keeps_no_key_out(sqlite_database: Database, tmp_path: Path) -> None:
    _, _, secret = await service(sqlite_database, Role.FINANCE)
    busy = Database(sqlite_database.url, LedgerRecorder(), clock=sqlite_database.clock, lock_timeout_seconds=0.1)
    try:
        async with sqlite_database.writer.begin() as blocking:
            await blocking.execute(text("SELECT 1"))
            assert (await admitted(Door(busy, KEY), f"Bearer {secret}")).roles == {Role.FINANCE}
    finally:
        await busy.close()
