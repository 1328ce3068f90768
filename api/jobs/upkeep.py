"""The knowledge kept ready to be searched in this process, and what is done with it beside requests."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from api.jobs.loops import persist, repeat
from api.knowledge.question_runs import run_outdated
from api.settings import Settings
from assistant import replays
from assistant.pipeline import Desk
from domain.kernel import SalesError
from knowledge import effectiveness
from knowledge.embedding import ModelDirectory, SentenceTransformerEmbedder, resolve_model
from knowledge.packaged_model import MODEL_ID, Progress
from knowledge.reranking import UNUSABLE, CrossEncoderReranker, Reranking

log = logging.getLogger("sortie.jobs")

WEIGH_SECONDS = 600.0
"""How soon a track record that was counted anew counts in rankings here."""
TEST_SECONDS = 300.0
"""How soon after a publication the saved retrieval tests are run again."""
REPLAY_SECONDS = 2.0
"""How soon a replay that was asked for begins."""
LOOK_SECONDS = 60.0
"""How soon knowledge that another process has changed gets its vectors here."""


def find_model(settings: Settings, progress: Progress | None = None) -> ModelDirectory:
    """The embedding model of an installation, converted on first use.

    Raises ModelUnusableError when there is none.
    """
    name = settings.embedding_model or MODEL_ID
    return resolve_model(settings.home, settings.embedding_directory, name, progress)


class Upkeep:
    """The library of one process, kept level with the database from its start to its end."""

    def __init__(self, desk: Desk, settings: Settings) -> None:
        self._desk = desk
        self._database = desk.database
        self._library = desk.library
        self._settings = settings
        self._changed = asyncio.Event()
        self._words_alone = not settings.embeds
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin; the knowledge becomes searchable by words, then by vectors.

        Raises Unavailable for a model directory that is named by a setting and cannot be used.
        """
        if self._settings.embedding_directory is not None:
            await asyncio.to_thread(find_model, self._settings)
        # Whoever searches before the words are there waits for them; nobody else does.
        self._tasks = [asyncio.create_task(persist("words", self._library.refresh), name="words")]
        if self._settings.embeds:
            self._tasks.append(asyncio.create_task(self._keep_vectors(), name="vectors"))
        if self._settings.reranker is not None:
            self._library.rerank_by(Reranking(None))
            self._tasks.append(asyncio.create_task(self._take_reranker(self._settings.reranker), name="reranker"))
        self._tasks.append(asyncio.create_task(repeat("retrieval tests", self._test, TEST_SECONDS), name="tests"))
        self._tasks.append(asyncio.create_task(repeat("replays", self._replay, REPLAY_SECONDS), name="replays"))
        if self._settings.effectiveness_prior:
            self._tasks.append(asyncio.create_task(repeat("track record", self._weigh, WEIGH_SECONDS), name="prior"))

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look(self) -> None:
        """Take in at once that knowledge was changed."""
        self._changed.set()

    async def _keep_vectors(self) -> None:
        """Load the embedding model, then give every published passage its vector, now and whenever knowledge changes."""
        try:
            embedder = await _in_daemon_thread(lambda: SentenceTransformerEmbedder(find_model(self._settings)))
        except SalesError as error:
            log.warning("searching by words alone: %s", error)
            self._words_alone = True
            return
        await self._library.use_embedder(embedder)
        while True:
            self._changed.clear()
            await persist("vectors", self._embed)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)

    async def _take_reranker(self, name: str) -> None:
        try:
            reranker = await _in_daemon_thread(lambda: CrossEncoderReranker(name))
        except SalesError as error:
            log.warning("the fused order stands: %s", error)
            self._library.rerank_by(Reranking(None, UNUSABLE))
            return
        self._library.rerank_by(Reranking(reranker, seconds=self._settings.reranker_seconds))

    async def _test(self) -> None:
        # Before the vectors are there a test says nothing of what will come.
        if self._words_alone or self._library.vectors == "ready":
            await run_outdated(self._database, self._library)

    async def _replay(self) -> None:
        await replays.work_off(self._desk)

    async def _weigh(self) -> None:
        self._library.weigh(await effectiveness.priors(self._database))

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
