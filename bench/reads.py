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
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import drawn, embedded, peer
from bench.cells import OTHER_CPU, SERVER_CPU, Cell, Target, differences, settle
from bench.load import Home, cpu_seconds
from bench.operations import OPERATIONS, OPPORTUNITY, REQUESTS, Deal, Operation, global_id, number_of
from bench.postgres import ACCOUNTS, Cluster, cluster, load_peer, load_sortie, size, take_back
from bench.served import production, serving, token_of

RESULTS = Path(__file__).parent / "results" / "latest.json"
FLOORS = {"Q1": (3.0, 1 / 4), "Q2": (1.4, 1 / 6), "Q3": (0.9, None), "M1": (1.0, 1 / 2)}
"""At least so many times the peer's requests a second, with at most this share of its processor time."""
REPEATS, SECONDS, WARM_SECONDS = 5, 8, 2
SQLITE, DRAWN = "SQLite", "drawn"

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
    manager: int

    def cells(self, operation: Operation) -> dict[str, Cell]:
        """The cells of an operation: the peer's, ours for whoever sees everything, and ours for all reps in turn."""
        manager = token_of(self.home, self.manager)
        reps = {number: token_of(self.home, number) for number in range(1, self.manager)}
        about = self.own if operation.name in {"Q1", "M1"} else self.every
        return {
            "peer": Cell(self.peer, list(operation.peer_lines(self.every)), operation.peer_answer),
            "manager": Cell(self.ours, list(operation.lines(self.every, lambda _: manager)), operation.our_answer),
            "reps": Cell(self.ours, list(operation.lines(about, reps.__getitem__)), operation.our_answer),
        }


@contextmanager
def installed(folder: Path, server: Cluster, accounts: int, *, keep: bool) -> Iterator[Installed]:
    """Both servers on the dataset, each on the servers' core, the database on the other one."""
    home = folder / "home"
    if keep and (home / "loaded").exists():
        made = Home(home, server.url("sortie"), production(home))
        Home(home, made.url).must("migrate")
        take_back(server, accounts)
    else:
        load_peer(server, accounts, log.print)
        made = load_sortie(server, home, accounts, log.print)
        (home / "loaded").touch()
    server.pin(OTHER_CPU)
    every, own = asyncio.run(deals_of(made.url, accounts * 10))
    with (
        peer.serving(server.url("peer"), SERVER_CPU) as (port, pid),
        serving(made, server.cpu_seconds) as ours,
    ):
        theirs = Target("peer", port, lambda: cpu_seconds(pid), server.cpu_seconds)
        yield Installed(ours, theirs, made, every, own, size(accounts)["users"] + 1)


async def deals_of(url: str, count: int) -> tuple[list[Deal], list[Deal]]:
    """The deals that are asked for: spread over all, and of those whose account has the same owner."""
    connection = await asyncpg.connect(url)
    asked = [UUID(global_id(OPPORTUNITY, 1 + at * 97 % count)[4:]) for at in range(REQUESTS)]
    rows = await connection.fetch("SELECT id, owner_id FROM opportunities WHERE id = ANY ($1)", asked)
    same = "SELECT o.id, o.owner_id FROM opportunities AS o JOIN accounts AS a ON a.id = o.account_id AND a.owner_id = o.owner_id ORDER BY o.id LIMIT $1"
    own = await connection.fetch(same, REQUESTS)
    await connection.close()
    deals = {row["id"]: Deal(number_of(row["id"].hex), number_of(row["owner_id"].hex)) for row in (*rows, *own)}
    return [deals[id] for id in asked], [deals[row["id"]] for row in own]


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
                if repeat:
                    cell.run(seconds, folder)
                else:
                    cell.warm_up(WARM_SECONDS, folder)
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
        for who, of in (("sees all", row), ("200 reps", row["reps"])):
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


def conclude(cells: dict[str, dict[str, Cell]]) -> list[str]:
    """Print and keep the figures of a comparison; the floors that it misses."""
    found: dict[str, dict[str, Any]] = {
        name: figures(of, "manager") | {"reps": figures(of, "reps")} for name, of in cells.items()
    }
    Console(width=100).print(printed(found))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return shortfalls(found)


def run(asked: argparse.Namespace, folder: Path) -> list[str]:
    """All that was asked for, on databases in a folder; what falls short, in words."""
    repeats, seconds = (2, 3) if asked.quick else (REPEATS, SECONDS)
    missed: list[str] = []
    with cluster(folder / "postgres") as server:
        with installed(folder, server, asked.accounts, keep=bool(asked.keep)) as at:
            if operations := [one for one in OPERATIONS if one.name in asked.only]:
                cells = compare(at, operations)
                measure(at, cells, repeats, seconds, folder)
                missed += conclude(cells)
            if DRAWN in asked.only:
                log.print(f"documents drawn by seed {drawn.SEED}")
                q2, found = drawn.measure(at.ours, token_of(at.home, at.manager), at.every, folder)
                Console(width=180).print(drawn.printed(q2, found))
                missed += drawn.shortfalls(q2, found)
        if SQLITE in asked.only:
            shutil.rmtree(folder / SQLITE, ignore_errors=True)
            small = embedded.run(at.home.url, at.every, at.manager, repeats, seconds, folder / SQLITE, log.print)
            Console(width=100).print(embedded.printed(small))
    return missed


def main() -> int:
    """Load, compare, measure, print; 1 where a floor is missed or there are errors."""
    parts = [*(one.name for one in OPERATIONS), SQLITE, DRAWN]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two repeats of 3 s")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="a part of it")
    parser.add_argument("--keep", type=Path, help="a folder for the databases, loaded once and used again")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS, help="the dataset's size: a hundred activities each")
    asked = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        log.print("the method needs two cores: one for the server, one for wrk and PostgreSQL")
        return 1
    peer.install_wrk()
    peer.install()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="sortie-bench-"))
    folder.mkdir(exist_ok=True, parents=True)
    began = time.monotonic()
    try:
        missed = run(asked, folder)
    finally:
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    log.print(f"{time.monotonic() - began:.0f} s")
    for words in missed:
        log.print(words)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
