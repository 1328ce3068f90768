"""One cell of a comparison: a server under load for some seconds, and what it cost, errors counted in checked requests."""

import asyncio
import itertools
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bench.load import Connection

HERE = Path(__file__).parent
SERVER_CPU, OTHER_CPU = 0, 1
CONNECTIONS, CHECKED, SAMPLE, QUIET_SECONDS, SHOWN, ENOUGH = 32, 64, 32, 15.0, 400, 3
_RUNS = itertools.count()

Line = tuple[str, bytes]
Answer = Callable[[Any], Any]


@dataclass(frozen=True)
class Target:
    """A server that can be asked, and what it and its database have used of the processors."""

    name: str
    port: int
    cpu_seconds: Callable[[], float]
    database_seconds: Callable[[], float]


@dataclass
class Cell:
    """What one server did with one file of requests, a figure a repeat."""

    target: Target
    lines: Sequence[Line]
    answer: Answer
    connections: int = CONNECTIONS
    pinned: bool = True
    """Whether the load keeps to the core that is not the server's."""
    rps: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    database_us: list[float] = field(default_factory=list)
    load_us: list[float] = field(default_factory=list)
    errors: int = 0

    def median(self, figure: str) -> float:
        """The median of a figure over the repeats."""
        return float(statistics.median(getattr(self, figure)))

    def warm_up(self, seconds: int, folder: Path) -> None:
        """Load the server and forget what that cost."""
        Cell(self.target, self.lines, self.answer, self.connections, self.pinned).run(seconds, folder)

    def run(self, seconds: int, folder: Path) -> None:
        """Load the server for some seconds and take what that cost; check requests afterwards."""
        file = folder / "requests.txt"
        file.write_bytes(b"\n".join(token.encode() + b"\t" + body for token, body in self.lines))
        number = f"{next(_RUNS)}-{time.time_ns()}"
        before, database_before = self.target.cpu_seconds(), self.target.database_seconds()
        own = _ended_seconds()
        rps, p50, p99, requests, failed = _wrk(
            self.target.port, self.connections, seconds, file, number, pinned=self.pinned
        )
        used, database_used = self.target.cpu_seconds() - before, self.target.database_seconds() - database_before
        self.rps.append(rps)
        self.p50_ms.append(p50)
        self.p99_ms.append(p99)
        self.cpu_us.append(used / max(1, requests) * 1e6)
        self.database_us.append(database_used / max(1, requests) * 1e6)
        self.load_us.append((_ended_seconds() - own) / max(1, requests) * 1e6)
        self.errors += int(failed) + len(check(self.target, self.lines[:CHECKED], self.answer))


def _ended_seconds() -> float:
    """The processor time of this process' children that have ended."""
    used = os.times()
    return used.children_user + used.children_system


def _wrk(port: int, connections: int, seconds: int, file: Path, number: str, *, pinned: bool) -> tuple[float, ...]:
    command = [
        *(["taskset", "-c", str(OTHER_CPU)] if pinned else []),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "20s",
    ]
    script = ["-s", str(HERE / "load.lua"), f"http://127.0.0.1:{port}", "--", str(file), number]
    done = subprocess.run([*command, *script], capture_output=True, text=True, check=True)
    found = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if found is None:
        raise RuntimeError(f"wrk said nothing: {done.stdout}{done.stderr}")
    return tuple(map(float, found.split()[1:]))


def answers(target: Target, lines: Iterable[Line]) -> list[tuple[int, Any]]:
    """Status and answer of each request, asked one after another on one connection a token; until nothing comes any more."""

    async def go() -> list[tuple[int, Any]]:
        found, open_ones = [], dict[str, Connection]()
        for at, (token, body) in enumerate(lines):
            connection = open_ones.setdefault(token, Connection(target.port, token or None))
            asked = orjson.loads(body.replace(b"@KEY@", f"checked-{time.time_ns()}-{at}".encode()))
            try:
                found.append(await connection.ask(asked["query"], **asked["variables"]))
            except OSError as error:
                found.append((0, {"errors": [str(error)]}))
            if len(found) >= ENOUGH and all(status != 200 for status, _ in found[-ENOUGH:]):
                break
        for connection in open_ones.values():
            connection.close()
        return found

    return asyncio.run(go())


def check(target: Target, lines: Iterable[Line], answer: Answer) -> list[str]:
    """What was no whole answer among those requests: a GraphQL error within a 200 is none."""
    wrong = []
    for status, found in answers(target, lines):
        if status != 200 or found.get("errors"):
            wrong.append(f"{target.name}: {status} {str(found)[:300]}")
            continue
        try:
            answer(found["data"])
        except (KeyError, TypeError, IndexError):
            wrong.append(f"{target.name}: {str(found)[:300]}")
    return wrong


def differences(ours: Cell, peer: Cell) -> list[str]:
    """The requests of a sample that the two servers answer differently, masked values aside."""
    wrong = check(ours.target, ours.lines[:SAMPLE], ours.answer) + check(peer.target, peer.lines[:SAMPLE], peer.answer)
    if wrong:
        return wrong
    step = max(1, len(ours.lines) // SAMPLE)
    both = zip(answers(ours.target, ours.lines[::step]), answers(peer.target, peer.lines[::step]), strict=True)
    pairs = [(ours.answer(mine["data"]), peer.answer(theirs["data"])) for (_, mine), (_, theirs) in both]
    return [f"{str(mine)[:SHOWN]}\n  {str(theirs)[:SHOWN]}" for mine, theirs in pairs if mine != theirs]


def settle(targets: Sequence[Target]) -> None:
    """Wait until no server does anything of its own, such as sealing what was written; for a while at most."""
    until = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        before = sum(target.cpu_seconds() for target in targets)
        time.sleep(0.25)
        if sum(target.cpu_seconds() for target in targets) - before < 0.02:
            return
