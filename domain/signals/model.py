"""Signals' tables: the facts, the keys under which they were delivered, and what was removed."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import PERSONAL, Access, ActorKind, Base, Owned, Role, Sight, Through, ThroughSubject


class EvidenceGrade(StrEnum):
    """How well a fact is shown."""

    CLAIMED = "CLAIMED"
    SUGGESTED_BY_AI = "SUGGESTED_BY_AI"
    ATTACHED = "ATTACHED"
    VERIFIED = "VERIFIED"
    WAIVED = "WAIVED"


LINKS_OF: dict[str, dict[str, str]] = {
    "Account": {},
    "Contact": {"account_id": "account_id"},
    "Lead": {
        "contact_id": "contact_id", "account_id": "converted_account_id", "opportunity_id": "converted_opportunity_id",
    },
    "Opportunity": {"account_id": "account_id"},
}  # fmt: skip
"""What a signal may be about, with the subject's columns that name the account, the person and the deal behind it."""
SUBJECTS = tuple(LINKS_OF)
SIGNAL_ROWS = (
    ThroughSubject(SUBJECTS) | Through("account_id", "Account", Owned()) | Through("opportunity_id", "Opportunity")
)


class Signal(Base):
    """One fact, true at `occurred_at` and learned at `recorded_at`; its key says whether it is there already.

    PostgreSQL keeps them by the month of `occurred_at`, which is part of the primary key there.
    """

    __tablename__ = "signals"
    __person__ = "contact_id"
    __access__ = Access(
        {role: Sight(SIGNAL_ROWS, frozenset({"payload", "about", "actor"})) for role in (Role.REP, Role.MANAGER)}
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    type: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"))
    opportunity_id: Mapped[UUID | None]
    actor_kind: Mapped[ActorKind]
    actor_id: Mapped[UUID | None]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    source: Mapped[str]
    dedupe_key: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(info=PERSONAL)
    evidence_grade: Mapped[EvidenceGrade]
    consent_receipt_id: Mapped[UUID | None] = mapped_column(ForeignKey("consent_receipts.id"))
    import_batch_id: Mapped[UUID | None]

    __table_args__ = (
        Index("ix_signals_subject", "subject_id", "occurred_at", "id"),
        Index("ix_signals_account", "account_id", "occurred_at", "id"),
        Index("ix_signals_opportunity", "opportunity_id", "occurred_at", "id"),
    )


class SignalKey(Base):
    """That a source has delivered a fact under a key, and which signal it became: for all months one."""

    __tablename__ = "signal_keys"
    __unledgered__ = "it is written and removed with its signal, whose note says all of it"

    source: Mapped[str] = mapped_column(primary_key=True)
    dedupe_key: Mapped[str] = mapped_column(primary_key=True)
    signal_id: Mapped[UUID]
    occurred_at: Mapped[datetime] = mapped_column(index=True)


class MonthRemoval(Base):
    """Signals of one month that were removed together; the event about it holds their digest, keyed by the salt."""

    __tablename__ = "signal_month_removals"
    __unledgered__ = "it is written together with the event about it, and the salt must stay out of that"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    month: Mapped[str]
    """Year and month in UTC, such as 2026-11."""
    removed_at: Mapped[datetime]
    row_count: Mapped[int]
    salt: Mapped[bytes]
