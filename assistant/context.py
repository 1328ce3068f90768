"""What the assistant may know: facts gathered with the eyes of the person who asks, frozen, each with its evidence."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.draft import Evidence
from assistant.wording import ACTIVITY_KINDS, BUYING_ROLES, CONCERNS, label
from domain import consent
from domain.accounts import Account, BuyingRole, Channel, Contact, LifecycleStage
from domain.activities import Activity, ActivityKind
from domain.commerce import Order, OrderLine, PriceBookEntry, Product, Quote, QuoteLine
from domain.deals import Competitor, Opportunity, OpportunityContactRole, Stage, Stance
from domain.kernel import Actor, Base, Language, Money, Ref, Text, load, rows_visible
from domain.leads import Lead
from domain.people import Territory, User
from domain.signals import Signal

RECENT = timedelta(days=180)
FOLLOW_UP = "sales_follow_up"


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the buying committee."""

    evidence: Evidence
    name: str
    title: str | None
    role: BuyingRole | None
    stance: Stance
    covered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Done:
    """One activity."""

    evidence: Evidence
    kind: ActivityKind
    at: datetime
    subject: str
    body: str | None


@dataclass(frozen=True, slots=True)
class Bought:
    """One order."""

    evidence: Evidence
    number: str
    at: datetime
    total: Money


@dataclass(frozen=True, slots=True)
class Concern:
    """One concern that the customer raised and nobody has resolved."""

    evidence: Evidence
    category: str
    words: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Rival:
    """One competitor in the deal."""

    evidence: Evidence
    key: str
    name: Text
    words: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Quoted:
    """The latest quote of the deal."""

    evidence: Evidence
    number: str
    status: str
    total: Money
    issued_at: datetime | None
    valid_until: date | None
    payment_terms_days: int


@dataclass(frozen=True, slots=True)
class Line:
    """One product of the deal with its list and floor price."""

    evidence: Evidence
    product: Text
    code: str
    quantity: int
    list_price: Money
    floor_price: Money


@dataclass(frozen=True, slots=True)
class Reachable:
    """One channel to one person, and whether consent allows it."""

    evidence: Evidence
    person: str
    channel: Channel
    decision: consent.ConsentDecision
    light: consent.TrafficLight
    via: Channel | None
    reason: Text


@dataclass(frozen=True, slots=True)
class Deal:
    """The opportunity at hand."""

    evidence: Evidence
    id: UUID
    name: str
    stage_key: str
    stage: Text
    entered_at: datetime
    expected_days: int | None
    amount: Money | None
    close_date: date | None


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """Everything about one account, and about one deal with it, that the asker sees."""

    now: datetime
    evidence: Evidence
    id: UUID
    name: str
    industry: str | None
    region: str | None
    region_label: Text
    territory: UUID | None
    lifecycle: LifecycleStage
    owner: str | None
    credit_grade: str | None
    employees: int | None
    purpose: str | None
    deal: Deal | None
    open_deals: tuple[Deal, ...] = ()
    people: tuple[Person, ...] = ()
    done: tuple[Done, ...] = ()
    orders: tuple[Bought, ...] = ()
    concerns: tuple[Concern, ...] = ()
    rivals: tuple[Rival, ...] = ()
    quote: Quoted | None = None
    lines: tuple[Line, ...] = ()
    reachable: tuple[Reachable, ...] = ()
    category: str | None = None
    words: str | None = None
    persons: tuple[UUID, ...] = field(default=())

    @property
    def subject(self) -> Ref:
        """The account; an objection reply names its deal instead."""
        return Ref("Opportunity", self.deal.id) if self.words is not None and self.deal else Ref("Account", self.id)

    @property
    def subject_label(self) -> str:
        """The account's name, with the deal's where there is one."""
        return f"{self.name} · {self.deal.name}" if self.words is not None and self.deal else self.name

    @property
    def territory_id(self) -> UUID | None:
        """The account's territory."""
        return self.territory

    @property
    def person_ids(self) -> tuple[UUID, ...]:
        """The people of the account that were looked at."""
        return self.persons

    @property
    def person_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(dict.fromkeys([person.name for person in self.people] + [point.person for point in self.reachable]))

    def own_names(self) -> frozenset[str]:
        """The account itself."""
        return frozenset({self.name})

    @property
    def products(self) -> frozenset[str]:
        """The short codes (PM8) of the deal's products; empty where no line says."""
        return frozenset(line.code.rsplit("-", 1)[-1] for line in self.lines)

    @property
    def floor_total(self) -> Money | None:
        """The deal's lines at floor price."""
        return _total([(line.floor_price, line.quantity) for line in self.lines])


