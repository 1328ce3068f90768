"""Durable jobs on DBOS: whatever waits, repeats or is tried again is a row in the database before it is done."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from typing import Any, ClassVar

from dbos import DBOS, DBOSConfig
from sqlalchemy import make_url

from api.jobs.kinds import KINDS, LONG, QUICK, Kind, Tools
from api.settings import Settings
from domain.kernel import Database, new_id
from domain.kernel.executors import BEAT_SECONDS, beat, leave, living, silent

log = logging.getLogger("sortie.jobs")

APPLICATION, VERSION = "sortie", "1"
"""The version changes only where jobs that have begun cannot go on with the new code: DBOS leaves those of another version alone."""
SCHEMA = "jobs"
POLL_SECONDS = 0.5
"""How often queues are looked at: timers are as late at most."""
ATTEMPTS, PAUSE_SECONDS = 5, 1.0
"""How often a job's work is tried, and the first pause between; each is twice the one before."""
LONG_AT_ONCE = 1
LOCK = "jobs of silent executors"


def system_url(settings: Settings) -> str:
    """Where the jobs are kept: in the installation's PostgreSQL, or beside its SQLite file."""
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{settings.home / 'jobs.db'}"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


class Engine:
    """The jobs of one process; there is one engine a process."""

    _tools: ClassVar[Tools | None] = None

    def __init__(self, tools: Tools, settings: Settings) -> None:
        self._settings = settings
        self._database: Database = tools.database
        self.id = f"{socket.gethostname()}-{os.getpid()}-{new_id().hex[-8:]}"
        Engine._tools = tools

    async def start(self) -> None:
        """Begin to take jobs; those that ended with a process before go on."""
        await beat(self._database, self.id)
        # It stays with the loop in which it is launched, where the jobs' work has its connections.
        DBOS(config=self._config())
        for kind in KINDS:
            _register(kind)
        DBOS.launch()
        await DBOS.register_queue_async(QUICK, polling_interval_sec=POLL_SECONDS)
        await DBOS.register_queue_async(LONG, global_concurrency=LONG_AT_ONCE, polling_interval_sec=POLL_SECONDS)
        await DBOS.apply_schedules_async(
            [
                {"schedule_name": kind.name, "workflow_fn": _SCHEDULED[kind.name], "schedule": kind.cron, "queue_name": kind.queue}
                for kind in KINDS
                if kind.cron is not None
            ]
        )  # fmt: skip

    def _config(self) -> DBOSConfig:
        return {
            "name": APPLICATION,
            "system_database_url": system_url(self._settings),
            "dbos_system_schema": SCHEMA,
            "executor_id": self.id,
            "application_version": VERSION,
            "log_level": "WARNING",
            "enable_otlp": False,
            "sys_db_pool_size": 5,
        }

    async def stop(self) -> None:
        """Take no more jobs; those under way are another's, or the next start's."""
        await asyncio.to_thread(DBOS.destroy)
        await leave(self._database, [self.id])

    async def begin(self, kind: Kind, body: Mapping[str, Any], id: str, seconds: float = 0.0) -> None:
        """Have a job done, so many seconds from now; one with the same id is begun once."""
        options: Any = {"workflow_name": kind.name, "queue_name": kind.queue, "workflow_id": id}
        if seconds > 0:
            options["delay_seconds"] = seconds
        await DBOS.enqueue_workflow_with_options_async(options, dict(body))

    async def keep_alive(self) -> None:
        """Say that this executor lives, and take over from those that do not any more."""
        await beat(self._database, self.id)
        dead = set(await silent(self._database))
        pending = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
        left = {one.executor_id for one in pending if one.executor_id is not None}
        dead |= left - await living(self._database) - {self.id}
        if dead:
            await self._take_over(sorted(dead))
