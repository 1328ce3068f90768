"""The knowledge as one process searches it: published passages in memory, kept level with the database."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import SYSTEM, Actor, Database, Language, Role, rows_visible
from knowledge.embedding import Embedder, Floats, ModelIdentity
from knowledge.fusion import CANDIDATE_LIMIT, DENSE, LEXICAL, FusedHit, MethodScore, Ranking, fuse
from knowledge.generations import GenerationStore
from knowledge.index import AllowedPassages, IndexUnusableError, VectorIndex
from knowledge.lexical import LexicalIndex
from knowledge.model import (
    CachedVector,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeState,
    KnowledgeVersion,
    Passage,
    Publication,
)
from knowledge.packaged_model import Progress
from knowledge.text import TITLE_SEPARATOR, Script, query_tokens, script_of, searchable, tokenise

logger = logging.getLogger(__name__)

ENCODE_BATCH = 64
HASHES = 500
"""Content hashes asked for in one statement."""
FACET_BONUS = 0.12
"""What an entry gains in `find` for each facet that names the situation."""


@dataclass(frozen=True, slots=True)
class Situation:
    """For what knowledge is wanted; an entry fits when each of its facets is empty or names the situation's value."""

    industry: str | None = None
    region: str | None = None
    stage: str | None = None
    concerns: tuple[str, ...] = ()
    competitors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Some entries of certain kinds, nearest to a query among those that fit a situation.

    Entries in another language come only where none in this one fits.
    """

    query: str
    kinds: tuple[KnowledgeKind, ...]
    situation: Situation
    language: Language
    limit: int
    must_match_concern: bool = False
    must_match_competitor: bool = False
    changes_only: bool = False
    """Whether only entries with a day from which they hold are wanted, the newest first."""
    under: frozenset[str] = frozenset()
    """Headings (lower case) under which to search; an entry that has none of them is searched whole."""


@dataclass(frozen=True, slots=True)
class Found:
    """One published version, as an answer quotes it; `score` 0–1 compares entries of one search."""

    item_id: UUID
    version: int
    kind: KnowledgeKind
    language: Language
    title: str
    body: str
    concerns: tuple[str, ...]
    competitors: tuple[str, ...]
    stages: tuple[str, ...]
    source: str | None
    licence: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries a search may return."""

    kind: KnowledgeKind | None = None
    language: Language | None = None
    concern: str | None = None
    stage: str | None = None
    role: str | None = None
    industry: str | None = None
    competitor: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One entry that a search returned, with its best passage and why it ranks there."""

    item_id: UUID
    version: int
    passage: str
    score: float
    explanation: tuple[MethodScore, ...]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search returned, which methods served, and why not all."""

    hits: tuple[Hit, ...]
    methods: tuple[str, ...]
    degraded: str | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """One published entry with its facets, as the process remembers it."""

    id: UUID
    version: int
    kind: KnowledgeKind
    language: Language
    owner_id: UUID | None
    title: str
    body: str
    source: str | None
    licence: str | None
    facets: Mapping[str, frozenset[str]]
    lists: Mapping[str, tuple[str, ...]]
    effective_from: datetime | None
    expires_at: datetime | None
    published_at: datetime | None

    def in_date(self, now: datetime) -> bool:
        """Whether the entry is effective and has not expired."""
        return (self.effective_from is None or self.effective_from <= now) and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One passage of an entry."""

    number: int
    item_id: UUID
    title_path: str
    text: str
    content_hash: str
    script: Script

    @property
    def heading(self) -> str:
        """The nearest heading above it, in lower case."""
        return self.title_path.rsplit(TITLE_SEPARATOR, 1)[-1].lower()

    @property
    def searchable(self) -> str:
        """What is indexed: the text under its titles."""
        return searchable(self.title_path, self.text)


class DatabaseVectorCache:
    """Vectors by content hash and model fingerprint, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, fingerprint: str, hashes: Sequence[str]) -> dict[str, Floats]:
        """Those of the asked vectors that are kept."""
        found: dict[str, Floats] = {}
        async with self._database.read() as connection:
            for start in range(0, len(hashes), HASHES):
                same = (CachedVector.model_fingerprint == fingerprint) & CachedVector.content_hash.in_(hashes[start : start + HASHES])
                for row in await connection.execute(select(CachedVector.content_hash, CachedVector.vector).where(same)):
                    found[row.content_hash] = np.frombuffer(row.vector, np.float32)
        return found

    async def store(self, fingerprint: str, vectors: Mapping[str, Floats]) -> None:
        """Keep vectors; one that is kept already stays."""
        there = await self.load(fingerprint, list(vectors))
        rows = [
            {"content_hash": key, "model_fingerprint": fingerprint, "vector": vector.astype(np.float32).tobytes()}
            for key, vector in vectors.items() if key not in there
        ]  # fmt: skip
        if rows:
            async with self._database.open_uow(SYSTEM) as uow:
                await uow.session.execute(insert(CachedVector), rows)


