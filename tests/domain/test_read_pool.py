"""Pools for single reads, on both databases: turns, sharing, cancelled callers, time-outs, broken connections, closing."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from api.settings import Settings
from api.storage import open_database
from domain import people
from domain.kernel import SYSTEM, Database, ErrorCode, Role, SalesError, Unavailable
from domain.kernel.read_pool import Overloaded, PostgreSQLReads, ReadPool, SQLiteReads, Together, seat
from domain.kernel.reader import READER, READERS

LONG = 30.0
HOSTILE = (
    "李雷",
    "'; DROP TABLE users; --",
    '"$1"',
    "\\'; SELECT pg_sleep(9) --",
    "?1 :name %s {0}",
    "\u202e\U0001f409\n\r\t\x1b",
    "",
    "销" * 70_000,
)


class Ground:
    """One database's statements for these tests, and the pools that a test opens."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.embedded = database.embedded
        self.pools: list[ReadPool] = []
        self._executions = count(1)
        self.echo = "SELECT ?" if self.embedded else "SELECT $1::text"
        self.execution = "SELECT execution(?)" if self.embedded else (
            "SELECT clock_timestamp()::text FROM (SELECT pg_sleep($1::float8)) AS slept"
        )  # fmt: skip
        """Takes so many seconds; its answer is another with each execution."""
        self.endless = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12 OR i < ?) SELECT max(i) FROM n"
            if self.embedded
            else "SELECT pg_sleep(600)::text WHERE $1::float8 IS NOT NULL"
        )

    def open(self, *, connections: int = 1, **options: Any) -> ReadPool:
        pool: ReadPool
        if self.embedded:
            pool = SQLiteReads(self.database.url, functions={"execution": (1, self._slow)}, **options)
        else:
            pool = PostgreSQLReads(self.database.url, connections=connections, **options)
        self.pools.append(pool)
        return pool

    def _slow(self, seconds: float) -> int:
        time.sleep(seconds)
        return next(self._executions)

    async def ask(self, pool: ReadPool, seconds: float, share: object | None = None) -> Any:
        return (await pool.fetch(self.execution, (seconds,), share))[0]

    async def at_work(self, pool: ReadPool, sql: str, *values: Any, share: object | None = None) -> asyncio.Task[Any]:
        """A read whose statement has begun."""
        # Its connection is open before.
        await pool.fetch(self.echo, ("在吗",))
        task = asyncio.create_task(pool.fetch(sql, values, share))
        await asyncio.sleep(0.1)
        assert not task.done()
        return task


@pytest.fixture
async def ground(database: Database) -> AsyncIterator[Ground]:
    made = Ground(database)
    yield made
    for pool in made.pools:
        await pool.close()


async def started(*reads: Any) -> list[asyncio.Task[Any]]:
    """Reads that wait by now, in this order."""
    tasks = [asyncio.create_task(read) for read in reads]
    await asyncio.sleep(0.02)
    return tasks


async def stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def active(database: Database) -> int:
    """Statements of pools that PostgreSQL is at work on."""
    sql = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sortie reads' AND state = 'active'")
    async with database.read() as connection:
        return int((await connection.execute(sql)).scalar_one())


async def test_hostile_values_come_back_as_they_were(ground: Ground) -> None:
    pool = ground.open(connections=2)
    for value in HOSTILE:
        assert (await pool.fetch(ground.echo, (value,)))[0] == value.encode()
    assert (await pool.fetch(ground.echo, (None,)))[0] is None


async def test_a_statement_that_is_refused_leaves_the_connection_as_it_was(ground: Ground) -> None:
    pool = ground.open()
    with pytest.raises((sqlite3.OperationalError, asyncpg.UndefinedColumnError)):
        await pool.fetch("SELECT 没有这一列 FROM users", ())
    with pytest.raises((sqlite3.ProgrammingError, sqlite3.InterfaceError, asyncpg.DataError)):
        await pool.fetch(ground.echo, (object(),))
    assert await pool.fetch(ground.echo, ("还在",)) == ("还在".encode(),)


