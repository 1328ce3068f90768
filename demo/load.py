"""Loading the demo company into an empty database, through the same operations as real data."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from sqlalchemy import func, select

import knowledge
from domain import accounts, activities, commerce, consent, deals, leads, people, signals
from domain.accounts import Account, BuyingRole, Channel, Contact, LifecycleStage
from domain.activities import ActivityKind
from domain.commerce import Item
from domain.consent import ConsentStatus
from domain.deals import ForecastCategory, Opportunity, Stage, StagePlan, Stance
from domain.kernel import SYSTEM, Actor, Conflict, Database, Language, Money, Ref, Role, Text, UnitOfWork, money
from domain.leads import Lead, LeadGrade, LeadStatus
from domain.people import User
from domain.signals import Fact
from knowledge import Content, Facets, KnowledgeItem, KnowledgeKind

FOLDER = Path(__file__).parent
CURRENCY = "CNY"
KNOWLEDGE_BATCH = 20
FOLLOWED_DAYS = 180
"""How far back derived signals reach: the window that briefs look at."""

Record = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many of each were loaded."""

    accounts: int
    leads: int
    opportunities: int
    knowledge_items: int


@dataclass(slots=True)
class Company:
    """What has been loaded so far, by the keys that the files use."""

    now: datetime
    users: dict[str, UUID] = field(default_factory=dict)
    actors: dict[str, Actor] = field(default_factory=dict)
    brands: dict[str, UUID] = field(default_factory=dict)
    stages: dict[str, dict[str, Stage]] = field(default_factory=dict)
    products: dict[str, UUID] = field(default_factory=dict)
    titles: dict[str, list[str]] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)

    def ago(self, days: float) -> datetime:
        """The instant that many days before now."""
        return self.now - timedelta(days=days)


async def load(database: Database, *, progress: Progress | None = None) -> Summary:
    """Load everything.

    Raises Conflict when the database has users or accounts already.
    """
    if not await is_empty(database):
        raise Conflict(Text("数据库中已有数据，演示公司只加载到空库", "the database has data: the demo company is loaded into an empty one only"))
    files = sorted((FOLDER / "accounts").glob("*.yaml"))
    entries = [read_entry(path) for path in sorted((FOLDER / "knowledge").glob("*/*.md"))]
    batches = [entries[start : start + KNOWLEDGE_BATCH] for start in range(0, len(entries), KNOWLEDGE_BATCH)]
    total, done = len(files) + len(batches) + 2, 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    company = Company(database.clock())
    await _found(database, company)
    step()
    for path in files:
        await _load_account(database, company, yaml.safe_load(path.read_text(encoding="utf-8")))
        step()
    found = yaml.safe_load((FOLDER / "leads.yaml").read_text(encoding="utf-8"))
    for number, given in enumerate(found):
        await _load_lead(database, company, number, given)
    async with database.open_uow(SYSTEM) as uow:
        await signals.record_many(uow, company.facts, source="demo")
    step()
    for batch in batches:
        await _load_knowledge(database, company, batch)
        step()
    return await _summary(database)


async def is_empty(database: Database) -> bool:
    """Whether nobody has put users or accounts into the database."""
    async with database.read() as connection:
        found = [(await connection.execute(select(model.id).limit(1))).first() for model in (User, Account)]
    return found == [None, None]


async def _summary(database: Database) -> Summary:
    async with database.read() as connection:
        counts = [(await connection.execute(select(func.count()).select_from(model))).scalar_one() for model in (Account, Lead, Opportunity, KnowledgeItem)]
    return Summary(*counts)


# ---- the seller ------------------------------------------------------------------------------------------------------


