"""SQLite under asyncio: writing connections that cost no thread, reading ones that cost one hop to theirs."""

import asyncio
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import orjson
from sqlalchemy import Dialect, event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from domain.kernel.reader import SCHEMA
from domain.kernel.statements import Transaction, come_after, row_form

T = TypeVar("T")

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "temp_store=MEMORY",
    "cache_size=-65536",
    "secure_delete=FAST",
)
ENDED = "the transaction was ended by an earlier error: disk full or failing"
FIRST_ROWS = 256
"""Rows that come with the statement, in the same hop to the connection's thread."""


class Connection:
    """One SQLite connection as SQLAlchemy's aiosqlite dialect wants it.

    A reading one runs its statements in a thread of its own, and stops one whose caller was cancelled. A writing one runs
    them where they are asked for: behind the one writer's lock each takes microseconds, a hop to a thread and back takes
    longer than most of them, and what cannot be interrupted cannot lose the transaction that others share.
    """

    def __init__(self, file: str, *, writing: bool, timeout: float) -> None:
        self.writing = writing
        self._file = file
        self._timeout = timeout
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sortie-sqlite")
        self._connection: sqlite3.Connection | None = None

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    async def _open(self) -> Self:
        self._connection = await self.hop(self._connect)
        return self

    def _connect(self) -> sqlite3.Connection:
        made = sqlite3.connect(self._file, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            made.execute(f"PRAGMA {pragma}")
        if self.writing:
            # Whoever begins waits for another process without holding up the event loop.
            made.execute("PRAGMA busy_timeout=0")
        return made

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection below.

        Raises ValueError, as aiosqlite does, when it is closed.
        """
        if self._connection is None:
            raise ValueError("no active connection")
        return self._connection

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite itself ends one when the disk is full or fails."""
        return self._connection is not None and self._connection.in_transaction

    def check_transaction(self) -> None:
        """Raise sqlite3.OperationalError outside a transaction, where SQLite would commit a change by itself."""
        if not self.in_transaction:
            raise sqlite3.OperationalError(ENDED)

    async def hop(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work in the connection's thread; it is interrupted when the caller is cancelled."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except asyncio.CancelledError:
            if self._connection is not None and not self.writing:
                self._connection.interrupt()
            raise

    def cursor(self) -> "Cursor":
        """A new cursor."""
        return Cursor(self)

    async def execute(self, statement: str, parameters: Any = ()) -> "Cursor":
        """Execute one statement on a cursor of its own."""
        cursor = self.cursor()
        await cursor.execute(statement, parameters)
        return cursor

    async def create_function(self, *arguments: Any, **options: Any) -> None:
        """Define a function of SQL."""
        self.raw.create_function(*arguments, **options)

    async def commit(self) -> None:
        """Have everything on the disk; waiting for it is left to the thread."""
        await self.hop(self.raw.commit)

    async def rollback(self) -> None:
        """Undo everything since BEGIN."""
        self.raw.rollback()

    async def close(self) -> None:
        """Close it, after what its thread does now."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self.hop(connection.close)
            self._thread.shutdown(wait=False)

    def stop(self) -> None:
        """Close it where nobody can wait."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._thread.submit(connection.close)
            self._thread.shutdown(wait=False)


class Cursor:
    """One cursor of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.raw.cursor()
        self._rows: list[Any] = []
        self._more = False

    async def __aenter__(self) -> Self:
        return self

    @property
    def description(self) -> Any:
        """The columns of the result."""
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The row that was inserted last."""
        return self._cursor.lastrowid

    async def execute(self, statement: str, parameters: Any = ()) -> None:
        """Execute a statement.

        Raises sqlite3.OperationalError in a writing connection for a change outside a transaction, which SQLite would
        commit by itself.
        """
        connection = self._connection
        if connection.writing:
            if not statement.startswith(("BEGIN", "PRAGMA")):
                connection.check_transaction()
            self._execute(statement, parameters)
        elif statement.startswith("BEGIN"):
            self._cursor.execute(statement)
        else:
            await connection.hop(self._execute, statement, parameters)

    def _execute(self, statement: str, parameters: Any) -> None:
        self._cursor.execute(statement, parameters)
        self._rows = self._cursor.fetchmany(FIRST_ROWS) if self._cursor.description else []
        self._more = len(self._rows) == FIRST_ROWS

    async def executemany(self, statement: str, rows: Iterable[Any]) -> None:
        """Execute a statement for each of many rows."""
        await self._run(self._cursor.executemany, statement, rows)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return work(*arguments) if self._connection.writing else await self._connection.hop(work, *arguments)

    async def fetchmany(self, size: int) -> list[Any]:
        """The next rows, at most `size`."""
        if self._more and len(self._rows) < size:
            more = await self._run(self._cursor.fetchmany, size - len(self._rows))
            self._rows, self._more = self._rows + more, bool(more)
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    async def fetchone(self) -> Any:
        """The next row; None at the end."""
        return next(iter(await self.fetchmany(1)), None)

    async def fetchall(self) -> list[Any]:
        """Every row that is left."""
        rows, self._rows = self._rows, []
        if self._more:
            rows, self._more = rows + await self._run(self._cursor.fetchall), False
        return rows

    async def close(self) -> None:
        """Close it."""
        self._cursor.close()


class SqliteTransaction(Transaction):
    """What one unit of work does in the transaction that it shares with others of its group."""

    def __init__(self, driver: Connection, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._driver = driver

    async def ready(self, *, begun: bool = True) -> None:
        """Insert what waits."""
        for table, rows in self._take():
            form = row_form(table, self.dialect)
            sql = f"{form.head} VALUES ({', '.join('?' * len(form.names))})"
            self._told(self._driver.raw.executemany, sql, rows)

    async def wait_turn(self, numbers: Sequence[int]) -> None:
        """Go on: SQLite has one writer anyway."""

    async def commit(self) -> None:
        """Insert what waits; the group commits."""
        await self.ready()

    async def _run(self, sql: str, values: list[Any]) -> list[Any]:
        return self._told(self._driver.raw.execute, sql, values).fetchall()

    def _told(self, work: Callable[..., sqlite3.Cursor], sql: str, values: Any) -> sqlite3.Cursor:
        """What the driver gives; its errors are told as SQLAlchemy tells them, without any value."""
        try:
            self._driver.check_transaction()
            return work(sql, values)
        except sqlite3.IntegrityError as error:
            raise IntegrityError(sql, None, error) from error
        except sqlite3.OperationalError as error:
            raise OperationalError(sql, None, error) from error
        except sqlite3.Error as error:
            raise DBAPIError(sql, None, error) from error


@contextmanager
def savepoint(driver: Connection) -> Iterator[None]:
    """A savepoint round a block: what fails in it is undone, where SQLite has not ended the transaction by itself."""
    driver.raw.execute("SAVEPOINT unit")
    try:
        yield
    except BaseException:
        if driver.in_transaction:
            driver.raw.execute("ROLLBACK TO unit")
            driver.raw.execute("RELEASE unit")
        raise
    if not driver.in_transaction:
        raise OperationalError("RELEASE unit", None, sqlite3.OperationalError(ENDED))
    driver.raw.execute("RELEASE unit")


def open_engine(url: str, *, writing: bool, pool_size: int, lock_timeout_seconds: float) -> AsyncEngine:
    """An engine on a SQLite file, for reading or for writing."""

    def connect(file: str, **_options: Any) -> Connection:
        return Connection(file, writing=writing, timeout=lock_timeout_seconds)

    engine = create_async_engine(
        url, pool_size=pool_size, max_overflow=0, json_deserializer=orjson.loads, connect_args={"async_creator_fn": connect},
        execution_options={"schema_translate_map": {SCHEMA: None}},
    )  # fmt: skip

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN DEFERRED")

    if writing:
        event.listen(engine.sync_engine, "before_cursor_execute", come_after)
    return engine
