"""The demo company: big enough, fresh, complete for a brief, the same each time, and written by hand."""

import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.context import gather_account, gather_lead
from assistant.model import RoiCalculation
from assistant.wording import CONCERNS, INDUSTRIES
from demo import Summary, load, records, story
from domain import custom_fields, ledger
from domain.accounts import Account, Contact, ContactPoint
from domain.activities import Activity
from domain.commerce import (
    Order,
    OrderLine,
    Payment,
    PaymentStatus,
    PriceBookEntry,
    Product,
    Quote,
    QuoteLine,
    payment_status,
    purchase_cycle,
)
from domain.consent import ConsentDecision, ConsentGrant, ConsentStatus
from domain.deals import Opportunity, OpportunityContactRole, Pipeline, Stage, StageTransition
from domain.kernel import Conflict, Database, Invalid, Role, rows_visible
from domain.leads import DuplicateVerdict, Lead, LeadStatus
from domain.people import RoleGrant, User
from domain.signals import Signal
from knowledge import KnowledgeItem, KnowledgeState, KnowledgeVersion
from tests.conftest import remove_data
from tests.factories import SIGNER, Board, Clock, Ids, sign_in, verify_ledger

WINDOW = timedelta(days=180)
REPS = ("lei.zhang@example.com", "na.li@example.com")
USERS = {
    "lei.zhang": Role.REP, "na.li": Role.REP, "min.wang": Role.MANAGER, "fang.chen": Role.FINANCE, "jun.he": Role.LEGAL, "yu.zhao": Role.CURATOR,
    "lan.xu": Role.CURATOR, "ke.sun": Role.AUDITOR, "rui.gao": Role.SALES_OPS, "admin": Role.ADMIN, "wei.tang": Role.DPO, "xu.han": Role.EXECUTIVE,
}  # fmt: skip