@dataclass(frozen=True, slots=True)
class Looked:
    """One thing that a lead looked at or asked."""

    evidence: Evidence
    type: str
    at: datetime
    title: str


@dataclass(frozen=True, slots=True)
class LeadFacts:
    """Everything about one lead that the asker sees."""

    now: datetime
    evidence: Evidence
    id: UUID
    name: str
    company: str | None
    industry: str | None
    region: str | None
    territory: UUID | None
    interest: str | None
    source: str
    captured_at: datetime
    last_activity_at: datetime
    contact_id: UUID
    looked: tuple[Looked, ...]
    rivals: tuple[Rival, ...]
    done: tuple[Done, ...]
    reachable: tuple[Reachable, ...]
    wanted_channel: Channel | None
    seller: str

    @property
    def subject(self) -> Ref:
        """The lead."""
        return Ref("Lead", self.id)

    @property
    def subject_label(self) -> str:
        """Name and company."""
        return f"{self.name} · {self.company}" if self.company else self.name

    @property
    def territory_id(self) -> UUID | None:
        """The lead's territory."""
        return self.territory

    @property
    def person_ids(self) -> tuple[UUID, ...]:
        """The lead's person."""
        return (self.contact_id,)

    @property
    def person_names(self) -> tuple[str, ...]:
        """The lead's name."""
        return (self.name,)

    def own_names(self) -> frozenset[str]:
        """The lead's company."""
        return frozenset({self.company} if self.company else ())

    def allowed_channel(self) -> Reachable | None:
        """The channel to use: the one asked for if consent allows it or another in its place, else the best allowed."""
        allowed = {point.channel: point for point in self.reachable if point.decision is consent.ConsentDecision.ALLOW}
        if self.wanted_channel is not None and self.wanted_channel in allowed:
            return allowed[self.wanted_channel]
        return next((allowed[channel] for channel in PREFERRED if channel in allowed), None)


PREFERRED = (Channel.WECHAT, Channel.PHONE, Channel.EMAIL, Channel.SMS, Channel.APP, Channel.MAIL)


def _total(parts: list[tuple[Money, int]]) -> Money | None:
    if not parts:
        return None
    return Money(sum(price.amount_minor * quantity for price, quantity in parts), parts[0][0].currency)


def in_words(*parts: object) -> str:
    """The words of a piece of evidence: what is known, in one line."""
    return "；".join(str(part) for part in parts if part not in {None, ""})


def day(at: datetime | date) -> str:
    """The day of an instant as evidence writes it."""
    return at.isoformat()[:10]


async def gather_account(session: AsyncSession, actor: Actor, now: datetime, account_id: UUID | None, opportunity_id: UUID | None, *, path: str = "accountId") -> AccountFacts:
    """What the actor sees of an account and of one deal: the one named, or the open one with the nearest stage to closing.

    Raises NotFound for an account or deal that is absent or foreign.
    """
    account = await load(session, actor, Account, account_id, path=(path,))
    deals = await _deals(session, actor, account, now, opportunity_id)
    deal = next((found for found in deals if found.id == opportunity_id), None) if opportunity_id else (deals[0] if deals else None)
    people, person_ids = await _committee(session, actor, account, deal, now)
    rivals = await _rivals(session, actor, account, deal, now)
    quote, lines = await _quote(session, actor, account, deal, now)
    region = (await session.execute(select(Territory).where(Territory.id == account.territory_id))).scalar_one_or_none()
    owner = (await session.execute(select(User.name).where(User.id == account.owner_id))).scalar_one_or_none()
    return AccountFacts(
        now=now,
        evidence=Evidence(account.ref(), now, in_words(account.name, account.industry, account.region, account.credit_grade, account.employees)),
        id=account.id, name=account.name, industry=account.industry, region=account.region,
        region_label=Text(region.label_zh, region.label_en) if region else Text(account.region or "", account.region or ""),
        territory=account.territory_id, lifecycle=account.lifecycle_stage, owner=owner, credit_grade=account.credit_grade, employees=account.employees,
        purpose=None, deal=deal, open_deals=tuple(deals), people=people,
        done=await _activities(session, actor, Activity.account_id == account.id, now),
        orders=await _orders(session, actor, account, now), concerns=await _concerns(session, actor, account, now), rivals=rivals, quote=quote, lines=lines,
        reachable=await _reachable(session, person_ids, now), persons=tuple(person_ids),
    )  # fmt: skip


