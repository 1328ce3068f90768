"""The near-real-time view: figures of the whole business, computed from the records every two hours and kept."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, func, literal, select, update
from sqlalchemy.orm import Mapped, mapped_column

from domain.deals import Opportunity, Stage
from domain.kernel import SYSTEM, Access, Base, Database, Everyone, InTerritory, Role, Sight, UnitOfWork, sights
from domain.leads import CLOSED, Lead

EVERY = timedelta(hours=2)
"""How often the figures are computed anew."""


class Measure(StrEnum):
    """What a figure counts."""

    OPEN_DEALS = "OPEN_DEALS"
    DEALS_WON = "DEALS_WON"
    DEALS_LOST = "DEALS_LOST"
    LEADS_CAPTURED = "LEADS_CAPTURED"
    LEADS_WAITING = "LEADS_WAITING"
    LEADS_OVERDUE = "LEADS_OVERDUE"


_FIELDS = frozenset({"territory", "stage", "amount", "window_from"})


class MeasureSnapshot(Base):
    """One figure as it was at one instant: how many records of a territory, stage and currency, and what they are worth."""

    __tablename__ = "measure_snapshots"
    __unledgered__ = "computed from records, each of which has its own notes"
    __access__ = Access(
        {Role.MANAGER: Sight(InTerritory(), _FIELDS)}
        | sights((Role.EXECUTIVE, Role.SALES_OPS, Role.FINANCE), Everyone(), _FIELDS)
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    taken_at: Mapped[datetime]
    is_current: Mapped[bool]
    measure: Mapped[Measure]
    window_from: Mapped[datetime | None]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"))
    stage_id: Mapped[UUID | None] = mapped_column(ForeignKey("stages.id"))
    currency: Mapped[str | None] = mapped_column(String(3))
    count: Mapped[int]
    amount_minor: Mapped[int | None]

    __table_args__ = (
        Index("ix_measure_snapshots_current", "is_current", "measure", "id"),
        Index("ix_measure_snapshots_taken", "measure", "taken_at", "id"),
    )


async def refresh(database: Database) -> int:
    """Compute every figure anew and keep the earlier ones; how many figures there are.

    Whoever comes twice within a quarter of the interval finds it done. The month to date is that of UTC.
    """
    async with database.open_uow(SYSTEM) as uow:
        await uow.wait_turn("measures")
        last = await uow.session.scalar(select(func.max(MeasureSnapshot.taken_at)))
        if last is not None and uow.now - last < EVERY / 4:
            return 0
        figures = [figure async for figure in _figures(uow)]
        earlier = update(MeasureSnapshot).where(MeasureSnapshot.is_current)
        await uow.session.execute(earlier.values(is_current=False), execution_options={"synchronize_session": False})
        uow.session.add_all(
            MeasureSnapshot(id=uow.new_id(), taken_at=uow.now, is_current=True, **figure) for figure in figures
        )
    return len(figures)


async def _figures(uow: UnitOfWork) -> AsyncIterator[dict[str, Any]]:
    month = uow.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for measure, window_from, asked in _questions(month):
        for row in (await uow.session.execute(asked)).mappings():
            yield {
                "measure": measure,
                "window_from": window_from,
                "stage_id": None,
                "currency": None,
                "amount_minor": None,
                **row,
            }


def _questions(month: datetime) -> Iterator[tuple[Measure, datetime | None, Any]]:
    """Each measure, since when it counts, and the statement that counts."""
    deals = _deals()
    yield Measure.OPEN_DEALS, None, deals.where(~Stage.is_closed)
    yield Measure.DEALS_WON, month, deals.where(Stage.is_won, Opportunity.closed_at >= month)
    yield Measure.DEALS_LOST, month, deals.where(Stage.is_closed, ~Stage.is_won, Opportunity.closed_at >= month)
    leads = select(Lead.territory_id, func.count().label("count")).group_by(Lead.territory_id)
    waiting = leads.where(Lead.status.not_in(CLOSED), Lead.first_responded_at.is_(None))
    yield Measure.LEADS_CAPTURED, month, leads.where(Lead.captured_at >= month)
    yield Measure.LEADS_WAITING, None, waiting
    yield Measure.LEADS_OVERDUE, None, waiting.where(Lead.escalated_at.is_not(None))


def _deals() -> Any:
    """Deals by territory, stage and currency; one without an amount is counted and worth nothing."""
    dims = (Opportunity.territory_id, Opportunity.stage_id, Opportunity.currency)
    worth = func.coalesce(func.sum(Opportunity.amount_minor), literal(0)).label("amount_minor")
    return (
        select(*dims, func.count().label("count"), worth).join(Stage, Stage.id == Opportunity.stage_id).group_by(*dims)
    )
