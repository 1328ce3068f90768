"""A passage index: what its parts promise, the passages a search may see, and the vector part on faiss."""

import threading
import weakref
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from knowledge.fusion import Ranking

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

EXACT_LIMIT: Final = 100_000
"""Vectors up to which each is kept in full and every search is exact; beyond, one byte a component (recall 0.98)."""

NORM_TOLERANCE: Final = 1e-3


NOTHING: Final = (np.zeros(0, np.int64), np.zeros(0, np.float32))
"""The ids and scores of no hit at all."""


class IndexUnusableError(Exception):
    """A stored index that must not be searched: the caller builds a new one from the database."""


class IndexMissingError(IndexUnusableError):
    """No index has been stored yet."""


class IndexDamagedError(IndexUnusableError):
    """Stored files that are not what was written."""


class IndexMismatchError(IndexUnusableError):
    """A sound index that another model, prompt or tokeniser has built."""


class DuplicatePassageError(ValueError):
    """An addition of passages that are in the index, or twice in the batch."""

    def __init__(self, ids: Sequence[int]) -> None:
        super().__init__(f"passages that are there already: {', '.join(map(str, ids[:5]))}{', …' * (len(ids) > 5)}")  # noqa: PLR2004
        self.ids = tuple(ids)


class WrongDimensionError(ValueError):
    """Vectors whose number of components is not the index's."""


