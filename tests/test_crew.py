"""Several processes of one installation: one port, workers, whoever dies is replaced, all end together."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.installation import COMMAND, READY_SECONDS, Home, own_database, running

VIEWER = "{ viewer { name } }"


@pytest.fixture
def home(postgres_url: str, tmp_path: Path) -> Iterator[tuple[Home, dict[str, str]]]:
    """An installation on PostgreSQL with the demo company, in a database of its own."""
    with own_database(postgres_url) as url:
        more = {"SORTIE_DATABASE_URL": url}
        made = Home(tmp_path / "家")
        for command in ("migrate", "demo"):
            done = made.run(command, **more)
            assert done.returncode == 0, done.stderr
        yield made, more


def children(pid: int) -> dict[int, str]:
    """The processes that one has begun, by what they do."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ") for child in found}


def ask(address: str, token: str, document: str, **variables: Any) -> Any:
    answer = httpx2.post(
        f"http://{address}/graphql", json={"query": document, "variables": variables}, headers={"authorization": f"Bearer {token}"}, timeout=20,
    )  # fmt: skip
    return answer.json()["data"]


def asked_until(address: str, token: str, document: str, good: Any, seconds: float = 40, **variables: Any) -> Any:
    """The first answer that is as wanted, whatever fails meanwhile."""
    until = time.monotonic() + seconds
    while True:
        try:
            found = ask(address, token, document, **variables)
            if good(found):
                return found
        except (httpx2.HTTPError, KeyError):
            found = None
        assert time.monotonic() < until, found
        time.sleep(0.2)


def test_a_process_that_dies_is_replaced_and_all_end_together(home: tuple[Home, dict[str, str]]) -> None:
    installation, more = home
    token = installation.run("token", "lei.zhang@example.com", **more).stdout.strip()
    quick = {"SORTIE_LEAD_REMINDER_MINUTES": "0.05", "SORTIE_LEAD_ESCALATION_MINUTES": "0.2"}
    server = running(installation, "--workers", "2", **more, **quick)
    with server as address:
        before = children(server.process.pid)
        assert sorted(words.split()[-1] == "worker" for words in before.values()) == [False, False, True]
        assert ask(address, token, VIEWER)["viewer"]["name"] == "张磊"
        capture = "mutation($input: CaptureLeadInput!) { captureLead(input: $input) { lead { id } } }"
        given = {"source": "官网", "externalId": "1", "name": "李雷", "phone": "13800138001"}
        lead = ask(address, token, capture, input=given)["captureLead"]["lead"]["id"]
        for pid, words in before.items():
            if words.split()[-1] == "worker" or pid == min(before):
                os.kill(pid, signal.SIGKILL)
        # One of those that serve is left, and the port with it.
        asked_until(address, token, VIEWER, lambda found: found["viewer"]["name"] == "张磊")
        told = "query($id: ID!) { node(id: $id) { ... on Lead { remindedAt escalatedAt } } }"
        asked_until(address, token, told, lambda found: found["node"]["escalatedAt"], id=lead)
        after = children(server.process.pid)
        assert len(after) == 3
        assert len(after.keys() - before.keys()) == 2
    assert not [pid for pid in after if Path(f"/proc/{pid}").exists()]


def test_a_worker_apart_does_what_the_servers_leave(home: tuple[Home, dict[str, str]]) -> None:
    installation, more = home
    token = installation.run("token", "lei.zhang@example.com", **more).stdout.strip()
    quick = more | {"SORTIE_LEAD_REMINDER_MINUTES": "0.02", "SORTIE_LEAD_ESCALATION_MINUTES": "0.04"}
    server = running(installation, "--workers", "2", **quick, SORTIE_JOBS="apart")
    with server as address:
        assert len(children(server.process.pid)) == 2
        capture = "mutation($input: CaptureLeadInput!) { captureLead(input: $input) { lead { id } } }"
        given = {"source": "官网", "externalId": "2", "name": "韩梅梅", "phone": "13800138002"}
        lead = ask(address, token, capture, input=given)["captureLead"]["lead"]["id"]
        worker = subprocess.Popen(
            [*COMMAND, "worker"], env=installation.environment(**quick), cwd=installation.path, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )  # fmt: skip
        try:
            told = "query($id: ID!) { node(id: $id) { ... on Lead { escalatedAt } } }"
            asked_until(address, token, told, lambda found: found["node"]["escalatedAt"], id=lead)
        finally:
            worker.terminate()
            _, said = worker.communicate(timeout=30)
        assert worker.returncode == 0, said
        assert "后台任务" in said


def test_sqlite_has_one_process(tmp_path: Path) -> None:
    home = Home(tmp_path / "家")
    for arguments in (("serve", "--workers", "2"), ("worker",)):
        done = home.run(*arguments)
        assert done.returncode != 0
        assert "SQLite 只能由一个进程使用" in done.stderr
        assert "SQLite is for one process" in home.run(*arguments, SORTIE_LANGUAGE="en").stderr


def test_a_crew_that_cannot_start_says_why_and_ends(home: tuple[Home, dict[str, str]]) -> None:
    installation, more = home
    done = installation.run(
        "serve", "--workers", "2", "--port", "0", **more, SORTIE_TRUSTED_DOCUMENTS="没有这个文件.json"
    )
    assert done.returncode != 0
    assert "没有一个进程能够启动" in done.stderr


def test_processes_that_come_first_to_a_new_database_come_up_together(postgres_url: str, tmp_path: Path) -> None:
    """Each would make the job tables and define the purposes of consent; nobody has to wait for one that waits for him."""
    made = Home(tmp_path / "家")
    with own_database(postgres_url) as url:
        more = {"SORTIE_DATABASE_URL": url}
        done = subprocess.run(
            [*COMMAND[:2], "import asyncio, sys; from migrations import migrate; asyncio.run(migrate(sys.argv[1]))", url.replace("postgresql", "postgresql+asyncpg")],
            check=False, capture_output=True, env=made.environment(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        made.path.mkdir()
        began = time.monotonic()
        with ExitStack() as stack:
            servers = [running(made, **more) for _ in range(3)]
            with ThreadPoolExecutor(3) as pool:
                for address in pool.map(stack.enter_context, servers):
                    assert address
        assert time.monotonic() - began < READY_SECONDS
