"""A real PostgreSQL with a streaming replica: who answers, who waits, and that nobody misses what they were told of."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import asyncpg
import httpx2
import pytest
from pydantic import ValidationError

from api.reads import global_id
from api.settings import Settings
from domain import accounts
from domain.kernel import SYSTEM, Database, Role, SalesError
from domain.kernel.replica import Replica
from domain.kernel.replica.lease import CALM_SECONDS, OVER_SECONDS
from domain.ledger import LedgerRecorder
from migrations import migrate
from tests.factories import add_colleague, add_territories
from tests.installation import Home, running
from tests.replication import Pair, replicated

LEI, MIN = "lei.zhang@example.com", "min.wang@example.com"
WHERE = "SELECT pg_is_in_recovery(), (SELECT count(*) FROM accounts WHERE name = $1)"
OWNER = "postgres"
"""Row security is not what these statements are about: it is tried over the wire."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with replicated() as found:
        yield found


@pytest.fixture(scope="module")
async def hospital(pair: Pair) -> str:
    """An account of 张磊, whose manager is 王敏."""
    await migrate(pair.url)
    database = Database(pair.url, LedgerRecorder())
    territories = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[territories["east-china"]], email=LEI)
    await add_colleague(database, "王敏", Role.MANAGER, territories=list(territories.values()), email=MIN)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="杭州第一医院", region="华东", owner_id=lei.user_id)
    await database.close()
    return global_id("Account", account.id)


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is another machine's matter
            await asyncio.sleep(0.02)


def replica_of(database: Database) -> Replica:
    assert database.replica is not None
    return database.replica


@pytest.fixture
async def processes(pair: Pair, hospital: str) -> AsyncIterator[list[Database]]:
    """Two that write and read, as two servers would, each with the replica in use."""
    opened = [Database(pair.url, LedgerRecorder(), replica_url=pair.replica_url) for _ in range(2)]
    for one in opened:
        await one.queries.fetch(WHERE, ("",), role=OWNER)
        await until(lambda one=one: replica_of(one).usable)  # type: ignore[misc]
    yield opened
    for one in opened:
        await one.close()


async def found(database: Database, name: str) -> tuple[bool, int]:
    """Whether the replica answered, and how many accounts have the name."""
    on_replica, count = await database.queries.fetch(WHERE, (name,), role=OWNER)
    return on_replica, count


async def add(database: Database, name: str) -> float:
    """Add an account; how many seconds it took."""
    began = time.monotonic()
    async with database.open_uow(SYSTEM) as uow:
        await accounts.create_account(uow, name=name, region="华东", owner_id=None)
    return time.monotonic() - began


async def test_what_was_written_by_one_process_is_found_on_the_replica_by_the_other(processes: list[Database]) -> None:
    on_replica = 0
    for at in range(100):
        writer, reader = processes[at % 2], processes[(at + 1) % 2]
        await add(writer, f"上海第{at}医院")
        answered, count = await found(reader, f"上海第{at}医院")
        assert count == 1
        on_replica += answered
    assert on_replica > 90


