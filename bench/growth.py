"""What a read costs as the tables grow: the same page of the same colleague's deals among ten thousand to ten million activities.

One connection asks, so that the cost is a request's own: nothing waits in line and nothing is shared. Writes the picture docs/growth.svg.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.cells import OTHER_CPU, Cell
from bench.operations import OPERATIONS
from bench.peer import install_wrk
from bench.picture import Panel, Series, draw
from bench.postgres import Cluster, cluster, load_sortie, size
from bench.reads import deals_of
from bench.served import serving, token_of

SIZES = (100, 1_000, 10_000, 100_000)
"""Accounts; a hundred activities each."""
WARM_SECONDS, SECONDS, REPEATS, AT_MOST = 2, 5, 3, 1.3
RESULTS = Path(__file__).parent / "results" / "growth.json"
PICTURE = Path(__file__).parent.parent / "docs" / "growth.svg"
Found = dict[str, dict[int, dict[str, float]]]

log = Console(stderr=True)


def measure(server: Cluster, folder: Path, accounts: int) -> dict[str, dict[str, float]]:
    """The cost of the three reads at one size: µs of the server, of PostgreSQL, and the median latency in ms."""
    home = load_sortie(server, folder / f"home-{accounts}", accounts, log.print)
    every, _ = asyncio.run(deals_of(home.url, accounts * 10))
    server.pin(OTHER_CPU)
    token = token_of(home, size(accounts)["users"] + 1)
    found = {}
    with serving(home, server.cpu_seconds) as ours:
        for operation in (one for one in OPERATIONS if one.name != "M1"):
            log.print(f"  {operation.name}")
            cell = Cell(ours, list(operation.lines(every, lambda _: token)), operation.our_answer, connections=1)
            cell.warm_up(WARM_SECONDS, folder)
            for _ in range(REPEATS):
                cell.run(SECONDS, folder)
            if cell.errors:
                raise RuntimeError(f"{operation.name}: {cell.errors} errors")
            found[operation.name] = {name: cell.median(name) for name in ("cpu_us", "database_us", "p50_ms")}
    return found


def printed(found: Found) -> Table:
    """The figures as a table, each cost beside what it is in the smallest tables."""
    table = Table("", "activities", "server µs", "PostgreSQL µs", "together", "× smallest", "p50 ms")
    for name, sizes in found.items():
        for accounts, cost in sizes.items():
            both = cost["cpu_us"] + cost["database_us"]
            words = (
                f"{cost['cpu_us']:.0f}",
                f"{cost['database_us']:.0f}",
                f"{both:.0f}",
                f"{times(sizes, accounts):.2f}",
            )
            table.add_row(name, f"{accounts * 100:,}", *words, f"{cost['p50_ms']:.2f}")
    return table


def times(sizes: dict[int, dict[str, float]], accounts: int) -> float:
    """How many times the processor time of the smallest tables a size costs."""
    first, cost = next(iter(sizes.values())), sizes[accounts]
    return (cost["cpu_us"] + cost["database_us"]) / (first["cpu_us"] + first["database_us"])


def picture(found: Found) -> str:
    """Processor time and latency against size, as SVG."""
    cost = {
        name: [(accounts * 100, of["cpu_us"] + of["database_us"]) for accounts, of in sizes.items()]
        for name, sizes in found.items()
    }
    wait = {name: [(accounts * 100, of["p50_ms"]) for accounts, of in sizes.items()] for name, sizes in found.items()}
    words = {"Q1": "Q1 一个商机 one opportunity", "Q2": "Q2 五十个商机 fifty of them", "Q3": "Q3 销售漏斗 the pipeline"}
    return draw(
        [
            Panel(
                "每次请求的 CPU 时间（服务 + PostgreSQL），µs · CPU per request",
                [Series(words[name], cost[name]) for name in cost],
            ),
            Panel("延迟中位数，ms · median latency", [Series(words[name], wait[name]) for name in wait]),
        ],
        "活动条数 · activities",
    )


def main() -> int:
    """Load, measure, print and draw; 1 where Q1 or Q2 grows beyond what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--up-to", type=int, default=SIZES[-1], help="the most accounts; a hundred activities each")
    asked = parser.parse_args()
    install_wrk()
    folder = Path(tempfile.mkdtemp(prefix="sortie-growth-"))
    found: Found = {}
    try:
        with cluster(folder / "postgres") as server:
            for accounts in (size for size in SIZES if size <= asked.up_to):
                for name, cost in measure(server, folder, accounts).items():
                    found.setdefault(name, {})[accounts] = cost
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Console(width=100).print(printed(found))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PICTURE.write_text(picture(found), encoding="utf-8")
    grown = {name: max(times(found[name], accounts) for accounts in found[name]) for name in ("Q1", "Q2")}
    for name, most in grown.items():
        log.print(f"{name}: {most:.2f} times at most, {AT_MOST} allowed")
    return int(max(grown.values()) > AT_MOST)


if __name__ == "__main__":
    sys.exit(main())
