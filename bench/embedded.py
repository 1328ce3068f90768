"""Sortie without PostgreSQL: one process on a SQLite file with the same rows, and a visit brief while eight writers write."""

import asyncio
import itertools
import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from rich import box
from rich.table import Table
from sqlalchemy import create_engine, insert

import migrations
from bench.answers import BRIEF, READY, RECORDS, REP, link_model
from bench.cells import SERVER_CPU, Cell
from bench.load import LOG, Connection, Home, Server
from bench.operations import OPERATIONS, Deal
from bench.peer import free_port
from bench.served import production, serving, token_of
from domain.kernel import Base

TABLES = (
    "users", "territories", "role_grants", "pipelines", "stages", "accounts", "contacts", "contact_points", "opportunities", "activities",
)  # fmt: skip
BATCH, WRITERS, BRIEFS, READY_SECONDS = 5_000, 8, 200, 600
RESULTS = Path(__file__).parent / "results" / "embedded.json"

Say = Callable[[str], None]


async def load(source: str, home: Path, say: Say) -> Home:
    """An installation on SQLite with the rows of one on PostgreSQL that was filled with the dataset."""
    say("loading SQLite")
    made = Home(home, settings=production(home))
    Home(home).must("migrate")
    migrations.import_models()
    engine = create_engine(f"sqlite:///{home / 'sortie.db'}")
    connection = await asyncpg.connect(source)
    with engine.begin() as target:
        for name in TABLES:
            async with connection.transaction():
                rows = await connection.cursor(f"SELECT * FROM {name} WHERE created_by_kind = 'IMPORT' ORDER BY id")
                while batch := await rows.fetch(BATCH):
                    target.execute(insert(Base.metadata.tables[name]), [dict(row) for row in batch])
    await connection.close()
    engine.dispose()
    with sqlite3.connect(home / "sortie.db") as file:
        file.execute("ANALYZE")
    file.close()
    return made


def reads(home: Home, deals: Sequence[Deal], manager: int, repeats: int, seconds: int, folder: Path) -> dict[str, Cell]:
    """The three reads for whoever sees everything."""
    token = token_of(home, manager)
    with serving(home) as ours:
        cells = {
            operation.name: Cell(ours, list(operation.lines(deals, lambda _: token)), operation.our_answer)
            for operation in OPERATIONS
            if operation.name != "M1"
        }
        for repeat in range(repeats):
            for cell in cells.values() if repeat % 2 else reversed(cells.values()):
                if repeat == 0:
                    cell.warm_up(2, folder)
                cell.run(seconds, folder)
    return cells


# ---- a brief among writers -------------------------------------------------------------------------------------------


def brief(folder: Path, say: Say) -> dict[str, float]:
    """What a rep of the demo company waits for a visit brief, in ms, alone and while eight clients log activities."""
    say("a visit brief while eight writers write")
    freely = dict.fromkeys(("SORTIE_ANSWERS_PER_HOUR", "SORTIE_REQUESTS_PER_MINUTE"), "10000000")
    home = Home(folder, settings={"SORTIE_EMBEDDING_MODEL": "", **freely})
    folder.mkdir(parents=True)
    link_model(folder)
    home.must("migrate")
    home.must("demo")
    server = Server(home, free_port(), cpu=SERVER_CPU)
    server.start()
    try:
        return asyncio.run(_briefs(server, home.must("token", REP)))
    finally:
        server.stop()


