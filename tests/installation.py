"""An installation as people run it: a home directory, the command as a process of its own, a server from ready to SIGTERM."""

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

COMMAND = [sys.executable, "-c", "from api.cli import main; main()"]
ROOT = Path(__file__).parent.parent
READY_SECONDS = 60


@contextmanager
def own_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database of that PostgreSQL, for one test alone."""
    name = f"own_{secrets.token_hex(6)}"
    base, _, query = postgres_url.replace("+asyncpg", "").partition("?")

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name}"))
    try:
        yield f"{base.rpartition('/')[0]}/{name}{'?' + query if query else ''}"
    finally:
        asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


@dataclass(frozen=True)
class Home:
    """A folder in which the command keeps its state."""

    path: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        own = {
            "SORTIE_HOME": str(self.path),
            "SORTIE_LANGUAGE": "zh",
            "SORTIE_EMBEDDING_MODEL": "off",
            "PYTHONPATH": str(ROOT),
        }
        return kept | own | more

    def run(self, *arguments: str, typed: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, in a folder without a .env; `typed` comes in by stdin."""
        self.path.mkdir(exist_ok=True)
        return subprocess.run(
            [*COMMAND, *arguments], env=self.environment(**more), cwd=self.path, capture_output=True, text=True, check=False,
            encoding="utf-8", input=typed,
        )  # fmt: skip


class running:  # noqa: N801 - read as a phrase: with running(home)
    """A server process from its ready line to its end by SIGTERM; `said` grows by what it writes to stderr."""

    def __init__(self, home: Home, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", *options], env=home.environment(**environment), cwd=home.path, stderr=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        self.said: list[str] = []
        self.address = ""
        self._ready = threading.Event()
        # A pipe that nobody reads fills up, and the server would wait for it.
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> str:
        self._listener.start()
        if not self._ready.wait(READY_SECONDS) or not self.address:
            self.process.kill()
            raise AssertionError("".join(self.said))
        return self.address

    def __exit__(self, *_error: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(READY_SECONDS)
        self._listener.join(READY_SECONDS)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process.stdout, self.process.stderr:
            assert self.process.stdout.read() == ""
        assert self.process.returncode == 0, "".join(self.said)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"http://(127\.0\.0\.1:\d+)/graphql", line):
                self.address = found.group(1)
                self._ready.set()
        self._ready.set()
