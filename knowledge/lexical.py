"""The lexical part of an index: BM25 over tokens, with passages added and removed while it is searched."""

import io
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from knowledge.fusion import Ranking
from knowledge.index import AllowedPassages, DuplicatePassageError, IndexDamagedError, Ints, passage_ids

ALWAYS_MERGED: Final = 1_000
"""Passages up to which every write merges, which takes 0.1 s at most, so that a small index is always exact."""

DELTA_SHARE: Final = 0.1
DELTA_LIMIT: Final = 1_000
"""In a larger index, changes that a write leaves unmerged: so far, at most, are word statistics off."""

K1: Final = 1.5
B: Final = 0.75


class LexicalIndex:
    """Tokens by passage id, ranked by BM25 (Lucene's variant).

    A main segment scored once, when it is built, and a small delta segment beside it. The delta is scored with the main
    segment's word statistics until both merge, so that the scores of both can be compared; after a merge the index
    equals one that is built from its passages alone. Searching never waits: writers replace the state as a whole.
    """

    def __init__(
        self, documents: Mapping[int, Sequence[str]] | None = None, always_merged: int = ALWAYS_MERGED
    ) -> None:
        self._writing = threading.Lock()
        self._always_merged = always_merged
        self._state = _State.of(_Main.of(documents or {}))

    def __len__(self) -> int:
        return len(self._state)

    @property
    def ids(self) -> Ints:
        """The passages in it, ascending, int64 (n,)."""
        return np.sort(np.array(self._state.ids(), np.int64))

    def add(self, ids: Sequence[int] | Ints, documents: Sequence[Sequence[str]]) -> None:
        """Add passages in one batch, all or none; a large first load comes as one batch, since it merges at once.

        Raises DuplicatePassageError for an id that is given twice or is there, ValueError for lists that do not match.
        """
        if len(ids) != len(documents):
            raise ValueError(f"{len(ids)} ids for {len(documents)} documents")
        new = passage_ids(ids).tolist()
        with self._writing:
            if known := [passage_id for passage_id in new if passage_id in self._state]:
                raise DuplicatePassageError(known)
            self._settle(
                self._state.with_delta({**self._state.delta, **dict(zip(new, map(tuple, documents), strict=True))})
            )

    def remove(self, ids: Sequence[int] | Ints) -> int:
        """Remove passages in one batch and return how many were there; absent ids change nothing."""
        gone = set(passage_ids(ids).tolist())
        if not gone:
            return 0
        with self._writing:
            before = len(self._state)
            self._settle(self._state.without(gone))
            return before - len(self._state)

    def merge(self) -> None:
        """Merge the delta and drop what was removed; searching goes on meanwhile. Some 0.1 s for each thousand passages."""
        with self._writing:
            self._state = self._state.merged()

    def _settle(self, state: "_State") -> None:
        size = len(state.main.ids)
        unmerged = min(DELTA_LIMIT, DELTA_SHARE * size) if size > self._always_merged else 0
        if state.pending > unmerged:
            state = state.merged()
        _ = state.delta_segment
        self._state = state

    def search(self, query: Sequence[str], limit: int, allowed: AllowedPassages | None = None) -> Ranking:
        """The `limit` best passages that hold at least one of the tokens, from the allowed ones if these are given."""
        state = self._state
        tokens = list(dict.fromkeys(query))
        scores = state.main.scores(tokens)
        keep = state.alive if allowed is None else state.alive & allowed.mask(state.main.ids)
        places = np.flatnonzero(keep & (scores > 0))
        ids, found = state.main.ids[places], scores[places]
        if state.delta:
            delta_ids, delta_scores = state.delta_segment.search(tokens, allowed)
            ids, found = np.concatenate([ids, delta_ids]), np.concatenate([found, delta_scores])
        return Ranking.best(ids, found, limit)

    def copied(self) -> "LexicalIndex":
        """An index that begins with what is in this one; what is done to either is not done to the other."""
        copy = LexicalIndex(always_merged=self._always_merged)
        copy._state = self._state
        return copy

    def to_bytes(self) -> bytes:
        """The tokens of each passage as word numbers, merged first; statistics are computed again on reading."""
        self.merge()
        main = self._state.main
        buffer = io.BytesIO()
        words = np.frombuffer("\n".join(main.vocabulary).encode(), np.uint8)
        np.savez(buffer, ids=main.ids, lengths=main.lengths, tokens=main.tokens, words=words)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "LexicalIndex":
        """The index that wrote the bytes, merged.

        Raises IndexDamagedError when they do not hold one.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                ids, lengths, tokens = arrays["ids"], arrays["lengths"], arrays["tokens"]
                words = arrays["words"].tobytes().decode().split("\n")
            main = _Main(passage_ids(ids), lengths, tokens, {word: number for number, word in enumerate(words) if word})
        except Exception as error:  # numpy and zipfile raise a dozen kinds for broken bytes
            raise IndexDamagedError(f"the lexical part cannot be read: {error}") from error
        index = cls()
        index._state = _State.of(main)
        return index


@dataclass(frozen=True, eq=False)
class _Main:
    """A segment that never changes: `ids` int64 (n,), and the tokens of all documents as word numbers one after another."""

    ids: Ints
    lengths: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int32]
    vocabulary: dict[str, int]
    _postings: "_Postings" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.lengths.sum() != len(self.tokens) or len(self.lengths) != len(self.ids):
            raise ValueError("lengths, tokens and ids do not match")
        object.__setattr__(self, "_postings", _Postings.of(self.tokens, self.lengths, len(self.vocabulary)))

    @classmethod
    def of(cls, documents: Mapping[int, Sequence[str]]) -> "_Main":
        vocabulary: dict[str, int] = {}
        ids = sorted(documents)
        numbered = [vocabulary.setdefault(token, len(vocabulary)) for each in ids for token in documents[each]]
        lengths = np.array([len(documents[each]) for each in ids], np.int64)
        return cls(np.array(ids, np.int64), lengths, np.array(numbered, np.int32), vocabulary)

    def joined(self, keep: npt.NDArray[np.bool_], delta: Mapping[int, Sequence[str]]) -> "_Main":
        """A segment of the documents to keep and the delta's, in the order of ids, without words that nobody uses now."""
        vocabulary = dict(self.vocabulary)
        numbered = [[vocabulary.setdefault(token, len(vocabulary)) for token in tokens] for tokens in delta.values()]
        rows = [row for row, kept in zip(self.rows(), keep, strict=True) if kept]
        rows += [np.array(row, np.int32) for row in numbered]
        ids = np.concatenate([self.ids[keep], np.array(list(delta), np.int64)])
        order = np.argsort(ids)
        tokens = np.concatenate([rows[place] for place in order]) if rows else np.zeros(0, np.int32)
        used, renumbered = np.unique(tokens, return_inverse=True)
        words = list(vocabulary)
        return _Main(
            ids[order],
            np.array([len(rows[place]) for place in order], np.int64),
            renumbered.astype(np.int32),
            {words[number]: place for place, number in enumerate(used)},
        )

    def rows(self) -> list[npt.NDArray[np.int32]]:
        """The word numbers of each document."""
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1]) if len(self.ids) else []

    @property
    def document_frequencies(self) -> npt.NDArray[np.int64]:
        """In how many documents each word stands, by its number."""
        return np.diff(self._postings.starts)

    def scores(self, tokens: list[str]) -> npt.NDArray[np.float32]:
        """The BM25 score of each document, float32 (n,)."""
        scores = np.zeros(len(self.ids), np.float32)
        for token in tokens:
            if (number := self.vocabulary.get(token)) is not None:
                places, weights = self._postings.of_word(number)
                scores[places] += weights
        return scores