async def gather_lead(session: AsyncSession, actor: Actor, now: datetime, lead_id: UUID | None, channel: Channel | None, *, path: str = "leadId") -> LeadFacts:
    """What the actor sees of a lead.

    Raises NotFound for a lead that is absent or foreign.
    """
    lead = await load(session, actor, Lead, lead_id, path=(path,))
    signals = await _signals(session, actor, (Signal.subject_id == lead.id), now, LOOKED)
    mentions = await _signals(session, actor, (Signal.subject_id == lead.id), now, ("competitor_mentioned",))
    names = await _competitors(session, {str(mention.payload.get("competitor", "")) for mention in mentions})
    said = in_words(lead.name, lead.company, lead.source, lead.interest, day(lead.captured_at), day(lead.last_activity_at))
    return LeadFacts(
        now=now, evidence=Evidence(lead.ref(), now, said), id=lead.id, name=lead.name, company=lead.company, industry=lead.industry, region=lead.region,
        territory=lead.territory_id, interest=lead.interest, source=lead.source, captured_at=lead.captured_at, last_activity_at=lead.last_activity_at,
        contact_id=lead.contact_id, looked=tuple(_looked(signal, now) for signal in signals),
        rivals=tuple(_rival(mention, names, now) for mention in mentions), done=await _activities(session, actor, Activity.lead_id == lead.id, now),
        reachable=await _reachable(session, [lead.contact_id], now), wanted_channel=channel, seller=actor.display_name,
    )  # fmt: skip


LOOKED = ("enquiry_sent", "demo_requested", "document_downloaded", "page_viewed", "event_attended")


def _visible(model: type[Base], actor: Actor, *where: Any) -> Select[Any]:
    return select(model).where(rows_visible(model, actor), *where)


async def _deals(session: AsyncSession, actor: Actor, account: Account, now: datetime, named: UUID | None) -> list[Deal]:
    if named is not None:
        opportunity = await load(session, actor, Opportunity, named, path=("opportunityId",))
        await _same_account(opportunity, account)
    statement = select(Opportunity, Stage).join(Stage, Stage.id == Opportunity.stage_id)
    wanted = or_(Stage.is_closed.is_(False), Opportunity.id == named) if named else Stage.is_closed.is_(False)
    statement = statement.where(Opportunity.account_id == account.id, rows_visible(Opportunity, actor), wanted).order_by(Stage.position.desc(), Opportunity.amount_minor.desc(), Opportunity.id)
    rows = (await session.execute(statement.limit(20))).all()
    return [_deal(opportunity, stage, now) for opportunity, stage in rows]


async def _same_account(opportunity: Opportunity, account: Account) -> None:
    from domain.kernel import not_found

    if opportunity.account_id != account.id:
        raise not_found("opportunity", ("opportunityId",))


def _deal(opportunity: Opportunity, stage: Stage, now: datetime) -> Deal:
    amount = opportunity.amount
    said = in_words(opportunity.name, f"{stage.label_zh} / {stage.label_en}", amount.words(Language.ZH) if amount else None, opportunity.close_date, day(opportunity.stage_entered_at))
    return Deal(
        evidence=Evidence(opportunity.ref(), now, said), id=opportunity.id, name=opportunity.name, stage_key=stage.key, stage=Text(stage.label_zh, stage.label_en),
        entered_at=opportunity.stage_entered_at, expected_days=stage.expected_days, amount=amount, close_date=opportunity.close_date,
    )  # fmt: skip


