"""The knowledge as one process searches it: published passages in memory, kept level with the database."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from domain.kernel import SYSTEM, Actor, Database, Text, rows_visible
from knowledge.embedding import Embedder, Floats, ModelIdentity
from knowledge.fusion import CANDIDATE_LIMIT, DENSE, LEXICAL, FusedHit, fuse
from knowledge.generations import GenerationStore, Manifest
from knowledge.index import AllowedPassages, IndexMissingError, IndexUnusableError, VectorIndex
from knowledge.lexical import LexicalIndex
from knowledge.model import (
    CachedVector,
    KnowledgeItem,
    KnowledgeState,
    KnowledgeVersion,
    Passage,
    Publication,
)
from knowledge.packaged_model import Progress
from knowledge.retrieval import Entry, Filter, Found, Hit, Piece, SearchResult, Stock, Wanted, fits, passes, ranked
from knowledge.text import query_tokens, script_of, tokenise

logger = logging.getLogger(__name__)
T = TypeVar("T")
PartT = TypeVar("PartT", LexicalIndex, VectorIndex)

ENCODE_BATCH = 64
ASKED_AT_ONCE = 500
"""Keys that one statement asks for."""
ALLOWED_KEPT = 256
"""Sets of allowed passages that are remembered: who asks times what they ask for, the latest used."""

NO_MODEL = Text("向量模型尚未就绪，仅按关键词（BM25）检索", "the embedding model is not loaded yet: BM25 serves alone")
NO_VECTORS = Text("正在计算向量，仅按关键词（BM25）检索", "vectors are being computed: BM25 serves alone")


class DatabaseVectorCache:
    """Vectors by content hash and model fingerprint, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, fingerprint: str, hashes: Sequence[str]) -> dict[str, Floats]:
        """Those of the asked vectors that are kept."""
        async with self._database.read(SYSTEM) as connection:
            return await _kept_vectors(connection, fingerprint, hashes)

    async def store(self, fingerprint: str, vectors: Mapping[str, Floats]) -> None:
        """Keep vectors; one that is kept already stays."""
        async with self._database.open_uow(SYSTEM) as uow:
            await uow.wait_turn("cached vectors")
            there = await _kept_vectors(uow.session, fingerprint, list(vectors))
            rows = [
                {"content_hash": key, "model_fingerprint": fingerprint, "vector": vector.astype(np.float32).tobytes()}
                for key, vector in vectors.items()
                if key not in there
            ]
            if rows:
                await uow.session.execute(insert(CachedVector), rows)


