"""Reads on SQLite: one thread with one connection, which reads the statements in their order."""

import asyncio
import base64
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy.engine import make_url

from domain.kernel.errors import Unavailable
from domain.kernel.outages import GONE, outage
from domain.kernel.read_pool.waiting import (
    GRACE_SECONDS,
    SECONDS,
    TOO_SLOW,
    WAITING,
    Overloaded,
    Read,
    Row,
    Together,
    Values,
    key_of,
)
from domain.kernel.reader import READER
from domain.kernel.sqlite import PRAGMAS

PREPARED = 512
LOOK_SECONDS = 0.25
"""Between two looks at whether what runs takes too long."""


def _base64url(words: str | None) -> str | None:
    return None if words is None else base64.urlsafe_b64encode(words.encode()).rstrip(b"=").decode()


Functions = Mapping[str, tuple[int, Callable[..., Any]]]
FUNCTIONS: Functions = {"sortie_base64url": (1, _base64url)}
"""What statements call that SQLite does not have, with the number of arguments."""


class _Job(Read):
    """A read in the thread's line."""

    __slots__ = ("late",)

    def __init__(self, sql: str, values: Values, key: Hashable | None) -> None:
        super().__init__(sql, values, key)
        self.late = False


class SQLiteReads:
    """One thread with one connection, and the line of reads before it.

    The thread is woken only where it sleeps, and wakes the event loop once for all that it has found meanwhile.
    """

    def __init__(
        self, url: str, *, functions: Functions = FUNCTIONS, waiting: int = WAITING, seconds: float = SECONDS
    ) -> None:
        self._file = make_url(url).database or ":memory:"
        self._functions = functions
        self._most = waiting
        self._seconds = seconds
        self._line: deque[_Job] = deque()
        self._equal: dict[Hashable, _Job] = {}
        """The read that waits, by what equal ones have in common."""
        self._found: deque[tuple[_Job, Any]] = deque()
        self._telling = self._asleep = self._ending = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look: asyncio.TimerHandle | None = None
        self._at_work = threading.Lock()
        """Held where a statement begins, ends or is interrupted: no interruption meets another one's statement."""
        self._running: _Job | None = None
        self._began = 0.0
        self._connection: sqlite3.Connection | None = None

    async def fetch(
        self,
        sql: str,
        values: Values,
        share: Hashable | None = None,
        role: str = READER,
        together: Together | None = None,
    ) -> Row:
        """The one row of a statement; one thread asks one after the other, which takes no less together."""
        loop = asyncio.get_running_loop()
        if self._thread is None or loop is not self._loop:
            self._start(loop)
        # What nothing waits or runs beside begins at once, and is shared with nobody.
        key = key_of(sql, values, share) if share is not None and (self._line or self._running) else None
        job = None if key is None else self._equal.get(key)
        if job is None:
            job = _Job(sql, values, key)
            mine = job.add_caller()
            self._line_up(job, loop)
        else:
            mine = job.add_caller()
        try:
            row: Row = await mine
        except asyncio.CancelledError:
            job.callers.remove(mine)
            if not job.callers:
                self._drop(job)
            raise
        return row

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._ending:
            raise Unavailable(GONE)
        self._loop, self._look, self._telling = loop, None, False
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="sortie-reads", daemon=True)
            self._thread.start()

    def _line_up(self, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._line) >= self._most:
            raise Overloaded
        if job.key is not None:
            self._equal[job.key] = job
        self._line.append(job)
        if self._asleep:
            self._asleep = False
            self._bell.put(None)
        if self._look is None:
            self._look = loop.call_later(min(LOOK_SECONDS, self._seconds / 4), self._look_up, loop)

    def _drop(self, job: _Job) -> None:
        """Take a read that nobody wants any more out of the line, or stop it."""
        if self._equal.get(job.key) is job:
            # The thread may have taken it out in this moment.
            self._equal.pop(job.key, None)
        try:
            self._line.remove(job)
        except ValueError:
            self._interrupt(job)

    def _interrupt(self, job: _Job) -> None:
        with self._at_work:
            if self._running is job and self._connection is not None:
                self._connection.interrupt()

    def _look_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop what takes too long, and what was dropped in the moment in which it began."""
        with self._at_work:
            job = self._running
            late = job is not None and time.monotonic() - self._began >= self._seconds
        if job is not None and (late or not job.wanted):
            job.late = late
            self._interrupt(job)
        busy = job is not None or self._line
        self._look = loop.call_later(min(LOOK_SECONDS, self._seconds / 4), self._look_up, loop) if busy else None

    def _tell(self) -> None:
        self._telling = False
        while self._found:
            job, found = self._found.popleft()
            job.tell(found)

    async def close(self) -> None:
        """Turn away who waits, let what runs end or stop it, and end the thread."""
        self._ending = True
        while self._line:
            self._line.popleft().tell(Unavailable(GONE))
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._bell.put(None)
        patience = time.monotonic() + GRACE_SECONDS
        while thread.is_alive():
            await asyncio.sleep(0.005)
            if time.monotonic() > patience and self._running is not None:
                self._interrupt(self._running)
        if self._look is not None:
            self._look.cancel()

    # ---- in the thread -------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._ending:
                try:
                    job = self._line.popleft()
                except IndexError:
                    self._sleep()
                else:
                    self._read(job)
        finally:
            if self._connection is not None:
                self._connection.close()

    def _sleep(self) -> None:
        self._asleep = True
        # Whoever came before that was said has not rung.
        if self._line or self._ending:
            self._asleep = False
        else:
            self._bell.get()

    def _read(self, job: _Job) -> None:
        if job.key is not None:
            # From here on it has begun: whoever comes later reads for themselves.
            self._equal.pop(job.key, None)
        with self._at_work:
            self._running, self._began = job, time.monotonic()
        found: Any
        try:
            connection = self._connection or self._connect()
            found = connection.execute(job.sql, job.values).fetchone()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers'
            found = self._readable(job, error)
        with self._at_work:
            self._running = None
        self._found.append((job, found))
        if not self._telling and self._loop is not None:
            self._telling = True
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._tell)

    def _connect(self) -> sqlite3.Connection:
        try:
            made = sqlite3.connect(
                self._file, isolation_level=None, cached_statements=PREPARED, timeout=self._seconds, check_same_thread=False
            )  # fmt: skip
            for pragma in (*PRAGMAS, "query_only=ON"):
                made.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as error:
            raise Unavailable(outage(error) or GONE) from error
        made.text_factory = bytes
        for name, (count, function) in self._functions.items():
            made.create_function(name, count, function, deterministic=True)
        self._connection = made
        return made

    def _readable(self, job: _Job, error: Exception) -> Exception:
        stopped = isinstance(error, sqlite3.OperationalError) and "interrupted" in str(error)
        text = (TOO_SLOW if job.late else GONE) if stopped else outage(error)
        if text is None:
            return error
        known = Unavailable(text)
        known.__cause__ = error
        return known
