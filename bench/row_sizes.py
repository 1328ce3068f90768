"""What a row costs: bytes in its table and in each of its indexes, and bytes of log a write, measured on the product's own schema.

The demo company is loaded and drafted for; then its rows are multiplied, with ids, keys and times of their own, so that values
are as wide as real ones and indexes fill as they would. docs/scale.md reckons with what comes of it.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from bench.load import Connection, Home, Load, Server
from bench.peer import free_port
from bench.postgres import Cluster, cluster

LARGE = ("signals", "signal_keys", "audit_events", "activities", "search_texts")
SMALLER = (
    "outbox_events", "accounts", "contacts", "contact_points", "leads", "opportunities", "stage_transitions", "consent_grants",
    "person_keys", "generations", "generation_sections", "generation_checks", "generation_figures", "citations", "retrievals",
    "consent_receipts", "jobs.workflow_status",
)  # fmt: skip
CHILDREN = 50
"""Rows that name the same other record: how far an index of a reference can put equal values together."""
WRITES, VECTORS, DIMENSION = 2_000, 20_000, 384
REP = "lei.zhang@example.com"
RECORDS = "{ accounts(first: 20) { edges { node { id } } } opportunities(first: 10) { edges { node { id } } } }"
BRIEF = "mutation($input: DraftVisitBriefInput!) { draftVisitBrief(input: $input) { generation { id } errors { message } } }"
REPLY = "mutation($input: DraftObjectionReplyInput!) { draftObjectionReply(input: $input) { generation { id } errors { message } } }"

log = Console(stderr=True)
T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """One table: how many rows were added, the bytes that one of them took in the table and in each index, and of log."""

    table: str
    rows: int
    bytes: float
    indexes: dict[str, float]
    log: float = 0.0

    @property
    def whole(self) -> float:
        """The bytes of one row with its places in all indexes."""
        return self.bytes + sum(self.indexes.values())


class Sizes:
    """The database in which rows are multiplied and counted."""

    def __init__(self, server: Cluster, name: str) -> None:
        self._server, self._name = server, name

    def ask(self, sql: str) -> list[list[str]]:
        """The rows of a query."""
        asked = ["-X", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql, self._server.url(self._name)]
        done = subprocess.run([self._server.psql, *asked], check=True, capture_output=True, text=True)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def number(self, sql: str) -> int:
        """The one number of a query."""
        return int(self.ask(sql)[0][0])

    def multiply(self, table: str, rows: int) -> Measured | None:
        """Have so many more rows of a table, made from those that are there; None where there are none."""
        if not self.ask(f"SELECT 1 WHERE to_regclass('{table}') IS NOT NULL") or not self.number(
            f"SELECT count(*) FROM {table}"
        ):
            return None
        values = ", ".join(self._values(table))
        names = ", ".join(name for name, *_ in self._columns(table))
        before, wide = self._indexes(table), self._bytes(table)
        insert = (
            f"INSERT INTO {table} ({names}) SELECT {values} FROM generate_series(1, {rows}) AS n JOIN "
            "(SELECT row_number() OVER () - 1 AS its_place, count(*) OVER () AS several, * FROM template) AS row "
            "ON its_place = n % several ORDER BY n"
        )
        commands = ("SET session_replication_role = replica", f"CREATE TEMP TABLE template AS SELECT * FROM {table}")
        start = self.place_in_log()
        self._server.run(self._name, *commands, insert)
        log = self.logged_since(start) / rows
        self._server.run(self._name, f"VACUUM {table}")
        grown = {name: (size - before[name]) / rows for name, size in self._indexes(table).items()}
        return Measured(table, rows, (self._bytes(table) - wide) / rows, grown, log)

    def place_in_log(self) -> str:
        """Where the write-ahead log stands."""
        return self.ask("SELECT pg_current_wal_insert_lsn()")[0][0]

    def logged_since(self, place: str) -> int:
        """The bytes of write-ahead log since then."""
        return self.number(f"SELECT pg_current_wal_insert_lsn() - '{place}'::pg_lsn")

    def events(self) -> dict[str, float]:
        """The bytes of one event of the ledger in its table, by what was done, as the product made them."""
        # Column by column: the size of a whole row leaves out what lies beside it in TOAST.
        columns = " + ".join(f"coalesce(pg_column_size({name}), 0)" for name, _ in self._columns("audit_events"))
        found = self.ask(
            f"SELECT action, round(avg({columns})) FROM audit_events WHERE seq < 10000000 GROUP BY 1 ORDER BY count(*) DESC LIMIT 20"
        )
        return {action: float(size) for action, size in found}

    def _values(self, table: str) -> Iterator[str]:
        """What stands in each column of a new row: its own where a unique index asks for that, else as in the row it is made from."""
        kinds = dict(self._columns(table))
        # Not the instant, by which a row only finds its partition.
        own = {
            [name for name in index.split(",") if kinds[name] != INSTANT][-1]
            for (index,) in self.ask(UNIQUE.format(table=table))
        }
        for name, kind in self._columns(table):
            if name in own:
                yield OWN.get(kind, f"row.{name} || '-' || n")
            elif kind == "uuid":
                yield f"CASE WHEN row.{name} IS NOT NULL THEN md5('{name}' || (n::bigint * 7919 % ({self._parents})))::uuid END"
            elif kind == INSTANT:
                yield f"CASE WHEN row.{name} IS NOT NULL THEN (SELECT max({name}) FROM template) + n * interval '1 ms' END"
            else:
                yield f"row.{name}"

    _parents = f"greatest(row.several, n / {CHILDREN} + 1)"

    def _columns(self, table: str) -> list[list[str]]:
        return self.ask(
            f"SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 "
            "AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
        )

    def _bytes(self, table: str) -> int:
        return self.number(f"SELECT sum(pg_table_size(relid)) FROM {LEAVES.format(table=table)}")

    def _indexes(self, table: str) -> dict[str, int]:
        return {name: int(size) for name, size in self.ask(INDEXES.format(leaves=LEAVES.format(table=table)))}


INSTANT = "timestamp with time zone"
UNIQUE = """SELECT string_agg(attname, ',' ORDER BY place) FROM pg_index, unnest(indkey) WITH ORDINALITY AS key(number, place)
JOIN pg_attribute ON attnum = number WHERE attrelid = indrelid AND indrelid = '{table}'::regclass AND indisunique GROUP BY indexrelid"""
LEAVES = """(SELECT relid FROM pg_partition_tree('{table}') WHERE isleaf UNION SELECT oid FROM pg_class
WHERE oid = '{table}'::regclass AND relkind = 'r') AS t"""
"""The tables in which a table's rows lie: its partitions, or itself."""
INDEXES = """SELECT coalesce(parent.relname, i.relname), sum(pg_relation_size(i.oid)) FROM {leaves}
JOIN pg_index ON indrelid = t.relid JOIN pg_class AS i ON i.oid = indexrelid LEFT JOIN pg_inherits ON inhrelid = i.oid
LEFT JOIN pg_class AS parent ON parent.oid = inhparent GROUP BY 1"""
OWN = {"uuid": "uuidv7()", "bigint": "10000000 + n", "integer": "10000000 + n"}
"""A value of its own: an id as the product makes them, in the order of time, or a number."""


