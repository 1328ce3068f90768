"""Leads' table: expressions of interest and where each stands."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Channel
from domain.kernel import PERSONAL, Access, InTerritory, Matching, Money, Owned, Record, Role, Sight, found_by


class LeadStatus(StrEnum):
    """Where a lead stands."""

    NEW = "NEW"
    ASSIGNED = "ASSIGNED"
    WORKING = "WORKING"
    NURTURING = "NURTURING"
    QUALIFIED = "QUALIFIED"
    CONVERTED = "CONVERTED"
    DISQUALIFIED = "DISQUALIFIED"


CLOSED = (LeadStatus.CONVERTED, LeadStatus.DISQUALIFIED)


class LeadGrade(StrEnum):
    """How promising a lead is."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"


class DuplicateVerdict(StrEnum):
    """How sure it is that a lead repeats another: the same address is certain, the same name at the same company possible."""

    NONE = "NONE"
    POSSIBLE = "POSSIBLE"
    CERTAIN = "CERTAIN"


LEAD_FIELDS = frozenset({
    "company", "region", "industry", "contact", "channel", "assigned_at", "first_responded_at", "first_response_minutes", "owner", "interest", "budget",
    "grade", "disqualify_reason", "duplicate_verdict", "duplicate_of", "duplicates", "converted_to", "activities", "attachments",
    "custom_fields", "log", "reminded_at", "escalated_at", "interest_shown_at",
})  # fmt: skip


class Lead(Record):
    """One unqualified expression of interest, unique by source and external id; converted, it names what came of it."""

    __tablename__ = "leads"
    __searched__ = found_by("name", company="company", interest="interest")
    __person__ = "contact_id"
    __access__ = Access(
        {
            Role.REP: Sight(
                Owned() | InTerritory(unowned="owner_id") | Matching("owner_id", (None,), Owned("created_by_id")),
                LEAD_FIELDS,
            ),
            Role.MANAGER: Sight(InTerritory() | Owned(), LEAD_FIELDS),
        }
    )

    source: Mapped[str]
    external_id: Mapped[str]
    channel: Mapped[Channel | None]
    name: Mapped[str] = mapped_column(info=PERSONAL)
    company: Mapped[str | None]
    interest: Mapped[str | None] = mapped_column(info=PERSONAL)
    budget_minor: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    industry: Mapped[str | None]
    region: Mapped[str | None]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"), index=True)
    brand_id: Mapped[UUID | None] = mapped_column(ForeignKey("brands.id"))
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"), index=True)
    status: Mapped[LeadStatus]
    grade: Mapped[LeadGrade | None]
    disqualify_reason: Mapped[str | None] = mapped_column(info=PERSONAL)
    captured_at: Mapped[datetime]
    assigned_at: Mapped[datetime | None]
    first_responded_at: Mapped[datetime | None]
    reminded_at: Mapped[datetime | None]
    escalated_at: Mapped[datetime | None]
    interest_shown_at: Mapped[datetime | None]
    last_activity_at: Mapped[datetime]
    converted_at: Mapped[datetime | None]
    converted_account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    # Deals point at leads; a key back would close a circle of tables.
    converted_opportunity_id: Mapped[UUID | None]
    duplicate_verdict: Mapped[DuplicateVerdict]
    duplicate_of_id: Mapped[UUID | None] = mapped_column(ForeignKey("leads.id"), index=True)
    custom: Mapped[dict[str, Any] | None] = mapped_column(info=PERSONAL)
    payload: Mapped[dict[str, Any] | None] = mapped_column(info=PERSONAL)

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_leads_company", "company"),
        Index("ix_leads_captured", "captured_at", "id"),
    )

    @property
    def budget(self) -> Money | None:
        """What may be spent; None while nobody said."""
        return None if self.budget_minor is None or self.currency is None else Money(self.budget_minor, self.currency)
