"""Retrieval as a publication or withdrawal would make it: a copy of what serves with one entry exchanged, kept nowhere."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from sqlalchemy import literal, select

from domain.kernel import SYSTEM, Actor, Conflict, Database, Text, UnitOfWork, load, rows_visible
from knowledge.bodies import searchable
from knowledge.embedding import Embedder, Floats
from knowledge.fusion import Ranking
from knowledge.in_process import FaissVectors
from knowledge.index import AllowedPassages, Ints, VectorIndex
from knowledge.lexical import LexicalIndex
from knowledge.library import Library, Serving
from knowledge.model import KnowledgeItem, KnowledgeState
from knowledge.retrieval import Entry, Piece, Stock
from knowledge.retrieval_tests import Outcome, Question, run
from knowledge.service import draft_of, may_curate, stored_content
from knowledge.text import TITLE_SEPARATOR, content_hash, passages, script_of, tokenise
from knowledge.vector_cache import DatabaseVectorCache
from knowledge.vectors import Dense, Vectors


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that is exchanged: for `entry`, which is None where it is withdrawn."""

    item_id: UUID
    entry: Entry | None = None

    def pieces(self, first: int) -> list[Piece]:
        """The passages of the entry that would be in use, numbered from `first`."""
        if self.entry is None:
            return []
        cut = passages(self.entry.title, searchable(self.entry.body))
        return [
            Piece(first + at, self.item_id, TITLE_SEPARATOR.join(one.title_path), one.text, content_hash(one), script_of(one.text))
            for at, one in enumerate(cut)
        ]  # fmt: skip


async def publication_of(uow: UnitOfWork, item_id: UUID | None) -> Change:
    """What publishing the pending version of an entry would do.

    Raises Forbidden for people who do not curate, NotFound, Conflict where nothing is pending.
    """
    may_curate(uow)
    item = await load(uow.session, uow.actor, KnowledgeItem, item_id, path=("itemId",))
    version = await draft_of(uow, item)
    content = stored_content(version)
    facets = {name: tuple(values) for name, values in content.facets.lists().items()}
    entry = Entry(
        item.id, item.version + 1, version.number, item.kind, item.language, content.title, content.body, item.source, item.licence, facets, content.effective_from, content.expires_at, uow.now,
    )  # fmt: skip
    return Change(item.id, entry)


async def withdrawal_of(uow: UnitOfWork, item_id: UUID | None) -> Change:
    """What suspending or retiring an entry would do.

    Raises Forbidden for people who do not curate, NotFound, Conflict for one that is not in use.
    """
    may_curate(uow)
    item = await load(uow.session, uow.actor, KnowledgeItem, item_id, path=("itemId",))
    if item.state is not KnowledgeState.PUBLISHED:
        raise Conflict(Text("该条目不在使用中", "the entry is not in use"), ("itemId",))
    return Change(item.id)


class Supposed(Library):
    """A library whose stock stays what it was made with; nothing that it does is kept."""

    def __init__(self, database: Database, serving: Serving, entry: Entry | None = None) -> None:
        super().__init__(database)
        self._stock, self._lexical, self._dense = serving.stock, serving.lexical, serving.dense
        self._embedder, self._lacking, self._prior = serving.embedder, serving.lacking, serving.prior
        self._reranking = serving.reranking
        self._entry = entry

    async def refresh(self) -> Stock:
        """The stock, which does not change."""
        return self._stock

    async def _count_lacking(self) -> None:
        """Nothing is added."""

    async def _visible(self, actor: Actor) -> set[UUID]:
        """What the actor sees now, and the entry if they would see it in use."""
        visible = await super()._visible(actor)
        if self._entry is None:
            return visible
        visible.discard(self._entry.id)
        rows = KnowledgeItem.__table__
        replaced = {
            "state": literal(KnowledgeState.PUBLISHED, rows.c.state.type),
            "effective_from": literal(self._entry.effective_from, rows.c.effective_from.type),
            "expires_at": literal(self._entry.expires_at, rows.c.expires_at.type),
        }
        columns = [replaced.get(one.name, one).label(one.name) for one in rows.c]
        supposed = select(*columns).where(rows.c.id == self._entry.id).subquery()
        seen = select(supposed.c.id).where(rows_visible(KnowledgeItem, actor, supposed))
        # The rules are asked of a row that is not there: the wall lets the actor see what is there alone.
        async with self._database.read(SYSTEM) as connection:
            return visible | set((await connection.execute(seen)).scalars())


async def suppose(database: Database, serving: Serving, change: Change) -> Supposed:
    """The library after a change."""
    stock = serving.stock
    gone = {number for number, piece in stock.pieces.items() if piece.item_id == change.item_id}
    coming = change.pieces(max(stock.pieces, default=0) + 1)
    kept = {number: piece for number, piece in stock.pieces.items() if number not in gone}
    entries = {id: entry for id, entry in stock.entries.items() if id != change.item_id}
    if change.entry is not None:
        entries[change.item_id] = change.entry
    after = Stock(stock.publication, entries, kept | {piece.number: piece for piece in coming})
    lexical = await asyncio.to_thread(exchanged, serving.lexical, gone, coming)
    dense = None if serving.dense is None else await with_vectors(database, serving.dense, gone, coming)
    return Supposed(database, serving.having(after, lexical, dense), change.entry)


