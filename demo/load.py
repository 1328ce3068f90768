"""Loading the demo company into an empty database, through the same operations as real data."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import TypeVar
from uuid import UUID

from sqlalchemy import func, select

import knowledge
from assistant import calculations
from assistant.calculations import About
from demo import records, story
from demo.records import (
    AccountRecord,
    ActivityRecord,
    CalculationRecord,
    ConsentRecord,
    ContactRecord,
    EntryRecord,
    LeadRecord,
    LineRecord,
    OpportunityRecord,
    QuoteRecord,
    StageRecord,
)
from demo.story import Story
from domain import accounts, activities, commerce, consent, conversion, custom_fields, deals, leads, people, signals
from domain.accounts import Account, Contact
from domain.activities import Activity
from domain.commerce import Item, Order, PaymentMethod, Quote, QuoteStatus
from domain.consent import ConsentGrant, ConsentStatus
from domain.conversion import Terms
from domain.custom_fields import Choice
from domain.deals import Opportunity, Stage, StagePlan
from domain.kernel import SYSTEM, Actor, Conflict, Database, Money, Ref, Role, Text, UnitOfWork, money
from domain.leads import Lead, LeadStatus
from domain.people import User
from domain.signals import Fact, Signal
from knowledge import Content, Facets, KnowledgeItem

CURRENCY = "CNY"
LEAD_BATCH = 16
KNOWLEDGE_BATCH = 20
ANSWER_TIME = timedelta(minutes=25)
COLLECTOR = "fang.chen@example.com"
"""The colleague of finance who keeps payments."""
ORDER_HOUR = "orders"
"""All orders come at the same time of day, so that purchase cycles are whole days."""
FACETS = ("concerns", "stages", "roles", "industries", "competitors", "regions")

T = TypeVar("T")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many of each were loaded."""

    users: int
    accounts: int
    contacts: int
    opportunities: int
    orders: int
    quotes: int
    leads: int
    consents: int
    activities: int
    signals: int
    knowledge_items: int


COUNTED = (User, Account, Contact, Opportunity, Order, Quote, Lead, ConsentGrant, Activity, Signal, KnowledgeItem)
"""What the summary counts, in the order of its fields."""


@dataclass(slots=True)
class Loading:
    """One loading: the database, the instant that counts as now, and what is there so far by the keys of the files."""

    database: Database
    now: datetime
    company: records.Company
    users: dict[str, UUID] = field(default_factory=dict)
    actors: dict[str, Actor] = field(default_factory=dict)
    brands: dict[str, UUID] = field(default_factory=dict)
    stages: dict[str, dict[str, Stage]] = field(default_factory=dict)
    products: dict[str, UUID] = field(default_factory=dict)
    deals: dict[str, UUID] = field(default_factory=dict)
    entries: dict[str, UUID] = field(default_factory=dict)

    def at(self, days: int, salt: str) -> datetime:
        """The instant of something that happened that many days ago."""
        return story.instant(self.now, days, salt)

    def items(self, lines: Iterable[LineRecord]) -> list[Item]:
        """Lines as quotes and orders take them."""
        return [Item(self.products[line.code], line.quantity, _yuan(line.price)) for line in lines]


async def is_empty(database: Database) -> bool:
    """Whether nobody has put users or accounts into the database."""
    async with database.read() as connection:
        found = [(await connection.execute(select(model.id).limit(1))).first() for model in (User, Account)]
    return found == [None, None]


async def load(database: Database, *, progress: Progress | None = None) -> Summary:
    """Load everything; all files are read and checked before anything is written.

    Raises Conflict when the database has users or accounts already, Invalid for a file that cannot be taken.
    """
    if not await is_empty(database):
        zh, en = (
            "数据库中已有数据，演示公司只加载到空库",
            "the database has data: the demo company is loaded into an empty one only",
        )
        raise Conflict(Text(zh, en))
    loading = Loading(database, database.clock(), records.company())
    customers, interested = records.accounts(), _batches(enumerate(records.leads(), 1), LEAD_BATCH)
    entries = _batches(records.entries().values(), KNOWLEDGE_BATCH)
    steps = [
        partial(_found, loading),
        *(partial(_load_account, loading, key, account) for key, account in customers.items()),
        *(partial(_load_leads, loading, batch) for batch in interested),
        *(partial(_load_knowledge, loading, batch) for batch in entries),
        *(partial(_calculate, loading, done) for done in records.calculations()),
    ]
    for done, step in enumerate(steps, 1):
        await step()
        if progress is not None:
            progress(done, len(steps))
    async with database.read() as connection:
        counts = [(await connection.execute(select(func.count()).select_from(model))).scalar_one() for model in COUNTED]
    return Summary(*counts)


