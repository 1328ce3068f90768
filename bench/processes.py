"""What one, two and four serving processes do on one machine: reads, writes and drafts, and what the machine allows at most.

Every process of the installation, PostgreSQL and the load share the machine's cores, so that the ceiling is what the cores give
at the processor time that one request costs all of them together. Writes the picture docs/processes.svg.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.cells import Cell, Line, Target, settle
from bench.load import Connection, Home, Server, cpu_seconds, ended_seconds
from bench.operations import M1, Q1
from bench.peer import free_port, install_wrk
from bench.picture import Panel, Series, draw
from bench.postgres import Cluster, cluster
from bench.served import production

COUNTS = (1, 2, 4)
REPEATS, SECONDS, WARM_SECONDS = 5, 6, 2
CORES = len(os.sched_getaffinity(0))
RESULTS = Path(__file__).parent / "results" / "processes.json"
PICTURE = Path(__file__).parent.parent / "docs" / "processes.svg"
REPS = ("lei.zhang@example.com", "na.li@example.com", "min.wang@example.com")
BRIEF = "mutation($input: DraftVisitBriefInput!) { draftVisitBrief(input: $input) { generation { id text disposition } errors { code } } }"
DEALS = "{ opportunities(first: 50) { edges { node { id account { id } } } } }"
Found = dict[str, dict[int, dict[str, float]]]

log = Console(stderr=True)


@dataclass(frozen=True)
class Operation:
    """One kind of request: the lines that ask it, and what of an answer shows that it is one."""

    name: str
    words: str
    lines: list[Line]
    root: str

    def answer(self, data: Any) -> Any:
        """What was answered.

        Raises KeyError for an input that was not taken.
        """
        found = data[self.root]
        if found is None or found.get("errors"):
            raise KeyError(str(found))
        return found


def _line(token: str, document: str, **variables: Any) -> Line:
    return token, orjson.dumps({"query": document, "variables": variables})


async def operations(port: int, tokens: list[str]) -> list[Operation]:
    """The three kinds, asked by several people about the deals that each sees."""
    reads, writes, drafts = list[Line](), list[Line](), list[Line]()
    for token in tokens:
        connection = Connection(port, token)
        _, answer = await connection.ask(DEALS)
        connection.close()
        for deal in (edge["node"] for edge in answer["data"]["opportunities"]["edges"]):
            activity = {"relatedToId": deal["id"], "kind": "CALL", "subject": "回访：交期", "clientKey": "@KEY@"}
            reads.append(_line(token, Q1, id=deal["id"]))
            writes.append(_line(token, M1, input=activity))
            if deal["account"]:
                visit = {"accountId": deal["account"]["id"], "purpose": "交期与价格", "clientKey": "@KEY@"}
                drafts.append(_line(token, BRIEF, input=visit))
    return [
        Operation("reads", "读 one opportunity (Q1)", reads, "node"),
        Operation("writes", "写 an activity with its ledger note (M1)", writes, "logActivity"),
        Operation("drafts", "拜访简报 a visit brief, offline composer", drafts, "draftVisitBrief"),
    ]


def _all_seconds(pid: int) -> float:
    """The processor time of a process and of its children, of those too that have ended."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + ended_seconds(pid) + sum(cpu_seconds(int(child)) for child in children)


@contextmanager
def crew(home: Home, count: int, database: Cluster) -> Iterator[tuple[Target, Server]]:
    """So many processes on one port."""
    server = Server(home, free_port(), options=("--workers", str(count)))
    server.start()
    try:
        asyncio.run(server.ready())
        yield Target(f"{count}", server.port, lambda: _all_seconds(server.pid), database.cpu_seconds), server
    finally:
        server.stop()


def measure(home: Home, database: Cluster, tokens: list[str], folder: Path, *, seconds: int) -> Found:
    """Every operation with every number of processes, in turns."""
    cells: dict[tuple[str, int], Cell] = {}
    with Progress(console=log) as progress:
        task = progress.add_task("", total=(REPEATS + 1) * len(COUNTS) * 3)
        for repeat in range(REPEATS + 1):
            for count in COUNTS if repeat % 2 else COUNTS[::-1]:
                with crew(home, count, database) as (target, server):
                    for operation in asyncio.run(operations(server.port, tokens)):
                        progress.update(task, description=f"{count} × {operation.name} {repeat or 'warm-up'}")
                        cell = cells.setdefault(
                            (operation.name, count), Cell(target, operation.lines, operation.answer, pinned=False)
                        )
                        cell.target = target
                        cell.warm_up(WARM_SECONDS, folder)
                        if repeat:
                            cell.run(seconds, folder)
                        settle([target])
                        progress.advance(task)
    found: Found = {}
    for (name, count), cell in cells.items():
        whole = [one + other + own for one, other, own in zip(cell.cpu_us, cell.database_us, cell.load_us, strict=True)]
        found.setdefault(name, {})[count] = {
            "rps": cell.median("rps"), "p50_ms": cell.median("p50_ms"), "p99_ms": cell.median("p99_ms"), "server_us": cell.median("cpu_us"),
            "database_us": cell.median("database_us"), "load_us": cell.median("load_us"), "errors": cell.errors,
            "ceiling_rps": CORES * 1e6 / statistics.median(whole),
        }  # fmt: skip
    return {name: dict(sorted(of.items())) for name, of in found.items()}


def printed(found: Found) -> Table:
    """The figures as a table."""
    table = Table(
        "",
        "processes",
        "a second",
        "× one",
        "of the ceiling",
        "p50 / p99 ms",
        "server µs",
        "PostgreSQL µs",
        "load µs",
        "errors",
    )
    for name, of in found.items():
        for count, one in of.items():
            share = f"{one['rps'] / one['ceiling_rps']:.0%} of {one['ceiling_rps']:.0f}"
            words = (
                f"{one['rps']:.0f}",
                f"{one['rps'] / of[1]['rps']:.2f}",
                share,
                f"{one['p50_ms']:.1f} / {one['p99_ms']:.1f}",
            )
            table.add_row(
                name,
                str(count),
                *words,
                *(f"{one[key]:.0f}" for key in ("server_us", "database_us", "load_us", "errors")),
            )
    return table


def picture(found: Found) -> str:
    """Throughput against the number of processes, as times what one does, beside the ceiling."""
    lines = [
        Series(name, [(count, one["rps"] / of[1]["rps"]) for count, one in of.items()]) for name, of in found.items()
    ]
    return draw(
        [Panel(f"吞吐量，单进程的倍数（{CORES} 核）· throughput, times one process", lines)],
        "服务进程 · serving processes",
    )


def main() -> int:
    """Measure, print and draw; 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of load a repeat")
    asked = parser.parse_args()
    install_wrk()
    with tempfile.TemporaryDirectory(prefix="sortie-processes-") as name:
        folder = Path(name)
        with cluster(folder / "postgres") as server:
            settings = production(folder / "home") | {"SORTIE_ANSWERS_PER_HOUR": "100000000"}
            home = Home(folder / "home", server.url("postgres"), settings)
            home.must("migrate")
            home.must("demo")
            tokens = [home.must("token", rep) for rep in REPS]
            found = measure(home, server, tokens, folder, seconds=asked.seconds)
    Console(width=140).print(printed(found))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PICTURE.write_text(picture(found), encoding="utf-8")
    return int(any(one["errors"] for of in found.values() for one in of.values()))


if __name__ == "__main__":
    sys.exit(main())