async def _committee(session: AsyncSession, actor: Actor, account: Account, deal: Deal | None, now: datetime) -> tuple[tuple[Person, ...], list[UUID]]:
    contacts = (await session.execute(_visible(Contact, actor, Contact.account_id == account.id, Contact.erased_at.is_(None)).order_by(Contact.id).limit(50))).scalars().all()
    seats: dict[UUID, OpportunityContactRole] = {}
    if deal is not None:
        found = await session.execute(_visible(OpportunityContactRole, actor, OpportunityContactRole.opportunity_id == deal.id).order_by(OpportunityContactRole.id))
        seats = {seat.contact_id: seat for seat in found.scalars()}
    people = []
    for contact in contacts:
        seat = seats.get(contact.id)
        role = seat.role if seat else contact.buying_role
        said = in_words(contact.name, contact.title, f"{label(BUYING_ROLES, role).zh} / {label(BUYING_ROLES, role).en}", day(seat.covered_at) if seat and seat.covered_at else None)
        people.append(Person(Evidence(contact.ref(), now, said), contact.name, contact.title, role, seat.stance if seat else Stance.UNKNOWN, seat.covered_at if seat else None))
    return tuple(people), [contact.id for contact in contacts]


async def _activities(session: AsyncSession, actor: Actor, where: Any, now: datetime) -> tuple[Done, ...]:
    statement = _visible(Activity, actor, where, Activity.occurred_at > now - RECENT, Activity.occurred_at <= now)
    rows = (await session.execute(statement.order_by(Activity.occurred_at.desc(), Activity.id.desc()).limit(8))).scalars()
    return tuple(
        Done(Evidence(row.ref(), now, in_words(day(row.occurred_at), label(ACTIVITY_KINDS, row.kind).zh, row.subject, row.body)), row.kind, row.occurred_at, row.subject, row.body)
        for row in rows
    )


async def _orders(session: AsyncSession, actor: Actor, account: Account, now: datetime) -> tuple[Bought, ...]:
    statement = _visible(Order, actor, Order.account_id == account.id, Order.ordered_at <= now).order_by(Order.ordered_at.desc(), Order.id.desc()).limit(12)
    bought = []
    for order in (await session.execute(statement)).scalars():
        total = Money(order.total_minor, order.currency)
        bought.append(Bought(Evidence(order.ref(), now, in_words(order.number, day(order.ordered_at), total.words(Language.ZH))), order.number, order.ordered_at, total))
    return tuple(bought)


async def _signals(session: AsyncSession, actor: Actor, where: Any, now: datetime, types: tuple[str, ...]) -> list[Signal]:
    statement = _visible(Signal, actor, where, Signal.type.in_(types), Signal.occurred_at > now - RECENT, Signal.occurred_at <= now)
    return list((await session.execute(statement.order_by(Signal.occurred_at.desc(), Signal.id.desc()).limit(60))).scalars())


async def _concerns(session: AsyncSession, actor: Actor, account: Account, now: datetime) -> tuple[Concern, ...]:
    found = await _signals(session, actor, Signal.account_id == account.id, now, ("concern_raised", "concern_resolved"))
    settled: set[tuple[UUID, str]] = set()
    open_: list[Concern] = []
    for signal in found:
        category = str(signal.payload.get("category", ""))
        topic = (signal.subject_id, category)
        if topic in settled:
            continue
        settled.add(topic)
        if signal.type == "concern_raised":
            words = str(signal.payload.get("words", ""))
            said = in_words(day(signal.occurred_at), f"{label(CONCERNS, category).zh} / {label(CONCERNS, category).en}", words)
            open_.append(Concern(Evidence(signal.ref(), now, said), category, words, signal.occurred_at))
    return tuple(open_)


async def _rivals(session: AsyncSession, actor: Actor, account: Account, deal: Deal | None, now: datetime) -> tuple[Rival, ...]:
    mentions = await _signals(session, actor, Signal.account_id == account.id, now, ("competitor_mentioned",))
    primary = None
    if deal is not None:
        primary = (await session.execute(_visible(Opportunity, actor, Opportunity.id == deal.id))).scalar_one().primary_competitor
    names = await _competitors(session, {str(mention.payload.get("competitor", "")) for mention in mentions} | ({primary} if primary else set()))
    rivals: dict[str, Rival] = {}
    for mention in mentions:
        rival = _rival(mention, names, now)
        rivals.setdefault(rival.key, rival)
    if primary and deal is not None and primary not in rivals:
        name = names.get(primary, Text(primary, primary))
        rivals[primary] = Rival(Evidence(deal.evidence.record, now, in_words(deal.name, f"{name.zh} / {name.en}")), primary, name, None, None)
    return tuple(rivals.values())