async def test_pools_do_not_write(ground: Ground) -> None:
    pool = ground.open()
    with pytest.raises((sqlite3.OperationalError, asyncpg.PostgresError)):
        await pool.fetch("DELETE FROM users RETURNING id", ())
    if not ground.embedded:
        assert await pool.fetch("SELECT current_user::text, session_user <> current_user", ()) == (
            READER.encode(),
            True,
        )


async def test_each_statement_is_read_in_its_role(ground: Ground) -> None:
    if ground.embedded:
        pytest.skip("SQLite has no roles")
    pool = ground.open(connections=2)
    sql = "SELECT current_user::text, pg_backend_pid(), $1::text"
    roles = [READER, *READERS.values()]
    pids: dict[str, set[int]] = {}
    for role in (*roles, *roles[::-1], READER, READERS[Role.REP], READERS[Role.REP]):
        name, pid, words = await pool.fetch(sql, ("谁在读",), "shared" + role, role)
        assert (name, words) == (role.encode(), "谁在读".encode())
        pids.setdefault(role, set()).add(pid)
    # A free connection that is in the role already goes before one that would have to take it on.
    for role in (READER, READERS[Role.REP], READER, READERS[Role.REP]):
        before = {(await pool.fetch(sql, ("",), None, role))[1] for _ in range(3)}
        assert len(before) == 1
    with pytest.raises(asyncpg.PostgresError):
        await pool.fetch(sql, ("",), None, "sortie_nobody")
    assert (await pool.fetch(sql, ("",), None, READER))[0] == READER.encode()


async def test_who_needs_no_change_of_role_goes_first_and_nobody_waits_for_ever(ground: Ground) -> None:
    if ground.embedded:
        pytest.skip("SQLite has no roles")
    pool = ground.open(connections=1)
    rep, manager = READERS[Role.REP], READERS[Role.MANAGER]
    sql, order = "SELECT $1::text", list[str]()

    async def read(role: str, name: str) -> None:
        await pool.fetch(sql, (name,), None, role)
        order.append(name)

    await read(rep, "开头")
    busy = asyncio.create_task(pool.fetch("SELECT pg_sleep(0.2)::text", (), None, rep))
    await asyncio.sleep(0.05)
    waiting = await started(read(manager, "经理"), *(read(rep, f"销售{at}") for at in range(12)))
    await asyncio.gather(busy, *waiting)
    assert order == ["开头", *(f"销售{at}" for at in range(8)), "经理", *(f"销售{at}" for at in range(8, 12))]


async def test_a_read_sees_the_newest_commit(ground: Ground) -> None:
    pool = ground.open()
    sql = "SELECT count(*) FROM users" if ground.embedded else "SELECT count(*) FROM sortie_rules.users"
    for number in range(3):
        assert await pool.fetch(sql, ()) == (number,)
        async with ground.database.open_uow(SYSTEM) as uow:
            await people.add_user(uow, name=f"同事{number}", email=f"{number}@example.com")


async def test_who_waits_longest_is_next(ground: Ground) -> None:
    pool = ground.open()
    first = await ground.at_work(pool, ground.execution, 0.2)
    order: list[int] = []

    async def ask(number: int) -> None:
        await ground.ask(pool, 0.0)
        order.append(number)

    await asyncio.gather(first, *(ask(number) for number in range(20)))
    assert order == list(range(20))


async def test_more_than_may_wait_are_refused_at_once(ground: Ground) -> None:
    pool = ground.open(waiting=3)
    first = await ground.at_work(pool, ground.execution, 0.3)
    waiting = await started(*(ground.ask(pool, 0.0) for _ in range(3)))
    with pytest.raises(Overloaded) as refused:
        await ground.ask(pool, 0.0)
    assert isinstance(refused.value, SalesError)
    assert (refused.value.code, refused.value.retry_after_seconds) == (ErrorCode.UNAVAILABLE, 1)
    assert "过多" in refused.value.text.zh
    assert "too many" in refused.value.text.en
    assert len(await asyncio.gather(first, *waiting)) == 4
    assert await ground.ask(pool, 0.0)


