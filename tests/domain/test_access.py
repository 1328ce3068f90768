"""The one access mechanism: every rule over every kind of caller, on rows and on fields."""

from collections.abc import AsyncIterator
from typing import ClassVar, cast
from uuid import UUID

import pytest
from sqlalchemy import String, Uuid, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from domain.kernel import (
    SYSTEM,
    Access,
    Actor,
    ActorKind,
    Base,
    Database,
    Everyone,
    InTerritory,
    Matching,
    Member,
    NotFound,
    Owned,
    Reach,
    Role,
    Sight,
    StaleVersion,
    Through,
    ThroughSubject,
    declared,
    entity,
    field_visible,
    load,
    may_read,
    new_id,
    rows_visible,
    sights,
)
from domain.kernel.access import HasChild, Rule
from domain.kernel.reader import SCHEMA
from domain.ledger import AuditEvent, LedgerHead
from domain.people import Territory, User
from tests.factories import add_colleague, add_generation, add_territories

LEI, NA, MIN = UUID(int=1), UUID(int=2), UUID(int=3)
EAST, SOUTH = UUID(int=11), UUID(int=12)


class Fleet(DeclarativeBase):
    """Tables of this test alone, apart from the product's."""


class Ship(Fleet):
    """A row with an owner, a territory, a version, and an access declaration that uses every kind of rule."""

    __tablename__ = "test_ships"
    __access__: ClassVar[Access] = Access(
        {
            Role.REP: Sight(Owned() | InTerritory(unowned="owner_id"), frozenset({"cargo", "crew"})),
            Role.MANAGER: Sight(InTerritory(), frozenset({"cargo"})),
            Role.FINANCE: Sight(Matching("flag", ("cn", "en")), frozenset({"price"})),
            Role.LEGAL: Sight(Matching("flag", (None,))),
            Role.CSM: Sight(Matching("flag", ("cn",), Owned())),
        }
        | sights((Role.AUDITOR, Role.DPO), Everyone())
    )

    id: Mapped[UUID] = mapped_column(Uuid(), primary_key=True)
    version: Mapped[int]
    owner_id: Mapped[UUID | None] = mapped_column(Uuid())
    territory_id: Mapped[UUID | None] = mapped_column(Uuid())
    flag: Mapped[str | None] = mapped_column(String(8))


SHIPS = {
    "lei east cn": (LEI, EAST, "cn"),
    "na south cn": (NA, SOUTH, "cn"),
    "na east en": (NA, EAST, "en"),
    "free east": (None, EAST, None),
    "free south": (None, SOUTH, None),
    "free": (None, None, "fr"),
}
IDS = {name: UUID(int=100 + number) for number, name in enumerate(SHIPS)}
ALL, NONE = set(SHIPS), set[str]()
SHIP = cast(type[Base], Ship)


def who(kind: ActorKind, user_id: UUID | None, *reaches: Reach) -> Actor:
    return Actor(kind, user_id, "", reaches)


def user(user_id: UUID, *roles: Role, territories: tuple[UUID, ...] = ()) -> Actor:
    return who(ActorKind.USER, user_id, *(Reach(role, frozenset(territories)) for role in roles))


CALLERS: dict[str, tuple[Actor, set[str]]] = {
    "nobody's roles": (user(LEI), NONE),
    "rep": (user(LEI, Role.REP, territories=(EAST,)), {"lei east cn", "free east"}),
    "rep of two territories": (user(NA, Role.REP, territories=(EAST, SOUTH)), {"na south cn", "na east en", "free east", "free south"}),
    "rep of no territory": (user(LEI, Role.REP), {"lei east cn"}),
    "rep without rows": (user(MIN, Role.REP), NONE),
    "manager": (user(MIN, Role.MANAGER, territories=(EAST,)), {"lei east cn", "na east en", "free east"}),
    "manager of no territory": (user(MIN, Role.MANAGER), NONE),
    "rep and manager elsewhere": (
        who(ActorKind.USER, LEI, Reach(Role.REP, frozenset({EAST})), Reach(Role.MANAGER, frozenset({SOUTH}))),
        {"lei east cn", "free east", "na south cn", "free south"},
    ),
    "finance": (user(MIN, Role.FINANCE), {"lei east cn", "na south cn", "na east en"}),
    "legal": (user(MIN, Role.LEGAL), {"free east", "free south"}),
    "csm": (user(NA, Role.CSM), {"na south cn"}),
    "auditor": (user(MIN, Role.AUDITOR), ALL),
    "dpo": (user(MIN, Role.DPO), ALL),
    **{role.value.lower(): (user(LEI, role, territories=(EAST, SOUTH)), NONE) for role in (Role.EXECUTIVE, Role.CURATOR, Role.SALES_OPS, Role.ADMIN)},
    "assistant of a rep": (who(ActorKind.ASSISTANT, LEI, Reach(Role.REP, frozenset({EAST}))), {"lei east cn", "free east"}),
    "assistant of nobody": (who(ActorKind.ASSISTANT, None), NONE),
    "import": (who(ActorKind.IMPORT, None), ALL),
    "integration of nobody": (who(ActorKind.INTEGRATION, None), NONE),
    "service account of a rep": (who(ActorKind.INTEGRATION, LEI, Reach(Role.REP, frozenset({EAST}))), {"lei east cn", "free east"}),
    "rule": (who(ActorKind.RULE, None), ALL),
    "system": (SYSTEM, ALL),
}  # fmt: skip


