"""Qualified deals: pipelines of stages, opportunities that move through them, and the people who decide."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Account, BuyingRole, Contact
from domain.kernel import (
    Access,
    Base,
    Everyone,
    InTerritory,
    Invalid,
    Member,
    Money,
    Owned,
    Record,
    Role,
    Sight,
    Text,
    Through,
    UnitOfWork,
    load,
    sights,
)
from domain.leads import Lead


class ForecastCategory(StrEnum):
    """How sure a deal counts in the forecast."""

    PIPELINE = "PIPELINE"
    BEST_CASE = "BEST_CASE"
    MOST_LIKELY = "MOST_LIKELY"
    COMMIT = "COMMIT"
    CLOSED = "CLOSED"
    OMITTED = "OMITTED"


class Stance(StrEnum):
    """How a person stands towards the deal."""

    SUPPORTS = "SUPPORTS"
    NEUTRAL = "NEUTRAL"
    OPPOSES = "OPPOSES"
    UNKNOWN = "UNKNOWN"


class Pipeline(Record):
    """An ordered set of stages for one kind of business."""

    __tablename__ = "pipelines"
    __access__ = Access(sights(tuple(Role), Everyone(), frozenset({"stages"})))

    key: Mapped[str] = mapped_column(unique=True)
    label_zh: Mapped[str]
    label_en: Mapped[str]


class Stage(Record):
    """One step of a pipeline."""

    __tablename__ = "stages"
    __aggregate__ = ("Pipeline", "pipeline_id")
    __access__ = Access(sights(tuple(Role), Everyone()))

    pipeline_id: Mapped[UUID] = mapped_column(ForeignKey("pipelines.id"))
    key: Mapped[str]
    label_zh: Mapped[str]
    label_en: Mapped[str]
    position: Mapped[int]
    is_closed: Mapped[bool]
    is_won: Mapped[bool]
    expected_days: Mapped[int | None]
    default_forecast_category: Mapped[ForecastCategory]

    __table_args__ = (UniqueConstraint("pipeline_id", "key"),)


class Competitor(Record):
    """A company that sells against us; knowledge names it by the same key."""

    __tablename__ = "competitors"
    __access__ = Access(sights(tuple(Role), Everyone()))

    key: Mapped[str] = mapped_column(unique=True)
    label_zh: Mapped[str]
    label_en: Mapped[str]


OPPORTUNITY_FIELDS = frozenset(
    {
        "amount",
        "close_date",
        "account",
        "owner",
        "activities",
        "primary_competitor",
        "contact_roles",
        "quotes",
        "transitions",
    }
)


class Opportunity(Record):
    """One qualified potential deal with an amount and a date."""

    __tablename__ = "opportunities"
    __access__ = Access(
        {
            Role.REP: Sight(Owned() | Through("account_id", "Account", Owned()), OPPORTUNITY_FIELDS),
            Role.MANAGER: Sight(InTerritory(), OPPORTUNITY_FIELDS),
            Role.CSM: Sight(
                Through("account_id", "Account", Member("AccountTeamMember", "account_id")),
                OPPORTUNITY_FIELDS - {"activities"},
            ),
            Role.SALES_OPS: Sight(Everyone(), OPPORTUNITY_FIELDS - {"activities"}),
            Role.FINANCE: Sight(Everyone(), frozenset({"amount", "account", "quotes"})),
        },
        totals={Role.EXECUTIVE: Everyone()},
    )

    name: Mapped[str]
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    pipeline_id: Mapped[UUID] = mapped_column(ForeignKey("pipelines.id"))
    stage_id: Mapped[UUID] = mapped_column(ForeignKey("stages.id"))
    amount_minor: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    close_date: Mapped[date | None]
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"), index=True)
    lead_id: Mapped[UUID | None] = mapped_column(ForeignKey(Lead.id))
    primary_competitor: Mapped[str | None]
    loss_reason: Mapped[str | None]
    forecast_category: Mapped[ForecastCategory]
    opened_at: Mapped[datetime]
    stage_entered_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_opportunities_stage_owner", "stage_id", "owner_id", "amount_minor"),
        Index("ix_opportunities_owner", "owner_id", "stage_id"),
    )

    @property
    def amount(self) -> Money | None:
        """The amount as money; None while nobody put one in."""
        return None if self.amount_minor is None or self.currency is None else Money(self.amount_minor, self.currency)


class StageTransition(Base):
    """One stay of an opportunity in a stage."""

    __tablename__ = "stage_transitions"
    __aggregate__ = ("Opportunity", "opportunity_id")
    __access__ = Access(
        {
            role: Sight(Through("opportunity_id", "Opportunity"))
            for role in (Role.REP, Role.MANAGER, Role.CSM, Role.SALES_OPS)
        }
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    opportunity_id: Mapped[UUID] = mapped_column(ForeignKey("opportunities.id"))
    from_stage_id: Mapped[UUID | None] = mapped_column(ForeignKey("stages.id"))
    to_stage_id: Mapped[UUID] = mapped_column(ForeignKey("stages.id"))
    entered_at: Mapped[datetime]
    left_at: Mapped[datetime | None]
    import_batch_id: Mapped[UUID | None]

    __table_args__ = (Index("ix_stage_transitions_opportunity", "opportunity_id", "entered_at"),)


class OpportunityContactRole(Record):
    """One member of the buying committee: what they decide here, how they stand, and since when we have their ear."""

    __tablename__ = "opportunity_contact_roles"
    __aggregate__ = ("Opportunity", "opportunity_id")
    __access__ = Access(
        {
            role: Sight(Through("opportunity_id", "Opportunity"), frozenset({"contact", "covered_at"}))
            for role in (Role.REP, Role.MANAGER, Role.CSM, Role.SALES_OPS)
        }
    )

    opportunity_id: Mapped[UUID] = mapped_column(ForeignKey("opportunities.id"))
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"), index=True)
    role: Mapped[BuyingRole]
    stance: Mapped[Stance]
    covered_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("opportunity_id", "contact_id", "role"),)


NEEDED_ROLES = (
    BuyingRole.ECONOMIC_BUYER,
    BuyingRole.DECISION_MAKER,
    BuyingRole.TECHNICAL_EVALUATOR,
    BuyingRole.PURCHASING,
    BuyingRole.FINANCE,
)
"""The roles that a deal needs to have spoken to: the three parties of FEATURES P11 (purchasing, technical, finance) and who decides and pays."""


@dataclass(frozen=True, slots=True)
class CommitteeSeat:
    """One known member of a buying committee, as far as coverage is concerned."""

    role: BuyingRole
    covered: bool


@dataclass(frozen=True, slots=True)
class CommitteeCoverage:
    """Which needed roles are covered, known but not spoken to, and unknown."""

    covered: tuple[BuyingRole, ...]
    uncovered: tuple[BuyingRole, ...]
    unknown: tuple[BuyingRole, ...]

    @property
    def percent(self) -> int:
        """Covered needed roles over needed roles, 0–100, rounded half up."""
        needed = len(self.covered) + len(self.uncovered) + len(self.unknown)
        return (200 * len(self.covered) + needed) // (2 * needed) if needed else 0


def committee_coverage(seats: Iterable[CommitteeSeat]) -> CommitteeCoverage:
    """The share of needed roles that somebody has spoken to."""
    known = {seat.role for seat in seats}
    spoken = {seat.role for seat in seats if seat.covered}
    return CommitteeCoverage(
        covered=tuple(role for role in NEEDED_ROLES if role in spoken),
        uncovered=tuple(role for role in NEEDED_ROLES if role in known - spoken),
        unknown=tuple(role for role in NEEDED_ROLES if role not in known),
    )


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
