"""Edits and indexing in any order, by several processes: at the end each of them searches what one built from nothing does."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sqlalchemy import select

from domain.kernel import Database, Language, Role, SalesError
from knowledge import (
    Audience,
    Content,
    Filter,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeState,
    KnowledgeVersion,
    Library,
    keeping,
    service,
)
from knowledge.embedding import Floats, HashingEmbedder
from knowledge.generations import GenerationStore
from knowledge.model import Passage
from knowledge.text import passages
from tests.factories import Clock, add_colleague

HISTORIES = 12
QUERIES = ("发电机组保养", "价格太高", "generator service interval", "交期")
TOPICS = (
    ("发电机组保养", "每五百小时更换机油。\n\n## 谁来做\n\n厂家工程师上门，{n} 天内。"),
    ("价格太高怎么回", "先问预算从哪里来，再谈第 {n} 年的总成本。\n\n## 备选\n\n租赁方案。"),
    ("Generator service interval", "Change oil every {n} hours.\n\n## Who\n\nOur own engineers."),
    ("交期说明", "标准机型 {n} 周，备件两天。"),
)
STEPS = st.sampled_from((
    "publish", "publish", "publish", "revise", "revise", "suspend", "resume", "retire", "address", "expire", "wait",
    "refresh", "refresh", "embed", "embed", "embed amid an edit", "embed amid an edit", "embed and fail", "begin again",
))  # fmt: skip


FIRST = (("publish", 0), ("embed amid an edit", 0), ("publish", 1), ("embed and fail", 1), ("revise", 0), ("embed", 2))
"""How each history begins."""
LAST = (("publish", 2), ("embed amid an edit", 1))
"""How each ends: what is encoded is retired meanwhile, and nothing is published afterwards."""


class Interrupted(HashingEmbedder):
    """An embedder that lets something happen, or breaks off, while it encodes."""

    def __init__(self) -> None:
        super().__init__(32)
        self.amid: Any = None
        self.fails = False

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Encode them after whatever was to happen."""
        amid, self.amid = self.amid, None
        if amid is not None:
            amid()
        if self.fails:
            self.fails = False
            raise RuntimeError("the model broke off")
        return super().encode_documents(texts)


@dataclass
class Processes:
    """Three processes over one database, and those who edit."""

    database: Database
    clock: Clock
    folder: Path
    author: Any
    second: Any
    reader: Any
    libraries: list[Library] = field(default_factory=list)
    embedders: list[Interrupted] = field(default_factory=list)
    items: list[UUID] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    begun: int = 0

    async def begin(self, at: int) -> None:
        """A process begins, with what lies in its folder."""
        # The third keeps its vectors for itself wherever the database could hold them.
        store = GenerationStore(self.folder / f"index-{at}")
        library = Library(self.database, store, in_database=False if at == 2 else None)
        embedder = Interrupted()
        await library.refresh()
        await library.use_embedder(embedder)
        if at < len(self.libraries):
            self.libraries[at], self.embedders[at] = library, embedder
        else:
            self.libraries.append(library)
            self.embedders.append(embedder)

    async def take(self, step: str, pick: int) -> None:
        """Take one step, which counts if it was one."""
        self.clock.advance(minutes=1)
        at = pick % len(self.libraries)
        if step == "refresh":
            await self.libraries[at].refresh()
        elif step == "begin again":
            await self.begin(at)
        elif step.startswith("embed"):
            await self._embed(at, step, pick)
        elif step == "wait":
            self.clock.advance(days=40)
        elif step == "publish":
            await self._publish(pick)
        elif self.items:
            with suppress(SalesError):
                await self._edit(step, self.items[pick % len(self.items)], pick)
                self.done[step] += 1
            return
        self.done[step] += 1

    async def _embed(self, at: int, step: str, pick: int) -> None:
        embedder, loop = self.embedders[at], asyncio.get_running_loop()
        if step == "embed amid an edit":
            edit = ("revise", "retire", "suspend", "publish")[pick % 4]
            embedder.amid = lambda: asyncio.run_coroutine_threadsafe(self._amid(at, edit, pick), loop).result(30)
        embedder.fails = step == "embed and fail"
        with suppress(RuntimeError):
            await self.libraries[at].embed()
        embedder.amid, embedder.fails = None, False

    async def _amid(self, at: int, edit: str, pick: int) -> None:
        """An edit while a process encodes, and somebody who searches there meanwhile."""
        if edit == "publish":
            await self._publish(pick)
        else:
            with suppress(SalesError):
                await self._edit(edit, self.items[-1], pick)
        await self.libraries[at].search(self.reader, QUERIES[0], Filter(), 5)

    async def _publish(self, pick: int) -> None:
        title, body = TOPICS[pick % len(TOPICS)]
        language = Language.EN if title.isascii() else Language.ZH
        content = Content(f"{title} {len(self.items)}", body.format(n=len(self.items) + 1))
        async with self.database.open_uow(self.author) as uow:
            item = await service.draft(uow, kind=KnowledgeKind.FAQ, language=language, content=content)
            await service.submit(uow, item.id, None)
        async with self.database.open_uow(self.second) as uow:
            await service.publish(uow, item.id, None)
        self.items.append(item.id)

    async def _edit(self, step: str, id: UUID, pick: int) -> None:
        if step == "revise":
            async with self.database.open_uow(self.author) as uow:
                await service.revise(uow, id, None, {"body": TOPICS[(pick + 1) % 4][1].format(n=self.done.total())})
                await service.submit(uow, id, None)
            async with self.database.open_uow(self.second) as uow:
                await service.publish(uow, id, None)
            return
        async with self.database.open_uow(self.second) as uow:
            if step == "suspend":
                await keeping.suspend(uow, id, None, "核对")
            elif step == "resume":
                await keeping.resume(uow, id, None)
            elif step == "retire":
                await service.retire(uow, id, None)
            elif step == "address":
                audience = [[], [Audience(Role.FINANCE)], [Audience(Role.REP)]][pick % 3]
                await keeping.address(uow, id, None, audience)
            elif step == "expire":
                # The rule of access goes by the database's own clock.
                await service.revise(
                    uow, id, None, {"expires_at": datetime(2001 if pick % 2 else 2200, 1, 1, tzinfo=UTC)}
                )
                await service.submit(uow, id, None)
        if step == "expire":
            async with self.database.open_uow(self.author) as uow:
                await service.publish(uow, id, None)

    # ---- the end ---------------------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Every process takes in what there is."""
        for library in self.libraries:
            await library.embed()

    async def from_scratch(self, number: int) -> Library:
        """A process that has nothing but the database, with vectors of its own."""
        library = Library(self.database, GenerationStore(self.folder / f"fresh-{number}"), in_database=False)
        await library.refresh()
        await library.use_embedder(HashingEmbedder(32))
        await library.embed()
        return library

    async def seen(self, library: Library) -> Any:
        """What a process holds, and what it answers to whom."""
        status = await library.status()
        stock = await library.refresh()
        answers = []
        for actor in (self.reader, self.author):
            for query in QUERIES:
                found = await library.search(actor, query, Filter(), 50)
                answers.append([(hit.item_id, hit.version, round(hit.score, 4)) for hit in found.hits])
        pieces = {number: piece.text for number, piece in stock.pieces.items()}
        assert library._dense is not None
        assert set((await library._dense.vectors.ids()).tolist()) == pieces.keys()
        return status.passages, status.lacking, status.methods, pieces, set(stock.entries), answers


