"""The knowledge as one process searches it: published passages in memory, kept level with the database."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import SYSTEM, Actor, Database, Text
from knowledge import pgvector
from knowledge.embedding import Embedder, Floats, ModelIdentity
from knowledge.fusion import DENSE, LEXICAL, FusedHit
from knowledge.generations import GenerationStore
from knowledge.in_database import InDatabase
from knowledge.in_process import InProcess
from knowledge.index import AllowedPassages, IndexUnusableError
from knowledge.lexical import LexicalIndex
from knowledge.packaged_model import Progress
from knowledge.reranking import Reranked, Reranking, joined, reranked
from knowledge.retrieval import (
    Entry,
    Filter,
    Found,
    Hit,
    Piece,
    SearchResult,
    Stock,
    Wanted,
    fits,
    passes,
)
from knowledge.searching import fitting, folded, hybrid
from knowledge.stock import one_instant, publication_number, read_entries, read_pieces, visible_entries
from knowledge.text import tokenise
from knowledge.vector_cache import Encoding, turn
from knowledge.vectors import Dense, Rejection, Standing, VectorHome

logger = logging.getLogger(__name__)
T = TypeVar("T")

ADDED_AT_ONCE = 2_000
CLOCKS_APART = timedelta(seconds=5)
"""By how much the clocks of this process and of the database may differ."""
ALLOWED_KEPT = 256
"""Sets of allowed passages that are remembered: who asks times what they ask for, the latest used."""
TURN_SECONDS = 1.0
"""How soon a process looks again whether another has given the passages their vectors, or has ended."""
COUNT_SECONDS = 1.0
RECOUNT_SECONDS = 30.0
"""How soon vectors are counted again: while some lack, and where none did."""

NO_MODEL = Text("向量模型尚未就绪，仅按关键词（BM25）检索", "the embedding model is not loaded yet: BM25 serves alone")
NO_VECTORS = Text("正在计算向量，仅按关键词（BM25）检索", "vectors are being computed: BM25 serves alone")

DAMAGED = Text(
    "向量索引已损坏，正在修复，仅按关键词（BM25）检索",
    "the vectors were found damaged and are being mended: BM25 serves alone",
)


@dataclass(frozen=True, slots=True)
class Building:
    """Texts that get their vectors now: how many have theirs, of how many, since when."""

    done: int
    total: int
    since: datetime


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How the index of one process stands.

    `lacking` passages have no vector yet; `rejected` says why a stored index was not used, which was then built anew.
    """

    publication: int
    passages: int
    lacking: int
    engine: str | None
    model: ModelIdentity | None
    methods: tuple[str, ...]
    degraded: Text | None
    building: Building | None
    rejected: Rejection | None


@dataclass(frozen=True, slots=True)
class Serving:
    """What a library searches at one moment."""

    stock: Stock
    lexical: LexicalIndex
    dense: Dense | None
    embedder: Embedder | None
    lacking: int
    prior: Mapping[UUID, float]
    reranking: Reranking | None

    def having(self, stock: Stock, lexical: LexicalIndex, dense: Dense | None) -> "Serving":
        """The same with another stock and its indexes."""
        return replace(self, stock=stock, lexical=lexical, dense=dense)