async def test_while_the_replica_stands_still_the_primary_answers_and_nobody_waits_for_long(
    pair: Pair, processes: list[Database], caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = processes
    caplog.set_level(logging.INFO, "domain.kernel.replica")
    pair.hold()
    try:
        assert await add(writer, "苏州第一医院") < 2 * OVER_SECONDS
        for one in processes:
            assert await found(one, "苏州第一医院") == (False, 1)
        await add(writer, "苏州第二医院")
        assert await found(reader, "苏州第二医院") == (False, 1)
        await asyncio.sleep(OVER_SECONDS)
        # Everybody knows by now that it is barred.
        assert min([await add(writer, f"苏州第{at}分院") for at in range(5)]) < 0.2
        assert pair.tell_replica("SELECT count(*) FROM accounts WHERE name LIKE '苏州%'") == "0"
    finally:
        pair.go_on()
    await until(lambda: all(replica_of(one).usable for one in processes))
    assert await found(reader, "苏州第一医院") == (True, 1)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["the replica is behind: the primary answers"] * 2 + ["the replica answers reads"] * 2


async def test_what_listeners_are_told_is_on_the_replica_when_they_read(processes: list[Database], pair: Pair) -> None:
    writer, reader = processes
    heard: asyncio.Queue[str] = asyncio.Queue()
    begun = asyncio.Event()
    reader.listen(heard.put_nowait, begun.set)
    writer.listen(lambda _payload: None, lambda: None)
    await asyncio.wait_for(begun.wait(), 10)
    for held in (False, True):
        name = f"无锡医院{held}"
        if held:
            pair.hold()
        writing = asyncio.create_task(add(writer, name))
        try:
            assert "Account" in await asyncio.wait_for(heard.get(), 10)
            assert await found(reader, name) == (not held, 1)
            await writing
        finally:
            if held:
                pair.go_on()


async def test_a_read_that_the_replica_breaks_off_is_answered_by_the_primary(
    pair: Pair, processes: list[Database]
) -> None:
    """Replaying a lock of the primary ends whatever reads the table there (SQLSTATE 40001)."""
    reader = processes[1]
    await until(lambda: replica_of(reader).usable)
    pair.tell_primary("CREATE TABLE visits (id int)")
    pair.tell_replica("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    pair.tell_replica("SELECT pg_reload_conf()")
    slow = (
        "SELECT pg_is_in_recovery(), count(*), count(pg_sleep($1)) FROM generate_series(1, 1) LEFT JOIN visits ON true"
    )
    assert (await reader.queries.fetch(slow, (0.0,), role=OWNER))[0]
    reading = asyncio.create_task(reader.queries.fetch(slow, (1.5,), role=OWNER))
    await asyncio.sleep(0.3)
    pair.tell_primary("BEGIN; LOCK TABLE visits IN ACCESS EXCLUSIVE MODE; COMMIT")
    assert (await reading)[0] is False
    pair.tell_replica("ALTER SYSTEM RESET max_standby_streaming_delay")
    pair.tell_replica("SELECT pg_reload_conf()")


async def test_what_takes_too_long_or_is_wrong_is_told_and_not_asked_twice(
    pair: Pair, processes: list[Database]
) -> None:
    hasty = Database(pair.url, LedgerRecorder(), replica_url=pair.replica_url, read_seconds=0.2)
    await hasty.queries.fetch("SELECT 1", ())
    await until(lambda: replica_of(hasty).usable)
    passed = replica_of(hasty).passed
    with pytest.raises(SalesError, match="too long"):
        await hasty.queries.fetch("SELECT pg_sleep(5)", ())
    assert replica_of(hasty).passed == passed
    with pytest.raises(asyncpg.DataError):
        await hasty.queries.fetch("SELECT 1 / $1::int", (0,))
    assert replica_of(hasty).passed == passed
    await hasty.close()


@pytest.mark.parametrize("which", ["primary", "nowhere", "stranger"])
async def test_an_address_that_is_no_replica_is_told_and_the_primary_answers(
    pair: Pair, postgres_url: str, hospital: str, which: str
) -> None:
    urls = {"primary": pair.url, "stranger": postgres_url, "nowhere": "postgresql+asyncpg://postgres@127.0.0.1:1/none"}
    words = {"primary": "names no replica", "stranger": "another database", "nowhere": "cannot be reached"}
    database = Database(pair.url, LedgerRecorder(), replica_url=urls[which])
    replica = replica_of(database)
    assert await add(database, "嘉兴医院") < 2 * OVER_SECONDS
    assert (await found(database, "嘉兴医院"))[0] is False
    await until(lambda: replica.state is not None and words[which] in replica.state.en)
    await asyncio.sleep(OVER_SECONDS)
    assert await add(database, "嘉兴医院") < 0.5
    assert not replica.usable
    await database.close()


async def test_of_several_hosts_the_first_that_is_there_is_read(pair: Pair, hospital: str) -> None:
    hosts = f"postgresql+asyncpg://postgres@/postgres?host=127.0.0.1:1&host={pair.replica}:5432"
    database = Database(pair.url, LedgerRecorder(), replica_url=hosts)
    await add(database, "绍兴医院")
    await until(lambda: replica_of(database).usable)
    assert await found(database, "绍兴医院") == (True, 1)
    await database.close()


async def test_a_primary_that_crashed_is_followed_again_and_a_replica_that_was_promoted_is_left() -> None:
    with replicated() as own:
        await migrate(own.url)
        database = Database(own.url, LedgerRecorder(), replica_url=own.replica_url)
        await add(database, "宁波医院")
        await until(lambda: replica_of(database).usable)
        own.crash_primary()
        with suppress(SalesError):
            await add(database, "宁波新院")
        assert await add(database, "宁波新院") < 2 * OVER_SECONDS
        assert (await found(database, "宁波新院"))[1] > 0
        await until(lambda: replica_of(database).usable, 30)
        assert (await found(database, "宁波医院")) == (True, 1)
        own.promote()
        await until(lambda: not replica_of(database).usable)
        await add(database, "宁波老院")
        assert await found(database, "宁波老院") == (False, 1)
        await until(lambda: "names no replica" in str(replica_of(database).state))
        await database.close()


@pytest.mark.parametrize("url", ["mysql://replica/sortie", "sqlite:///sortie.db", "replica"])
def test_a_replica_is_a_postgresql(url: str) -> None:
    with pytest.raises(ValidationError, match="must begin with postgresql://"):
        Settings(database_url="postgresql://primary/sortie", replica_url=url)


def test_a_file_of_sqlite_has_no_replica() -> None:
    with pytest.raises(ValidationError, match="SORTIE_REPLICA_URL needs SORTIE_DATABASE_URL"):
        Settings(replica_url="postgresql://replica/sortie")


# ---- over the wire ---------------------------------------------------------------------------------------------------

RENAME = "mutation($i: UpdateAccountInput!){updateAccount(input: $i){account{version name} errors{code}}}"
READ = "query($id: ID!){node(id: $id){... on Account{name version}}}"


class Servers:
    """Two servers of one primary and its replica."""

    def __init__(self, addresses: list[str], tokens: dict[str, str], account: str, run: Callable[..., Any]) -> None:
        self.addresses, self.tokens, self.account = addresses, tokens, account
        self.run = run
        """Runs the command with the servers' settings."""
        self.version = 1

    def ask(self, at: int, who: str, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without errors."""
        body = self.answer(at, who, query, **variables)
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    def answer(self, at: int, who: str, query: str, **variables: Any) -> dict[str, Any]:
        """A whole answer."""
        answer = httpx2.post(
            f"http://{self.addresses[at]}/graphql", json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {self.tokens[who]}"}, timeout=20,
        )  # fmt: skip
        body: dict[str, Any] = answer.json()
        return body

    def rename(self, at: int, name: str) -> None:
        given = {"id": self.account, "expectedVersion": self.version, "name": name}
        payload = self.ask(at, LEI, RENAME, i=given)["updateAccount"]
        assert (payload["errors"], payload["account"]["name"]) == ([], name)
        self.version = payload["account"]["version"]

    def name(self, at: int, who: str = LEI) -> str:
        return str(self.ask(at, who, READ, id=self.account)["node"]["name"])

    def health(self, at: int) -> tuple[int, dict[str, Any]]:
        """The status of /readyz, and what it says of the replica."""
        answer = httpx2.get(f"http://{self.addresses[at]}/readyz")
        return answer.status_code, answer.json()["checks"]["replica"]

    def reads(self, at: int, server: str) -> float:
        """How many reads a server of PostgreSQL has answered, by the measures."""
        text = httpx2.get(f"http://{self.addresses[at]}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("sortie_replica_reads")]
        return sum(float(line.split()[-1]) for line in lines if f'server="{server}"' in line)

    def wait(self, *, usable: bool, seconds: float = 40) -> None:
        """Wait until every server reads from the replica, or none does."""
        end = time.monotonic() + seconds
        while any(self.health(at)[1]["ok"] is not usable for at in range(2)):
            assert time.monotonic() < end, [self.health(at) for at in range(2)]
            self.name(0), self.name(1)
            time.sleep(0.2)


@pytest.fixture(scope="module")
def servers(pair: Pair, hospital: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    home = Home(tmp_path_factory.mktemp("replica") / "var")
    home.path.mkdir()
    where = {"SORTIE_DATABASE_URL": pair.url, "SORTIE_REPLICA_URL": pair.replica_url}
    with ExitStack() as stack:
        addresses = [stack.enter_context(running(home, **where)) for _ in range(2)]
        tokens = {who: home.run("token", who, **where).stdout.strip() for who in (LEI, MIN)}
        yield Servers(addresses, tokens, hospital, lambda *words: home.run(*words, **where))


def test_queries_reach_the_replica_and_writers_find_what_they_wrote_on_every_server(servers: Servers) -> None:
    servers.wait(usable=True)
    before = [servers.reads(at, "replica") for at in range(2)]
    for at in range(40):
        servers.rename(at % 2, f"杭州第{at}医院")
        assert servers.name((at + 1) % 2) == f"杭州第{at}医院"
        assert servers.name(at % 2, MIN) == f"杭州第{at}医院"
    assert all(servers.reads(at, "replica") - before[at] > 30 for at in range(2))
    assert servers.health(0) == (200, {"ok": True, "found": "the replica answers reads"})


def test_a_replica_that_stands_still_takes_nothing_from_anybody(servers: Servers, pair: Pair) -> None:
    servers.wait(usable=True)
    pair.hold()
    try:
        servers.rename(0, "杭州新院")
        assert [servers.name(at, who) for at in range(2) for who in (LEI, MIN)] == ["杭州新院"] * 4
        servers.wait(usable=False)
        assert servers.health(1) == (200, {"ok": False, "found": "the replica is behind: the primary answers"})
        before = servers.reads(1, "primary")
        assert servers.name(1, MIN) == "杭州新院"
        assert servers.reads(1, "primary") == before + 1
    finally:
        pair.go_on()
    servers.wait(usable=True)
    assert servers.name(1) == "杭州新院"


def test_who_is_disabled_is_out_at_once_though_the_replica_does_not_know(servers: Servers, pair: Pair) -> None:
    servers.wait(usable=True)
    assert servers.name(0, MIN) == servers.name(1, MIN)
    pair.hold()
    try:
        assert servers.run("user", "disable", MIN).returncode == 0
        for at in range(2):
            (error,) = servers.answer(at, MIN, READ, id=servers.account)["errors"]
            assert error["extensions"]["code"] == "UNAUTHENTICATED"
    finally:
        pair.go_on()
        assert servers.run("user", "enable", MIN).returncode == 0
    assert servers.name(1, MIN) == servers.name(0)


def test_a_replica_that_is_killed_costs_no_answer_and_comes_back(servers: Servers, pair: Pair) -> None:
    servers.wait(usable=True)
    stop, names, wrong = threading.Event(), list[str](), list[BaseException]()

    def keep_reading() -> None:
        try:
            while not stop.is_set():
                names.append(servers.name(1, MIN))
        except BaseException as error:  # noqa: BLE001 - the test tells of it
            wrong.append(error)

    reader = threading.Thread(target=keep_reading)
    reader.start()
    try:
        pair.kill_replica()
        servers.rename(0, "杭州老院")
        assert servers.name(1) == "杭州老院"
        servers.wait(usable=False)
        assert servers.health(0) == (200, {"ok": False, "found": "the replica cannot be reached: the primary answers"})
    finally:
        pair.start_replica()
    servers.wait(usable=True)
    servers.rename(1, "杭州总院")
    stop.set()
    reader.join(30)
    assert wrong == []
    assert len(names) > CALM_SECONDS * 10
    assert servers.name(0) == "杭州总院"
