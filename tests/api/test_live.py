"""Live updates on both databases: who is told what, what a commit tells, and what is left behind."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import select, text

from api.context import Context
from api.live import MOST_WAITING, Hub
from api.schema import schema
from domain import accounts, activities, people
from domain.accounts import Account
from domain.activities import ActivityKind
from domain.kernel import SYSTEM, Actor, Database, Language, Ref, UnitOfWork, heard, insert_rows
from domain.kernel.changes import MOST, PAYLOAD_BYTES, ChangeKind, told
from domain.ledger import LedgerRecorder
from tests.api.conftest import Company

WATCH = "subscription($ids: [ID!]!){recordChanged(ids: $ids){kind id node{id ... on Account{name}}}}"
BOARD = "subscription($kinds: [RecordKind!]!){recordsChanged(kinds: $kinds){kind id node{id}}}"


@pytest.fixture
async def hub(company: Company) -> AsyncIterator[Hub]:
    """The hub of this process, listening."""
    hub, listening = Hub(company.database), asyncio.Event()

    def begun() -> None:
        hub.resync()
        listening.set()

    company.database.listen(hub.hear, begun)
    if not company.database.embedded:
        await asyncio.wait_for(listening.wait(), 10)
    yield hub
    await hub.stop()


class Stream:
    """A subscription under way; what comes is taken one by one."""

    def __init__(self, results: AsyncGenerator[Any, None]) -> None:
        self._results = results
        self._next: asyncio.Task[Any] | None = None

    async def begin(self) -> "Stream":
        """Wait until it listens."""
        self._next = asyncio.ensure_future(anext(self._results))
        await asyncio.sleep(0.2)
        return self

    async def take(self, seconds: float = 5) -> Any:
        """The next thing that is told: data, or errors' codes."""
        waiting = self._next or asyncio.ensure_future(anext(self._results))
        self._next = None
        result = await asyncio.wait_for(waiting, seconds)
        if result.errors:
            return [error.extensions["code"] for error in result.errors]
        return next(iter(result.data.values()))

    async def hears_nothing(self) -> bool:
        """Whether nothing comes for a while."""
        self._next = self._next or asyncio.ensure_future(anext(self._results))
        done, _ = await asyncio.wait([self._next], timeout=0.4)
        return not done

    async def close(self) -> None:
        """Cancel it, as a client does that leaves."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._results.aclose()


Given = dict[str, Any]


@asynccontextmanager
async def watching(
    company: Company, hub: Hub, document: str, who: str = "lei", **variables: Any
) -> AsyncIterator[Stream]:
    """A subscription of somebody of the company, let in anew as the database says."""
    user_id = company.people[who].user_id
    assert user_id is not None
    context = Context(company.database, company.people[who], Language.ZH, company.database.clock(), hub=hub)

    async def readmit() -> Context:
        async with company.database.read(SYSTEM) as connection:
            actor = await people.sign_in(connection, company.database.clock(), user_id=user_id)
        return Context(company.database, actor, Language.ZH, company.database.clock(), hub=hub)

    context.readmit = readmit
    results = await schema.subscribe(document, variable_values=variables, context_value=context)
    stream = await Stream(cast("AsyncGenerator[Any, None]", results)).begin()
    try:
        yield stream
    finally:
        await stream.close()


async def rename(company: Company, key: str, name: str) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        account = await uow.session.get_one(Account, company.accounts[key].id)
        account.change({"name": name})
        uow.note("account.renamed", account)


async def test_a_change_is_told_with_the_record_as_it_is_now(company: Company, hub: Hub) -> None:
    hospital = company.id(company.accounts["hospital"])
    async with watching(company, hub, WATCH, ids=[hospital]) as stream:
        await rename(company, "hospital", "杭州市第一人民医院")
        change = await stream.take()
        assert change == {"kind": "CHANGED", "id": hospital, "node": {"id": hospital, "name": "杭州市第一人民医院"}}
        await rename(company, "hospital", "Hangzhou First Hospital")
        assert (await stream.take())["node"]["name"] == "Hangzhou First Hospital"
    assert len(hub) == 0
    assert not hub._by_ref
    assert not hub._by_entity


async def test_of_what_the_reader_does_not_see_nothing_is_told(company: Company, hub: Hub) -> None:
    device, hospital = company.id(company.accounts["device"]), company.id(company.accounts["hospital"])
    async with watching(company, hub, WATCH, ids=[device, hospital, "nonsense"]) as stream:
        await rename(company, "device", "深圳医疗器械")
        assert await stream.hears_nothing()
        await rename(company, "hospital", "浙江医院")
        assert (await stream.take())["id"] == hospital


async def test_who_loses_the_territory_is_told_once_that_it_is_gone(company: Company, hub: Hub) -> None:
    hospital = company.id(company.accounts["hospital"])
    async with watching(company, hub, WATCH, "min", ids=[hospital]) as stream:
        await rename(company, "hospital", "浙江医院")
        assert (await stream.take())["kind"] == "CHANGED"
        async with company.database.open_uow(SYSTEM) as uow:
            await _revoke_all(uow, company.people["min"])
        await rename(company, "hospital", "宁波医院")
        assert await stream.take() == {"kind": "GONE", "id": hospital, "node": None}
        await rename(company, "hospital", "温州医院")
        assert await stream.hears_nothing()


async def _revoke_all(uow: UnitOfWork, actor: Actor) -> None:
    ids = await uow.session.scalars(select(people.RoleGrant.id).where(people.RoleGrant.user_id == actor.user_id))
    for id in ids.all():
        await people.revoke_role(uow, id)


async def test_a_board_hears_of_new_records_in_reach(company: Company, hub: Hub) -> None:
    async with watching(company, hub, BOARD, kinds=["ACTIVITY"]) as stream:
        for key in ("device", "hospital"):
            async with company.database.open_uow(SYSTEM) as uow:
                made = await activities.log(
                    uow, related_to=company.accounts[key].ref(), kind=ActivityKind.CALL, subject="电话回访",
                    occurred_at=uow.now, owner_id=company.people["lei" if key == "hospital" else "na"].user_id,
                )  # fmt: skip
        change = await stream.take()
        assert (change["kind"], change["id"]) == ("MADE", company.id(made))
        assert await stream.hears_nothing()


async def test_a_rollback_tells_nothing(company: Company, hub: Hub) -> None:
    hospital = company.id(company.accounts["hospital"])
    async with watching(company, hub, WATCH, ids=[hospital]) as stream:
        with suppress(ZeroDivisionError):
            async with company.database.open_uow(SYSTEM) as uow:
                account = await uow.session.get_one(Account, company.accounts["hospital"].id)
                account.change({"name": "不存在"})
                uow.note("account.renamed", account)
                await uow.session.flush()
                raise ZeroDivisionError
        assert await stream.hears_nothing()


async def test_many_rows_in_one_commit_are_one_resync(company: Company, hub: Hub) -> None:
    async with watching(company, hub, BOARD, kinds=["ACCOUNT"]) as stream:
        async with company.database.open_uow(SYSTEM) as uow:
            for number in range(MOST + 1):
                await accounts.create_account(
                    uow,
                    name=f"宁波客户{number}",
                    industry="hospital",
                    region="华东",
                    owner_id=company.people["lei"].user_id,
                )
        assert await stream.take() == {"kind": "RESYNC", "id": None, "node": None}
        assert await stream.hears_nothing()


async def test_a_bulk_statement_is_a_resync(company: Company, hub: Hub) -> None:
    async with watching(company, hub, BOARD, kinds=["ACCOUNT"]) as stream:
        async with company.database.open_uow(SYSTEM) as uow:
            id, territory = uow.new_id(), company.accounts["hospital"].territory_id
            row = {"id": id, "name": "导入的客户", "industry": "hospital", "territory_id": territory}
            await insert_rows(uow, Account, [row])
            uow.note("import.done", Ref("Account", id), covers=[Account])
        assert (await stream.take())["kind"] == "RESYNC"


async def test_who_is_slow_is_told_to_read_anew(company: Company, hub: Hub) -> None:
    """Without the bound a client that reads nothing fills the server's memory."""
    with hub.watching(entities=["Lead"]) as watcher:
        for number in range(MOST_WAITING + 1):
            hub.hear(f"Lead MADE {number:032x}")
        assert await watcher.take() == (True, {})
        hub.hear(f"Lead MADE {1:032x}\nLead CHANGED {1:032x}")
        resync, waiting = await watcher.take()
        assert (resync, list(waiting.values())) == (False, [ChangeKind.MADE])


