"""Leads that wait for a first reply: their owner is reminded, then their managers are told."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from sqlalchemy import select

from domain.kernel import Event, UnitOfWork
from domain.leads.model import CLOSED, Lead


class Overdue(StrEnum):
    """How far a lead has come that nobody answers."""

    REMINDED = "REMINDED"
    ESCALATED = "ESCALATED"


@dataclass(frozen=True, slots=True)
class LeadWaits(Event):
    """A lead waits for a first reply from an instant on: since it came in, or since its owner has it."""

    kind: ClassVar[str] = "lead.waits"
    lead_id: UUID
    since: str
    """ISO 8601."""


def waits_since(lead: Lead) -> datetime | None:
    """Since when a lead waits for a first reply; None for one that was answered or is closed."""
    if lead.first_responded_at is not None or lead.status in CLOSED:
        return None
    return lead.assigned_at or lead.captured_at


def begin_waiting(uow: UnitOfWork, lead: Lead) -> None:
    """Have a lead that came in or changed hands wait anew."""
    lead.reminded_at = lead.escalated_at = None
    since = waits_since(lead)
    if since is not None:
        uow.emit(LeadWaits(lead.id, since.isoformat()))


async def tell_overdue(uow: UnitOfWork, id: UUID, *, since: datetime, step: Overdue) -> bool:
    """Mark a lead that has waited since then as overdue; whether it still did, and was not marked before."""
    lead = (await uow.session.execute(select(Lead).where(Lead.id == id).with_for_update())).scalar_one_or_none()
    if lead is None or waits_since(lead) != since:
        return False
    told = lead.reminded_at if step is Overdue.REMINDED else lead.escalated_at
    if told is not None:
        return False
    if step is Overdue.REMINDED:
        lead.reminded_at = uow.now
    else:
        lead.escalated_at = uow.now
    uow.note("lead.reminded" if step is Overdue.REMINDED else "lead.escalated", lead, {"since": since.isoformat()})
    await uow.session.flush()
    return True
