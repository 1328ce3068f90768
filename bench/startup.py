"""How long a server with the demo company takes to be ready on SQLite, and what memory it holds, before and after requests."""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

COMMAND = [sys.executable, "-c", "from api.cli import main; main()"]
READY_SECONDS, MEMORY_MB = 3.0, 200
SETTLED_SECONDS = 3.0
DOCUMENT = "{opportunities(first: %d){totalCount edges{node{id name account{name} owner{name}}}} accounts(first: %d){edges{node{name}}}}"


def measured(environment: dict[str, str], token: str, requests: int) -> dict[str, float]:
    """Start, ask and stop one server: seconds until it is ready, its processor time by then, MB of memory."""
    started = time.monotonic()
    server = subprocess.Popen([*COMMAND, "serve", "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None  # noqa: S101 - asked for above
        address = next(
            found.group(1) for line in server.stderr if (found := re.search(r"http://([\d.:]+)/graphql", line))
        )
        ready, processor = time.monotonic() - started, _processor_seconds(server.pid)
        time.sleep(SETTLED_SECONDS)
        idle = _memory_mb(server.pid)
        with httpx2.Client(headers={"authorization": f"Bearer {token}"}) as client:
            for number in range(requests):
                query = DOCUMENT % (number % 50 + 1, number % 20 + 1)
                answer = client.post(f"http://{address}/graphql", json={"query": query}).json()
                if "errors" in answer:
                    raise SystemExit(f"an answer with errors: {answer['errors']}")
        return {"ready_s": ready, "processor_s": processor, "idle_mb": idle, "asked_mb": _memory_mb(server.pid)}
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else 0.0


def main() -> int:
    """Print the medians of some starts as JSON; 1 where they are more than what they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
            "SORTIE_HOME": home, "SORTIE_EMBEDDING_MODEL": "off", "SORTIE_LOG_LEVEL": "WARNING", "PYTHONPATH": str(Path(__file__).parent.parent),
        }  # fmt: skip
        subprocess.run([*COMMAND, "demo"], env=environment, check=True, stderr=subprocess.DEVNULL)
        token = subprocess.run(
            [*COMMAND, "token", "lei.zhang@example.com"], env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()
        runs = [measured(environment, token, given.requests) for _ in range(given.repeats)]
    found = {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
    print(json.dumps(found))
    return int(found["ready_s"] > READY_SECONDS or found["asked_mb"] > MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(main())
