"""Vectors by the content that they stand for, in the database: whichever process computes one has computed it for all."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from sqlalchemy import Select, delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from domain.kernel import SYSTEM, Database
from knowledge.embedding import Embedder, Floats
from knowledge.index import NORM_TOLERANCE
from knowledge.model import CachedVector
from knowledge.packaged_model import Progress

ENCODE_BATCH = 64
ASKED_AT_ONCE = 500
"""Keys that one statement asks for."""
_VECTORS_LOCK = 0x564543


class DatabaseVectorCache:
    """Vectors by content hash and model fingerprint, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lacking(self, fingerprint: str, hashes: Sequence[str]) -> list[str]:
        """Those of some texts whose vector is not kept, in their order."""
        kept = select(CachedVector.content_hash).where(CachedVector.model_fingerprint == fingerprint)
        async with self._database.read(SYSTEM) as connection:
            rows = await asked(connection, kept, CachedVector.content_hash, hashes)
        there = {row.content_hash for row in rows}
        return [key for key in hashes if key not in there]

    async def load(self, fingerprint: str, hashes: Sequence[str]) -> dict[str, Floats]:
        """Those of the asked vectors that are kept as they were computed."""
        async with self._database.read(SYSTEM) as connection:
            return await kept_vectors(connection, fingerprint, hashes)

    async def store(self, fingerprint: str, vectors: Mapping[str, Floats]) -> None:
        """Keep vectors; one that is kept already stays, unless it is not what was computed."""
        async with self._database.open_uow(SYSTEM) as uow:
            await uow.wait_turn("cached vectors")
            there = await kept_vectors(uow.session, fingerprint, list(vectors))
            rows = [_row(fingerprint, key, vector) for key, vector in vectors.items() if key not in there]
            if rows:
                damaged = CachedVector.content_hash.in_([row["content_hash"] for row in rows])
                own = CachedVector.model_fingerprint == fingerprint
                await uow.session.execute(delete(CachedVector).where(own, damaged))
                await uow.session.execute(insert(CachedVector), rows)


class Encoding:
    """One round in which texts get their vectors; what is not kept is encoded in a thread and kept batch by batch.

    `progress` is told after each batch how many of the texts that were lacking are done.
    """

    def __init__(self, database: Database, embedder: Embedder, progress: Progress | None) -> None:
        self._cache = DatabaseVectorCache(database)
        self._embedder = embedder
        self._progress = progress
        self._done, self._total = 0, 0

    async def begin(self, hashes: Iterable[str]) -> None:
        """Find out how many of the texts to come are lacking."""
        self._total = len(await self._cache.lacking(self._embedder.fingerprint, list(dict.fromkeys(hashes))))

    async def vectors(self, texts: Mapping[str, str]) -> dict[str, Floats]:
        """The vector of each text by its hash."""
        found = await self._cache.load(self._embedder.fingerprint, list(texts))
        missing = [key for key in texts if key not in found]
        for start in range(0, len(missing), ENCODE_BATCH):
            batch = missing[start : start + ENCODE_BATCH]
            encoded = await asyncio.to_thread(self._embedder.encode_documents, [texts[key] for key in batch])
            fresh = dict(zip(batch, encoded, strict=True))
            await self._cache.store(self._embedder.fingerprint, fresh)
            found |= fresh
            self._done += len(batch)
            if self._progress is not None:
                self._progress(self._done, max(self._total, self._done))
        return found


async def kept_vectors(
    connection: AsyncConnection | AsyncSession, fingerprint: str, hashes: Sequence[str]
) -> dict[str, Floats]:
    """The vectors of texts under a model; one that is not what was computed counts as not kept."""
    columns = (CachedVector.content_hash, CachedVector.vector, CachedVector.checksum)
    kept = select(*columns).where(CachedVector.model_fingerprint == fingerprint)
    rows = await asked(connection, kept, CachedVector.content_hash, hashes)
    return {row.content_hash: np.frombuffer(row.vector, np.float32) for row in rows if _is_sound(fingerprint, row)}


def _row(fingerprint: str, content_hash: str, vector: Floats) -> dict[str, Any]:
    data = vector.astype(np.float32).tobytes()
    return {
        "content_hash": content_hash,
        "model_fingerprint": fingerprint,
        "vector": data,
        "checksum": _checksum(fingerprint, content_hash, data),
    }


def _checksum(fingerprint: str, content_hash: str, data: bytes) -> bytes:
    """What binds a vector to its model and its text."""
    return hashlib.sha256(f"{fingerprint}\n{content_hash}\n".encode() + data).digest()


def _is_sound(fingerprint: str, row: Any) -> bool:
    """Whether a row holds what was computed; of one from before there were checksums only the length can tell."""
    if row.checksum is not None:
        return bool(row.checksum == _checksum(fingerprint, row.content_hash, row.vector))
    whole = len(row.vector) % 4 == 0 and len(row.vector) > 0
    return whole and abs(float(np.linalg.norm(np.frombuffer(row.vector, np.float32))) - 1) <= NORM_TOLERANCE


async def asked(
    connection: AsyncConnection | AsyncSession, statement: Select[*tuple[Any, ...]], column: Any, keys: Sequence[Any]
) -> list[Any]:
    """The statement's rows for many keys, asked for in parts that both databases take."""
    rows: list[Any] = []
    for start in range(0, len(keys), ASKED_AT_ONCE):
        rows += await connection.execute(statement.where(column.in_(keys[start : start + ASKED_AT_ONCE])))
    return rows


@asynccontextmanager
async def turn(database: Database) -> AsyncIterator[bool]:
    """Whether it is this process that gives passages their vectors until the block ends; on SQLite there is no other.

    The lock is a connection's of its own: it ends with that, however the process does, and no transaction stays open.
    """
    if database.embedded:
        yield True
        return
    engine = create_async_engine(database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            lock = text("SELECT pg_try_advisory_lock(:lock)")
            yield bool((await connection.execute(lock, {"lock": _VECTORS_LOCK})).scalar_one())
    finally:
        await engine.dispose()