class Loaded:
    """A database with the demo company in it, what loading said, and the clock at which it happened."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.steps: list[tuple[int, int]] = []
        self.summary: Summary | None = None

    async def rows(self, statement: Any) -> list[Any]:
        async with self.database.read() as connection:
            return list((await connection.execute(statement)).all())

    async def count(self, model: type[Any]) -> int:
        return int((await self.rows(select(func.count()).select_from(model)))[0][0])


@pytest.fixture(scope="module")
async def demo(shared_database: Database) -> AsyncIterator[Loaded]:
    clock = Clock()
    shared_database.clock, shared_database.new_id = clock, Ids(clock)
    loaded = Loaded(shared_database, clock)
    try:
        loaded.summary = await load(shared_database, progress=lambda done, total: loaded.steps.append((done, total)))
        yield loaded
    finally:
        await remove_data(shared_database)


# ---- how much there is -----------------------------------------------------------------------------------------------


async def test_there_is_enough_of_everything(demo: Loaded) -> None:
    least = {Account: 16, Contact: 48, Lead: 64, Opportunity: 52, KnowledgeItem: 150}
    assert {
        model.__name__: await demo.count(model) for model, number in least.items() if await demo.count(model) < number
    } == {}
    recent = [
        (await demo.rows(select(func.count()).select_from(model).where(model.occurred_at > demo.clock.now - WINDOW)))[
            0
        ][0]
        for model in (Signal, Activity)
    ]
    assert sum(recent) >= 800


async def test_the_summary_counts_what_is_there(demo: Loaded) -> None:
    models = (User, Account, Contact, Opportunity, Order, Quote, Lead, ConsentGrant, Activity, Signal, KnowledgeItem)
    assert demo.summary == Summary(*[await demo.count(model) for model in models])


async def test_progress_counts_up_to_its_total(demo: Loaded) -> None:
    total = demo.steps[0][1]
    assert demo.steps == [(done, total) for done in range(1, total + 1)]


async def test_notes_are_written_by_hand(demo: Loaded) -> None:
    notes = await demo.rows(select(Activity.subject, Activity.body))
    assert len({(note.subject, note.body) for note in notes}) == len(notes) >= 120
    assert all(note.body for note in notes)


async def test_a_second_loading_is_refused_and_changes_nothing(demo: Loaded) -> None:
    before = [await demo.count(model) for model in (User, Account, Lead, Signal, KnowledgeItem)]
    with pytest.raises(Conflict) as refused:
        await load(demo.database)
    assert "演示公司" in refused.value.text.zh
    assert [await demo.count(model) for model in (User, Account, Lead, Signal, KnowledgeItem)] == before


# ---- who is there ----------------------------------------------------------------------------------------------------


async def test_the_fixed_users_hold_their_roles(demo: Loaded) -> None:
    rows = await demo.rows(select(User.email, RoleGrant.role).join(RoleGrant, RoleGrant.user_id == User.id))
    assert {(f"{mail}@example.com", role) for mail, role in USERS.items()} <= {(row.email, row.role) for row in rows}


async def test_each_rep_sees_the_own_accounts_alone_and_the_manager_all(demo: Loaded) -> None:
    seen = {}
    for email in (*REPS, "min.wang@example.com"):
        actor = await sign_in(demo.database, email)
        seen[email] = {row.id for row in await demo.rows(select(Account.id).where(rows_visible(Account, actor)))}
    assert seen[REPS[0]].isdisjoint(seen[REPS[1]])
    assert all(len(seen[rep]) >= 7 for rep in REPS)
    assert seen["min.wang@example.com"] == seen[REPS[0]] | seen[REPS[1]]


async def test_activities_belong_to_those_who_did_them(demo: Loaded) -> None:
    reps = {row.id for row in await demo.rows(select(User.id).where(User.email.in_(REPS)))}
    rows = await demo.rows(
        select(Activity.owner_id, Account.owner_id.label("keeper")).join(Account, Account.id == Activity.account_id)
    )
    assert {row.owner_id for row in rows} == reps
    assert all(row.owner_id == row.keeper for row in rows)


async def test_addresses_are_invented(demo: Loaded) -> None:
    points = await demo.rows(select(ContactPoint.channel, ContactPoint.match_key))
    telephones = [row.match_key for row in points if row.channel.value == "PHONE"]
    letters = [row.match_key for row in points if row.channel.value == "EMAIL"]
    assert telephones
    assert [key for key in telephones if not re.fullmatch(r"\+8613[89]0000\d{4}", key)] == []
    assert letters
    assert [key for key in letters if not key.endswith("@example.com")] == []


# ---- when it happened ------------------------------------------------------------------------------------------------


async def test_what_happened_lies_within_half_a_year(demo: Loaded) -> None:
    now = demo.clock.now
    # Payments are as old as their orders.
    beside_payments = Signal.type != "payment_received"
    for model, which in ((Activity, true()), (Signal, beside_payments)):
        ends = select(func.min(model.occurred_at), func.max(model.occurred_at)).where(which)
        oldest, newest = (await demo.rows(ends))[0]
        assert now - WINDOW <= oldest
        assert newest <= now


async def test_deals_go_forward_in_time(demo: Loaded) -> None:
    stays: dict[Any, list[Any]] = defaultdict(list)
    for row in await demo.rows(
        select(StageTransition.opportunity_id, StageTransition.entered_at, StageTransition.left_at)
    ):
        stays[row.opportunity_id].append(row)
    for deal in stays.values():
        deal.sort(key=lambda row: row.entered_at)
        assert [before.left_at for before, _ in pairwise(deal)] == [after.entered_at for _, after in pairwise(deal)]
        assert deal[-1].left_at is None
        assert deal[-1].entered_at <= demo.clock.now


# ---- what a brief needs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("email", REPS)
async def test_every_account_of_a_rep_has_what_a_brief_needs(demo: Loaded, email: str) -> None:
    actor = await sign_in(demo.database, email)
    owned = await demo.rows(
        select(Account.id, Account.name).join(User, User.id == Account.owner_id).where(User.email == email)
    )
    assert owned
    for id, name in owned:
        async with AsyncSession(demo.database.reader) as session:
            facts = await gather_account(session, actor, demo.clock.now, id, None)
        lacking = [
            part for part, held in {
                "deal": facts.deal, "people": [person for person in facts.people if person.role], "activity": facts.done,
                "prices": facts.lines, "consent": facts.reachable, "region": facts.region, "industry": facts.industry in INDUSTRIES,
            }.items() if not held
        ]  # fmt: skip
        assert lacking == [], name


async def test_every_stage_holds_a_deal(demo: Loaded) -> None:
    rows = await demo.rows(
        select(Pipeline.key, Stage.key, func.count(Opportunity.id))
        .join(Stage, Stage.pipeline_id == Pipeline.id)
        .outerjoin(Opportunity, Opportunity.stage_id == Stage.id)
        .group_by(Pipeline.key, Stage.key)
    )
    assert {row[0] for row in rows} == {"new_business", "renewal"}
    assert [tuple(row)[:2] for row in rows if row[2] == 0] == []


async def test_every_open_deal_has_a_next_step_of_its_own_and_a_probability(demo: Loaded) -> None:
    deals = await demo.rows(
        select(Opportunity.next_step, Opportunity.declared_probability).where(Opportunity.closed_at.is_(None))
    )
    assert len({deal.next_step for deal in deals} - {None}) == len(deals)
    assert all(0 < deal.declared_probability < 100 for deal in deals)


async def test_committees_are_partly_covered(demo: Loaded) -> None:
    seats = await demo.rows(select(OpportunityContactRole.covered_at))
    covered = sum(seat.covered_at is not None for seat in seats)
    assert 0 < covered < len(seats)


async def test_concerns_are_open_and_settled_in_the_words_of_customers(demo: Loaded) -> None:
    rows = await demo.rows(
        select(Signal.type, Signal.payload).where(Signal.type.in_(("concern_raised", "concern_resolved")))
    )
    assert {row.payload["category"] for row in rows} <= CONCERNS.keys()
    raised = [row.payload["words"] for row in rows if row.type == "concern_raised"]
    settled = sum(row.type == "concern_resolved" for row in rows)
    assert len(raised) >= 30
    assert 0 < settled < len(raised)
    assert len({row.payload["category"] for row in rows}) >= 12


async def test_ten_accounts_buy_at_unequal_intervals(demo: Loaded) -> None:
    orders: dict[Any, list[Any]] = defaultdict(list)
    for row in await demo.rows(select(Order.account_id, Order.ordered_at)):
        orders[row.account_id].append((row.ordered_at, None))
    cycles = [cycle for dated in orders.values() if (cycle := purchase_cycle(dated, demo.clock.now)) is not None]
    assert len(cycles) >= 10
    assert len({cycle.interval_days for cycle in cycles}) >= 6
    assert len({cycle.swing_days for cycle in cycles}) >= 3


async def test_quotes_have_lines_long_terms_and_one_near_the_floor(demo: Loaded) -> None:
    quotes = await demo.rows(select(Quote.id, Quote.total_minor, Quote.payment_terms_days))
    sums: Counter[Any] = Counter()
    shares = []
    priced = {
        row.product_id: row
        for row in await demo.rows(
            select(PriceBookEntry.product_id, PriceBookEntry.list_minor, PriceBookEntry.floor_minor)
        )
    }
    for line in await demo.rows(
        select(QuoteLine.quote_id, QuoteLine.product_id, QuoteLine.quantity, QuoteLine.unit_price_minor)
    ):
        sums[line.quote_id] += line.quantity * line.unit_price_minor
        price = priced[line.product_id]
        shares.append((line.unit_price_minor - price.floor_minor) / (price.list_minor - price.floor_minor))
    assert len(quotes) >= 10
    assert {quote.id: quote.total_minor for quote in quotes} == dict(sums)
    assert max(quote.payment_terms_days for quote in quotes) >= 60
    assert 0 <= min(shares) <= 0.25


async def test_consent_is_of_every_kind(demo: Loaded) -> None:
    grants = await demo.rows(select(ConsentGrant.status, ConsentGrant.channel, ConsentGrant.purpose))
    assert {grant.status for grant in grants} == set(ConsentStatus)
    assert len({grant.channel for grant in grants}) >= 4
    assert {"sales_follow_up", "marketing", "service"} <= {grant.purpose for grant in grants}


# ---- what customers do -----------------------------------------------------------------------------------------------


async def test_customers_read_about_what_they_are_buying(demo: Loaded) -> None:
    about = {
        title: material.product
        for material in records.company().material
        for pairs in (
            material.page_viewed,
            material.document_downloaded,
            material.email_opened,
            material.event_attended,
        )
        for pair in pairs
        for title in pair
    }
    read: dict[str, set[str]] = defaultdict(set)
    of_deals = select(Opportunity.name, Signal.payload).join(Signal, Signal.subject_id == Opportunity.id)
    for row in await demo.rows(of_deals.where(Signal.type.in_(("page_viewed", "document_downloaded")))):
        read[row.name].add(about[row.payload["title"]])
    assert read["重症医学科监护仪更新 60 台"] == {"CM-PM8"}
    assert read["转向节产线伺服压装 5 台"] == {"CI-SP5"}
    assert read["Cobot cell for tool grinding, 2 cells"] == {"CI-AR7"}
    assert all(len(products) == 1 for products in read.values())


async def test_the_units_in_use_are_those_that_were_bought(demo: Loaded) -> None:
    """The seller's own field agrees with the orders: machines count, software and service do not."""
    bought: Counter[str] = Counter()
    of_accounts = select(Account.name, OrderLine.quantity, Product.code).join(Order, Order.account_id == Account.id)
    lines = of_accounts.join(OrderLine, OrderLine.order_id == Order.id).join(
        Product, Product.id == OrderLine.product_id
    )
    for row in await demo.rows(lines):
        bought[row.name] += row.quantity if row.code.startswith(("CM-", "CI-")) else 0
    rows = await demo.rows(select(Account.name, Account.custom))
    assert {row.name: (row.custom or {}).get("installed_units", 0) for row in rows} == dict(bought)
    async with demo.database.read() as connection:
        fields = await custom_fields.fields_of(connection, "Account")
    assert set(fields) == {"cooperation_level", "installed_units"}