class Library:
    """The published knowledge, ready to be searched; BM25 serves until every passage has its vector."""

    def __init__(self, database: Database, store: GenerationStore | None = None) -> None:
        self._database = database
        self._store = store
        self._embedder: Embedder | None = None
        self._publication = -1
        self._entries: dict[UUID, _Entry] = {}
        self._pieces: dict[int, _Piece] = {}
        self._by_item: dict[UUID, list[int]] = {}
        self._lexical: LexicalIndex | None = None
        self._vectors: VectorIndex | None = None
        self._allowed: dict[Any, AllowedPassages] = {}
        self._refreshing = asyncio.Lock()

    # ---- keeping level with the database -----------------------------------------------------------------------------

    async def use_embedder(self, embedder: Embedder) -> None:
        """Take a loaded model into use; vectors come with the next `embed`."""
        self._embedder = embedder
        self._vectors = None

    async def refresh(self) -> None:
        """Take in what was published and taken back since the last time; nothing is done while nothing has changed."""
        async with self._database.read() as connection:
            number = (await connection.execute(select(Publication.number))).scalar_one_or_none() or 0
            if number == self._publication:
                return
            async with self._refreshing:
                entries = await _read_entries(connection)
                rows = {row.number: row for row in await connection.execute(_pieces_of_published())}
                fresh = [_piece(rows[key]) for key in sorted(rows.keys() - self._pieces.keys())]
                gone = sorted(self._pieces.keys() - rows.keys())
                await asyncio.to_thread(self._take_in, fresh, gone)
                self._entries, self._publication, self._allowed = entries, number, {}

    def _take_in(self, fresh: list[_Piece], gone: list[int]) -> None:
        lexical = self._stored_lexical() if self._lexical is None else self._lexical
        pieces = {number: piece for number, piece in self._pieces.items() if number not in set(gone)}
        pieces.update((piece.number, piece) for piece in fresh)
        indexed = set(lexical.ids.tolist())
        lexical.remove(sorted(indexed - pieces.keys()))
        if self._vectors is not None:
            self._vectors.remove(gone)
        arriving = [piece for piece in pieces.values() if piece.number not in indexed]
        if arriving:
            lexical.add([piece.number for piece in arriving], [tokenise(piece.searchable) for piece in arriving])
        self._lexical, self._pieces = lexical, pieces
        self._by_item = {}
        for piece in pieces.values():
            self._by_item.setdefault(piece.item_id, []).append(piece.number)

    async def embed(self, progress: Progress | None = None) -> int:
        """Give every passage its vector, store the generation, and return how many passages got theirs.

        Vectors come from the stored generation, else from the cache, else from the model.
        """
        embedder = self._embedder
        if embedder is None:
            return 0
        await self.refresh()
        held, lexical = self._vectors, self._lexical
        vectors = await asyncio.to_thread(self._stored_vectors, embedder) if held is None else held
        gone = sorted(set(vectors.ids.tolist()) - self._pieces.keys())
        vectors.remove(gone)
        known = set(vectors.ids.tolist())
        waiting = [piece for piece in self._pieces.values() if piece.number not in known]
        found = await self._encoded(embedder, {piece.content_hash: piece.searchable for piece in waiting}, progress)
        alive = [piece for piece in waiting if piece.number in self._pieces]
        if alive:
            vectors.add([piece.number for piece in alive], np.stack([found[piece.content_hash] for piece in alive]))
        self._vectors = vectors
        if self._store is not None and lexical is not None and (waiting or gone):
            await asyncio.to_thread(self._store.save, self._publication, lexical, vectors, ModelIdentity.of(embedder))
        return len(alive)

    async def _encoded(self, embedder: Embedder, texts: Mapping[str, str], progress: Progress | None) -> dict[str, Floats]:
        """The vector of each text by its hash; what the cache lacks is encoded in a thread and kept batch by batch."""
        cache = DatabaseVectorCache(self._database)
        vectors = await cache.load(embedder.fingerprint, list(texts))
        missing = [key for key in texts if key not in vectors]
        for start in range(0, len(missing), ENCODE_BATCH):
            batch = missing[start : start + ENCODE_BATCH]
            encoded = await asyncio.to_thread(embedder.encode_documents, [texts[key] for key in batch])
            fresh = dict(zip(batch, encoded, strict=True))
            await cache.store(embedder.fingerprint, fresh)
            vectors |= fresh
            if progress is not None:
                progress(start + len(batch), len(missing))
        return vectors

    def _stored_vectors(self, embedder: Embedder) -> VectorIndex:
        try:
            if self._store is not None:
                return self._store.load_vectors(self._store.manifest(), ModelIdentity.of(embedder))
        except IndexUnusableError as error:
            logger.warning("stored vectors are not used: %s", error)
        return VectorIndex(embedder.dimension)

    def _stored_lexical(self) -> LexicalIndex:
        try:
            if self._store is not None:
                return self._store.load_lexical(self._store.manifest())
        except IndexUnusableError as error:
            logger.info("the stored index is not used: %s", error)
        return LexicalIndex()

    # ---- searching ---------------------------------------------------------------------------------------------------

    async def search(self, actor: Actor, query: str, wanted: Filter, limit: int) -> SearchResult:
        """The entries nearest to a query that the actor sees, are in date and pass the filter, each with its best passage."""
        await self.refresh()
        allowed = await self._allowed_for(actor, wanted, self._database.clock(), lambda entry: _passes(entry, wanted))
        vector = await self._query_vector([query])
        hits = await asyncio.to_thread(self._hybrid, query, None if vector is None else vector[0], allowed)
        best: dict[UUID, FusedHit] = {}
        for hit in hits:
            best.setdefault(self._pieces[hit.passage_id].item_id, hit)
        chosen = list(best.items())[:limit]
        methods, degraded = (LEXICAL, DENSE) if vector is not None else (LEXICAL,), self._degraded()
        return SearchResult(
            tuple(Hit(item_id, self._entries[item_id].version, self._pieces[hit.passage_id].text, hit.score, hit.explanation) for item_id, hit in chosen),
            methods, degraded,
        )  # fmt: skip

    async def find(self, actor: Actor, wants: Mapping[str, Wanted]) -> dict[str, list[Found]]:
        """For each want the entries that fit its situation best; every query is encoded once."""
        await self.refresh()
        now = self._database.clock()
        queries = list(dict.fromkeys(want.query for want in wants.values()))
        vectors = await self._query_vector(queries)
        by_query = dict(zip(queries, vectors, strict=True)) if vectors is not None else {}
        found = {}
        for name, want in wants.items():
            shape = (want.kinds, want.situation, want.must_match_concern, want.must_match_competitor, want.changes_only, want.under)
            allowed = await self._allowed_for(actor, shape, now, _fits(want), want.under)
            found[name] = await asyncio.to_thread(self._ranked, want, by_query.get(want.query), allowed)
        return found

    def _ranked(self, want: Wanted, vector: Floats | None, allowed: AllowedPassages) -> list[Found]:
        scores: dict[UUID, float] = {}
        for hit in self._hybrid(want.query, vector, allowed):
            item_id = self._pieces[hit.passage_id].item_id
            scores.setdefault(item_id, hit.score)
        for number in allowed.ids.tolist():
            scores.setdefault(self._pieces[number].item_id, 0.0)
        fitting = [self._entries[item_id] for item_id in scores]
        entries = [entry for entry in fitting if entry.language is want.language] or fitting
        ranked = sorted(entries, key=lambda entry: (-_order(entry, want, scores[entry.id]), entry.title, entry.id))
        return [_found(entry, min(scores[entry.id], 1.0)) for entry in ranked[: want.limit]]

    def _hybrid(self, query: str, vector: Floats | None, allowed: AllowedPassages) -> list[FusedHit]:
        index = LexicalIndex() if self._lexical is None else self._lexical
        lexical = index.search(query_tokens(query), CANDIDATE_LIMIT, allowed)
        dense: Ranking | None = None
        if vector is not None and self._vectors is not None:
            dense = self._vectors.search(vector, CANDIDATE_LIMIT, allowed)
        return fuse(lexical, dense, script_of(query), lambda number: self._pieces[number].script, 2 * CANDIDATE_LIMIT)

    async def _query_vector(self, queries: list[str]) -> Floats | None:
        if self._embedder is None or self._vectors is None or not queries or len(self._vectors) == 0:
            return None
        return await asyncio.to_thread(self._embedder.encode_queries, queries)

    def _degraded(self) -> str | None:
        if self._embedder is None:
            return "the embedding model is not loaded yet: BM25 serves alone"
        if self._vectors is None:
            return "vectors are being computed: BM25 serves alone"
        missing = len(self._pieces) - len(self._vectors)
        return f"{missing} passages have no vector yet" if missing > 0 else None

    def _numbers(self, item_id: UUID, under: frozenset[str]) -> list[int]:
        numbers = self._by_item.get(item_id, [])
        headed = [number for number in numbers if self._pieces[number].heading in under]
        return headed or numbers

    async def _allowed_for(self, actor: Actor, shape: Any, now: datetime, passes: Any, under: frozenset[str] = frozenset()) -> AllowedPassages:
        """The passages that a search may return: visible by SQL, in date, and passing; kept until a publication or a date changes it."""
        tick = sum(entry.in_date(now) for entry in self._entries.values())
        key = (_sight(actor), shape, self._publication, tick)
        allowed = self._allowed.get(key)
        if allowed is None:
            async with self._database.read() as connection:
                statement = select(KnowledgeItem.id).where(KnowledgeItem.state == KnowledgeState.PUBLISHED, rows_visible(KnowledgeItem, actor))
                visible = set((await connection.execute(statement)).scalars())
            chosen = [entry.id for entry in self._entries.values() if entry.id in visible and entry.in_date(now) and passes(entry)]
            allowed = AllowedPassages([number for item_id in chosen for number in self._numbers(item_id, under)])
            self._allowed[key] = allowed
        return allowed


