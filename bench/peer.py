"""The peer: PostGraphile 5 on Node 22, installed from npm into the folder of what is kept between runs."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import cpu_seconds

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("SORTIE_HOME", "var")).absolute() / "bench" / "peer"
READY_SECONDS = 30.0


def install_wrk() -> None:
    """Have wrk.

    Raises RuntimeError, saying how to get it, where it cannot be had.
    """
    if shutil.which("wrk") is None and shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=False, capture_output=True)
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk is missing and cannot be installed; on Debian: sudo apt-get install wrk")


def install() -> None:
    """Have the peer.

    Raises RuntimeError where there is no npm to get it with.
    """
    if shutil.which("npm") is None:
        raise RuntimeError("npm is missing, with which the peer is installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "postgraphile" / "package.json").read_text()
    stamp = CACHE / ".installed"
    for name in ("package.json", "server.mjs"):
        shutil.copy(HERE / "postgraphile" / name, CACHE / name)
    if not stamp.exists() or stamp.read_text() != wanted:
        npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(npm, cwd=CACHE, check=True)
        # The package `node` brings its binary by a script that some installations of npm do not run by themselves.
        if not (CACHE / "node_modules" / "node" / "bin" / "node").exists():
            subprocess.run(["npm", "rebuild", "node", "--ignore-scripts=false"], cwd=CACHE, check=True)
        stamp.write_text(wanted)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(url: str, cpu: int) -> Iterator[tuple[int, int]]:
    """The peer on a database, on one core: its port and process.

    Raises RuntimeError when it does not come up.
    """
    port, node = free_port(), CACHE / "node_modules" / ".bin" / "node"
    process = subprocess.Popen(
        ["taskset", "-c", str(cpu), str(node), "server.mjs"], cwd=CACHE, stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "PORT": str(port), "DATABASE_URL": url, "NODE_ENV": "production"},
    )  # fmt: skip
    try:
        _wait(port)
        yield port, serving_process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the peer does not come up")


def serving_process(pid: int) -> int:
    """The process itself, or the one that it started and waits for: npm's `node` may be a script."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max((pid, *map(int, children)), key=cpu_seconds)