async def _found(database: Database, company: Company) -> None:
    base = yaml.safe_load((FOLDER / "company.yaml").read_text(encoding="utf-8"))
    company.titles = base["titles"]
    async with database.open_uow(SYSTEM) as uow:
        territories: dict[str, people.Territory] = {}
        for given in base["territories"]:
            territories[given["key"]] = await people.add_territory(uow, key=given["key"], label=Text(given["zh"], given["en"]), parent=territories.get(given.get("parent", "")))
            await uow.session.flush()
        for given in base["brands"]:
            company.brands[given["key"]] = (await people.add_brand(uow, key=given["key"], label=Text(given["zh"], given["en"]))).id
        for given in base["users"]:
            user = await people.add_user(uow, name=given["name"], email=f"{given['mail']}@example.com")
            await uow.session.flush()
            company.users[user.email] = user.id
            for role in given["roles"]:
                for key in given.get("territories", [None]):
                    await people.grant_role(uow, user, Role(role), territory=territories.get(key))
        await consent.ensure_purposes(uow)
        for given in base["competitors"]:
            await deals.ensure_competitor(uow, given["key"], Text(given["zh"], given["en"]))
        for given in base["pipelines"]:
            company.stages[given["key"]] = await deals.ensure_pipeline(uow, given["key"], Text(given["zh"], given["en"]), [_stage(stage) for stage in given["stages"]])
        for given in base["products"]:
            product = await commerce.add_product(
                uow, code=given["code"], name=Text(given["zh"], given["en"]), list_price=_yuan(given["list"]), floor_price=_yuan(given["floor"]), series=given["series"]
            )
            company.products[product.code] = product.id
    async with database.read() as connection:
        for email in company.users:
            company.actors[email] = await people.sign_in(connection, database.clock(), email=email)


def _stage(given: Record) -> StagePlan:
    return StagePlan(
        given["key"], Text(given["zh"], given["en"]), given.get("closed", False), given.get("won", False), given.get("days"), ForecastCategory(given["category"])
    )


def _yuan(amount: float | str) -> Money:
    return money(Decimal(str(amount)), CURRENCY)


# ---- customers -------------------------------------------------------------------------------------------------------


async def _load_account(database: Database, company: Company, given: Record) -> None:
    owner = given["owner"]
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(
            uow, name=given["name"], industry=given["industry"], region=given["region"], owner_id=company.users[owner], brand_id=company.brands[given["brand"]],
            lifecycle_stage=LifecycleStage(given["lifecycle"]), credit_grade=given["credit_grade"], employees=given["employees"],
        )  # fmt: skip
        await uow.session.flush()
        contacts = {person["key"]: await _contact(uow, company, person, account) for person in given["contacts"]}
        for order in given.get("orders", []):
            await commerce.place_order(uow, number=order["number"], account_id=account.id, ordered_at=company.ago(order["days"]), items=_items(company, order["lines"]))
            _derive_payments(company, account, order)
        opened = [(await _opportunity(uow, company, account, contacts, deal), deal) for deal in given["opportunities"]]
    for opportunity, deal in opened:
        await _log(database, company, owner, opportunity.ref(), deal.get("activities", []))
        _tell(company, opportunity.ref(), account.id, deal)
        _derive_interest(company, opportunity, deal, account)
    await _log(database, company, owner, account.ref(), given.get("activities", []))


async def _contact(uow: UnitOfWork, company: Company, given: Record, account: Account | None) -> Contact:
    contact = await accounts.create_contact(
        uow, name=given["name"], account_id=account.id if account else None, title=given.get("title"), buying_role=BuyingRole(given["role"])
    )
    await uow.session.flush()
    for channel in (Channel.PHONE, Channel.WECHAT, Channel.EMAIL):
        address = given.get(channel.value.lower())
        if address:
            await accounts.add_contact_point(uow, contact, channel, address, verified_at=company.ago(120))
    await _consents(uow, company, contact.id, given.get("consents", []))
    return contact


async def _consents(uow: UnitOfWork, company: Company, contact_id: UUID, given: Sequence[Record]) -> None:
    for one in given:
        at = company.ago(one["days"])
        # A yes that has ended is told by its end: what was agreed long ago and only for some time.
        expired = one["status"] == "EXPIRED"
        expires = company.ago(1) if expired else company.now + timedelta(days=one["expires_in_days"]) if "expires_in_days" in one else None
        await consent.record(
            uow, contact_id=contact_id, purpose=one["purpose"], channel=Channel(one["channel"]), status=ConsentStatus(one["status"]), source=one["source"],
            evidence=one.get("evidence"), occurred_at=at, expires_at=expires,
        )  # fmt: skip