@dataclass(frozen=True, eq=False)
class _Postings:
    """Where each word stands and what it is worth there: those of word n from `starts[n]` to `starts[n + 1]`."""

    starts: npt.NDArray[np.int64]
    places: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def of(cls, tokens: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64], words: int) -> "_Postings":
        """Scores by BM25 as in Lucene (Kamphuis et al., "Which BM25 do you mean?", 2020)."""
        count = max(len(lengths), 1)
        pairs = tokens.astype(np.int64) * count + np.repeat(np.arange(len(lengths)), lengths)
        pairs, times = np.unique(pairs, return_counts=True)
        numbers, places = np.divmod(pairs, count)
        frequencies = np.bincount(numbers, minlength=words)
        idf = np.log(1 + (count - frequencies + 0.5) / (frequencies + 0.5))
        norm = K1 * (1 - B + B * lengths / max(lengths.mean() if len(lengths) else 1.0, 1.0))
        weights = idf[numbers] * times / (times + norm[places])
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(frequencies)])
        return cls(starts, places.astype(np.int32), weights.astype(np.float32))

    def of_word(self, number: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The places of a word's documents, and what it is worth in each."""
        part = slice(self.starts[number], self.starts[number + 1])
        return self.places[part], self.weights[part]


@dataclass(frozen=True, eq=False)
class _State:
    """What a search sees: the main segment, which of it is alive, and the documents beside it."""

    main: _Main
    alive: npt.NDArray[np.bool_]
    delta: Mapping[int, Sequence[str]]

    @classmethod
    def of(cls, main: _Main) -> "_State":
        return cls(main, np.ones(len(main.ids), np.bool_), {})

    @cached_property
    def delta_segment(self) -> "_Delta":
        """The documents beside the main segment, scored when the first asks: that is the writer, so that no search waits."""
        return _Delta(self.main, self.delta)

    def __len__(self) -> int:
        return int(self.alive.sum()) + len(self.delta)

    def __contains__(self, passage_id: int) -> bool:
        place = np.searchsorted(self.main.ids, passage_id)
        in_main = place < len(self.main.ids) and self.main.ids[place] == passage_id and self.alive[place]
        return bool(in_main) or passage_id in self.delta

    @property
    def pending(self) -> int:
        """How many changes the main segment does not know of."""
        return len(self.delta) + int((~self.alive).sum())

    def ids(self) -> list[int]:
        return [*self.main.ids[self.alive].tolist(), *self.delta]

    def with_delta(self, delta: Mapping[int, Sequence[str]]) -> "_State":
        return _State(self.main, self.alive, delta)

    def without(self, gone: set[int]) -> "_State":
        alive = self.alive & ~np.isin(self.main.ids, np.array(sorted(gone), np.int64))
        kept = {passage_id: tokens for passage_id, tokens in self.delta.items() if passage_id not in gone}
        return _State(self.main, alive, kept)

    def merged(self) -> "_State":
        return _State.of(self.main.joined(self.alive, self.delta)) if self.pending else self


class _Delta:
    """The documents beside a main segment, scored with that segment's statistics."""

    def __init__(self, main: _Main, documents: Mapping[int, Sequence[str]]) -> None:
        self._ids = np.array(list(documents), np.int64)
        count = max(len(main.ids), 1)
        mean_length = main.lengths.mean() if len(main.ids) else 1.0
        places: dict[str, list[int]] = {}
        weights: dict[str, list[float]] = {}
        for place, tokens in enumerate(documents.values()):
            norm = K1 * (1 - B + B * len(tokens) / max(mean_length, 1.0))
            for token, times in Counter(tokens).items():
                places.setdefault(token, []).append(place)
                weights.setdefault(token, []).append(times / (times + norm))
        self._postings = {
            token: (
                np.array(places[token]),
                np.float32(_idf(main, token, count)) * np.array(weights[token], np.float32),
            )
            for token in places
        }

    def search(self, tokens: Sequence[str], allowed: AllowedPassages | None) -> tuple[Ints, npt.NDArray[np.float32]]:
        """Ids and scores of the documents that hold a token."""
        scores = np.zeros(len(self._ids), np.float32)
        for token in tokens:
            if token in self._postings:
                places, weights = self._postings[token]
                scores[places] += weights
        keep = scores > 0
        if allowed is not None:
            keep &= allowed.mask(self._ids)
        return self._ids[keep], scores[keep]


def _idf(main: _Main, token: str, count: int) -> float:
    """Lucene's inverse document frequency in the main segment; a word that is new to it counts as in one document."""
    number = main.vocabulary.get(token)
    documents = 1 if number is None else int(main.document_frequencies[number])
    return float(np.log(1 + (count - documents + 0.5) / (documents + 0.5)))
