"""What became of the entries that answers were offered: counted from searches, citations, feedback and deals."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, case, delete, exists, extract, func, literal, or_, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.orm import aliased

from assistant.model import SHOWN, Citation, Disposition, FeedbackVerdict, Generation, GenerationFeedback
from domain.deals import Stage, StageTransition
from domain.kernel import SYSTEM, Database, insert_rows
from knowledge import KnowledgeItem, Retrieval
from knowledge.effectiveness import (
    FOLLOWED_FOR,
    NUMBERS,
    WINDOW,
    Counts,
    KnowledgeEffectiveness,
    Segment,
    estimates,
    with_totals,
)
from knowledge.usage import LoggedSearch

EVERY = timedelta(hours=6)
"""How often uses are counted anew."""
INSERTED_AT_ONCE = 2_000
ACCEPTED = (FeedbackVerdict.USED, FeedbackVerdict.EDITED)
SEGMENTS = {
    Segment.INDUSTRY: "industry",
    Segment.STAGE: "stage",
    Segment.CONCERN: "concern",
    Segment.LANGUAGE: "language",
}


async def refresh(database: Database) -> int:
    """Count anew how entries worked over the last year; how many figures there are.

    Whoever comes twice within a quarter of the interval finds it done.
    """
    newest, now = select(func.max(KnowledgeEffectiveness.computed_at)), database.clock()
    async with database.read(SYSTEM) as connection:
        last = await connection.scalar(newest)
        if last is not None and now - last < EVERY / 4:
            return 0
        rows = (await connection.execute(_groups(now, embedded=database.embedded))).mappings().all()
    # A year's groups are summed in a thread and before anything is written: nobody waits for them.
    counted, figures = await asyncio.to_thread(_figures, rows)
    async with database.open_uow(SYSTEM) as uow:
        await uow.wait_turn("knowledge effects")
        if await uow.session.scalar(newest) != last:
            return 0
        await uow.session.execute(delete(KnowledgeEffectiveness), execution_options={"synchronize_session": False})
        for start in range(0, len(counted), INSERTED_AT_ONCE):
            part = slice(start, start + INSERTED_AT_ONCE)
            values = [
                {"id": uow.new_id(), "computed_at": now, **_values(one), **rates}
                for one, rates in zip(counted[part], figures[part], strict=True)
            ]
            await insert_rows(uow, KnowledgeEffectiveness, values)
    return len(counted)


def _values(one: Counts) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Counts.__dataclass_fields__}


def _groups(now: datetime, *, embedded: bool) -> Select[Any]:
    """The numbers by entry, version and all segments at once, from one pass over the year's offers."""
    outcomes = _outcomes(now, embedded=embedded).subquery()
    by = [outcomes.c[name] for name in ("item_id", "version_number", "kind", *SEGMENTS.values())]
    return select(*by, *(func.sum(outcomes.c[name]).label(name) for name in NUMBERS)).group_by(*by)


def _figures(rows: Sequence[RowMapping]) -> tuple[list[Counts], list[dict[str, float]]]:
    counted = with_totals(_summed(rows))
    return counted, estimates(counted)


def _summed(rows: Sequence[RowMapping]) -> list[Counts]:
    """The groups of all segments at once, summed in each segment by itself."""
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(NUMBERS))
    for values in rows:
        entry = (values["item_id"], values["version_number"], values["kind"])
        keys = [(Segment.ALL, None), *((segment, values[column]) for segment, column in SEGMENTS.items())]
        for segment, key in keys:
            if key is not None or segment is Segment.ALL:
                counts = found[*entry, segment, key]
                for place, name in enumerate(NUMBERS):
                    counts[place] += values[name]
    return [Counts(*group, *counts) for group, counts in found.items()]