class Library:
    """The published knowledge, ready to be searched; BM25 serves until every passage has its vector."""

    def __init__(
        self, database: Database, store: GenerationStore | None = None, *, in_database: bool | None = None
    ) -> None:
        """A library of a database; `in_database` has its vectors there or not, None: where the database can hold them."""
        self._database = database
        self._store = store
        self._in_database = in_database
        self._home: VectorHome | None = None
        self._embedder: Embedder | None = None
        self._stock = Stock(publication=-1)
        self._lexical: LexicalIndex | None = None
        self._dense: Dense | None = None
        self._lacking, self._counted = 0, (-1, 0.0)
        self._prior: Mapping[UUID, float] = {}
        self._reranking: Reranking | None = None
        self._building: Building | None = None
        self._mended: Rejection | None = None
        self._allowed: OrderedDict[Hashable, AllowedPassages] = OrderedDict()
        self._refreshing = asyncio.Lock()
        self._embedding = asyncio.Lock()

    # ---- keeping level with the database -----------------------------------------------------------------------------

    async def use_embedder(self, embedder: Embedder) -> None:
        """Take a loaded model into use; vectors come with the next `embed`."""
        self._embedder, self._dense = embedder, None

    async def refresh(self) -> Stock:
        """Take in what was published and taken back since the last time; nothing is done while nothing has changed."""
        async with self._database.read(SYSTEM) as connection:
            number = await publication_number(connection)
        if number == self._stock.publication:
            return self._stock
        async with self._refreshing, one_instant(self._database) as connection:
            # Who waited for another's refresh finds it done, or more published since.
            number = await publication_number(connection)
            if number != self._stock.publication:
                home = await self._settled_home(connection)
                entries = await read_entries(connection, self._stock.entries)
                pieces = await read_pieces(connection, self._stock.pieces)
                await asyncio.to_thread(self._take_in, pieces)
                if self._dense is not None:
                    await home.prune(self._dense.vectors, pieces)
                self._stock = Stock(number, entries, pieces)
                self._allowed.clear()
        return self._stock

    async def _settled_home(self, connection: AsyncConnection) -> VectorHome:
        """Where the vectors of this process live, which is decided once."""
        if self._home is None:
            inside = self._in_database
            if inside is None:
                inside = await connection.run_sync(pgvector.serves)
                if not inside and not self._database.embedded:
                    logger.warning("the database has no table for pgvector: each process searches vectors by itself")
            self._home = InDatabase(self._database) if inside else InProcess(self._database.clock, self._store)
        return self._home

    def _take_in(self, pieces: Mapping[int, Piece]) -> None:
        assert self._home is not None  # noqa: S101 - settled before anything is taken in
        lexical = self._home.kept_words(pieces) if self._lexical is None else self._lexical
        indexed = set(lexical.ids.tolist())
        lexical.remove(sorted(indexed - pieces.keys()))
        arriving = [piece for number, piece in pieces.items() if number not in indexed]
        if arriving:
            lexical.add([piece.number for piece in arriving], [tokenise(piece.searchable) for piece in arriving])
        self._lexical = lexical

    async def embed(self, progress: Progress | None = None) -> int:
        """See to it that every passage has its vector, and return how many this call gave theirs.

        Where several processes share them, one at a time does; the others wait until they are there. Vectors come from
        where they are kept, else from the cache, else from the model.
        """
        async with self._embedding:
            embedder = self._embedder
            stock = await self.refresh()
            if embedder is None or self._home is None:
                return 0
            dense = self._dense or Dense(embedder, await self._home.open(embedder, stock.pieces))
            while self._embedder is embedder:
                standing = await self._home.standing(dense.vectors, stock)
                if standing is not Standing.UNKNOWN:
                    await self._serve(dense)
                if standing is Standing.WHOLE:
                    return 0
                async with turn(self._database) as mine:
                    if mine:
                        try:
                            return await self._fill(dense, self._home, progress)
                        finally:
                            self._building = None
                await asyncio.sleep(TURN_SECONDS)
                stock = await self.refresh()
            return 0

    async def _fill(self, dense: Dense, home: VectorHome, progress: Progress | None) -> int:
        stock, vectors = self._stock, dense.vectors
        known = set((await vectors.ids()).tolist())
        waiting = [piece for number, piece in stock.pieces.items() if number not in known]
        encoding = Encoding(self._database, dense.embedder, self._telling(progress))
        await encoding.begin(piece.content_hash for piece in waiting)
        added = 0
        for start in range(0, len(waiting), ADDED_AT_ONCE):
            part = waiting[start : start + ADDED_AT_ONCE]
            found = await encoding.vectors({piece.content_hash: piece.searchable for piece in part})
            if self._embedder is not dense.embedder:
                return added
            alive = [piece for piece in part if piece.number in self._stock.pieces]
            if alive:
                rows = np.stack([found[piece.content_hash] for piece in alive])
                await vectors.add([piece.number for piece in alive], rows)
            added += len(alive)
        await home.prune(vectors, self._stock.pieces)
        await self._serve(dense)
        await home.keep(dense, stock, self._lexical or LexicalIndex(), changed=added > 0)
        return added

    def _telling(self, progress: Progress | None) -> Progress:
        """Progress that can be asked for as well."""
        since = self._database.clock()

        def tell(done: int, total: int) -> None:
            self._building = Building(done, total, since)
            if progress is not None:
                progress(done, total)

        return tell

    async def _serve(self, dense: Dense) -> None:
        self._dense, self._counted = dense, (-1, 0.0)
        self._mended = self._home.rejected if self._home else None
        await self._count_lacking()

    def weigh(self, prior: Mapping[UUID, float]) -> None:
        """Let the track record of entries, each from -1 to 1, count in rankings from now on; none counts where it is empty."""
        self._prior = prior

    def rerank_by(self, reranking: Reranking | None) -> None:
        """Have the first hits of every search ordered anew from now on, or no longer."""
        self._reranking = reranking

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

    @property
    def serving_embedder(self) -> Embedder | None:
        """The model whose vectors serve now; None while words serve alone."""
        return None if self._dense is None else self._dense.embedder

    @property
    def engine(self) -> str | None:
        """Who searches the vectors: faiss in this process, or pgvector in the database; None before that is known."""
        return None if self._home is None else self._home.engine

    async def serving(self) -> Serving:
        """What it searches now."""
        stock = await self.refresh()
        lexical = LexicalIndex() if self._lexical is None else self._lexical.copied()
        return Serving(stock, lexical, self._dense, self._embedder, self._lacking, self._prior, self._reranking)

    async def status(self) -> IndexStatus:
        """How it stands now."""
        stock, dense = await self.refresh(), self._dense
        await self._count_lacking()
        lacking = len(stock.pieces) if dense is None else self._lacking
        model = None if self._embedder is None else ModelIdentity.of(self._embedder)
        methods = (LEXICAL,) if dense is None else (LEXICAL, DENSE)
        rejected = None if self._home is None else self._home.rejected
        return IndexStatus(
            stock.publication, len(stock.pieces), lacking, self.engine, model, methods, self._degraded(), self._building, rejected
        )  # fmt: skip

    # ---- searching ---------------------------------------------------------------------------------------------------

    async def search(self, actor: Actor, query: str, wanted: Filter, limit: int) -> SearchResult:
        """The entries nearest to a query that the actor sees, are in date and pass the filter, each with its best passage."""
        dense, vectors = await self._query_vectors([query])

        async def look(stock: Stock) -> tuple[list[Hit], tuple[str, ...], Reranked]:
            allowed = await self._allowed_for(stock, actor, wanted, passes(wanted))
            found, methods = await self._hybrid(stock, query, vectors.get(query), dense, allowed)
            order = await reranked(self._reranking, query, found, stock)
            return folded(stock, order.hits, limit, self._prior), methods, order

        hits, methods, order = await self._level(look)
        await self._count_lacking()
        return SearchResult(tuple(hits), methods + order.methods, joined(self._degraded(), order.degraded))

    async def find(self, actor: Actor, wants: Mapping[str, Wanted]) -> dict[str, list[Found]]:
        """For each want the entries that fit its situation best; every query is encoded once."""
        dense, vectors = await self._query_vectors([want.query for want in wants.values()])

        async def look(stock: Stock) -> dict[str, list[Found]]:
            found = {}
            for name, want in wants.items():
                shape = (
                    want.kinds, want.situation, want.must_match_concern, want.must_match_competitor, want.changes_only, want.under,
                )  # fmt: skip
                allowed = await self._allowed_for(stock, actor, shape, fits(want), want.under)
                hits, _ = await self._hybrid(stock, want.query, vectors.get(want.query), dense, allowed)
                order = await reranked(self._reranking, want.query, hits, stock)
                found[name] = fitting(stock, want, order.hits, allowed, self._prior)
            return found

        return await self._level(look)

    async def _level(self, look: Callable[[Stock], Awaitable[T]]) -> T:
        """What a look at the stock finds; it is done again where a publication or withdrawal came in between."""
        while True:
            stock = await self.refresh()
            found = await look(stock)
            if stock is self._stock:
                return found

    async def _hybrid(
        self, stock: Stock, query: str, vector: Floats | None, dense: Dense | None, allowed: AllowedPassages
    ) -> tuple[list[FusedHit], tuple[str, ...]]:
        """What both methods find, and which served: words alone where vectors turn out to be damaged."""
        lexical = LexicalIndex() if self._lexical is None else self._lexical
        if vector is not None and dense is not None:
            try:
                return await hybrid(stock, lexical, query, (dense.vectors, vector), allowed), (LEXICAL, DENSE)
            except IndexUnusableError as error:
                self._lose(dense, error)
        return await hybrid(stock, lexical, query, None, allowed), (LEXICAL,)

    def _lose(self, dense: Dense, error: IndexUnusableError) -> None:
        """Search by words alone until the next `embed` has mended the vectors."""
        if self._dense is dense and self._home is not None:
            self._home.reject(str(error))
            self._dense = None

    async def _query_vectors(self, queries: Iterable[str]) -> tuple[Dense | None, dict[str, Floats]]:
        """What serves, and each query's vector; none while there is nothing to compare it with."""
        dense, distinct = self._dense, list(dict.fromkeys(queries))
        if dense is None or not distinct or not self._stock.pieces:
            return dense, {}
        encoded = await asyncio.to_thread(dense.embedder.encode_queries, distinct)
        return dense, dict(zip(distinct, encoded, strict=True))

    async def _count_lacking(self) -> None:
        """Learn how many passages lack their vector: after each publication, then once a second until none does, then now and then."""
        dense, stock, now = self._dense, self._stock, time.monotonic()
        publication, at = self._counted
        pause = COUNT_SECONDS if self._lacking else RECOUNT_SECONDS
        if dense is None or (publication == stock.publication and now - at < pause):
            return
        try:
            self._lacking = max(0, len(stock.pieces) - await dense.vectors.count())
        except IndexUnusableError as error:
            self._lose(dense, error)
            return
        self._counted = (stock.publication, now)

    def _degraded(self) -> Text | None:
        if self._embedder is None:
            return NO_MODEL
        if self._dense is None:
            rejected = self._home.rejected if self._home else None
            return NO_VECTORS if rejected is self._mended else DAMAGED
        words = Text(f"{self._lacking} 个段落还没有向量", f"{self._lacking} passages have no vector yet")
        return words if self._lacking else None

    async def _allowed_for(
        self,
        stock: Stock,
        actor: Actor,
        shape: Hashable,
        passing: Callable[[Entry], bool],
        under: frozenset[str] = frozenset(),
    ) -> AllowedPassages:
        """The passages that a search may return: visible by SQL, in date, and passing; kept while none of these changes.

        About the instant at which an entry begins or ends to hold nothing is kept: the database has a clock of its own.
        """
        now = self._database.clock()
        key = (stock.publication, stock.era(now), actor.kind, actor.user_id, actor.reaches, shape)
        allowed = self._allowed.get(key)
        if allowed is None:
            visible = await self._visible(actor)
            chosen = [
                entry.id for entry in stock.entries.values() if entry.id in visible and entry.in_date(now) and passing(entry)
            ]  # fmt: skip
            allowed = AllowedPassages([number for item_id in chosen for number in stock.numbers(item_id, under)])
            if stock.era(now - CLOCKS_APART) != stock.era(now + CLOCKS_APART):
                return allowed
            self._allowed[key] = allowed
            while len(self._allowed) > ALLOWED_KEPT:
                self._allowed.popitem(last=False)
        self._allowed.move_to_end(key)
        return allowed

    async def _visible(self, actor: Actor) -> set[UUID]:
        """The published entries that somebody sees."""
        return await visible_entries(self._database, actor)
