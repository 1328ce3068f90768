"""Pools for reads of one statement: its row comes back as it is, without a transaction or an object round it."""

import asyncio
import base64
import queue
import sqlite3
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any, Protocol, cast

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.engine import make_url

from domain.kernel.errors import ErrorCode, SalesError, Text, Unavailable
from domain.kernel.reader import READER
from domain.kernel.sqlite import PRAGMAS

CONNECTIONS = 10
PREPARED = 300
"""Statements that each connection of PostgreSQL keeps prepared, the least recently used forgotten first."""
WAITING = 1_000
SECONDS = 10.0
RETRY_SECONDS = 1
STEPS = 100_000
"""Instructions of SQLite between two looks at the clock."""

Values = tuple[Any, ...]
Row = tuple[Any, ...]

CROWDED = Text("读取请求过多，请稍后重试", "too many reads are waiting: try again shortly")
GONE = Text("数据库现在无法连接，请稍后重试", "the database cannot be reached now: try again shortly")
TOO_SLOW = Text("这次读取超过时限，已中止", "this read took too long and was stopped")


class Overloaded(SalesError):
    """More reads wait than the pool takes on."""

    code = ErrorCode.UNAVAILABLE

    def __init__(self) -> None:
        super().__init__(CROWDED)
        self.retry_after_seconds = RETRY_SECONDS


class ReadPool(Protocol):
    """Whoever has single statements read."""

    async def fetch(self, sql: str, values: Values, share: Hashable | None = None) -> Row:
        """The one row of a statement, its values in the driver's own forms and in the order of their places.

        A read that still waits takes along others with the same statement, values and `share`; one that has begun never
        does. Raises Overloaded, Unavailable for a database that is gone or a statement that takes too long, and the
        driver's own errors for a statement that it does not take.
        """
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class _Waiting:
    """Reads that wait for their turn, equal ones together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._turns: deque[asyncio.Future[Any]] = deque()

    def __len__(self) -> int:
        return len(self._turns)

    async def turn(self) -> Any:
        """Wait until somebody gives what the read needs."""
        if len(self._turns) >= self._most:
            raise Overloaded
        waiting = asyncio.get_running_loop().create_future()
        self._turns.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.give(waiting.result())
            else:
                with suppress(ValueError):
                    self._turns.remove(waiting)
            raise

    def give(self, what: Any) -> bool:
        """Give it to the one who has waited longest; False where nobody waits."""
        while self._turns:
            waiting = self._turns.popleft()
            if not waiting.done():
                waiting.set_result(what)
                return True
        return False


class _Connection:
    """One connection of PostgreSQL with its prepared statements."""

    def __init__(self, raw: "asyncpg.Connection[Any]") -> None:
        self.raw = raw
        self._prepared: OrderedDict[str, PreparedStatement[Any]] = OrderedDict()
        self._made = 0

    async def fetch(self, sql: str, values: Values) -> Row:
        statement = self._prepared.get(sql)
        if statement is None:
            self._made += 1
            # One without a name would be parsed and planned anew each time that it is asked.
            statement = self._prepared[sql] = await self.raw.prepare(sql, name=f"read_{self._made}")
            if len(self._prepared) > PREPARED:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(sql)
        return cast("Row", await statement.fetchrow(*values))


class PostgreSQLReads:
    """Connections of PostgreSQL that are in the readers' role for good."""

    def __init__(
        self, url: str, *, connections: int = CONNECTIONS, waiting: int = WAITING, seconds: float = SECONDS
    ) -> None:
        parsed = make_url(url).set(drivername="postgresql")
        self._dsn = parsed.render_as_string(hide_password=False)
        self._seconds = seconds
        self._free: list[_Connection] = []
        self._open = 0
        self._most = connections
        self._waiting = _Waiting(waiting)
        self._shared: dict[Hashable, asyncio.Future[Row]] = {}
        self._closed = False

    async def fetch(self, sql: str, values: Values, share: Hashable | None = None) -> Row:
        """The one row of a statement."""
        connection = self._free.pop() if self._free else None
        if connection is None:
            return await self._shared_fetch(sql, values, share)
        return await self._read(connection, sql, values)

    async def _shared_fetch(self, sql: str, values: Values, share: Hashable | None) -> Row:
        if share is None or self._open < self._most:
            return await self._read(await self._turn(), sql, values)
        # Several ids in one place are a list.
        key = (share, tuple([tuple(value) if isinstance(value, list) else value for value in values]))
        leading = self._shared.get(key)
        if leading is not None:
            return await asyncio.shield(leading)
        leading = self._shared[key] = asyncio.ensure_future(self._lead(key, sql, values))
        return await asyncio.shield(leading)

    async def _lead(self, key: Hashable, sql: str, values: Values) -> Row:
        try:
            connection = await self._turn()
        finally:
            # From here on the statement has begun: whoever comes later reads for themselves.
            self._shared.pop(key, None)
        return await self._read(connection, sql, values)

    async def _turn(self) -> _Connection:
        if self._free:
            return self._free.pop()
        if self._open < self._most:
            return await self._opened()
        return cast("_Connection", await self._waiting.turn())

    async def _opened(self) -> _Connection:
        self._open += 1
        try:
            settings = {
                "role": READER, "jit": "off", "plan_cache_mode": "force_generic_plan", "application_name": "sortie reads",
                "statement_timeout": str(int(self._seconds * 1000)),
            }  # fmt: skip
            raw = await asyncpg.connect(self._dsn, server_settings=settings, statement_cache_size=0)
            return _Connection(raw)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
            self._open -= 1
            raise Unavailable(GONE) from error
        except BaseException:
            self._open -= 1
            raise

    async def _read(self, connection: _Connection, sql: str, values: Values) -> Row:
        try:
            return await connection.fetch(sql, values)
        except asyncpg.QueryCanceledError as error:
            raise Unavailable(TOO_SLOW) from error
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.AdminShutdownError) as error:
            raise Unavailable(GONE) from error
        finally:
            self._back(connection)

    def _back(self, connection: _Connection) -> None:
        if connection.raw.is_closed() or self._closed:
            self._open -= 1
            return
        if not self._waiting.give(connection):
            self._free.append(connection)

    async def close(self) -> None:
        """Close every connection that is free; those at work close when they are done."""
        self._closed = True
        free, self._free = self._free, []
        for connection in free:
            await connection.raw.close()


