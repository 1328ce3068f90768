"""How well entries work: their counted uses with denominators, shrunk towards the mean of their kind, with an interval."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import sqrt
from uuid import UUID

import numpy as np
from sqlalchemy import ForeignKey, Index, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import SYSTEM, Access, Base, Database, Role, Through, sights
from knowledge.model import CURATING, KnowledgeKind

WINDOW = timedelta(days=365)
"""Over which time uses are counted: the last year's."""
FOLLOWED_FOR = timedelta(days=14)
"""How long after its use a deal's next stage is put down to an entry."""
COVERAGE = 0.95
"""What the interval covers of the posterior, with as much left out on either side."""
WEAKEST, STRONGEST, FEW, USUAL = 2.0, 200.0, 5, 20.0
"""Bounds of a fitted prior's weight in observations; below FEW entries there is nothing to fit, and USUAL is taken."""
ENOUGH = 30
"""How often an entry was offered before its track record may count in rankings."""
SEES = (*CURATING, Role.MANAGER)


class Segment(StrEnum):
    """By what uses are told apart."""

    ALL = "ALL"
    INDUSTRY = "INDUSTRY"
    STAGE = "STAGE"
    CONCERN = "CONCERN"
    LANGUAGE = "LANGUAGE"


class KnowledgeEffectiveness(Base):
    """How one version of an entry (all of them: no number) worked in one segment over the last year."""

    __tablename__ = "knowledge_effects"
    __unledgered__ = "counted from answers, feedback and deals, each of which has its own notes"
    __access__ = Access(
        sights(SEES, Through("item_id", "KnowledgeItem"), frozenset({"item", "version_number", "segment_key"}))
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"))
    version_number: Mapped[int | None]
    kind: Mapped[KnowledgeKind]
    segment: Mapped[Segment]
    segment_key: Mapped[str | None]
    offered: Mapped[int]
    cited: Mapped[int]
    used: Mapped[int]
    edited: Mapped[int]
    rejected: Mapped[int]
    followed: Mapped[int]
    advanced: Mapped[int]
    rate: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    mean: Mapped[float]
    advance_rate: Mapped[float]
    advance_low: Mapped[float]
    advance_high: Mapped[float]
    advance_mean: Mapped[float]
    computed_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_knowledge_effects_item", "item_id", "segment", "segment_key"),
        Index("ix_knowledge_effects_rate", "segment", "segment_key", "kind", "rate"),
    )


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of an entry before anything is known of it: a Beta(mean*weight, (1-mean)*weight)."""

    mean: float
    weight: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate between 0 and 1 with the interval that holds it with probability COVERAGE."""

    rate: float
    low: float
    high: float


def fitted(counts: Iterable[tuple[int, int]]) -> Prior:
    """The prior of entries that succeeded x of n times each, by the moments of the beta-binomial.

    With N = sum n, p = sum x / N, S = sum n (x/n - p)^2 over k entries, the correlation within an entry is
    r = (S - p(1-p)(k-1)) / (p(1-p) (N - sum n^2 / N - (k-1))), and the weight 1/r - 1 (Kleinman 1973, JASA 68:46-54, with
    weights n). It is kept within WEAKEST and STRONGEST: entries that differ no more than by chance get the strongest.
    """
    known = [(x, n) for x, n in counts if n > 0]
    total = sum(n for _, n in known)
    # Half a success and half a failure keep the mean off 0 and 1 (Jeffreys).
    mean = (sum(x for x, _ in known) + 0.5) / (total + 1)
    k = len(known)
    if k < FEW:
        return Prior(mean, USUAL)
    share = sum(x for x, _ in known) / total
    chance = share * (1 - share)
    spread = sum(n * (x / n - share) ** 2 for x, n in known)
    room = chance * (total - sum(n * n for _, n in known) / total - (k - 1))
    if room <= 0:
        return Prior(mean, USUAL if chance else STRONGEST)
    correlation = (spread - chance * (k - 1)) / room
    weight = 1 / correlation - 1 if correlation > 0 else STRONGEST
    return Prior(mean, min(max(weight, WEAKEST), STRONGEST))


def estimated(x: int, n: int, prior: Prior) -> Estimate:
    """The rate of an entry that succeeded x of n times: the posterior Beta(x + a, n - x + b), a and b the prior's.

    The rate is its mean (x + a) / (n + a + b), which lies between x/n and the prior's mean; low and high are its quantiles
    at (1 - COVERAGE)/2 on either side.
    """
    rates, lows, highs = _posteriors([x], [n], [prior])
    return Estimate(rates[0], lows[0], highs[0])