@pytest.fixture
async def ships(database: Database) -> AsyncIterator[Database]:
    rows = [
        {"id": IDS[name], "version": 1, "owner_id": owner, "territory_id": territory, "flag": flag}
        for name, (owner, territory, flag) in SHIPS.items()
    ]
    async with database.writer.begin() as connection:
        await connection.run_sync(Fleet.metadata.create_all)
        await connection.execute(insert(Ship), rows)
    yield database
    async with database.writer.begin() as connection:
        await connection.run_sync(Fleet.metadata.drop_all)


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_caller_sees_their_rows_in_lists_and_one_by_one(ships: Database, caller: str) -> None:
    actor, expected = CALLERS[caller]
    async with ships.read() as connection:
        seen = set((await connection.execute(select(Ship.id).where(rows_visible(SHIP, actor)))).scalars())
    assert seen == {IDS[name] for name in expected}
    async with ships.open_uow(actor) as uow:
        for name, id in IDS.items():
            if name in expected:
                assert (await load(uow.session, actor, SHIP, id)) is not None
            else:
                with pytest.raises(NotFound):
                    await load(uow.session, actor, SHIP, id)
    assert may_read(SHIP, actor) == (actor.unrestricted or not actor.roles.isdisjoint(set(Ship.__access__)))


def test_the_table_has_every_role_and_every_kind_of_actor() -> None:
    actors = [actor for actor, _ in CALLERS.values()]
    assert {role for actor in actors for role in actor.roles} == set(Role)
    assert {actor.kind for actor in actors} == set(ActorKind)


async def test_an_absent_and_a_foreign_row_look_alike(ships: Database) -> None:
    actor, _ = CALLERS["rep"]
    words = []
    async with ships.open_uow(actor) as uow:
        for id in (IDS["na south cn"], new_id(), None):
            with pytest.raises(NotFound) as refused:
                await load(uow.session, actor, SHIP, id, path=("input", "shipId"))
            words.append((refused.value.text, refused.value.path))
    assert len(set(words)) == 1
    assert words[0][1] == ("input", "shipId")
    assert "无权查看" in words[0][0].zh


async def test_a_foreign_row_never_tells_its_version(ships: Database) -> None:
    actor, _ = CALLERS["rep"]
    async with ships.open_uow(actor) as uow:
        with pytest.raises(NotFound):
            await load(uow.session, actor, SHIP, IDS["na south cn"], expected_version=7)
        with pytest.raises(StaleVersion) as refused:
            await load(
                uow.session, actor, SHIP, IDS["lei east cn"], path=("input", "id"), expected_version=7, lock=True
            )
    assert refused.value.path == ("input", "expectedVersion")


# ---- fields ----------------------------------------------------------------------------------------------------------

FIELDS: dict[str, dict[str, set[str]]] = {
    "rep": {"cargo": {"lei east cn", "free east"}, "crew": {"lei east cn", "free east"}, "price": NONE},
    "manager": {"cargo": {"lei east cn", "na east en", "free east"}, "crew": NONE, "price": NONE},
    "finance": {"cargo": NONE, "price": {"lei east cn", "na south cn", "na east en"}},
    "auditor": {"cargo": NONE, "crew": NONE, "price": NONE, "unheard of": NONE},
    "rep and manager elsewhere": {
        "cargo": {"lei east cn", "free east", "na south cn", "free south"},
        "crew": {"lei east cn", "free east"},
        "unheard of": NONE,
    },
    "system": {"cargo": ALL, "unheard of": ALL},
    "nobody's roles": {"cargo": NONE},
    "admin": {"cargo": NONE},
}


@pytest.mark.parametrize("caller", FIELDS)
async def test_a_field_is_shown_where_a_sight_that_lists_it_sees_the_row(ships: Database, caller: str) -> None:
    actor, _ = CALLERS[caller]
    async with ships.read() as connection:
        for field, expected in FIELDS[caller].items():
            shown = rows_visible(SHIP, actor) & field_visible(SHIP, field, actor)
            seen = set((await connection.execute(select(Ship.id).where(shown))).scalars())
            assert seen == {IDS[name] for name in expected}, field


def test_a_field_that_every_sight_shows_costs_no_condition() -> None:
    actor, _ = CALLERS["rep and manager elsewhere"]
    assert str(field_visible(SHIP, "cargo", actor)) == "true"
    assert str(field_visible(SHIP, "crew", actor)) != "true"


# ---- rules that lead to other classes --------------------------------------------------------------------------------


