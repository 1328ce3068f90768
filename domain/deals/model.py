"""Deals' tables: pipelines of stages, opportunities with their stays, and the people who decide."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import BuyingRole
from domain.kernel import (
    Access,
    Base,
    Everyone,
    InTerritory,
    Member,
    Money,
    Owned,
    Record,
    Role,
    Sight,
    Through,
    found_by,
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


SELLERS = (Role.REP, Role.MANAGER)
"""Who works on deals."""


class Influence(StrEnum):
    """How much a person's word counts in the decision."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class Pipeline(Record):
    """An ordered set of stages for one kind of business, everywhere or in one territory."""

    __tablename__ = "pipelines"
    __access__ = Access(sights(tuple(Role), Everyone(), frozenset({"stages", "region"})))

    key: Mapped[str] = mapped_column(unique=True)
    label_zh: Mapped[str]
    label_en: Mapped[str]
    region: Mapped[str | None]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"))


class Stage(Record):
    """One step of a pipeline; no deal enters it once it is retired."""

    __tablename__ = "stages"
    __aggregate__ = ("Pipeline", "pipeline_id")
    __access__ = Access(sights(tuple(Role), Everyone(), frozenset({"expected_days", "retired_at"})))

    pipeline_id: Mapped[UUID] = mapped_column(ForeignKey("pipelines.id"))
    key: Mapped[str]
    label_zh: Mapped[str]
    label_en: Mapped[str]
    position: Mapped[int]
    is_closed: Mapped[bool]
    is_won: Mapped[bool]
    expected_days: Mapped[int | None]
    default_forecast_category: Mapped[ForecastCategory]
    retired_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("pipeline_id", "key"),)

    @property
    def is_lost(self) -> bool:
        """Whether deals that end here are lost."""
        return self.is_closed and not self.is_won


class Competitor(Record):
    """A company that sells against us; knowledge names it by the same key."""

    __tablename__ = "competitors"
    __access__ = Access(sights(tuple(Role), Everyone()))

    key: Mapped[str] = mapped_column(unique=True)
    label_zh: Mapped[str]
    label_en: Mapped[str]


OPPORTUNITY_FIELDS = frozenset({
    "amount", "close_date", "account", "owner", "activities", "primary_competitor", "contact_roles", "committee_coverage", "quotes", "orders", "payments", "attachments", "transitions",
    "forecast_category", "declared_probability", "next_step", "loss_reason", "closed_at", "lead", "custom_fields", "log",
})  # fmt: skip


class Opportunity(Record):
    """One qualified potential deal with an amount and a date."""

    __tablename__ = "opportunities"
    __beyond__ = frozenset({"stage_id", "currency", "amount_minor"})
    __searched__ = found_by("name")
    __access__ = Access(
        {
            Role.REP: Sight(Owned() | Through("account_id", "Account", Owned()), OPPORTUNITY_FIELDS),
            Role.MANAGER: Sight(InTerritory(), OPPORTUNITY_FIELDS),
            Role.CSM: Sight(
                Through("account_id", "Account", Member("AccountTeamMember", "account_id")),
                OPPORTUNITY_FIELDS - {"activities"},
            ),
            Role.SALES_OPS: Sight(Everyone(), OPPORTUNITY_FIELDS - {"activities"}),
            Role.FINANCE: Sight(Everyone(), frozenset({"amount", "account", "quotes", "orders", "payments"})),
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
    lead_id: Mapped[UUID | None] = mapped_column(ForeignKey(Lead.id), index=True)
    primary_competitor: Mapped[str | None]
    loss_reason: Mapped[str | None]
    forecast_category: Mapped[ForecastCategory]
    declared_probability: Mapped[int | None]
    next_step: Mapped[str | None]
    opened_at: Mapped[datetime]
    stage_entered_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    custom: Mapped[dict[str, Any] | None]
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_opportunities_stage_owner", "stage_id", "owner_id", "amount_minor"),
        Index("ix_opportunities_owner", "owner_id", "stage_id"),
        Index("ix_opportunities_created", "created_at", "id"),
        Index("ix_opportunities_close", "close_date", "id"),
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
            role: Sight(Through("opportunity_id", "Opportunity"), frozenset({"from_stage", "left_at"}))
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
            role: Sight(Through("opportunity_id", "Opportunity"), frozenset({"contact", "influence", "covered_at"}))
            for role in (Role.REP, Role.MANAGER, Role.CSM, Role.SALES_OPS)
        }
    )

    opportunity_id: Mapped[UUID] = mapped_column(ForeignKey("opportunities.id"))
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"), index=True)
    role: Mapped[BuyingRole]
    stance: Mapped[Stance]
    influence: Mapped[Influence | None]
    covered_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("opportunity_id", "contact_id", "role"),)
