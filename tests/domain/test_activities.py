"""Activities: logged once a key, on records that their maker sees, and what they do to a lead's response clock."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import func, select

from domain import accounts, activities, deals, leads
from domain.activities import BODY_LENGTH, RESPONSES, SUBJECT_LENGTH, Activity, ActivityKind
from domain.deals import StagePlan
from domain.kernel import (
    SYSTEM,
    Actor,
    Base,
    Database,
    Invalid,
    KeyReused,
    NotFound,
    Ref,
    Role,
    Text,
    load,
)
from domain.leads import Lead, LeadStatus
from domain.ledger import AuditEvent
from tests.factories import START, Clock, add_colleague, add_territories

CST = timezone(timedelta(hours=8))


@dataclass
class Desk:
    """An account, a person, a deal and a lead of 张磊; 李娜 sees none of them, 王敏 manages the territory."""

    database: Database
    lei: Actor
    na: Actor
    min: Actor
    records: dict[str, Ref]

    async def log(self, actor: Actor | None = None, on: str = "Account", **more: Any) -> Activity:
        """Log a call as 张磊."""
        fields: dict[str, Any] = {
            "related_to": self.records[on],
            "kind": ActivityKind.CALL,
            "subject": "回访设备科",
        } | more
        async with self.database.open_uow(actor or self.lei) as uow:
            return await activities.log(uow, **fields)

    async def lead(self) -> Lead:
        """The lead as it is stored."""
        async with self.database.open_uow(SYSTEM) as uow:
            return await uow.session.get_one(Lead, self.records["Lead"].id)

    async def count(self, model: type[Base]) -> int:
        """How many rows there are."""
        async with self.database.read() as connection:
            return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())


@pytest.fixture
async def desk(database: Database) -> Desk:
    made = await add_territories(database)
    east = [made["east-china"]]
    lei = await add_colleague(database, "张磊", Role.REP, territories=east)
    na = await add_colleague(database, "李娜", Role.REP, territories=[made["south-china"]])
    boss = await add_colleague(database, "王敏", Role.MANAGER, territories=east)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="上海华山医疗集团", region="华东", owner_id=lei.user_id)
        await uow.session.flush()
        contact = await accounts.create_contact(uow, name="陈芳", account_id=account.id)
        stages = await deals.ensure_pipeline(
            uow, "new_business", Text("新签", "New business"), [StagePlan("discovery", Text("需求", "Discovery"))]
        )
        deal = await deals.open_opportunity(uow, name="CT 三台", stage=stages["discovery"], account_id=account.id)
        lead = await leads.capture(
            uow, source="官网", external_id="1", name="赵工", phone="13900001234", region="华东", owner_id=lei.user_id
        )
    records = {row.entity(): row.ref() for row in (account, contact, deal, lead)}
    return Desk(database, lei, na, boss, records)


# ---- what is logged --------------------------------------------------------------------------------------------------


async def test_an_activity_names_its_record_and_the_account_above(desk: Desk) -> None:
    ids = {kind: ref.id for kind, ref in desk.records.items()}
    links = {}
    for kind in ids:
        row = await desk.log(on=kind)
        links[kind] = (
            row.related_kind,
            row.related_id,
            row.account_id,
            row.opportunity_id,
            row.contact_id,
            row.lead_id,
        )
        assert (row.owner_id, row.occurred_at) == (desk.lei.user_id, START)
    person = (await desk.lead()).contact_id
    assert links == {
        "Account": ("Account", ids["Account"], ids["Account"], None, None, None),
        "Contact": ("Contact", ids["Contact"], ids["Account"], None, ids["Contact"], None),
        "Opportunity": ("Opportunity", ids["Opportunity"], ids["Account"], ids["Opportunity"], None, None),
        "Lead": ("Lead", ids["Lead"], None, None, person, ids["Lead"]),
    }


async def test_what_was_said_enters_the_ledger_only_enciphered(desk: Desk) -> None:
    await desk.log(on="Contact", subject="陈芳抱怨交期", body="她说再拖就换人")
    async with desk.database.read() as connection:
        event = (
            await connection.execute(select(AuditEvent.__table__).where(AuditEvent.action == "activity.logged"))
        ).one()
    assert event.detail["detail"] == {"kind": "CALL"}
    for secret in ("抱怨", "换人"):
        assert secret not in str(event.detail)


@pytest.mark.parametrize("on", ["Account", "Contact", "Opportunity", "Lead"])
async def test_nobody_logs_on_what_they_do_not_see(desk: Desk, on: str) -> None:
    events = await desk.count(AuditEvent)
    with pytest.raises(NotFound) as refused:
        await desk.log(desk.na, on)
    assert refused.value.path == ("relatedToId",)
    assert (await desk.count(Activity), await desk.count(AuditEvent)) == (0, events)
    assert (await desk.log(desk.min, on)).owner_id == desk.min.user_id


async def test_an_absent_record_and_a_kind_without_activities_look_like_a_foreign_one(desk: Desk) -> None:
    for kind, id in (
        ("Account", desk.records["Lead"].id),
        ("Quote", desk.records["Account"].id),
        ("User", desk.lei.user_id),
    ):
        with pytest.raises(NotFound) as refused:
            await desk.log(related_to=Ref(kind, id or desk.records["Lead"].id))
        assert refused.value.path == ("relatedToId",)


BAD = [
    ({"subject": "\u3000 "}, "subject"), ({"subject": "长" * (SUBJECT_LENGTH + 1)}, "subject"), ({"body": "长" * (BODY_LENGTH + 1)}, "body"),
    ({"occurred_at": START + timedelta(days=1, microseconds=1)}, "occurredAt"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "where"), BAD)
async def test_what_cannot_be_kept_says_where_and_leaves_nothing(desk: Desk, more: dict[str, Any], where: str) -> None:
    events, before = await desk.count(AuditEvent), (await desk.lead()).version
    with pytest.raises(Invalid) as refused:
        await desk.log(on="Lead", **more)
    assert refused.value.path == (where,)
    assert (await desk.count(Activity), await desk.count(AuditEvent)) == (0, events)
    assert (await desk.lead()).version == before


async def test_what_just_fits_is_kept(desk: Desk) -> None:
    row = await desk.log(
        subject="长" * SUBJECT_LENGTH,
        body="长" * BODY_LENGTH,
        occurred_at=START + timedelta(days=1),
        kind=ActivityKind.NOTE,
    )
    assert (len(row.subject), len(row.body or "")) == (SUBJECT_LENGTH, BODY_LENGTH)


# ---- once a key ------------------------------------------------------------------------------------------------------


async def test_the_same_key_gives_the_activity_that_is_there(desk: Desk, clock: Clock) -> None:
    at = datetime(2026, 3, 2, 9, 0, tzinfo=CST)
    first = await desk.log(client_key="手机-1", occurred_at=at)
    events = await desk.count(AuditEvent)
    clock.advance(minutes=5)
    again = await desk.log(client_key="手机-1", occurred_at=at.astimezone(UTC))
    assert (again.id, again.created_at) == (first.id, START)
    assert (await desk.count(Activity), await desk.count(AuditEvent)) == (1, events)


@pytest.mark.parametrize(
    "more",
    [
        {"subject": "别的"},
        {"body": "别的"},
        {"kind": ActivityKind.VISIT},
        {"on": "Opportunity"},
        {"occurred_at": START},
    ],
)
async def test_the_same_key_with_other_input_is_refused(desk: Desk, more: dict[str, Any]) -> None:
    await desk.log(client_key="手机-1")
    with pytest.raises(KeyReused) as refused:
        await desk.log(client_key="手机-1", **more)
    assert refused.value.path == ("clientKey",)
    assert await desk.count(Activity) == 1


async def test_keys_are_each_actors_own(desk: Desk) -> None:
    mine, theirs = await desk.log(client_key="1"), await desk.log(desk.min, client_key="1", subject="主管的")
    assert mine.id != theirs.id
    system = [await desk.log(SYSTEM, client_key="1", subject="系统的") for _ in range(2)]
    assert system[0].id == system[1].id
    assert await desk.count(Activity) == 3


async def test_one_key_sent_twice_at_once_logs_one_activity(desk: Desk) -> None:
    rows = await asyncio.gather(*(desk.log(client_key="手机-1") for _ in range(3)))
    assert len({row.id for row in rows}) == 1
    assert await desk.count(Activity) == 1


# ---- the lead's clock ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(ActivityKind))
async def test_a_genuine_reply_stops_the_clock_and_a_note_does_not(
    desk: Desk, clock: Clock, kind: ActivityKind
) -> None:
    at = clock.advance(hours=2)
    await desk.log(on="Lead", kind=kind)
    lead = await desk.lead()
    assert lead.last_activity_at == at
    answered = kind in RESPONSES
    assert lead.first_responded_at == (at if answered else None)
    assert lead.status is (LeadStatus.WORKING if answered else LeadStatus.ASSIGNED)


async def test_activities_on_other_records_leave_the_lead_alone(desk: Desk) -> None:
    before = (await desk.lead()).version
    for on in ("Account", "Contact", "Opportunity"):
        await desk.log(on=on)
    assert (await desk.lead()).version == before


async def test_two_activities_on_one_lead_at_once_are_both_kept(desk: Desk) -> None:
    later = START + timedelta(hours=1)
    await asyncio.gather(
        desk.log(on="Lead", subject="先打的电话", occurred_at=START), desk.log(desk.min, "Lead", subject="后发的微信", occurred_at=later),
    )  # fmt: skip
    lead = await desk.lead()
    assert (lead.first_responded_at, lead.last_activity_at) == (START, later)
    assert await desk.count(Activity) == 2


# ---- who sees them ---------------------------------------------------------------------------------------------------


async def test_an_activity_is_seen_by_whoever_sees_its_record(desk: Desk) -> None:
    rows = [await desk.log(on=on) for on in ("Account", "Opportunity", "Lead")]
    async with desk.database.open_uow(SYSTEM) as uow:
        for row in rows:
            for actor in (desk.lei, desk.min):
                assert (await load(uow.session, actor, Activity, row.id)).id == row.id
            with pytest.raises(NotFound):
                await load(uow.session, desk.na, Activity, row.id)
