"""A lead becomes a deal: exactly once, on the right account, with everything that was learned on the way."""

import asyncio
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from domain import accounts, activities, consent, conversion, custom_fields, deals, leads, signals
from domain.accounts import Account, BuyingRole, Channel, Contact
from domain.activities import Activity, ActivityKind
from domain.consent import ConsentStatus
from domain.conversion import Terms
from domain.custom_fields import CustomFieldEntity, CustomFieldKind
from domain.deals import Opportunity, OpportunityContactRole, Stage, StagePlan
from domain.kernel import (
    SYSTEM,
    Actor,
    Base,
    Conflict,
    Database,
    Invalid,
    Money,
    NotFound,
    Role,
    SalesError,
    StaleVersion,
    Text,
)
from domain.leads import Lead, LeadStatus
from domain.ledger import AuditEvent
from domain.signals import Signal
from tests.factories import START, Clock, add_colleague, add_territories

PLAN = [
    StagePlan("discovery", Text("需求确认", "Discovery")),
    StagePlan("proposal", Text("方案报价", "Proposal")),
    StagePlan("won", Text("赢单", "Won"), is_closed=True, is_won=True),
]


@dataclass
class Desk:
    """张磊 with a lead that he has answered, 李娜 of another territory, 王敏 who manages his."""

    database: Database
    people: dict[str, Actor]
    stages: dict[str, Stage]
    lead: Lead
    accounts: dict[str, Account] = field(default_factory=dict)

    async def convert(self, who: str = "lei", *, version: int | None = None, **terms: Any) -> Opportunity:
        async with self.database.open_uow(self.people[who]) as uow:
            return await conversion.convert(uow, self.lead.id, Terms(**terms), expected_version=version)

    async def rows(self, statement: Any) -> list[Any]:
        async with self.database.read() as connection:
            return list((await connection.execute(statement)).all())

    async def one(self, model: type[Any], id: UUID) -> Any:
        return (await self.rows(select(model.__table__).where(model.id == id)))[0]

    async def counts(self) -> list[int]:
        models: tuple[type[Base], ...] = (Account, Contact, Opportunity, OpportunityContactRole, AuditEvent)
        return [(await self.rows(select(func.count()).select_from(model)))[0][0] for model in models]

    async def refused(self, kind: type[SalesError], who: str = "lei", **more: Any) -> SalesError:
        """The refusal, after which nothing has changed."""
        before = await self.counts(), await self.one(Lead, self.lead.id)
        with pytest.raises(kind) as caught:
            await self.convert(who, **more)
        assert (await self.counts(), await self.one(Lead, self.lead.id)) == before
        return caught.value


@pytest.fixture
async def desk(database: Database, clock: Clock) -> Desk:
    made = await add_territories(database)
    east = [made["east-china"]]
    people = {
        "lei": await add_colleague(database, "张磊", Role.REP, territories=east),
        "na": await add_colleague(database, "李娜", Role.REP, territories=[made["south-china"]]),
        "min": await add_colleague(database, "王敏", Role.MANAGER, territories=east),
    }
    lei, na = people["lei"].user_id, people["na"].user_id
    async with database.open_uow(SYSTEM) as uow:
        await consent.ensure_purposes(uow)
        stages = await deals.ensure_pipeline(uow, "new_business", Text("新签", "New business"), PLAN)
        lead = await leads.capture(
            uow, source="官网", external_id="1", name="赵工", company="苏州精密零部件", phone="13900001234", region="华东", industry="machinery",
            owner_id=lei, budget=Money(80_000_000, "CNY"), interest="三坐标",
        )  # fmt: skip
    desk = Desk(database, people, stages, lead)
    async with database.open_uow(SYSTEM) as uow:
        for key, name, region, owner in (("mine", "杭州第一医院", "华东", lei), ("far", "广州医疗器械", "华南", na)):
            desk.accounts[key] = await accounts.create_account(uow, name=name, region=region, owner_id=owner)
            await uow.session.flush()
        await signals.record(
            uow,
            type="page_viewed",
            subject=lead.ref(),
            source="website",
            dedupe_key="1",
            occurred_at=START,
            payload={"title": "三坐标报价"},
        )
        await consent.record(
            uow,
            contact_id=lead.contact_id,
            purpose="marketing",
            channel=Channel.PHONE,
            status=ConsentStatus.OPT_IN,
            source="表单",
            occurred_at=START,
        )
    clock.advance(minutes=30)
    async with database.open_uow(people["lei"]) as uow:
        await activities.log(uow, related_to=lead.ref(), kind=ActivityKind.CALL, subject="谈了节拍")
        await activities.log(uow, related_to=lead.ref(), kind=ActivityKind.NOTE, subject="预算八十万")
    return desk


