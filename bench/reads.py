"""Sortie beside PostGraphile on the same rows: requests a second, latency, processor time, errors; answers compared first.

Sortie runs as in production: sign-in, access control, limits, the ledger, row security, logs and metrics are on. The peer
has none of them, and its M1 writes one row, where ours writes the row, its ledger note and its words for the search.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.auth.tokens import LocalVerifier
from api.secret_files import read_key
from bench import peer
from bench.cells import OTHER_CPU, SERVER_CPU, Cell, Target, differences, settle
from bench.load import Home, Server, cpu_seconds
from bench.operations import OPERATIONS, REQUESTS, USER, Deal, Operation
from bench.postgres import ACCOUNTS, Cluster, cluster, load_peer, load_sortie
from domain.kernel import utc_now

MANAGER = 201
RESULTS = Path(__file__).parent / "results" / "latest.json"
FLOORS = {"Q1": (3.0, 1 / 4), "Q2": (1.4, 1 / 6), "Q3": (0.9, None), "M1": (1.0, 1 / 2)}
"""At least so many times the peer's requests a second, with at most this share of its processor time."""
REPEATS, SECONDS, WARM_SECONDS = 5, 8, 2

log = Console(stderr=True)


@dataclass(frozen=True)
class Installed:
    """Both servers running on their databases, ready to be asked."""

    ours: Target
    peer: Target
    home: Home
    every: Sequence[Deal]
    own: Sequence[Deal]
    """Deals with customers of the same colleague, of which a rep sees all that Q1 asks for."""

    def token(self, number: int) -> str:
        """The bearer token of a user of the dataset."""
        key = LocalVerifier(read_key(Path(self.home.settings["SORTIE_TOKEN_KEY_FILE"])))
        user = UUID(f"019b76d0-00{USER:02x}-7000-8000-{number:012x}")
        return key.sign(user, utc_now(), timedelta(hours=12))

    def cells(self, operation: Operation) -> dict[str, Cell]:
        """The cells of an operation: the peer's, ours for whoever sees everything, and ours for two hundred reps."""
        manager = self.token(MANAGER)
        reps = {number: self.token(number) for number in range(1, 201)}
        about = self.own if operation.name in {"Q1", "M1"} else self.every
        return {
            "peer": Cell(self.peer, list(operation.peer_lines(self.every)), operation.peer_answer),
            "manager": Cell(self.ours, list(operation.lines(self.every, lambda _: manager)), operation.our_answer),
            "reps": Cell(self.ours, list(operation.lines(about, reps.__getitem__)), operation.our_answer),
        }


@contextmanager
def installed(folder: Path, server: Cluster, accounts: int, *, keep: bool) -> Iterator[Installed]:
    """Both servers on the dataset, each on the server core, the database on the other one."""
    home = folder / "home"
    if keep and (home / "loaded").exists():
        made = Home(home, server.url("sortie"), json.loads((home / "loaded").read_text()))
        made.must("migrate")
    else:
        load_peer(server, accounts, log.print)
        made = load_sortie(server, home, accounts, log.print)
        (home / "loaded").write_text(json.dumps(dict(made.settings)))
    server.pin(OTHER_CPU)
    every, own = asyncio.run(_deals(server.url("peer"), accounts * 10))
    sortie = Server(made, peer.free_port(), cpu=SERVER_CPU)
    with peer.serving(server.url("peer"), SERVER_CPU) as (port, pid):
        sortie.start()
        try:
            asyncio.run(sortie.ready())
            ours = Target("sortie", sortie.port, sortie.cpu_seconds, server.cpu_seconds)
            theirs = Target("peer", port, lambda: cpu_seconds(pid), server.cpu_seconds)
            yield Installed(ours, theirs, made, every, own)
        finally:
            sortie.stop()


async def _deals(url: str, count: int) -> tuple[list[Deal], list[Deal]]:
    """The deals that are asked for: spread over all, and of those whose account has the same owner."""
    connection = await asyncpg.connect(url)
    asked = [1 + at * 97 % count for at in range(REQUESTS)]
    rows = await connection.fetch("SELECT id, owner_id FROM opportunities WHERE id = ANY ($1)", asked)
    same = "SELECT o.id, o.owner_id FROM opportunities AS o JOIN accounts AS a ON a.id = o.account_id AND a.owner_id = o.owner_id ORDER BY o.id LIMIT $1"
    own = await connection.fetch(same, REQUESTS)
    await connection.close()
    owners = {row["id"]: row["owner_id"] for row in rows}
    return [Deal(id, owners[id]) for id in asked], [Deal(row["id"], row["owner_id"]) for row in own]


# ---- one run ---------------------------------------------------------------------------------------------------------


def compare(at: Installed, operations: Sequence[Operation]) -> dict[str, dict[str, Cell]]:
    """The cells of all operations, once both servers answer alike.

    Raises RuntimeError with the first answers that differ.
    """
    cells = {operation.name: at.cells(operation) for operation in operations}
    for name, of in cells.items():
        if found := differences(of["manager"], of["peer"]):
            raise RuntimeError(f"{name}: {len(found)} answers differ, the first: {found[0]}")
        log.print(f"{name}: both answer alike")
    return cells