async def draft(port: int, token: str) -> None:
    """Have a brief of every account that the rep sees, and eight replies to objections for every opportunity.

    Raises RuntimeError for one that fails.
    """
    connection = Connection(port, token)
    _, body = await connection.ask(RECORDS)
    accounts, deals = (
        [edge["node"]["id"] for edge in body["data"][name]["edges"]] for name in ("accounts", "opportunities")
    )
    asked = [(BRIEF, {"accountId": id, "clientKey": f"简报-{id}"}) for id in accounts]
    asked += [
        (REPLY, {"opportunityId": id, "concern": f"比上次高了 {n}%，同行更便宜", "clientKey": f"异议-{n}-{id}"})
        for id in deals
        for n in range(3, 11)
    ]
    for document, given in asked:
        status, answer = await connection.ask(document, input=given)
        made = next(iter((answer.get("data") or {"": None}).values()))
        if status != 200 or not made or made["errors"]:
            raise RuntimeError(str(answer)[:300])
    connection.close()


async def written(sizes: Sizes, port: int, token: str) -> dict[str, float]:
    """The bytes of write-ahead log that one logged activity takes, just after a checkpoint and some time after one."""
    connection = Connection(port, token)
    _, body = await connection.ask(RECORDS)
    account = body["data"]["accounts"]["edges"][0]["node"]["id"]
    connection.close()
    found = {}
    for name, prepare in (("warm", "SELECT 1"), ("after a checkpoint", "CHECKPOINT"), ("later", "SELECT 1")):
        sizes.ask(prepare)
        before = sizes.place_in_log()
        await Load(WRITES, key=name).run(port, token, account)
        found[name] = sizes.logged_since(before) / WRITES
    return found