class Library:
    """The published knowledge, ready to be searched; BM25 serves until every passage has its vector."""

    def __init__(self, database: Database, store: GenerationStore | None = None) -> None:
        self._database = database
        self._store = store
        self._embedder: Embedder | None = None
        self._stock = Stock(publication=-1)
        self._lexical: LexicalIndex | None = None
        self._dense: tuple[Embedder, VectorIndex] | None = None
        self._allowed: OrderedDict[Hashable, AllowedPassages] = OrderedDict()
        self._saved: int | None = None
        self._damaged = False
        self._refreshing = asyncio.Lock()
        self._embedding = asyncio.Lock()

    # ---- keeping level with the database -----------------------------------------------------------------------------

    async def use_embedder(self, embedder: Embedder) -> None:
        """Take a loaded model into use; vectors come with the next `embed`."""
        self._embedder, self._dense = embedder, None

    async def refresh(self) -> Stock:
        """Take in what was published and taken back since the last time; nothing is done while nothing has changed."""
        async with self._database.read(SYSTEM) as connection:
            number = await _publication(connection)
        if number == self._stock.publication:
            return self._stock
        async with self._refreshing, _snapshot(self._database) as connection:
            # Who waited for another's refresh finds it done, or more published since.
            number = await _publication(connection)
            if number != self._stock.publication:
                entries = await _read_entries(connection, self._stock.entries)
                pieces = await _read_pieces(connection, self._stock.pieces)
                await asyncio.to_thread(self._take_in, pieces)
                self._stock = Stock(number, entries, pieces)
                self._allowed.clear()
        return self._stock

    def _take_in(self, pieces: Mapping[int, Piece]) -> None:
        lexical = self._stored_lexical(pieces) if self._lexical is None else self._lexical
        indexed = set(lexical.ids.tolist())
        lexical.remove(sorted(indexed - pieces.keys()))
        if self._dense is not None:
            self._dense[1].remove(sorted(set(self._dense[1].ids.tolist()) - pieces.keys()))
        arriving = [piece for number, piece in pieces.items() if number not in indexed]
        if arriving:
            lexical.add([piece.number for piece in arriving], [tokenise(piece.searchable) for piece in arriving])
        self._lexical = lexical

    async def embed(self, progress: Progress | None = None) -> int:
        """Give every passage its vector, store the generation, and return how many passages got theirs.

        Vectors come from the stored generation, else from the cache, else from the model.
        """
        async with self._embedding:
            embedder = self._embedder
            if embedder is None:
                return 0
            stock = await self.refresh()
            held = self._dense
            vectors = await asyncio.to_thread(self._stored_vectors, embedder, stock.pieces) if held is None else held[1]
            known = set(vectors.ids.tolist())
            waiting = [piece for number, piece in stock.pieces.items() if number not in known]
            found = await self._encoded(embedder, {piece.content_hash: piece.searchable for piece in waiting}, progress)
            if self._embedder is not embedder:
                return 0
            alive = [piece for piece in waiting if piece.number in self._stock.pieces]
            if alive:
                vectors.add([piece.number for piece in alive], np.stack([found[piece.content_hash] for piece in alive]))
            vectors.remove(sorted(set(vectors.ids.tolist()) - self._stock.pieces.keys()))
            self._dense = (embedder, vectors)
            if alive or self._damaged or self._saved != self._stock.publication:
                await self._save(embedder, vectors)
            return len(alive)

    async def _encoded(
        self, embedder: Embedder, texts: Mapping[str, str], progress: Progress | None
    ) -> dict[str, Floats]:
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

    async def _save(self, embedder: Embedder, vectors: VectorIndex) -> None:
        """Store what serves; a disk that does not take it costs the next start some time, and no search."""
        if self._store is None:
            return
        async with self._refreshing:
            stock, lexical, model = self._stock, self._lexical or LexicalIndex(), ModelIdentity.of(embedder)
            contents = {number: piece.content_hash for number, piece in stock.pieces.items()}
            try:
                await asyncio.to_thread(self._store.save, stock.publication, contents, lexical, vectors, model)
                self._saved, self._damaged = stock.publication, False
            except OSError as error:
                logger.warning("the index is not stored: %s", error)

    def _stored_lexical(self, pieces: Mapping[int, Piece]) -> LexicalIndex:
        lexical = self._stored_part(lambda store, manifest: store.load_lexical(manifest), pieces)
        return LexicalIndex() if lexical is None else lexical

    def _stored_vectors(self, embedder: Embedder, pieces: Mapping[int, Piece]) -> VectorIndex:
        model = ModelIdentity.of(embedder)
        vectors = self._stored_part(lambda store, manifest: store.load_vectors(manifest, model), pieces)
        return VectorIndex(embedder.dimension) if vectors is None else vectors

    def _stored_part(
        self, load: Callable[[GenerationStore, Manifest], PartT], pieces: Mapping[int, Piece]
    ) -> PartT | None:
        """A part of the stored generation without passages that are not the database's; None where it is of no use."""
        if self._store is None:
            return None
        try:
            manifest = self._store.manifest()
            part, contents = load(self._store, manifest), self._store.load_contents(manifest)
        except IndexMissingError:
            return None
        except (IndexUnusableError, OSError) as error:
            logger.warning("the stored index is not used: %s", error)
            self._damaged = True
            return None
        strange = [number for number in part.ids.tolist() if not _same(contents.get(number), pieces.get(number))]
        part.remove(strange)
        self._damaged |= bool(strange)
        self._saved = manifest.publication
        return part

    # ---- its state ---------------------------------------------------------------------------------------------------

    @property
    def searchable(self) -> bool:
        """Whether words can be searched."""
        return self._lexical is not None or self._stock.publication == 0

    @property
    def vectors(self) -> str:
        """How far the vectors are: `off` without a model, `computing`, or `ready`."""
        if self._embedder is None:
            return "off"
        return "ready" if self._degraded() is None else "computing"

    # ---- searching ---------------------------------------------------------------------------------------------------

    async def search(self, actor: Actor, query: str, wanted: Filter, limit: int) -> SearchResult:
        """The entries nearest to a query that the actor sees, are in date and pass the filter, each with its best passage."""
        dense = self._dense
        vectors = await self._query_vectors(dense, [query])

        async def look(stock: Stock) -> list[Hit]:
            allowed = await self._allowed_for(stock, actor, wanted, passes(wanted))
            found = await asyncio.to_thread(self._hybrid, stock, query, vectors.get(query), dense, allowed)
            best: dict[UUID, FusedHit] = {}
            for hit in found:
                best.setdefault(stock.pieces[hit.passage_id].item_id, hit)
            return [_hit(stock, item_id, hit) for item_id, hit in islice(best.items(), limit)]

        hits = await self._level(look)
        return SearchResult(tuple(hits), (LEXICAL, DENSE) if vectors else (LEXICAL,), self._degraded())

    async def find(self, actor: Actor, wants: Mapping[str, Wanted]) -> dict[str, list[Found]]:
        """For each want the entries that fit its situation best; every query is encoded once."""
        dense = self._dense
        vectors = await self._query_vectors(dense, [want.query for want in wants.values()])

        async def look(stock: Stock) -> dict[str, list[Found]]:
            found = {}
            for name, want in wants.items():
                shape = (
                    want.kinds, want.situation, want.must_match_concern, want.must_match_competitor, want.changes_only, want.under,
                )  # fmt: skip
                allowed = await self._allowed_for(stock, actor, shape, fits(want), want.under)
                hits = await asyncio.to_thread(self._hybrid, stock, want.query, vectors.get(want.query), dense, allowed)
                found[name] = _ranked(stock, want, hits, allowed)
            return found

        return await self._level(look)

    async def _level(self, look: Callable[[Stock], Awaitable[T]]) -> T:
        """What a look at the stock finds; it is done again where a publication or withdrawal came in between."""
        while True:
            stock = await self.refresh()
            found = await look(stock)
            if stock is self._stock:
                return found

    def _hybrid(
        self,
        stock: Stock,
        query: str,
        vector: Floats | None,
        dense: tuple[Embedder, VectorIndex] | None,
        allowed: AllowedPassages,
    ) -> list[FusedHit]:
        index = LexicalIndex() if self._lexical is None else self._lexical
        by_words = index.search(query_tokens(query), CANDIDATE_LIMIT, allowed)
        by_meaning = None if vector is None or dense is None else dense[1].search(vector, CANDIDATE_LIMIT, allowed)
        scripts = {number: stock.pieces[number].script for number in allowed.ids.tolist()}
        return fuse(by_words, by_meaning, script_of(query), scripts, 2 * CANDIDATE_LIMIT)

    async def _query_vectors(
        self, dense: tuple[Embedder, VectorIndex] | None, queries: Iterable[str]
    ) -> dict[str, Floats]:
        """Each query's vector; none while there is nothing to compare it with."""
        distinct = list(dict.fromkeys(queries))
        if dense is None or not distinct or len(dense[1]) == 0:
            return {}
        return dict(zip(distinct, await asyncio.to_thread(dense[0].encode_queries, distinct), strict=True))

    def _degraded(self) -> Text | None:
        if self._embedder is None:
            return NO_MODEL
        if self._dense is None:
            return NO_VECTORS
        missing = len(self._stock.pieces) - len(self._dense[1])
        words = Text(f"{missing} 个段落还没有向量", f"{missing} passages have no vector yet")
        return words if missing > 0 else None

    async def _allowed_for(
        self,
        stock: Stock,
        actor: Actor,
        shape: Hashable,
        passing: Callable[[Entry], bool],
        under: frozenset[str] = frozenset(),
    ) -> AllowedPassages:
        """The passages that a search may return: visible by SQL, in date, and passing; kept while none of these changes."""
        now = self._database.clock()
        key = (stock.publication, stock.era(now), actor.kind, actor.user_id, actor.reaches, shape)
        allowed = self._allowed.get(key)
        if allowed is None:
            async with self._database.read(actor) as connection:
                published = KnowledgeItem.state == KnowledgeState.PUBLISHED
                seen = select(KnowledgeItem.id).where(published, rows_visible(KnowledgeItem, actor))
                visible = set((await connection.execute(seen)).scalars())
            chosen = [
                entry.id for entry in stock.entries.values() if entry.id in visible and entry.in_date(now) and passing(entry)
            ]  # fmt: skip
            allowed = AllowedPassages([number for item_id in chosen for number in stock.numbers(item_id, under)])
            self._allowed[key] = allowed
            while len(self._allowed) > ALLOWED_KEPT:
                self._allowed.popitem(last=False)
        self._allowed.move_to_end(key)
        return allowed


