"""The kinds of jobs: what each is called, what begins it, and what it does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import knowledge
from api.outbound import deliver, deliver_due, outbound_of
from api.settings import Settings
from assistant import deliveries, outcomes, pipeline
from domain import commerce, leads, measures, signals, work_items
from domain.kernel import SYSTEM, Database, remove_handled
from domain.kernel.outbox import HandleBatch
from knowledge import likeness, retirement, usage

QUICK = "quick"
"""The queue of what is done in a moment."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What jobs work with."""

    database: Database
    settings: Settings


Body = Mapping[str, Any]
Delay = Callable[[Settings], timedelta]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job. Its work may be done twice, after a crash, and comes to the same."""

    name: str
    """One of `names.LABELS`."""
    work: Callable[[Tools, Body], Awaitable[Any]]
    queue: str = QUICK
    cron: str | None = None
    """When it is done by itself: minute, hour, day, month and weekday, in UTC."""
    at_start: bool = False
    """Whether it is also done when a process begins to do jobs; it finds itself whether it was done a moment ago."""
    events: Mapping[str, Delay] = field(default_factory=dict)
    """The events that begin it, and how long after each."""


CONSUMERS: Mapping[str, tuple[tuple[str, ...], HandleBatch]] = {
    "lead_interest": ((signals.SignalsRecorded.kind,), leads.evaluate),
}
"""Who takes events from the outbox in batches: of which kinds, and what is done about them."""

KEPT = timedelta(minutes=10)
"""How long an event that was handled is kept: consumers look through those that there are each second."""
INTERRUPTED = timedelta(minutes=15)
"""Longer than any answer takes: whoever wrote one that has been open as long is not there any more."""


async def _close_interrupted(tools: Tools, _body: Body) -> int:
    return await pipeline.close_interrupted(tools.database, tools.database.clock() - INTERRUPTED)


async def _refresh_measures(tools: Tools, _body: Body) -> int:
    return await measures.refresh(tools.database)


async def _count_effects(tools: Tools, _body: Body) -> int:
    return await outcomes.refresh(tools.database)


async def _compare_passages(tools: Tools, _body: Body) -> int:
    return await likeness.refresh(tools.database)


async def _propose_retirements(tools: Tools, _body: Body) -> int:
    return await retirement.propose(tools.database)


async def _clear_searches(tools: Tools, _body: Body) -> int:
    return await usage.remove_old(tools.database)


async def _expire_quotes(tools: Tools, _body: Body) -> int:
    return await commerce.expire_quotes(tools.database)


async def _keep_signals(tools: Tools, _body: Body) -> int:
    months = tools.settings.signal_months
    if months is None:
        return len(await signals.ensure_months(tools.database))
    return await signals.remove_old_months(tools.database, months)


async def _clear_outbox(tools: Tools, _body: Body) -> int:
    waited = {name: kinds for name, (kinds, _handle) in CONSUMERS.items()}
    removed, before = 0, tools.database.clock() - KEPT
    while batch := await remove_handled(tools.database, waited, before):
        removed += batch
    return removed


async def _forget_requests(tools: Tools, _body: Body) -> int:
    return await knowledge.forget_old_requests(tools.database)


async def _remind_keepers(tools: Tools, _body: Body) -> int:
    return await knowledge.remind_owners(tools.database)


async def _deliver(tools: Tools, body: Body) -> bool:
    return await deliver(tools.database, outbound_of(tools.settings.outbound), UUID(body["delivery_id"]))


async def _deliver_due(tools: Tools, _body: Body) -> int:
    return await deliver_due(tools.database, outbound_of(tools.settings.outbound))


async def _escalate_work_items(tools: Tools, _body: Body) -> int:
    return await work_items.escalate_overdue(tools.database)


def _overdue(step: leads.Overdue) -> Callable[[Tools, Body], Awaitable[bool]]:
    async def work(tools: Tools, body: Body) -> bool:
        async with tools.database.open_uow(SYSTEM) as uow:
            since = datetime.fromisoformat(body["since"])
            return await leads.tell_overdue(uow, UUID(body["lead_id"]), since=since, step=step)

    return work


KINDS = (
    Kind("expire_quotes", _expire_quotes, cron="*/10 * * * *"),
    Kind("refresh_measures", _refresh_measures, cron="0 */2 * * *", at_start=True),
    Kind("count_effects", _count_effects, cron="41 */6 * * *", at_start=True),
    Kind("compare_passages", _compare_passages, cron="7 2 * * *"),
    Kind("propose_retirements", _propose_retirements, cron="37 2 * * *"),
    Kind("clear_searches", _clear_searches, cron="53 3 * * *"),
    Kind("close_interrupted", _close_interrupted, cron="* * * * *"),
    Kind("keep_signals", _keep_signals, cron="23 3 * * *"),
    Kind("forget_content_requests", _forget_requests, cron="41 3 * * *"),
    Kind("remind_keepers", _remind_keepers, cron="0 1 * * *"),
    Kind("clear_outbox", _clear_outbox, cron="* * * * *"),
    Kind("escalate_work_items", _escalate_work_items, cron="* * * * *", at_start=True),
    Kind("deliver_due", _deliver_due, cron="* * * * *", at_start=True),
    Kind("deliver", _deliver, events={deliveries.DeliveryWaits.kind: lambda _settings: timedelta()}),
    Kind(
        "remind_of_lead",
        _overdue(leads.Overdue.REMINDED),
        events={leads.LeadWaits.kind: lambda settings: timedelta(minutes=settings.lead_reminder_minutes)},
    ),
    Kind(
        "escalate_lead",
        _overdue(leads.Overdue.ESCALATED),
        events={leads.LeadWaits.kind: lambda settings: timedelta(minutes=settings.lead_escalation_minutes)},
    ),
)