def _items(company: Company, lines: Sequence[Record]) -> list[Item]:
    return [Item(company.products[line["code"]], line["quantity"], _yuan(line["price"])) for line in lines]


async def _opportunity(uow: UnitOfWork, company: Company, account: Account, contacts: dict[str, Contact], given: Record) -> Opportunity:
    stages = company.stages[given["pipeline"]]
    (first, opened), *later = given["path"]
    opportunity = await deals.open_opportunity(
        uow, name=given["name"], stage=stages[first], account_id=account.id, amount=_yuan(given["amount"]), opened_at=company.ago(opened),
        close_date=(company.now + timedelta(days=given["close_in_days"])).date(), primary_competitor=given.get("competitor"),
    )  # fmt: skip
    for key, days in later:
        await deals.move_opportunity(uow, opportunity, stages[key], at=company.ago(days), loss_reason=given.get("loss_reason") if key.endswith("lost") else None)
    for seat in given.get("seats", []):
        covered = company.ago(seat["covered_days"]) if "covered_days" in seat else None
        await deals.set_contact_role(uow, opportunity, contacts[seat["contact"]], BuyingRole(seat["role"]), stance=Stance(seat["stance"]), covered_at=covered)
    for offer in given.get("quotes", []):
        await commerce.issue_quote(
            uow, number=offer["number"], opportunity_id=opportunity.id, items=_items(company, offer["lines"]), payment_terms_days=offer["terms_days"],
            issued_at=company.ago(offer["days"]), valid_until=(company.now + timedelta(days=offer["valid_in_days"])).date(),
        )  # fmt: skip
    return opportunity


async def _log(database: Database, company: Company, owner: str, subject: Ref, given: Sequence[Record]) -> None:
    """Log activities as the colleague who did them."""
    if not given:
        return
    async with database.open_uow(company.actors[owner]) as uow:
        for one in given:
            await activities.log(uow, related_to=subject, kind=ActivityKind(one["kind"]), subject=one["subject"], body=one.get("body"), occurred_at=company.ago(one["days"]))


# ---- leads -----------------------------------------------------------------------------------------------------------


async def _load_lead(database: Database, company: Company, number: int, given: Record) -> None:
    async with database.open_uow(SYSTEM) as uow:
        lead = await leads.capture(
            uow, source=given["source"], external_id=f"demo-{number + 1:03}", name=given["name"], company=given.get("company"), phone=given.get("phone"),
            email=given.get("email"), wechat=given.get("wechat"), region=given.get("region"), industry=given.get("industry"), interest=given.get("interest"),
            budget=_yuan(given["budget"]) if "budget" in given else None, channel=Channel(given["channel"]), captured_at=company.ago(given["days"]),
            owner_id=company.users[given["owner"]] if "owner" in given else None,
        )  # fmt: skip
        lead.grade = LeadGrade(given["grade"]) if "grade" in given else None
        lead.status = LeadStatus(given["status"]) if "status" in given else lead.status
        await _consents(uow, company, lead.contact_id, given.get("consents", []))
        uow.note("lead.graded", lead)
    for place, one in enumerate(given.get("signals", [])):
        payload = {"text": one["text"]} if "text" in one else {"title": one["title"]}
        company.facts.append(Fact(one["type"], lead.ref(), "demo", f"lead-{number}-{place}", company.ago(one["days"]), payload, None, lead.contact_id))
    _tell(company, lead.ref(), None, given)
    if "owner" in given:
        await _log(database, company, given["owner"], lead.ref(), given.get("activities", []))


# ---- signals ---------------------------------------------------------------------------------------------------------


def _tell(company: Company, subject: Ref, account_id: UUID | None, given: Record) -> None:
    """What the customer said, as signals: concerns raised and settled, competitors named."""
    for place, one in enumerate(given.get("concerns", [])):
        key = f"{subject}-concern-{place}"
        company.facts.append(Fact("concern_raised", subject, "demo", key, company.ago(one["days"]), {"category": one["category"], "words": one["words"]}, account_id))
        if "resolved_days" in one:
            company.facts.append(Fact("concern_resolved", subject, "demo", f"{key}-settled", company.ago(one["resolved_days"]), {"category": one["category"]}, account_id))
    for place, one in enumerate(given.get("competitors", [])):
        payload = {"competitor": one["key"], "words": one["words"]}
        company.facts.append(Fact("competitor_mentioned", subject, "demo", f"{subject}-rival-{place}", company.ago(one["days"]), payload, account_id))


