"""Documents drawn from the schema by schemathesis, put to a real server as a rep: every error has a code, and none is ours.

`python -m tests.fuzz --seconds 120 [--seed N]` (that is `make fuzz`) starts a server with the demo company in a temporary
directory and ends with status 1 when one answer is a 5xx, an INTERNAL error, or an error without a code.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes
from rich.console import Console
from rich.progress import Progress
from schemathesis.core.result import Ok

from domain.kernel import ErrorCode
from tests.installation import ROOT, Home, running

CODES = {code.value for code in ErrorCode}
IDS = "{accounts{edges{node{id opportunities{edges{node{id stage{id}}}} contacts{edges{node{id}}}}}} leads{edges{node{id owner{id}}}} knowledgeItems{edges{node{id}}}}"
_ID = re.compile(r'((?:\b|[a-z])[iI]d): "(?:\\.|[^"\\])*"')
_SIZE = re.compile(r"\b(first|last): -?[0-9]+")
_VERSION = re.compile(r"\bexpectedVersion: -?[0-9]+")
_TOLD = re.compile(r"(\)) \{", re.DOTALL)
"""The selection of a mutation: there it says why it refused."""
_STRING = {
    "DateTime": st.sampled_from(
        [
            *["2026-11-20T08:00:00Z", "1950-01-01T00:00:00+08:00", "9999-12-31T23:59:59Z"] * 4,
            "2026-02-30T00:00:00Z",
            "昨天",
        ]
    ),
    "Date": st.sampled_from([*["2026-11-20", "0001-01-01", "9999-12-31"] * 4, "2026-13-01", "明天"]),
    "Decimal": st.sampled_from([*["1250000.00", "-1", "0", "0.001", "99999999999999999999"] * 4, "1e400", "NaN", "九"]),
}
JSON_VALUES = st.sampled_from([nodes.Null, nodes.Boolean(True), nodes.Int(7), nodes.String("省长")])


def _register() -> None:
    for name, strategy in _STRING.items():
        schemathesis.graphql.scalar(name, strategy.map(nodes.String))
    schemathesis.graphql.scalar("JSON", JSON_VALUES)


@dataclass
class Found:
    """What came of the documents: how many, the codes that were seen, and what is wrong."""

    asked: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Fuzzer:
    """A rep who asks whatever the schema allows, half of the time about records that are there."""

    def __init__(self, url: str, token: str, seed: int) -> None:
        # Drawing may take longer than the server keeps an idle connection.
        limits = httpx2.Limits(keepalive_expiry=5)
        self._client = httpx2.Client(headers={"authorization": f"Bearer {token}"}, timeout=60, limits=limits)
        self._url = url
        self._random = random.Random(seed)
        self._ids = sorted(_ids(self._client.post(url, json={"query": IDS}).json()["data"]))
        self.found = Found()

    def ask(self, document: str) -> None:
        """Put a document to the server, and judge the answer."""
        if self._random.random() < 0.7:
            document = _ID.sub(lambda match: f'{match[1]}: "{self._random.choice(self._ids)}"', document)
            document = _VERSION.sub(lambda _match: f"expectedVersion: {self._random.randint(1, 3)}", document)
            document = _SIZE.sub(lambda match: f"{match[1]}: {self._random.randint(1, 5)}", document)
        document = (
            _TOLD.sub(r"\1 {refused: errors {code message path} ", document)
            if document.lstrip().startswith("mutation")
            else document
        )
        answer = self._client.post(self._url, json={"query": document})
        self.found.asked += 1
        told = answer.json()
        errors = [*(told.get("errors") or ()), *_refusals(told.get("data"))]
        codes = [(error.get("extensions") or error).get("code") for error in errors]
        self.found.codes.update(map(str, codes))
        wrong = [code for code in codes if code not in CODES or code == "INTERNAL"]
        if answer.status_code >= 500 or wrong:
            self.found.problems.append(
                f"{answer.status_code} {json.dumps(errors, ensure_ascii=False)[:400]}\n    {document[:1500]}"
            )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _ids(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        if isinstance(data.get("id"), str):
            yield data["id"]
        for value in data.values():
            yield from _ids(value)
    elif isinstance(data, list):
        for value in data:
            yield from _ids(value)


def _refusals(data: Any) -> Iterator[dict[str, Any]]:
    """The errors in the payloads of mutations."""
    for payload in data.values() if isinstance(data, dict) else ():
        yield from (payload.get("refused") or ()) if isinstance(payload, dict) else ()


def operations() -> list[Any]:
    """Every field of Query and Mutation as schemathesis sees it."""
    _register()
    schema = schemathesis.graphql.from_path(ROOT / "api" / "schema.graphql")
    found = [operation.ok() for operation in schema.get_all_operations() if isinstance(operation, Ok)]
    assert found
    return found


def documents(operation: Any, count: int, *, derandomize: bool) -> list[str]:
    """So many documents of one operation."""
    drawn: list[str] = []

    @settings(
        max_examples=count,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def draw(case: Any) -> None:
        drawn.append(case.body)

    draw()
    return drawn


def main() -> int:
    """Ask for so many seconds."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=120)
    arguments.add_argument("--seed", type=int, default=0)
    told = arguments.parse_args()
    ends = time.monotonic() + told.seconds
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
        home = Home(Path(folder) / "var")
        home.run("demo")
        task = progress.add_task("asking", total=told.seconds)
        with running(home, SORTIE_REQUESTS_PER_MINUTE="1000000", SORTIE_ANSWERS_PER_HOUR="1000000") as address:
            fuzzer = Fuzzer(
                f"http://{address}/graphql", home.run("token", "lei.zhang@example.com").stdout.strip(), told.seed
            )
            every = operations()
            while time.monotonic() < ends:
                for operation in every:
                    for document in documents(operation, 5, derandomize=False):
                        fuzzer.ask(document)
                    progress.update(task, completed=told.seconds - max(0, ends - time.monotonic()))
                    if time.monotonic() >= ends:
                        break
            fuzzer.close()
    found = fuzzer.found
    print(
        f"{found.asked} documents of {len(every)} operations; codes: {dict(found.codes)}; wrong: {len(found.problems)}"
    )
    for problem in found.problems[:20]:
        print(problem)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
