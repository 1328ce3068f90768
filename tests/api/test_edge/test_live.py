"""Live updates over real sockets and event streams: one server on SQLite, two on one PostgreSQL."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from websockets.sync.client import ClientConnection

from api.reads import global_id
from domain import accounts
from domain.kernel import SYSTEM, Database, Role
from domain.ledger import LedgerRecorder
from migrations import migrate
from tests.api.test_edge.test_sockets import begin, opened, send
from tests.factories import add_colleague, add_territories
from tests.installation import Home, running

WATCH = "subscription($ids: [ID!]!){recordChanged(ids: $ids){kind id node{... on Account{name version}}}}"
BOARD = "subscription{recordsChanged(kinds: [ACCOUNT]){kind id node{... on Account{name}}}}"
RENAME = "mutation($i: UpdateAccountInput!){updateAccount(input: $i){account{version} errors{code}}}"
SERVERS = 2
LEI, NA, MIN = "lei.zhang@example.com", "na.li@example.com", "min.wang@example.com"


@dataclass
class Installation:
    """The servers of one database, who sells there, and an account of the east."""

    home: Home
    url: str
    addresses: list[str]
    tokens: dict[str, str]
    account: str
    version: int = 1

    def rename(self, name: str, who: str = LEI) -> float:
        """Change the account by the last of the servers; when it was answered."""
        given = {"id": self.account, "expectedVersion": self.version, "name": name}
        answer = httpx2.post(
            f"http://{self.addresses[-1]}/graphql", json={"query": RENAME, "variables": {"i": given}},
            headers={"authorization": f"Bearer {self.tokens[who]}"},
        )  # fmt: skip
        payload = answer.json()["data"]["updateAccount"]
        assert payload["errors"] == []
        self.version = payload["account"]["version"]
        return time.monotonic()


@pytest.fixture
async def place(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database of this test alone."""
    if backend == "sqlite":
        (tmp_path / "var").mkdir()
        yield f"sqlite+aiosqlite:///{tmp_path}/var/sortie.db"
        return
    server = str(request.getfixturevalue("postgres_url"))
    admin = create_async_engine(server, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.execute(text("CREATE DATABASE live"))
    yield server.replace("/postgres?", "/live?")
    async with admin.connect() as connection:
        await connection.execute(text("DROP DATABASE live WITH (FORCE)"))
    await admin.dispose()


async def _company(url: str) -> str:
    await migrate(url)
    database = Database(url, LedgerRecorder())
    territories = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[territories["east-china"]], email=LEI)
    await add_colleague(database, "李娜", Role.REP, territories=[territories["south-china"]], email=NA)
    await add_colleague(database, "王敏", Role.MANAGER, territories=list(territories.values()), email=MIN)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="杭州第一医院", region="华东", owner_id=lei.user_id)
    await database.close()
    return global_id("Account", account.id)


