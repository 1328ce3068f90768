"""Work items' tables: what is owed, by whom, until when, and what became of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ColumnElement, ForeignKey, Index, String, case, literal_column
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import PERSONAL, Access, Base, Everyone, InTerritory, Matching, Owned, Record, Role, Sight


class WorkKind(StrEnum):
    """What kind of duty it is."""

    TASK = "TASK"
    APPROVAL = "APPROVAL"
    REVIEW = "REVIEW"
    GATE = "GATE"
    IMPROVEMENT = "IMPROVEMENT"
    COACHING = "COACHING"


class WorkState(StrEnum):
    """Where a duty stands: open, or at one of its three ends."""

    OPEN = "OPEN"
    DONE = "DONE"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"


class WorkDecision(StrEnum):
    """How a duty was decided."""

    ACCEPTED = "ACCEPTED"
    CHANGED = "CHANGED"
    REJECTED = "REJECTED"


FOUR_EYES = (WorkKind.APPROVAL, WorkKind.REVIEW, WorkKind.GATE)
"""The kinds that whoever asked for them does not decide."""
SUBJECTS = ("Account", "Contact", "Lead", "Opportunity")
"""The records for which colleagues open work items by hand."""
WORK_FIELDS = frozenset({
    "reason", "subject", "owner", "queue", "opened_by", "acceptance", "evidence", "content_digest", "decided_at", "decision", "decided_by", "decision_reason", "delegated_at", "delegated_by",
    "escalated_at", "escalated_to", "escalation_reason", "cancelled_at", "cancelled_by", "cancel_reason",
})  # fmt: skip
_OWN = Owned("owner_id") | Owned("opened_by_id")


PLACED = (Role.REP, Role.MANAGER)
"""The roles that are held in territories: their queues are, too."""


def _sights() -> dict[Role, Sight]:
    """Everybody sees what they owe, what they asked for and what waits for their role; managers and executives more."""
    more: dict[Role, Any] = {
        Role.MANAGER: InTerritory(),
        Role.EXECUTIVE: Matching("escalated_to", (Role.EXECUTIVE,)),
        Role.AUDITOR: Everyone(),
    }
    found = {}
    for role in Role:
        queued = Matching("queue", (role,), InTerritory()) if role in PLACED else Matching("queue", (role,))
        rows = _OWN | queued
        found[role] = Sight(rows | more[role] if role in more else rows, WORK_FIELDS)
    return found


def _word(word: StrEnum) -> ColumnElement[str]:
    # Written out: rows can be grouped by the state, which no parameter allows.
    return literal_column(f"'{word.value}'", String())


def state_of(columns: Any) -> ColumnElement[str]:
    """The SQL expression of a work item's state over its columns, a table's or the class's own."""
    return case(
        (columns.cancelled_at.is_not(None), _word(WorkState.CANCELLED)),
        (columns.decided_at.is_(None), _word(WorkState.OPEN)),
        (columns.decision == _word(WorkDecision.REJECTED), _word(WorkState.REJECTED)),
        else_=_word(WorkState.DONE),
    )


class WorkItem(Record):
    """One duty: somebody, or whoever serves a role's queue, owes something about a record by a time."""

    __tablename__ = "work_items"
    __access__ = Access(_sights())

    kind: Mapped[WorkKind]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"), index=True)
    title_zh: Mapped[str] = mapped_column(info=PERSONAL)
    title_en: Mapped[str] = mapped_column(info=PERSONAL)
    reason_zh: Mapped[str | None] = mapped_column(info=PERSONAL)
    reason_en: Mapped[str | None] = mapped_column(info=PERSONAL)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    queue: Mapped[Role | None]
    opened_at: Mapped[datetime]
    opened_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    due_at: Mapped[datetime]
    escalates_at: Mapped[datetime | None]
    """When an open item moves up by itself; None at the top."""
    acceptance: Mapped[list[str] | None] = mapped_column(info=PERSONAL)
    evidence: Mapped[list[Any] | None] = mapped_column(info=PERSONAL)
    content_digest: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None]
    decided_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    decision: Mapped[WorkDecision | None]
    decision_reason: Mapped[str | None] = mapped_column(info=PERSONAL)
    delegated_at: Mapped[datetime | None]
    delegated_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    escalated_at: Mapped[datetime | None]
    escalated_to: Mapped[Role | None]
    escalation_reason: Mapped[str | None] = mapped_column(info=PERSONAL)
    cancelled_at: Mapped[datetime | None]
    cancelled_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    cancel_reason: Mapped[str | None] = mapped_column(info=PERSONAL)

    __table_args__ = (
        CheckConstraint("owner_id IS NOT NULL OR queue IS NOT NULL", name="somebody_owes"),
        CheckConstraint("decided_at IS NULL OR cancelled_at IS NULL", name="one_end"),
        CheckConstraint("(decided_at IS NULL) = (decision IS NULL)", name="decided_how"),
        Index("ix_work_items_due", "due_at", "id"),
        Index("ix_work_items_escalates", "escalates_at"),
        Index("ix_work_items_owner", "owner_id", "due_at", "id"),
        Index("ix_work_items_queue", "queue", "due_at", "id"),
        Index("ix_work_items_subject", "subject_id"),
    )

    @hybrid_property
    def state(self) -> WorkState:
        """Where it stands, by what has happened to it."""
        if self.cancelled_at is not None:
            return WorkState.CANCELLED
        if self.decided_at is None:
            return WorkState.OPEN
        return WorkState.REJECTED if self.decision is WorkDecision.REJECTED else WorkState.DONE

    @state.inplace.expression
    @classmethod
    def _state_expression(cls) -> ColumnElement[str]:
        return state_of(cls)


class WorkItemPerson(Base):
    """One person of whom a work item speaks: under whose key its words enter the ledger, and with whom they go."""

    __tablename__ = "work_item_persons"
    __unledgered__ = "tells which keys seal the work item's events, each of which shows it by its keys"
    __stays__ = "the work item's events are sealed under the keys of those whom it named"
    __person__ = "contact_id"
    __erases__ = ("WorkItem", "work_item_id")

    work_item_id: Mapped[UUID] = mapped_column(ForeignKey("work_items.id"), primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"), primary_key=True, index=True)