async def test_signals_are_of_many_kinds_and_titles(demo: Loaded) -> None:
    rows = await demo.rows(select(Signal.type, Signal.payload))
    expected = {
        "page_viewed", "document_downloaded", "email_opened", "event_attended", "usage_reported", "quote_sent", "quote_opened", "payment_received",
        "enquiry_sent", "concern_raised", "concern_resolved", "competitor_mentioned",
    }  # fmt: skip
    assert expected <= {row.type for row in rows}
    assert len({row.payload["title"] for row in rows if "title" in row.payload}) >= 80


async def test_every_quote_on_a_deal_is_sent_when_it_is_issued(demo: Loaded) -> None:
    sent = {
        row.payload["number"]: row.occurred_at.date()
        for row in await demo.rows(select(Signal.payload, Signal.occurred_at).where(Signal.type == "quote_sent"))
    }
    quotes = await demo.rows(select(Quote.number, Quote.issued_at))
    assert sent == {quote.number: quote.issued_at.date() for quote in quotes}


async def test_every_order_is_owed_in_full_and_late_payers_are_late(demo: Loaded) -> None:
    owed: dict[str, int] = defaultdict(int)
    stands = set()
    payments = select(Payment.amount_minor, Payment.received_minor, Payment.due_on, Order.number, Account.credit_grade)
    joined = payments.join(Order, Order.id == Payment.order_id).join(Account, Account.id == Payment.account_id)
    for row in await demo.rows(joined):
        owed[row.number] += row.amount_minor
        status = payment_status(row.amount_minor, row.received_minor, row.due_on, Clock().now.date())
        assert status is not PaymentStatus.OVERDUE or row.credit_grade == "C"
        stands.add(status)
    assert owed == {row.number: row.total_minor for row in await demo.rows(select(Order.number, Order.total_minor))}
    assert stands == {PaymentStatus.PAID, PaymentStatus.OVERDUE}
    told = Counter(
        row.payload["order"] for row in await demo.rows(select(Signal.payload).where(Signal.type == "payment_received"))
    )
    assert set(told) == set(owed)