async def test_who_waits_and_goes_leaves_the_place_to_another(ground: Ground) -> None:
    pool = ground.open(waiting=2)
    first = await ground.at_work(pool, ground.execution, 0.3)
    one, other = await started(pool.fetch(ground.echo, ("甲",)), pool.fetch(ground.echo, ("乙",), "shared"))
    for _ in range(5):
        await stop(one)
        await stop(other)
        one, other = await started(pool.fetch(ground.echo, ("丙",)), pool.fetch(ground.echo, ("丁",), "shared"))
    assert [row[0].decode() for row in await asyncio.gather(one, other)] == ["丙", "丁"]
    assert first.done()


async def test_a_cancelled_statement_is_stopped_and_its_connection_goes_on(ground: Ground) -> None:
    pool = ground.open()
    pid = None if ground.embedded else await pool.fetch("SELECT pg_backend_pid()", ())
    for _ in range(3):
        await stop(await ground.at_work(pool, ground.endless, LONG))
        async with asyncio.timeout(5):
            assert await pool.fetch(ground.echo, ("下一个",)) == ("下一个".encode(),)
    if not ground.embedded:
        assert await pool.fetch("SELECT pg_backend_pid()", ()) == pid
        assert await active(ground.database) == 0


async def test_cancelled_callers_never_stop_the_statement_of_another(ground: Ground) -> None:
    pool = ground.open(connections=2)

    async def ask(number: int) -> None:
        value = f"第{number}个"
        for round in range(10):
            task = asyncio.create_task(pool.fetch(ground.echo, (value,), "shared" if round % 2 else None))
            for _ in range((number + round) % 4):
                await asyncio.sleep(0)
            if (number + round) % 3:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            else:
                assert await task == (value.encode(),)

    async with asyncio.timeout(20):
        await asyncio.gather(*(ask(number) for number in range(40)))
        assert await pool.fetch(ground.echo, ("完",)) == ("完".encode(),)


async def test_what_takes_too_long_is_stopped_and_said_so(ground: Ground) -> None:
    pool = ground.open(seconds=0.3)
    began = time.monotonic()
    with pytest.raises(Unavailable) as stopped:
        await pool.fetch(ground.endless, (LONG,))
    assert time.monotonic() - began < 5
    assert "超过时限" in stopped.value.text.zh
    assert "too long" in stopped.value.text.en
    assert await pool.fetch(ground.echo, ("下一个",)) == ("下一个".encode(),)


async def test_equal_reads_that_wait_are_one_statement(ground: Ground) -> None:
    pool = ground.open()
    first = await ground.at_work(pool, ground.execution, 0.3, share="a")
    waiting = await started(*(ground.ask(pool, 0.3, "a") for _ in range(10)))
    begun = (await first)[0]
    answers = {await task for task in waiting}
    # None of them took the answer of the statement that had begun.
    assert len(answers) == 1
    assert begun not in answers


async def test_what_is_not_quite_equal_is_read_for_itself(ground: Ground) -> None:
    pool = ground.open()
    first = await ground.at_work(pool, ground.execution, 0.3, share="a")
    alike: list[tuple[float, object | None]] = [(0.0, "a"), (0, "a"), (0.0, "b"), (0.0, None), (0.0, None), (-0.0, "a")]
    waiting = await started(*(ground.ask(pool, value, share) for value, share in alike))
    assert len({await task for task in waiting}) == len(alike)
    await first


async def test_who_shares_and_goes_takes_nothing_from_the_others(ground: Ground) -> None:
    pool = ground.open()
    first = await ground.at_work(pool, ground.execution, 0.3)
    one, *others = await started(*(ground.ask(pool, 0.3, "a") for _ in range(4)))
    await stop(one)
    await first
    await asyncio.sleep(0.1)
    # By now the shared statement is at work.
    await stop(others[0])
    assert len({await task for task in others[1:]}) == 1


async def test_a_shared_statement_that_nobody_wants_any_more_is_stopped(ground: Ground) -> None:
    pool = ground.open()
    first = await ground.at_work(pool, ground.execution, 0.2)
    sharing = await started(*(pool.fetch(ground.endless, (LONG,), "a") for _ in range(3)))
    await first
    await asyncio.sleep(0.2)
    for task in sharing:
        await stop(task)
    async with asyncio.timeout(5):
        assert await pool.fetch(ground.echo, ("下一个",)) == ("下一个".encode(),)


