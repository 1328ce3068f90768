"""Timers under a kill: 1,000 leads without a reply, due within a minute; each is told of once, in time, though a process dies.

On PostgreSQL two workers do the jobs and one of them is killed; on SQLite the server itself is, and what it owes is counted from
ready. Exits with 1 where a timer fired twice, not at all, or too late.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import select

from api.settings import Settings
from api.storage import open_database
from bench.load import Connection, Home, Server, Worker
from bench.peer import free_port
from bench.postgres import cluster
from domain.kernel import utc_now
from domain.leads import Lead
from domain.ledger import AuditEvent

COUNT, SPREAD_SECONDS, WAIT_MINUTES = 1_000, 50.0, 1.0
LATE_SECONDS, TAKEN_OVER_SECONDS, GIVE_UP_SECONDS = 5.0, 30.0, 120.0
"""How late a timer may be; how late one of the process that was killed; how long we wait for the last."""
REP = "lei.zhang@example.com"
CAPTURE = "mutation($input: CaptureLeadInput!) { captureLead(input: $input) { lead { id } errors { message } } }"

log = Console(stderr=True)


def _home(folder: Path, url: str = "") -> Home:
    home = Home(
        folder / "home",
        url,
        {"SORTIE_LEAD_REMINDER_MINUTES": str(WAIT_MINUTES), "SORTIE_LEAD_ESCALATION_MINUTES": "600"},
    )
    home.must("migrate")
    home.must("demo")
    return home


async def _capture(port: int, token: str, count: int, progress: Any) -> None:
    """Have so many leads come in, one after another, over the time in which their timers are to be due."""
    connection, began = Connection(port, token), time.monotonic()
    for number in range(count):
        given = {"source": "计时", "externalId": str(number), "name": f"线索{number}", "phone": f"139{number:08d}"}
        status, body = await connection.ask(CAPTURE, input=given)
        if status != 200 or body["data"]["captureLead"]["errors"]:
            raise RuntimeError(str(body)[:300])
        progress()
        await asyncio.sleep(max(0.0, began + SPREAD_SECONDS * number / count - time.monotonic()))
    connection.close()


@asynccontextmanager
async def _opened(home: Home) -> AsyncIterator[Any]:
    database = open_database(Settings(home=home.path, database_url=home.url))
    try:
        yield database
    finally:
        await database.close()


async def _fired(home: Home) -> list[tuple[datetime, datetime | None]]:
    """When each timer was due, and when it fired."""
    asked = select(Lead.captured_at, Lead.reminded_at).where(Lead.source == "计时").order_by(Lead.id)
    async with _opened(home) as database, database.read() as connection:
        rows = (await connection.execute(asked)).all()
    return [(row.captured_at + timedelta(minutes=WAIT_MINUTES), row.reminded_at) for row in rows]


async def _notes(home: Home) -> int:
    """How often the ledger says that a timer fired."""
    ours = select(Lead.id).where(Lead.source == "计时")
    asked = select(AuditEvent.id).where(AuditEvent.action == "lead.reminded", AuditEvent.subject_id.in_(ours))
    async with _opened(home) as database, database.read() as connection:
        return len(list(await connection.scalars(asked)))


async def _all_fired(home: Home) -> list[tuple[datetime, datetime | None]]:
    until = time.monotonic() + GIVE_UP_SECONDS
    while True:
        found = await _fired(home)
        if all(at is not None for _, at in found) or time.monotonic() > until:
            return found
        await asyncio.sleep(1)


async def on_sqlite(folder: Path, count: int, progress: Any) -> tuple[Home, datetime, float]:
    """The server is killed in the middle; when it was ready again, and what may be late before that."""
    home = _home(folder)
    server = Server(home, free_port())
    server.start()
    await server.ready()
    await _capture(server.port, home.must("token", REP), count, progress)
    await asyncio.sleep(WAIT_MINUTES * 60 - SPREAD_SECONDS / 2)
    server.kill()
    server.start()
    await server.ready()
    ready = utc_now()
    await _all_fired(home)
    server.stop()
    return home, ready, LATE_SECONDS


async def on_postgres(folder: Path, url: str, count: int, progress: Any) -> tuple[Home, datetime, float]:
    """One of two workers is killed in the middle; then, and how late what it had begun may be."""
    home = _home(folder, url)
    server = Server(replace(home, settings={**home.settings, "SORTIE_JOBS": "apart"}), free_port())
    server.start()
    await server.ready()
    workers = [Worker(home) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        await _capture(server.port, home.must("token", REP), count, progress)
        await asyncio.sleep(WAIT_MINUTES * 60 - SPREAD_SECONDS / 2)
        workers[0].kill()
        killed = utc_now()
        await _all_fired(home)
    finally:
        server.stop()
        for worker in workers:
            worker.stop()
    return home, killed, TAKEN_OVER_SECONDS


def judged(
    name: str, fired: list[tuple[datetime, datetime | None]], notes: int, moment: datetime, allowed: float
) -> tuple[list[str], list[str]]:
    """A line of the table, and what is wrong.

    What was due by `moment` and had not fired may be as late after it as is allowed.
    """
    late = []
    for due, at in fired:
        if at is not None:
            base = max(due, moment) if due <= moment < at else due
            late.append(((at - base).total_seconds(), allowed if base is not due else LATE_SECONDS))
    missing = sum(at is None for _, at in fired)
    seconds = sorted(one for one, _ in late) or [0.0]
    wrong = [f"{name}: {missing} timers did not fire"] * bool(missing)
    wrong += [f"{name}: {notes - len(late)} timers fired twice"] * (notes != len(late))
    beyond = sum(one > most for one, most in late)
    wrong += [f"{name}: {beyond} timers were too late"] * bool(beyond)
    middle, last = statistics.median(seconds), seconds[-1]
    return [name, str(len(fired)), str(len(late)), str(notes), f"{middle:.2f}", f"{last:.2f}"], wrong


def main() -> int:
    """Try both databases."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=COUNT)
    arguments.add_argument("--only", choices=("SQLite", "PostgreSQL"))
    told = arguments.parse_args()
    table = Table("database", "timers", "fired", "in the ledger", "late p50 s", "late at most s")
    wrong = list[str]()
    with tempfile.TemporaryDirectory() as name, Progress(console=log) as progress:
        folder = Path(name)
        for database in ("SQLite", "PostgreSQL"):
            if told.only not in (None, database):
                continue
            task = progress.add_task(f"{database}: leads", total=told.count)

            def step(task: Any = task) -> None:
                progress.advance(task)

            if database == "SQLite":
                home, moment, allowed = asyncio.run(on_sqlite(folder / "sqlite", told.count, step))
                line, problems = _judge(database, home, moment, allowed)
            else:
                with cluster(folder / "cluster") as server:
                    url = server.url("postgres")
                    home, moment, allowed = asyncio.run(on_postgres(folder / "postgres", url, told.count, step))
                    line, problems = _judge(database, home, moment, allowed)
            table.add_row(*line)
            wrong += problems
    Console().print(table)
    for problem in wrong:
        log.print(problem)
    return 1 if wrong else 0


def _judge(name: str, home: Home, moment: datetime, allowed: float) -> tuple[list[str], list[str]]:
    return judged(name, asyncio.run(_fired(home)), asyncio.run(_notes(home)), moment, allowed)


if __name__ == "__main__":
    sys.exit(main())
