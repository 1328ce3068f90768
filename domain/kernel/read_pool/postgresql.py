"""Reads on PostgreSQL: connections of their own, and a line of reads before them."""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Hashable, Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

import asyncpg

from domain.kernel.errors import Unavailable
from domain.kernel.outages import GONE
from domain.kernel.read_pool.lanes import ALONE_SECONDS, AT_ONCE, Batch, Lane, Paces, Waiting
from domain.kernel.read_pool.seat import DRIVER_ERRORS, Seat, options_of
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

CONNECTIONS = 10
SLOW_SECONDS, FAST_SECONDS = 0.005, 0.001
"""From here on a statement is worth waiting for an equal one's end, so that all who came meanwhile share the next.

It is so until one takes next to no time: alone it takes less than among others, and would come and go with every turn.
"""
SLOW_KEPT = 1_000
AHEAD, PASSED = 8, 8
"""How far down the line a read goes first because it needs no change of role, and how often one lets others pass."""


class _Lined(Read):
    """A read in the line: for a seat, or held until an equal one that runs has ended."""

    __slots__ = ("begun", "held", "passed", "task")

    def __init__(self, sql: str, values: Values, key: Hashable | None, role: str, *, held: bool) -> None:
        super().__init__(sql, values, key, role)
        self.held = held
        self.passed = 0
        """How many that came later went first."""
        self.begun = False
        self.task: asyncio.Task[None] | None = None


