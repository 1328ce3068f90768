"""What the assistant may know: facts gathered with the eyes of the person who asks, each with its evidence."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.draft import Evidence
from assistant.facts import (
    AccountFacts,
    Bought,
    Calculated,
    Concern,
    Deal,
    Done,
    LeadFacts,
    Line,
    Looked,
    Person,
    Quoted,
    Reachable,
    Return,
    Rival,
)
from assistant.model import RoiCalculation
from assistant.wording import ACTIVITY_KINDS, BUYING_ROLES, CONCERNS, INDUSTRIES, STANCES, label
from domain import consent
from domain.accounts import Account, BuyingRole, Channel, Contact
from domain.activities import Activity
from domain.commerce import Order, OrderLine, PriceBookEntry, Product, Quote, QuoteLine
from domain.consent import ConsentDecision
from domain.deals import Competitor, Opportunity, OpportunityContactRole, Stage, Stance
from domain.kernel import Actor, Base, Language, Money, Ref, Text, load, not_found, rows_visible
from domain.leads import Lead
from domain.people import Territory, User
from domain.signals import Signal
from knowledge import KnowledgeVersion, unit

T = TypeVar("T", bound=Base)

RECENT = timedelta(days=180)
FOLLOW_UP = "sales_follow_up"
LOOKED = ("enquiry_sent", "demo_requested", "document_downloaded", "page_viewed", "event_attended")
PEOPLE, DEALS, ACTIVITIES, ORDERS, SIGNALS = 50, 20, 8, 12, 60
"""How many of each are looked at."""


def plain(text: str) -> str:
    """A free text in one line, in which nothing can be taken for a citation."""
    return re.sub(r"\[(\d{1,4})\]", r"（\1）", " ".join(text.split()))


def in_words(*parts: object) -> str:
    """The words of a piece of evidence: what is known, in one line."""
    return "；".join(str(part) for part in parts if part is not None and part != "")


def day(at: datetime | date | None) -> str | None:
    """The day of an instant as evidence writes it."""
    return at.isoformat()[:10] if at is not None else None


def both(text: Text) -> str:
    """A label in both languages, as evidence for answers in either."""
    return text.zh if text.zh == text.en else f"{text.zh} / {text.en}"


async def gather_account(
    session: AsyncSession, actor: Actor, now: datetime, account_id: UUID | None, opportunity_id: UUID | None, *, path: str = "accountId"
) -> AccountFacts:  # fmt: skip
    """What the actor sees of an account and of one deal: the one named, or the open one with the nearest stage to closing.

    Raises NotFound for an account or deal that is absent or foreign.
    """
    see = _Sight(session, actor, now)
    account = await load(session, actor, Account, account_id, path=(path,))
    deals = await see.deals(account, opportunity_id)
    deal = deals[0] if deals else None
    contacts = await see.all(
        Contact, Contact.account_id == account.id, Contact.erased_at.is_(None), by=[Contact.id], limit=PEOPLE
    )
    quote, lines = await see.priced(account, deal)
    region = await session.get(Territory, account.territory_id) if account.territory_id else None
    owner = await session.get(User, account.owner_id) if account.owner_id else None
    region_label = (
        Text(region.label_zh, region.label_en) if region else Text(account.region or "", account.region or "")
    )
    industry = label(INDUSTRIES, account.industry)
    said = in_words(account.name, both(industry), both(region_label), account.credit_grade, account.employees)
    return AccountFacts(
        now=now, evidence=Evidence(account.ref(), now, said), id=account.id, name=account.name, industry=account.industry, region=account.region,
        region_label=region_label, territory=account.territory_id, lifecycle=account.lifecycle_stage, owner=owner.name if owner else None,
        credit_grade=account.credit_grade, employees=account.employees, deal=deal, open_deals=tuple(deals), people=await see.committee(contacts, deal),
        done=await see.done(Activity.account_id == account.id), orders=await see.orders(account), concerns=await see.concerns(account),
        rivals=await see.rivals(account, deal), quote=quote, calculation=await see.calculated(deal), lines=lines, reachable=await see.reachable(contacts),
        persons=tuple(contact.id for contact in contacts),
    )  # fmt: skip


async def gather_lead(
    session: AsyncSession, actor: Actor, now: datetime, lead_id: UUID | None, channel: Channel | None, *, path: str = "leadId"
) -> LeadFacts:  # fmt: skip
    """What the actor sees of a lead.

    Raises NotFound for a lead that is absent or foreign.
    """
    see = _Sight(session, actor, now)
    lead = await load(session, actor, Lead, lead_id, path=(path,))
    about = Signal.subject_id == lead.id
    interest = plain(lead.interest) if lead.interest else None
    said = in_words(lead.name, lead.company, lead.source, interest, day(lead.captured_at), day(lead.last_activity_at))
    contact = (await session.execute(select(Contact).where(Contact.id == lead.contact_id))).scalar_one()
    return LeadFacts(
        now=now, evidence=Evidence(lead.ref(), now, said), id=lead.id, name=lead.name, company=lead.company, industry=lead.industry, region=lead.region,
        territory=lead.territory_id, interest=interest, source=lead.source, captured_at=lead.captured_at, last_activity_at=lead.last_activity_at,
        contact_id=lead.contact_id, looked=tuple(_looked(signal, now) for signal in await see.signals(about, *LOOKED)),
        rivals=await see.mentioned(about), reachable=await see.reachable([contact]), wanted_channel=channel, seller=actor.display_name,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Sight:
    """One reader at one instant, and what they see."""

    session: AsyncSession
    actor: Actor
    now: datetime

    async def all(
        self, model: type[T], *where: ColumnElement[bool], by: list[Any], limit: int | None = None
    ) -> list[T]:
        """The rows that the actor sees."""
        statement = select(model).where(rows_visible(model, self.actor), *where).order_by(*by).limit(limit)
        return list((await self.session.execute(statement)).scalars())

    def evidence(self, row: Base | Ref, *parts: object) -> Evidence:
        """A record as of now, with the words that carry what is said of it."""
        return Evidence(row if isinstance(row, Ref) else row.ref(), self.now, in_words(*parts))

    # ---- deals and people --------------------------------------------------------------------------------------------

    async def deals(self, account: Account, named: UUID | None) -> list[Deal]:
        """The open deals, nearest to closing first; a named one, open or closed, before them."""
        if named is not None:
            opportunity = await load(self.session, self.actor, Opportunity, named, path=("opportunityId",))
            if opportunity.account_id != account.id:
                raise not_found("Opportunity", ("opportunityId",))
        wanted = or_(Stage.is_closed.is_(False), Opportunity.id == named) if named else Stage.is_closed.is_(False)
        first = [(Opportunity.id == named).desc()] if named else []
        statement = (
            select(Opportunity, Stage).join(Stage, Stage.id == Opportunity.stage_id)
            .where(Opportunity.account_id == account.id, rows_visible(Opportunity, self.actor), wanted)
            .order_by(*first, Stage.position.desc(), Opportunity.amount_minor.desc().nulls_last(), Opportunity.id).limit(DEALS)
        )  # fmt: skip
        return [self._deal(opportunity, stage) for opportunity, stage in (await self.session.execute(statement)).all()]

    def _deal(self, opportunity: Opportunity, stage: Stage) -> Deal:
        amount, words = opportunity.amount, Text(stage.label_zh, stage.label_en)
        said = (
            opportunity.name,
            both(words),
            amount.words(Language.ZH) if amount else None,
            day(opportunity.close_date),
            day(opportunity.stage_entered_at),
        )
        return Deal(
            evidence=self.evidence(opportunity, *said), id=opportunity.id, name=opportunity.name, stage_key=stage.key, stage=words,
            entered_at=opportunity.stage_entered_at, expected_days=stage.expected_days, amount=amount, close_date=opportunity.close_date,
            primary_competitor=opportunity.primary_competitor,
        )  # fmt: skip

    async def committee(self, contacts: list[Contact], deal: Deal | None) -> tuple[Person, ...]:
        """The account's people, once for each seat that they hold in the deal."""
        seats: dict[UUID, list[OpportunityContactRole]] = {}
        if deal is not None:
            of_deal = OpportunityContactRole.opportunity_id == deal.id
            for seat in await self.all(OpportunityContactRole, of_deal, by=[OpportunityContactRole.id]):
                seats.setdefault(seat.contact_id, []).append(seat)
        people = []
        for contact in contacts:
            held = seats.get(contact.id)
            people += [self._person(contact, seat.role, seat.stance, seat.covered_at) for seat in held or []]
            if held is None:
                people.append(self._person(contact, contact.buying_role, Stance.UNKNOWN, None))
        return tuple(people)

    def _person(self, contact: Contact, role: BuyingRole | None, stance: Stance, covered_at: datetime | None) -> Person:
        words = both(label(BUYING_ROLES, role)) if role else None
        shown = self.evidence(contact, contact.name, contact.title, words, both(STANCES[stance]), day(covered_at))
        return Person(shown, contact.name, contact.title, role, stance, covered_at)

    async def reachable(self, contacts: list[Contact]) -> tuple[Reachable, ...]:
        """Each person on each channel."""
        decisions = await consent.contactability_of(
            self.session, [contact.id for contact in contacts], FOLLOW_UP, self.now
        )
        points = []
        for contact in contacts:
            known = [each for each in decisions[contact.id] if each.decision is not ConsentDecision.UNKNOWN]
            reasons = dict.fromkeys(both(each.reason) for each in known or decisions[contact.id][:1])
            shown = self.evidence(contact, contact.name, *reasons)
            points += [
                Reachable(shown, contact.name, each.channel, each.decision, each.light, each.via, each.reason)
                for each in decisions[contact.id]
            ]
        return tuple(points)

    # ---- what happened -----------------------------------------------------------------------------------------------

    async def done(self, about: ColumnElement[bool]) -> tuple[Done, ...]:
        """The latest activities."""
        recent = (about, Activity.occurred_at > self.now - RECENT, Activity.occurred_at <= self.now)
        rows = await self.all(Activity, *recent, by=[Activity.occurred_at.desc(), Activity.id.desc()], limit=ACTIVITIES)
        return tuple(self._done(row, plain(row.subject), plain(row.body) if row.body else None) for row in rows)

    def _done(self, row: Activity, subject: str, body: str | None) -> Done:
        shown = self.evidence(row, day(row.occurred_at), both(label(ACTIVITY_KINDS, row.kind)), subject, body)
        return Done(shown, row.kind, row.occurred_at, subject, body)

    async def signals(self, about: ColumnElement[bool], *types: str) -> list[Signal]:
        """The latest signals of the types."""
        recent = (about, Signal.type.in_(types), Signal.occurred_at > self.now - RECENT, Signal.occurred_at <= self.now)
        return await self.all(Signal, *recent, by=[Signal.occurred_at.desc(), Signal.id.desc()], limit=SIGNALS)

    async def concerns(self, account: Account) -> tuple[Concern, ...]:
        """The concerns whose latest signal raises them."""
        latest: dict[tuple[UUID, str], Signal] = {}
        for signal in await self.signals(Signal.account_id == account.id, "concern_raised", "concern_resolved"):
            # The payload of a person who was erased is empty.
            if category := signal.payload.get("category"):
                latest.setdefault((signal.subject_id, category), signal)
        return tuple(self._concern(signal) for signal in latest.values() if signal.type == "concern_raised")

    def _concern(self, signal: Signal) -> Concern:
        category, words = str(signal.payload["category"]), plain(str(signal.payload["words"]))
        shown = self.evidence(signal, day(signal.occurred_at), both(label(CONCERNS, category)), words)
        return Concern(shown, category, words, signal.occurred_at)

    async def rivals(self, account: Account, deal: Deal | None) -> tuple[Rival, ...]:
        """The competitors that were mentioned, those of other deals aside, and the deal's own."""
        about = Signal.account_id == account.id
        if deal is None:
            return await self.mentioned(about)
        found = await self.mentioned(about & ((Signal.subject_kind != "Opportunity") | (Signal.subject_id == deal.id)))
        key = deal.primary_competitor
        if key is None or key in {rival.key for rival in found}:
            return found
        name = (await self._competitors({key})).get(key, Text(key, key))
        return (*found, Rival(self.evidence(deal.evidence.record, deal.name, both(name)), key, name, None, None))

    async def mentioned(self, about: ColumnElement[bool]) -> tuple[Rival, ...]:
        """The competitors that were mentioned, each with what was said last."""
        latest: dict[str, Signal] = {}
        for mention in await self.signals(about, "competitor_mentioned"):
            if key := mention.payload.get("competitor"):
                latest.setdefault(key, mention)
        names = await self._competitors(latest.keys())
        return tuple(self._rival(key, names.get(key, Text(key, key)), mention) for key, mention in latest.items())

    def _rival(self, key: str, name: Text, mention: Signal) -> Rival:
        words = plain(str(mention.payload.get("words", ""))) or None
        return Rival(
            self.evidence(mention, day(mention.occurred_at), both(name), words), key, name, words, mention.occurred_at
        )

    async def _competitors(self, keys: Collection[str]) -> dict[str, Text]:
        rows = await self.session.execute(select(Competitor).where(Competitor.key.in_(sorted(keys))))
        return {row.key: Text(row.label_zh, row.label_en) for row in rows.scalars()}

    # ---- what it costs -----------------------------------------------------------------------------------------------

    async def orders(self, account: Account) -> tuple[Bought, ...]:
        """The latest orders."""
        of_account = (Order.account_id == account.id, Order.ordered_at <= self.now)
        rows = await self.all(Order, *of_account, by=[Order.ordered_at.desc(), Order.id.desc()], limit=ORDERS)
        return tuple(
            Bought(self.evidence(row, row.number, day(row.ordered_at), row.total.words(Language.ZH)), row.number, row.ordered_at, row.total) for row in rows
        )  # fmt: skip

    async def priced(self, account: Account, deal: Deal | None) -> tuple[Quoted | None, tuple[Line, ...]]:
        """The deal's latest quote and its lines at today's prices; the lines of the latest order where nothing was quoted.

        What the customer has comes before what is still being drafted.
        """
        if deal is None:
            return None, ()
        of_deal = Quote.opportunity_id == deal.id
        latest = [Quote.issued_at.is_(None), Quote.created_at.desc(), Quote.id.desc()]
        for quote in await self.all(Quote, of_deal, by=latest, limit=1):
            items = (
                select(QuoteLine.product_id, QuoteLine.quantity)
                .where(QuoteLine.quote_id == quote.id)
                .order_by(QuoteLine.id)
            )
            return self._quoted(quote), await self._lines(items, quote.currency)
        for order in await self.all(
            Order, Order.account_id == account.id, by=[Order.ordered_at.desc(), Order.id.desc()], limit=1
        ):
            items = (
                select(OrderLine.product_id, OrderLine.quantity)
                .where(OrderLine.order_id == order.id)
                .order_by(OrderLine.id)
            )
            return None, await self._lines(items, order.currency)
        return None, ()

    def _quoted(self, quote: Quote) -> Quoted:
        said = (
            quote.number,
            quote.status.value,
            quote.total.words(Language.ZH),
            day(quote.issued_at),
            day(quote.valid_until),
            quote.payment_terms_days,
        )
        shown = self.evidence(quote, *said)
        return Quoted(
            shown,
            quote.number,
            quote.status.value,
            quote.total,
            quote.issued_at,
            quote.valid_until,
            quote.payment_terms_days,
        )

    async def calculated(self, deal: Deal | None) -> Calculated | None:
        """The deal's latest ROI calculation."""
        if deal is None:
            return None
        latest = [RoiCalculation.calculated_at.desc(), RoiCalculation.id.desc()]
        for row in await self.all(RoiCalculation, RoiCalculation.opportunity_id == deal.id, by=latest, limit=1):
            used = (KnowledgeVersion.item_id == row.item_id) & (KnowledgeVersion.number == row.version_number)
            title = (await self.session.execute(select(KnowledgeVersion.title).where(used))).scalar_one()
            results = tuple(_return(each) for each in row.results if each["value"] is not None)
            said = [f"{both(each.label)} {both(each.words)}" for each in results]
            shown = self.evidence(row, title, row.version_number, day(row.calculated_at), *said)
            return Calculated(shown, title, row.version_number, row.calculated_at, results)
        return None

    async def _lines(self, items: Any, currency: str) -> tuple[Line, ...]:
        """The items that have a price in the currency now."""
        wanted = [(row.product_id, row.quantity) for row in await self.session.execute(items)]
        in_force = (PriceBookEntry.valid_from <= self.now) & or_(
            PriceBookEntry.valid_to.is_(None), PriceBookEntry.valid_to > self.now
        )
        rows = await self.session.execute(
            select(Product, PriceBookEntry).join(PriceBookEntry, PriceBookEntry.product_id == Product.id)
            .where(Product.id.in_([product_id for product_id, _ in wanted]), PriceBookEntry.currency == currency, in_force).order_by(PriceBookEntry.valid_from)
        )  # fmt: skip
        prices = {product.id: (product, entry) for product, entry in rows}
        return tuple(
            self._line(*prices[product_id], quantity) for product_id, quantity in wanted if product_id in prices
        )

    def _line(self, product: Product, entry: PriceBookEntry, quantity: int) -> Line:
        name, list_price, floor = (
            Text(product.name_zh, product.name_en),
            Money(entry.list_minor, entry.currency),
            Money(entry.floor_minor, entry.currency),
        )
        shown = self.evidence(entry, product.code, both(name), list_price.words(Language.ZH), floor.words(Language.ZH))
        return Line(shown, name, product.code, quantity, list_price, floor)


def _looked(signal: Signal, now: datetime) -> Looked:
    title = plain(str(signal.payload.get("title") or signal.payload.get("text") or ""))
    return Looked(
        Evidence(signal.ref(), now, in_words(day(signal.occurred_at), title)), signal.type, signal.occurred_at, title
    )


def _return(held: dict[str, Any]) -> Return:
    measure, value = unit(held["unit"]), Decimal(held["value"])
    zh, en = (measure.written(value, held["decimals"], language) for language in (Language.ZH, Language.EN))
    percent = "%" if measure.name == "percent" else ""
    counted = Text(*(measure.currency or percent or measure.words(language) for language in (Language.ZH, Language.EN)))
    return Return(held["key"], Text(held["zh"], held["en"]), value, counted, Text(zh, en))
