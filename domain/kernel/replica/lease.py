"""What a replica is known to have, and until when it may answer for that: decisions on positions and instants alone.

Each process asks the primary how far it has written, waits until the replica has replayed that, and may then read from it
for `LEASE_SECONDS`, counted from the question. A commit is told to nobody before the replica has it, or every lease that was
asked for before it has ended. See docs/decisions/0019.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

LEASE_SECONDS = 1.0
OVER_SECONDS = 1.1 * LEASE_SECONDS
"""After so long no lease is left of those that were asked for before: no two machines' seconds are quite the same."""
CALM_SECONDS, LONGEST_CALM_SECONDS = 2.0, 60.0
"""How long a replica keeps up before it is let in again; twice as long each time that it did not last."""
MOST = 64

Waiter = asyncio.Future[None]


@dataclass(slots=True)
class Asked:
    """How far the primary had written at an instant, with the commits before it that wait."""

    at: float
    position: int
    waiting: list[Waiter]


class Lease:
    """What one process knows of a replica; every instant is its own monotonic clock's.

    `turn` is the installation's: while it is odd the replica is barred, and nobody grants a lease.
    """

    def __init__(self, lag_seconds: float) -> None:
        self.until = float("-inf")
        self.turn: int | None = None
        self.lag_seconds = 0.0
        """How long the replica last took to have what the primary had, or has taken by now."""
        self._most_lag_seconds = lag_seconds
        self._behind: deque[Asked] = deque()
        self._since = float("-inf")
        self._free_at: float | None = None
        self._calm_since: float | None = None
        self._calm_seconds = CALM_SECONDS
        self._lifted_at = float("-inf")

    @property
    def barred(self) -> bool:
        """Whether nobody reads from the replica."""
        return self.turn is not None and self.turn % 2 == 1

    @property
    def behind(self) -> bool:
        """Whether the replica is not known to have everything that was asked for."""
        return bool(self._behind)

    @property
    def awaited(self) -> bool:
        """Whether a commit waits for it."""
        return any(not waiter.done() for one in self._behind for waiter in one.waiting)

    def told(self, at: float, position: int, turn: int, waiting: Iterable[Waiter]) -> None:
        """The primary's answer to a question asked at an instant, after all commits that wait."""
        if turn != self.turn:
            self._turned(at, turn)
        if len(self._behind) < MOST:
            self._behind.append(Asked(at, position, list(waiting)))
        else:
            last = self._behind[-1]
            last.at, last.position = at, position
            last.waiting += waiting

    def _turned(self, at: float, turn: int) -> None:
        first, self.turn = self.turn is None, turn
        self._calm_since = self._free_at = None
        if not self.barred:
            if not first:
                self._lifted_at = at
            return
        # Since this question none was granted. One that is, when the bar is lifted, is asked for after what waits until then.
        self.until, self._free_at = float("-inf"), at + OVER_SECONDS
        soon = at - self._lifted_at < LONGEST_CALM_SECONDS
        self._calm_seconds = min(2 * self._calm_seconds, LONGEST_CALM_SECONDS) if soon else CALM_SECONDS

    def reached(self, now: float, position: int | None) -> None:
        """How far the replica has replayed by now; None where it does not say."""
        while self._behind and position is not None and self._behind[0].position <= position:
            self._has(now, self._behind.popleft())
        if self._behind:
            self.lag_seconds = now - self._behind[0].at
            if self.lag_seconds > self._most_lag_seconds:
                self._calm_since = None
        if self._free_at is not None and now >= self._free_at:
            for one in self._behind:
                _release(one.waiting)

    def _has(self, now: float, one: Asked) -> None:
        _release(one.waiting)
        self.lag_seconds = now - one.at
        if self.lag_seconds > self._most_lag_seconds:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        if not self.barred and one.at >= self._since:
            self.until = max(self.until, one.at + LEASE_SECONDS)

    def end(self, now: float) -> None:
        """Give the lease back: what was asked for before this instant renews it no more."""
        self.until, self._since = float("-inf"), now

    @property
    def late(self) -> bool:
        """Whether the replica is barred or too far behind."""
        return self.barred or self.lag_seconds > self._most_lag_seconds

    def must_bar(self, now: float) -> bool:
        """Whether a commit has waited for so long that the replica is to be barred."""
        return not self.barred and any(one.waiting and now - one.at > self._most_lag_seconds for one in self._behind)

    def may_lift(self, now: float) -> bool:
        """Whether a barred replica has kept up for long enough."""
        return self.barred and self._calm_since is not None and now - self._calm_since >= self._calm_seconds


def _release(waiting: list[Waiter]) -> None:
    for waiter in waiting:
        if not waiter.done():
            waiter.set_result(None)
    waiting.clear()