class AllowedPassages:
    """The passages that a search may return: resolved once, then kept by the caller for as long as they hold.

    It remembers its mask over each segment and its faiss selector, so a repeated search pays for neither.
    """

    def __init__(self, ids: Sequence[int] | Ints) -> None:
        self.ids: Ints = np.unique(np.asarray(ids, np.int64))
        self._masks: dict[int, tuple[weakref.ref[Ints], npt.NDArray[np.bool_]]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def mask(self, ids: Ints) -> npt.NDArray[np.bool_]:
        """Which of some ids are allowed, bool (n,); the array of ids must not be changed afterwards."""
        known = self._masks.get(id(ids))
        if known is not None and known[0]() is ids:
            return known[1]
        mask = np.isin(ids, self.ids)
        # Segments come and go; masks of the gone ones are dropped when a new one is computed.
        alive = {key: kept for key, kept in list(self._masks.items()) if kept[0]() is not None}
        self._masks = alive | {id(ids): (weakref.ref(ids), mask)}
        return mask

    @cached_property
    def selector(self) -> Any:
        """The same set for faiss."""
        import faiss

        return faiss.IDSelectorBatch(self.ids)

    @property
    def span(self) -> int:
        """How wide the range of the ids is."""
        return int(self.ids[-1] - self.ids[0]) + 1 if len(self.ids) else 0

    @cached_property
    def bits(self) -> dict[str, Any]:
        """The same set for PostgreSQL's get_bit: one bit a number, from the `first` to the `last`."""
        first, last = int(self.ids[0]), int(self.ids[-1])
        flags = np.zeros(self.span, np.bool_)
        flags[self.ids - first] = True
        return {"first": first, "last": last, "bits": np.packbits(flags, bitorder="little").tobytes()}


QueryT_contra = TypeVar("QueryT_contra", contravariant=True)
BatchT_contra = TypeVar("BatchT_contra", contravariant=True)


class PassageIndex(Protocol[QueryT_contra, BatchT_contra]):
    """One part of an index: content by passage id (int64), safe to search from any thread while another writes."""

    def __len__(self) -> int: ...

    @property
    def ids(self) -> Ints:
        """The passages in it, ascending, int64 (n,)."""

    def add(self, ids: Sequence[int] | Ints, batch: BatchT_contra, /) -> None:
        """Add passages, all or none. Raises DuplicatePassageError."""

    def remove(self, ids: Sequence[int] | Ints, /) -> int:
        """Remove passages in one batch and return how many were there."""

    def search(self, query: QueryT_contra, limit: int, allowed: AllowedPassages | None = None) -> Ranking:
        """The `limit` best passages, from the allowed ones if these are given."""


class VectorIndex:
    """Unit vectors by passage id, ranked by cosine.

    Exact up to `exact_limit` vectors; at the addition that passes it, all are kept as one byte a component from then on.
    """

    def __init__(self, dimension: int, exact_limit: int = EXACT_LIMIT) -> None:
        import faiss

        self._writing = threading.Lock()
        self._exact_limit = exact_limit
        self.dimension = dimension
        self._faiss: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    def ids(self) -> Ints:
        """The passages in it, ascending, int64 (n,)."""
        return np.sort(_ids_of(self._faiss))

    @property
    def exact(self) -> bool:
        """Whether each vector is kept in full."""
        import faiss

        return isinstance(faiss.downcast_index(self._faiss.index), faiss.IndexFlat)

    def add(self, ids: Sequence[int] | Ints, vectors: Floats, *, replacing: bool = False) -> None:
        """Add unit vectors float32 (n, dimension) in one batch, all or none.

        Raises DuplicatePassageError for an id that is given twice or, without `replacing`, is there; WrongDimensionError;
        and ValueError for vectors that are not finite, not of length 1, or not as many as the ids.
        """
        import faiss

        new, vectors = batch_of(ids, vectors, self.dimension)
        with self._writing:
            known = new[np.isin(new, _ids_of(self._faiss))]
            if len(known) and not replacing:
                raise DuplicatePassageError(known.tolist())
            changed = self._copy(len(self) + len(new) - len(known), vectors)
            if len(known):
                changed.remove_ids(faiss.IDSelectorBatch(known))
            changed.add_with_ids(vectors, new)
            self._faiss = changed

    def remove(self, ids: Sequence[int] | Ints) -> int:
        """Remove passages in one batch and return how many were there; absent ids change nothing."""
        import faiss

        if not len(ids):
            return 0
        with self._writing:
            changed = faiss.clone_index(self._faiss)
            gone = int(changed.remove_ids(faiss.IDSelectorBatch(passage_ids(ids))))
            self._faiss = changed
            return gone

    def search(self, query: Floats, limit: int, allowed: AllowedPassages | None = None) -> Ranking:
        """The `limit` passages nearest to one unit vector float32 (dimension,), from the allowed ones if these are given."""
        import faiss

        index = self._faiss
        rows = unit_vectors(query[None, :], self.dimension)
        wanted = min(limit, index.ntotal)
        if not wanted or (allowed is not None and not len(allowed)):
            return Ranking.best(*NOTHING, limit)
        # One query is one thread's work; others that OpenMP would wake spin for milliseconds after it. The setting is the thread's.
        faiss.omp_set_num_threads(1)
        parameters = None if allowed is None else faiss.SearchParameters(sel=allowed.selector)  # type: ignore[call-arg]
        scores, ids = index.search(rows, wanted, params=parameters)
        found = ids[0] >= 0
        return Ranking.best(ids[0][found], scores[0][found], limit)

    def to_bytes(self) -> bytes:
        """The whole part as faiss writes it."""
        import faiss

        data: npt.NDArray[np.uint8] = faiss.serialize_index(self._faiss)
        return data.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, exact_limit: int = EXACT_LIMIT) -> "VectorIndex":
        """The index that wrote the bytes; faiss takes a flipped byte in silence, so the caller checks a digest first.

        Raises IndexDamagedError when faiss cannot read them.
        """
        import faiss

        try:
            stored = faiss.deserialize_index(np.frombuffer(data, np.uint8))
            if not isinstance(stored, faiss.IndexIDMap2):
                raise IndexDamagedError(f"the vector part is a {type(stored).__name__}")
        except RuntimeError as error:
            raise IndexDamagedError(f"the vector part cannot be read: {error}") from error
        index = cls(stored.d, exact_limit)
        index._faiss = stored
        return index

    def _copy(self, count: int, arriving: Floats) -> Any:
        """A copy to change; one that is about to pass the limit keeps one byte a component."""
        import faiss

        if count <= self._exact_limit or not self.exact:
            return faiss.clone_index(self._faiss)
        vectors = self._faiss.index.reconstruct_n(0, len(self))
        small = faiss.IndexScalarQuantizer(self.dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        small.train(np.concatenate([vectors, arriving]))
        index = faiss.IndexIDMap2(small)
        if len(vectors):
            index.add_with_ids(vectors, _ids_of(self._faiss))
        return index


def unit_vectors(vectors: Floats, dimension: int) -> Floats:
    """Vectors that an index of that dimension takes, float32 (n, dimension).

    Raises WrongDimensionError, and ValueError for vectors that are not finite or not of length 1.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dimension:  # noqa: PLR2004
        raise WrongDimensionError(f"vectors of shape {vectors.shape} for an index of dimension {dimension}")
    norms = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(norms - 1) <= NORM_TOLERANCE):  # a NaN fails too
        raise ValueError("vectors must be finite and of length 1")
    return vectors


def batch_of(ids: Sequence[int] | Ints, vectors: Floats, dimension: int) -> tuple[Ints, Floats]:
    """One batch of unit vectors with their ids.

    Raises what `unit_vectors` and `passage_ids` raise, and ValueError for vectors that are not as many as the ids.
    """
    vectors = unit_vectors(vectors, dimension)
    numbers = passage_ids(ids)
    if len(numbers) != len(vectors):
        raise ValueError(f"{len(numbers)} ids for {len(vectors)} vectors")
    return numbers, vectors


def passage_ids(ids: Sequence[int] | Ints) -> Ints:
    """The ids of one batch as int64 (n,).

    Raises DuplicatePassageError when one is given twice, ValueError for a negative one, which faiss reads as "none".
    """
    array = np.asarray(ids, np.int64)
    unique, counts = np.unique(array, return_counts=True)
    if repeated := unique[counts > 1].tolist():
        raise DuplicatePassageError(repeated)
    if len(array) and unique[0] < 0:
        raise ValueError(f"passage ids are not negative: {unique[0]}")
    return array


def _ids_of(index: Any) -> Ints:
    import faiss

    ids: Ints = faiss.vector_to_array(index.id_map)
    return ids