async def test_a_lead_becomes_an_account_and_a_deal(desk: Desk, clock: Clock) -> None:
    at = clock.advance(days=1)
    deal = await desk.convert(opportunity_name="三坐标两台", close_date=date(2026, 6, 30))
    lead, account = await desk.one(Lead, desk.lead.id), await desk.one(Account, deal.account_id)  # type: ignore[arg-type]
    assert (account.name, account.industry, account.region, account.owner_id) == (
        "苏州精密零部件",
        "machinery",
        "east-china",
        desk.people["lei"].user_id,
    )
    assert (deal.name, deal.amount, deal.close_date) == ("三坐标两台", Money(80_000_000, "CNY"), date(2026, 6, 30))
    assert (deal.stage_id, deal.lead_id, deal.owner_id) == (
        desk.stages["discovery"].id,
        lead.id,
        desk.people["lei"].user_id,
    )
    assert (lead.status, lead.converted_at) == (LeadStatus.CONVERTED, at)
    assert (lead.converted_account_id, lead.converted_opportunity_id) == (account.id, deal.id)
    assert (await desk.one(Contact, lead.contact_id)).account_id == account.id


async def test_everything_is_carried_along_and_nothing_copied(desk: Desk) -> None:
    deal = await desk.convert()
    lead = desk.lead
    links = (Activity.account_id, Activity.opportunity_id, Activity.contact_id, Activity.lead_id, Activity.related_kind)
    assert [tuple(row) for row in await desk.rows(select(*links))] == [
        (deal.account_id, deal.id, lead.contact_id, lead.id, "Lead")
    ] * 2
    facts = select(Signal.account_id, Signal.opportunity_id, Signal.subject_kind, Signal.subject_id)
    assert [tuple(row) for row in await desk.rows(facts)] == [(deal.account_id, deal.id, "Lead", lead.id)]
    async with desk.database.open_uow(desk.people["lei"]) as uow:
        late = await activities.log(uow, related_to=lead.ref(), kind=ActivityKind.EMAIL, subject="补发资料")
        fact = await signals.record(
            uow,
            type="page_viewed",
            subject=lead.ref(),
            source="website",
            dedupe_key="2",
            occurred_at=uow.now,
            payload={"title": "售后"},
        )
    assert (
        (late.account_id, late.opportunity_id) == (fact.account_id, fact.opportunity_id) == (deal.account_id, deal.id)
    )


async def test_custom_fields_go_along_where_deals_have_them(desk: Desk) -> None:
    words = Text("设备台数", "Machines")
    async with desk.database.open_uow(SYSTEM) as uow:
        for entity, key, kind in (
            ("Lead", "machines", "NUMBER"), ("Opportunity", "machines", "NUMBER"), ("Lead", "plant", "TEXT"), ("Lead", "since", "TEXT"),
            ("Opportunity", "since", "DATE"),
        ):  # fmt: skip
            await custom_fields.define(
                uow, entity=CustomFieldEntity(entity), key=key, label=words, kind=CustomFieldKind(kind)
            )
        await custom_fields.define(
            uow,
            entity=CustomFieldEntity.OPPORTUNITY,
            key="budget_code",
            label=words,
            kind=CustomFieldKind.TEXT,
            is_required=True,
        )
    async with desk.database.open_uow(desk.people["lei"]) as uow:
        held = {"machines": 12, "plant": "苏州一厂", "since": "去年"}
        await leads.update(uow, desk.lead.id, changes={"custom": held})
    deal = await desk.convert()
    assert (await desk.one(Opportunity, deal.id)).custom == {"machines": 12}
    assert (await desk.one(Lead, desk.lead.id)).custom == held


async def test_consent_stays_with_the_person(desk: Desk) -> None:
    await desk.convert()
    async with desk.database.read() as connection:
        (decision,) = (
            found
            for found in (await consent.contactability_of(connection, [desk.lead.contact_id], "marketing", START))[
                desk.lead.contact_id
            ]
            if found.channel is Channel.PHONE
        )
    assert decision.decision is consent.ConsentDecision.ALLOW


async def test_each_root_has_one_note(desk: Desk) -> None:
    before = len(await desk.rows(select(AuditEvent.id)))
    await desk.convert()
    events = await desk.rows(select(AuditEvent.action, AuditEvent.detail).order_by(AuditEvent.seq).offset(before))
    assert sorted(event.action for event in events) == [
        "account.created",
        "contact.placed",
        "lead.converted",
        "opportunity.opened",
    ]
    (told,) = (event.detail["detail"] for event in events if event.action == "lead.converted")
    assert told == {"activities": 2, "signals": 1}


