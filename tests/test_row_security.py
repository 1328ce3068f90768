"""The second wall: what the access rules say, PostgreSQL keeps by itself, for every role, every class and every bound."""

import ast
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import ColumnElement, FromClause, func, select, text, true, update
from sqlalchemy.exc import DBAPIError

import migrations
from demo import load as load_demo
from domain import measures
from domain.accounts import Account, Contact
from domain.activities import Activity
from domain.deals import Opportunity, Stage
from domain.kernel import (
    SYSTEM,
    Actor,
    ActorKind,
    Base,
    Database,
    Language,
    NotFound,
    Reach,
    Role,
    access,
    beyond,
    load,
    new_id,
    reader,
    row_security,
    rows_visible,
    totals_visible,
)
from domain.ledger import LedgerRecorder
from domain.people import Brand, Territory, User
from knowledge import Audience, Content, KnowledgeItem, KnowledgeKind, address, propose
from migrations import objects
from tests.conftest import remove_data
from tests.factories import Clock, Ids, sign_in

ROOT = Path(__file__).parent.parent
EMPTY = {
    "attachments", "audit_events", "saved_views", "service_keys", "generations", "citations", "generation_checks", "generation_feedback",
    "generation_figures", "generation_sections", "custom_fields", "brands", "consent_receipts", "invoices", "account_team_members", "content_requests",
    "knowledge_effects", "knowledge_likenesses", "retirement_proposals", "deliveries", "delivery_replies",
    "retrieval_tests", "retrieval_expectations", "retrieval_test_runs", "replay_runs", "replay_results", "work_items",
}  # fmt: skip
"""Tables of which the demo company has no rows that everybody's rules would tell apart."""


@pytest.fixture(scope="module")
async def company(shared_database: Database) -> AsyncIterator[Database]:
    """The demo company with two brands, on a database that has the wall."""
    if shared_database.embedded:
        pytest.skip("SQLite has no row security")
    clock = Clock()
    shared_database.clock, shared_database.new_id = clock, Ids(clock)
    try:
        await load_demo(shared_database, progress=lambda _done, _total: None)
        await add_brands(shared_database)
        await address_knowledge(shared_database)
        await measures.refresh(shared_database)
        yield shared_database
    finally:
        await remove_data(shared_database)


