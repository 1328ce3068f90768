"""What runs beside the requests: sealing the ledger, handing over events, keeping the knowledge ready to be searched."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select, update

from api.notary import Notary
from api.settings import Settings
from assistant import pipeline
from domain import commerce
from domain.kernel import SYSTEM, Database, OutboxEvent, SalesError
from knowledge import KnowledgeChanged, Library
from knowledge.embedding import ModelDirectory, SentenceTransformerEmbedder, resolve_model
from knowledge.packaged_model import MODEL_ID, Progress

log = logging.getLogger("sortie.jobs")

TICK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
QUOTE_SECONDS = 600.0
"""How often quotes are looked through for those whose last day is over."""
LOOK_SECONDS = 60.0
"""How soon knowledge that another process has changed gets its vectors here."""
OUTBOX_BATCH = 500

Handler = Callable[[Mapping[str, object]], Awaitable[None]]
"""What is done about one event; it may be called twice for the same one."""


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
        waiting = select(OutboxEvent.id, OutboxEvent.kind, OutboxEvent.body).where(OutboxEvent.handled_at.is_(None))
        async with self._database.read(SYSTEM) as connection:
            events = (await connection.execute(waiting.order_by(OutboxEvent.id).limit(OUTBOX_BATCH))).all()
        if not events:
            return 0
        for event in events:
            handler = self._handlers.get(event.kind)
            if handler is not None:
                await handler(event.body)
        await self._mark([event.id for event in events])
        return len(events)

    async def _mark(self, ids: list[UUID]) -> None:
        async with self._database.open_uow(SYSTEM) as uow:
            handled = update(OutboxEvent).where(OutboxEvent.id.in_(ids)).values(handled_at=uow.now)
            await uow.session.execute(handled, execution_options={"synchronize_session": False})


def find_model(settings: Settings, progress: Progress | None = None) -> ModelDirectory:
    """The embedding model of an installation, converted on first use.

    Raises ModelUnusableError when there is none.
    """
    name = settings.embedding_model or MODEL_ID
    return resolve_model(settings.home, settings.embedding_directory, name, progress)


class Jobs:
    """The background work of one server process, from its start to its end."""

    def __init__(self, database: Database, notary: Notary, library: Library, settings: Settings) -> None:
        self._database = database
        self._notary = notary
        self._library = library
        self._settings = settings
        self._changed = asyncio.Event()
        self._outbox = Outbox(database, {KnowledgeChanged.kind: self._knowledge_changed})
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Close what a crash left open, and begin; the knowledge becomes searchable by words, then by vectors.

        Raises Unavailable for a model directory that is named by a setting and cannot be used.
        """
        if self._settings.embedding_directory is not None:
            await asyncio.to_thread(find_model, self._settings)
        interrupted = await pipeline.close_interrupted(self._database)
        if interrupted:
            log.warning("%d interrupted answers were closed as FAILED", interrupted)
        work = {"seal": self._notary.seal, "outbox": self._outbox.drain}
        self._tasks = [asyncio.create_task(_repeat(name, step), name=name) for name, step in work.items()]
        # Whoever searches before the words are there waits for them; nobody else does.
        self._tasks.append(asyncio.create_task(_persist("words", self._library.refresh), name="words"))
        self._tasks.append(asyncio.create_task(_repeat("quotes", self._expire_quotes, QUOTE_SECONDS), name="quotes"))
        if self._settings.embeds:
            self._tasks.append(asyncio.create_task(self._keep_vectors(), name="vectors"))

    async def stop(self) -> None:
        """End the work, and seal what the last requests did."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        try:
            await self._notary.seal()
        except Exception:
            log.exception("the last events wait to be sealed at the next start")

    async def _expire_quotes(self) -> None:
        expired = await commerce.expire_quotes(self._database)
        if expired:
            log.info("%d quotes expired", expired)

    async def _knowledge_changed(self, _body: Mapping[str, object]) -> None:
        self._changed.set()

    async def _keep_vectors(self) -> None:
        """Load the embedding model, then give every published passage its vector, now and whenever knowledge changes."""
        try:
            embedder = await _in_daemon_thread(lambda: SentenceTransformerEmbedder(find_model(self._settings)))
        except SalesError as error:
            log.warning("searching by words alone: %s", error)
            return
        await self._library.use_embedder(embedder)
        while True:
            self._changed.clear()
            await _persist("vectors", self._embed)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)

    async def _embed(self) -> None:
        encoded = await self._library.embed(
            lambda done, total: log.info("vectors: %d of %d passages encoded", done, total)
        )
        if encoded:
            log.info("vectors are ready")


T = TypeVar("T")


async def _in_daemon_thread(work: Callable[[], T]) -> T:
    """Like asyncio.to_thread, but a process that stops does not wait: loading a model takes ten seconds and leaves nothing half done."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def target() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001 - it is raised again where it is awaited
            error = raised
        with suppress(RuntimeError):  # the loop is closed when the process has stopped meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=target, name="sortie-model", daemon=True).start()
    return await done


async def _repeat(name: str, step: Callable[[], Awaitable[object]], pause: float = TICK_SECONDS) -> None:
    while True:
        await _persist(name, step)
        await asyncio.sleep(pause)


async def _persist(name: str, step: Callable[[], Awaitable[object]]) -> None:
    """Take a step until it succeeds, with growing pauses; each failure is logged."""
    pause = TICK_SECONDS
    while True:
        try:
            await step()
        except SalesError as error:
            log.warning("%s: %s", name, error)
        except Exception:
            log.exception("%s failed", name)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
