"""What the content board counts over entries in use: coverage, what has grown stale, what no search brings up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select

from domain.kernel import Language
from knowledge.model import KnowledgeItem, KnowledgeKind, KnowledgePeriod, KnowledgeState, Retrieval
from knowledge.retirement import never_found

SEEN_WITHIN = timedelta(days=365)
"""After how long in use without a review date an entry is stale."""
IN_USE = KnowledgeItem.state == KnowledgeState.PUBLISHED


class Staleness(StrEnum):
    """Why an entry is stale."""

    EXPIRED = "EXPIRED"
    REVIEW_DUE = "REVIEW_DUE"
    NOT_LOOKED_AT = "NOT_LOOKED_AT"


@dataclass(frozen=True, slots=True)
class Cell:
    """How many entries meet a concern in a stage and an industry: all that fit, and those made for all three."""

    concern: str
    stage: str
    industry: str
    entries: int
    made_for: int


def in_date(now: datetime) -> ColumnElement[bool]:
    """Entries that are found now."""
    begun = or_(KnowledgeItem.effective_from.is_(None), KnowledgeItem.effective_from <= now)
    return and_(IN_USE, begun, or_(KnowledgeItem.expires_at.is_(None), KnowledgeItem.expires_at > now))


def facets(now: datetime, kind: KnowledgeKind | None, language: Language | None) -> Select[*tuple[Any, ...]]:
    """For what each entry in date is made."""
    item = KnowledgeItem
    asked = select(item.concerns, item.stages, item.industries).where(in_date(now))
    asked = asked if kind is None else asked.where(item.kind == kind)
    return asked if language is None else asked.where(item.language == language)


def coverage(
    rows: Iterable[Any], concerns: Sequence[str], stages: Sequence[str], industries: Sequence[str]
) -> list[Cell]:
    """Each cell of concern, stage and industry with its entries: an entry that leaves stages or industries open fits them all.

    One that names no concern meets none: it counts nowhere.
    """
    shape = (len(concerns), len(stages), len(industries))
    fitting, made = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    places = [{key: place for place, key in enumerate(keys)} for keys in (concerns, stages, industries)]
    for row in rows:
        met = _places(places[0], row.concerns)
        staged, placed = _places(places[1], row.stages), _places(places[2], row.industries)
        fitting[
            np.ix_(met, staged if row.stages else range(shape[1]), placed if row.industries else range(shape[2]))
        ] += 1
        made[np.ix_(met, staged, placed)] += 1
    return [
        Cell(concern, stage, industry, int(fitting[i, j, k]), int(made[i, j, k]))
        for i, concern in enumerate(concerns)
        for j, stage in enumerate(stages)
        for k, industry in enumerate(industries)
    ]


def _places(known: dict[str, int], keys: Iterable[str]) -> list[int]:
    return [known[key] for key in dict.fromkeys(keys) if key in known]


def stale(now: datetime) -> Select[*tuple[Any, ...]]:
    """Entries in use that have expired, whose review is due, or that nobody looked at for SEEN_WITHIN; the longest so first."""
    item = KnowledgeItem
    begun = (
        select(func.max(KnowledgePeriod.begun_at))
        .where(KnowledgePeriod.item_id == item.id, KnowledgePeriod.ended_at.is_(None))
        .scalar_subquery()
    )
    expired, due = item.expires_at <= now, item.review_at <= now
    forgotten = and_(item.review_at.is_(None), begun <= now - SEEN_WITHIN)
    reason = case(
        (expired, literal(Staleness.EXPIRED.value)), (due, literal(Staleness.REVIEW_DUE.value)), else_=literal(Staleness.NOT_LOOKED_AT.value)
    )  # fmt: skip
    since = case((expired, item.expires_at), (due, item.review_at), else_=begun).label("since")
    return (
        select(item.id, reason.label("reason"), since)
        .where(IN_USE, or_(expired, due, forgotten))
        .order_by(since, item.id)
    )


def unused(since: datetime) -> Select[*tuple[Any, ...]]:
    """Entries that have been in use since an instant without a search bringing them up; when one last did, null for never."""
    item = KnowledgeItem
    last = select(func.max(Retrieval.at)).where(Retrieval.item_id == item.id).scalar_subquery().label("last_at")
    return select(item.id, last).where(never_found(since)).order_by(last.nulls_first(), item.id)


def counted(rows: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """How many rows a statement has."""
    return select(func.count()).select_from(rows.order_by(None).subquery())
