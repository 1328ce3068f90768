"""Durable jobs on DBOS: whatever waits, repeats or is tried again is a row in a database before it is done."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, ClassVar

from dbos import DBOS, DBOSConfig
from sqlalchemy import func, make_url, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api.jobs.kinds import KINDS, QUICK, Kind, Tools
from api.settings import Settings
from domain.kernel import SYSTEM, new_id
from domain.kernel.executors import beat, leave, living

log = logging.getLogger("sortie.jobs")

APPLICATION, VERSION = "sortie", "1"
"""The version changes only where jobs that have begun cannot go on with newer code: DBOS leaves those of another version alone."""
SCHEMA = "jobs"
TABLES_LOCK, TURN_SECONDS = 0x534F524A, 0.2
"""Who makes the tables, and how often others look whether that is done."""
POLL_SECONDS = 0.5
"""How often the queues are looked at."""
THREADS = 16
GRACE_SECONDS = 5
"""What is under way when the process ends has this long to end by itself."""
ATTEMPTS, PAUSE_SECONDS = 9, 1.0
"""How often a job's work is tried, and the first pause between; each is twice the one before: 4 minutes in all, which a
database takes to come back or to be replaced."""


def jobs_url(settings: Settings) -> str:
    """Where the jobs are kept: in the installation's PostgreSQL, or beside its SQLite file."""
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{settings.home / 'jobs.db'}"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


async def ensure_tables(settings: Settings) -> None:
    """Have the tables of jobs on PostgreSQL; of processes that come at the same time one makes them."""
    engine = create_async_engine(settings.database, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            # Whoever waits for a lock is in a transaction, for whose end the first indexes would wait.
            while not await connection.scalar(select(func.pg_try_advisory_lock(TABLES_LOCK))):  # noqa: ASYNC110 - another process
                await asyncio.sleep(TURN_SECONDS)
            await asyncio.to_thread(DBOS.migrate, jobs_url(settings), schema=SCHEMA)
    finally:
        await engine.dispose()


class Engine:
    """The jobs of this process; there is one engine a process, since DBOS is one."""

    tools: ClassVar[Tools | None] = None

    def __init__(self, tools: Tools) -> None:
        self._settings = tools.settings
        self._database = tools.database
        self.id = f"{socket.gethostname()}-{os.getpid()}-{new_id().hex[-8:]}"
        Engine.tools = tools
        self._not_begun: set[str] = set()

    async def start(self) -> None:
        """Begin to take jobs."""
        if self._settings.embedded:
            # Nobody else has this file, so whoever had it before is gone.
            await leave(self._database, None)
        else:
            await ensure_tables(self._settings)
        await beat(self._database, self.id)
        # Launched inside the loop, DBOS runs the jobs in it, where the database has its connections.
        DBOS(config=self._config())
        for kind in KINDS:
            _register(kind)
        DBOS.launch()
        await DBOS.register_queue_async(QUICK, polling_interval_sec=POLL_SECONDS)
        schedules: Any = [
            {"schedule_name": kind.name, "workflow_fn": _scheduled[kind.name], "schedule": kind.cron, "queue_name": kind.queue, "context": None}
            for kind in KINDS
            if kind.cron is not None
        ]  # fmt: skip
        await DBOS.apply_schedules_async(schedules)
        for kind in KINDS:
            if kind.at_start:
                await self.begin(kind, {}, f"{kind.name}:{self.id}", self._database.clock())

    def _config(self) -> DBOSConfig:
        return {
            "name": APPLICATION, "system_database_url": jobs_url(self._settings), "dbos_system_schema": SCHEMA, "executor_id": self.id,
            "application_version": VERSION, "log_level": "WARNING", "enable_otlp": False, "sys_db_pool_size": 5, "max_executor_threads": THREADS,
        }  # fmt: skip

    async def stop(self) -> None:
        """Take no more jobs; those under way are another executor's, or the next start's."""
        await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=GRACE_SECONDS)
        # DBOS puts its own threads in the place of the loop's, and has ended them.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        await leave(self._database, self.id)

    async def begin(self, kind: Kind, body: Mapping[str, Any], id: str, due: datetime) -> None:
        """Have a job done at an instant or as soon as can be; one with the same id is begun once."""
        options: Any = {"workflow_name": kind.name, "queue_name": kind.queue, "workflow_id": id}
        seconds = (due - self._database.clock()).total_seconds()
        if seconds > 0:
            options["delay_seconds"] = seconds
        await DBOS.enqueue_workflow_with_options_async(options, dict(body))

    async def keep(self) -> None:
        """Say that this executor lives, and have the jobs done that nobody does any more."""
        await beat(self._database, self.id)
        left, not_begun = await self._left()
        if left:
            async with self._database.open_uow(SYSTEM) as uow:
                await uow.wait_turn("jobs that nobody does any more")
                # Whoever waited for another's turn finds none left.
                left, not_begun = await self._left()
                if left:
                    await DBOS.resume_workflows_async(left, queue_name=QUICK)
                    log.warning("%d jobs that nobody does any more go on here or elsewhere", len(left))
        self._not_begun = not_begun

    async def _left(self) -> tuple[list[str], set[str]]:
        """The jobs that nobody does any more, and those that this executor has claimed and not begun.

        The first are of executors that do not live any more, or were claimed here and not begun at the look before either:
        a connection that breaks while a job is claimed leaves it so.
        """
        pending = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
        others = [one for one in pending if one.executor_id != self.id]
        alive = await living(self._database) if others else set()
        not_begun = {one.workflow_id for one in pending if one.executor_id == self.id} - _under_way
        gone = [one.workflow_id for one in others if one.executor_id not in alive]
        return [*gone, *(not_begun & self._not_begun)], not_begun


works = {kind.name: kind.work for kind in KINDS}
"""What is done for each kind."""
_scheduled: dict[str, Any] = {}
_registered: set[str] = set()
_under_way: set[str] = set()
"""The jobs that this process does now."""


def _register(kind: Kind) -> None:
    """Make a kind known to DBOS, whose registry is the process' own."""
    if kind.name in _registered:
        return
    _registered.add(kind.name)

    async def work(body: Mapping[str, Any]) -> Any:
        assert Engine.tools is not None  # noqa: S101 - an engine has begun
        return await works[kind.name](Engine.tools, body)

    async def job(body: dict[str, Any]) -> Any:
        options: Any = {
            "name": kind.name, "retries_allowed": True, "max_attempts": ATTEMPTS, "interval_seconds": PAUSE_SECONDS, "backoff_rate": 2.0,
        }  # fmt: skip
        id = DBOS.workflow_id
        assert id is not None  # noqa: S101 - inside a job
        _under_way.add(id)
        try:
            return await DBOS.run_step_async(options, work, body)
        finally:
            _under_way.discard(id)

    async def scheduled(_at: Any, _context: Any = None) -> Any:
        return await job({})

    if kind.cron is None:
        DBOS.workflow(name=kind.name)(job)
    else:
        _scheduled[kind.name] = DBOS.workflow(name=kind.name)(scheduled)
