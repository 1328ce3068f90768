"""Consent's tables and words: purposes, what people said, and the decisions kept as receipts."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Channel
from domain.kernel import PERSONAL, Access, ActorKind, Base, Everyone, Record, Role, Text, Through, sights


class LawfulBasis(StrEnum):
    """Why personal data may be used for a purpose at all."""

    CONSENT = "CONSENT"
    CONTRACT = "CONTRACT"
    LEGAL_OBLIGATION = "LEGAL_OBLIGATION"
    LEGITIMATE_INTEREST = "LEGITIMATE_INTEREST"


class ConsentStatus(StrEnum):
    """What a person said about one purpose on one channel."""

    OPT_IN = "OPT_IN"
    OPT_OUT = "OPT_OUT"
    PENDING = "PENDING"
    EXPIRED = "EXPIRED"
    NOT_ASKED = "NOT_ASKED"


class ConsentDecision(StrEnum):
    """Whether a person may be contacted: on the channel asked for, on another one, or not."""

    ALLOW = "ALLOW"
    ALLOW_VIA = "ALLOW_VIA"
    DENY = "DENY"
    UNKNOWN = "UNKNOWN"


class TrafficLight(StrEnum):
    """A decision at a glance."""

    GREEN = "GREEN"
    AMBER = "AMBER"
    RED = "RED"


KEEPERS = (Role.REP, Role.MANAGER, Role.LEGAL, Role.DPO)
"""The roles that read and record consent."""

_OF_VISIBLE_CONTACTS = Through("contact_id", "Contact")
_GRANT_FIELDS = frozenset({"evidence", "notice_version", "effective_to", "contact"})


class Purpose(Record):
    """One reason for which personal data may be used, with its lawful basis."""

    __tablename__ = "consent_purposes"
    __access__ = Access(sights(tuple(Role), Everyone()))

    code: Mapped[str] = mapped_column(unique=True)
    lawful_basis: Mapped[LawfulBasis]
    label_zh: Mapped[str]
    label_en: Mapped[str]

    @property
    def label(self) -> Text:
        """The label in both languages."""
        return Text(self.label_zh, self.label_en)


class ConsentGrant(Base):
    """What a person said, at an instant, about one purpose on one channel; never changed, only followed by another."""

    __tablename__ = "consent_grants"
    __aggregate__ = ("Contact", "contact_id")
    __person__ = "contact_id"
    __access__ = Access(sights(KEEPERS, _OF_VISIBLE_CONTACTS, _GRANT_FIELDS))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"))
    purpose: Mapped[str] = mapped_column(ForeignKey("consent_purposes.code"))
    channel: Mapped[Channel]
    status: Mapped[ConsentStatus]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    effective_to: Mapped[datetime | None]
    source: Mapped[str]
    evidence: Mapped[str | None] = mapped_column(info=PERSONAL)
    notice_version: Mapped[str | None]
    recorded_by_kind: Mapped[ActorKind]
    recorded_by_id: Mapped[UUID | None]
    client_key: Mapped[str | None]
    input_fingerprint: Mapped[str | None]
    import_batch_id: Mapped[UUID | None]

    __table_args__ = (
        UniqueConstraint("recorded_by_id", "client_key"),
        Index("ix_consent_grants_contact", "contact_id", "purpose"),
    )


class ConsentReceipt(Base):
    """One decision as it was made: what was asked, what was answered, and which grants decided."""

    __tablename__ = "consent_receipts"
    __stays__ = "a receipt says what was decided then, of whom"
    __person__ = "contact_id"
    __access__ = Access(
        sights(KEEPERS, _OF_VISIBLE_CONTACTS, frozenset({"evidence", "contact"})) | sights((Role.AUDITOR,), Everyone())
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"), index=True)
    purpose: Mapped[str] = mapped_column(ForeignKey("consent_purposes.code"))
    channel: Mapped[Channel]
    decision: Mapped[ConsentDecision]
    via: Mapped[Channel | None]
    light: Mapped[TrafficLight]
    reason_zh: Mapped[str]
    reason_en: Mapped[str]
    deciding_grant_ids: Mapped[list[str]]
    evidence: Mapped[str | None] = mapped_column(info=PERSONAL)
    at: Mapped[datetime]

    @property
    def reason(self) -> Text:
        """Why, in both languages."""
        return Text(self.reason_zh, self.reason_en)