async def test_of_two_conversions_at_once_one_is_made_and_the_other_is_told_its_name(desk: Desk) -> None:
    results = await asyncio.gather(
        *(desk.convert(opportunity_name="三坐标两台") for _ in range(3)), return_exceptions=True
    )
    made = [result for result in results if isinstance(result, Opportunity)]
    told = [result for result in results if isinstance(result, Conflict)]
    assert (len(made), len(told)) == (1, 2)
    assert all("三坐标两台" in refusal.text.zh for refusal in told)
    assert (await desk.counts())[2] == 1
    assert (await desk.refused(Conflict, version=1)).path == ("leadId",)


async def test_an_account_that_is_there_can_be_picked(desk: Desk) -> None:
    account = desk.accounts["mine"]
    deal = await desk.convert(account_id=account.id, stage_key="proposal", amount=Money(100, "USD"))
    assert (deal.account_id, deal.stage_id, deal.amount, deal.name) == (
        account.id,
        desk.stages["proposal"].id,
        Money(100, "USD"),
        account.name,
    )
    assert (await desk.counts())[0] == 2


async def test_a_person_keeps_the_account_to_which_they_belong(desk: Desk) -> None:
    await _place(desk, desk.accounts["mine"])
    deal = await desk.convert()
    assert deal.account_id == desk.accounts["mine"].id


async def _place(desk: Desk, account: Account, role: BuyingRole | None = None) -> None:
    async with desk.database.open_uow(SYSTEM) as uow:
        contact = await uow.session.get_one(Contact, desk.lead.contact_id)
        contact.account_id, contact.buying_role = account.id, role
        uow.note("contact.updated", contact)


async def test_a_person_of_a_colleagues_account_is_nobodys_to_take(desk: Desk) -> None:
    await _place(desk, desk.accounts["far"])
    told = await desk.refused(Conflict)
    assert told.path == ("accountId",)
    assert "广州" not in told.text.zh
    deal = await desk.convert(account_id=desk.accounts["mine"].id)
    assert deal.account_id == desk.accounts["mine"].id
    assert (await desk.one(Contact, desk.lead.contact_id)).account_id == desk.accounts["far"].id


async def test_whose_role_is_known_is_seated_as_spoken_to(desk: Desk) -> None:
    await _place(desk, desk.accounts["mine"], BuyingRole.PURCHASING)
    deal = await desk.convert()
    seats = await desk.rows(select(OpportunityContactRole.__table__))
    assert [(seat.opportunity_id, seat.role, seat.covered_at) for seat in seats] == [
        (deal.id, BuyingRole.PURCHASING, START + timedelta(minutes=30))
    ]


async def test_a_deal_that_is_there_can_be_picked(desk: Desk) -> None:
    account = desk.accounts["mine"]
    async with desk.database.open_uow(desk.people["lei"]) as uow:
        other = await deals.create_opportunity(uow, name="影像科 CT", account_id=account.id)
    far = desk.accounts["far"]
    assert (await desk.refused(Invalid, opportunity_id=other.id, account_id=far.id)).path == ("opportunityId",)
    deal = await desk.convert(opportunity_id=other.id)
    assert (deal.id, deal.lead_id, deal.name) == (other.id, desk.lead.id, "影像科 CT")
    assert (await desk.counts())[2] == 1


async def test_a_manager_converts_for_the_owner(desk: Desk) -> None:
    deal = await desk.convert("min")
    assert deal.owner_id == desk.people["lei"].user_id


async def test_what_cannot_be_converted_stays_as_it_was(desk: Desk) -> None:
    far = desk.accounts["far"]
    await desk.refused(NotFound, "na")
    assert (await desk.refused(StaleVersion, version=1)).path == ("expectedVersion",)
    assert (await desk.refused(NotFound, account_id=far.id)).path == ("accountId",)
    assert (await desk.refused(NotFound, opportunity_id=far.id)).path == ("opportunityId",)
    assert (await desk.refused(NotFound, stage_key="没有")).path == ("stageKey",)
    assert (await desk.refused(Invalid, stage_key="won")).path == ("stageKey",)
    assert (await desk.refused(Invalid, opportunity_name=" ")).path == ("name",)


async def test_a_lead_without_company_needs_a_name_for_the_account(desk: Desk) -> None:
    async with desk.database.open_uow(desk.people["lei"]) as uow:
        await leads.update(uow, desk.lead.id, changes={"company": None})
    assert (await desk.refused(Invalid)).path == ("accountName",)
    deal = await desk.convert(account_name="苏州精测")
    assert (await desk.one(Account, deal.account_id)).name == "苏州精测"  # type: ignore[arg-type]


async def test_what_nobody_owns_or_was_given_up_is_not_converted(desk: Desk) -> None:
    async with desk.database.open_uow(desk.people["lei"]) as uow:
        await leads.release(uow, desk.lead.id)
    assert "领取" in (await desk.refused(Conflict)).text.zh
    async with desk.database.open_uow(desk.people["min"]) as uow:
        await leads.disqualify(uow, desk.lead.id, reason="同行打探")
    await desk.refused(Conflict)
