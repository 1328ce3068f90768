"""Vectors searched by faiss in this process, and kept on its disk with the lexical index."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

import numpy as np

from knowledge.embedding import Embedder, Floats, ModelIdentity
from knowledge.fusion import Ranking
from knowledge.generations import GenerationStore, Manifest
from knowledge.index import AllowedPassages, IndexMissingError, IndexUnusableError, Ints, VectorIndex
from knowledge.lexical import LexicalIndex
from knowledge.retrieval import Piece, Stock
from knowledge.vectors import Dense, Rejecting, Standing, Vectors

logger = logging.getLogger(__name__)
PartT = TypeVar("PartT", LexicalIndex, VectorIndex)


class FaissVectors:
    """A model's vectors in the memory of this process."""

    def __init__(self, index: VectorIndex, fingerprint: str) -> None:
        self.index = index
        self.fingerprint = fingerprint
        self.dimension = index.dimension

    async def add(self, ids: Sequence[int] | Ints, vectors: Floats) -> None:
        """Add or replace a batch."""
        await asyncio.to_thread(lambda: self.index.add(ids, vectors, replacing=True))

    async def remove(self, ids: Sequence[int] | Ints) -> int:
        """Remove a batch and return how many were there."""
        return await asyncio.to_thread(self.index.remove, ids)

    async def ids(self) -> Ints:
        """The passages in it, ascending."""
        return self.index.ids

    async def count(self) -> int:
        """How many they are."""
        return len(self.index)

    async def search(self, query: Floats, limit: int, allowed: AllowedPassages | None = None) -> Ranking:
        """The nearest passages."""
        return await asyncio.to_thread(self.index.search, query, limit, allowed)


class InProcess(Rejecting):
    """The vectors of one process: what it searches, it has in memory, and stores as a generation where it has a store."""

    engine: Final = "faiss"

    def __init__(self, clock: Callable[[], datetime], store: GenerationStore | None = None) -> None:
        super().__init__(clock)
        self._store = store
        self._saved: int | None = None
        self._damaged = False

    def kept_words(self, pieces: Mapping[int, Piece]) -> LexicalIndex:
        """The lexical part of the stored generation."""
        lexical = self._stored_part(lambda store, manifest: store.load_lexical(manifest), pieces)
        return LexicalIndex() if lexical is None else lexical

    async def open(self, embedder: Embedder, pieces: Mapping[int, Piece]) -> Vectors:
        """The vectors of the stored generation if this very model made them, else none."""
        model = ModelIdentity.of(embedder)

        def load() -> VectorIndex | None:
            return self._stored_part(lambda store, manifest: store.load_vectors(manifest, model), pieces)

        index = await asyncio.to_thread(load)
        return FaissVectors(VectorIndex(embedder.dimension) if index is None else index, embedder.fingerprint)

    async def standing(self, vectors: Vectors, stock: Stock) -> Standing:
        """A process knows nothing of its vectors but what it has put into them."""
        return Standing.UNKNOWN

    async def prune(self, vectors: Vectors, pieces: Mapping[int, Piece]) -> None:
        """Remove what is not among the passages."""
        gone = np.setdiff1d(await vectors.ids(), np.fromiter(pieces, np.int64, len(pieces)))
        if len(gone):
            await vectors.remove(gone)

    async def keep(self, dense: Dense, stock: Stock, lexical: LexicalIndex, *, changed: bool) -> None:
        """Store what serves; a disk that does not take it costs the next start some time, and no search."""
        unchanged = not changed and not self._damaged and self._saved == stock.publication
        if self._store is None or unchanged or not isinstance(dense.vectors, FaissVectors):
            return
        contents = {number: piece.content_hash for number, piece in stock.pieces.items()}
        model, index = ModelIdentity.of(dense.embedder), dense.vectors.index
        try:
            await asyncio.to_thread(self._store.save, stock.publication, contents, lexical, index, model)
            self._saved, self._damaged = stock.publication, False
        except OSError as error:
            logger.warning("the index is not stored: %s", error)

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
            self._damaged = True
            self.reject(str(error))
            return None
        strange = [number for number in part.ids.tolist() if not _same(contents.get(number), pieces.get(number))]
        part.remove(strange)
        self._damaged |= bool(strange)
        self._saved = manifest.publication
        return part


def _same(content_hash: str | None, piece: Piece | None) -> bool:
    """Whether a stored passage is the database's: after a restore its number may stand for another text, or for none."""
    return piece is not None and piece.content_hash == content_hash
