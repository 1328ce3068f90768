"""What a unit of work asks of the database: new rows travel together, whatever is asked later sees them, nothing is half kept."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from domain import people
from domain.kernel import (
    SYSTEM,
    Actor,
    ActorKind,
    Base,
    ClientKey,
    Database,
    Invalid,
    KeyReused,
    NotFound,
    OvertakenError,
    Role,
    Text,
    Unavailable,
    UnitOfWork,
    UnledgeredChangeError,
    load,
    new_id,
    once,
    search,
)
from domain.ledger import AuditEvent, LedgerRecorder
from domain.people import RoleGrant, Territory, User
from tests.factories import START, verify_ledger


def statements(uow: UnitOfWork) -> list[str]:
    """What the driver of the unit's connection is asked from now on."""
    told: list[str] = []
    driver: Any = uow.session.transaction._driver  # type: ignore[attr-defined]
    if hasattr(driver, "add_query_logger"):
        driver.add_query_logger(lambda record: told.append(record.query))
    else:
        driver.raw.set_trace_callback(told.append)
    return told


def territory(uow: UnitOfWork, key: str, parent: Territory | None = None) -> Territory:
    made = Territory(id=uow.new_id(), key=key, label_zh="华东", label_en="East", parent_id=parent and parent.id)
    uow.session.add(made)
    uow.note("territory.added", made)
    return made


async def count(database: Database, model: type[Base]) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())


# ---- together --------------------------------------------------------------------------------------------------------


