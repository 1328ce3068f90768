"""A server as a process that can be killed, and clients that write to it until every write is acknowledged."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

CLIENTS, GIVE_UP_SECONDS, PAUSE_SECONDS = 16, 60.0, 0.02
LOG = "mutation ($input: LogActivityInput!) { logActivity(input: $input) { activity { id } errors { code message } } }"
SORTIE = [sys.executable, "-c", "from api.cli import main; main()"]
ROOT = Path(__file__).parent.parent


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, of itself alone."""
    return _seconds(pid, 11)


def ended_seconds(pid: int) -> float:
    """The processor time of a process' children that have ended."""
    return _seconds(pid, 13)


def _seconds(pid: int, at: int) -> float:
    """Two neighbours of a process' figures, time as a user and in the system, in seconds."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[at]) + int(words[at + 1])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Home:
    """An installation in a folder, the database that it uses, and settings that differ from a benchmark's usual ones."""

    path: Path
    url: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The environment of its commands."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return kept | {
            "SORTIE_HOME": str(self.path),
            "SORTIE_DATABASE_URL": self.url,
            "SORTIE_EMBEDDING_MODEL": "off",
            "SORTIE_LANGUAGE": "en",
            "SORTIE_LOG_LEVEL": "WARNING",
            "SORTIE_REQUESTS_PER_MINUTE": "10000000",
            "PYTHONPATH": str(ROOT),
            **self.settings,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        self.path.mkdir(exist_ok=True, parents=True)
        return subprocess.run(
            [*SORTIE, *arguments], env=self.environment(), cwd=self.path, capture_output=True, text=True, check=False
        )

    def must(self, *arguments: str) -> str:
        """What a command prints.

        Raises RuntimeError when it fails.
        """
        done = self.run(*arguments)
        if done.returncode:
            raise RuntimeError(f"sortie {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()


class Server:
    """A server process on a port that stays the same however often it is killed."""

    def __init__(self, home: Home, port: int, cpu: int | None = None, options: Sequence[str] = ()) -> None:
        self.port = port
        self._options = options
        self._home = home
        self._pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with (self._home.path / "server.log").open("ab") as errors:
            self._process = subprocess.Popen(
                [*self._pinned, *SORTIE, "serve", "--port", str(self.port), *self._options], env=self._home.environment(), cwd=self._home.path, stderr=errors
            )  # fmt: skip

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._running.kill()
        self._running.wait()

    def stop(self) -> None:
        """End it by SIGTERM."""
        self._running.terminate()
        self._running.wait(30)

    def cpu_seconds(self) -> float:
        """The processor time that it has used, of itself alone."""
        return cpu_seconds(self._running.pid)

    async def ready(self) -> float:
        """Wait until an anonymous request is answered; the seconds that took.

        Raises RuntimeError when it does not come up.
        """
        began = time.perf_counter()
        while time.perf_counter() - began < GIVE_UP_SECONDS:
            if self._running.poll() is not None:
                raise RuntimeError((self._home.path / "server.log").read_text()[-2_000:])
            connection = Connection(self.port, None)
            try:
                status, _ = await connection.ask("{ __typename }")
                if status == 200:
                    return time.perf_counter() - began
            except OSError:
                pass
            finally:
                connection.close()
            await asyncio.sleep(PAUSE_SECONDS)
        raise RuntimeError("the server does not come up")


class Worker:
    """A worker process that can be killed and begun anew."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with (self._home.path / "worker.log").open("ab") as errors:
            self._process = subprocess.Popen(
                [*SORTIE, "worker"], env=self._home.environment(), cwd=self._home.path, stderr=errors
            )

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the worker was not started")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    def pause(self) -> None:
        """Have it stand still."""
        self._running.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it go on."""
        self._running.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._running.kill()
        self._running.wait()

    def stop(self) -> None:
        """End it by SIGTERM."""
        self._running.terminate()
        self._running.wait(30)


class Connection:
    """One HTTP connection that is kept open; written by hand, since the load must not cost the server's processor."""

    def __init__(self, port: int, token: str | None) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        self._head = (
            f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{bearer}Content-Length: "
        )

    async def ask(self, document: str, **variables: Any) -> tuple[int, dict[str, Any]]:
        """The status and the answer.

        Raises OSError when the server goes away; the next request connects anew.
        """
        body = orjson.dumps({"query": document, "variables": variables})
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            answer = await reader.readexactly(int(length.split(b":")[1]))
        except (OSError, EOFError) as error:
            self.close()
            raise ConnectionError("the server went away") from error
        return int(head[9:12]), orjson.loads(answer)

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Load:
    """The writes of all clients: what was acknowledged, how long each took, and what was refused."""

    target: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    tick: Callable[[int], None] = lambda _count: None
    first: int = 0
    key: str = "写入"
    _next: int = 0

    async def run(self, port: int, token: str, account: str) -> None:
        """Write until every key is acknowledged."""
        self._next = self.first
        await asyncio.gather(*(self._client(port, token, account) for _ in range(CLIENTS)))

    async def _client(self, port: int, token: str, account: str) -> None:
        connection = Connection(port, token)
        while self._next < self.target:
            number, self._next = self._next, self._next + 1
            await self._write(connection, f"{self.key}-{number}", account)
        connection.close()

    async def _write(self, connection: Connection, key: str, account: str) -> None:
        """Send one write until it is acknowledged: the same key again after a lost connection."""
        input = {
            "relatedToId": account,
            "kind": "CALL",
            "subject": f"回访 {key}",
            "body": "客户在意交期",
            "clientKey": key,
        }
        while True:
            began = time.perf_counter()
            try:
                status, answer = await connection.ask(LOG, input=input)
            except OSError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            payload = (answer.get("data") or {}).get("logActivity") or {}
            if status == 200 and payload.get("activity"):
                self.seconds.append(time.perf_counter() - began)
                self.acknowledged[key] = payload["activity"]["id"]
                self.tick(len(self.acknowledged))
                return
            self.refused.append(f"{status} {answer}")
            if len(self.refused) > 100:
                raise RuntimeError(self.refused[-1])
            await asyncio.sleep(PAUSE_SECONDS)
