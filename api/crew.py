"""Several processes that serve one port: each is begun anew when it ends, and all end together."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from api.settings import Jobs, Settings
from domain.kernel import Text, Unavailable

log = logging.getLogger("sortie.crew")

SERVE, WORK = "serve", "worker"
SHORT_SECONDS, LONGEST_PAUSE_SECONDS, GRACE_SECONDS = 10.0, 30.0, 30.0
"""A process that ends within the first is begun anew after growing pauses; all have the last to end, beside the draining."""
FEWEST_CONNECTIONS = 3
"""To the database, of one process."""
NOBODY = Text("没有一个进程能够启动，原因见上", "no process came up: the reason stands above")


class Crew:
    """The processes of `sortie serve --workers`: some that serve, and one that does jobs where that is not done elsewhere."""

    def __init__(self, settings: Settings, listener: socket.socket, count: int, ready: Callable[[], None]) -> None:
        self._settings = settings
        self._listener = listener
        self._parts = [SERVE] * count + [WORK] * (settings.jobs is Jobs.INSIDE)
        self._ready = ready
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._ending = asyncio.Event()
        self._up = False

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM.

        Raises Unavailable where no process comes up.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._ending.set)
        told, tell = os.pipe()
        loop.add_reader(told, self._came_up, told)
        members = [asyncio.create_task(self._keep(number, part, tell)) for number, part in enumerate(self._parts)]
        try:
            ended = asyncio.create_task(self._ending.wait())
            await asyncio.wait([ended, *members], return_when=asyncio.FIRST_COMPLETED)
            failed = not ended.done()
            ended.cancel()
            self._ending.set()
            await self._end(members)
            if failed:
                raise Unavailable(NOBODY)
        finally:
            loop.remove_reader(told)
            os.close(told)
            os.close(tell)

    def _came_up(self, told: int) -> None:
        os.read(told, 64)
        if not self._up:
            self._up = True
            self._ready()

    async def _keep(self, number: int, part: str, tell: int) -> None:
        """Begin one process again and again; return where it fails before any has come up."""
        pause = 1.0
        while not self._ending.is_set():
            began = time.monotonic()
            process = self._running[number] = await self._begin(part, tell)
            status = await process.wait()
            if self._ending.is_set() or (part == SERVE and status and not self._up):
                return
            log.warning("process %d (%s) ended with %s and is begun anew", process.pid, part, status)
            pause = 1.0 if time.monotonic() - began > SHORT_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause)

    async def _begin(self, part: str, tell: int) -> asyncio.subprocess.Process:
        fds = (self._listener.fileno(), tell) if part == SERVE else ()
        arguments = ["--listener", str(fds[0]), "--tell", str(fds[1])] if fds else []
        program = [sys.executable, "-c", "from api.cli import main; main()", part, *arguments]
        environment = os.environ | self._environment(part)
        return await asyncio.create_subprocess_exec(
            *program, pass_fds=fds, env=environment, stdin=asyncio.subprocess.DEVNULL
        )

    def _environment(self, part: str) -> dict[str, str]:
        share = max(FEWEST_CONNECTIONS, self._settings.database_connections // len(self._parts))
        apart = {"SORTIE_JOBS": Jobs.APART.value} if part == SERVE else {}
        return apart | {"SORTIE_DATABASE_CONNECTIONS": str(share)}

    async def _end(self, members: list[asyncio.Task[None]]) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.terminate()
        _, late = await asyncio.wait(members, timeout=GRACE_SECONDS + self._settings.drain_seconds)
        for process in self._running.values() if late else ():
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*members, return_exceptions=True)