async def test_two_hundred_watchers_all_hear(company: Company, hub: Hub) -> None:
    refs = [company.accounts["hospital"].ref()]
    with ExitStack() as stack:
        watchers = [stack.enter_context(hub.watching(refs=refs)) for _ in range(200)]
        await rename(company, "hospital", "浙江医院")
        for found in await asyncio.wait_for(asyncio.gather(*(watcher.take() for watcher in watchers)), 5):
            assert found == (False, {refs[0]: ChangeKind.CHANGED})
    assert len(hub) == 0


async def test_a_listener_that_was_cut_comes_back_with_a_resync(company: Company, hub: Hub) -> None:
    if company.database.embedded:
        pytest.skip("SQLite has no connection that listens")
    hospital = company.id(company.accounts["hospital"])
    async with watching(company, hub, WATCH, ids=[hospital]) as stream:
        async with company.database.writer.connect() as connection:
            cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'sortie live'"
            assert (await connection.execute(text(cut))).scalar_one() == 1
        assert (await stream.take(10))["kind"] == "RESYNC"
        await rename(company, "hospital", "浙江医院")
        assert (await stream.take())["kind"] == "CHANGED"


async def test_a_process_that_does_not_listen_tells_with_its_commit(company: Company, hub: Hub) -> None:
    """An import by the command, say: it may be killed right after its commit."""
    if company.database.embedded:
        pytest.skip("on SQLite a process hears itself alone")
    hospital = company.id(company.accounts["hospital"])
    other = Database(company.database.url, LedgerRecorder())
    async with watching(company, hub, WATCH, ids=[hospital]) as stream:
        await rename(replace(company, database=other), "hospital", "浙江医院")
        assert (await stream.take())["node"]["name"] == "浙江医院"
    await other.close()