def _base64url(words: str | None) -> str | None:
    return None if words is None else base64.urlsafe_b64encode(words.encode()).rstrip(b"=").decode()


FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {"sortie_base64url": (1, _base64url)}
"""What statements call that SQLite does not have."""


class SQLiteReads:
    """One thread with one connection, which reads the statements in their order."""

    def __init__(self, url: str, *, waiting: int = WAITING, seconds: float = SECONDS) -> None:
        self._file = make_url(url).database or ":memory:"
        self._most = waiting
        self._seconds = seconds
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._pending = 0
        self._deadline = 0.0
        self._thread: threading.Thread | None = None
        self._shared: dict[Hashable, asyncio.Future[Row]] = {}

    async def fetch(self, sql: str, values: Values, share: Hashable | None = None) -> Row:
        """The one row of a statement."""
        key = None if share is None else (share, values)
        known = None if key is None else self._shared.get(key)
        if known is not None:
            return await asyncio.shield(known)
        if self._pending >= self._most:
            raise Overloaded
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="sortie-reads", daemon=True)
            self._thread.start()
        answer: asyncio.Future[Row] = loop.create_future()
        if key is not None:
            self._shared[key] = answer
        self._pending += 1
        self._queue.put((loop, answer, key, sql, values))
        return await asyncio.shield(answer)

    def _serve(self) -> None:
        connection = sqlite3.connect(self._file, isolation_level=None, cached_statements=512, timeout=self._seconds)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        for name, (count, function) in FUNCTIONS.items():
            connection.create_function(name, count, function, deterministic=True)
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, STEPS)
        try:
            while (job := self._queue.get()) is not None:
                self._one(connection, *job)
        finally:
            connection.close()

    def _one(
        self,
        connection: sqlite3.Connection,
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[Row],
        key: Hashable,
        sql: str,
        values: Values,
    ) -> None:
        if key is not None:
            self._shared.pop(key, None)
        self._deadline = time.monotonic() + self._seconds
        found: Any
        try:
            found = connection.execute(sql, values).fetchone()
        except sqlite3.OperationalError as error:
            found = Unavailable(TOO_SLOW) if "interrupted" in str(error) else error
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            found = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._told, answer, found)

    def _told(self, answer: asyncio.Future[Row], found: Any) -> None:
        self._pending -= 1
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    async def close(self) -> None:
        """End the thread after what it does now."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None


def open_reads(url: str) -> ReadPool:
    """The pool for a database."""
    return SQLiteReads(url) if url.startswith("sqlite") else PostgreSQLReads(url)