async def found(database: Database, model: type[Base], rule: Rule, actor: Actor, role: Role = Role.REP) -> set[UUID]:
    reach = next((reach for reach in actor.reaches if reach.role is role), Reach(role))
    table = model.__table__
    asked = select(table.c.id).where(rule.clause(table, reach, actor))
    async with database.read() as connection:
        # Views are there for what classes declare; these rules no class does.
        await connection.execution_options(schema_translate_map={SCHEMA: None})
        return set((await connection.execute(asked)).scalars())


async def test_rules_lead_through_parents_children_teams_and_subjects(database: Database) -> None:
    made = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[made["shanghai"]])
    na = await add_colleague(database, "李娜", Role.REP, territories=[made["south-china"]])
    grant = entity("RoleGrant")
    mine = await found(database, grant, Through("user_id", "User", Owned("id")), lei)
    assert mine == await found(database, grant, Owned("user_id"), lei)
    assert len(mine) == 1
    assert len(await found(database, grant, Through("user_id", "User"), lei)) == 2
    assert await found(database, Territory, Member("RoleGrant", "territory_id"), lei) == {made["shanghai"].id}
    assert await found(database, Territory, Member("RoleGrant", "territory_id"), na) == {made["south-china"].id}
    about_me = ThroughSubject(("User",))
    assert len(await found(database, AuditEvent, about_me, lei)) == 4
    assert await found(database, AuditEvent, ThroughSubject(()), lei) == set()
    assert await found(database, User, HasChild("Generation", "requested_by_id"), lei) == set()
    await add_generation(database, lei, territory=made["shanghai"])
    assert await found(database, User, HasChild("Generation", "requested_by_id"), lei) == {lei.user_id}
    assert await found(database, User, HasChild("Generation", "requested_by_id"), na) == set()
    for unseen in (Through("subject_id", "Generation"), HasChild("Generation", "subject_id")):
        assert await found(database, AuditEvent, unseen, lei, Role.CURATOR) == set()


# ---- the ledger and people -------------------------------------------------------------------------------------------


async def test_who_sees_which_events_of_the_ledger(database: Database) -> None:
    made = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[made["shanghai"]])
    na = await add_colleague(database, "李娜", Role.REP, territories=[made["south-china"]])
    first = await add_generation(database, lei, territory=made["shanghai"])
    second = await add_generation(database, na, territory=made["south-china"])
    whole = {Role.AUDITOR, Role.DPO}
    actors = {
        role: await add_colleague(database, f"某{role.value}", role, territories=[made["east-china"]]) for role in Role
    }
    async with database.read() as connection:
        total = len((await connection.execute(select(AuditEvent.id))).all())

        async def visible(actor: Actor) -> list[UUID]:
            of = select(AuditEvent.subject_id).where(rows_visible(AuditEvent, actor))
            return list((await connection.execute(of)).scalars())

        assert await visible(lei) == [first.id]
        assert await visible(na) == [second.id]
        for role in Role:
            subjects = await visible(actors[role])
            if role in whole:
                assert len(subjects) == total, role
            else:
                assert subjects == ([first.id] if role is Role.MANAGER else []), role


@pytest.mark.parametrize("role", list(Role))
async def test_every_role_sees_colleagues_names(database: Database, role: Role) -> None:
    actor = await add_colleague(database, "张磊", role)
    await add_colleague(database, "李娜")
    async with database.read() as connection:
        names = set((await connection.execute(select(User.name).where(rows_visible(User, actor)))).scalars())
        assert names == {"张磊", "李娜"}
        stranger = Actor(ActorKind.USER, actor.user_id)
        assert (await connection.execute(select(User.id).where(rows_visible(User, stranger)))).all() == []


# ---- pure ------------------------------------------------------------------------------------------------------------


def test_a_class_without_a_declaration_is_reached_by_no_reader() -> None:
    for ask in (rows_visible, may_read):
        with pytest.raises(LookupError, match="LedgerHead declares no access"):
            ask(LedgerHead, user(LEI, Role.AUDITOR))
    for condition in (lambda: declared(LedgerHead), lambda: rows_visible(LedgerHead, SYSTEM)):
        with pytest.raises(LookupError):
            condition()


def test_an_unknown_class_is_a_bug() -> None:
    with pytest.raises(LookupError, match="Spaceship"):
        entity("Spaceship")


def test_who_has_which_role() -> None:
    rep = user(LEI, Role.REP)
    assert rep.has(Role.REP, Role.MANAGER)
    assert not rep.has(Role.MANAGER)
    assert not who(ActorKind.ASSISTANT, LEI).has(*Role)
    assert SYSTEM.has(Role.ADMIN)
    assert [kind for kind in ActorKind if not who(kind, None).unrestricted] == [
        ActorKind.USER,
        ActorKind.ASSISTANT,
        ActorKind.INTEGRATION,
    ]


def test_every_mapped_class_says_how_the_ledger_covers_it() -> None:
    for mapper in Base.registry.mappers:
        model = mapper.class_
        if model.__aggregate__ is not None:
            root, attribute = model.__aggregate__
            assert entity(root)
            assert attribute in mapper.attrs, model
        if model.__person__ is not None:
            assert model.__person__ in mapper.attrs, model
        assert model.__unledgered__ is None or len(model.__unledgered__) > 10, model