def _posteriors(x: Sequence[int], n: Sequence[int], priors: Sequence[Prior]) -> tuple[list[float], ...]:
    """The rates, lower and upper ends of many entries at once."""
    from scipy.special import betaincinv  # 20 MB that a process which only answers is spared

    succeeded, tried = np.array(x, np.float64), np.array(n, np.float64)
    mean, weight = np.array([one.mean for one in priors]), np.array([one.weight for one in priors])
    a, b = succeeded + mean * weight, tried - succeeded + (1 - mean) * weight
    tail = (1 - COVERAGE) / 2
    found = a / (a + b), betaincinv(a, b, tail), betaincinv(a, b, 1 - tail)
    return tuple(one.tolist() for one in found)


@dataclass(frozen=True, slots=True)
class Counts:
    """How one version of an entry fared in one segment.

    offered: answers for which a search brought it up and that somebody was shown; cited: those that cite it; used: cited in
    one that was accepted as it is or after editing; edited: of these, after editing; rejected: cited in one that was rejected
    or vetoed; followed: uses on a deal whose FOLLOWED_FOR is over or that has advanced; advanced: of these, those whose deal
    entered a later stage, not a lost one, within FOLLOWED_FOR of the feedback.
    """

    item_id: UUID
    version_number: int | None
    kind: KnowledgeKind
    segment: Segment
    segment_key: str | None
    offered: int
    cited: int
    used: int
    edited: int
    rejected: int
    followed: int
    advanced: int


NUMBERS = ("offered", "cited", "used", "edited", "rejected", "followed", "advanced")


def with_totals(rows: Sequence[Counts]) -> list[Counts]:
    """The counts of all versions of each entry together, and of each version: an answer is offered one version of it only.

    In a segment the versions are told apart where there are several.
    """
    groups: dict[tuple[UUID, KnowledgeKind, Segment, str | None], list[Counts]] = defaultdict(list)
    for row in rows:
        groups[row.item_id, row.kind, row.segment, row.segment_key].append(row)
    found = []
    for (item_id, kind, segment, key), group in groups.items():
        sums = [sum(getattr(row, name) for row in group) for name in NUMBERS]
        found.append(Counts(item_id, None, kind, segment, key, *sums))
        if segment is Segment.ALL or len(group) > 1:
            found += group
    return found


def estimates(rows: Sequence[Counts]) -> list[dict[str, float]]:
    """For each count its rates with their intervals; the prior is that of its kind in its segment, fitted over entries."""
    if not rows:
        return []
    groups: dict[object, list[Counts]] = defaultdict(list)
    for row in rows:
        if row.version_number is None:
            groups[_group(row)].append(row)
    use = {key: fitted((row.used, row.offered) for row in group) for key, group in groups.items()}
    advance = {key: fitted((row.advanced, row.followed) for row in group) for key, group in groups.items()}
    columns: dict[str, list[float]] = {}
    for prefix, priors_of, numbers in (("", use, ("used", "offered")), ("advance_", advance, ("advanced", "followed"))):
        priors = [priors_of[_group(row)] for row in rows]
        x, n = ([getattr(row, name) for row in rows] for name in numbers)
        columns |= dict(zip((f"{prefix}rate", f"{prefix}low", f"{prefix}high"), _posteriors(x, n, priors), strict=True))
        columns[f"{prefix}mean"] = [prior.mean for prior in priors]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _group(row: Counts) -> object:
    return row.kind, row.segment, row.segment_key


def leaning(rate: float, mean: float) -> float:
    """How far an entry's rate is off the mean of its kind, in standard deviations of one use, from -1 to 1."""
    deviation = sqrt(mean * (1 - mean))
    return min(max((rate - mean) / deviation, -1.0), 1.0) if deviation else 0.0


async def priors(database: Database) -> Mapping[UUID, float]:
    """What the track record of each entry that was offered ENOUGH says for it, for `Library.weigh`."""
    effect = KnowledgeEffectiveness
    whole = (effect.segment == Segment.ALL) & effect.version_number.is_(None) & (effect.offered >= ENOUGH)
    async with database.read(SYSTEM) as connection:
        rows = await connection.execute(select(effect.item_id, effect.rate, effect.mean).where(whole))
        return {row.item_id: leaning(row.rate, row.mean) for row in rows}