def _outcomes(now: datetime, *, embedded: bool) -> Select[Any]:
    """One row for each version that an answer was offered: its segment, and 0 or 1 for each number."""
    newest = func.row_number().over(
        partition_by=GenerationFeedback.generation_id,
        order_by=(GenerationFeedback.at.desc(), GenerationFeedback.id.desc()),
    )
    feedback = select(
        GenerationFeedback.generation_id, GenerationFeedback.verdict, GenerationFeedback.at, newest.label("place")
    ).subquery()
    offers = _offers(now - WINDOW)
    cited = exists().where(
        Citation.generation_id == offers.c.generation_id,
        Citation.item_id == offers.c.item_id,
        Citation.item_version == offers.c.version_number,
    )
    verdict, used_at = feedback.c.verdict, feedback.c.at
    vetoed = Generation.disposition == Disposition.VETOED
    advanced = and_(verdict.in_(ACCEPTED), _advanced(offers.c.opportunity_id, used_at, embedded=embedded))
    newest_one = and_(feedback.c.generation_id == Generation.id, feedback.c.place == 1)
    told = (
        select(
            offers, KnowledgeItem.kind, vetoed.label("vetoed"), verdict.label("verdict"), used_at.label("used_at"),
            cited.label("cited"), advanced.label("advanced"),
        )
        .select_from(offers)
        .join(Generation, Generation.id == offers.c.generation_id)
        .join(KnowledgeItem, KnowledgeItem.id == offers.c.item_id)
        .outerjoin(feedback, newest_one)
        .where(Generation.disposition.in_((*SHOWN, Disposition.VETOED)))
    ).subquery().c  # fmt: skip
    used = and_(told.cited, told.verdict.in_(ACCEPTED), ~told.vetoed)
    followed = and_(used, told.opportunity_id.is_not(None), or_(told.used_at <= now - FOLLOWED_FOR, told.advanced))
    numbers = {
        "cited": told.cited, "used": used, "edited": and_(used, told.verdict == FeedbackVerdict.EDITED),
        "rejected": and_(told.cited, or_(told.verdict == FeedbackVerdict.REJECTED, told.vetoed)),
        "followed": followed, "advanced": and_(followed, told.advanced),
    }  # fmt: skip
    return select(
        told.item_id, told.version_number, told.kind, told.industry, told.stage, told.concern, told.language,
        literal(1).label("offered"), *(case((holds, 1), else_=0).label(name) for name, holds in numbers.items()),
    )  # fmt: skip


def _offers(since: datetime) -> Any:
    """What answers were offered, each version once for each answer, whatever number of searches brought it up."""
    columns = (Retrieval.generation_id, Retrieval.item_id, Retrieval.version_number)
    segment = ("opportunity_id", "industry", "stage", "concern", "language")
    said = [func.max(getattr(LoggedSearch, name)).label(name) for name in segment[1:]]
    # PostgreSQL has no greatest UUID; all searches of an answer are about the same deal.
    deal = LoggedSearch.opportunity_id
    return (
        select(*columns, deal, *said)
        .outerjoin(LoggedSearch, LoggedSearch.id == Retrieval.search_id)
        .where(Retrieval.generation_id.is_not(None), Retrieval.at >= since)
        .group_by(*columns, deal)
        .subquery()
    )


def _advanced(opportunity_id: Any, used_at: Any, *, embedded: bool) -> Any:
    """Whether a deal entered a later stage, not a lost one, within FOLLOWED_FOR after an instant."""
    before, after = aliased(Stage), aliased(Stage)
    days = (
        func.julianday(StageTransition.entered_at) - func.julianday(used_at)
        if embedded
        else extract("epoch", StageTransition.entered_at - used_at) / 86_400
    )
    return exists().where(
        StageTransition.opportunity_id == opportunity_id,
        StageTransition.entered_at > used_at,
        days <= FOLLOWED_FOR.days,
        StageTransition.from_stage_id == before.id,
        StageTransition.to_stage_id == after.id,
        after.position > before.position,
        or_(after.is_won, ~after.is_closed),
    )
