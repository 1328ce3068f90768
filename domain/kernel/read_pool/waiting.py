"""What both pools have in common: their face, and reads that wait with all who asked for the same."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from domain.kernel.errors import Text, Unavailable
from domain.kernel.reader import READER

WAITING = 1_000
SECONDS = 10.0
RETRY_SECONDS = 1
GRACE_SECONDS = 2.0
"""What is at work when a pool closes has this long to end by itself."""

Values = tuple[Any, ...]
Row = tuple[Any, ...]

CROWDED = Text("读取请求过多，请稍后重试", "too many reads are waiting: try again shortly")
TOO_SLOW = Text("这次读取超过时限，已中止", "this read took too long and was stopped")


class Overloaded(Unavailable):
    """More reads wait than the pool takes on; it can be asked again in so many seconds."""

    def __init__(self) -> None:
        super().__init__(CROWDED)
        self.retry_after_seconds = RETRY_SECONDS


@dataclass(frozen=True, slots=True)
class Together:
    """One statement that answers several reads of another: a row for each, in their order."""

    sql: str
    shared: tuple[int, ...]
    """Which of the other's values are the same in all of them; they come first."""
    own: tuple[int, ...]
    """Which each has of its own; they come as lists."""

    def values(self, lots: Sequence[Values]) -> Values:
        """The statement's values for reads with these."""
        first = lots[0]
        return (*(first[at] for at in self.shared), *([one[at] for one in lots] for at in self.own))

    def own_of(self, values: Values) -> Hashable:
        """What reads have in common whose rows are the same."""
        return repr([values[at] for at in self.own])


class ReadPool(Protocol):
    """Whoever has single statements read."""

    async def fetch(
        self,
        sql: str,
        values: Values,
        share: Hashable | None = None,
        role: str = READER,
        together: Together | None = None,
    ) -> Row:
        """The one row of a statement, its values in the driver's own forms and in the order of their places; text is UTF-8.

        `role` is the readers' role of PostgreSQL that reads; the same `share` always comes with the same one.
        A read that still waits takes along others with the same statement, values and `share`; one that has begun never
        does. With `together` reads of the same `share` that wait may be answered by that statement, whatever their own
        values are: whoever gives it answers for it that the shared ones are equal. Raises Overloaded, Unavailable for a database that is gone or a statement that takes too long, and the
        driver's own errors for a statement that it does not take.
        """
        ...

    async def close(self) -> None:
        """Give everything back; whoever still waits is told that the database is gone."""
        ...


class Read:
    """One read that waits or is at work, with the callers who want its answer."""

    __slots__ = ("callers", "key", "role", "sql", "values")

    def __init__(self, sql: str, values: Values, key: Hashable | None, role: str = READER) -> None:
        self.sql = sql
        self.values = values
        self.role = role
        self.key = key
        self.callers: list[asyncio.Future[Any]] = []

    def add_caller(self) -> asyncio.Future[Any]:
        """One more caller, who waits for what comes of it."""
        caller: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.callers.append(caller)
        return caller

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return any(not caller.done() for caller in self.callers)

    def tell(self, found: Any) -> None:
        """Give its row or its error to everybody who still waits."""
        for caller in self.callers:
            if not caller.done():
                if isinstance(found, Exception):
                    caller.set_exception(found)
                else:
                    caller.set_result(found)


def key_of(sql: str, values: Values, share: Hashable | None) -> Hashable | None:
    """What equal reads have in common; None for a read that is nobody else's.

    The values are compared as they are written: 1, 1.0 and True are equal in Python and not in SQL.
    """
    return None if share is None else (share, sql, repr(values))
