"""One connection that hears and tells what commits of every process changed, and comes back when it was cut."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

from domain.kernel.changes import CHANNEL, EVERYTHING, ChangeKind, together

logger = logging.getLogger(__name__)

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
CONNECT_SECONDS = 10
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0
GATHER_SECONDS = 0.01
"""For how long news is gathered: PostgreSQL lets one transaction that notifies commit at a time, so few should."""
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 10.0
MOST_UNTOLD = 10_000

NAME = "sortie live"
TELL = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
FELLOWS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"


class Listener:
    """The connection of one process for live updates: payloads are handed on as they come, and told soon after they are given.

    `begun` is called whenever something may have been missed: when listening begins, and when another process has ended,
    which may have taken untold news with it.
    """

    def __init__(self, url: str, hear: Callable[[str], None], begun: Callable[[], None]) -> None:
        parsed = make_url(url)
        self._options: dict[str, Any] = dict(parsed.get_dialect()().create_connect_args(parsed)[1])
        self._hear = hear
        self._begun = begun
        self._untold: list[str] = []
        self._woken = asyncio.Event()
        self._ending = False
        self._fellows: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; a database that cannot be reached now is tried again until it can."""
        self._task = asyncio.create_task(self._keep_listening())

    def tell(self, payload: str) -> None:
        """Tell every process, this one included; what cannot be told now waits, and too much becomes one resync."""
        self._untold.append(payload)
        if len(self._untold) > MOST_UNTOLD:
            self._untold = [f"{EVERYTHING} {ChangeKind.RESYNC.value}"]
        self._woken.set()

    async def stop(self) -> None:
        """Tell what is untold where that can be, end, and give the connection back."""
        if self._task is not None:
            self._ending = True
            self._woken.set()
            await asyncio.wait([self._task], timeout=1)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep_listening(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._ending:
            try:
                connection = await asyncpg.connect(
                    **self._options, timeout=CONNECT_SECONDS, server_settings={"application_name": NAME}
                )
            except FAILURES as error:
                logger.warning("live updates: no connection (%s), again in %.1f s", type(error).__name__, pause)
            else:
                if await self._serve(connection):
                    pause = FIRST_PAUSE_SECONDS
            if not self._ending:
                await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _serve(self, connection: Any) -> bool:
        """Hear and tell until the connection is cut; whether it ever listened."""
        listened = False
        connection.add_termination_listener(lambda _connection: self._woken.set())
        try:
            await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: self._hear(payload))
            listened, self._fellows = True, set()
            self._begun()
            self._woken.set()
            await self._converse(connection)
        except FAILURES as error:
            logger.warning("live updates: the connection broke (%s)", type(error).__name__)
        finally:
            connection.terminate()
        return listened

    async def _converse(self, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while not connection.is_closed():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(look_at):
                    await self._woken.wait()
                    await asyncio.sleep(GATHER_SECONDS)
            self._woken.clear()
            if self._untold:
                await self._send(connection)
            if self._ending:
                return
            if loop.time() >= look_at:
                await self._look(connection)
                look_at = loop.time() + LOOK_SECONDS

    async def _send(self, connection: Any) -> None:
        news, self._untold = self._untold, []
        try:
            await connection.execute(TELL, CHANNEL, together(news), timeout=ANSWER_SECONDS)
        except FAILURES:
            self._untold = news + self._untold
            raise

    async def _look(self, connection: Any) -> None:
        """Look whether another process that tells has ended; it proves the connection, too."""
        fellows = {row["pid"] for row in await connection.fetch(FELLOWS, NAME, timeout=ANSWER_SECONDS)}
        if self._fellows - fellows:
            self._begun()
        self._fellows = fellows
