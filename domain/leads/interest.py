"""Leads whose prospects show interest: what signals say is put on the lead, where its owner sees it at once."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, update

from domain.kernel import Delivery, Ref, UnitOfWork
from domain.leads.model import CLOSED, Lead
from domain.signals import Signal, told_of

BUYING = frozenset({"enquiry_sent", "demo_requested", "document_downloaded", "event_attended"})
"""The types of signals by which a prospect shows interest of their own accord."""


async def evaluate(uow: UnitOfWork, events: Sequence[Delivery]) -> None:
    """Put the newest interest that signals show on each open lead that they are about, and note it where it is news.

    The lead's version stays: nothing that people edit is changed.
    """
    newest: dict[UUID, Signal] = {}
    for signal in await told_of(uow, events):
        if signal.subject_kind == Lead.entity() and signal.type in BUYING:
            newest[signal.subject_id] = signal
    open_ones = select(Lead.id, Lead.interest_shown_at).where(Lead.id.in_(newest), Lead.status.not_in(CLOSED))
    for id, shown_at in (await uow.session.execute(open_ones.order_by(Lead.id).with_for_update())).all():
        if shown_at is None or shown_at < newest[id].occurred_at:
            await _show(uow, id, newest[id])


async def _show(uow: UnitOfWork, id: UUID, signal: Signal) -> None:
    shown = update(Lead).where(Lead.id == id).values(interest_shown_at=signal.occurred_at)
    await uow.session.execute(shown, execution_options={"synchronize_session": False})
    detail = {"type": signal.type, "signal": signal.id.hex, "occurred_at": signal.occurred_at.isoformat()}
    uow.note("lead.interest_shown", Ref(Lead.entity(), id), detail, covers=(Lead,))
