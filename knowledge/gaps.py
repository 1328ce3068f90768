"""Questions to which the knowledge has no good answer: found in the log of searches, gathered by what they ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from sqlalchemy import ColumnElement, Select, case, func, or_, select

from knowledge.text import tokenise
from knowledge.usage import LoggedSearch

NEAR, WORDS_WEIGHT, WORDS_ALONE = 0.92, 0.1, 0.42
"""A hit is good where the best vector's cosine (multilingual-e5-small) + WORDS_WEIGHT * the share of the query's words that it
has is at least NEAR; where words served alone, where that share is at least WORDS_ALONE."""
SAME_BY_MEANING, SAME_BY_WORDS = 0.92, 0.3
"""From which mean cosine on questions ask the same: of their vectors, of their words (TF-IDF)."""
QUERIES = 300
"""How many different questions are clustered, those asked most first."""
EXAMPLES = 3


class Encodes(Protocol):
    """Who gives queries their vectors."""

    def encode_queries(self, texts: Sequence[str]) -> Any:
        """One unit vector for each text."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """One question without a good hit: how often it was asked, when last, of which concern, and how often nothing was found."""

    words: str
    asked: int
    last_at: datetime
    concern: str | None
    empty: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Questions that ask the same: how many, the ones asked most, and the concern that most of them name."""

    questions: tuple[Question, ...]

    @property
    def asked(self) -> int:
        """How often they were asked together."""
        return sum(question.asked for question in self.questions)

    @property
    def examples(self) -> tuple[str, ...]:
        """The ones asked most."""
        return tuple(question.words for question in self.questions[:EXAMPLES])

    @property
    def concern(self) -> str | None:
        """The concern that is named most often; None where none is."""
        counts: dict[str, int] = {}
        for question in self.questions:
            if question.concern:
                counts[question.concern] = counts.get(question.concern, 0) + question.asked
        return max(counts, key=lambda key: (counts[key], key), default=None)

    @property
    def last_at(self) -> datetime:
        """When one of them was asked last."""
        return max(question.last_at for question in self.questions)


def unanswered() -> ColumnElement[bool]:
    """Searches without a good hit."""
    search = LoggedSearch
    near = search.dense + WORDS_WEIGHT * search.covered
    return or_(search.found == 0, near < NEAR, search.dense.is_(None) & (search.covered < WORDS_ALONE))


def questions(since: datetime, of: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """The different questions without a good hit, those asked most first: QUERIES rows at most."""
    search = LoggedSearch
    asked = func.count().label("asked")
    empty = func.sum(case((search.found == 0, 1), else_=0)).label("empty")
    said = (
        search.query.label("words"),
        asked,
        func.max(search.at).label("last_at"),
        func.max(search.concern).label("concern"),
        empty,
    )
    found = select(*said).where(search.at >= since, search.query != "", unanswered(), of).group_by(search.query)
    return found.order_by(asked.desc(), search.query).limit(QUERIES)


def totals(since: datetime, of: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """How many searches there were, and how many of them had no good hit."""
    poor = func.coalesce(func.sum(case((unanswered(), 1), else_=0)), 0)
    return (
        select(func.count().label("searches"), poor.label("unanswered"))
        .select_from(LoggedSearch)
        .where(LoggedSearch.at >= since, of)
    )


def clustered(asked: Sequence[Question], embedder: Encodes | None) -> list[Gap]:
    """Questions gathered into gaps by average linkage over cosines (scikit-learn), the one asked most first.

    By the vectors of the embedder where there is one, else by the words that they share.
    """
    if not asked:
        return []
    if len(asked) == 1:
        return [Gap((asked[0],))]
    vectors = (
        _by_words(asked) if embedder is None else np.asarray(embedder.encode_queries([one.words for one in asked]))
    )
    labels = _labels(vectors, SAME_BY_WORDS if embedder is None else SAME_BY_MEANING)
    groups: dict[int, list[Question]] = {}
    for label, question in zip(labels, asked, strict=True):
        groups.setdefault(label, []).append(question)
    gaps = [Gap(tuple(sorted(group, key=lambda one: (-one.asked, one.words)))) for group in groups.values()]
    return sorted(gaps, key=lambda gap: (-gap.asked, gap.examples))


def _labels(vectors: Any, same: float) -> list[int]:
    from sklearn.cluster import AgglomerativeClustering

    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - same
    )
    distances = np.clip(1.0 - vectors @ vectors.T, 0.0, 2.0)
    return [int(label) for label in clustering.fit_predict(distances)]


def _by_words(asked: Sequence[Question]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A question of which nothing is a word is like no other: it gets a token of its own.
    vectorizer = TfidfVectorizer(analyzer=lambda words: tokenise(words) or [words], dtype=np.float32)
    return vectorizer.fit_transform([one.words for one in asked]).toarray()
