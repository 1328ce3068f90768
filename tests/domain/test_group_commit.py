"""Units of work that share one commit on SQLite: whoever is told of success is on the disk, whoever fails hurts nobody else."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import event, func, insert, select, text

from domain import people
from domain.kernel import SYSTEM, Actor, ActorKind, Database, Invalid, Ref, Text, Unavailable, insert_rows
from domain.ledger import AuditEvent, LedgerRecorder
from domain.people import RoleGrant, Territory, User
from tests.factories import verify_ledger


async def add(database: Database, name: str, *, refuse: bool = False) -> str:
    async with database.open_uow(SYSTEM) as uow:
        await people.add_user(uow, name=name, email=f"{name.encode().hex()}@example.com")
        await uow.session.flush()
        if refuse:
            raise Invalid(Text("不行", "no"))
    return name


async def names(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(select(User.name))).scalars())


@contextmanager
def counted_commits(database: Database) -> Iterator[list[object]]:
    commits: list[object] = []

    def count(connection: object) -> None:
        commits.append(connection)

    event.listen(database.writer.sync_engine, "commit", count)
    yield commits
    event.remove(database.writer.sync_engine, "commit", count)


def on_disk(path: Path, name: str) -> bool:
    other = sqlite3.connect(path)
    try:
        return other.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone() is not None
    finally:
        other.close()


async def test_units_that_wait_share_one_commit(sqlite_database: Database) -> None:
    everybody = [f"同事{number}" for number in range(24)]
    with counted_commits(sqlite_database) as commits:
        assert await asyncio.gather(*(add(sqlite_database, name) for name in everybody)) == everybody
    # A group ends after 50 ms as well: how many there are is the machine's affair, that they are shared is ours.
    assert 1 <= len(commits) < len(everybody) / 2
    assert await names(sqlite_database) == set(everybody)
    async with sqlite_database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(AuditEvent))).scalar_one() == 24
    assert (await verify_ledger(sqlite_database)).sound


async def test_nobody_is_told_of_success_before_the_commit(sqlite_database: Database, tmp_path: Path) -> None:
    async def add_and_look(name: str) -> bool:
        await add(sqlite_database, name)
        return on_disk(tmp_path / "sortie.db", name)

    assert all(await asyncio.gather(*(add_and_look(f"同事{number}") for number in range(24))))


async def test_a_unit_that_fails_hurts_no_other(sqlite_database: Database) -> None:
    everybody = [f"同事{number}" for number in range(24)]
    with counted_commits(sqlite_database) as commits:
        results = await asyncio.gather(
            *(add(sqlite_database, name, refuse=number % 3 == 0) for number, name in enumerate(everybody)),
            return_exceptions=True,
        )
    assert len(commits) < len(everybody) / 2
    kept = {result for result in results if isinstance(result, str)}
    assert kept == {name for number, name in enumerate(everybody) if number % 3}
    assert sum(isinstance(result, Invalid) for result in results) == 8
    assert await names(sqlite_database) == kept
    async with sqlite_database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(AuditEvent))).scalar_one() == 16


async def break_at_commit(database: Database) -> None:
    """Write a grant to nobody, which SQLite is told to notice at COMMIT alone."""
    async with database.open_uow(SYSTEM) as uow:
        connection = await uow.session.connection()
        await connection.execute(text("PRAGMA defer_foreign_keys=ON"))
        values = {name: UUID(int=1) for name in ("id", "user_id")} | {
            "role": "REP",
            "valid_from": uow.now,
            "version": 1,
        }
        values |= {
            "created_at": uow.now,
            "updated_at": uow.now,
            "created_by_kind": "SYSTEM",
            "updated_by_kind": "SYSTEM",
        }
        await connection.execute(insert(RoleGrant), values)
        uow.note("role.granted", Ref("User", UUID(int=1)))


async def test_when_the_commit_fails_everybody_of_the_group_is_told(sqlite_database: Database) -> None:
    results = await asyncio.gather(
        add(sqlite_database, "张磊"), break_at_commit(sqlite_database), add(sqlite_database, "李娜"), return_exceptions=True
    )  # fmt: skip
    assert ["FOREIGN KEY" in str(result) for result in results] == [True] * 3
    assert await names(sqlite_database) == set()
    assert await add(sqlite_database, "王敏") == "王敏"
    assert await names(sqlite_database) == {"王敏"}


async def fill(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        ids = [uow.new_id() for _ in range(4_000)]
        rows = [{"id": id, "key": id.hex, "label_zh": "片区", "label_en": "Area"} for id in ids]
        await insert_rows(uow, Territory, rows)
        uow.note("territories.added", Ref("Territory", ids[0]), covers=[Territory])


async def test_a_full_disk_never_takes_what_was_acknowledged(sqlite_database: Database, tmp_path: Path) -> None:
    await add(sqlite_database, "张磊")
    async with sqlite_database.writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 40}")
    work = [add(sqlite_database, f"同事{number}") for number in range(8)]
    results = await asyncio.gather(*work[:4], fill(sqlite_database), *work[4:], return_exceptions=True)
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert isinstance(results[4], Unavailable)
    assert all("空间已满" in error.text.zh for error in refused)
    kept = {result for result in results if isinstance(result, str)}
    assert len(kept) + len(refused) == 9
    assert await names(sqlite_database) == kept | {"张磊"}
    assert await add(sqlite_database, "王敏") == "王敏"
    assert (await verify_ledger(sqlite_database)).sound


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_who_is_cancelled_hurts_no_other(sqlite_database: Database, steps: int) -> None:
    tasks = [asyncio.create_task(add(sqlite_database, f"同事{number}")) for number in range(12)]
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    stayed = {f"同事{number}" for number in range(1, 12, 2)}
    assert {result for result in results if isinstance(result, str)} >= stayed
    stored = await names(sqlite_database)
    assert stored >= stayed
    assert await add(sqlite_database, "王敏") == "王敏"
    async with sqlite_database.read() as connection:
        events = (await connection.execute(select(func.count()).select_from(AuditEvent))).scalar_one()
    assert events == len(stored) + 1


async def test_a_group_whose_last_waiter_gives_up_is_committed(sqlite_database: Database) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with sqlite_database.open_uow(SYSTEM) as uow:
            await people.add_user(uow, name="张磊", email="lei.zhang@example.com")
            began.set()
            await go.wait()

    first = asyncio.create_task(slow())
    await began.wait()
    second = asyncio.create_task(add(sqlite_database, "李娜"))
    await asyncio.sleep(0)
    go.set()
    second.cancel()
    await asyncio.wait_for(first, 5)
    assert await names(sqlite_database) == {"张磊"}


async def test_nobody_waits_for_a_commit_behind_an_import(sqlite_database: Database) -> None:
    done = asyncio.Event()

    async def bring_in() -> None:
        async with sqlite_database.open_uow(Actor(ActorKind.IMPORT)) as uow:
            await people.add_user(uow, name="导入", email="import@example.com")
            await asyncio.wait_for(done.wait(), 5)

    first, second = asyncio.create_task(add(sqlite_database, "张磊")), asyncio.create_task(bring_in())
    await asyncio.wait_for(first, 5)
    assert not second.done()
    done.set()
    await second
    assert await names(sqlite_database) == {"张磊", "导入"}


async def test_a_group_is_bounded(sqlite_database: Database) -> None:
    with counted_commits(sqlite_database) as commits:
        await asyncio.gather(*(add(sqlite_database, f"同事{number}") for number in range(150)))
    assert len(commits) >= 3


async def test_what_goes_on_after_the_transaction_has_ended_is_refused(sqlite_database: Database) -> None:
    """SQLite would commit each statement by itself."""

    async def go_on() -> None:
        async with sqlite_database.open_uow(SYSTEM) as uow:
            connection = await uow.session.connection()
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            await raw.rollback()
            await people.add_user(uow, name="张磊", email="lei.zhang@example.com")

    with pytest.raises(Unavailable, match="full"):
        await go_on()
    assert await names(sqlite_database) == set()
    assert await add(sqlite_database, "李娜") == "李娜"


async def test_another_process_that_writes_is_waited_for_without_blocking_anybody(
    sqlite_database: Database, tmp_path: Path
) -> None:
    await add(sqlite_database, "李娜")
    assert await names(sqlite_database) == {"李娜"}
    holder = sqlite3.connect(tmp_path / "sortie.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(add(sqlite_database, "张磊"))
    try:
        # Readers and the event loop go on.
        assert await asyncio.wait_for(names(sqlite_database), 5) == {"李娜"}
        assert not waiting.done()
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert await asyncio.wait_for(waiting, 10) == "张磊"


async def test_a_read_that_is_cancelled_is_stopped(sqlite_database: Database) -> None:
    async def long() -> None:
        async with sqlite_database.read() as connection:
            counting = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
            await connection.execute(text(counting))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(long(), 0.2)
    assert await names(sqlite_database) == set()
    other = Database(sqlite_database.url, LedgerRecorder())
    assert await names(other) == set()
    await other.close()