def _sight(actor: Actor) -> tuple[Any, ...]:
    roles = tuple(sorted(actor.roles))
    return (actor.kind, roles, None if Role.CURATOR in actor.roles else actor.user_id)


def _pieces_of_published() -> Any:
    published = (KnowledgeItem.id == Passage.item_id) & (KnowledgeItem.state == KnowledgeState.PUBLISHED)
    return select(Passage).join(KnowledgeItem, published).order_by(Passage.number).with_only_columns(*Passage.__table__.c)


async def _read_entries(connection: AsyncConnection) -> dict[UUID, _Entry]:
    version = (KnowledgeVersion.item_id == KnowledgeItem.id) & (KnowledgeVersion.number == KnowledgeItem.published_number)
    columns = (*KnowledgeItem.__table__.c, KnowledgeVersion.title, KnowledgeVersion.body, KnowledgeVersion.published_at)
    rows = await connection.execute(select(*columns).join(KnowledgeVersion, version).where(KnowledgeItem.state == KnowledgeState.PUBLISHED))
    return {row.id: _entry(row) for row in rows}


def _entry(row: Any) -> _Entry:
    names = ("concerns", "stages", "roles", "industries", "competitors", "regions")
    return _Entry(
        id=row.id, version=row.published_number, kind=row.kind, language=row.language, owner_id=row.owner_id, title=row.title, body=row.body,
        source=row.source, licence=row.licence, facets={name: frozenset(getattr(row, name)) for name in names},
        lists={name: tuple(getattr(row, name)) for name in names}, effective_from=row.effective_from, expires_at=row.expires_at, published_at=row.published_at,
    )  # fmt: skip