async def test_new_rows_their_notes_and_their_words_are_one_statement(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        told = statements(uow)
        user = await people.add_user(uow, name="张磊", email="lei.zhang@example.com")
        await people.grant_role(uow, user, Role.REP)
        await uow.session.flush()
        assert [words for words in told if "INSERT INTO users" in words] == []
    inserts = [words for words in told if "INSERT INTO" in words]
    assert [await count(database, model) for model in (User, RoleGrant)] == [1, 1]
    if not database.embedded:
        assert len(inserts) == 1
        assert all(f"INSERT INTO {table} " in inserts[0] for table in ("users", "role_grants", "audit_events"))
    assert (await verify_ledger(database)).sound


async def test_a_unit_that_is_one_statement_has_no_transaction_round_it(database: Database) -> None:
    if database.embedded:
        pytest.skip("units share a transaction on SQLite")
    async with database.open_uow(SYSTEM) as uow:
        told = statements(uow)
        territory(uow, "east")
    assert [await count(database, model) for model in (Territory, AuditEvent)] == [1, 1]
    assert [words.split()[0] for words in told] == ["WITH"]


async def test_many_rows_go_in_the_order_of_their_references(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        root = territory(uow, "china")
        user = User(id=uow.new_id(), name="张磊", email="lei.zhang@example.com")
        uow.note("user.added", user)
        grants = [RoleGrant(id=uow.new_id(), user_id=user.id, role=role, valid_from=uow.now, territory_id=root.id) for role in Role]  # fmt: skip
        uow.session.add_all([*grants, user])
        for number in range(40):
            territory(uow, f"city{number}", root)
    assert [await count(database, model) for model in (Territory, RoleGrant, User)] == [41, len(Role), 1]
    assert (await verify_ledger(database)).sound


# ---- whatever is asked later sees them -------------------------------------------------------------------------------


async def test_what_is_asked_later_sees_new_rows(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        east = territory(uow, "east")
        assert await uow.find(Territory, key="east") is None
        await uow.session.flush()
        assert await uow.find(Territory, key="east") is east
        assert await load(uow.session, SYSTEM, Territory, east.id) is east
        assert await uow.session.get(Territory, east.id) is east
        assert (await uow.session.execute(select(Territory.key))).scalars().all() == ["east"]
        connection = await uow.session.connection()
        assert (await connection.execute(select(func.count()).select_from(Territory))).scalar_one() == 1


async def test_a_row_that_was_stored_is_changed_and_deleted_like_any_other(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        east, west = territory(uow, "east"), territory(uow, "west")
        await uow.session.flush()
        assert (east.version, east.created_at, east.parent_id) == (1, START, None)
        east.label_zh = "华东大区"
        await uow.session.delete(west)
        await uow.session.flush()
        assert east.version == 2
    async with database.read() as connection:
        rows = (await connection.execute(select(Territory.key, Territory.label_zh, Territory.version))).all()
    assert [tuple(row) for row in rows] == [("east", "华东大区", 2)]


async def test_defaults_are_the_columns_own_and_absent_values_are_null(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        user = User(id=uow.new_id(), name="张磊", email="lei.zhang@example.com")
        uow.session.add(user)
        uow.note("user.added", user)
        await uow.session.flush()
        assert (user.time_zone, user.auth_epoch, user.disabled_at) == ("Asia/Shanghai", 0, None)
    async with database.read() as connection:
        row = (await connection.execute(select(User.time_zone, User.auth_epoch, User.disabled_at))).one()
    assert tuple(row) == ("Asia/Shanghai", 0, None)


def test_a_row_takes_no_value_that_it_has_no_column_for() -> None:
    with pytest.raises(TypeError, match="Territory has no name"):
        Territory(id=new_id(), name="华东")


async def test_rows_are_found_by_nothing_where_nothing_is_asked_for(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        for key in ("重复", "另一个"):
            values = {"id": uow.new_id(), "user_id": None, "key": key, "fingerprint": "", "record_kind": "User"}
            uow.write(ClientKey, [values | {"record_id": uow.new_id(), "used_at": uow.now}])
        found = await uow.find(ClientKey, user_id=None, key="重复")
        assert found is not None
        assert found.key == "重复"
        assert await uow.find(ClientKey, user_id=new_id(), key="重复") is None


# ---- nothing is half kept --------------------------------------------------------------------------------------------


async def test_only_what_needs_no_note_is_written_without_one(database: Database) -> None:
    with pytest.raises(UnledgeredChangeError, match="Territory"):
        async with database.open_uow(SYSTEM) as uow:
            uow.write(Territory, [{"id": uow.new_id(), "key": "east", "label_zh": "华东", "label_en": "East"}])
    assert await count(database, Territory) == 0


async def test_rows_that_a_constraint_refuses_leave_nothing(database: Database) -> None:
    async def add_twice() -> None:
        async with database.open_uow(SYSTEM) as uow:
            territory(uow, "east")
            territory(uow, "east")

    with pytest.raises(IntegrityError, match=r"(?i)unique"):
        await add_twice()
    assert [await count(database, model) for model in (Territory, AuditEvent, search.SearchText)] == [0, 0, 0]


async def test_what_is_told_of_a_refused_row_quotes_nobody(database: Database) -> None:
    async def add_without_address() -> None:
        async with database.open_uow(SYSTEM) as uow:
            user = User(id=uow.new_id(), name="陈芳的秘密")
            uow.session.add(user)
            uow.note("user.added", user)

    with pytest.raises(IntegrityError) as refused:
        await add_without_address()
    assert "陈芳" not in "".join(traceback.format_exception(refused.value))


async def test_whoever_goes_on_after_a_failed_statement_commits_nothing(database: Database) -> None:
    if database.embedded:
        pytest.skip("SQLite undoes a failed statement alone")

    async def go_on() -> None:
        async with database.open_uow(SYSTEM) as uow:
            territory(uow, "east")
            await uow.session.flush()
            with pytest.raises(DBAPIError):
                await uow.session.execute(text("SELECT 1 / 0"))

    with pytest.raises(DBAPIError):
        await go_on()
    assert await count(database, Territory) == 0


@pytest.mark.parametrize("steps", [1, 3, 6, 10, 20])
async def test_who_is_cancelled_leaves_a_connection_for_the_next(database: Database, steps: int) -> None:
    async def add(key: str) -> None:
        async with database.open_uow(SYSTEM) as uow:
            await uow.wait_turn(key)
            territory(uow, key)
            await uow.session.flush()
            await uow.find(Territory, key=key)

    tasks = [asyncio.create_task(add(f"city{number}")) for number in range(12)]
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [result for result in results if not isinstance(result, asyncio.CancelledError | None)] == []
    assert await count(database, Territory) == await count(database, AuditEvent) >= 6
    await add("last")


# ---- PostgreSQL's connections ----------------------------------------------------------------------------------------


@asynccontextmanager
async def narrow(database: Database) -> AsyncIterator[Database]:
    """The same database with one connection for units of work."""
    if database.embedded:
        pytest.skip("SQLite's units stand in a queue")
    other = Database(database.url, LedgerRecorder(), clock=database.clock, ids=database.new_id, connections=3)
    other._units._wait_seconds = 0.05  # type: ignore[union-attr]
    try:
        yield other
    finally:
        await other.close()


async def test_a_connection_that_was_cut_is_replaced(database: Database) -> None:
    async def cut(narrowed: Database) -> None:
        async with narrowed.open_uow(SYSTEM) as uow:
            territory(uow, "east")
            await uow.session.flush()
            await uow.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    async with narrow(database) as narrowed:
        with pytest.raises(Unavailable):
            await cut(narrowed)
        async with narrowed.open_uow(SYSTEM) as uow:
            territory(uow, "west")
    assert await count(database, Territory) == 1


async def test_who_finds_no_connection_in_time_is_told(database: Database) -> None:
    async with narrow(database) as narrowed, narrowed.open_uow(SYSTEM) as uow:
        territory(uow, "east")
        with pytest.raises(Unavailable):
            async with narrowed.open_uow(SYSTEM):
                pass
    assert await count(database, Territory) == 1


# ---- hope ------------------------------------------------------------------------------------------------------------


async def add_once(database: Database, key: str, name: str, *, hopeful: bool) -> User:
    actor = Actor(ActorKind.USER, UUID(int=7), "王敏")
    async with database.open_uow(actor, hopeful=hopeful) as uow:
        make = partial(people.add_user, uow, name=name, email="lei.zhang@example.com")
        return await once(uow, key, "addUser", {"name": name}, User, make)


async def test_a_hopeful_unit_whose_key_is_fresh_is_kept(database: Database) -> None:
    user = await add_once(database, "k1", "张磊", hopeful=True)
    # The rules let nobody of no role see a user: found it is all the same, by its key.
    with pytest.raises(NotFound):
        await add_once(database, "k1", "张磊", hopeful=False)
    assert [await count(database, model) for model in (User, ClientKey, AuditEvent)] == [1, 1, 1]
    assert user.version == 1


async def test_a_hope_in_vain_leaves_nothing_and_is_told(database: Database) -> None:
    await add_once(database, "k1", "张磊", hopeful=False)
    with pytest.raises(OvertakenError):
        await add_once(database, "k1", "李娜", hopeful=True)
    with pytest.raises(KeyReused):
        await add_once(database, "k1", "李娜", hopeful=False)
    assert [await count(database, model) for model in (User, ClientKey, AuditEvent)] == [1, 1, 1]


async def test_a_refusal_of_a_hopeful_unit_is_not_the_last_word(database: Database) -> None:
    """What is refused now may have been done under the same key before."""

    async def refuse(*, hopeful: bool) -> None:
        async with database.open_uow(SYSTEM, hopeful=hopeful) as uow:
            await uow.earlier(ClientKey, user_id=UUID(int=7), key="k1")
            raise Invalid(Text("不行", "no"))

    with pytest.raises(OvertakenError):
        await refuse(hopeful=True)
    with pytest.raises(Invalid):
        await refuse(hopeful=False)


async def test_of_hopeful_units_at_once_one_is_kept(database: Database) -> None:
    results = await asyncio.gather(
        *(add_once(database, "k1", "张磊", hopeful=True) for _ in range(6)), return_exceptions=True
    )
    assert sum(isinstance(result, User) for result in results) == 1
    assert sum(isinstance(result, OvertakenError) for result in results) == 5
    assert [await count(database, model) for model in (User, ClientKey, AuditEvent)] == [1, 1, 1]


async def test_a_hopeful_unit_that_was_too_late_is_run_again(database: Database) -> None:
    """Whoever was faster may have been the same caller with the same key."""
    async with database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name="张磊", email="lei.zhang@example.com")

    async def rename_too_late() -> None:
        async with database.open_uow(SYSTEM, hopeful=True) as uow:
            await uow.earlier(ClientKey, user_id=UUID(int=7), key="k1")
            row = await load(uow.session, SYSTEM, User, user.id)
            await (await uow.session.connection()).execute(text("UPDATE users SET version = 5"))
            row.name = "张雷"
            uow.note("user.renamed", row)

    with pytest.raises(OvertakenError):
        await rename_too_late()