async def _competitors(session: AsyncSession, keys: set[str]) -> dict[str, Text]:
    rows = await session.execute(select(Competitor).where(Competitor.key.in_(sorted(keys))))
    return {row.key: Text(row.label_zh, row.label_en) for row in rows.scalars()}


def _rival(mention: Signal, names: dict[str, Text], now: datetime) -> Rival:
    key = str(mention.payload.get("competitor", ""))
    words = str(mention.payload.get("words", "")) or None
    name = names.get(key, Text(key, key))
    said = in_words(day(mention.occurred_at), f"{name.zh} / {name.en}", words)
    return Rival(Evidence(mention.ref(), now, said), key, name, words, mention.occurred_at)


def _looked(signal: Signal, now: datetime) -> Looked:
    title = str(signal.payload.get("title") or signal.payload.get("words") or signal.payload.get("text") or "")
    return Looked(Evidence(signal.ref(), now, in_words(day(signal.occurred_at), title)), signal.type, signal.occurred_at, title)


async def _quote(session: AsyncSession, actor: Actor, account: Account, deal: Deal | None, now: datetime) -> tuple[Quoted | None, tuple[Line, ...]]:
    if deal is None:
        return None, ()
    statement = _visible(Quote, actor, Quote.opportunity_id == deal.id).order_by(Quote.created_at.desc(), Quote.id.desc()).limit(1)
    quote = (await session.execute(statement)).scalar_one_or_none()
    if quote is not None:
        total = Money(quote.total_minor, quote.currency)
        said = in_words(quote.number, quote.status.value, total.words(Language.ZH), day(quote.issued_at) if quote.issued_at else None, quote.valid_until, quote.payment_terms_days)
        quoted = Quoted(Evidence(quote.ref(), now, said), quote.number, quote.status.value, total, quote.issued_at, quote.valid_until, quote.payment_terms_days)
        wanted = [(line.product_id, line.quantity) for line in (await session.execute(select(QuoteLine).where(QuoteLine.quote_id == quote.id).order_by(QuoteLine.id))).scalars()]
        return quoted, await _lines(session, wanted, now)
    bought = select(OrderLine.product_id, OrderLine.quantity).join(Order, Order.id == OrderLine.order_id)
    bought = bought.where(Order.account_id == account.id, rows_visible(Order, actor)).order_by(Order.ordered_at.desc(), OrderLine.id).limit(1)
    rows = (await session.execute(bought)).all()
    return None, await _lines(session, [(row.product_id, row.quantity) for row in rows], now)


async def _lines(session: AsyncSession, wanted: list[tuple[UUID, int]], now: datetime) -> tuple[Line, ...]:
    ids = [product_id for product_id, _ in wanted]
    rows = await session.execute(
        select(Product, PriceBookEntry).join(PriceBookEntry, PriceBookEntry.product_id == Product.id)
        .where(Product.id.in_(ids), PriceBookEntry.valid_from <= now, or_(PriceBookEntry.valid_to.is_(None), PriceBookEntry.valid_to > now))
        .order_by(PriceBookEntry.valid_from)
    )  # fmt: skip
    priced = {product.id: (product, entry) for product, entry in rows}
    lines = []
    for product_id, quantity in wanted:
        if product_id not in priced:
            continue
        product, entry = priced[product_id]
        list_price, floor = Money(entry.list_minor, entry.currency), Money(entry.floor_minor, entry.currency)
        said = in_words(product.code, f"{product.name_zh} / {product.name_en}", list_price.words(Language.ZH), floor.words(Language.ZH))
        lines.append(Line(Evidence(entry.ref(), now, said), Text(product.name_zh, product.name_en), product.code, quantity, list_price, floor))
    return tuple(lines)


async def _reachable(session: AsyncSession, contact_ids: list[UUID], now: datetime) -> tuple[Reachable, ...]:
    names = {row.id: row for row in (await session.execute(select(Contact).where(Contact.id.in_(contact_ids)))).scalars()}
    decisions = await consent.contactability_of(session, contact_ids, FOLLOW_UP, now)
    points = []
    for contact_id in contact_ids:
        for decision in decisions.get(contact_id, []):
            contact = names[contact_id]
            said = in_words(contact.name, decision.channel.value, decision.decision.value, f"{decision.reason.zh} / {decision.reason.en}")
            points.append(Reachable(Evidence(contact.ref(), now, said), contact.name, decision.channel, decision.decision, decision.light, decision.via, decision.reason))
    return tuple(points)
