"""What runs beside the requests: events begin jobs, timers fire once, failures are tried again, crashes are closed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
import sqlalchemy
from sqlalchemy import func, select

from api.jobs import background, engine, kinds
from api.jobs.background import Background, Outbox
from api.jobs.board import Board, JobStatus
from api.notary import Notary
from api.settings import Settings
from assistant.model import Disposition, Generation
from domain import leads
from domain.kernel import SYSTEM, ActorKind, Conflict, Database, Event, NotFound, OutboxEvent, Role, Text, utc_now
from domain.leads.waiting import begin_waiting
from domain.ledger import AuditEvent, HeadFile, Signer
from domain.people import add_brand
from tests.factories import add_colleague, add_generation


@dataclass(frozen=True, slots=True)
class Told(Event):
    """Something that a test emits."""

    kind: ClassVar[str] = "test.told"
    number: int


@dataclass(frozen=True, slots=True)
class Ignored(Event):
    """Something that nobody reacts to."""

    kind: ClassVar[str] = "test.ignored"


async def emit(database: Database, *events: Event) -> None:
    async with database.open_uow(SYSTEM) as uow:
        for event in events:
            uow.emit(event)


async def waiting(database: Database) -> int:
    async with database.read() as connection:
        count = select(func.count()).select_from(OutboxEvent).where(OutboxEvent.handled_at.is_(None))
        return int((await connection.execute(count)).scalar_one())


async def test_each_event_is_handed_over_once_and_in_order(database: Database) -> None:
    heard: list[object] = []

    async def hear(_id: UUID, body: Mapping[str, object], _at: datetime) -> None:
        heard.append(body["number"])

    outbox = Outbox(database, {Told.kind: hear})
    await emit(database, Told(1), Ignored(), Told(2))
    await emit(database, Told(3))
    assert await outbox.drain() == 4
    assert await outbox.drain() == 0
    assert heard == [1, 2, 3]
    assert await waiting(database) == 0


async def test_an_event_whose_handler_fails_waits(database: Database) -> None:
    heard: list[object] = []

    async def hear(_id: UUID, body: Mapping[str, object], _at: datetime) -> None:
        heard.append(body["number"])
        if len(heard) == 1:
            raise RuntimeError("not yet")

    outbox = Outbox(database, {Told.kind: hear})
    await emit(database, Told(1))
    with pytest.raises(RuntimeError):
        await outbox.drain()
    assert await waiting(database) == 1
    assert await outbox.drain() == 1
    assert heard == [1, 1]


def settings_of(database: Database, home: Path, **more: Any) -> Settings:
    return Settings(home=home, database_url=database.url, embedding_model="off", **more)


@asynccontextmanager
async def at_work(database: Database, settings: Settings) -> AsyncIterator[Background]:
    """A process that does jobs, with none left by a test before: their ids count up anew."""
    if not database.embedded:
        async with database.writer.begin() as connection:
            await connection.execute(sqlalchemy.text(f"DROP SCHEMA IF EXISTS {engine.SCHEMA} CASCADE"))
    notary = Notary(database, Signer(bytes(32)), HeadFile(settings.home / "heads"))
    made = Background(database, notary, settings)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def soon(true: Callable[[], Awaitable[Any]], seconds: float = 15.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.05)


async def capture(database: Database, number: int = 1) -> UUID:
    async with database.open_uow(SYSTEM) as uow:
        lead = await leads.capture(
            uow, source="官网", external_id=str(number), name="李雷", phone=f"1380013{number:04d}"
        )
        return lead.id


async def overdue(database: Database, id: UUID) -> tuple[bool, bool]:
    async with database.read() as connection:
        row = (
            await connection.execute(select(leads.Lead.reminded_at, leads.Lead.escalated_at).where(leads.Lead.id == id))
        ).one()
        return row.reminded_at is not None, row.escalated_at is not None


async def test_a_start_closes_what_a_crash_left_and_a_stop_seals_what_was_done(
    database: Database, tmp_path: Path
) -> None:
    rep = await add_colleague(database, "张磊", Role.REP)
    asked = await add_generation(database, rep)
    heads = HeadFile(tmp_path / "heads")
    async with at_work(database, settings_of(database, tmp_path)):
        disposition = select(Generation.disposition).where(Generation.id == asked.id)
        async with database.read() as connection:
            found = (await connection.execute(disposition)).scalar_one()
        # On PostgreSQL another process may be at work on it: there it has a quarter of an hour.
        assert found is (Disposition.FAILED if database.embedded else Disposition.REQUESTED)
        close = next(kind for kind in kinds.KINDS if kind.name == "close_interrupted")
        database.clock.advance(minutes=16)  # type: ignore[attr-defined]
        await close.work(kinds.Tools(database, settings_of(database, tmp_path)), {})
        async with database.read() as connection:
            assert (await connection.execute(disposition)).scalar_one() is Disposition.FAILED

        async def published() -> bool:
            return bool(heads.read())

        await soon(published)
        async with database.open_uow(SYSTEM) as uow:
            await add_brand(uow, key="late", label=Text("晚", "late"))
    async with database.read() as connection:
        open_events = select(func.count()).select_from(AuditEvent).where(AuditEvent.sealed_at.is_(None))
        assert (await connection.execute(open_events)).scalar_one() == 0


async def test_a_lead_that_nobody_answers_is_told_of_in_two_steps_and_once(database: Database, tmp_path: Path) -> None:
    database.clock = utc_now
    settings = settings_of(database, tmp_path, lead_reminder_minutes=0.02, lead_escalation_minutes=0.06)
    waits, answered = await capture(database), await capture(database, 2)
    async with database.open_uow(SYSTEM) as uow:
        lead = await uow.session.get_one(leads.Lead, answered)
        leads.touch(lead, uow.now, responded=True)
        uow.note("lead.responded", lead)
    async with at_work(database, settings):

        async def reminded() -> bool:
            return (await overdue(database, waits))[0]

        async def escalated() -> bool:
            return (await overdue(database, waits))[1]

        await soon(reminded)
        await soon(escalated)
        assert await overdue(database, answered) == (False, False)
        async with database.read() as connection:
            actions = select(AuditEvent.action).where(AuditEvent.action.in_(("lead.reminded", "lead.escalated")))
            assert sorted(await connection.scalars(actions)) == ["lead.escalated", "lead.reminded"]
        # Who has it from now on has the whole time again.
        async with database.open_uow(SYSTEM) as uow:
            lead = await uow.session.get_one(leads.Lead, waits)
            begin_waiting(uow, lead)
            uow.note("lead.updated", lead)
        assert await overdue(database, waits) == (False, False)


async def test_what_cannot_be_done_is_tried_again_then_shown_and_may_be_retried(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.clock = utc_now
    monkeypatch.setattr(engine, "ATTEMPTS", 2)
    monkeypatch.setattr(engine, "PAUSE_SECONDS", 0.01)
    broken, tries = [True], list[str]()

    async def work(_tools: kinds.Tools, body: Mapping[str, Any]) -> str:
        tries.append(body["lead_id"])
        if broken[0]:
            raise RuntimeError("数据库坏了")
        return "好"

    remind = next(kind for kind in kinds.KINDS if kind.name == "remind_of_lead")
    monkeypatch.setitem(engine.works, remind.name, work)
    settings = settings_of(database, tmp_path, lead_reminder_minutes=0.001, lead_escalation_minutes=600)
    board = Board(settings)
    async with at_work(database, settings):
        await capture(database)

        async def failed() -> bool:
            return bool(await board.jobs(JobStatus.FAILED, remind.name, 10, 0))

        await soon(failed)
        (job,) = await board.jobs(JobStatus.FAILED, remind.name, 10, 0)
        assert len(tries) == 2
        assert "数据库坏了" in str(job.error)
        broken[0] = False
        await board.retry(job.id)

        async def done() -> bool:
            return (await board.job(job.id)).status is JobStatus.DONE

        await soon(done)
        with pytest.raises(Conflict):
            await board.retry(job.id)
        (waiting_one,) = await board.jobs(JobStatus.WAITING, "escalate_lead", 10, 0)
        assert waiting_one.due_at is not None
        assert waiting_one.due_at - utc_now() > timedelta(hours=9)
        assert (await board.cancel(waiting_one.id)).status is JobStatus.CANCELLED
        with pytest.raises(Conflict):
            await board.cancel(waiting_one.id)
        with pytest.raises(NotFound):
            await board.job("没有")
    await board.close()


def change_jobs(database: Database, settings: Settings, statement: str) -> None:
    jobs = sqlalchemy.create_engine(engine.jobs_url(settings).replace("postgresql://", "postgresql+psycopg://"))
    with jobs.begin() as connection:
        table = "workflow_status" if database.embedded else f"{engine.SCHEMA}.workflow_status"
        connection.execute(sqlalchemy.text(statement.format(table)))
    jobs.dispose()


async def test_jobs_of_a_process_that_died_go_on_in_another(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.clock = utc_now
    begun, go = asyncio.Event(), asyncio.Event()

    async def work(_tools: kinds.Tools, _body: Mapping[str, Any]) -> str:
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(600)
        go.set()
        return "好"

    monkeypatch.setitem(engine.works, "remind_of_lead", work)
    monkeypatch.setattr(background, "BEAT_SECONDS", 0.2)
    settings = settings_of(database, tmp_path, lead_reminder_minutes=0.001, lead_escalation_minutes=600)
    async with at_work(database, settings):
        await capture(database)
        async with asyncio.timeout(15):
            await begun.wait()
        # As if the process that has it had been another, which says nothing any more.
        change_jobs(database, settings, "UPDATE {} SET executor_id = 'gone' WHERE status = 'PENDING'")
        async with asyncio.timeout(30):
            await go.wait()


async def test_a_job_that_was_claimed_and_not_begun_is_done(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.clock = utc_now
    done = asyncio.Event()

    async def work(_tools: kinds.Tools, _body: Mapping[str, Any]) -> str:
        done.set()
        return "好"

    monkeypatch.setitem(engine.works, "remind_of_lead", work)
    monkeypatch.setattr(background, "BEAT_SECONDS", 0.2)
    settings = settings_of(database, tmp_path, lead_reminder_minutes=600, lead_escalation_minutes=600)
    board = Board(settings)
    async with at_work(database, settings):
        await capture(database)

        async def waits() -> bool:
            at_start = await board.jobs(JobStatus.DONE, "refresh_measures", 1, 0)
            return bool(at_start and await board.jobs(JobStatus.WAITING, "remind_of_lead", 10, 0))

        await soon(waits)
        (ran,) = await board.jobs(JobStatus.DONE, "refresh_measures", 1, 0)
        # As a connection leaves it that breaks after the claim was stored and before anybody heard of it.
        claimed = f"UPDATE {{}} SET status = 'PENDING', executor_id = '{ran.executor}' WHERE name = 'remind_of_lead'"
        change_jobs(database, settings, claimed)
        async with asyncio.timeout(30):
            await done.wait()
    await board.close()


async def test_imported_leads_wait_for_nobody(database: Database) -> None:
    importer = replace(SYSTEM, kind=ActorKind.IMPORT)
    async with database.open_uow(importer) as uow:
        await leads.capture(uow, source="旧系统", external_id="1", name="韩梅梅", phone="13800139999")
    assert await waiting(database) == 0
