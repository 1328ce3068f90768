"""One connection that listens to what commits of every process tell, and comes back when it was cut."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

from domain.kernel.changes import CHANNEL

logger = logging.getLogger(__name__)

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
CONNECT_SECONDS = 10
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0
PROOF_SECONDS = 30.0
"""How often a silent connection is asked whether it still is one, and how long it may take to answer."""


class Listener:
    """The listening connection of one process: payloads are handed on as they come.

    `begun` is called whenever listening begins, for what was told before has not been heard.
    """

    def __init__(self, url: str, hear: Callable[[str], None], begun: Callable[[], None]) -> None:
        parsed = make_url(url)
        self._options: dict[str, Any] = dict(parsed.get_dialect()().create_connect_args(parsed)[1])
        self._hear = hear
        self._begun = begun
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; a database that cannot be reached now is tried again until it can."""
        self._task = asyncio.create_task(self._keep_listening())

    async def stop(self) -> None:
        """End, and give the connection back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep_listening(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                connection = await asyncpg.connect(**self._options, timeout=CONNECT_SECONDS)
            except FAILURES as error:
                logger.warning("live updates: no connection (%s), again in %.1f s", type(error).__name__, pause)
            else:
                if await self._listen(connection):
                    pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _listen(self, connection: Any) -> bool:
        """Listen until the connection is cut; whether it ever listened."""
        cut, listened = asyncio.Event(), False
        connection.add_termination_listener(lambda _connection: cut.set())
        try:
            await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: self._hear(payload))
            listened = True
            self._begun()
            while not cut.is_set():
                try:
                    await asyncio.wait_for(cut.wait(), PROOF_SECONDS)
                except TimeoutError:
                    await connection.execute("", timeout=PROOF_SECONDS)
        except FAILURES as error:
            logger.warning("live updates: the connection broke (%s)", type(error).__name__)
        finally:
            connection.terminate()
        return listened
