"""What a request leaves to be done a moment later, together with what others leave: one by one nothing of it is in a cache."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PAUSE_SECONDS = 0.05


class Later:
    """Calls that wait to be made, in order; `finish` is called after some were."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.finish: Callable[[], None] = lambda: None

    def add(self, call: Callable[..., object], *values: Any) -> None:
        """Have a call made soon; it must be quick and raise nothing."""
        self._calls.append((call, values))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self.settle)

    def settle(self) -> None:
        """Make every call that waits, from whatever thread."""
        self._timer = None
        with suppress(IndexError):
            while True:
                call, values = self._calls.popleft()
                call(*values)
        self.finish()


later = Later()
"""Of the whole process, like logs and measures themselves."""