def _piece(row: Any) -> _Piece:
    return _Piece(row.number, row.item_id, row.title_path, row.text, row.content_hash, script_of(row.text))


def _found(entry: _Entry, score: float) -> Found:
    return Found(
        entry.id, entry.version, entry.kind, entry.language, entry.title, entry.body, entry.lists["concerns"], entry.lists["competitors"], entry.lists["stages"],
        entry.source, entry.licence, score,
    )  # fmt: skip


def _passes(entry: _Entry, wanted: Filter) -> bool:
    named = {"concerns": wanted.concern, "stages": wanted.stage, "roles": wanted.role, "industries": wanted.industry, "competitors": wanted.competitor}
    return (
        wanted.kind in {None, entry.kind}
        and wanted.language in {None, entry.language}
        and all(value is None or value in entry.facets[name] for name, value in named.items())
    )


def _fits(want: Wanted) -> Any:
    situation = want.situation

    def fits(entry: _Entry) -> bool:
        single = {"industries": situation.industry, "regions": situation.region, "stages": situation.stage}
        if entry.kind not in want.kinds or any(value is not None and entry.facets[name] and value not in entry.facets[name] for name, value in single.items()):
            return False
        if want.changes_only and entry.effective_from is None:
            return False
        if want.must_match_concern and entry.facets["concerns"].isdisjoint(situation.concerns):
            return False
        named = entry.facets["competitors"]
        return not named.isdisjoint(situation.competitors) if want.must_match_competitor else not named or not named.isdisjoint(situation.competitors)

    return fits


def _order(entry: _Entry, want: Wanted, score: float) -> float:
    situation = want.situation
    single = {"industries": situation.industry, "regions": situation.region, "stages": situation.stage}
    matches = sum(value is not None and value in entry.facets[name] for name, value in single.items())
    matches += bool(entry.facets["concerns"] & set(situation.concerns)) + bool(entry.facets["competitors"] & set(situation.competitors))
    dated = entry.effective_from or entry.published_at
    newest = dated.timestamp() / 1e9 if want.changes_only and dated else 0.0
    return score + FACET_BONUS * matches + newest
