"""The battlecards of each competitor beside the deals in which it stands: whether they are current, and why not."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.deals import Competitor, Opportunity, Stage
from domain.kernel import SYSTEM, Actor, Database, Money, Text, field_visible, rows_visible
from knowledge import (
    WATCHING,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgePeriod,
    KnowledgeReview,
    KnowledgeState,
    ReviewStep,
)


class RefreshReason(StrEnum):
    """Why the battlecards of a competitor are to be looked at."""

    NO_CARD = "NO_CARD"
    OVERDUE = "OVERDUE"
    NEVER_REVIEWED = "NEVER_REVIEWED"
    LOST_SINCE = "LOST_SINCE"


@dataclass(frozen=True, slots=True)
class Card:
    """One published battlecard: since when its version is in use, when it is to be looked at, whether somebody let it out."""

    item_id: UUID
    competitors: tuple[str, ...]
    begun_at: datetime
    review_at: datetime | None
    reviewed: bool


@dataclass(frozen=True, slots=True)
class Deals:
    """The deals in which a competitor is the primary one, as far as a reader sees them."""

    open: int = 0
    amounts: tuple[Money, ...] = ()
    won: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class BattlecardSet:
    """One competitor's cards that a reader sees, their next review where the reader sees that, the deals, and what is wrong."""

    key: str
    label: Text
    card_ids: tuple[UUID, ...]
    review_at: datetime | None
    overdue: bool | None
    deals: Deals
    reasons: tuple[RefreshReason, ...]


def refresh_reasons(cards: Sequence[Card], last_lost_at: datetime | None, now: datetime) -> tuple[RefreshReason, ...]:
    """Why a competitor's cards are to be looked at; none where they are current."""
    if not cards:
        return (RefreshReason.NO_CARD,)
    newest = max(card.begun_at for card in cards)
    found = {
        RefreshReason.OVERDUE: any(card.review_at is not None and card.review_at <= now for card in cards),
        RefreshReason.NEVER_REVIEWED: not all(card.reviewed for card in cards),
        RefreshReason.LOST_SINCE: last_lost_at is not None and last_lost_at > newest,
    }
    return tuple(reason for reason, holds in found.items() if holds)


async def battlecard_sets(database: Database, actor: Actor, competitor: str | None = None) -> list[BattlecardSet]:
    """Every competitor by its key, or the one named.

    Cards and deals are those that the actor sees. The reasons are about the content and say the same to everybody: they
    take account of every card in use and of whether any deal was lost since, and tell no more of either.
    """
    now, whole = database.clock(), competitor is None
    async with database.read(SYSTEM) as connection, AsyncSession(connection) as session:
        named = select(Competitor).where(Competitor.key == competitor) if not whole else select(Competitor)
        rivals = list((await session.execute(named.order_by(Competitor.key))).scalars())
        in_use, lost = await _cards(session, now), await _last_losses(session)
    async with database.read(actor) as connection, AsyncSession(connection) as session:
        seen = {card.item_id for card in await _cards(session, now, rows_visible(KnowledgeItem, actor))}
        standing = await _deals(session, actor)
    return [
        _made(rival, [card for card in in_use if rival.key in card.competitors], seen, standing[rival.key], lost.get(rival.key), actor, now)
        for rival in rivals
    ]  # fmt: skip


def _made(
    rival: Competitor, cards: Sequence[Card], seen: set[UUID], standing: Deals, lost_at: datetime | None, actor: Actor, now: datetime
) -> BattlecardSet:  # fmt: skip
    own = [card for card in cards if card.item_id in seen]
    reviews = [card.review_at for card in own if card.review_at is not None]
    keeps = actor.unrestricted or actor.has(*WATCHING)
    next_review = min(reviews, default=None) if keeps else None
    overdue = next_review is not None and next_review <= now
    label = Text(rival.label_zh, rival.label_en)
    ids, reasons = tuple(card.item_id for card in own), refresh_reasons(cards, lost_at, now)
    return BattlecardSet(rival.key, label, ids, next_review, overdue if keeps else None, standing, reasons)


async def _cards(session: AsyncSession, now: datetime, *where: ColumnElement[bool]) -> list[Card]:
    """The battlecards in use, the newest first."""
    item, period = KnowledgeItem, KnowledgePeriod
    step = (KnowledgeReview.item_id == item.id) & (KnowledgeReview.version_number == item.published_number)
    reviewed = select(KnowledgeReview.id).where(step, KnowledgeReview.step == ReviewStep.PUBLISHED).exists()
    in_date = or_(item.effective_from.is_(None), item.effective_from <= now) & or_(
        item.expires_at.is_(None), item.expires_at > now
    )
    in_use = (item.kind == KnowledgeKind.BATTLECARD, item.state == KnowledgeState.PUBLISHED, in_date)
    rows = (
        select(item.id, item.competitors, period.begun_at, item.review_at, reviewed)
        .join(period, (period.item_id == item.id) & period.ended_at.is_(None)).where(*in_use, *where)
        .order_by(period.begun_at.desc(), item.id)
    )  # fmt: skip
    found = await session.execute(rows)
    return [Card(id, tuple(keys), begun, review, is_reviewed) for id, keys, begun, review, is_reviewed in found]


async def _last_losses(session: AsyncSession) -> dict[str, datetime]:
    """When the last deal was lost against each competitor."""
    lost = (Stage.is_closed, ~Stage.is_won, Opportunity.primary_competitor.is_not(None))
    latest = (
        select(Opportunity.primary_competitor, func.max(Opportunity.closed_at))
        .join(Stage, Stage.id == Opportunity.stage_id).where(*lost).group_by(Opportunity.primary_competitor)
    )  # fmt: skip
    return {str(key): at for key, at in await session.execute(latest) if at is not None}


async def _deals(session: AsyncSession, actor: Actor) -> dict[str, Deals]:
    """The deals of each competitor whose rows and competitor the actor sees."""
    seen = (rows_visible(Opportunity, actor), field_visible(Opportunity, "primary_competitor", actor))
    shown = field_visible(Opportunity, "amount", actor)
    dims = (Opportunity.primary_competitor, Stage.is_closed, Stage.is_won, Opportunity.currency)
    worth = func.sum(Opportunity.amount_minor).filter(shown)
    rows = (
        select(*dims, func.count(), worth).join(Stage, Stage.id == Opportunity.stage_id)
        .where(*seen, Opportunity.primary_competitor.is_not(None)).group_by(*dims).order_by(Opportunity.currency)
    )  # fmt: skip
    by_rival: dict[str, list[tuple[bool, bool, str | None, int, int | None]]] = defaultdict(list)
    for key, *rest in await session.execute(rows):
        by_rival[str(key)].append(tuple(rest))  # type: ignore[arg-type]
    return defaultdict(Deals, {key: _summed(found) for key, found in by_rival.items()})


def _summed(found: Iterable[tuple[bool, bool, str | None, int, int | None]]) -> Deals:
    rows = list(found)
    amounts = [
        Money(int(amount), currency) for closed, _, currency, _, amount in rows if not closed and currency and amount
    ]
    return Deals(
        open=sum(count for closed, _, _, count, _ in rows if not closed), amounts=tuple(amounts),
        won=sum(count for closed, won, _, count, _ in rows if closed and won), lost=sum(count for closed, won, _, count, _ in rows if closed and not won),
    )  # fmt: skip
