"""What a search may return and in which order: entries as the process remembers them, filters, situations, ranking."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from domain.kernel import Language, Text
from knowledge.fusion import FusedHit, MethodScore
from knowledge.model import KnowledgeKind
from knowledge.text import TITLE_SEPARATOR, Script, script_of, searchable, tokenise

FACET_BONUS = 0.12
"""What an entry gains for each facet that names the situation."""
EFFECTIVENESS = "effectiveness"
PRIOR_WEIGHT = 0.03
"""What the best track record adds to an entry's score, and the worst takes away: a quarter of a facet."""
ALIKE = 0.85
"""The share of common tokens (Jaccard, 1901) from which two passages say the same, where their figures are the same too."""
FACETS = ("concerns", "stages", "roles", "industries", "competitors", "regions")


@dataclass(frozen=True, slots=True)
class Situation:
    """For what knowledge is wanted; an entry fits when each of its facets is empty or names the situation's value."""

    industry: str | None = None
    region: str | None = None
    stage: str | None = None
    concerns: tuple[str, ...] = ()
    competitors: tuple[str, ...] = ()

    @property
    def single(self) -> dict[str, str | None]:
        """The values that there is one of, by the facet that names them."""
        return {"industries": self.industry, "regions": self.region, "stages": self.stage}


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
    """Whether only entries with a day from which they hold are wanted; of equally near ones the newest comes first."""
    under: frozenset[str] = frozenset()
    """Headings (lower case) under which to search; an entry that has none of them is searched whole."""


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
    only: frozenset[UUID] | None = None
    """The entries among which alone to search."""


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
    let_through: bool = False
    """Whether a reviewer let it through although it was marked."""
    explanation: tuple[MethodScore, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One entry that a search returned, with its best passage and why it ranks there.

    `folded` are the entries that say the same in their best passage and would have come after it.
    """

    item_id: UUID
    version: int
    passage: str
    score: float
    explanation: tuple[MethodScore, ...]
    folded: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search returned, which methods served, and why not all."""

    hits: tuple[Hit, ...]
    methods: tuple[str, ...]
    degraded: Text | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One published entry with its facets; `row_version` is that of its row, so that a change of it is noticed."""

    id: UUID
    row_version: int
    version: int
    kind: KnowledgeKind
    language: Language
    title: str
    body: str
    source: str | None
    licence: str | None
    facets: Mapping[str, tuple[str, ...]]
    effective_from: datetime | None
    expires_at: datetime | None
    published_at: datetime | None
    let_through: bool = False

    @classmethod
    def of(cls, row: Any) -> "Entry":
        """The entry in a row of knowledge items joined with their published versions."""
        return cls(
            id=row.id, row_version=row.version, version=row.published_number, kind=row.kind, language=row.language, title=row.title, body=row.body,
            source=row.source, licence=row.licence, facets={name: tuple(getattr(row, name)) for name in FACETS},
            effective_from=row.effective_from, expires_at=row.expires_at, published_at=row.published_at, let_through=row.let_through_at is not None,
        )  # fmt: skip

    def in_date(self, now: datetime) -> bool:
        """Whether the entry is effective and has not expired."""
        begun = self.effective_from is None or self.effective_from <= now
        return begun and (self.expires_at is None or now < self.expires_at)

    def names(self, facet: str, *values: str | None) -> bool:
        """Whether a facet holds one of the values."""
        return not set(self.facets[facet]).isdisjoint(values)

    def found(self, score: float, explanation: tuple[MethodScore, ...] = ()) -> Found:
        """The entry as a search hands it out."""
        return Found(
            self.id, self.version, self.kind, self.language, self.title, self.body, self.facets["concerns"], self.facets["competitors"], self.facets["stages"],
            self.source, self.licence, score, self.let_through, explanation,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """One passage of an entry."""

    number: int
    item_id: UUID
    title_path: str
    text: str
    content_hash: str
    script: Script

    @classmethod
    def of(cls, row: Any) -> "Piece":
        """The passage in a row."""
        return cls(row.number, row.item_id, row.title_path, row.text, row.content_hash, script_of(row.text))

    @property
    def heading(self) -> str:
        """The nearest heading above it, in lower case."""
        return self.title_path.rsplit(TITLE_SEPARATOR, 1)[-1].lower()

    @property
    def searchable(self) -> str:
        """What is indexed: the text under its titles."""
        return searchable(self.title_path, self.text)


@dataclass(frozen=True)
class Stock:
    """The published knowledge as of one publication number: a search looks at one stock from its start to its end."""

    publication: int
    entries: Mapping[UUID, Entry] = field(default_factory=dict)
    pieces: Mapping[int, Piece] = field(default_factory=dict)

    @cached_property
    def _by_item(self) -> Mapping[UUID, list[Piece]]:
        by_item: dict[UUID, list[Piece]] = {}
        for piece in self.pieces.values():
            by_item.setdefault(piece.item_id, []).append(piece)
        return by_item

    @cached_property
    def _dates(self) -> list[datetime]:
        dates = ((entry.effective_from, entry.expires_at) for entry in self.entries.values())
        return sorted({date for pair in dates for date in pair if date is not None})

    def era(self, now: datetime) -> int:
        """How many of the days on which an entry begins or ends to hold have come: while it stays, so does what holds."""
        return bisect_right(self._dates, now)

    @cached_property
    def _tokens(self) -> dict[int, tuple[frozenset[str], Counter[str]]]:
        return {}

    def alike(self, one: int, other: int) -> bool:
        """Whether two passages say the same with the same figures; those of two languages never do."""
        first, second = self.pieces[one], self.pieces[other]
        if self.entries[first.item_id].language is not self.entries[second.item_id].language:
            return False
        if first.text == second.text:
            return True
        (tokens, figures), (others, other_figures) = self._said(first), self._said(second)
        if figures != other_figures or min(len(tokens), len(others)) < ALIKE * max(len(tokens), len(others)):
            return False
        return len(tokens & others) >= ALIKE * len(tokens | others)

    def _said(self, piece: Piece) -> tuple[frozenset[str], Counter[str]]:
        known = self._tokens.get(piece.number)
        if known is None:
            tokens = tokenise(piece.text)
            figures = Counter(token for token in tokens if any(map(str.isdigit, token)))
            known = self._tokens[piece.number] = frozenset(tokens), figures
        return known

    def numbers(self, item_id: UUID, under: frozenset[str]) -> list[int]:
        """The passages of an entry: those under the headings, or all where it has none of them."""
        pieces = self._by_item.get(item_id, [])
        return [piece.number for piece in pieces if piece.heading in under] or [piece.number for piece in pieces]


def passes(wanted: Filter) -> Callable[[Entry], bool]:
    """Whether an entry passes a filter."""
    named = {
        "concerns": wanted.concern, "stages": wanted.stage, "roles": wanted.role, "industries": wanted.industry, "competitors": wanted.competitor,
    }  # fmt: skip
    return lambda entry: (
        wanted.kind in {None, entry.kind}
        and wanted.language in {None, entry.language}
        and (wanted.only is None or entry.id in wanted.only)
        and all(value is None or entry.names(name, value) for name, value in named.items())
    )


def fits(want: Wanted) -> Callable[[Entry], bool]:
    """Whether an entry is of the kinds and made for the situation."""
    situation = want.situation

    def fits(entry: Entry) -> bool:
        others = [
            name for name, value in situation.single.items() if value is not None and not entry.names(name, value)
        ]
        if entry.kind not in want.kinds or any(entry.facets[name] for name in others):
            return False
        if want.changes_only and entry.effective_from is None:
            return False
        if want.must_match_concern and not entry.names("concerns", *situation.concerns):
            return False
        named = entry.names("competitors", *situation.competitors)
        return named or (not want.must_match_competitor and not entry.facets["competitors"])

    return fits


def ranked(
    entries: list[Entry], want: Wanted, hits: Mapping[UUID, FusedHit], prior: Mapping[UUID, float]
) -> list[Found]:
    """The best of the entries for a want: by nearness, by how many of their facets name the situation, by their track record."""
    spoken = [entry for entry in entries if entry.language is want.language] or entries
    known = [(entry, *explained(hits.get(entry.id), prior.get(entry.id))) for entry in spoken]
    best = sorted(known, key=lambda one: (-_merit(one[0], want, one[1]), one[0].title, one[0].id))
    return [entry.found(min(max(score, 0.0), 1.0), explanation) for entry, score, explanation in best[: want.limit]]


def explained(hit: FusedHit | None, prior: float | None) -> tuple[float, tuple[MethodScore, ...]]:
    """The score of an entry and its lines: what each method said, and its track record (-1 to 1) where it counts."""
    score, lines = (hit.score, hit.explanation) if hit else (0.0, ())
    if prior is None:
        return score, lines
    bounded = min(max(prior, -1.0), 1.0)
    return score + PRIOR_WEIGHT * bounded, (*lines, MethodScore(EFFECTIVENESS, None, bounded, PRIOR_WEIGHT))


def _merit(entry: Entry, want: Wanted, score: float) -> float:
    situation = want.situation
    matches = sum(entry.names(name, value) for name, value in situation.single.items())
    matches += entry.names("concerns", *situation.concerns) + entry.names("competitors", *situation.competitors)
    dated = entry.effective_from or entry.published_at
    # A year weighs as much as a quarter of a facet: it decides between entries that are as near.
    newness = dated.timestamp() / 1e9 if want.changes_only and dated else 0.0
    return score + FACET_BONUS * matches + newness