def _batches(values: Iterable[T], size: int) -> list[list[T]]:
    rest = iter(values)
    return list(iter(lambda: list(islice(rest, size)), []))


def _yuan(amount: Decimal) -> Money:
    return money(amount, CURRENCY)


# ---- the seller ------------------------------------------------------------------------------------------------------


async def _found(loading: Loading) -> None:
    """Users, places, brands, competitors, pipelines, purposes and prices."""
    company = loading.company
    async with loading.database.open_uow(SYSTEM) as uow:
        await _hire(uow, loading)
        await consent.ensure_purposes(uow)
        for brand in company.brands:
            loading.brands[brand.key] = (await people.add_brand(uow, key=brand.key, label=brand.label)).id
        for added in company.custom_fields:
            choices = [Choice(choice.key, choice.zh, choice.en) for choice in added.choices]
            await custom_fields.define(
                uow, entity=added.entity, key=added.key, label=added.label, kind=added.kind, choices=choices
            )
        for rival in company.competitors:
            await deals.ensure_competitor(uow, rival.key, rival.label)
        for pipeline in company.pipelines:
            plans = [_plan(stage) for stage in pipeline.stages]
            loading.stages[pipeline.key] = await deals.ensure_pipeline(uow, pipeline.key, pipeline.label, plans)
        for sold in company.products:
            product = await commerce.add_product(
                uow,
                code=sold.code,
                name=Text(sold.zh, sold.en),
                list_price=_yuan(sold.list),
                floor_price=_yuan(sold.floor),
                series=sold.series,
            )
            loading.products[sold.code] = product.id
    async with loading.database.read() as connection:
        for email in loading.users:
            loading.actors[email] = await people.sign_in(connection, loading.database.clock(), email=email)


async def _hire(uow: UnitOfWork, loading: Loading) -> None:
    territories: dict[str, people.Territory] = {}
    for place in loading.company.territories:
        parent = territories[place.parent] if place.parent else None
        territories[place.key] = await people.add_territory(uow, key=place.key, label=place.label, parent=parent)
        await uow.session.flush()
    for person in loading.company.users:
        user = await people.add_user(uow, name=person.name, email=f"{person.mail}@example.com")
        await uow.session.flush()
        loading.users[user.email] = user.id
        places: list[people.Territory | None] = [territories[key] for key in person.territories]
        for role in person.roles:
            for territory in places or [None]:
                await people.grant_role(uow, user, role, territory=territory)


def _plan(stage: StageRecord) -> StagePlan:
    return StagePlan(stage.key, stage.label, stage.closed, stage.won, stage.days, stage.category)


# ---- customers -------------------------------------------------------------------------------------------------------


async def _load_account(loading: Loading, key: str, record: AccountRecord) -> None:
    """An account with everything below it, as its owner would put it in; then what came in about it by itself."""
    async with loading.database.open_uow(loading.actors[record.owner]) as uow:
        account = await accounts.create_account(
            uow, name=record.name, industry=record.industry, region=record.region, owner_id=loading.users[record.owner],
            brand_id=loading.brands[record.brand], lifecycle_stage=record.lifecycle, credit_grade=record.credit_grade, employees=record.employees,
            custom=record.custom,
        )  # fmt: skip
        await uow.session.flush()
        contacts = {person.key: await _contact(uow, loading, account, person) for person in record.contacts}
        placed = [
            await commerce.place_order(
                uow, number=order.number, account_id=account.id, ordered_at=loading.at(order.days, ORDER_HOUR), items=loading.items(order.lines)
            )
            for order in record.orders
        ]  # fmt: skip
        facts: list[Fact] = []
        for number, deal in enumerate(record.opportunities):
            opportunity = await _opportunity(uow, loading, account, contacts, deal)
            loading.deals[deal.name] = opportunity.id
            await _log(uow, loading, opportunity.ref(), deal.activities)
            facts += story.of_deal(
                Story(loading.now, f"{key}/{number}", opportunity.ref()), loading.company, record, deal
            )
        await _log(uow, loading, account.ref(), record.activities)
    await _collect(loading, placed, record.credit_grade)
    await _record(loading, facts)