async def test_all_who_share_are_told_of_the_error(ground: Ground) -> None:
    pool = ground.open()
    first = await ground.at_work(pool, ground.execution, 0.2)
    sharing = await started(*(pool.fetch("SELECT 没有这一列 FROM users", (), "a") for _ in range(3)))
    await first
    found = await asyncio.gather(*sharing, return_exceptions=True)
    assert [type(error) for error in found] == [type(found[0])] * 3
    assert isinstance(found[0], sqlite3.OperationalError | asyncpg.UndefinedColumnError)


async def test_a_slow_read_waits_for_an_equal_one_even_where_connections_are_free(ground: Ground) -> None:
    pool = ground.open(connections=4)
    await ground.ask(pool, 0.3, "a")
    first = await ground.at_work(pool, ground.execution, 0.3, share="a")
    waiting = await started(*(ground.ask(pool, 0.3, "a") for _ in range(10)))
    other = await ground.ask(pool, 0.0, "b")
    begun = (await first)[0]
    answers = {await task for task in waiting}
    assert len(answers) == 1
    assert not {begun, other} & answers


async def test_who_is_held_goes_on_where_the_one_before_is_cancelled(ground: Ground) -> None:
    pool = ground.open(connections=4)
    await ground.ask(pool, 0.3, "a")
    first = await ground.at_work(pool, ground.execution, 0.3, share="a")
    held = await started(*(ground.ask(pool, 0.3, "a") for _ in range(3)))
    await stop(first)
    await stop(held[0])
    async with asyncio.timeout(5):
        assert len({await task for task in held[1:]}) == 1


ONE = "SELECT $1::text || $2::text, statement_timestamp()::text || pg_backend_pid()::text FROM pg_sleep(0.003)"
MANY = Together(
    "SELECT one.* FROM unnest($2::text[]) WITH ORDINALITY AS each (own, place), LATERAL ("
    "SELECT $1::text || each.own, statement_timestamp()::text || pg_backend_pid()::text"
    ") AS one ORDER BY each.place",
    (0,),
    (1,),
)


