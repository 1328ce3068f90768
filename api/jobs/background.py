"""What one process of an installation does beside requests: seals the ledger, hands events over, does jobs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update

from api.jobs.engine import Engine
from api.jobs.kinds import CONSUMERS, KINDS, Kind, Tools
from api.jobs.loops import repeat
from api.notary import Notary
from api.settings import Settings
from assistant import pipeline
from domain.kernel import SYSTEM, Database, OutboxEvent, consume
from domain.kernel.executors import BEAT_SECONDS

log = logging.getLogger("sortie.jobs")

OUTBOX_BATCH = 500

Handler = Callable[[UUID, Mapping[str, object], datetime], Awaitable[None]]
"""What is done about one event, by its id, its body and when it was emitted; it may be called twice for the same one."""


class Outbox:
    """The hand-over of events to what reacts to them; an event without a handler is done at once."""

    def __init__(self, database: Database, handlers: Mapping[str, Handler]) -> None:
        self._database = database
        self._handlers = handlers

    async def drain(self) -> int:
        """Hand every waiting event over, oldest first, and return how many there were."""
        total = 0
        while done := await self._batch():
            total += done
        return total

    async def _batch(self) -> int:
        waiting = select(OutboxEvent.id, OutboxEvent.kind, OutboxEvent.body, OutboxEvent.emitted_at).where(
            OutboxEvent.handled_at.is_(None)
        )
        async with self._database.read(SYSTEM) as connection:
            events = (await connection.execute(waiting.order_by(OutboxEvent.id).limit(OUTBOX_BATCH))).all()
        if not events:
            return 0
        for event in events:
            handler = self._handlers.get(event.kind)
            if handler is not None:
                await handler(event.id, event.body, event.emitted_at)
        await self._mark([event.id for event in events])
        return len(events)

    async def _mark(self, ids: list[UUID]) -> None:
        async with self._database.open_uow(SYSTEM) as uow:
            handled = update(OutboxEvent).where(OutboxEvent.id.in_(ids)).values(handled_at=uow.now)
            await uow.session.execute(handled, execution_options={"synchronize_session": False})


class Background:
    """The work of one process beside its requests, from its start to its end."""

    def __init__(
        self,
        database: Database,
        notary: Notary,
        settings: Settings,
        heard: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self._database = database
        self._notary = notary
        self._settings = settings
        self._engine = Engine(Tools(database, settings))
        handlers = {event: self._beginning(event, (heard or {}).get(event)) for event in {*_begun_by(), *(heard or {})}}
        self._outbox = Outbox(database, handlers)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Close what a crash left open, and begin."""
        if self._settings.embedded:
            # Nobody else answers; elsewhere a job closes them when nobody can be at work on them any more.
            interrupted = await pipeline.close_interrupted(self._database)
            if interrupted:
                log.warning("%d interrupted answers were closed as FAILED", interrupted)
        await self._engine.start()
        self._tasks = [
            asyncio.create_task(repeat("seal", self._notary.seal), name="seal"),
            asyncio.create_task(repeat("outbox", self._outbox.drain), name="outbox"),
            *(asyncio.create_task(repeat(name, self._consuming(name)), name=name) for name in CONSUMERS),
            asyncio.create_task(repeat("jobs", self._engine.keep, BEAT_SECONDS), name="jobs"),
        ]

    async def stop(self) -> None:
        """End the work, and seal what the last requests did."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._engine.stop()
        try:
            await self._notary.seal()
        except Exception:
            log.exception("the last events wait to be sealed at the next start")

    def _consuming(self, name: str) -> Callable[[], Awaitable[None]]:
        """What hands a consumer all that waits for it."""
        kinds, handle = CONSUMERS[name]

        async def drain() -> None:
            while await consume(self._database, name, kinds, handle):
                pass

        return drain

    def _beginning(self, event: str, heard: Callable[[], None] | None) -> Handler:
        """What an event begins."""

        async def begin(id: UUID, body: Mapping[str, object], emitted_at: datetime) -> None:
            if heard is not None:
                heard()
            for kind in _begun_by().get(event, ()):
                due = emitted_at + kind.events[event](self._settings)
                await self._engine.begin(kind, body, f"{kind.name}:{id.hex}", due)

        return begin


def _begun_by() -> dict[str, list[Kind]]:
    """The kinds of jobs that each event begins."""
    found: dict[str, list[Kind]] = {}
    for kind in KINDS:
        for event in kind.events:
            found.setdefault(event, []).append(kind)
    return found