def test_things_happen_in_office_hours_and_never_ahead() -> None:
    now = Clock().now.replace(hour=23)
    for salt in ("电话", "拜访", "visit"):
        told = story.instant(now, 3, salt).astimezone(story.SHANGHAI)
        assert 9 <= told.hour < 17
        assert told.date() == (now - timedelta(days=3)).astimezone(story.SHANGHAI).date()
    assert story.instant(now.replace(hour=0), 0, "电话") <= now.replace(hour=0)


# ---- leads -----------------------------------------------------------------------------------------------------------


async def test_leads_are_of_every_status_source_and_territory(demo: Loaded) -> None:
    rows = await demo.rows(select(Lead.status, Lead.source, Lead.region, Lead.owner_id))
    assert {row.status for row in rows} == set(LeadStatus)
    assert {row.source for row in rows} == {"web_form", "wechat_account", "douyin_form", "phone_400", "trade_fair"}
    assert {row.region for row in rows} == {"east_china", "south_china"}
    assert sum(row.owner_id is None for row in rows) >= 4


async def test_each_lead_stands_where_its_owner_left_it(demo: Loaded) -> None:
    written = Counter(
        (lead.name, lead.status, lead.grade, lead.reason or None) for lead in records.leads() if lead.status
    )
    rows = await demo.rows(
        select(Lead.name, Lead.status, Lead.grade, Lead.disqualify_reason).where(
            Lead.status.not_in((LeadStatus.NEW, LeadStatus.ASSIGNED))
        )
    )
    assert Counter(tuple(row) for row in rows) == written