async def test_reads_of_one_reader_that_wait_are_one_statement(ground: Ground) -> None:
    if ground.embedded:
        pytest.skip("one thread reads on SQLite")
    pool = ground.open(connections=4)
    await asyncio.gather(*(pool.fetch(ONE, ("", ""), None) for _ in range(4)))

    async def ask(reader: str, own: str) -> bytes:
        words, statement = await pool.fetch(ONE, (reader, own), reader, READER, MANY)
        assert words.decode() == reader + own
        return bytes(statement)

    for many in (1, 2, 3, 40):
        statements: dict[str, list[bytes]] = {}
        for reader in ("李雷", "韩梅梅"):
            statements[reader] = await asyncio.gather(*(ask(reader, f"第{number}个") for number in range(many)))
        assert not set(statements["李雷"]) & set(statements["韩梅梅"])
        assert len(set(statements["李雷"])) <= max(min(many, 3), many // 2)
    both = await asyncio.gather(*(ask(reader, str(number)) for number in range(60) for reader in ("甲", "乙")))
    assert not set(both[::2]) & set(both[1::2])
    for value in HOSTILE:
        await asyncio.gather(*(ask(value, value[:number]) for number in range(4)))


async def test_what_is_refused_of_reads_that_go_together_is_refused_alone(ground: Ground) -> None:
    if ground.embedded:
        pytest.skip("one thread reads on SQLite")
    pool = ground.open(connections=2)
    one = "SELECT $1::text::int FROM pg_sleep(0.01)"
    many = Together(
        "SELECT own::int FROM unnest($1::text[]) WITH ORDINALITY AS each (own, place) ORDER BY place", (), (0,)
    )
    asked = [str(number) if number % 5 else "五" for number in range(40)]
    found = await asyncio.gather(
        *(pool.fetch(one, (value,), "a", READER, many) for value in asked), return_exceptions=True
    )
    for value, row in zip(asked, found, strict=True):
        assert isinstance(row, asyncpg.DataError) if value == "五" else row == (int(value),)
    assert await pool.fetch(one, ("7",), "a", READER, many) == (7,)


async def test_slow_reads_do_not_wait_for_one_another(ground: Ground) -> None:
    if ground.embedded:
        pytest.skip("one thread reads on SQLite")
    pool = ground.open(connections=4)
    one = "SELECT $1::text || pg_backend_pid()::text FROM pg_sleep(0.1)"
    many = Together("SELECT own FROM unnest($1::text[]) AS each (own), pg_sleep(10)", (), (0,))
    for _ in range(2):
        await asyncio.gather(*(pool.fetch(one, (str(number),), "b", READER, None) for number in range(4)))
    async with asyncio.timeout(5):
        found = await asyncio.gather(*(pool.fetch(one, (str(at),), "a", READER, many) for at in range(4)))
    assert len(set(found)) == 4


async def test_closing_turns_away_who_waits_and_stops_what_runs(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("postgresql", "sqlite"):
        monkeypatch.setattr(f"domain.kernel.read_pool.{module}.GRACE_SECONDS", 0.2)
    before = set(threading.enumerate())
    pool = ground.open()
    running = await ground.at_work(pool, ground.endless, LONG)
    waiting = await started(
        pool.fetch(ground.echo, ("甲",)), *(pool.fetch(ground.echo, ("乙",), "a") for _ in range(2))
    )
    await pool.close()
    for task in (running, *waiting):
        with pytest.raises(Unavailable) as told:
            await task
        assert "无法连接" in told.value.text.zh
    for late in ("迟到", "乙"):
        with pytest.raises(Unavailable):
            await pool.fetch(ground.echo, (late,), "a")
    await pool.close()
    assert "sortie-reads" not in {thread.name for thread in set(threading.enumerate()) - before}
    if not ground.embedded:
        async with asyncio.timeout(5):
            # The server looks once a second whether a client is still there.
            while await active(ground.database):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.1)


async def test_closing_lets_end_what_is_almost_done(ground: Ground) -> None:
    pool = ground.open()
    running = await ground.at_work(pool, ground.execution, 0.4)
    await pool.close()
    assert (await running)[0]


async def test_a_database_that_is_not_there_is_told_to_everybody() -> None:
    for pool in (
        PostgreSQLReads("postgresql+asyncpg://nobody@127.0.0.1:1/none", connections=1),
        SQLiteReads("sqlite+aiosqlite:////没有/这个/目录/sortie.db"),
    ):
        found = await asyncio.gather(
            *(pool.fetch("SELECT 1", (), share) for share in ("a", "a", None, None)), return_exceptions=True
        )
        assert [type(error) for error in found] == [Unavailable] * 4
        await pool.close()


# ---- PostgreSQL alone ------------------------------------------------------------------------------------------------


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the pools."""
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    await connection.execute("DO $$ BEGIN CREATE ROLE sortie_reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    yield connection
    await connection.close()


async def test_a_connection_that_broke_is_opened_anew(postgres_url: str, postgres: asyncpg.Connection) -> None:
    pool = PostgreSQLReads(postgres_url, connections=1)
    try:
        for _ in range(2):
            (pid,) = await pool.fetch("SELECT pg_backend_pid()", ())
            await postgres.execute("SELECT pg_terminate_backend($1)", pid)
            await asyncio.sleep(0.1)
            assert await pool.fetch("SELECT pg_backend_pid()", ()) != (pid,)
        running = asyncio.create_task(pool.fetch("SELECT pg_sleep(30)::text", ()))
        await asyncio.sleep(0.1)
        waiting = await started(*(pool.fetch("SELECT 1", ()) for _ in range(3)))
        await postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sortie reads'"
        )
        with pytest.raises(Unavailable) as told:
            await running
        assert "无法连接" in told.value.text.zh
        assert await asyncio.gather(*waiting) == [(1,)] * 3
    finally:
        await pool.close()


async def test_no_connection_is_lost_where_callers_go_and_backends_die(
    postgres_url: str, postgres: asyncpg.Connection
) -> None:
    pool = PostgreSQLReads(postgres_url, connections=3)
    sqls = ("SELECT $1::text", "SELECT $1::text FROM pg_sleep(0.006)")
    many = Together("SELECT own FROM unnest($1::text[]) AS each (own), pg_sleep(0.006)", (), (0,))
    answered = 0

    async def ask(number: int) -> None:
        nonlocal answered
        for round in range(45):
            value = f"第{(number + round) % 3}个"
            share, together = (f"c{number % 2}{round % 2}", many) if round % 3 else (None if round % 5 else "a", None)
            task = asyncio.create_task(pool.fetch(sqls[round % 2], (value,), share, READER, together))
            await asyncio.sleep((number + round) % 5 / 1000)
            if (number + round) % 3 == 0:
                task.cancel()
            with suppress(asyncio.CancelledError, Unavailable):
                assert await task == (value.encode(),)
                answered += 1

    async def kill() -> None:
        for _ in range(8):
            await asyncio.sleep(0.05)
            await postgres.execute(
                "SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE application_name = 'sortie reads'"
            )

    try:
        async with asyncio.timeout(30):
            await asyncio.gather(kill(), *(ask(number) for number in range(20)))
            # The last that was killed may have been idle: whoever has it next is told.
            await asyncio.gather(*(pool.fetch("SELECT 1", ()) for _ in range(3)), return_exceptions=True)
            # All three answer at once, and each has a connection of its own.
            pids = await asyncio.gather(
                *(pool.fetch("SELECT pg_backend_pid() FROM pg_sleep(0.2)", ()) for _ in range(3))
            )
        assert len(set(pids)) == 3
        assert answered > 200
        assert (pool._lined, pool._lanes, pool._running) == (0, {}, {})
    finally:
        await pool.close()


async def test_prepared_statements_are_bounded(
    postgres_url: str, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seat, "PREPARED", 5)
    pool = PostgreSQLReads(postgres_url, connections=1)
    kept = "SELECT count(*), count(*) FILTER (WHERE statement = 'SELECT ''常用''') FROM pg_prepared_statements"
    try:
        for number in range(30):
            assert await pool.fetch(f"SELECT {number}", ()) == (number,)
            assert await pool.fetch("SELECT '常用'", ()) == ("常用".encode(),)
        statements, used = await pool.fetch(kept, ())
        # What is forgotten is closed with the next one that is made.
        assert 5 <= statements <= 6
        assert used == 1
    finally:
        await pool.close()


async def test_a_table_may_change_below_a_prepared_statement(postgres_url: str, postgres: asyncpg.Connection) -> None:
    pool = PostgreSQLReads(postgres_url, connections=1)
    await postgres.execute("CREATE TABLE changing (words int); GRANT SELECT ON changing TO sortie_reader")
    try:
        await postgres.execute("INSERT INTO changing VALUES (7)")
        assert await pool.fetch("SELECT words FROM changing", ()) == (7,)
        await postgres.execute("ALTER TABLE changing ALTER words TYPE text USING '七'")
        for _ in range(2):
            assert await pool.fetch("SELECT words FROM changing", ()) == ("七".encode(),)
    finally:
        await pool.close()
        await postgres.execute("DROP TABLE changing")


async def test_lists_and_ids_are_values_as_they_are(postgres_url: str, postgres: asyncpg.Connection) -> None:
    pool = PostgreSQLReads(postgres_url, connections=1)
    ids = [UUID(int=1), UUID(int=2)]
    sql = "SELECT array_to_string($1::uuid[], ','), $2::text[] @> ARRAY['华东'], pg_sleep(0.05)::text"
    try:
        reads = (pool.fetch(sql, (ids, ["华东", "'x"]), "a") for _ in range(6))
        found = {row[:2] for row in await asyncio.gather(*reads)}
        assert found == {(",".join(map(str, ids)).encode(), True)}
    finally:
        await pool.close()


async def test_statements_may_take_as_long_as_the_longest_operation(
    postgres_url: str, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    limits: Any = {"limits": {"seconds": 8}, "role_limits": {"AUDITOR": {"seconds": 25}}}
    database = open_database(Settings(home=tmp_path, database_url=postgres_url, **limits))
    try:
        assert await database.reads.fetch("SELECT current_setting('statement_timeout')", ()) == (b"25s",)
    finally:
        await database.close()
