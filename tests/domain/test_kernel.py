"""The unit of work on real databases: nothing changed unsaid, nothing half-written."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from domain import people
from domain.kernel import (
    SYSTEM,
    Actor,
    ActorKind,
    Base,
    Database,
    ErrorCode,
    Event,
    Invalid,
    Language,
    Money,
    NotFound,
    OutboxEvent,
    Ref,
    Role,
    SalesError,
    StaleVersion,
    Text,
    Unavailable,
    UnitOfWork,
    UnledgeredChangeError,
    insert_rows,
    load,
    money,
    new_id,
    utc_now,
)
from domain.ledger import AuditEvent, LedgerRecorder
from domain.people import RoleGrant, Territory, User
from tests.factories import START, Clock, Ids


async def add_user(database: Database, name: str = "张磊", email: str = "lei.zhang@example.com") -> UUID:
    async with database.open_uow(SYSTEM) as uow:
        return (await people.add_user(uow, name=name, email=email)).id


async def rename(database: Database, user_id: UUID, name: str, *, expected_version: int | None = None) -> int:
    async with database.open_uow(SYSTEM) as uow:
        user = await load(uow.session, uow.actor, User, user_id, expected_version=expected_version)
        user.name = name
        uow.note("user.renamed", user)
    return user.version


async def count(database: Database, model: type[Base]) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())


async def names(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(select(User.name).order_by(User.name))).scalars())


# ---- commit and rollback ---------------------------------------------------------------------------------------------


async def test_rows_note_and_outbox_are_one_commit(database: Database) -> None:
    actor = Actor(ActorKind.USER, UUID(int=7), "王敏")
    async with database.open_uow(actor) as uow:
        user = await people.add_user(uow, name="张磊", email=" Lei.Zhang@Example.com ")
        uow.emit(UserSeen(user.id, "早上好"))
    assert len(uow.digests[user.ref()]) == 64
    async with database.read() as connection:
        stored = (await connection.execute(select(User.__table__))).one()
        waiting = (await connection.execute(select(OutboxEvent.kind, OutboxEvent.body, OutboxEvent.emitted_at))).one()
    assert (stored.email, stored.version, stored.created_at) == ("lei.zhang@example.com", 1, START)
    assert (stored.created_by_kind, stored.updated_by_id) == (ActorKind.USER, UUID(int=7))
    assert tuple(waiting) == ("user.seen", {"user_id": user.id.hex, "greeting": "早上好"}, START)
    assert await count(database, AuditEvent) == 1


@dataclass(frozen=True, slots=True)
class UserSeen(Event):
    kind: ClassVar[str] = "user.seen"
    user_id: UUID
    greeting: str


async def test_an_error_in_the_block_leaves_nothing(database: Database) -> None:
    async def add_and_fail() -> None:
        async with database.open_uow(SYSTEM) as uow:
            await people.add_user(uow, name="张磊", email="lei.zhang@example.com")
            await uow.session.flush()
            raise Invalid(Text("不行", "no"))

    with pytest.raises(Invalid, match="no"):
        await add_and_fail()
    assert [await count(database, model) for model in (User, AuditEvent, OutboxEvent)] == [0, 0, 0]


async def test_a_broken_constraint_stays_a_bug(database: Database) -> None:
    user_id = await add_user(database)

    async def grant_in_no_territory() -> None:
        async with database.open_uow(SYSTEM) as uow:
            grant = RoleGrant(
                id=uow.new_id(), user_id=user_id, role=Role.REP, valid_from=uow.now, territory_id=new_id()
            )
            uow.session.add(grant)
            uow.note("user.role_granted", Ref("User", user_id))

    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        await grant_in_no_territory()
    assert await count(database, RoleGrant) == 0


# ---- no change without a note ----------------------------------------------------------------------------------------

Change = Callable[[UnitOfWork, UUID], Awaitable[Any]]


async def _add_row(uow: UnitOfWork, user_id: UUID) -> None:
    uow.session.add(Territory(id=uow.new_id(), key="north", label_zh="华北", label_en="North China"))


async def _edit_row(uow: UnitOfWork, user_id: UUID) -> None:
    (await load(uow.session, uow.actor, User, user_id)).name = "李娜"


async def _edit_row_and_flush(uow: UnitOfWork, user_id: UUID) -> None:
    await _edit_row(uow, user_id)
    await uow.session.flush()


async def _delete_row(uow: UnitOfWork, user_id: UUID) -> None:
    await uow.session.delete(await load(uow.session, uow.actor, User, user_id))


async def _add_child(uow: UnitOfWork, user_id: UUID) -> None:
    uow.session.add(RoleGrant(id=uow.new_id(), user_id=user_id, role=Role.REP, valid_from=uow.now))


async def _note_on_another(uow: UnitOfWork, user_id: UUID) -> None:
    await _edit_row(uow, user_id)
    uow.note("user.renamed", Ref("User", new_id()))


async def _bulk_update(uow: UnitOfWork, user_id: UUID) -> None:
    await uow.session.execute(update(User).values(name="李娜"))


async def _bulk_delete(uow: UnitOfWork, user_id: UUID) -> None:
    await uow.session.execute(delete(User))


async def _bulk_insert(uow: UnitOfWork, user_id: UUID) -> None:
    await insert_rows(uow, Territory, [{"id": uow.new_id(), "key": "north", "label_zh": "华北", "label_en": "North"}])


async def _core_insert(uow: UnitOfWork, user_id: UUID) -> None:
    stamps = {"created_at": uow.now, "updated_at": uow.now, "created_by_kind": "USER", "updated_by_kind": "USER"}
    row = {"id": uow.new_id(), "version": 1, "key": "north", "label_zh": "华北", "label_en": "North"}
    await uow.session.execute(insert(Territory.__table__), [row | stamps])  # type: ignore[arg-type]


async def _bulk_covering_another_class(uow: UnitOfWork, user_id: UUID) -> None:
    await _bulk_update(uow, user_id)
    uow.note("user.renamed", Ref("User", user_id), covers=[Territory])


async def _text_statement(uow: UnitOfWork, user_id: UUID) -> None:
    await uow.session.execute(text("UPDATE users SET name = '李娜'"))


UNSAID: list[tuple[Change, str]] = [
    (_add_row, "Territory:"),
    (_edit_row, "User:"),
    (_edit_row_and_flush, "User:"),
    (_delete_row, "User:"),
    (_add_child, "User:"),
    (_note_on_another, "User:"),
    (_bulk_update, "users"),
    (_bulk_delete, "users"),
    (_bulk_insert, "territories"),
    (_core_insert, "territories"),
    (_bulk_covering_another_class, "users"),
    (_text_statement, "UPDATE users"),
]


@pytest.mark.parametrize(("change", "named"), UNSAID, ids=[change.__name__ for change, _ in UNSAID])
async def test_a_change_without_a_note_is_not_committed(database: Database, change: Change, named: str) -> None:
    user_id = await add_user(database)
    with pytest.raises(UnledgeredChangeError, match=named):
        async with database.open_uow(SYSTEM) as uow:
            await change(uow, user_id)
    assert await names(database) == ["张磊"]
    assert [await count(database, model) for model in (Territory, RoleGrant, AuditEvent)] == [0, 0, 1]


async def test_a_note_on_the_root_covers_its_children_and_a_bulk_note_its_classes(database: Database) -> None:
    user_id = await add_user(database)
    async with database.open_uow(SYSTEM) as uow:
        await _add_child(uow, user_id)
        await _bulk_insert(uow, user_id)
        uow.note("user.prepared", Ref("User", user_id), covers=[Territory])
    async with database.read() as connection:
        row = (await connection.execute(select(Territory.__table__))).one()
    assert (row.key, row.version, row.created_at, row.created_by_kind) == ("north", 1, START, ActorKind.SYSTEM)


async def test_an_unchanged_row_needs_no_note_and_gets_no_new_version(database: Database) -> None:
    user_id = await add_user(database)
    async with database.open_uow(SYSTEM) as uow:
        (await load(uow.session, uow.actor, User, user_id)).name = "张磊"
    async with database.read() as connection:
        assert (await connection.execute(select(User.version))).scalar_one() == 1


# ---- versions and races ----------------------------------------------------------------------------------------------


async def test_an_edit_of_an_older_version_is_refused(database: Database, clock: Clock) -> None:
    user_id = await add_user(database)
    clock.advance(minutes=1)
    assert await rename(database, user_id, "张雷", expected_version=1) == 2
    with pytest.raises(StaleVersion) as refused:
        await rename(database, user_id, "张蕾", expected_version=1)
    assert refused.value.code is ErrorCode.STALE_VERSION
    assert refused.value.path == ("expectedVersion",)
    assert "1" in refused.value.text.zh
    assert "2" in refused.value.text.zh
    assert await names(database) == ["张雷"]
    async with database.read() as connection:
        assert (await connection.execute(select(User.updated_at))).scalar_one() == START + timedelta(minutes=1)


async def test_an_absent_record_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound) as refused:
        await rename(database, new_id(), "张雷")
    assert refused.value.path == ("id",)


async def test_of_concurrent_edits_of_one_version_exactly_one_wins(database: Database) -> None:
    user_id = await add_user(database)
    edits = [rename(database, user_id, f"张磊{number}", expected_version=1) for number in range(8)]
    results = await asyncio.gather(*edits, return_exceptions=True)
    assert results.count(2) == 1
    assert sum(isinstance(result, StaleVersion) for result in results) == 7
    assert await count(database, AuditEvent) == 2


async def test_the_mapper_sees_a_race_without_an_expected_version(database: Database) -> None:
    user_id = await add_user(database)

    async def rename_too_late() -> None:
        async with database.open_uow(SYSTEM) as uow:
            user = await load(uow.session, uow.actor, User, user_id)
            await (await uow.session.connection()).execute(text("UPDATE users SET version = 5"))
            user.name = "张雷"
            uow.note("user.renamed", user)
            await uow.session.flush()

    with pytest.raises(StaleVersion) as refused:
        await rename_too_late()
    assert "刷新" in refused.value.text.zh


async def test_many_writers_all_get_through(database: Database) -> None:
    await asyncio.gather(*(add_user(database, f"同事{n}", f"colleague{n}@example.com") for n in range(24)))
    assert await count(database, User) == await count(database, AuditEvent) == 24


async def test_two_processes_write_one_sqlite_file(sqlite_database: Database, clock: Clock) -> None:
    other = Database(sqlite_database.url, LedgerRecorder(), clock=clock)
    pairs = [(database, n) for n in range(10) for database in (sqlite_database, other)]
    await asyncio.gather(
        *(add_user(database, f"同事{n}", f"{n}.{id(database)}@example.com") for database, n in pairs),
        rename_often(sqlite_database),
    )
    await other.close()
    assert await count(sqlite_database, User) == 21


async def rename_often(database: Database) -> None:
    user_id = await add_user(database)
    for number in range(5):
        await rename(database, user_id, f"张磊{number}")


# ---- what the database cannot do -------------------------------------------------------------------------------------


async def test_a_locked_database_is_unavailable(sqlite_database: Database, tmp_path: Path) -> None:
    await add_user(sqlite_database)
    impatient = Database(sqlite_database.url, LedgerRecorder(), lock_timeout_seconds=0.05)
    holder = sqlite3.connect(tmp_path / "sortie.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Unavailable) as refused:
            await add_user(impatient, "李娜", "na.li@example.com")
        assert refused.value.code is ErrorCode.UNAVAILABLE
        assert "占用" in refused.value.text.zh
        assert "locked" in refused.value.text.en
        assert await names(impatient) == ["张磊"]
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    await add_user(impatient, "李娜", "na.li@example.com")
    assert await names(impatient) == ["张磊", "李娜"]
    await impatient.close()


async def test_a_full_disk_in_a_bulk_insert_leaves_nothing_half_written(sqlite_database: Database) -> None:
    await add_user(sqlite_database)
    async with sqlite_database.writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 20}")
    with pytest.raises(Unavailable) as refused:
        await add_many_territories(sqlite_database, 4_000)
    assert "空间已满" in refused.value.text.zh
    assert "full" in refused.value.text.en
    assert [await count(sqlite_database, model) for model in (Territory, User, AuditEvent)] == [0, 1, 1]
    await add_many_territories(sqlite_database, 10)
    assert [await count(sqlite_database, model) for model in (Territory, AuditEvent)] == [10, 2]


async def add_many_territories(database: Database, number: int) -> None:
    async with database.open_uow(SYSTEM) as uow:
        ids = [uow.new_id() for _ in range(number)]
        rows: list[dict[str, Any]] = [{"id": id, "key": id.hex, "label_zh": "片区", "label_en": "Area"} for id in ids]
        await insert_rows(uow, Territory, rows)
        uow.note("territories.added", Ref("Territory", ids[0]), {"rows": number}, covers=[Territory])


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    nowhere = Database("postgresql+asyncpg://postgres@127.0.0.1:1/none", LedgerRecorder())
    with pytest.raises(Unavailable) as refused:
        await add_user(nowhere)
    assert "无法连接" in refused.value.text.zh
    with pytest.raises(Unavailable):
        await count(nowhere, User)
    await nowhere.close()


# ---- column types ----------------------------------------------------------------------------------------------------


async def test_instants_come_back_in_utc_with_microseconds(database: Database, clock: Clock) -> None:
    clock.now = datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=timezone(timedelta(hours=8)))
    await add_user(database)
    async with database.read() as connection:
        assert (await connection.execute(select(User.created_at))).scalar_one() == clock.now
        stored = (await connection.execute(select(User.created_at))).scalar_one()
    assert stored.isoformat() == "2026-03-02T01:30:00.123456+00:00"


async def test_an_instant_without_a_zone_is_a_bug(database: Database, clock: Clock) -> None:
    clock.now = datetime(2026, 3, 2, 9, 30)  # noqa: DTZ001 - the case under test
    with pytest.raises(Exception, match="naive datetime"):
        await add_user(database)
    assert await count(database, User) == 0


# ---- pure ------------------------------------------------------------------------------------------------------------


def test_ids_are_version_7_and_grow() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert {id.version for id in ids} == {7}
    counted = Ids(Clock())
    assert [counted().version for _ in range(3)] == [7, 7, 7]
    assert utc_now().tzinfo is not None


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "zh", "en"),
    [
        ("1250000", "CNY", 125_000_000, "¥1,250,000", "CN¥1,250,000"),
        ("1250000.50", "cny", 125_000_050, "¥1,250,000.50", "CN¥1,250,000.50"),
        ("-3.10", "USD", -310, "-US$3.10", "-$3.10"),
        ("5000", "JPY", 5_000, "JP¥5,000", "¥5,000"),
    ],
)
def test_money_is_exact(amount: str, currency: str, minor: int, zh: str, en: str) -> None:
    value = money(Decimal(amount), currency)
    assert value == Money(minor, currency.upper())
    assert value.amount == Decimal(amount)
    assert (value.words(Language.ZH), value.words(Language.EN)) == (zh, en)


@pytest.mark.parametrize(
    ("amount", "currency", "path", "words"),
    [
        ("1", "元", "currency", "未知币种"),
        ("1.001", "CNY", "amount", "小数位"),
        ("0.5", "JPY", "amount", "小数位"),
        ("NaN", "CNY", "amount", "有限"),
        ("Infinity", "CNY", "amount", "有限"),
        ("10000000000000", "CNY", "amount", "过大"),
    ],
)
def test_bad_money_says_what_and_where(amount: str, currency: str, path: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        money(Decimal(amount), currency, ("input",))
    assert refused.value.path == ("input", path)
    assert words in refused.value.text.zh


def test_half_a_minor_unit_rounds_up() -> None:
    assert Money(101, "CNY").times(Decimal("0.5")) == Money(51, "CNY")
    assert Money(10_000, "CNY").times(Decimal("1.1")) == Money(11_000, "CNY")


def test_errors_have_a_code_each_and_both_languages() -> None:
    kinds = SalesError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert ErrorCode.INTERNAL not in {kind.code for kind in kinds}
    error = Invalid(Text("金额过大", "too large"), ("input", "amount"))
    assert (error.text.words("ZH"), error.text.words("EN"), str(error)) == ("金额过大", "too large", "too large")


async def test_a_database_without_a_free_connection_is_told(postgres_url: str) -> None:
    """The pool's own error is no database error: it came out as a bug."""
    crowded = Database(postgres_url, LedgerRecorder(), connections=3)
    crowded.reader.sync_engine.pool._timeout = 0.05  # type: ignore[attr-defined]
    try:
        async with crowded.read() as _:
            with pytest.raises(Unavailable):
                async with crowded.read() as _second:
                    pass
    finally:
        await crowded.close()