async def _collect(loading: Loading, placed: Sequence[Order], credit_grade: str) -> None:
    """What the customer owes on orders, and what came in of it, as finance puts it in."""
    async with loading.database.open_uow(loading.actors[COLLECTOR]) as uow:
        for order in placed:
            for amount, due_on, paid_on in story.instalments(order, credit_grade, loading.now.date()):
                await commerce.record_payment(
                    uow, order_id=order.id, amount=amount, due_on=due_on, paid_on=paid_on, method=PaymentMethod.BANK_TRANSFER if paid_on else None
                )  # fmt: skip


async def _record(loading: Loading, facts: Sequence[Fact]) -> None:
    if facts:
        async with loading.database.open_uow(SYSTEM) as uow:
            await signals.record_many(uow, facts, source="demo")


async def _contact(uow: UnitOfWork, loading: Loading, account: Account, record: ContactRecord) -> Contact:
    contact = await accounts.create_contact(
        uow, name=record.name, account_id=account.id, title=record.title, buying_role=record.role
    )
    await uow.session.flush()
    for channel, address in record.points():
        await accounts.add_contact_point(uow, contact, channel, address)
    await _consents(uow, loading, contact.id, record.consents)
    return contact


async def _consents(uow: UnitOfWork, loading: Loading, contact_id: UUID, given: Iterable[ConsentRecord]) -> None:
    for one in given:
        ends = None if one.expires_in_days is None else loading.now + timedelta(days=one.expires_in_days)
        if one.status is ConsentStatus.EXPIRED:
            # What ran out is told by its end, which lies behind us.
            ends = loading.now - timedelta(hours=1)
        await consent.record(
            uow, contact_id=contact_id, purpose=one.purpose, channel=one.channel, status=one.status, source=one.source, evidence=one.evidence,
            occurred_at=loading.at(one.days, one.source), expires_at=ends,
        )  # fmt: skip


async def _opportunity(
    uow: UnitOfWork, loading: Loading, account: Account, contacts: dict[str, Contact], record: OpportunityRecord
) -> Opportunity:
    stages = loading.stages[record.pipeline]
    (first, opened), *later = record.path
    opportunity = await deals.open_opportunity(
        uow, name=record.name, stage=stages[first], account_id=account.id, amount=_yuan(record.amount), opened_at=loading.at(opened, record.name),
        close_date=(loading.now + timedelta(days=record.close_in_days)).date(), primary_competitor=record.competitor, custom=record.custom,
        next_step=record.next_step, declared_probability=record.probability,
    )  # fmt: skip
    for key, days in later:
        lost = stages[key].is_closed and not stages[key].is_won
        reason = record.loss_reason if lost else None
        await deals.move_opportunity(
            uow, opportunity, stages[key], at=loading.at(days, record.name), loss_reason=reason
        )
    for seat in record.seats:
        covered = None if seat.covered_days is None else loading.at(seat.covered_days, record.name)
        await deals.set_contact_role(
            uow, opportunity, contacts[seat.contact], seat.role, stance=seat.stance, covered_at=covered
        )
    for offer in record.quotes:
        await commerce.record_quote(
            uow, number=offer.number, opportunity_id=opportunity.id, items=loading.items(offer.lines), payment_terms_days=offer.terms_days,
            issued_at=loading.at(offer.days, offer.number), valid_until=(loading.now + timedelta(days=offer.valid_in_days)).date(),
            status=_status(offer, stages[record.path[-1][0]]),
        )  # fmt: skip
    return opportunity


def _status(offer: QuoteRecord, stage: Stage) -> QuoteStatus:
    if stage.is_closed:
        return QuoteStatus.ACCEPTED if stage.is_won else QuoteStatus.REJECTED
    return QuoteStatus.EXPIRED if offer.valid_in_days < 0 else QuoteStatus.ISSUED


async def _log(
    uow: UnitOfWork, loading: Loading, subject: Ref, given: Iterable[ActivityRecord], since: datetime | None = None
) -> None:
    """Log what the actor did; nobody answers a lead before it came in."""
    for one in given:
        at = loading.at(one.days, one.subject)
        if since is not None and at < since:
            at = min(since + ANSWER_TIME, loading.now)
        await activities.log(uow, related_to=subject, kind=one.kind, subject=one.subject, body=one.body, occurred_at=at)