async def add_brands(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        brands = [Brand(id=uow.new_id(), key=key, label_zh=key, label_en=key) for key in ("east", "west")]
        uow.session.add_all(brands)
        for brand in brands:
            uow.note("brand.added", brand)
    async with database.writer.begin() as connection:
        ids = list((await connection.execute(select(Account.id).order_by(Account.id))).scalars())
        for number, id in enumerate(ids):
            brand_id = [brands[0].id, brands[1].id, None][number % 3]
            await connection.execute(update(Account.__table__).where(Account.id == id).values(brand_id=brand_id))  # type: ignore[arg-type]


async def address_knowledge(database: Database) -> None:
    """Address some entries to a role, a territory or a brand, and propose one."""
    async with database.read() as connection:
        items = list((await connection.execute(select(KnowledgeItem.id).order_by(KnowledgeItem.id).limit(4))).scalars())
        territory, brand = [
            (await connection.execute(select(model.id).limit(1))).scalar_one() for model in (Territory, Brand)
        ]
    lei = await sign_in(database, "lei.zhang@example.com")
    audiences = [Audience(Role.REP), Audience(territory_id=territory), Audience(Role.LEGAL, brand_id=brand)]
    async with database.open_uow(SYSTEM) as uow:
        for id, audience in zip(items, audiences, strict=False):
            await address(uow, id, None, [audience])
    async with database.open_uow(lei) as uow:
        content = Content("客户问起备件", "备件两日内到货。")
        await propose(uow, item_id=None, kind=KnowledgeKind.FAQ, language=Language.ZH, content=content, reason=None)


async def everybody(database: Database) -> dict[str, Actor]:
    """Every colleague of the demo company, and every role in every kind of bound."""
    async with database.read() as connection:
        people = (
            (await connection.execute(select(User.email).where(User.disabled_at.is_(None), User.email.is_not(None))))
            .scalars()
            .all()
        )
        accounts = list((await connection.execute(select(Account.id).order_by(Account.id).limit(4))).scalars())
        brands = list((await connection.execute(select(Brand.id).order_by(Brand.key))).scalars())
        territories = list((await connection.execute(select(Territory.id).order_by(Territory.key).limit(3))).scalars())
    actors = {email: await sign_in(database, email) for email in people}
    lei = actors["lei.zhang@example.com"]
    for role in (Role.REP, Role.MANAGER, Role.SALES_OPS, Role.FINANCE, Role.LEGAL, Role.CSM):
        bounds = {
            "accounts": (Reach(role, account_ids=frozenset(accounts[:2])),),
            "brand": (Reach(role, frozenset(territories), frozenset(brands[:1])),),
            "both": (Reach(role, brand_ids=frozenset(brands), account_ids=frozenset(accounts)),),
            "two": (
                Reach(role, frozenset(territories[:1]), frozenset(brands[:1])),
                Reach(role, frozenset(territories[1:]), frozenset(brands[1:])),
                Reach(Role.AUDITOR),
            ),
        }
        actors |= {f"{role.value} {name}": replace(lei, reaches=reaches) for name, reaches in bounds.items()}
    actors["nobody"] = Actor(ActorKind.USER)
    actors["no roles"] = replace(lei, reaches=())
    actors["assistant"] = replace(lei, kind=ActorKind.ASSISTANT)
    return actors


async def behind_the_wall(database: Database, model: type[Base], actor: Actor) -> set[UUID]:
    """What an actor reads where no predicate is in the statement."""
    async with database.read(actor) as connection:
        return set((await connection.execute(select(model.__table__.c.id))).scalars())


async def by_the_rules(database: Database, model: type[Base], actor: Actor) -> set[UUID]:
    async with database.read(SYSTEM) as connection:
        seen = select(model.__table__.c.id).where(rows_visible(model, actor))
        return set((await connection.execute(seen)).scalars())


async def test_the_wall_and_the_rules_say_the_same_of_everybody_and_everything(company: Database) -> None:
    actors, sizes = await everybody(company), dict[str, set[int]]()
    for model in row_security.protected():
        for who, actor in actors.items():
            expected = await by_the_rules(company, model, actor)
            if model is User and actor.user_id is not None:
                expected |= {actor.user_id}
            assert await behind_the_wall(company, model, actor) == expected, (who, model.__tablename__)
            sizes.setdefault(model.__tablename__, set()).add(len(expected))
    told_apart = {table for table, found in sizes.items() if len(found) > 1}
    assert told_apart >= sizes.keys() - EMPTY


async def test_who_says_nothing_sees_nothing(company: Database) -> None:
    for model in row_security.protected():
        async with company.reader.connect() as connection:
            await connection.execute(text("SELECT set_config('role', 'sortie_reader', true)"))
            assert (await connection.execute(select(model.__table__.c.id))).all() == [], model
            for name in reader.SETTINGS:
                await connection.execute(text(f"SELECT set_config('{name}', '', true)"))
            assert (await connection.execute(select(model.__table__.c.id))).all() == [], model


async def test_a_statement_that_says_who_asks_shows_each_their_own_whoever_asked_before(company: Database) -> None:
    """The way of reads: prepared once with a generic plan, on a connection that is in a readers' role for good."""
    actors = list((await everybody(company)).values())
    models = [Account, Opportunity, Contact, Activity, Stage, User]
    lists = ", ".join(
        f"(SELECT array_agg(id) FROM {one.__tablename__}), ARRAY(SELECT id FROM {one.__tablename__} WHERE id = s.id OR EXISTS "
        f"(SELECT 1 FROM {one.__tablename__} AS other WHERE other.id = {one.__tablename__}.id))" for one in models
    )  # fmt: skip
    expected = {}
    for actor in actors:
        expected[actor] = [await behind_the_wall(company, model, actor) for model in models]
    assert len({repr(found) for found in expected.values()}) > 5
    by_role: dict[tuple[str, tuple[str, ...]], list[Actor]] = {}
    for actor in actors:
        who = reader.who_reads(actor)
        by_role.setdefault((who.role, who.names), []).append(actor)
    assert by_role.keys() > {(reader.READER, reader.SETTINGS), (reader.READERS[Role.REP], reader.OWN_SETTINGS)}
    for (role, names), holders in by_role.items():
        made = ", ".join(f"set_config('{name}', ${at}, true) AS s{at}" for at, name in enumerate(names, 1))
        said = " AND ".join(f"s{at} IS NOT NULL" for at in range(1, len(names) + 1))
        options = {"role": role, "plan_cache_mode": "force_generic_plan"}
        raw = await asyncpg.connect(company.url.replace("+asyncpg", ""), server_settings=options)
        try:
            statement = await raw.prepare(
                f"SELECT {lists} FROM (SELECT {made} OFFSET 0) AS who, (SELECT gen_random_uuid() AS id OFFSET 0) AS s WHERE {said}"
            )
            for actor in (*holders, *reversed(holders)):
                row = await statement.fetchrow(*reader.who_reads(actor).values)
                assert row is not None
                assert [set(found or ()) for found in row[::2]] == expected[actor], actor.display_name
                assert [set(found or ()) for found in row[1::2]] == expected[actor], actor.display_name
                left = await raw.fetchval("SELECT current_setting('sortie.user_id', true)")
                assert not left
        finally:
            await raw.close()


async def test_what_declares_no_access_is_out_of_reach(company: Database) -> None:
    lei = await sign_in(company, "lei.zhang@example.com")
    undeclared = Base.metadata.tables.keys() - {model.__tablename__ for model in row_security.protected()}
    assert undeclared >= {"person_keys", "ledger_heads", "outbox_events", "client_keys"}
    for table in sorted(undeclared):
        async with company.read(lei) as connection:
            with pytest.raises(DBAPIError, match="permission denied"):
                await connection.execute(text(f"SELECT 1 FROM {table}"))


ENUMS = {
    ("knowledge_items", "state"), ("knowledge_items", "effective_from"), ("knowledge_items", "expires_at"), ("knowledge_audiences", "role"), ("generations", "disposition"), ("generations", "subject_kind"),
}  # fmt: skip
"""What rules look up in other tables beside ids."""


def beyond_models() -> list[type[Base]]:
    return [mapper.class_ for mapper in Base.registry.mappers if mapper.class_.__beyond__]


async def check_what_is_beyond(database: Database) -> None:
    nobody = Actor(ActorKind.USER)
    declaring = beyond_models()
    assert {Account, Opportunity, User} < set(declaring)
    for model in declaring:
        names = sorted(beyond(model).c.keys())
        assert set(names) >= {key.name for key in model.__table__.primary_key} | model.__beyond__
        async with database.read(SYSTEM) as connection:
            whole = (await connection.execute(select(*(model.__table__.c[name] for name in names)))).all()
        async with database.read(nobody) as connection:
            found = (await connection.execute(select(*(beyond(model).c[name] for name in names)))).all()
        assert sorted(map(repr, found)) == sorted(map(repr, whole)), model


async def test_what_is_declared_is_read_beyond_the_wall(company: Database) -> None:
    await check_what_is_beyond(company)


async def test_where_there_is_no_wall_the_tables_themselves_are_beyond_it(sqlite_database: Database) -> None:
    await load_demo(sqlite_database, progress=lambda _done, _total: None)
    await check_what_is_beyond(sqlite_database)


async def test_totals_are_the_same_beyond_the_wall(company: Database) -> None:
    deals = beyond(Opportunity).alias()
    counts = set()
    for who, actor in (await everybody(company)).items():
        async with company.read(SYSTEM) as connection:
            counted = set(
                (await connection.execute(select(Opportunity.id).where(totals_visible(Opportunity, actor)))).scalars()
            )
        async with company.read(actor) as connection:
            rows = await connection.execute(select(deals.c.id).where(totals_visible(Opportunity, actor, deals)))
            assert set(rows.scalars()) == counted, who
        counts.add(len(counted))
    assert len(counts) > 3


async def test_a_view_of_the_rules_has_ids_and_what_is_declared_alone(company: Database) -> None:
    told = text(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'sortie_rules'"
    )
    async with company.read(SYSTEM) as connection:
        columns = (await connection.execute(told)).all()
    declared_beyond = {model.__tablename__: beyond(model).c.keys() for model in beyond_models()}
    words = {(table, name) for table, name, kind in columns if kind not in {"uuid", "boolean"}}
    assert {(table, name) for table, name in words if name not in declared_beyond.get(table, ())} <= ENUMS
    assert not {name for _, name, _ in columns} & {"secret_hash", "email", "name", "value", "words"}


async def test_a_reader_cannot_write(company: Database) -> None:
    lei = await sign_in(company, "lei.zhang@example.com")
    for statement in (
        "UPDATE accounts SET name = ''",
        "DELETE FROM accounts",
        "INSERT INTO brands (id) VALUES (gen_random_uuid())",
    ):
        async with company.read(lei) as connection:
            with pytest.raises(DBAPIError, match="permission denied"):
                await connection.execute(text(statement))


async def test_a_connection_that_goes_back_to_the_pool_forgets_who_asked(company: Database) -> None:
    lei = await sign_in(company, "lei.zhang@example.com")
    for _ in range(20):
        async with company.read(lei) as connection:
            assert (await connection.execute(text("SELECT current_user"))).scalar_one() == reader.READERS[Role.REP]
        async with company.read(SYSTEM) as connection:
            said = "SELECT current_user, current_setting('sortie.user_id', true)"
            user, actor = (await connection.execute(text(said))).one()
            assert not user.startswith(reader.READER)
            assert not actor


@contextmanager
def without_the_rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The application's predicate switched off: every row is visible to it."""

    def everything(_model: type[Base], _actor: Actor, _source: FromClause, _rule_of: object) -> ColumnElement[bool]:
        return true()

    access._rows_of_class.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(access, "_joined", everything)
        yield
    access._rows_of_class.cache_clear()


async def test_a_lookup_in_a_unit_of_work_stands_before_the_wall(
    company: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lei = await sign_in(company, "lei.zhang@example.com")
    everything = await by_the_rules(company, Opportunity, SYSTEM)
    mine = await by_the_rules(company, Opportunity, lei)
    assert mine < everything
    with without_the_rules(monkeypatch):
        async with company.open_uow(lei) as uow:
            for id in sorted(mine)[:3]:
                assert (await load(uow.session, lei, Opportunity, id, lock=True)).id == id
            for id in (*sorted(everything - mine)[:3], new_id()):
                with pytest.raises(NotFound):
                    await load(uow.session, lei, Opportunity, id, lock=True)
            assert await load(uow.session, SYSTEM, Opportunity, min(everything - mine)) is not None


async def test_without_the_policies_the_predicate_stood_alone(company: Database) -> None:
    """What the first test finds is the policies' doing."""
    lei = await sign_in(company, "lei.zhang@example.com")
    everything, mine = await by_the_rules(company, Account, SYSTEM), await by_the_rules(company, Account, lei)
    async with company.writer.begin() as connection:
        await connection.execute(text("ALTER TABLE accounts DISABLE ROW LEVEL SECURITY"))
    try:
        assert await behind_the_wall(company, Account, lei) == everything != mine
    finally:
        async with company.writer.begin() as connection:
            await connection.execute(text("ALTER TABLE accounts ENABLE ROW LEVEL SECURITY"))
    assert await behind_the_wall(company, Account, lei) == mine


async def test_the_wall_is_put_up_anew_when_the_declarations_change(company: Database) -> None:
    # Tests share the database, and what they empty is the search index's mark as well.
    await migrations.migrate(company.url)
    assert await migrations.is_current(company.url)
    async with company.writer.begin() as connection:
        await connection.execute(text("COMMENT ON SCHEMA sortie_rules IS 'of an earlier release'"))
        await connection.execute(text("DROP POLICY sortie_reader_rep_rows ON accounts"))
    assert not await migrations.is_current(company.url)
    assert await migrations.migrate(company.url)
    assert await migrations.is_current(company.url)
    assert not await migrations.migrate(company.url)
    lei = await sign_in(company, "lei.zhang@example.com")
    assert await behind_the_wall(company, Account, lei) == await by_the_rules(company, Account, lei) != set()


async def test_the_wall_comes_down_and_goes_up(company: Database) -> None:
    async with company.writer.begin() as connection:
        await connection.run_sync(row_security.remove)
        schemas = text("SELECT count(*) FROM pg_namespace WHERE nspname = 'sortie_rules'")
        assert (await connection.execute(schemas)).scalar_one() == 0
        await connection.run_sync(objects.install)
        assert (await connection.execute(schemas)).scalar_one() == 1


# ---- pure ------------------------------------------------------------------------------------------------------------


def test_every_class_that_declares_access_has_a_wall() -> None:
    said = "\n".join(row_security.script())
    for model in row_security.protected():
        assert f"CREATE POLICY sortie_reader_rows ON {model.__tablename__} FOR SELECT TO sortie_reader" in said
    assert "a11ce" not in said
    assert row_security.digest() == row_security.digest()


def test_the_product_says_as_whom_it_reads() -> None:
    """A read without an actor is the system's: each such place says so."""
    bare = []
    for storey in ("api", "assistant", "knowledge", "domain"):
        for file in sorted((ROOT / storey).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "read":
                    of = ast.unparse(node.func.value)
                    if of.endswith("database") and not node.args:
                        bare.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert bare == []


async def test_an_owner_who_is_no_superuser_migrates_and_serves(postgres_url: str) -> None:
    roles = ", ".join((reader.READER, *reader.READERS.values()))
    administrator = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        await administrator.execute("CREATE ROLE owner_of_sales LOGIN CREATEROLE")
        # The roles of readers belong to all databases of a server: those that are there, their maker gives.
        for role in roles.split(", "):
            await administrator.execute(
                f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN END $$"
            )
        await administrator.execute(f"GRANT {roles} TO owner_of_sales")
        await administrator.execute("CREATE DATABASE owned_by_nobody_great OWNER owner_of_sales")
        url = postgres_url.replace("postgres:@/postgres", "owner_of_sales:@/owned_by_nobody_great", 1)
        assert url != postgres_url
        await migrations.migrate(url)
        await finds_what_they_see_alone(Database(url, LedgerRecorder(), clock=(clock := Clock()), ids=Ids(clock)))
    finally:
        await administrator.execute("DROP DATABASE IF EXISTS owned_by_nobody_great WITH (FORCE)")
        await administrator.execute("DROP OWNED BY owner_of_sales")
        await administrator.execute("DROP ROLE owner_of_sales")
        await administrator.close()


async def finds_what_they_see_alone(database: Database) -> None:
    try:
        await load_demo(database, progress=lambda _done, _total: None)
        lei = await sign_in(database, "lei.zhang@example.com")
        mine = await by_the_rules(database, Opportunity, lei)
        others = await by_the_rules(database, Opportunity, SYSTEM) - mine
        async with database.open_uow(lei) as uow:
            assert (await load(uow.session, lei, Opportunity, min(mine))).id == min(mine)
            with pytest.raises(NotFound):
                await load(uow.session, lei, Opportunity, min(others))
            said = select(*(func.current_setting(name, True) for name in reader.SETTINGS))
            assert not any((await uow.session.execute(said)).one())
    finally:
        await database.close()
