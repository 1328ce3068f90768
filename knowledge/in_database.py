"""Vectors that pgvector searches in the database: computed once, seen by every process, none of which holds any."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

import numpy as np
from sqlalchemy import ARRAY, REAL, BigInteger, LargeBinary, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from domain.kernel import SYSTEM, Database
from knowledge import pgvector
from knowledge.embedding import Embedder, Floats
from knowledge.fusion import Ranking
from knowledge.index import (
    NOTHING,
    AllowedPassages,
    IndexDamagedError,
    IndexMismatchError,
    Ints,
    batch_of,
    passage_ids,
    unit_vectors,
)
from knowledge.lexical import LexicalIndex
from knowledge.model import VectorGeneration
from knowledge.pgvector import ADD, ALL, EXACT, REMOVE_UNSOUND, VECTORS
from knowledge.retrieval import Piece, Stock
from knowledge.vectors import Dense, Rejecting, Standing, Vectors

logger = logging.getLogger(__name__)

EXACT_LIMIT: Final = 3_000
"""Allowed passages up to which each is compared: that takes less time than the index and misses nothing."""
EF_SEARCH: Final = ((20_000, 200), (None, 400))
"""How many candidates the index keeps (hnsw.ef_search), by the number of allowed passages up to which that is enough."""
OVER_FETCHED: Final = 2
"""How many times as many as wanted the index is asked for, whose order is nearly right."""
SCANNED: Final = 20_000
"""Vectors at which pgvector gives up a filtered search (hnsw.max_scan_tuples)."""
BITS_LIMIT: Final = 8_000_000
"""The widest range of passage numbers that is sent as bits: a megabyte."""
USE_NOTED_EVERY: Final = timedelta(days=1)
UNUSED_AFTER: Final = timedelta(days=7)
"""When the vectors of a model that no process uses any more are forgotten."""
BUILD_MEMORY_MB: Final = (64, 1024)

_SETTINGS = text(
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', :candidates, true)"
)
_REALS, _NUMBERS = bindparam("query", type_=ARRAY(REAL)), bindparam("allowed", type_=ARRAY(BigInteger))
_EXACT, _ALL = text(EXACT).bindparams(_REALS, _NUMBERS), text(ALL).bindparams(_REALS)


class PgVectors:
    """A model's vectors in the database."""

    def __init__(self, database: Database, fingerprint: str, dimension: int) -> None:
        self._database = database
        self.fingerprint = fingerprint
        self.dimension = dimension
        self.index_damage: str | None = None
        self._own = VECTORS.c.model_fingerprint == fingerprint
        nearest = text(pgvector.nearest(fingerprint, dimension))
        self._nearest = nearest.bindparams(_REALS, bindparam("bits", type_=LargeBinary))

    async def add(self, ids: Sequence[int] | Ints, vectors: Floats) -> None:
        """Add or replace a batch; passages that are withdrawn meanwhile get none."""
        numbers, vectors = batch_of(ids, vectors, self.dimension)
        rows = [
            {"fingerprint": self.fingerprint, "number": number, "vector": vector}
            for number, vector in zip(numbers.tolist(), vectors.tolist(), strict=True)
        ]
        if rows:
            async with self._database.open_uow(SYSTEM) as uow:
                await uow.session.execute(ADD, rows)

    async def remove(self, ids: Sequence[int] | Ints) -> int:
        """Remove a batch and return how many were there."""
        gone = func.unnest(bindparam("numbers", passage_ids(ids).tolist(), type_=ARRAY(BigInteger)))
        async with self._database.open_uow(SYSTEM) as uow:
            found = delete(VECTORS).where(self._own, VECTORS.c.passage_number.in_(select(gone)))
            removed = await uow.session.execute(found.returning(VECTORS.c.passage_number))
            return len(removed.all())

    async def ids(self) -> Ints:
        """The passages that have one, ascending."""
        found = select(VECTORS.c.passage_number).where(self._own).order_by(VECTORS.c.passage_number)
        async with self._reading() as connection:
            return np.array((await connection.execute(found)).scalars().all(), np.int64)

    async def count(self) -> int:
        """How many they are."""
        async with self._reading() as connection:
            return (await connection.execute(select(func.count()).where(self._own))).scalar_one()

    async def search(self, query: Floats, limit: int, allowed: AllowedPassages | None = None) -> Ranking:
        """The nearest passages: exact among few allowed ones or all, nearly so, by the model's index, among many."""
        vector = unit_vectors(query[None, :], self.dimension)[0].tolist()
        if limit < 1 or (allowed is not None and not len(allowed)):
            return Ranking.best(*NOTHING, limit)
        wanted = {"query": vector, "wanted": limit, "fingerprint": self.fingerprint}
        async with self._reading() as connection:
            if allowed is None:
                return await _ranking(connection, _ALL, wanted, limit)
            if not self.index_damage and _by_index(allowed, limit * OVER_FETCHED):
                found = await self._indexed(connection, vector, limit, allowed)
                if len(found) == limit:
                    return found
        async with self._reading() as connection:
            return await _ranking(connection, _EXACT, wanted | {"allowed": allowed.ids.tolist()}, limit)

    async def _indexed(
        self, connection: AsyncConnection, vector: list[float], limit: int, allowed: AllowedPassages
    ) -> Ranking:
        """What the model's index finds; nothing where it is damaged, which is remembered until it is made anew."""
        asked = {"query": vector, "wanted": limit * OVER_FETCHED} | allowed.bits
        try:
            await connection.execute(_SETTINGS, {"candidates": str(_candidates(allowed))})
            return await _ranking(connection, self._nearest, asked, limit)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            self.index_damage = str(error.orig)
            logger.warning("the index of vectors cannot be read, each vector is compared: %s", error.orig)
            return Ranking.best(*NOTHING, limit)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which vectors are read. Raises IndexDamagedError where they cannot be."""
        try:
            async with self._database.read(SYSTEM) as connection:
                yield connection
        except DBAPIError as error:
            raise IndexDamagedError(f"vectors cannot be read: {error.orig}") from error


async def _ranking(connection: AsyncConnection, statement: Any, values: dict[str, Any], limit: int) -> Ranking:
    rows = (await connection.execute(statement, values)).all()
    ids, distances = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float32)
    return Ranking.best(ids, -distances, limit)


def _candidates(allowed: AllowedPassages) -> int:
    return next(kept for limit, kept in EF_SEARCH if limit is None or len(allowed) <= limit)


def _by_index(allowed: AllowedPassages, wanted: int) -> bool:
    """Whether the index finds so many before it gives up, and faster than comparing each allowed passage."""
    if len(allowed) <= max(EXACT_LIMIT, wanted):
        return False
    return allowed.span <= BITS_LIMIT and wanted * allowed.span <= SCANNED * len(allowed)


class InDatabase(Rejecting):
    """The vectors of all processes of one database; a passage that is deleted takes its vector along in the same commit."""

    engine: Final = "pgvector"

    def __init__(self, database: Database) -> None:
        super().__init__(database.clock)
        self._database = database
        self._refused = False

    def kept_words(self, pieces: Mapping[int, Piece]) -> LexicalIndex:
        """Nothing: words are derived anew by each process."""
        return LexicalIndex()

    async def open(self, embedder: Embedder, pieces: Mapping[int, Piece]) -> Vectors:
        """The model's vectors, of which the database takes note; one that is not what was computed is taken away."""
        mine = VectorGeneration.model_fingerprint == embedder.fingerprint
        async with self._database.read(SYSTEM) as connection:
            served = await connection.run_sync(pgvector.serves)
        if not served:
            self.reject("the table of vectors is gone")
            await self._upkeep(_have_table)
        async with self._database.open_uow(SYSTEM) as uow:
            new = {
                "model_fingerprint": embedder.fingerprint,
                "model_id": embedder.model_id,
                "dimension": embedder.dimension,
            }
            made = insert(VectorGeneration).values(**new, used_at=uow.now).on_conflict_do_nothing()
            await uow.session.execute(made)
            stored = (await uow.session.execute(select(VectorGeneration.dimension).where(mine))).scalar_one()
            own = {"fingerprint": embedder.fingerprint, "dimension": stored}
            unsound = len((await uow.session.execute(REMOVE_UNSOUND, own)).all())
        if unsound:
            self.reject(f"{unsound} vectors of {embedder.model_id} are not what was computed")
        if stored != embedder.dimension:
            raise IndexMismatchError(
                f"{embedder.model_id} has dimension {embedder.dimension}, its stored vectors have {stored}"
            )
        return PgVectors(self._database, embedder.fingerprint, embedder.dimension)

    async def standing(self, vectors: Vectors, stock: Stock) -> Standing:
        """Whether they were complete once, and whether they are for this stock."""
        columns = select(VectorGeneration.publication, VectorGeneration.used_at)
        own = columns.where(VectorGeneration.model_fingerprint == vectors.fingerprint)
        async with self._database.read(SYSTEM) as connection:
            found = (await connection.execute(own)).one_or_none()
        if found is None or found.publication is None:
            return Standing.UNKNOWN
        used_lately = self._database.clock() - found.used_at < USE_NOTED_EVERY
        count = await vectors.count()
        whole = found.publication >= stock.publication and count >= len(stock.pieces)
        indexed = count <= EXACT_LIMIT or self._refused or await self._has_index(vectors)
        return Standing.WHOLE if whole and used_lately and indexed else Standing.SERVING

    async def _has_index(self, vectors: Vectors) -> bool:
        if isinstance(vectors, PgVectors) and vectors.index_damage:
            self.reject(f"the index of vectors cannot be read: {vectors.index_damage}")
            return False
        async with self._database.read(SYSTEM) as connection:
            return bool(await _index_validity(connection, pgvector.index_name(vectors.fingerprint)))

    async def prune(self, vectors: Vectors, pieces: Mapping[int, Piece]) -> None:
        """Nothing: the database does it, and what this process does not know of may be newer than it."""

    async def keep(self, dense: Dense, stock: Stock, lexical: LexicalIndex, *, changed: bool) -> None:
        """Have an index where there are many vectors, note that the stock has all of its own, and forget unused models."""
        vectors = dense.vectors
        if await vectors.count() > EXACT_LIMIT:
            await self._upkeep(partial(_have_index, vectors=vectors))
        async with self._database.open_uow(SYSTEM) as uow:
            noted = update(VectorGeneration).where(VectorGeneration.model_fingerprint == vectors.fingerprint)
            latest = func.greatest(func.coalesce(VectorGeneration.publication, 0), stock.publication)
            await uow.session.execute(noted.values(publication=latest, used_at=uow.now))
            unused = delete(VectorGeneration).where(VectorGeneration.used_at < uow.now - UNUSED_AFTER)
            forgotten = await uow.session.execute(unused.returning(VectorGeneration.model_fingerprint))
            names = [pgvector.index_name(fingerprint) for fingerprint in forgotten.scalars()]
        for name in names:
            await self._upkeep(partial(_drop_index, name=name))

    async def _upkeep(self, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Do what no transaction may hold, on a connection of its own; search is slower without it and goes on."""
        engine = create_async_engine(self._database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                await work(connection)
        except DBAPIError as error:
            # Asked again at each look it would be refused again: a start of the process tries anew.
            self._refused = True
            logger.warning("the index of vectors is not as it should be: %s", error)
        finally:
            await engine.dispose()


async def _have_table(connection: AsyncConnection) -> None:
    await connection.run_sync(pgvector.install)


async def _have_index(connection: AsyncConnection, vectors: Vectors) -> None:
    """The model's own index."""
    name = pgvector.index_name(vectors.fingerprint)
    valid, damage = await _index_validity(connection, name), isinstance(vectors, PgVectors) and vectors.index_damage
    if valid and not damage:
        return
    if valid is not None:  # a build was cut off, or it cannot be read
        await _drop_index(connection, name)
    low, high = BUILD_MEMORY_MB
    memory = min(max(await vectors.count() * (vectors.dimension * 4 + 500) >> 20, low), high)
    # Workers of a parallel build need shared memory, of which a container has too little.
    await connection.execute(text("SET max_parallel_maintenance_workers = 0"))
    await connection.execute(text(f"SET maintenance_work_mem = '{memory}MB'"))
    await connection.execute(text(pgvector.create_index(vectors.fingerprint, vectors.dimension)))
    await connection.execute(text("ANALYZE passage_vectors"))
    if isinstance(vectors, PgVectors):
        vectors.index_damage = None


async def _index_validity(connection: AsyncConnection, name: str) -> bool | None:
    """Whether an index was built to its end; None where there is none."""
    look = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    valid: bool | None = (await connection.execute(look, {"name": name})).scalar_one_or_none()
    return valid


async def _drop_index(connection: AsyncConnection, name: str) -> None:
    await connection.execute(text(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"'))
