"""What people look for in the knowledge, kept without making a search wait: gathered in the process, written in batches."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import func, literal, select

from assistant.masking import Masking
from domain.accounts import Contact
from domain.kernel import SYSTEM, Actor, Base, Database, Role
from domain.people import Territory
from knowledge import Filter, Hit
from knowledge.usage import Occasion, Offer, logged, normalised

log = logging.getLogger("sortie.knowledge")

FLUSH_SECONDS = 5.0
CAPACITY = 10_000
"""Searches that wait to be written at most: while a database is away the oldest are given up, and the log says how many."""
BATCH = 500
AS_ASKED = "search"
"""What a person's own search is kept as wanted for."""


@dataclass(frozen=True, slots=True)
class _Asked:
    occasion: Occasion
    query: str
    offers: tuple[Offer, ...]
    territories: frozenset[UUID]


class SearchLog:
    """The searches of one process that are not written yet; an orderly end writes them all."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Asked] = deque()
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._lost = 0

    def note(self, actor: Actor, query: str, wanted: Filter, hits: Iterable[Hit]) -> None:
        """Remember a search; nothing is written yet."""
        role = min(actor.roles, key=list(Role).index, default=None)
        occasion = Occasion(
            at=self._database.clock(), user_id=actor.user_id, role=role, industry=wanted.industry, stage=wanted.stage,
            concern=wanted.concern, language=wanted.language,
        )  # fmt: skip
        offers = tuple(Offer(hit.item_id, hit.version, hit.passage, hit.score, hit.explanation) for hit in hits)
        reached = frozenset[UUID]().union(*(reach.territory_ids for reach in actor.reaches))
        self._waiting.append(_Asked(occasion, normalised(query), offers, reached))
        if len(self._waiting) > CAPACITY:
            self._waiting.popleft()
            self._lost += 1

    async def flush(self) -> int:
        """Write what waits, and return how many searches that were; what cannot be written goes on waiting."""
        written = 0
        async with self._writing:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                try:
                    await self._write(batch)
                except BaseException:
                    self._waiting.extendleft(reversed(batch))
                    raise
                written += len(batch)
        return written

    async def _write(self, batch: list[_Asked]) -> None:
        said = literal("\n".join(asked.query for asked in batch))
        named = (func.instr if self._database.embedded else func.strpos)(said, Contact.name) > 0
        async with self._database.read(SYSTEM) as connection:
            found = await connection.execute(select(Contact.name).where(func.length(Contact.name) > 1, named))
            names = list(found.scalars())
            parents = {
                row.id: row.parent_id for row in await connection.execute(select(Territory.id, Territory.parent_id))
            }
        # Masking and cutting words takes a millisecond for each search: in a thread, nobody waits for it.
        rows = await asyncio.to_thread(_rows, self._database.new_id, batch, names, parents)
        async with self._database.open_uow(SYSTEM) as uow:
            uow.session.add_all(rows)

    async def start(self) -> None:
        """Begin to write every FLUSH_SECONDS."""
        self._task = asyncio.create_task(self._keep(), name="searches")

    async def stop(self) -> None:
        """Write what waits, and end."""
        self._ending.set()
        if self._task is not None:
            await self._task
        await self._flush_or_tell()
        if self._waiting:
            log.error("%d searches could not be written", len(self._waiting))

    async def _keep(self) -> None:
        while not self._ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), FLUSH_SECONDS)
            await self._flush_or_tell()

    async def _flush_or_tell(self) -> None:
        if self._lost:
            log.warning("%d searches were given up: too many were waiting to be written", self._lost)
            self._lost = 0
        try:
            await self.flush()
        except Exception:
            log.exception("searches wait to be written")


def _rows(
    new_id: Callable[[], UUID], batch: list[_Asked], names: list[str], parents: Mapping[UUID, UUID | None]
) -> list[Base]:
    rows: list[Base] = []
    for asked in batch:
        # A reach names all territories below; the search is that of the one on top, where there is one.
        tops = [one for one in asked.territories if parents.get(one) not in asked.territories]
        occasion = replace(asked.occasion, territory_id=tops[0] if len(tops) == 1 else None)
        query = Masking(names).mask(asked.query)
        rows += logged(new_id, occasion, query, asked.offers, wanted_as=AS_ASKED)
    return rows
