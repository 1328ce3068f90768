"""Reads of one statement that one reader asks at the same time: a few run, the others wait and are asked as one.

PostgreSQL begins a statement, and finds out who reads, once for all of them: of a read of one record that is most of the work.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Any

from domain.kernel.read_pool.waiting import Row, Together, Values

AT_ONCE = 2
"""Statements of one lane that run at once: while one is worked on, the next is on its way."""
LOTS, SECONDS = 16, 0.02
"""How many reads are asked as one at most, and how long that should take at most."""
ALONE_SECONDS = 0.01
"""A statement that takes as long goes alone."""
KEPT = 1_000


class Waiting:
    """A read that waits in its lane."""

    __slots__ = ("batch", "told", "values")

    def __init__(self, values: Values) -> None:
        self.values = values
        self.told: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        """Its row; None where it is to ask for itself."""
        self.batch: Batch | None = None


class Batch:
    """Reads that are asked as one, equal ones once."""

    def __init__(self, together: Together, most: int) -> None:
        self.reads: list[Waiting] = []
        self.lots: list[Values] = []
        """The values of each that is asked."""
        self.task: asyncio.Task[Any] | None = None
        self._together = together
        self._most = most
        self._at: dict[Hashable, int] = {}
        self._places: list[int] = []

    def takes(self, read: Waiting) -> bool:
        """Take a read along where an equal one is in it or there is room."""
        own = self._together.own_of(read.values)
        if own not in self._at:
            if len(self.lots) == self._most:
                return False
            self._at[own] = len(self.lots)
            self.lots.append(read.values)
        self.reads.append(read)
        self._places.append(self._at[own])
        read.batch = self
        return True

    def tell(self, rows: list[Row]) -> None:
        """Give everybody who still waits their row."""
        for place, one in zip(self._places, self.reads, strict=True):
            if not one.told.done():
                one.told.set_result(rows[place])


class Lane:
    """The reads of one statement by one reader."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        """How many statements are asked, or wait for a connection."""
        self.waiting: deque[Waiting] = deque()

    def drop_cancelled(self) -> int:
        """Forget the reads that nobody wants any more; how many they were."""
        before = len(self.waiting)
        if any(one.told.done() for one in self.waiting):
            self.waiting = deque(one for one in self.waiting if not one.told.done())
        return before - len(self.waiting)

    def take(self, most: int, together: Together) -> Batch:
        """The reads that have waited longest, as one; so many different ones at most."""
        batch = Batch(together, most)
        self.waiting = deque(one for one in self.waiting if not batch.takes(one))
        return batch


class Paces:
    """How long a read of each statement takes of late, in seconds."""

    def __init__(self) -> None:
        self._paces: dict[str, float] = {}

    def of(self, sql: str) -> float:
        """Its pace; nothing for a statement that was not asked yet."""
        return self._paces.get(sql, 0.0)

    def learn(self, sql: str, seconds: float) -> None:
        """One more read took so long."""
        known = self._paces.get(sql)
        self._paces[sql] = seconds if known is None else known + (seconds - known) / 4
        if len(self._paces) > KEPT:
            del self._paces[next(iter(self._paces))]

    def lots(self, sql: str) -> int:
        """How many reads of a statement may be asked as one."""
        return max(1, min(LOTS, int(SECONDS / max(self.of(sql), 1e-6))))