async def test_converted_leads_are_the_deals_that_they_became(demo: Loaded) -> None:
    became = select(Lead.name, Opportunity.name, Lead.converted_account_id == Opportunity.account_id)
    rows = await demo.rows(became.join(Opportunity, Opportunity.id == Lead.converted_opportunity_id))
    written = [(lead.name, lead.deal, True) for lead in records.leads() if lead.status is LeadStatus.CONVERTED]
    assert sorted(tuple(row) for row in rows) == sorted(written)
    of_leads = select(Activity.opportunity_id).join(Lead, Lead.id == Activity.lead_id)
    carried = await demo.rows(of_leads.where(Lead.status == LeadStatus.CONVERTED))
    assert carried
    assert all(row.opportunity_id is not None for row in carried)


async def test_two_leads_repeat_others(demo: Loaded) -> None:
    rows = await demo.rows(
        select(Lead.duplicate_verdict, Lead.duplicate_of_id).where(Lead.duplicate_verdict != DuplicateVerdict.NONE)
    )
    assert {row.duplicate_verdict for row in rows} == {DuplicateVerdict.CERTAIN, DuplicateVerdict.POSSIBLE}
    assert all(row.duplicate_of_id is not None for row in rows)


async def test_dormant_leads_tell_what_they_looked_at(demo: Loaded) -> None:
    asleep = (
        select(Lead.id, User.email)
        .join(User, User.id == Lead.owner_id)
        .where(Lead.last_activity_at < demo.clock.now - timedelta(hours=72))
    )
    telling = 0
    for id, email in await demo.rows(asleep):
        async with AsyncSession(demo.database.reader) as session:
            facts = await gather_lead(session, await sign_in(demo.database, email), demo.clock.now, id, None)
        telling += len(facts.looked) >= 2 and all(item.title for item in facts.looked)
    assert telling >= 8


async def test_one_lead_has_refused_every_channel_in_writing(demo: Loaded) -> None:
    lead = (await demo.rows(select(Lead.id, Lead.contact_id).where(Lead.name == "韦一鸣")))[0]
    async with AsyncSession(demo.database.reader) as session:
        facts = await gather_lead(session, await sign_in(demo.database, REPS[0]), demo.clock.now, lead.id, None)
    assert facts.allowed_channel() is None
    assert ConsentDecision.DENY in {point.decision for point in facts.reachable}
    said = await demo.rows(
        select(ConsentGrant.evidence).where(
            ConsentGrant.contact_id == lead.contact_id, ConsentGrant.status == ConsentStatus.OPT_OUT
        )
    )
    assert any("书面" in (row.evidence or "") for row in said)


