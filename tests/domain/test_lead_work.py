"""Working on leads: claimed by one, handed over, released, answered, judged, corrected."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import func, select

from domain import activities, leads
from domain.activities import Activity, ActivityKind
from domain.kernel import (
    SYSTEM,
    Actor,
    Base,
    Conflict,
    Database,
    Forbidden,
    Invalid,
    Money,
    NotFound,
    Ref,
    Role,
    SalesError,
    StaleVersion,
)
from domain.leads import Lead, LeadGrade, LeadStatus
from domain.ledger import AuditEvent
from tests.factories import START, Clock, add_colleague, add_territories


@dataclass
class Desk:
    """Two reps of East China, one of South China, the manager of the East, and somebody who only counts money."""

    database: Database
    people: dict[str, Actor]
    captured: int = 0

    async def capture(self, owner: str | None = None, region: str | None = "华东", **more: Any) -> Lead:
        self.captured += 1
        fields: dict[str, Any] = {"name": f"赵工{self.captured}", "company": "苏州精密零部件", "region": region} | more
        owner_id = self.people[owner].user_id if owner else None
        async with self.database.open_uow(SYSTEM) as uow:
            return await leads.capture(uow, source="官网", external_id=str(self.captured), owner_id=owner_id, **fields)

    async def do(self, who: str, operation: Callable[..., Awaitable[Any]], *given: Any, **more: Any) -> Any:
        """Run one operation as somebody, in a unit of work of its own."""
        async with self.database.open_uow(self.people[who]) as uow:
            return await operation(uow, *given, **more)

    async def lead(self, id: Any) -> Lead:
        async with self.database.open_uow(SYSTEM) as uow:
            return await uow.session.get_one(Lead, id)

    async def count(self, model: type[Base]) -> int:
        async with self.database.read() as connection:
            return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())

    async def actions(self) -> list[str]:
        async with self.database.read() as connection:
            wanted = select(AuditEvent.action).where(AuditEvent.subject_kind == "Lead").order_by(AuditEvent.seq)
            return list((await connection.execute(wanted)).scalars())

    async def refused(self, kind: type[SalesError], who: str, operation: Any, *given: Any, **more: Any) -> SalesError:
        """The refusal of an operation, after which nothing has changed."""
        before = [await self.count(model) for model in (Lead, Activity, AuditEvent)]
        with pytest.raises(kind) as caught:
            await self.do(who, operation, *given, **more)
        assert [await self.count(model) for model in (Lead, Activity, AuditEvent)] == before
        return caught.value


@pytest.fixture
async def desk(database: Database) -> Desk:
    made = await add_territories(database)
    east, south = [made["east-china"]], [made["south-china"]]
    people = {
        "lei": await add_colleague(database, "张磊", Role.REP, territories=east),
        "yan": await add_colleague(database, "周妍", Role.REP, territories=[made["shanghai"], made["east-china"]]),
        "na": await add_colleague(database, "李娜", Role.REP, territories=south),
        "min": await add_colleague(database, "王敏", Role.MANAGER, territories=east),
        "chen": await add_colleague(database, "陈芳", Role.FINANCE),
    }
    return Desk(database, people)


# ---- claiming --------------------------------------------------------------------------------------------------------


async def test_of_two_claims_at_once_one_wins_and_the_other_is_told(desk: Desk) -> None:
    lead = await desk.capture()
    results = await asyncio.gather(
        *(desk.do(who, leads.claim, lead.id) for who in ("lei", "yan", "lei", "yan")), return_exceptions=True
    )
    owner = (await desk.lead(lead.id)).owner_id
    winner = next(who for who in ("lei", "yan") if desk.people[who].user_id == owner)
    for who, result in zip(("lei", "yan", "lei", "yan"), results, strict=True):
        assert isinstance(result, Lead if who == winner else Conflict), (who, result)
    assert (await desk.actions()).count("lead.claimed") == 1


async def test_a_claim_gives_a_lead_its_owner_and_starts_the_clock(desk: Desk, clock: Clock) -> None:
    lead = await desk.capture()
    claimed_at = clock.advance(minutes=12)
    claimed = await desk.do("lei", leads.claim, lead.id)
    assert (claimed.owner_id, claimed.status, claimed.assigned_at, claimed.version) == (
        desk.people["lei"].user_id,
        LeadStatus.ASSIGNED,
        claimed_at,
        2,
    )
    again = await desk.do("lei", leads.claim, lead.id)
    assert (again.version, (await desk.actions()).count("lead.claimed")) == (2, 1)


async def test_who_could_never_have_claimed_a_lead_does_not_learn_of_it(desk: Desk) -> None:
    free, taken = await desk.capture(), await desk.capture("lei")
    for who in ("na", "min", "chen"):
        for lead in (free, taken):
            assert (await desk.refused(NotFound, who, leads.claim, lead.id)).path == ("id",)
    assert (await desk.refused(Conflict, "yan", leads.claim, taken.id)).text.zh == "这条线索已被其他同事领取"


async def test_what_is_closed_is_not_claimed(desk: Desk) -> None:
    lead = await desk.capture()
    await desk.do("min", leads.disqualify, lead.id, reason="广告")
    await desk.refused(Conflict, "lei", leads.claim, lead.id)


# ---- handing over ----------------------------------------------------------------------------------------------------


async def test_an_owner_hands_over_within_the_territory_and_a_manager_to_anybody_who_sells(
    desk: Desk, clock: Clock
) -> None:
    lead = await desk.capture("lei")
    yan, na, chen = (desk.people[who].user_id for who in ("yan", "na", "chen"))
    assert (await desk.refused(Invalid, "lei", leads.assign, lead.id, owner_id=na)).path == ("ownerId",)
    await desk.refused(Invalid, "lei", leads.assign, lead.id, owner_id=chen)
    handed_at = clock.advance(hours=1)
    handed = await desk.do("lei", leads.assign, lead.id, owner_id=yan, expected_version=1)
    assert (handed.owner_id, handed.assigned_at, handed.status) == (yan, handed_at, LeadStatus.ASSIGNED)
    await desk.refused(NotFound, "lei", leads.assign, lead.id, owner_id=yan)
    assert (await desk.do("min", leads.assign, lead.id, owner_id=na)).owner_id == na
    await desk.refused(Invalid, "min", leads.assign, lead.id, owner_id=chen)


async def test_a_manager_gives_out_what_nobody_owns_and_revives_what_was_given_up(desk: Desk) -> None:
    lei = desk.people["lei"].user_id
    free = await desk.capture()
    await desk.refused(Conflict, "lei", leads.assign, free.id, owner_id=lei)
    assert (await desk.do("min", leads.assign, free.id, owner_id=lei)).status is LeadStatus.ASSIGNED
    await desk.do("lei", leads.disqualify, free.id, reason="没有预算")
    await desk.refused(Forbidden, "lei", leads.assign, free.id, owner_id=lei)
    revived = await desk.do("min", leads.assign, free.id, owner_id=lei)
    assert (revived.status, revived.disqualify_reason) == (LeadStatus.ASSIGNED, None)


async def test_a_released_lead_is_open_again(desk: Desk) -> None:
    lead = await desk.capture("lei")
    released = await desk.do("lei", leads.release, lead.id, expected_version=1)
    assert (released.owner_id, released.assigned_at, released.status) == (None, None, LeadStatus.NEW)
    assert (await desk.do("yan", leads.claim, lead.id)).owner_id == desk.people["yan"].user_id


async def test_a_released_lead_of_no_territory_goes_to_the_owners(desk: Desk) -> None:
    lead = await desk.capture("lei", region="火星")
    assert lead.territory_id is None
    await desk.do("lei", leads.release, lead.id)
    assert (await desk.do("yan", leads.claim, lead.id)).owner_id == desk.people["yan"].user_id


# ---- answering -------------------------------------------------------------------------------------------------------


async def respond(desk: Desk, who: str, lead: Lead, **more: Any) -> Activity:
    fields: dict[str, Any] = {"kind": ActivityKind.CALL, "subject": "回电话", "reply": True} | more
    found: Activity = await desk.do(who, activities.log, related_to=Ref("Lead", lead.id), **fields)
    return found


async def test_a_reply_stops_the_clock_and_moves_the_status_once(desk: Desk, clock: Clock) -> None:
    lead = await desk.capture("lei")
    replied_at = clock.advance(minutes=25)
    first = await respond(desk, "lei", lead, client_key="1")
    clock.advance(minutes=5)
    again = await respond(desk, "lei", lead, client_key="1")
    answered = await desk.lead(lead.id)
    assert (first.id, answered.status, answered.first_responded_at) == (again.id, LeadStatus.WORKING, replied_at)
    assert leads.first_response_minutes(answered.first_responded_at, answered.assigned_at, answered.captured_at) == 25


async def test_what_reaches_nobody_is_no_reply(desk: Desk) -> None:
    lead, free = await desk.capture("lei"), await desk.capture()
    for kind in (ActivityKind.TASK, ActivityKind.NOTE):
        with pytest.raises(Invalid) as caught:
            await respond(desk, "lei", lead, kind=kind)
        assert caught.value.path == ("kind",)
    with pytest.raises(Conflict) as unowned:
        await respond(desk, "lei", free)
    assert "领取" in unowned.value.text.zh
    assert await desk.count(Activity) == 0


# ---- judging ---------------------------------------------------------------------------------------------------------


async def test_a_lead_is_judged_by_its_owner_step_by_step(desk: Desk) -> None:
    lead = await desk.capture("lei")
    kept = await desk.do("lei", leads.nurture, lead.id, expected_version=1)
    assert kept.status is LeadStatus.NURTURING
    found = await desk.do("lei", leads.qualify, lead.id, grade=LeadGrade.A, expected_version=2)
    assert (found.status, found.grade) == (LeadStatus.QUALIFIED, LeadGrade.A)
    given_up = await desk.do("lei", leads.disqualify, lead.id, reason=" 预算冻结 ", expected_version=3)
    assert (given_up.status, given_up.disqualify_reason) == (LeadStatus.DISQUALIFIED, "预算冻结")
    assert await desk.actions() == ["lead.captured", "lead.nurtured", "lead.qualified", "lead.disqualified"]


async def test_refused_steps_change_nothing(desk: Desk) -> None:
    lead, free = await desk.capture("lei"), await desk.capture()
    await desk.refused(StaleVersion, "lei", leads.qualify, lead.id, expected_version=7)
    await desk.refused(NotFound, "yan", leads.qualify, lead.id)
    await desk.refused(NotFound, "chen", leads.qualify, lead.id)
    await desk.refused(Conflict, "lei", leads.qualify, free.id)
    await desk.refused(Conflict, "lei", leads.disqualify, free.id, reason="垃圾")
    assert (await desk.refused(Invalid, "lei", leads.disqualify, lead.id, reason="  ")).path == ("reason",)
    await desk.do("lei", leads.disqualify, lead.id, reason="没有需求")
    for operation in (leads.qualify, leads.nurture, leads.release):
        told = await desk.refused(Conflict, "lei", operation, lead.id)
        assert told.text.zh == "线索已放弃，不能这样做"


async def test_why_a_lead_was_given_up_enters_the_ledger_only_enciphered(desk: Desk) -> None:
    lead = await desk.capture("lei")
    await desk.do("lei", leads.disqualify, lead.id, reason="赵工已离职")
    async with desk.database.read() as connection:
        given_up = AuditEvent.action == "lead.disqualified"
        event = (await connection.execute(select(AuditEvent.detail).where(given_up))).scalar_one()
    assert "离职" not in str(event)
    assert event["changes"][0]["personal"] == ["disqualify_reason"]


# ---- correcting ------------------------------------------------------------------------------------------------------


async def test_an_update_sets_what_is_given_and_clears_what_is_null(desk: Desk) -> None:
    lead = await desk.capture("lei", interest="三坐标", industry="machinery")
    changes = {"company": "苏州精测", "budget": Money(30_000_000, "CNY"), "region": "华南", "interest": None}
    changed = await desk.do("lei", leads.update, lead.id, changes=changes, expected_version=1)
    assert (changed.company, changed.budget, changed.region) == ("苏州精测", Money(30_000_000, "CNY"), "south-china")
    assert (changed.interest, changed.industry, changed.version) == (None, "machinery", 2)
    cleared = await desk.do("lei", leads.update, lead.id, changes={"budget": None, "grade": LeadGrade.B})
    assert (cleared.budget, cleared.grade) == (None, LeadGrade.B)


async def test_an_update_that_changes_nothing_is_no_event(desk: Desk) -> None:
    lead = await desk.capture("lei")
    events = await desk.count(AuditEvent)
    same = await desk.do("lei", leads.update, lead.id, changes={"company": lead.company, "name": lead.name})
    assert (same.version, await desk.count(AuditEvent)) == (1, events)


async def test_an_update_that_cannot_be_changes_nothing(desk: Desk) -> None:
    lead = await desk.capture("lei")
    changes = {"company": "新名字", "name": " "}
    assert (await desk.refused(Invalid, "lei", leads.update, lead.id, changes=changes)).path == ("name",)
    await desk.refused(StaleVersion, "lei", leads.update, lead.id, changes={"company": "甲"}, expected_version=3)
    await desk.refused(NotFound, "yan", leads.update, lead.id, changes={"company": "甲"})
    assert (await desk.lead(lead.id)).company == "苏州精密零部件"


async def test_a_quick_capture_takes_the_reps_own_region(desk: Desk) -> None:
    async with desk.database.open_uow(desk.people["lei"]) as uow:
        lead = await leads.capture(uow, source="手机", external_id="q-1", name="陈晨", phone="13700001234")
    assert (lead.region, lead.status, lead.captured_at) == ("east-china", LeadStatus.NEW, START)
    assert (await desk.do("yan", leads.claim, lead.id)).owner_id == desk.people["yan"].user_id