def _hit(stock: Stock, item_id: UUID, hit: FusedHit) -> Hit:
    passage = stock.pieces[hit.passage_id].text
    return Hit(item_id, stock.entries[item_id].version, passage, hit.score, hit.explanation)


def _ranked(stock: Stock, want: Wanted, hits: Sequence[FusedHit], allowed: AllowedPassages) -> list[Found]:
    """The best entries for a want; one that the query does not touch still fits, and comes after those that it does."""
    scores: dict[UUID, float] = {}
    for hit in hits:
        scores.setdefault(stock.pieces[hit.passage_id].item_id, hit.score)
    for number in allowed.ids.tolist():
        scores.setdefault(stock.pieces[number].item_id, 0.0)
    return ranked([stock.entries[item_id] for item_id in scores], want, scores)


def _same(content_hash: str | None, piece: Piece | None) -> bool:
    """Whether a stored passage is the database's: after a restore its number may stand for another text, or for none."""
    return piece is not None and piece.content_hash == content_hash


@asynccontextmanager
async def _snapshot(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection whose statements all see the database as of the first one; SQLite's do so by themselves."""
    async with database.read(SYSTEM) as connection:
        if not database.embedded:
            await connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


async def _publication(connection: AsyncConnection) -> int:
    return (await connection.execute(select(Publication.number))).scalar_one_or_none() or 0


async def _read_entries(connection: AsyncConnection, known: Mapping[UUID, Entry]) -> dict[UUID, Entry]:
    """The published entries; those that did not change since they were read are not read again."""
    published = select(KnowledgeItem.id, KnowledgeItem.version).where(KnowledgeItem.state == KnowledgeState.PUBLISHED)
    versions = {row.id: row.version for row in await connection.execute(published)}
    entries = {id: entry for id, entry in known.items() if versions.get(id) == entry.row_version}
    version = (KnowledgeVersion.item_id == KnowledgeItem.id) & (
        KnowledgeVersion.number == KnowledgeItem.published_number
    )
    columns = (*KnowledgeItem.__table__.c, KnowledgeVersion.title, KnowledgeVersion.body, KnowledgeVersion.published_at)
    whole = select(*columns).join(KnowledgeVersion, version)
    for row in await _asked(connection, whole, KnowledgeItem.id, sorted(versions.keys() - entries.keys())):
        entries[row.id] = Entry.of(row)
    return entries


async def _read_pieces(connection: AsyncConnection, known: Mapping[int, Piece]) -> dict[int, Piece]:
    """The passages of published entries; a number never holds another text, so known ones are not read again."""
    published = (KnowledgeItem.id == Passage.item_id) & (KnowledgeItem.state == KnowledgeState.PUBLISHED)
    numbers = set((await connection.execute(select(Passage.number).join(KnowledgeItem, published))).scalars())
    pieces = {number: piece for number, piece in known.items() if number in numbers}
    whole = select(*Passage.__table__.c)
    for row in await _asked(connection, whole, Passage.number, sorted(numbers - pieces.keys())):
        pieces[row.number] = Piece.of(row)
    return pieces


async def _kept_vectors(
    connection: AsyncConnection | AsyncSession, fingerprint: str, hashes: Sequence[str]
) -> dict[str, Floats]:
    kept = select(CachedVector.content_hash, CachedVector.vector).where(CachedVector.model_fingerprint == fingerprint)
    rows = await _asked(connection, kept, CachedVector.content_hash, hashes)
    return {row.content_hash: np.frombuffer(row.vector, np.float32) for row in rows}


async def _asked(
    connection: AsyncConnection | AsyncSession, statement: Select[*tuple[Any, ...]], column: Any, keys: Sequence[Any]
) -> list[Any]:
    """The statement's rows for many keys, asked for in parts that both databases take."""
    rows: list[Any] = []
    for start in range(0, len(keys), ASKED_AT_ONCE):
        rows += await connection.execute(statement.where(column.in_(keys[start : start + ASKED_AT_ONCE])))
    return rows