class PostgreSQLReads:
    """Seats for so many connections, and the line of reads for which none is free.

    With `server`, which is when it began, no other server is read, whoever the address leads to.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = CONNECTIONS,
        waiting: int = WAITING,
        seconds: float = SECONDS,
        server: str | None = None,
    ) -> None:
        options = options_of(url, seconds)
        self._seats = [Seat(options, server) for _ in range(connections)]
        self._free = list(self._seats)
        self._line: deque[_Lined] = deque()
        self._lined = 0
        """How many wait, in the line, in a lane or held."""
        self._most = waiting
        self._equal: dict[Hashable, _Lined] = {}
        """The read that waits, by what equal ones have in common."""
        self._running: dict[Hashable, int] = {}
        """How many equal reads have a seat."""
        self._slow: dict[str, None] = {}
        self._lanes: dict[Hashable, Lane] = {}
        self._paces = Paces()
        self._tasks: set[asyncio.Task[None]] = set()
        self._home: list[Seat] | None = None
        """The seats that have come back since the pool began to close."""

    async def fetch(
        self,
        sql: str,
        values: Values,
        share: Hashable | None = None,
        role: str = READER,
        together: Together | None = None,
    ) -> Row:
        """The one row of a statement."""
        if together is not None and self._paces.of(sql) < ALONE_SECONDS:
            return await self._fetch_in_lane(sql, values, share, role, together)
        if self._free and (share is None or sql not in self._slow):
            return (await self._read(self._take(role), sql, values, role))[0]
        return await self._fetch_in_turn(sql, values, key_of(sql, values, share), role)

    # ---- lanes ---------------------------------------------------------------------------------------------------

    async def _fetch_in_lane(self, sql: str, values: Values, share: Hashable, role: str, together: Together) -> Row:
        lane = self._lanes.get(share)
        if lane is None:
            lane = self._lanes[share] = Lane()
        if lane.running < AT_ONCE:
            lane.running += 1
        else:
            found = await self._wait_in_lane(lane, values, share, role, sql, together)
            if found is not None:
                return found
        try:
            return (await self._read(await self._seat(role), sql, values, role))[0]
        finally:
            self._go_on(lane, share, role, sql, together)

    async def _wait_in_lane(
        self, lane: Lane, values: Values, share: Hashable, role: str, sql: str, together: Together
    ) -> Row | None:
        """The row that a statement for several found; None where the read has a place in the lane for itself."""
        if self._lined >= self._most:
            raise Overloaded
        self._lined += 1
        mine = Waiting(values)
        lane.waiting.append(mine)
        try:
            return await mine.told
        except asyncio.CancelledError:
            batch = mine.batch
            if batch is not None:
                if batch.task is not None and all(one.told.done() for one in batch.reads):
                    batch.task.cancel()
            elif mine in lane.waiting:
                lane.waiting.remove(mine)
                self._lined -= 1
            elif not mine.told.cancelled():
                # It was its turn in this moment.
                self._go_on(lane, share, role, sql, together)
            raise

    def _go_on(self, lane: Lane, share: Hashable, role: str, sql: str, together: Together) -> None:
        """A statement of a lane has ended: those who wait are next."""
        self._lined -= lane.drop_cancelled()
        if len(lane.waiting) > 1:
            self._task(self._read_together(lane, share, role, sql, together))
        elif lane.waiting:
            self._lined -= 1
            lane.waiting.popleft().told.set_result(None)
        else:
            lane.running -= 1
            if not lane.running and self._lanes.get(share) is lane:
                del self._lanes[share]

    async def _read_together(self, lane: Lane, share: Hashable, role: str, sql: str, together: Together) -> None:
        alone = list[Waiting]()
        try:
            error: Exception | None = None
            try:
                seat = await self._seat(role)
            except Unavailable as gone:
                error = gone
            # Who came while a connection was waited for comes along.
            self._lined -= lane.drop_cancelled()
            batch = lane.take(self._paces.lots(sql), together)
            self._lined -= len(batch.reads)
            if error is not None:
                _fail(batch.reads, error)
                return
            lots = batch.lots
            if not lots:
                self._give(seat)
                return
            batch.task = asyncio.current_task()
            try:
                batch.tell(
                    await self._read(seat, sql, lots[0], role)
                    if len(lots) == 1
                    else await self._read(seat, together.sql, together.values(lots), role, of=sql, lots=len(lots))
                )
            except Unavailable as unavailable:
                _fail(batch.reads, unavailable)
            except Exception as refused:  # noqa: BLE001 - whatever it is, it is the callers'
                if len(lots) == 1:
                    _fail(batch.reads, refused)
                else:
                    alone = batch.reads
        finally:
            for one in alone:
                # What is refused for the values of one of them is refused for nobody else's.
                if not one.told.done():
                    one.batch = Batch(together, 1)
                    one.batch.takes(one)
                    one.batch.task = self._task(self._read_alone(one, sql, role))
            self._go_on(lane, share, role, sql, together)

    async def _read_alone(self, read: Waiting, sql: str, role: str) -> None:
        try:
            (row,) = await self._read(await self._seat(role), sql, read.values, role)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            _fail([read], error)
        else:
            if not read.told.done():
                read.told.set_result(row)

    async def _seat(self, role: str) -> Seat:
        """A seat for whoever reads alone, when it is their turn."""
        if self._free:
            return self._take(role)
        if self._home is not None:
            raise Unavailable(GONE)
        read = self._line_up(_Lined("", (), None, role, held=False))
        mine = read.add_caller()
        try:
            found: Seat = await mine
        except asyncio.CancelledError:
            self._leave(read, mine)
            raise
        return found

    # ---- the line ------------------------------------------------------------------------------------------------

    def _take(self, role: str) -> Seat:
        """A free seat, one in that role if there is one."""
        for at in range(len(self._free) - 1, -1, -1):
            if self._free[at].role == role:
                return self._free.pop(at)
        return self._free.pop()

    async def _fetch_in_turn(self, sql: str, values: Values, key: Hashable | None, role: str) -> Row:
        if self._home is not None:
            raise Unavailable(GONE)
        read = None if key is None else self._equal.get(key)
        if read is None:
            held = key in self._running
            if self._free and not held:
                self._begin(key)
                return (await self._read(self._take(role), sql, values, role, key))[0]
            read = self._line_up(_Lined(sql, values, key, role, held=held))
        mine = read.add_caller()
        try:
            found = await mine
        except asyncio.CancelledError:
            self._leave(read, mine)
            raise
        return (await self._read(found, sql, values, role, key))[0] if isinstance(found, Seat) else found

    def _line_up(self, read: _Lined) -> _Lined:
        if self._lined >= self._most:
            raise Overloaded
        self._lined += 1
        if read.key is not None:
            self._equal[read.key] = read
        if not read.held:
            self._line.append(read)
        return read

    def _out_of_line(self, read: _Lined) -> None:
        self._lined -= 1
        read.held = False
        if read.key is not None:
            del self._equal[read.key]

    def _leave(self, read: _Lined, mine: asyncio.Future[Any]) -> None:
        """A caller is gone: what nobody wants any more is taken out of the line, or stopped."""
        read.callers.remove(mine)
        if not mine.cancelled() and mine.exception() is None and isinstance(mine.result(), Seat):
            self._end(read.key)
            self._give(mine.result())
        elif not read.callers and read.task is not None:
            if read.begun:
                read.task.cancel()
        elif not read.callers and (read.held or read in self._line):
            if not read.held:
                self._line.remove(read)
            self._out_of_line(read)

    def _give(self, seat: Seat) -> None:
        """Give a seat to the read whose turn it is; one with several callers goes on as a task of its own."""
        while self._line:
            read = self._next(seat.role)
            self._out_of_line(read)
            if read.wanted:
                self._begin(read.key)
                if len(read.callers) == 1:
                    read.callers[0].set_result(seat)
                else:
                    read.task = self._task(self._read_for_all(read, seat))
                return
        (self._free if self._home is None else self._home).append(seat)

    def _next(self, role: str) -> _Lined:
        """Take out of the line the read that has waited longest, or one of the first for which the seat is in the right role."""
        head = self._line[0]
        if head.role != role and head.passed < PASSED:
            for read in islice(self._line, 1, AHEAD):
                if read.role == role:
                    head.passed += 1
                    self._line.remove(read)
                    return read
        return self._line.popleft()

    async def _read_for_all(self, read: _Lined, seat: Seat) -> None:
        if not read.wanted:
            self._end(read.key)
            self._give(seat)
            return
        read.begun = True
        try:
            read.tell((await self._read(seat, read.sql, read.values, read.role, read.key))[0])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers'
            read.tell(error)

    async def _read(
        self,
        seat: Seat,
        sql: str,
        values: Values,
        role: str,
        key: Hashable | None = None,
        *,
        of: str | None = None,
        lots: int = 1,
    ) -> list[Row]:
        """The rows of a statement; `of` is the one for which it answers so many reads."""
        began, over, known = time.perf_counter(), True, seat.knows(sql, role)
        try:
            return await seat.fetch(sql, values, role)
        except (asyncio.CancelledError, TimeoutError) as error:
            over = False
            if isinstance(error, TimeoutError):
                raise Unavailable(TOO_SLOW) from error
            raise
        except asyncpg.QueryCanceledError as error:
            raise Unavailable(TOO_SLOW) from error
        except DRIVER_ERRORS as error:
            text = seat.outage(error)
            if text is None:
                raise
            raise Unavailable(text) from error
        finally:
            seconds = time.perf_counter() - began
            self._learn(sql, key, seconds)
            if known:
                self._paces.learn(of or sql, seconds / lots)
            if key is not None:
                self._end(key)
            if over:
                self._give(seat)
            else:
                self._task(self._settle(seat))

    def _learn(self, sql: str, key: Hashable | None, seconds: float) -> None:
        """Remember whether a statement is slow."""
        if seconds >= SLOW_SECONDS:
            self._slow[sql] = None
            if len(self._slow) > SLOW_KEPT:
                del self._slow[next(iter(self._slow))]
        elif key is not None and seconds < FAST_SECONDS:
            self._slow.pop(sql, None)

    def _begin(self, key: Hashable | None) -> None:
        if key is not None:
            self._running[key] = self._running.get(key, 0) + 1

    def _end(self, key: Hashable | None) -> None:
        """Let the read go that was held until now: the last equal one that ran has ended."""
        if key is None:
            return
        left = self._running.pop(key) - 1
        if left:
            self._running[key] = left
            return
        held = self._equal.get(key)
        if held is not None and held.held:
            held.held = False
            self._line.append(held)
            if self._free:
                self._give(self._free.pop())

    async def _settle(self, seat: Seat) -> None:
        try:
            await seat.settle()
        finally:
            self._give(seat)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Turn away who waits, let what runs end or stop it, and close every connection."""
        if self._home is not None:
            return
        self._free, self._home = [], self._free
        for read in {*self._line, *self._equal.values()}:
            read.tell(Unavailable(GONE))
        for lane in self._lanes.values():
            _fail(lane.waiting, Unavailable(GONE))
            lane.waiting.clear()
        with suppress(TimeoutError):
            await self._all_home()
        for seat in self._seats:
            if seat not in self._home:
                seat.terminate()
        with suppress(TimeoutError):
            await self._all_home()
        await asyncio.gather(*(seat.close() for seat in self._seats))

    async def _all_home(self) -> None:
        async with asyncio.timeout(GRACE_SECONDS):
            while self._home is None or len(self._home) < len(self._seats):  # noqa: ASYNC110 - once, at the end
                await asyncio.sleep(0.01)


def _fail(reads: Iterable[Waiting], error: Exception) -> None:
    for one in reads:
        if not one.told.done():
            one.told.set_exception(error)