def measure(at: Installed, cells: dict[str, dict[str, Cell]], repeats: int, seconds: int, folder: Path) -> None:
    """Run every cell as often as asked, in turn forwards and backwards, after a warm-up that counts for nothing."""
    every = [(f"{name} {who}", cell) for name, of in cells.items() for who, cell in of.items()]
    words = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*words, console=log) as progress:
        task = progress.add_task("", total=len(every) * (repeats + 1))
        for repeat in range(repeats + 1):
            for name, cell in every if repeat % 2 else reversed(every):
                progress.update(task, description=f"{name} {'warm-up' if repeat == 0 else repeat}")
                settle([at.ours, at.peer])
                warm = Cell(cell.target, cell.lines, cell.answer)
                (cell if repeat else warm).run(seconds if repeat else WARM_SECONDS, folder)
                progress.advance(task)


def figures(of: dict[str, Cell], who: str) -> dict[str, float]:
    """The medians of one viewer's cell and of the peer's, and their ratios."""
    ours, theirs = of[who], of["peer"]
    return {
        "rps": round(ours.median("rps"), 1),
        "p50_ms": round(ours.median("p50_ms"), 2),
        "p99_ms": round(ours.median("p99_ms"), 2),
        "errors": ours.errors,
        "cpu_us": round(ours.median("cpu_us"), 1),
        "peer_rps": round(theirs.median("rps"), 1),
        "peer_cpu_us": round(theirs.median("cpu_us"), 1),
        "ratio": round(ours.median("rps") / theirs.median("rps"), 2),
        "cpu_ratio": round(ours.median("cpu_us") / theirs.median("cpu_us"), 3),
        "database_us": round(ours.median("database_us"), 1),
        "peer_database_us": round(theirs.median("database_us"), 1),
        "peer_p50_ms": round(theirs.median("p50_ms"), 2),
        "peer_p99_ms": round(theirs.median("p99_ms"), 2),
        "peer_errors": theirs.errors,
    }


def printed(found: dict[str, dict[str, Any]]) -> Table:
    """The figures as a table, ours above the peer's; processor time in µs a request, of the server and of PostgreSQL."""
    table = Table(
        "",
        "",
        "rps",
        "p50",
        "p99 ms",
        "errors",
        "CPU",
        "PG",
        "× peer",
        "CPU ×",
        box=box.SIMPLE,
        title="Sortie and PostGraphile 5",
    )
    for name, row in found.items():
        for who, of in (("manager", row), ("reps", row["reps"])):
            own = (
                f"{of['rps']:.0f}",
                of["p50_ms"],
                of["p99_ms"],
                of["errors"],
                f"{of['cpu_us']:.0f}",
                f"{of['database_us']:.0f}",
            )
            table.add_row(name, who, *map(str, own), str(of["ratio"]), str(of["cpu_ratio"]))
        theirs = (row[f"peer_{key}"] for key in ("p50_ms", "p99_ms", "errors"))
        times = (f"{row[f'peer_{key}']:.0f}" for key in ("cpu_us", "database_us"))
        table.add_row("", "peer", f"{row['peer_rps']:.0f}", *map(str, theirs), *times, end_section=True)
        floor, share = FLOORS[name]
        table.add_row(
            "", "floor", *[""] * 6, f"≥ {floor}", f"≤ {share:.3f}" if share else "", end_section=True, style="dim"
        )
    return table


def shortfalls(found: dict[str, dict[str, Any]]) -> list[str]:
    """Which floors are missed."""
    missed = []
    for name, row in found.items():
        floor, share = FLOORS[name]
        if row["ratio"] < floor:
            missed.append(f"{name}: {row['ratio']} times the peer, not {floor}")
        if share is not None and row["cpu_ratio"] > share:
            missed.append(f"{name}: {row['cpu_ratio']} of the peer's processor time, not {share:.3f}")
        if row["errors"] or row["reps"]["errors"]:
            missed.append(f"{name}: {row['errors'] + row['reps']['errors']} errors")
    return missed


def main() -> int:
    """Load, compare, measure, print; 1 where a floor is missed or there are errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two repeats of 3 s")
    parser.add_argument("--only", action="append", help="one operation: Q1, Q2, Q3 or M1; can be given again")
    parser.add_argument("--keep", type=Path, help="a folder for the databases, loaded once and used again")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS, help="the dataset's size: a hundred activities each")
    asked = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        log.print("the method needs two cores: one for the server, one for wrk and PostgreSQL")
        return 1
    peer.install()
    operations = [one for one in OPERATIONS if not asked.only or one.name in asked.only]
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="sortie-bench-"))
    folder.mkdir(exist_ok=True, parents=True)
    began = time.monotonic()
    try:
        with (
            cluster(folder / "postgres") as server,
            installed(folder, server, asked.accounts, keep=bool(asked.keep)) as at,
        ):
            cells = compare(at, operations)
            measure(at, cells, 2 if asked.quick else REPEATS, 3 if asked.quick else SECONDS, folder)
    finally:
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    found: dict[str, dict[str, Any]] = {
        name: figures(of, "manager") | {"reps": figures(of, "reps")} for name, of in cells.items()
    }
    Console().print(printed(found))
    log.print(f"{time.monotonic() - began:.0f} s")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for words in (missed := shortfalls(found)):
        log.print(words)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
