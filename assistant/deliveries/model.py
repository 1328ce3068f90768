"""The tables of what leaves: each released text on its way, and what came back on it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Channel
from domain.kernel import PERSONAL, Access, Base, Everyone, Owned, Record, Role, Sight, Through


class DeliveryRoute(StrEnum):
    """How a text leaves."""

    COPY = "COPY"
    EMAIL = "EMAIL"
    WEBHOOK = "WEBHOOK"
    WECOM = "WECOM"
    DINGTALK = "DINGTALK"
    FEISHU = "FEISHU"


class DeliveryState(StrEnum):
    """How far a text has come."""

    WAITING = "WAITING"
    SENDING = "SENDING"
    SENT = "SENT"
    UNCERTAIN = "UNCERTAIN"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    RECALLED = "RECALLED"


class ReplyOutcome(StrEnum):
    """What a customer made of a text."""

    REPLIED = "REPLIED"
    DECLINED = "DECLINED"
    COMPLAINED = "COMPLAINED"
    UNREACHABLE = "UNREACHABLE"


SENDERS = (Role.REP, Role.MANAGER)
DELIVERY_FIELDS = frozenset({
    "generation", "contact", "channel", "endpoint", "due_at", "ended_at", "problem", "provider_id", "consent_receipt", "requested_by", "replies",
})  # fmt: skip
_OF_ANSWERS = Through("generation_id", "Generation")


class Delivery(Record):
    """One released text on its way to one person, or to colleagues where it addresses no customer."""

    __tablename__ = "deliveries"
    __stays__ = "a delivery says to whom a text went"
    __person__ = "contact_id"
    __access__ = Access(
        {
            Role.REP: Sight(Owned("requested_by_id"), DELIVERY_FIELDS),
            Role.MANAGER: Sight(_OF_ANSWERS, DELIVERY_FIELDS),
            Role.LEGAL: Sight(_OF_ANSWERS, DELIVERY_FIELDS),
            Role.AUDITOR: Sight(Everyone(), DELIVERY_FIELDS),
        }
    )

    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"), index=True)
    route: Mapped[DeliveryRoute]
    endpoint: Mapped[str | None]
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"), index=True)
    channel: Mapped[Channel | None]
    address: Mapped[str | None] = mapped_column(info=PERSONAL)
    words: Mapped[str] = mapped_column(info=PERSONAL)
    content_digest: Mapped[str]
    requested_by_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    requested_at: Mapped[datetime]
    state: Mapped[DeliveryState]
    attempts: Mapped[int]
    due_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    consent_receipt_id: Mapped[UUID | None] = mapped_column(ForeignKey("consent_receipts.id"))
    provider_id: Mapped[str | None]
    problem: Mapped[str | None]

    __table_args__ = (
        Index("ix_deliveries_due", "state", "due_at"),
        Index("ix_deliveries_requested", "requested_at", "id"),
    )


class DeliveryReply(Base):
    """What came back on a text: what the customer made of it, and in which words."""

    __tablename__ = "delivery_replies"
    __stays__ = "a reply belongs to what was sent"
    __aggregate__ = ("Delivery", "delivery_id")
    __person__ = "contact_id"
    __access__ = Access(
        {
            role: Sight(Through("delivery_id", "Delivery"), frozenset({"words"}))
            for role in (Role.REP, Role.MANAGER, Role.LEGAL, Role.AUDITOR)
        }
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id"), index=True)
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"), index=True)
    outcome: Mapped[ReplyOutcome]
    words: Mapped[str | None] = mapped_column(info=PERSONAL)
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    recorded_by_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