# ---- nothing lost, nothing taken that is wrong ------------------------------------------------------------------------


async def test_the_ledger_is_sound_once_it_is_sealed(demo: Loaded) -> None:
    await ledger.seal(demo.database, SIGNER, Board())
    found = await verify_ledger(demo.database)
    assert found.problem is None
    assert found.sealed == found.events > 1_000


def test_an_unknown_key_or_a_missing_value_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    (tmp_path / "leads.yaml").write_text(
        "- {name: 周敏, source: web_form, region: 华东, interest: 彩超, days: 9, telefon: '1'}", encoding="utf-8"
    )
    with pytest.raises(Invalid) as refused:
        records.leads()
    assert "leads.yaml" in refused.value.text.zh
    assert "0.telefon" in refused.value.text.zh


# ---- the same each time ----------------------------------------------------------------------------------------------


def plain(value: Any) -> str:
    """A value in words; the databases keep the fields of a JSON value in orders of their own."""
    return str(sorted(value.items())) if isinstance(value, dict) else str(value)


async def picture(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """What was loaded without its ids."""
    statements: dict[str, Any] = {
        "leads": select(Lead.name, Lead.status, Lead.captured_at, Lead.last_activity_at, Lead.duplicate_verdict),
        "deals": select(
            Opportunity.name, Opportunity.amount_minor, Opportunity.close_date, Opportunity.stage_entered_at
        ),
        "notes": select(Activity.subject, Activity.body, Activity.occurred_at),
        "signals": select(Signal.type, Signal.occurred_at, Signal.payload),
        "orders": select(Order.number, Order.ordered_at, Order.total_minor),
        "knowledge": select(KnowledgeVersion.title, KnowledgeVersion.body, KnowledgeVersion.state),
    }
    async with database.read() as connection:
        return {
            name: sorted(tuple(map(plain, row)) for row in await connection.execute(statement))
            for name, statement in statements.items()
        }


async def test_the_same_now_gives_the_same_company(demo: Loaded, sqlite_database: Database) -> None:
    sqlite_database.new_id = Ids(Clock(demo.clock.now - timedelta(days=3)))
    sqlite_database.clock = Clock(demo.clock.now)
    await load(sqlite_database)
    again, before = await picture(sqlite_database), await picture(demo.database)
    assert {name: again[name] == before[name] for name in before} == dict.fromkeys(before, True)


# ---- knowledge -------------------------------------------------------------------------------------------------------


async def test_entries_are_published_by_the_other_curator(demo: Loaded) -> None:
    rows = await demo.rows(
        select(
            KnowledgeItem.state, KnowledgeItem.owner_id, KnowledgeVersion.author_id, KnowledgeVersion.published_by_id
        ).join(KnowledgeVersion, KnowledgeVersion.item_id == KnowledgeItem.id)
    )
    assert len(rows) == len(records.entries())
    assert {row.state for row in rows} == {KnowledgeState.PUBLISHED}
    assert all(row.owner_id == row.author_id != row.published_by_id for row in rows)


async def test_what_the_reps_calculated_rests_on_records_and_answers(demo: Loaded) -> None:
    rows = await demo.rows(select(RoiCalculation).order_by(RoiCalculation.calculated_at, RoiCalculation.id))
    assert len(rows) == len(records.calculations())
    for row, told in zip(rows, records.calculations(), strict=True):
        sources = {each["key"]: each["source"] for each in row.inputs}
        assert {key for key, source in sources.items() if source == "ANSWER"} == set(told.answers)
        assert all(each["value"] is not None for each in row.results)
    investments = [each["value"] for row in rows for each in row.inputs if each["source"] == "RECORD"]
    assert investments == ["812000.00", "816000.00"]