def _derive_payments(company: Company, account: Account, order: Record) -> None:
    due = order["days"] - commerce.STANDARD_PAYMENT_TERMS_DAYS
    if 0 < due < FOLLOWED_DAYS:
        company.facts.append(Fact("payment_received", account.ref(), "demo", f"{order['number']}-paid", company.ago(due), {"order": order["number"], "share": 1}, account.id))


def _derive_interest(company: Company, opportunity: Opportunity, given: Record, account: Account) -> None:
    """What buyers did between our visits: each week that the deal was open one of the things that fit its stage."""
    reached = [(key, float(days)) for key, days in given["path"]]
    titles = company.titles[account.industry or ""]
    end = 0.0 if not reached[-1][0].endswith(("won", "lost")) else reached[-1][1]
    for week, days in enumerate(_weeks(min(reached[0][1], FOLLOWED_DAYS - 1), end)):
        stage = [key for key, since in reached if since >= days][-1]
        kind, payload = _doing(stage, titles, week, given)
        company.facts.append(Fact(kind, opportunity.ref(), "demo", f"{opportunity.id.hex}-{week}", company.ago(days), payload, account.id))


def _weeks(start: float, end: float) -> Iterator[float]:
    days = start
    while days > end:
        yield days
        days -= 4.6


def _doing(stage: str, titles: Sequence[str], week: int, given: Record) -> tuple[str, Record]:
    title = titles[week % len(titles)]
    if given.get("quotes") and stage in {"proposal", "negotiate"}:
        number = given["quotes"][0]["number"]
        return ("quote_opened", {"number": number}) if week % 2 else ("email_opened", {"title": title})
    if stage.startswith("renew"):
        return "usage_reported", {"module": title, "hours": 20 + 7 * (week % 5)}
    kinds = ("page_viewed", "document_downloaded", "email_opened") if stage in {"qualify", "discover"} else ("document_downloaded", "page_viewed", "event_attended")
    return kinds[week % len(kinds)], {"title": title}


# ---- knowledge -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One knowledge file: front matter and body."""

    path: Path
    head: Record
    body: str


def read_entry(path: Path) -> Entry:
    """A Markdown file with front matter.

    Raises ValueError for a file without it.
    """
    opening, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    if opening:
        raise ValueError(f"{path}: text before the front matter")
    return Entry(path, yaml.safe_load(head), body.strip())


async def _load_knowledge(database: Database, company: Company, entries: Sequence[Entry]) -> None:
    """Each entry is drafted and handed in by its owner, and published by the other curator."""
    curators = sorted(email for email, actor in company.actors.items() if Role.CURATOR in actor.roles)
    for owner in curators:
        other = next(email for email in curators if email != owner)
        mine = [entry for entry in entries if entry.head["owner"] == owner]
        drafted = []
        async with database.open_uow(company.actors[owner]) as uow:
            for entry in mine:
                item = await knowledge.draft(uow, kind=KnowledgeKind(entry.head["kind"]), language=Language(entry.head["language"]), content=_content(company, entry))
                await knowledge.submit(uow, item.id, None)
                drafted.append(item.id)
        async with database.open_uow(company.actors[other]) as uow:
            for item_id in drafted:
                await knowledge.publish(uow, item_id, None)


def _content(company: Company, entry: Entry) -> Content:
    head = entry.head
    facets = Facets(**{name: tuple(head.get(name) or ()) for name in ("concerns", "stages", "roles", "industries", "competitors", "regions")})
    expires = company.now + timedelta(days=head["expires_in_days"]) if "expires_in_days" in head else None
    effective = company.ago(head["effective_days_ago"]) if "effective_days_ago" in head else None
    return Content(head["title"], entry.body, facets, expires_at=expires, effective_from=effective)