# ---- leads -----------------------------------------------------------------------------------------------------------


async def _load_leads(loading: Loading, batch: Sequence[tuple[int, LeadRecord]]) -> None:
    """Leads as forms and hotlines deliver them; then what their owners did, then what came in about them."""
    facts: list[Fact] = []
    worked: dict[str, list[tuple[Lead, LeadRecord]]] = {}
    async with loading.database.open_uow(SYSTEM) as uow:
        for number, record in batch:
            lead = await _capture(uow, loading, f"{record.source}-{number:03}", record)
            facts += story.of_lead(Story(loading.now, lead.external_id, lead.ref()), record)
            if record.owner is not None:
                worked.setdefault(record.owner, []).append((lead, record))
    for owner, cared_for in worked.items():
        async with loading.database.open_uow(loading.actors[owner]) as uow:
            for lead, record in cared_for:
                await _log(uow, loading, lead.ref(), record.activities, since=lead.captured_at)
                await _judge(uow, loading, lead.id, record)
    await _record(loading, facts)


async def _capture(uow: UnitOfWork, loading: Loading, external_id: str, record: LeadRecord) -> Lead:
    lead = await leads.capture(
        uow, source=record.source, external_id=external_id, name=record.name, company=record.company, phone=record.phone, email=record.email,
        wechat=record.wechat, region=record.region, industry=record.industry, interest=record.interest, channel=record.channel,
        budget=None if record.budget is None else _yuan(record.budget), captured_at=loading.at(record.days, external_id),
        owner_id=None if record.owner is None else loading.users[record.owner],
    )  # fmt: skip
    await _consents(uow, loading, lead.contact_id, record.consents)
    return lead


async def _judge(uow: UnitOfWork, loading: Loading, lead_id: UUID, record: LeadRecord) -> None:
    """What the owner made of a lead; that it is worked on follows from what was logged."""
    if record.grade is not None:
        await leads.update(uow, lead_id, changes={"grade": record.grade})
    if record.status is LeadStatus.NURTURING:
        await leads.nurture(uow, lead_id)
    elif record.status is LeadStatus.QUALIFIED:
        await leads.qualify(uow, lead_id)
    elif record.status is LeadStatus.DISQUALIFIED:
        await leads.disqualify(uow, lead_id, reason=record.reason)
    elif record.status is LeadStatus.CONVERTED:
        await conversion.convert(uow, lead_id, Terms(opportunity_id=loading.deals[record.deal]))


# ---- knowledge -------------------------------------------------------------------------------------------------------


async def _load_knowledge(loading: Loading, entries: Sequence[EntryRecord]) -> None:
    """Each entry is drafted and handed in by its owner, and published by another curator."""
    curators = [email for email, actor in loading.actors.items() if Role.CURATOR in actor.roles]
    for owner in sorted({entry.owner for entry in entries}):
        second = next(email for email in curators if email != owner)
        drafted = []
        async with loading.database.open_uow(loading.actors[owner]) as uow:
            for entry in entries:
                if entry.owner == owner:
                    item = await knowledge.draft(
                        uow, kind=entry.kind, language=entry.language, content=_content(loading, entry)
                    )
                    await knowledge.submit(uow, item.id, None)
                    drafted.append(item.id)
                    loading.entries[entry.key] = item.id
        async with loading.database.open_uow(loading.actors[second]) as uow:
            for item_id in drafted:
                await knowledge.publish(uow, item_id, None)


async def _calculate(loading: Loading, record: CalculationRecord) -> None:
    """A ROI calculation as the rep had it made."""
    about = About(opportunity_id=loading.deals[record.deal])
    async with loading.database.open_uow(loading.actors[record.by]) as uow:
        await calculations.calculate(uow, item_id=loading.entries[record.model], answers=record.answers, about=about)


def _content(loading: Loading, entry: EntryRecord) -> Content:
    facets = Facets(**{name: tuple(getattr(entry, name)) for name in FACETS})
    ends = None if entry.expires_in_days is None else loading.now + timedelta(days=entry.expires_in_days)
    starts = None if entry.effective_days_ago is None else loading.now - timedelta(days=entry.effective_days_ago)
    return Content(entry.title, entry.whole_body, facets, expires_at=ends, effective_from=starts)
