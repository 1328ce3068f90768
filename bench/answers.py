"""How long a rep waits for an answer of the offline composer: 200 briefs and 200 objection replies over HTTP, one after another."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

REQUESTS, WARM_UP = 200, 10
REP = "lei.zhang@example.com"
THRESHOLDS_MS = {"visit brief": 300, "objection reply": 120}
CONCERNS = ("价格太高了", "你们的交期太长", "我们已经在用别家的了", "预算还没批下来", "担心设备不稳定", "要先试用再说")
RESULTS = Path(__file__).parent / "results" / "answers.json"
SORTIE = Path(sys.executable).with_name("sortie")

BRIEF = "mutation ($input: DraftVisitBriefInput!) { draftVisitBrief(input: $input) { generation { text disposition } errors { message } } }"
REPLY = "mutation ($input: DraftObjectionReplyInput!) { draftObjectionReply(input: $input) { generation { text disposition } errors { message } } }"
RECORDS = "{ accounts(first: 20) { edges { node { id } } } opportunities(first: 50, filter: {open: true}) { edges { node { id } } } }"
READY = '{ searchKnowledge(query: "价格") { degraded } }'

log = Console(stderr=True)


@dataclass(frozen=True)
class Measured:
    """The latencies of one kind of request, in milliseconds, and how many were no answer."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    threshold_p95_ms: int


class Client:
    """A rep's connection to the server."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx2.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30)
        self._url = url

    def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """The answer to a document."""
        reply: dict[str, Any] = self._http.post(self._url, json={"query": document, "variables": variables}).json()
        return reply


def run(environment: dict[str, str], *words: str) -> str:
    """What a `sortie` command prints."""
    return subprocess.run(
        [str(SORTIE), *words], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def link_model(home: Path) -> None:
    """Have the embedding model in a new home, if it was made ready before."""
    model = Path(os.environ.get("SORTIE_HOME", "var")) / "model"
    if model.exists():
        (home / "model").symlink_to(model.resolve())


@contextmanager
def server(home: Path) -> Iterator[Client]:
    """A server on a fresh demo company, with every passage embedded."""
    link_model(home)
    environment = os.environ | {
        "SORTIE_HOME": str(home),
        "SORTIE_ANSWERS_PER_HOUR": "100000",
        "SORTIE_LOG_LEVEL": "WARNING",
    }
    run(environment, "migrate")
    run(environment, "demo")
    port = "8765"
    process = subprocess.Popen([str(SORTIE), "serve", "--port", port], env=environment)
    try:
        client = Client(f"http://127.0.0.1:{port}/graphql", run(environment, "token", REP))
        _wait(client)
        yield client
    finally:
        process.terminate()
        process.wait(20)


def _wait(client: Client, seconds: int = 600) -> None:
    deadline = time.monotonic() + seconds
    with log.status("waiting until every passage has its vector"):
        while time.monotonic() < deadline:
            try:
                if client.ask(READY)["data"]["searchKnowledge"]["degraded"] is None:
                    return
            except (httpx2.HTTPError, KeyError, TypeError):
                pass
            time.sleep(0.5)
    raise TimeoutError(f"the server was not ready within {seconds} s")


def measure(client: Client, name: str, document: str, inputs: list[dict[str, Any]]) -> Measured:
    """Ask one after another and take the time of each; an answer without text or with errors counts as an error."""
    field = document.split("{", 1)[1].split("(", 1)[0].strip()
    latencies, errors = [], 0
    with log.status(f"{name}: {len(inputs)} requests"):
        for number, given in enumerate(inputs):
            started = time.perf_counter()
            reply = client.ask(document, input=given)
            elapsed = (time.perf_counter() - started) * 1000
            payload = (reply.get("data") or {}).get(field) or {}
            if number >= WARM_UP:
                latencies.append(elapsed)
                errors += bool(reply.get("errors") or payload.get("errors")) or not (
                    payload.get("generation") or {}
                ).get("text")
    cuts = statistics.quantiles(latencies, n=100)
    return Measured(round(cuts[49], 1), round(cuts[94], 1), round(cuts[98], 1), errors, THRESHOLDS_MS[name])


def main() -> int:
    """Measure, print a table, write the results, and say by the exit code whether the thresholds hold."""
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as client:
        found = client.ask(RECORDS)["data"]
        accounts = [edge["node"]["id"] for edge in found["accounts"]["edges"]]
        deals = [edge["node"]["id"] for edge in found["opportunities"]["edges"]]
        count = REQUESTS + WARM_UP
        briefs = [{"accountId": accounts[at % len(accounts)], "clientKey": f"bench-brief-{at}"} for at in range(count)]
        replies = [
            {
                "opportunityId": deals[at % len(deals)],
                "concern": CONCERNS[at % len(CONCERNS)],
                "clientKey": f"bench-reply-{at}",
            }
            for at in range(count)
        ]
        results = {
            "visit brief": measure(client, "visit brief", BRIEF, briefs),
            "objection reply": measure(client, "objection reply", REPLY, replies),
        }
    table = Table("offline composer, demo data, over HTTP", "p50 ms", "p95 ms", "p99 ms", "errors", "p95 at most")
    for name, measured in results.items():
        table.add_row(name, *(str(value) for value in asdict(measured).values()))
    Console().print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({name: asdict(measured) for name, measured in results.items()}, indent=1) + "\n", encoding="utf-8"
    )
    return int(any(measured.p95_ms > measured.threshold_p95_ms or measured.errors for measured in results.values()))


if __name__ == "__main__":
    sys.exit(main())
