"""What runs beside the requests: events are handed over, failures are tried again, crashes are closed."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import func, select

from api.jobs import Jobs, Outbox
from api.notary import Notary
from api.settings import Settings
from assistant.model import Disposition, Generation
from domain.kernel import SYSTEM, Database, Event, OutboxEvent, Role, Text
from domain.ledger import AuditEvent, HeadFile, Signer
from domain.people import add_brand
from knowledge import Library
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

    async def hear(body: Mapping[str, object]) -> None:
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

    async def hear(body: Mapping[str, object]) -> None:
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


async def test_a_start_closes_what_a_crash_left_and_a_stop_seals_what_was_done(
    database: Database, tmp_path: Path
) -> None:
    rep = await add_colleague(database, "张磊", Role.REP)
    asked = await add_generation(database, rep)
    heads = HeadFile(tmp_path / "heads")
    settings = Settings(home=tmp_path, embedding_model="off")
    jobs = Jobs(database, Notary(database, Signer(bytes(32)), heads), Library(database), settings)
    await jobs.start()
    async with database.read() as connection:
        disposition = select(Generation.disposition).where(Generation.id == asked.id)
        assert (await connection.execute(disposition)).scalar_one() is Disposition.FAILED
    for _ in range(100):
        if heads.read():
            break
        await asyncio.sleep(0.02)
    assert heads.read()
    async with database.open_uow(SYSTEM) as uow:
        await add_brand(uow, key="late", label=Text("晚", "late"))
    await jobs.stop()
    async with database.read() as connection:
        open_events = select(func.count()).select_from(AuditEvent).where(AuditEvent.sealed_at.is_(None))
        assert (await connection.execute(open_events)).scalar_one() == 0