def exchanged(lexical: LexicalIndex, gone: Iterable[int], coming: Sequence[Piece]) -> LexicalIndex:
    """A copy of the index of words without some passages and with others."""
    copy = lexical.copied()
    copy.remove(sorted(gone))
    if coming:
        copy.add([piece.number for piece in coming], [tokenise(piece.searchable) for piece in coming])
    return copy


async def with_vectors(database: Database, dense: Dense, gone: set[int], coming: Sequence[Piece]) -> Dense:
    """What serves without the vectors of some passages and with those of others, from the cache where they are there."""
    texts = {piece.content_hash: piece.searchable for piece in coming}
    found = await DatabaseVectorCache(database).load(dense.embedder.fingerprint, list(texts))
    lacking = [key for key in texts if key not in found]
    if lacking:
        encoded = await asyncio.to_thread(dense.embedder.encode_documents, [texts[key] for key in lacking])
        found |= dict(zip(lacking, encoded, strict=True))
    added = FaissVectors(VectorIndex(dense.embedder.dimension), dense.embedder.fingerprint)
    if coming:
        await added.add([piece.number for piece in coming], np.stack([found[piece.content_hash] for piece in coming]))
    return Dense(dense.embedder, _Exchanged(dense.vectors, gone, added))


class _Exchanged:
    """Vectors without some and with others; they are searched, and nothing else."""

    def __init__(self, before: Vectors, gone: set[int], added: FaissVectors) -> None:
        self._before, self._added = before, added
        self._gone: Ints = np.array(sorted(gone), np.int64)
        self.fingerprint, self.dimension = before.fingerprint, before.dimension

    async def search(self, query: Floats, limit: int, allowed: AllowedPassages | None = None) -> Ranking:
        """The nearest of both."""
        both = await asyncio.gather(*(one.search(query, limit, allowed) for one in (self._before, self._added)))
        ids, scores = (np.concatenate([getattr(one, part) for one in both]) for part in ("ids", "scores"))
        stays = ~np.isin(ids, self._gone)
        return Ranking.best(ids[stays], scores[stays], limit)

    async def ids(self) -> Ints:
        """The passages that have one."""
        return np.union1d(np.setdiff1d(await self._before.ids(), self._gone), await self._added.ids())

    async def count(self) -> int:
        """How many they are."""
        return len(await self.ids())

    async def add(self, ids: Sequence[int] | Ints, vectors: Floats) -> None:
        """Add to what is supposed."""
        await self._added.add(ids, vectors)

    async def remove(self, ids: Sequence[int] | Ints) -> int:
        """Remove from what is supposed."""
        there = np.intersect1d(await self.ids(), np.asarray(ids, np.int64))
        self._gone = np.union1d(self._gone, there)
        return len(there)


class Remembering:
    """An embedder that encodes each query once, all that are known beforehand in one batch."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Floats] = {}
        self.model_id, self.dimension = embedder.model_id, embedder.dimension
        self.fingerprint, self.prompts = embedder.fingerprint, embedder.prompts

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Their vectors, from memory where they are there."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            self._known |= dict(zip(fresh, self._embedder.encode_queries(fresh), strict=True))
        return np.stack([self._known[text] for text in texts])

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Their vectors."""
        return self._embedder.encode_documents(texts)


# ---- comparing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does to one test."""

    before: Outcome
    after: Outcome

    @property
    def breaks(self) -> bool:
        """Whether the test passes now and would not any more."""
        return self.before.passed and not self.after.passed

    @property
    def mends(self) -> bool:
        """Whether the test fails now and would pass."""
        return self.after.passed and not self.before.passed

    @property
    def moves(self) -> bool:
        """Whether an entry that the test names would have another rank."""
        return dict(self.before.ranks) != dict(self.after.ranks)


async def preview(database: Database, library: Library, change: Change, questions: Sequence[Question]) -> list[Effect]:
    """What a change would do to saved tests: each is put to retrieval as it is and as it would be, on one stock."""
    if not questions:
        return []
    serving = await library.serving()
    if serving.dense is not None:
        embedder = Remembering(serving.dense.embedder)
        await asyncio.to_thread(embedder.encode_queries, [question.words for question in questions])
        serving = serving.having(serving.stock, serving.lexical, Dense(embedder, serving.dense.vectors))
    before = await run(Supposed(database, serving), questions)
    after = await run(await suppose(database, serving, change), questions)
    return [Effect(*pair) for pair in zip(before, after, strict=True)]


def ranks_of(effect: Effect) -> Mapping[UUID, tuple[int | None, int | None]]:
    """The rank of each named entry before and after."""
    return {id: (rank, effect.after.ranks[id]) for id, rank in effect.before.ranks.items()}