async def _briefs(server: Server, token: str) -> dict[str, float]:
    await server.ready()
    connection = Connection(server.port, token)
    await _searchable(connection)
    _, found = await connection.ask(RECORDS)
    accounts = [edge["node"]["id"] for edge in found["data"]["accounts"]["edges"]]
    keys = itertools.count()
    alone = [await _brief(connection, accounts[at % len(accounts)], next(keys)) for at in range(BRIEFS)]
    written = [0] * WRITERS
    writers = [asyncio.create_task(_write(server.port, token, accounts[0], written, one)) for one in range(WRITERS)]
    began = time.perf_counter()
    among = [await _brief(connection, accounts[at % len(accounts)], next(keys)) for at in range(BRIEFS)]
    took = time.perf_counter() - began
    for writer in writers:
        writer.cancel()
    gone = await asyncio.gather(*writers, return_exceptions=True)
    connection.close()
    failed = [error for error in gone if isinstance(error, Exception)]
    if failed:
        raise failed[0]
    return {
        "brief_p50_ms": _percentile(alone, 50),
        "brief_p99_ms": _percentile(alone, 99),
        "among_writers_p50_ms": _percentile(among, 50),
        "among_writers_p99_ms": _percentile(among, 99),
        "writes_per_second": round(sum(written) / took, 1),
    }


async def _searchable(connection: Connection) -> None:
    """Wait until every passage has its vector."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        _, found = await connection.ask(READY)
        if ((found.get("data") or {}).get("searchKnowledge") or {"degraded": "not yet"})["degraded"] is None:
            return
        await asyncio.sleep(0.5)
    raise TimeoutError(f"not every passage has its vector within {READY_SECONDS} s")


async def _brief(connection: Connection, account: str, key: int) -> float:
    """Have a brief drafted; the milliseconds that took.

    Raises RuntimeError for an answer without a text.
    """
    began = time.perf_counter()
    _, found = await connection.ask(BRIEF, input={"accountId": account, "clientKey": f"brief-{key}"})
    took = (time.perf_counter() - began) * 1000
    if not (((found.get("data") or {}).get("draftVisitBrief") or {}).get("generation") or {}).get("text"):
        raise RuntimeError(f"no brief: {found}")
    return took


async def _write(port: int, token: str, account: str, written: list[int], writer: int) -> None:
    """Log one activity after another until it is cancelled."""
    connection = Connection(port, token)
    try:
        for number in itertools.count():
            input = {
                "relatedToId": account,
                "kind": "CALL",
                "subject": f"回访 {number}",
                "clientKey": f"{writer}-{number}",
            }
            _, found = await connection.ask(LOG, input=input)
            if not ((found.get("data") or {}).get("logActivity") or {}).get("activity"):
                raise RuntimeError(f"not written: {found}")
            written[writer] += 1
    finally:
        connection.close()


def _percentile(values: list[float], share: int) -> float:
    return round(statistics.quantiles(values, n=100)[share - 1], 1)


# ---- together --------------------------------------------------------------------------------------------------------


def run(
    source: str, deals: Sequence[Deal], manager: int, repeats: int, seconds: int, folder: Path, say: Say
) -> dict[str, Any]:
    """Both measurements, from an installation on PostgreSQL that has the dataset; written to a file."""
    home = asyncio.run(load(source, folder / "sqlite", say))
    say("the three reads on SQLite")
    cells = reads(home, deals, manager, repeats, seconds, folder)
    found: dict[str, Any] = {
        name: {figure: round(cell.median(figure), 2) for figure in ("rps", "p50_ms", "p99_ms", "cpu_us")}
        | {"errors": cell.errors}
        for name, cell in cells.items()
    }
    found["brief"] = brief(folder / "demo", say)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def printed(found: dict[str, Any]) -> Table:
    """The figures as a table."""
    table = Table(
        "", "rps", "p50 ms", "p99 ms", "CPU µs", "errors", box=box.SIMPLE, title="Sortie on SQLite, one process"
    )
    for name in (one for one in found if one != "brief"):
        table.add_row(name, *(str(found[name][key]) for key in ("rps", "p50_ms", "p99_ms", "cpu_us", "errors")))
    of = found["brief"]
    table.add_row("visit brief", "", str(of["brief_p50_ms"]), str(of["brief_p99_ms"]))
    among = f"… among {WRITERS} writers, {of['writes_per_second']} writes a second"
    table.add_row(among, "", str(of["among_writers_p50_ms"]), str(of["among_writers_p99_ms"]))
    return table
