"""Deals' operations."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain.accounts import Account, BuyingRole, Contact
from domain.deals.model import (
    Competitor,
    ForecastCategory,
    Opportunity,
    OpportunityContactRole,
    Pipeline,
    Stage,
    StageTransition,
    Stance,
)
from domain.kernel import Base, Invalid, Money, Text, UnitOfWork, load


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage as a pipeline is set up with it."""

    key: str
    label: Text
    is_closed: bool = False
    is_won: bool = False
    expected_days: int | None = None
    category: ForecastCategory = ForecastCategory.PIPELINE


async def ensure_pipeline(uow: UnitOfWork, key: str, label: Text, stages: Iterable[StagePlan]) -> dict[str, Stage]:
    """The stages by key of the pipeline that has the key, which is set up first if it is not there."""
    await uow.wait_turn(f"pipeline\0{key}")
    pipeline = (await uow.session.execute(select(Pipeline).where(Pipeline.key == key))).scalar_one_or_none()
    if pipeline is None:
        pipeline = Pipeline(id=uow.new_id(), key=key, label_zh=label.zh, label_en=label.en)
        uow.session.add(pipeline)
        await uow.session.flush()
        for position, plan in enumerate(stages):
            uow.session.add(Stage(
                id=uow.new_id(), pipeline_id=pipeline.id, key=plan.key, label_zh=plan.label.zh, label_en=plan.label.en, position=position,
                is_closed=plan.is_closed, is_won=plan.is_won, expected_days=plan.expected_days, default_forecast_category=plan.category,
            ))  # fmt: skip
        uow.note("pipeline.set_up", pipeline)
        await uow.session.flush()
    found = await uow.session.execute(select(Stage).where(Stage.pipeline_id == pipeline.id).order_by(Stage.position))
    return {stage.key: stage for stage in found.scalars()}


async def ensure_competitor(uow: UnitOfWork, key: str, label: Text) -> Competitor:
    """The competitor that has the key, added first if it is not there."""
    competitor = (await uow.session.execute(select(Competitor).where(Competitor.key == key))).scalar_one_or_none()
    if competitor is None:
        competitor = Competitor(id=uow.new_id(), key=key, label_zh=label.zh, label_en=label.en)
        uow.session.add(competitor)
        uow.note("competitor.added", competitor)
        await uow.session.flush()
    return competitor


async def open_opportunity(
    uow: UnitOfWork, *, name: str, stage: Stage, account_id: UUID | None = None, amount: Money | None = None, close_date: date | None = None,
    owner_id: UUID | None = None, opened_at: datetime | None = None, primary_competitor: str | None = None, lead_id: UUID | None = None,
) -> Opportunity:  # fmt: skip
    """Open a deal in a stage, in its account's territory."""
    if not name.strip():
        raise Invalid(Text("商机名称不能为空", "an opportunity needs a name"), ("name",))
    account = await load(uow.session, uow.actor, Account, account_id, path=("accountId",)) if account_id else None
    entered = opened_at or uow.now
    opportunity = Opportunity(
        id=uow.new_id(), name=name.strip(), account_id=account_id, pipeline_id=stage.pipeline_id, stage_id=stage.id,
        amount_minor=amount.amount_minor if amount else None, currency=amount.currency if amount else None, close_date=close_date,
        owner_id=owner_id or (account.owner_id if account else None), territory_id=account.territory_id if account else None, lead_id=lead_id,
        primary_competitor=primary_competitor, forecast_category=stage.default_forecast_category, opened_at=entered, stage_entered_at=entered,
        closed_at=entered if stage.is_closed else None,
    )  # fmt: skip
    uow.session.add(opportunity)
    uow.session.add(
        StageTransition(id=uow.new_id(), opportunity_id=opportunity.id, to_stage_id=stage.id, entered_at=entered)
    )
    uow.note("opportunity.opened", opportunity, {"stage": stage.key})
    await uow.session.flush()
    return opportunity


