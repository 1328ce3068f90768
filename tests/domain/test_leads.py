"""Leads: taken in once, tied to one person, compared with what is there, and their response clock."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from domain import accounts, leads
from domain.accounts import Channel, Contact, ContactPoint
from domain.kernel import SYSTEM, Actor, Base, Database, Invalid, Money, NotFound, Role, load
from domain.leads import Candidate, DuplicateVerdict, Lead, LeadStatus
from domain.ledger import AuditEvent
from tests.factories import START, Clock, add_colleague, add_territories

FORM: dict[str, Any] = {
    "source": "官网表单",
    "external_id": "1",
    "name": "赵工",
    "company": "苏州精密零部件有限公司",
    "phone": "13900001234",
}


@dataclass
class Desk:
    """Two reps in two territories, and what comes in."""

    database: Database
    lei: Actor
    na: Actor

    async def capture(self, actor: Actor = SYSTEM, **more: Any) -> Lead:
        """Take in the form of 赵工, some of its fields changed."""
        async with self.database.open_uow(actor) as uow:
            return await leads.capture(uow, **(FORM | more))

    async def count(self, model: type[Base]) -> int:
        """How many rows there are."""
        async with self.database.read() as connection:
            return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())


@pytest.fixture
async def desk(database: Database) -> Desk:
    made = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[made["east-china"]])
    na = await add_colleague(database, "李娜", Role.REP, territories=[made["south-china"]])
    return Desk(database, lei, na)


# ---- what repeats what -----------------------------------------------------------------------------------------------

candidates = st.builds(Candidate, st.uuids(), st.booleans(), st.booleans(), st.booleans())


@given(st.lists(candidates, max_size=6))
def test_the_verdict_names_the_first_and_strongest_likeness(found: list[Candidate]) -> None:
    verdict, repeated = leads.duplicate_verdict(found)
    same = [one.lead_id for one in found if one.same_contact]
    alike = [one.lead_id for one in found if one.same_name and one.same_company]
    expected = (
        (DuplicateVerdict.CERTAIN, same[0])
        if same
        else (DuplicateVerdict.POSSIBLE, alike[0])
        if alike
        else (DuplicateVerdict.NONE, None)
    )
    assert (verdict, repeated) == expected


@given(st.lists(candidates, max_size=6), candidates)
def test_one_more_candidate_never_weakens_a_verdict(found: list[Candidate], more: Candidate) -> None:
    strength = list(DuplicateVerdict)
    assert strength.index(leads.duplicate_verdict([*found, more])[0]) >= strength.index(
        leads.duplicate_verdict(found)[0]
    )


# ---- capture ---------------------------------------------------------------------------------------------------------


async def test_a_lead_is_taken_in_with_its_person(desk: Desk) -> None:
    lead = await desk.capture(
        email="Zhao@Example.com", wechat="zhao_gong", region="华东", budget=Money(30_000_000, "CNY"), interest="三坐标测量机",
        payload={"表单": "询价"}, channel=Channel.WECHAT,
    )  # fmt: skip
    assert (lead.status, lead.owner_id, lead.region) == (LeadStatus.NEW, None, "east-china")
    assert (lead.captured_at, lead.last_activity_at, lead.first_responded_at) == (START, START, None)
    assert (lead.duplicate_verdict, lead.duplicate_of_id) == (DuplicateVerdict.NONE, None)
    async with desk.database.read() as connection:
        points = select(ContactPoint.channel, ContactPoint.match_key).where(ContactPoint.contact_id == lead.contact_id)
        assert {tuple(row) for row in await connection.execute(points)} == {
            (Channel.PHONE, "+8613900001234"), (Channel.EMAIL, "zhao@example.com"), (Channel.WECHAT, "zhao_gong"),
        }  # fmt: skip


async def test_the_same_form_gives_the_lead_that_is_there_unchanged(desk: Desk, clock: Clock) -> None:
    first = await desk.capture()
    events = await desk.count(AuditEvent)
    clock.advance(hours=1)
    again = await desk.capture(name="赵总", company="别的公司", phone="13911112222")
    assert (again.id, again.name, again.version) == (first.id, "赵工", first.version)
    assert (await desk.count(Lead), await desk.count(Contact), await desk.count(AuditEvent)) == (1, 1, events)
    assert (await desk.capture(source="展会")).id != first.id


async def test_two_captures_of_one_form_at_once_give_one_lead(desk: Desk) -> None:
    first, second, third = await asyncio.gather(desk.capture(), desk.capture(), desk.capture(name="别的名字"))
    assert first.id == second.id == third.id
    assert (await desk.count(Lead), await desk.count(Contact)) == (1, 1)


async def test_two_forms_of_one_person_at_once_make_one_person(desk: Desk) -> None:
    ways = ("13900001234", "+86 139-0000-1234", "0086 13900001234")
    captured = await asyncio.gather(*(desk.capture(external_id=way, phone=way) for way in ways))
    assert len({lead.id for lead in captured}) == 3
    assert len({lead.contact_id for lead in captured}) == await desk.count(Contact) == 1
    assert sorted(lead.duplicate_verdict for lead in captured) == ["CERTAIN", "CERTAIN", "NONE"]


async def test_a_known_address_names_its_person(desk: Desk) -> None:
    async with desk.database.open_uow(SYSTEM) as uow:
        contact = await accounts.create_contact(uow, name="赵建国")
        await uow.session.flush()
        await accounts.add_contact_point(uow, contact, Channel.SMS, "13900001234")
    lead = await desk.capture(email="zhao@example.com")
    assert lead.contact_id == contact.id
    assert lead.duplicate_verdict is DuplicateVerdict.NONE
    assert await desk.count(Contact) == 1


async def test_the_same_address_is_a_certain_repeat_and_name_and_company_a_possible_one(desk: Desk) -> None:
    first = await desk.capture()
    certain = await desk.capture(external_id="2", name="别人", company=None)
    assert (certain.duplicate_verdict, certain.duplicate_of_id) == (DuplicateVerdict.CERTAIN, first.id)
    possible = await desk.capture(external_id="3", phone="13955556666", company="苏州精密零部件")
    assert (possible.duplicate_verdict, possible.duplicate_of_id) == (DuplicateVerdict.POSSIBLE, first.id)
    other = await desk.capture(external_id="4", phone="13955557777", company="无锡精密零部件")
    assert (other.duplicate_verdict, other.duplicate_of_id) == (DuplicateVerdict.NONE, None)


async def test_a_closed_lead_is_not_repeated(desk: Desk) -> None:
    first = await desk.capture()
    async with desk.database.open_uow(SYSTEM) as uow:
        lead = await uow.session.get_one(Lead, first.id)
        lead.status = LeadStatus.DISQUALIFIED
        uow.note("lead.disqualified", lead)
    assert (await desk.capture(external_id="2")).duplicate_verdict is DuplicateVerdict.NONE


async def test_a_common_name_does_not_hide_the_same_person(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.leads.service.CANDIDATE_LIMIT", 2)
    for number in range(3):
        await desk.capture(external_id=f"王{number}", name="王伟", company=f"公司{number}号店", phone=None)
    mine = await desk.capture(external_id="我", name="王伟", company="我的店")
    again = await desk.capture(external_id="又来", name="王伟", company="我的店")
    assert (again.duplicate_verdict, again.duplicate_of_id) == (DuplicateVerdict.CERTAIN, mine.id)


async def test_without_a_region_a_lead_is_in_the_territory_of_the_rep_who_took_it_in(desk: Desk) -> None:
    lead = await desk.capture(desk.lei, region="火星")
    assert lead.region == "火星"
    assert lead.territory_id in desk.lei.reaches[0].territory_ids
    assert (await desk.capture(external_id="2")).territory_id is None


async def test_an_unowned_lead_is_seen_in_its_territory_and_an_owned_one_by_its_owner(desk: Desk) -> None:
    free = await desk.capture(region="上海")
    owned = await desk.capture(external_id="2", region="上海", owner_id=desk.na.user_id)
    assert (owned.status, owned.assigned_at) == (LeadStatus.ASSIGNED, START)
    async with desk.database.open_uow(SYSTEM) as uow:
        for actor, lead, sees in (
            (desk.lei, free, True),
            (desk.na, free, False),
            (desk.lei, owned, False),
            (desk.na, owned, True),
        ):
            if sees:
                assert (await load(uow.session, actor, Lead, lead.id)).id == lead.id
            else:
                with pytest.raises(NotFound):
                    await load(uow.session, actor, Lead, lead.id)


BAD = [
    ({"source": " "}, "source"), ({"external_id": ""}, "externalId"), ({"name": "\u3000"}, "name"), ({"phone": "改天给"}, "phone"),
    ({"email": "赵工"}, "email"), ({"phone": "13900001234", "email": "x@"}, "email"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "where"), BAD)
async def test_what_cannot_be_taken_in_leaves_nothing(desk: Desk, more: dict[str, Any], where: str) -> None:
    events = await desk.count(AuditEvent)
    with pytest.raises(Invalid) as refused:
        await desk.capture(**more)
    assert refused.value.path == (where,)
    assert (await desk.count(Lead), await desk.count(Contact), await desk.count(AuditEvent)) == (0, 0, events)


async def test_what_identifies_a_person_enters_the_ledger_only_enciphered(desk: Desk) -> None:
    await desk.capture(interest="给赵工报个价", payload={"留言": "打我电话"})
    async with desk.database.read() as connection:
        events = (await connection.execute(select(AuditEvent.__table__).where(AuditEvent.action.like("lead.%")))).all()
    assert [event.action for event in events] == ["lead.captured"]
    assert events[0].detail["detail"] == {"source": "官网表单", "duplicate": "NONE"}
    for secret in ("赵工", "打我电话", "报个价"):
        assert secret not in str(events[0].detail)


# ---- the response clock ----------------------------------------------------------------------------------------------


def lead(**more: Any) -> Lead:
    return Lead(id=UUID(int=1), **({"captured_at": START, "last_activity_at": START, "status": LeadStatus.NEW} | more))


@given(st.lists(st.tuples(st.integers(-50, 50), st.booleans()), max_size=8))
def test_the_first_genuine_reply_counts_in_whatever_order_they_come(done: list[tuple[int, bool]]) -> None:
    touched = lead()
    for hours, responded in done:
        leads.touch(touched, START + timedelta(hours=hours), responded=responded)
    replies = [hours for hours, responded in done if responded and hours >= 0]
    assert touched.first_responded_at == (START + timedelta(hours=min(replies)) if replies else None)
    assert touched.last_activity_at == START + timedelta(hours=max([0, *(hours for hours, _ in done)]))
    assert touched.status is (LeadStatus.WORKING if replies else LeadStatus.NEW)


@pytest.mark.parametrize("status", [LeadStatus.QUALIFIED, LeadStatus.DISQUALIFIED, LeadStatus.CONVERTED])
def test_a_reply_opens_no_lead_again(status: LeadStatus) -> None:
    touched = lead(status=status)
    leads.touch(touched, START, responded=True)
    assert (touched.status, touched.first_responded_at) == (status, START)
