"""The outbox in batches, on each backend: nothing is lost, nothing is done twice, a poisoned event does not stop the others."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import pytest
from sqlalchemy import func, select, update

from domain.kernel import (
    SYSTEM,
    Database,
    Delivery,
    Event,
    OutboxEvent,
    OutboxReceipt,
    UnitOfWork,
    consume,
    remove_handled,
)
from domain.kernel.outbox import ATTEMPTS
from domain.people import Territory


@dataclass(frozen=True, slots=True)
class Told(Event):
    """Something was said."""

    kind: ClassVar[str] = "tests.told"
    words: str


async def emit(database: Database, *words: str) -> None:
    async with database.open_uow(SYSTEM) as uow:
        for each in words:
            uow.emit(Told(each))


async def write(uow: UnitOfWork, events: Sequence[Delivery]) -> None:
    for event in events:
        if event.body["words"] == "毒":
            raise ValueError(event.body["words"])
        key = event.body["words"]
        made = Territory(id=uow.new_id(), key=key, label_zh=key, label_en=key)
        uow.session.add(made)
        uow.note("territory.added", made)


async def written(database: Database) -> list[str]:
    async with database.read(SYSTEM) as connection:
        return list(await connection.scalars(select(Territory.key).order_by(Territory.key)))


async def drain(database: Database, batch: int = 7) -> int:
    total = 0
    while done := await consume(database, "写入", [Told.kind], write, batch=batch):
        total += done
    return total


async def test_each_event_is_handled_once(database: Database) -> None:
    await emit(database, "华东", "华南")
    assert await drain(database) == 2
    assert await drain(database) == 0
    assert await written(database) == sorted(["华东", "华南"])


async def test_two_workers_share_a_consumer(database: Database) -> None:
    words = [f"区域{number:02}" for number in range(40)]
    await emit(database, *words)
    assert sum(await asyncio.gather(drain(database), drain(database))) == 40
    assert await written(database) == words


async def test_an_event_with_an_earlier_id_that_is_committed_later_is_handled(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        early = uow.new_id()
    await emit(database, "后")
    assert await drain(database) == 1
    async with database.open_uow(SYSTEM) as uow:
        uow.session.add(OutboxEvent(id=early, kind=Told.kind, body={"words": "先"}, emitted_at=uow.now))
    assert await drain(database) == 1
    assert await written(database) == sorted(["先", "后"])


async def test_a_poisoned_event_is_set_aside_with_its_reason(database: Database) -> None:
    await emit(database, "华东", "毒", "华南")
    assert await consume(database, "写入", [Told.kind], write) == 2
    for _ in range(ATTEMPTS + 1):
        assert await consume(database, "写入", [Told.kind], write) == 0
    async with database.read(SYSTEM) as connection:
        aside = select(OutboxReceipt.attempts, OutboxReceipt.reason).where(OutboxReceipt.reason.is_not(None))
        assert (await connection.execute(aside)).all() == [(ATTEMPTS, "ValueError: 毒")]
    assert await written(database) == sorted(["华东", "华南"])


async def test_an_end_between_effect_and_commit_leaves_neither(database: Database) -> None:
    await emit(database, "华东")

    async def end(uow: UnitOfWork, events: Sequence[Delivery]) -> None:
        await write(uow, events)
        await uow.session.flush()
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await consume(database, "写入", [Told.kind], end)
    assert await written(database) == []
    assert await drain(database) == 1
    assert await written(database) == ["华东"]


async def test_what_is_handled_is_removed_unless_a_consumer_waits_for_it(database: Database) -> None:
    await emit(database, "华东")
    async with database.open_uow(SYSTEM) as uow:
        later = uow.now + timedelta(days=1)
        done = update(OutboxEvent).values(handled_at=uow.now)
        await uow.session.execute(done, execution_options={"synchronize_session": False})
    consumers = {"写入": [Told.kind]}
    assert await remove_handled(database, consumers, later) == 0
    await drain(database)
    assert await remove_handled(database, consumers, later) == 1
    async with database.read(SYSTEM) as connection:
        assert await connection.scalar(select(func.count()).select_from(OutboxReceipt)) == 0


KILLED = """
import asyncio, os, signal, sys
from domain.kernel import Database, consume
from domain.ledger import LedgerRecorder
from tests.domain.test_outbox import Told, write

async def die(uow, events):
    await write(uow, events)
    await uow.session.flush()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(consume(Database(sys.argv[1], LedgerRecorder()), "写入", [Told.kind], die))
"""


async def test_a_worker_killed_between_effect_and_commit_loses_nothing(database: Database, database_url: str) -> None:
    await emit(database, "华东", "华南")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, database_url)
    assert await process.wait() == -signal.SIGKILL
    assert await written(database) == []
    assert await drain(database) == 2
    assert await written(database) == sorted(["华东", "华南"])
