"""Users, roles in contexts and for a time, territories: what a sign-in makes of them."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from domain import people
from domain.kernel import (
    SYSTEM,
    Actor,
    ActorKind,
    Conflict,
    Database,
    ErrorCode,
    Language,
    Reach,
    Role,
    Text,
    Unauthenticated,
    new_id,
)
from domain.ledger import AuditEvent
from domain.people import Brand, RoleGrant, Territory, User
from tests.factories import START, Clock, add_colleague, add_territories, sign_in


async def grant(
    database: Database, actor: Actor, role: Role, territory: Territory | None = None, days: int | None = None
) -> None:
    async with database.open_uow(SYSTEM) as uow:
        user = await uow.session.get_one(User, actor.user_id)
        valid_to = None if days is None else uow.now + timedelta(days=days)
        await people.grant_role(uow, user, role, territory=territory, valid_to=valid_to)


async def actions(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(select(AuditEvent.action).order_by(AuditEvent.seq))).scalars())


# ---- users -----------------------------------------------------------------------------------------------------------


async def test_a_user_is_added_with_a_normal_address(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name="张磊", email="  Lei.Zhang@Example.COM ", language=Language.EN)
    assert (user.email, user.language, user.time_zone) == ("lei.zhang@example.com", Language.EN, "Asia/Shanghai")
    assert await actions(database) == ["user.added"]
    assert (await sign_in(database, "LEI.ZHANG@example.com")).user_id == user.id


async def test_an_address_is_taken_once(database: Database) -> None:
    await add_colleague(database, "张磊", email="lei.zhang@example.com")
    with pytest.raises(Conflict) as refused:
        await add_colleague(database, "张蕾", email="Lei.Zhang@example.com")
    assert refused.value.path == ("email",)
    assert "lei.zhang@example.com 已有用户" in refused.value.text.zh
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(User))).scalar_one() == 1
    assert await actions(database) == ["user.added"]


@pytest.mark.parametrize("email", ["nobody@example.com", "", "张磊"])
async def test_nobody_unknown_signs_in(database: Database, email: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await sign_in(database, email)
    assert refused.value.code is ErrorCode.UNAUTHENTICATED


async def test_nobody_disabled_signs_in(database: Database) -> None:
    actor = await add_colleague(database, "张磊", Role.REP, email="lei.zhang@example.com")
    async with database.open_uow(SYSTEM) as uow:
        user = await uow.session.get_one(User, actor.user_id)
        user.disabled_at = uow.now
        uow.note("user.disabled", user)
    with pytest.raises(Unauthenticated):
        await sign_in(database, "lei.zhang@example.com")
    async with database.read() as connection:
        with pytest.raises(Unauthenticated):
            await people.sign_in(connection, START, user_id=actor.user_id)


async def test_a_user_signs_in_by_id_as_by_address(database: Database) -> None:
    made = await add_territories(database)
    actor = await add_colleague(database, "张磊", Role.REP, territories=[made["shanghai"]])
    async with database.read() as connection:
        assert await people.sign_in(connection, START, user_id=actor.user_id) == actor
        with pytest.raises(Unauthenticated):
            await people.sign_in(connection, START, user_id=new_id())


# ---- roles -----------------------------------------------------------------------------------------------------------


async def test_a_territory_brings_everything_below_it(database: Database) -> None:
    made = await add_territories(database)
    below = {
        "china": {"china", "east-china", "shanghai", "south-china"},
        "east-china": {"east-china", "shanghai"},
        "shanghai": {"shanghai"},
    }
    for key, keys in below.items():
        actor = await add_colleague(database, f"王敏{key}", Role.MANAGER, territories=[made[key]])
        assert actor.reaches == (Reach(Role.MANAGER, frozenset(made[inside].id for inside in keys)),)


async def test_roles_keep_their_own_contexts(database: Database) -> None:
    made = await add_territories(database)
    async with database.open_uow(SYSTEM) as uow:
        brand = await people.add_brand(uow, key="med", label=Text("医疗", "Medical"))
    actor = await add_colleague(database, "王敏", Role.REP, territories=[made["shanghai"]], brands=[brand])
    await grant(database, actor, Role.MANAGER, made["south-china"])
    await grant(database, actor, Role.AUDITOR)
    actor = await sign_in(database, f"{'王敏'.encode().hex()}@example.com")
    assert actor.kind is ActorKind.USER
    assert actor.display_name == "王敏"
    assert {reach.role: (reach.territory_ids, reach.brand_ids) for reach in actor.reaches} == {
        Role.REP: ({made["shanghai"].id}, {brand.id}),
        Role.MANAGER: ({made["south-china"].id}, frozenset()),
        Role.AUDITOR: (frozenset(), frozenset()),
    }
    assert actor.valid_until is None


async def test_a_grant_holds_from_its_instant_until_its_end(database: Database, clock: Clock) -> None:
    made = await add_territories(database)
    actor = await add_colleague(database, "李娜", email="na.li@example.com")
    clock.advance(days=1)
    await grant(database, actor, Role.REP, made["south-china"], days=10)
    await grant(database, actor, Role.LEGAL, days=3)
    async with database.read() as connection:
        before = await people.sign_in(connection, START, email="na.li@example.com")
    assert before.roles == frozenset()
    now = await sign_in(database, "na.li@example.com")
    assert now.roles == {Role.REP, Role.LEGAL}
    assert now.valid_until == clock.now + timedelta(days=3)
    clock.advance(days=3)
    assert (await sign_in(database, "na.li@example.com")).roles == {Role.REP}
    clock.advance(days=7)
    after = await sign_in(database, "na.li@example.com")
    assert (after.roles, after.valid_until) == (frozenset(), None)


async def test_role_codes_of_many_at_once(database: Database, clock: Clock) -> None:
    made = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, Role.CSM, territories=[made["shanghai"], made["south-china"]])
    na = await add_colleague(database, "李娜")
    await grant(database, na, Role.DPO, days=1)
    ids = [actor.user_id for actor in (lei, na) if actor.user_id]
    async with database.read() as connection:
        assert await people.role_codes(connection, ids, START) == {ids[0]: [Role.CSM, Role.REP], ids[1]: [Role.DPO]}
        later = clock.advance(days=2)
        assert await people.role_codes(connection, ids, later) == {ids[0]: [Role.CSM, Role.REP], ids[1]: []}
        assert await people.role_codes(connection, [], START) == {}


async def test_a_grant_is_in_the_ledger_with_its_user(database: Database) -> None:
    made = await add_territories(database)
    actor = await add_colleague(database, "张磊", Role.REP, territories=[made["shanghai"]])
    async with database.read() as connection:
        last = (await connection.execute(select(AuditEvent.__table__).order_by(AuditEvent.seq.desc()).limit(1))).one()
        granted = (await connection.execute(select(RoleGrant.id))).scalar_one()
    assert (last.action, last.subject_kind, last.subject_id) == ("user.role_granted", "User", actor.user_id)
    assert last.detail["detail"] == {"role": "REP", "territory": "shanghai"}
    assert f"RoleGrant:{granted.hex}" in [change["row"] for change in last.detail["changes"]]


# ---- territories and brands ------------------------------------------------------------------------------------------


async def test_a_territory_and_a_brand_are_added_once(database: Database) -> None:
    first = await add_territories(database)
    again = await add_territories(database)
    assert {key: territory.id for key, territory in first.items()} == {key: t.id for key, t in again.items()}
    async with database.open_uow(SYSTEM) as uow:
        brand = await people.add_brand(uow, key="med", label=Text("医疗", "Medical"))
    async with database.open_uow(SYSTEM) as uow:
        assert (await people.add_brand(uow, key="med", label=Text("别的", "Else"))).id == brand.id
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(Territory))).scalar_one() == 4
        assert (await connection.execute(select(Brand.label_zh))).scalars().all() == ["医疗"]
    assert await actions(database) == ["territory.added"] * 4 + ["brand.added"]


@pytest.mark.parametrize(
    ("region", "key"),
    [
        ("华东", "east-china"),
        (" 华东 ", "east-china"),
        ("east-china", "east-china"),
        ("East China", "east-china"),
        ("EAST CHINA", "east-china"),
        ("上海", "shanghai"),
        ("华北", None),
        ("%", None),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
async def test_a_region_is_found_by_key_or_label(database: Database, region: str | None, key: str | None) -> None:
    await add_territories(database)
    async with database.open_uow(SYSTEM) as uow:
        found = await people.find_territory(uow.session, region)
    assert (found.key if found else None) == key


@given(st.dictionaries(st.integers(0, 12), st.none() | st.integers(0, 12)), st.sets(st.integers(0, 12), max_size=3))
def test_descendants_are_exactly_those_whose_ancestors_lead_to_a_root(
    parents: dict[int, int | None], roots: set[int]
) -> None:
    tree = {UUID(int=child): None if parent is None else UUID(int=parent) for child, parent in parents.items()}
    starts = {UUID(int=root) for root in roots}

    def leads_to_a_root(node: UUID | None, seen: frozenset[UUID] = frozenset()) -> bool:
        if node is None or node in seen:
            return False
        return node in starts or leads_to_a_root(tree.get(node), seen | {node})

    expected = starts | {node for node in tree if leads_to_a_root(node)}
    assert people.with_descendants(tree, starts) == expected