async def test_where_a_process_ends_everybody_reads_anew(company: Company, hub: Hub) -> None:
    """Killed between a commit and its news it would have taken them along unheard."""
    if company.database.embedded:
        pytest.skip("on SQLite a process hears itself alone")
    other = Database(company.database.url, LedgerRecorder())
    other.listen(lambda _payload: None, lambda: None)
    async with watching(company, hub, WATCH, ids=[company.id(company.accounts["hospital"])]) as stream:
        await asyncio.sleep(1.5)
        await other.close()
        assert (await stream.take())["kind"] == "RESYNC"


@pytest.mark.parametrize("given", [{"ids": []}, {"ids": ["acc_1"] * 101}])
async def test_too_few_and_too_many_ids_are_refused(company: Company, hub: Hub, given: Given) -> None:
    async with watching(company, hub, WATCH, **given) as stream:
        assert await stream.take() == ["INVALID"]


def test_a_payload_stays_below_the_bound_and_carries_ids_alone() -> None:
    kinds = ("OpportunityContactRole", "AccountTeamMember", "Opportunity", "Lead")
    records = {Ref(kinds[at % 4], UUID(int=at)): ChangeKind.CHANGED for at in range(4 * MOST)}
    payload = told(records, ["Quote"])
    assert 6_000 < len(payload.encode()) <= PAYLOAD_BYTES
    changes = list(heard(payload))
    whole = {change.kind for change in changes if change.what is ChangeKind.RESYNC}
    assert "Quote" in whole < {"Quote", *kinds}
    named = {Ref(change.kind, change.id) for change in changes if change.id}
    assert named == {ref for ref in records if ref.kind not in whole}
    assert told({}, []) == ""
    assert list(heard("张磊\nLead MADE x\nLead MADE\n\nLead NEVER\nLead RESYNC " + "0" * 32)) == []
