"""How often somebody may ask: requests a minute and answers an hour, counted at every door."""

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from uuid import UUID

from api.settings import Settings
from domain.kernel import Actor, RateLimited, Text

ANONYMOUS_SHARE = 10
"""An address without a token may ask a tenth as often as a user: behind one address there may be an office."""

TOO_MANY = Text("请求过于频繁，请在 {seconds} 秒后重试", "too many requests: try again in {seconds} seconds")
TOO_MANY_ANSWERS = Text(
    "本小时生成次数已用完，请在 {seconds} 秒后重试", "too many answers this hour: try again in {seconds} seconds"
)


@dataclass(slots=True)
class _Count:
    started: float
    before: int = 0
    now: int = 0


class SlidingWindow:
    """How often each name came in the last so many seconds; of the window before, the part that still overlaps counts.

    The approximation is the one of Cloudflare's "counting things" (2017): two numbers a name instead of a time for each hit.
    """

    def __init__(self, most: int, seconds: float, timer: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._timer = timer
        self._counts: dict[Hashable, _Count] = {}
        self._sweep_at = timer() + seconds

    def __len__(self) -> int:
        return len(self._counts)

    def hit(self, name: Hashable) -> float | None:
        """Count one more; where that is too many count nothing, and return the seconds to wait."""
        now = self._timer()
        if now >= self._sweep_at:
            self._sweep(now)
        count = self._counts.get(name)
        if count is None:
            count = self._counts[name] = _Count(now)
        passed = now - count.started
        if passed >= self._seconds:
            # After two windows nothing overlaps any more.
            recent = passed < 2 * self._seconds
            count.started = count.started + self._seconds if recent else now
            count.before, count.now = (count.now if recent else 0), 0
            passed = now - count.started
        overlap = 1 - passed / self._seconds
        if math.floor(count.before * overlap) + count.now < self._most:
            count.now += 1
            return None
        return self._wait(count, passed)

    def _wait(self, count: _Count, passed: float) -> float:
        """Until as much of the window before has passed as one more needs, but never more than one window."""
        if count.now < self._most:
            return self._seconds * (1 - (self._most - count.now) / count.before) - passed
        return self._seconds - passed

    def _sweep(self, now: float) -> None:
        """Forget who has not come for two windows."""
        self._sweep_at = now + self._seconds
        for name in [name for name, count in self._counts.items() if now - count.started >= 2 * self._seconds]:
            del self._counts[name]


class Rates:
    """The counters of one process; users are told apart by id, callers without a token by address."""

    def __init__(self, settings: Settings) -> None:
        self._requests = SlidingWindow(settings.request_rate, 60)
        self._anonymous = SlidingWindow(max(1, settings.request_rate // ANONYMOUS_SHARE), 60)
        self._answers = SlidingWindow(settings.answer_rate, 3_600)
        self._content = SlidingWindow(settings.content_per_minute, 60)

    def count_request(self, actor: Actor | None, address: str) -> None:
        """Count one operation.

        Raises RateLimited when the caller has used their minute up.
        """
        if actor is None:
            _count(self._anonymous, address, TOO_MANY)
        else:
            _count(self._requests, actor.user_id, TOO_MANY)

    def count_refusal(self, address: str) -> None:
        """Count one request whose token was refused: guessing is held to the rate of strangers.

        Raises RateLimited when the address has used its minute up.
        """
        _count(self._anonymous, address, TOO_MANY)

    def count_content(self, key_id: UUID) -> None:
        """Count one request of a customer's system.

        Raises RateLimited when the key has used its minute up.
        """
        _count(self._content, key_id, TOO_MANY)

    def count_answer(self, actor: Actor) -> None:
        """Count one answer that is asked for.

        Raises RateLimited when the user has used their hour up.
        """
        _count(self._answers, actor.user_id, TOO_MANY_ANSWERS)


def _count(window: SlidingWindow, name: Hashable, text: Text) -> None:
    wait = window.hit(name)
    if wait is not None:
        seconds = max(1, math.ceil(wait))
        raise RateLimited(Text(text.zh.format(seconds=seconds), text.en.format(seconds=seconds)), seconds)