@pytest.fixture
async def installation(place: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """Two servers on PostgreSQL, one on SQLite."""
    account = await _company(place)
    home = Home(tmp_path / "var")
    home.path.mkdir(exist_ok=True)
    with ExitStack() as stack:
        count = 1 if place.startswith("sqlite") else SERVERS
        started = [running(home, SORTIE_DATABASE_URL=place) for _ in range(count)]
        addresses = [await asyncio.to_thread(stack.enter_context, one) for one in started]
        tokens = {who: home.run("token", who, SORTIE_DATABASE_URL=place).stdout.strip() for who in (LEI, NA, MIN)}
        yield Installation(home, place, addresses, tokens, account)


@contextmanager
def listening(at: Installation, who: str = LEI, query: str = WATCH) -> Iterator[ClientConnection]:
    """A socket of somebody on the first server that watches the account."""
    with opened(at.addresses[0]) as socket:
        begin(socket, at.tokens[who])
        send(socket, type="subscribe", id="1", payload={"query": query, "variables": {"ids": [at.account]}})
        time.sleep(0.5)
        yield socket


def told(socket: ClientConnection, seconds: float = 5) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(socket.recv(timeout=seconds))
    return message


def change(socket: ClientConnection) -> dict[str, Any]:
    """The next change that is told."""
    payload = told(socket)["payload"]
    assert "errors" not in payload, payload
    found: dict[str, Any] = next(iter(payload["data"].values()))
    return found


def hears_nothing(socket: ClientConnection) -> bool:
    """Whether nothing comes for a while."""
    try:
        socket.recv(timeout=1)
    except TimeoutError:
        return True
    return False


def test_a_change_by_one_process_is_heard_on_another_within_a_second(installation: Installation) -> None:
    with listening(installation) as socket:
        for name in ("杭州市第一人民医院", "浙江医院"):
            answered = installation.rename(name)
            heard = change(socket)
            assert time.monotonic() - answered < 1
            assert heard == {
                "kind": "CHANGED", "id": installation.account, "node": {"name": name, "version": installation.version}
            }  # fmt: skip


def test_another_territorys_rep_hears_nothing(installation: Installation) -> None:
    with (
        listening(installation, NA) as other,
        listening(installation, NA, BOARD) as board,
        listening(installation) as own,
    ):
        installation.rename("浙江医院")
        assert change(own)["kind"] == "CHANGED"
        assert hears_nothing(other)
        assert hears_nothing(board)


def test_an_event_stream_hears_it_too(installation: Installation) -> None:
    headers = {"authorization": f"Bearer {installation.tokens[LEI]}", "accept": "text/event-stream"}
    asked = {"query": BOARD}
    url = f"http://{installation.addresses[0]}/graphql"
    with httpx2.stream("POST", url, json=asked, headers=headers, timeout=10) as response:
        time.sleep(0.5)
        installation.rename("浙江医院")
        line = next(line for line in response.iter_lines() if line.startswith("data: {"))
    heard = json.loads(line.removeprefix("data: "))
    assert heard["data"]["recordsChanged"]["node"] == {"name": "浙江医院"}


def test_who_is_disabled_hears_no_more(installation: Installation) -> None:
    """Without being let in anew at each delivery a subscription of the morning tells on in the evening."""
    with listening(installation) as socket:
        installation.rename("浙江医院")
        assert change(socket)["kind"] == "CHANGED"
        disabled = installation.home.run("user", "disable", LEI, SORTIE_DATABASE_URL=installation.url)
        assert disabled.returncode == 0, disabled.stderr
        installation.rename("宁波医院", MIN)
        message = told(socket)
        assert "宁波" not in json.dumps(message, ensure_ascii=False)
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert errors[0]["extensions"]["code"] == "UNAUTHENTICATED"
        installation.rename("温州医院", MIN)
        assert "温州" not in "".join(rest(socket))


def rest(socket: ClientConnection) -> Iterator[str]:
    """What still comes."""
    with suppress(TimeoutError):
        while True:
            yield str(socket.recv(timeout=1))


async def test_a_stream_ends_with_its_token_and_with_its_server(place: str, tmp_path: Path) -> None:
    """Nothing else would end it: a watcher may hear nothing for days."""
    await _company(place)
    home = Home(tmp_path / "var")
    home.path.mkdir(exist_ok=True)
    own = {"SORTIE_DATABASE_URL": place}

    def streamed(address: str, token: str) -> list[str]:
        headers = {"authorization": f"Bearer {token}", "accept": "text/event-stream"}
        with httpx2.stream(
            "POST", f"http://{address}/graphql", json={"query": BOARD}, headers=headers, timeout=30
        ) as response:
            return [line for line in response.iter_lines() if line.startswith("data: {")]

    with running(home, **own) as address:
        short = home.run("token", LEI, "--hours", "0.0008", **own).stdout.strip()
        lines = await asyncio.to_thread(streamed, address, short)
        assert "UNAUTHENTICATED" in lines[-1]
        lasting = home.run("token", LEI, **own).stdout.strip()
        stream = asyncio.create_task(asyncio.to_thread(streamed, address, lasting))
        await asyncio.sleep(1)
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 15
    await asyncio.wait([stream], timeout=5)
    assert stream.done()
    stream.exception()


def test_who_leaves_leaves_nothing_behind_and_two_hundred_hear(installation: Installation) -> None:
    with opened(installation.addresses[0]) as first, opened(installation.addresses[0]) as second:
        for socket in (first, second):
            begin(socket, installation.tokens[LEI])
            for number in range(100):
                payload = {"query": WATCH, "variables": {"ids": [installation.account]}}
                send(socket, type="subscribe", id=str(number), payload=payload)
        time.sleep(2)
        installation.rename("浙江医院")
        for socket in (first, second):
            ids = {told(socket, 15)["id"] for _ in range(100)}
            assert len(ids) == 100
        send(first, type="complete", id="7")
        time.sleep(0.3)
        installation.rename("宁波医院")
        assert "7" not in {told(first, 15)["id"] for _ in range(99)}
        assert hears_nothing(first)
