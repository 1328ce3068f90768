"""Past-tense facts that rooms tell upwards, kept in the outbox of the same commit."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.orm import Base


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened; subclasses live in the room that emits them."""

    kind: ClassVar[str]

    def body(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {key: value.hex if isinstance(value, UUID) else value for key, value in asdict(self).items()}


class OutboxEvent(Base):
    """One emitted event until, and after, somebody handled it."""

    __tablename__ = "outbox_events"
    __unledgered__ = "hand-over state; the change that emitted it has its own note"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]
    emitted_at: Mapped[datetime]
    handled_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_outbox_events_waiting", "handled_at", "id"),)