async def move_opportunity(
    uow: UnitOfWork,
    opportunity: Opportunity,
    stage: Stage,
    *,
    at: datetime | None = None,
    loss_reason: str | None = None,
) -> None:
    """Move a deal into another stage of its pipeline and keep the stay in the one it leaves.

    Raises Invalid for a stage of another pipeline, or an instant before the deal entered the stage that it leaves.
    """
    if stage.pipeline_id != opportunity.pipeline_id:
        raise Invalid(Text("目标阶段不属于该商机的销售漏斗", "the stage belongs to another pipeline"), ("stageId",))
    if stage.id == opportunity.stage_id:
        return
    moment = at or uow.now
    if moment < opportunity.stage_entered_at:
        raise Invalid(
            Text("换阶段的时间早于进入当前阶段的时间", "the deal would leave its stage before it entered it"), ("at",)
        )
    staying = (StageTransition.opportunity_id == opportunity.id) & StageTransition.left_at.is_(None)
    for stay in (await uow.session.execute(select(StageTransition).where(staying))).scalars():
        stay.left_at = moment
    uow.session.add(
        StageTransition(
            id=uow.new_id(),
            opportunity_id=opportunity.id,
            from_stage_id=opportunity.stage_id,
            to_stage_id=stage.id,
            entered_at=moment,
        )
    )
    opportunity.stage_id, opportunity.stage_entered_at = stage.id, moment
    opportunity.forecast_category = stage.default_forecast_category
    opportunity.closed_at = moment if stage.is_closed else None
    opportunity.loss_reason = loss_reason
    uow.note("opportunity.moved", opportunity, {"stage": stage.key})
    await uow.session.flush()


@dataclass(frozen=True, slots=True)
class ImportedDeal:
    """One deal as another system exports it; `worked_in` is the stage of a closed deal before it closed, if known."""

    external_id: str
    name: str
    account_id: UUID | None
    owner_id: UUID | None
    territory_id: UUID | None
    stage: Stage
    worked_in: Stage | None
    amount: Money | None
    opened_at: datetime
    closed_at: datetime | None
    close_date: date | None


def imported_rows(
    uow: UnitOfWork, source: str, deals: Iterable[tuple[UUID, ImportedDeal]]
) -> dict[type[Base], list[dict[str, Any]]]:
    """The rows of deals with given ids, each with its stays in stages as far as the export tells of them."""
    opportunities, stays = [], []
    for id, deal in deals:
        opportunities.append({
            "id": id, "name": deal.name, "account_id": deal.account_id, "pipeline_id": deal.stage.pipeline_id, "stage_id": deal.stage.id,
            "amount_minor": deal.amount.amount_minor if deal.amount else None, "currency": deal.amount.currency if deal.amount else None,
            "close_date": deal.close_date, "owner_id": deal.owner_id, "territory_id": deal.territory_id,
            "forecast_category": deal.stage.default_forecast_category, "opened_at": deal.opened_at,
            "stage_entered_at": deal.closed_at or deal.opened_at, "closed_at": deal.closed_at, "source": source, "external_id": deal.external_id,
        })  # fmt: skip
        stays += [{"id": uow.new_id(), "opportunity_id": id} | stay for stay in _stays(deal)]
    return {Opportunity: opportunities, StageTransition: stays}


def _stays(deal: ImportedDeal) -> list[dict[str, Any]]:
    last = {"from_stage_id": None, "to_stage_id": deal.stage.id, "entered_at": deal.opened_at, "left_at": None}
    if deal.closed_at is None:
        return [last]
    if deal.worked_in is None:
        return [last | {"entered_at": deal.closed_at}]
    worked = last | {"to_stage_id": deal.worked_in.id, "left_at": deal.closed_at}
    return [worked, last | {"from_stage_id": deal.worked_in.id, "entered_at": deal.closed_at}]


async def set_contact_role(
    uow: UnitOfWork,
    opportunity: Opportunity,
    contact: Contact,
    role: BuyingRole,
    *,
    stance: Stance = Stance.UNKNOWN,
    covered_at: datetime | None = None,
) -> OpportunityContactRole:
    """Seat a person in a deal's buying committee, or change how they stand and whether we have spoken."""
    same = (
        (OpportunityContactRole.opportunity_id == opportunity.id)
        & (OpportunityContactRole.contact_id == contact.id)
        & (OpportunityContactRole.role == role)
    )
    seat = (await uow.session.execute(select(OpportunityContactRole).where(same))).scalar_one_or_none()
    if seat is None:
        seat = OpportunityContactRole(
            id=uow.new_id(),
            opportunity_id=opportunity.id,
            contact_id=contact.id,
            role=role,
            stance=stance,
            covered_at=covered_at,
        )
        uow.session.add(seat)
    else:
        seat.stance, seat.covered_at = stance, covered_at or seat.covered_at
    uow.note("opportunity.contact_role_set", opportunity, {"role": role.value})
    await uow.session.flush()
    return seat
