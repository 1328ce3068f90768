"""PostgreSQL for units of work: connections that stay open, and transactions that begin when something needs one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg
import orjson
from sqlalchemy import Dialect, NullPool, Table, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.kernel.changes import CHANNEL
from domain.kernel.finishing import finish
from domain.kernel.sessions import UnitSession
from domain.kernel.statements import TOGETHER, Transaction, come_after, row_form

T = TypeVar("T")
KEPT_STATEMENTS = 256


@dataclass(frozen=True)
class Seat:
    """One connection for units of work, as SQLAlchemy knows it and as the driver does."""

    connection: AsyncConnection
    driver: Any
    session: UnitSession


class Refused(Exception):
    """What PostgreSQL says of a statement, without the details, which quote values of persons."""

    def __init__(self, error: Any) -> None:
        super().__init__(f"{type(error).__name__}: {error.args[0] if error.args else error}")
        self.sqlstate: str | None = getattr(error, "sqlstate", None)
        self.constraint_name: str | None = getattr(error, "constraint_name", None)
        self.breaks_rule = isinstance(error, asyncpg.IntegrityConstraintViolationError)


class PostgresTransaction(Transaction):
    """A transaction that begins with the first statement that needs one.

    One that is all a unit changes commits by itself: then there is neither BEGIN nor COMMIT.
    """

    def __init__(self, driver: Any, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._driver = driver
        self.begun = False
        """Whether a transaction is open, or may be."""

    async def ready(self, *, begun: bool = True) -> None:
        """Send what waits; begin where that or what follows needs it."""
        if (begun or self._waiting) and not self.begun:
            # Said before it is known: who is cancelled meanwhile leaves a transaction that nobody has seen begin.
            self.begun = True
            await self._script("BEGIN")
        if self._waiting:
            await self._send()

    async def wait_turn(self, numbers: Sequence[int]) -> None:
        """Take PostgreSQL's advisory locks of these numbers, in their order."""
        if self._waiting:
            await self.ready()
        begin = [] if self.begun else ["BEGIN"]
        self.begun = True
        await self._script("; ".join(begin + [f"SELECT pg_advisory_xact_lock({int(number)})" for number in numbers]))

    async def commit(self) -> None:
        """Send what waits, and commit.

        Raises DBAPIError where PostgreSQL has rolled back instead, because a statement before had failed.
        """
        self.kept = self.begun or bool(self._waiting)
        if not self.begun and sum(map(len, self._waiting.values())) > TOGETHER:
            await self.ready()
        elif self._waiting:
            await self._send(self.news)
        if self.begun:
            if await self._script(self._ending()) != "COMMIT":
                raise DBAPIError("COMMIT", None, RuntimeError("the transaction had failed before"))
            self.begun = False

    def _ending(self) -> str:
        # Ids, versions and the names of classes alone: nothing that would have to be quoted.
        return f"SELECT pg_notify('{CHANNEL}', '{self.news}'); COMMIT" if self.news else "COMMIT"

    async def roll_back(self) -> None:
        """Undo everything, wherever it stands."""
        await self._driver.execute("ROLLBACK")

    async def _send(self, news: str = "") -> None:
        """Insert what waits, and tell the news in the same statement where there is one."""
        waiting = self._take()
        if sum(len(rows) for _, rows in waiting) <= TOGETHER:
            sql = _inserts(tuple((table, len(rows)) for table, rows in waiting), self.dialect, telling=bool(news))
            values: list[Any] = []
            for _, rows in waiting:
                for row in rows:
                    values += row
            if news:
                values.append(news)
                self.news = ""
            await self._told(sql, self._driver.fetch(sql, *values))
            return
        for table, rows in waiting:
            sql = _inserts(((table, 1),), self.dialect)
            await self._told(sql, self._driver.executemany(sql, rows))

    async def _run(self, sql: str, values: list[Any]) -> Any:
        return await self._told(sql, self._driver.fetch(sql, *values))

    async def _script(self, sql: str) -> Any:
        return await self._told(sql, self._driver.execute(sql))

    async def _told(self, sql: str, work: Awaitable[T]) -> T:
        """What the driver gives; its errors are told as SQLAlchemy tells them, without any value."""
        try:
            return await work
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            told = Refused(error)
        kind = IntegrityError if told.breaks_rule else DBAPIError
        raise kind(sql, None, told, connection_invalidated=self._driver.is_closed())