async def expected_pieces(database: Database) -> Counter[tuple[UUID, int, str]]:
    """The passages that cutting the published versions anew gives."""
    version = (KnowledgeVersion.item_id == KnowledgeItem.id) & (
        KnowledgeVersion.number == KnowledgeItem.published_number
    )
    published = select(KnowledgeItem.id, KnowledgeVersion.number, KnowledgeVersion.title, KnowledgeVersion.body).join(
        KnowledgeVersion, version
    )
    async with database.read() as connection:
        rows = await connection.execute(published.where(KnowledgeItem.state == KnowledgeState.PUBLISHED))
        return Counter((row.id, row.number, piece.text) for row in rows for piece in passages(row.title, row.body))


async def stored_pieces(database: Database) -> Counter[tuple[UUID, int, str]]:
    of_published = select(Passage.item_id, Passage.version_number, Passage.text).join(
        KnowledgeItem, KnowledgeItem.id == Passage.item_id
    )
    async with database.read() as connection:
        rows = await connection.execute(of_published.where(KnowledgeItem.state == KnowledgeState.PUBLISHED))
        return Counter((row.item_id, row.version_number, row.text) for row in rows)


def histories(number: int, count: int) -> list[list[tuple[str, int]]]:
    """Drawn histories; the same number gives the same ones."""
    drawn: list[list[tuple[str, int]]] = []

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(STEPS, st.integers(0, 11)), min_size=12, max_size=30))
    def collect(history: list[tuple[str, int]]) -> None:
        drawn.append(history)

    collect()
    return drawn


@pytest.mark.parametrize("part", range(3))
async def test_any_order_of_edits_and_indexing_ends_as_a_rebuild_does(
    database: Database, clock: Clock, tmp_path: Path, part: int
) -> None:
    yu, lan = [await add_colleague(database, name, Role.CURATOR) for name in ("赵宇", "徐兰")]
    processes = Processes(database, clock, tmp_path, yu, lan, await add_colleague(database, "张磊", Role.REP))
    for at in range(3):
        await processes.begin(at)
    found = 0
    for number, steps in enumerate(histories(20 + part, HISTORIES // 3)):
        for step, pick in (*FIRST, *steps, *LAST):
            await processes.take(step, pick)
        await processes.settled()
        assert await stored_pieces(database) == await expected_pieces(database)
        fresh = await processes.seen(await processes.from_scratch(number))
        assert fresh[1:3] == (0, ("bm25", "dense"))
        for library in processes.libraries:
            assert await processes.seen(library) == fresh
        found += sum(map(len, fresh[-1]))
    assert found
    assert {"publish", "revise", "embed", "embed amid an edit", "embed and fail"} <= processes.done.keys()
