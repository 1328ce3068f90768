"""The outbox consumed in batches: what a consumer does about its events, and that it has, are one commit."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zlib import crc32

from sqlalchemy import Select, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.actors import SYSTEM
from domain.kernel.errors import Unavailable
from domain.kernel.events import OutboxEvent
from domain.kernel.orm import Base
from domain.kernel.uow import Database, UnitOfWork

BATCH = 500
ATTEMPTS = 5
LOCKS = 0x6F75_0000_0000
"""Where the numbers of the consumers' advisory locks begin."""


class OutboxReceipt(Base):
    """What became of one event at one consumer: handled, set aside with the reason, or tried so many times."""

    __tablename__ = "outbox_receipts"
    __unledgered__ = "hand-over state; what the consumer did has its own note"
    __stays__ = "an event keeps its id"

    consumer: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True, index=True)
    attempts: Mapped[int]
    settled_at: Mapped[datetime | None]
    reason: Mapped[str | None]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as a consumer gets it."""

    id: UUID
    kind: str
    body: Mapping[str, Any]


HandleBatch = Callable[[UnitOfWork, Sequence[Delivery]], Awaitable[None]]
"""What is done about several events, in the unit of work whose commit also says that it was done."""


async def consume(
    database: Database, consumer: str, kinds: Collection[str], handle_batch: HandleBatch, *, batch: int = BATCH
) -> int:
    """Hand the next events of these kinds to a consumer and return how many it handled; 0 when none waits or all failed.

    The workers of one consumer take turns. When a batch fails, its events are tried alone: each that fails ATTEMPTS times is
    set aside with its reason, and the others go on. Raises Unavailable, which counts against no event, while the database is away.
    """
    # Asked each second: where nothing waits, nobody's turn to write is taken.
    async with database.read(SYSTEM) as connection:
        if (await connection.execute(_waiting(consumer, kinds).limit(1))).first() is None:
            return 0
    try:
        return await _settle(database, consumer, kinds, handle_batch, batch)
    except Exception:  # noqa: BLE001 - it is raised again by the event that causes it, and kept there
        return await _one_by_one(database, consumer, kinds, handle_batch, batch)


async def remove_handled(database: Database, consumers: Mapping[str, Collection[str]], before: datetime) -> int:
    """Delete up to BATCH events handled before an instant, with their receipts; one that a consumer still waits for stays."""
    old = select(OutboxEvent.id).where(OutboxEvent.handled_at < before, *(_let_go(*each) for each in consumers.items()))
    async with database.open_uow(SYSTEM) as uow:
        ids = (await uow.session.scalars(old.order_by(OutboxEvent.id).limit(BATCH))).all()
        for statement in (
            delete(OutboxReceipt).where(OutboxReceipt.event_id.in_(ids)),
            delete(OutboxEvent).where(OutboxEvent.id.in_(ids)),
        ):
            await uow.session.execute(statement, execution_options={"synchronize_session": False})
    return len(ids)


def _let_go(consumer: str, kinds: Collection[str]) -> Any:
    return or_(OutboxEvent.kind.not_in(kinds), _settled(consumer))


def _settled(consumer: str) -> Any:
    same = and_(OutboxReceipt.consumer == consumer, OutboxReceipt.event_id == OutboxEvent.id)
    return exists().where(same, OutboxReceipt.settled_at.is_not(None))


def _waiting(consumer: str, kinds: Collection[str]) -> Select[Any]:
    # Never "after the last id": PostgreSQL commits out of order.
    found = select(OutboxEvent.id, OutboxEvent.kind, OutboxEvent.body)
    return found.where(OutboxEvent.kind.in_(kinds), ~_settled(consumer)).order_by(OutboxEvent.id)


async def _take_turn(database: Database, uow: UnitOfWork, consumer: str) -> None:
    # A statement of its own: the next one sees all that the worker before has committed.
    if not database.embedded:
        await uow.session.execute(select(func.pg_advisory_xact_lock(LOCKS + crc32(consumer.encode()))))


async def _settle(
    database: Database, consumer: str, kinds: Collection[str], handle: HandleBatch, batch: int, only: UUID | None = None
) -> int:
    statement = _waiting(consumer, kinds).limit(batch)
    if only is not None:
        statement = statement.where(OutboxEvent.id == only)
    async with database.open_uow(SYSTEM) as uow:
        await _take_turn(database, uow, consumer)
        events = [Delivery(*row) for row in (await uow.session.execute(statement)).all()]
        if events:
            await handle(uow, events)
            await _receive(uow, consumer, [event.id for event in events], settled=True)
    return len(events)


async def _receive(
    uow: UnitOfWork, consumer: str, ids: Sequence[UUID], *, settled: bool, reason: str | None = None
) -> None:
    earlier = select(OutboxReceipt).where(OutboxReceipt.consumer == consumer, OutboxReceipt.event_id.in_(ids))
    tried = {receipt.event_id: receipt for receipt in await uow.session.scalars(earlier)}
    for event_id in ids:
        receipt = tried.get(event_id)
        if receipt is None:
            receipt = OutboxReceipt(consumer=consumer, event_id=event_id, attempts=0)
            uow.session.add(receipt)
        receipt.attempts += 1
        receipt.reason = reason
        receipt.settled_at = uow.now if settled or receipt.attempts >= ATTEMPTS else None


async def _one_by_one(
    database: Database, consumer: str, kinds: Collection[str], handle: HandleBatch, batch: int
) -> int:
    async with database.read(SYSTEM) as connection:
        ids = (await connection.scalars(_waiting(consumer, kinds).with_only_columns(OutboxEvent.id).limit(batch))).all()
    settled = 0
    for event_id in ids:
        try:
            settled += await _settle(database, consumer, kinds, handle, 1, event_id)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason that the event is set aside with
            async with database.open_uow(SYSTEM) as uow:
                await _take_turn(database, uow, consumer)
                await _receive(uow, consumer, [event_id], settled=False, reason=f"{type(error).__name__}: {error}")
    return settled
