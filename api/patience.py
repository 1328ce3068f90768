"""The time that a request is given: what is done for it stops when that is up, or when its client has gone."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from api.bodies import CLOSE, TOO_SLOW, Refused
from api.context import Context
from domain.kernel import ErrorCode, Text

LOOK_SECONDS = 0.05
"""When somebody first looks whether a client still waits: most requests are answered by then, and pay for one timer alone."""
TOO_LATE = Text("操作超过 {seconds:g} 秒，已中止", "the operation took longer than {seconds:g} seconds and was stopped")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Patience:
    """One request under way: first its body has a time, then its operation.

    Leaving the block raises Refused (408, 504) where a time was up, and ClientGone where a query's client had gone. What
    changes something is brought to its end whether or not somebody waits for it.
    """

    def __init__(self, receive: Receive, body_seconds: float) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._ends: float | None = self._loop.time() + body_seconds
        self._context: Context | None = None
        self._looked = False
        self._leaving: asyncio.Task[None] | None = None
        self._why: Exception | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - whatever awaits runs in one
        self._task, self._cancelling = task, task.cancelling()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(LOOK_SECONDS, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._leaving is not None:
            self._leaving.cancel()
        if self._context is not None:
            # A circle would stay in memory until the garbage collector comes, which then comes often.
            self._context.timer = None
        if self._why is not None and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._why from error

    def serve(self, context: Context) -> None:
        """Begin the operation, which has the time that its caller's limits give it."""
        self._context = context
        context.timer = self
        now, seconds = self._loop.time(), context.limits.seconds
        self._ends = now + seconds
        if self._looked or seconds < LOOK_SECONDS:
            self._arm(now + min(seconds, LOOK_SECONDS))

    def when(self) -> float | None:
        """When the time is up, by the loop's clock."""
        return self._ends

    def reschedule(self, when: float | None) -> None:
        """Give another time, or one without end."""
        self._ends = when
        if self._looked:
            self._arm(when)

    def _arm(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._looked = True
        if self._ends is not None and self._loop.time() >= self._ends:
            self._stop(self._too_late())
            return
        if self._context is not None and self._leaving is None:
            self._leaving = asyncio.ensure_future(self._leave())
        self._arm(self._ends)

    def _too_late(self) -> Refused:
        if self._context is None:
            return Refused(408, ErrorCode.INVALID, TOO_SLOW, CLOSE)
        return Refused(504, ErrorCode.UNAVAILABLE, too_late(self._context))

    async def _leave(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._context is None or not self._context.changes:
            self._stop(ClientGone())

    def _stop(self, why: Exception) -> None:
        if self._why is None:
            self._why = why
            self._task.cancel()


def too_late(context: Context) -> Text:
    """What is said of an operation whose time was up."""
    seconds = context.limits.seconds
    return Text(TOO_LATE.zh.format(seconds=seconds), TOO_LATE.en.format(seconds=seconds))