@lru_cache(maxsize=1024)
def _inserts(parts: tuple[tuple[Table, int], ...], dialect: Dialect, *, telling: bool = False) -> str:
    """One statement that inserts so many rows into each of some tables; keys between them are checked at its end.

    With `telling` its last parameter is a payload for listeners.
    """
    number, inserts = 0, []
    for table, count in parts:
        form = row_form(table, dialect)
        rows = []
        for _ in range(count):
            rows.append(", ".join(f"${at}" for at in range(number + 1, number + 1 + len(form.names))))
            number += len(form.names)
        inserts.append(f"{form.head} VALUES ({'), ('.join(rows)})")
    *others, last = inserts
    if telling:
        # It asks nothing of the row, so that PostgreSQL works it out once, however many rows there are.
        last += f" RETURNING (SELECT pg_notify('{CHANNEL}', ${number + 1}))"
    before = ", ".join(f"part_{at} AS ({insert})" for at, insert in enumerate(others))
    return f"WITH {before} {last}" if others else last


MOST_CONNECTIONS = 24
"""More than one process can keep busy."""


def shares(connections: int) -> tuple[int, int]:
    """How many of so many connections, 3 at least, are for sessions, and how many each for units of work and for reads."""
    most = max(3, min(connections, MOST_CONNECTIONS))
    sessions = max(1, most // 6)
    return sessions, (most - sessions) // 2


class Seats:
    """The connections of one database's units of work: each is one unit's at a time, and stays open until it breaks."""

    def __init__(self, url: str, size: int, *, wait_seconds: float = 30.0) -> None:
        self.engine: AsyncEngine = create_async_engine(
            url, poolclass=NullPool, isolation_level="AUTOCOMMIT", json_deserializer=orjson.loads,
            json_serializer=lambda value: orjson.dumps(value).decode(), connect_args={"statement_cache_size": KEPT_STATEMENTS},
        )  # fmt: skip
        self._wait_seconds = wait_seconds
        self._free: asyncio.LifoQueue[Seat | None] = asyncio.LifoQueue()
        self._size = size
        for _ in range(size):
            self._free.put_nowait(None)
        event.listen(self.engine.sync_engine, "before_cursor_execute", come_after)

    @asynccontextmanager
    async def unit(self, *, alone: bool = False) -> AsyncIterator[UnitSession]:
        """A session with a connection and transaction for one unit alone; what it did not commit is rolled back.

        Raises SQLAlchemy's TimeoutError where no connection becomes free.
        """
        seat = await self._taken()
        transaction = PostgresTransaction(seat.driver, self.engine.dialect)
        try:
            seat.session.enter(transaction)
            yield seat.session
        finally:
            if (
                transaction.begun
                or seat.driver.is_in_transaction()
                or seat.driver.is_closed()
                or seat.connection.in_transaction()
            ):
                await finish(self._mended(seat, transaction))
            else:
                self._free.put_nowait(seat)

    async def _taken(self) -> Seat:
        try:
            free = self._free.get_nowait()
        except asyncio.QueueEmpty:
            try:
                free = await asyncio.wait_for(self._free.get(), self._wait_seconds)
            except TimeoutError as error:
                raise PoolTimeoutError("every connection for units of work is taken") from error
        if free is not None and not free.driver.is_closed():
            return free
        try:
            return await self._opened(free)
        except BaseException:
            self._free.put_nowait(None)
            raise

    async def _opened(self, broken: Seat | None) -> Seat:
        if broken is not None:
            await _close(broken)
        connection = await self.engine.connect()
        return Seat(connection, (await connection.get_raw_connection()).driver_connection, UnitSession(connection))

    async def _mended(self, seat: Seat, transaction: PostgresTransaction) -> None:
        """Bring a connection back to where a unit may begin; one that cannot be is closed."""
        mended: Seat | None = seat
        try:
            if seat.connection.in_transaction():
                await seat.connection.rollback()
            await transaction.roll_back()
        except Exception:  # noqa: BLE001 - whatever it is, the next unit gets another connection
            mended = None
        if mended is None or seat.driver.is_closed():
            mended = None
            await _close(seat)
        self._free.put_nowait(mended)

    async def close(self) -> None:
        """Close every connection, each when its unit has ended."""
        for _ in range(self._size):
            seat = await self._free.get()
            if seat is not None:
                await _close(seat)
        for _ in range(self._size):
            self._free.put_nowait(None)
        await self.engine.dispose()


async def _close(seat: Seat) -> None:
    if seat.driver.is_closed():
        await seat.connection.invalidate()
    await seat.connection.close()
