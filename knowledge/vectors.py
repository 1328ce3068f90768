"""Where the vectors of published passages live and are searched: in this process, or in the database for all processes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from knowledge.embedding import Embedder, Floats
from knowledge.fusion import Ranking
from knowledge.index import AllowedPassages, Ints
from knowledge.lexical import LexicalIndex
from knowledge.retrieval import Piece, Stock

logger = logging.getLogger(__name__)


class Vectors(Protocol):
    """The vectors of passages under one model, by passage id; they can be searched while somebody adds or removes.

    Equal calls give equal answers whoever implements it: tests/knowledge/test_vectors_conformance.py holds them to that.
    """

    @property
    def fingerprint(self) -> str:
        """The model whose vectors these are: those of another are never found among them."""

    @property
    def dimension(self) -> int:
        """Components of a vector."""

    async def add(self, ids: Sequence[int] | Ints, vectors: Floats) -> None:
        """Add unit vectors float32 (n, dimension), each in the place of the one that its passage has; all or none.

        Raises DuplicatePassageError for an id that is given twice, WrongDimensionError, and ValueError for negative ids
        and for vectors that are not finite, not of length 1, or not as many as the ids.
        """

    async def remove(self, ids: Sequence[int] | Ints) -> int:
        """Remove those of some passages and return how many were there."""

    async def ids(self) -> Ints:
        """The passages that have one, ascending, int64 (n,)."""

    async def count(self) -> int:
        """How many passages have one."""

    async def search(self, query: Floats, limit: int, allowed: AllowedPassages | None = None) -> Ranking:
        """The `limit` passages nearest to one unit vector float32 (dimension,), from the allowed ones if these are given.

        Scores are cosines. Raises WrongDimensionError, ValueError for a query that is not of length 1, and
        IndexUnusableError where what is stored turns out to be damaged.
        """


class Standing(Enum):
    """How far a home's vectors are, as it knows by itself."""

    UNKNOWN = auto()
    """Whoever opened them has to look at every passage."""
    SERVING = auto()
    """Every passage had its vector once; later ones may lack theirs."""
    WHOLE = auto()
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A loaded model and the vectors that it made."""

    embedder: Embedder
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Rejection:
    """What of a kept index was found wrong and made anew, and when that was found."""

    reason: str
    at: datetime


class Rejecting:
    """What remembers the last rejection of what it keeps."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.rejected: Rejection | None = None

    def reject(self, reason: str) -> None:
        """Take note that what is kept was found wrong, and is not used."""
        logger.warning("the stored index is not used: %s", reason)
        self.rejected = Rejection(reason, self._clock())


class VectorHome(Protocol):
    """What keeps vectors from one start of a process to the next."""

    @property
    def engine(self) -> str:
        """Who searches them."""

    @property
    def rejected(self) -> Rejection | None:
        """What was kept and could not be used, and was made anew; None where nothing was wrong."""

    def reject(self, reason: str) -> None:
        """Take note that what is kept was found wrong while it was searched."""

    def kept_words(self, pieces: Mapping[int, Piece]) -> LexicalIndex:
        """What is kept of the lexical index, of these passages alone."""

    async def open(self, embedder: Embedder, pieces: Mapping[int, Piece]) -> Vectors:
        """What is kept of the model's vectors, of these passages alone.

        Raises IndexMismatchError for vectors that only pretend to be this model's.
        """

    async def standing(self, vectors: Vectors, stock: Stock) -> Standing:
        """How far they are for that stock."""

    async def prune(self, vectors: Vectors, pieces: Mapping[int, Piece]) -> None:
        """Take out the vectors of passages that are not among these."""

    async def keep(self, dense: Dense, stock: Stock, lexical: LexicalIndex, *, changed: bool) -> None:
        """Have it all at the next start: every passage of the stock has its vector. `changed`: some were added."""