def vectors(sizes: Sizes) -> Measured:
    """What a vector costs in a table and in an HNSW index as pgvector makes it by default."""
    sizes.ask(f"CREATE TABLE vectors (id uuid PRIMARY KEY, passage vector({DIMENSION}))")
    sizes.ask(
        f"INSERT INTO vectors SELECT uuidv7(), (SELECT array_agg(random() - 0.5) FROM generate_series(1, {DIMENSION}) WHERE n > 0)::vector "
        f"FROM generate_series(1, {VECTORS}) AS n"
    )
    sizes.ask("CREATE INDEX vectors_hnsw ON vectors USING hnsw (passage vector_cosine_ops)")
    grown = {name: size / VECTORS for name, size in sizes._indexes("vectors").items()}  # noqa: SLF001
    return Measured("vectors", VECTORS, sizes._bytes("vectors") / VECTORS, grown)  # noqa: SLF001


def served(home: Home, ask: Callable[[int], Coroutine[Any, Any, T]]) -> T:
    """What comes of asking a server that runs meanwhile."""
    running = Server(home, free_port())
    running.start()
    try:
        asyncio.run(running.ready())
        return asyncio.run(ask(running.port))
    finally:
        running.stop()


def measure(folder: Path, rows: int, only: list[str]) -> tuple[list[Measured], dict[str, float], dict[str, float]]:
    """Every table's measure, the log's bytes a write, and the bytes of the ledger's events."""
    with cluster(folder / "data") as server:
        server.create("sizes")
        server.run("sizes", "CREATE EXTENSION vector")
        home = Home(folder / "home", server.url("sizes"), {"SORTIE_ANSWERS_PER_HOUR": "1000000"})
        home.must("migrate")
        home.must("demo")
        token = home.must("token", REP)
        sizes = Sizes(server, "sizes")
        log.print("drafting")
        served(home, lambda port: draft(port, token))
        found = []
        for table, count in [(name, rows) for name in LARGE] + [(name, rows // 10) for name in SMALLER]:
            if only and table not in only:
                continue
            log.print(f"{table}: {count:,} rows")
            one = sizes.multiply(table, count)
            if one is not None:
                found.append(one)
        log.print("writing")
        logged = served(home, lambda port: written(sizes, port, token))
        log.print(f"{VECTORS:,} vectors")
        found.append(vectors(sizes))
        return found, logged, sizes.events()


def tell(found: list[Measured], logged: dict[str, float], events: dict[str, float]) -> None:
    """Print what was measured."""
    shown = Table("table", "rows added", "bytes a row", "in indexes", "together", "of log", "indexes")
    for one in found:
        indexes = ", ".join(
            f"{name} {size:.0f}" for name, size in sorted(one.indexes.items(), key=lambda each: -each[1])
        )
        shown.add_row(
            one.table,
            f"{one.rows:,}",
            f"{one.bytes:.0f}",
            f"{one.whole - one.bytes:.0f}",
            f"{one.whole:.0f}",
            f"{one.log:.0f}",
            indexes,
        )
    Console(width=200).print(shown)
    for name, size in logged.items():
        print(f"write-ahead log of a logged activity, {name}: {size:,.0f} bytes")
    for action, size in events.items():
        print(f"event {action}: {size:,.0f} bytes in its table")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows added to each large table; a tenth to others")
    parser.add_argument("--only", nargs="*", default=[], metavar="TABLE", help="these tables alone")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sortie-sizes-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        # PostgreSQL runs as a user of its own where this is root.
        folder.chmod(0o755)
        found, logged, events = measure(folder, options.rows, options.only)
    tell(found, logged, events)
    if options.json:
        kept = {"tables": [asdict(one) for one in found], "log": logged, "events": events}
        options.json.write_text(json.dumps(kept, indent=1), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
