"""Keeping the knowledge: changes asked for, suspended and resumed, addressed, proposed, reminded; each step is kept."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from domain.kernel import (
    SYSTEM,
    Actor,
    Base,
    Conflict,
    Database,
    Forbidden,
    Invalid,
    Language,
    NotFound,
    Role,
    rows_visible,
)
from domain.ledger import AuditEvent
from domain.people import Brand, Territory
from knowledge import (
    Content,
    Facets,
    Filter,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeState,
    KnowledgeVersion,
    Library,
    keeping,
    service,
)
from knowledge.keeping import Audience, LineChange
from knowledge.model import KnowledgePeriod, KnowledgeProposal, KnowledgeReview, Passage, ProposalState, ReviewStep
from tests.factories import Clock, add_colleague, add_territories

BODY = "## 回应\n先认同，再把五年总成本摆出来。\n\n## 下一步\n约设备科一起算一遍。"
PRICE = Content("医院说价格太高", BODY, Facets(concerns=("price_too_high",)))


@dataclass
class Desk:
    """Two curators, and reps of two territories."""

    database: Database
    yu: Actor
    lan: Actor
    east: Actor
    south: Actor
    territories: dict[str, Territory]

    async def do(self, actor: Actor, what: Any, *given: Any, **named: Any) -> Any:
        """Do one step in a commit of its own."""
        async with self.database.open_uow(actor) as uow:
            return await what(uow, *given, **named)

    async def published(
        self, content: Content = PRICE, kind: KnowledgeKind = KnowledgeKind.OBJECTION_RESPONSE
    ) -> KnowledgeItem:
        """An entry in use."""
        item = await self.do(self.yu, service.draft, kind=kind, language=Language.ZH, content=content)
        item = await self.do(self.yu, service.submit, item.id, item.version)
        found: KnowledgeItem = await self.do(self.lan, service.publish, item.id, item.version)
        return found

    async def rows(self, model: type[Base], *conditions: Any) -> list[Any]:
        """The rows of a table, as they were made."""
        table = model.__table__
        async with self.database.read() as connection:
            return list(await connection.execute(select(table).where(*conditions).order_by(*table.primary_key)))

    async def sees(self, actor: Actor, item: KnowledgeItem) -> bool:
        """Whether somebody sees an entry, by the rules and on PostgreSQL by the database's own wall."""
        by_rule = select(KnowledgeItem.id).where(KnowledgeItem.id == item.id, rows_visible(KnowledgeItem, actor))
        async with self.database.read() as connection:
            found = (await connection.execute(by_rule)).first() is not None
        async with self.database.read(actor) as connection:
            walled = (
                await connection.execute(select(KnowledgeItem.id).where(KnowledgeItem.id == item.id))
            ).first() is not None
        assert self.database.embedded or walled == found
        return found


@pytest.fixture
async def desk(database: Database) -> Desk:
    yu, lan = [await add_colleague(database, name, Role.CURATOR) for name in ("赵宇", "徐岚")]
    territories = await add_territories(database)
    east, south = [
        await add_colleague(database, name, Role.REP, territories=[territories[key]])
        for name, key in (("张磊", "east-china"), ("李娜", "south-china"))
    ]
    return Desk(database, yu, lan, east, south, territories)


async def test_changes_are_asked_for_with_words_and_a_published_version_stays(desk: Desk) -> None:
    item = await desk.published()
    item = await desk.do(desk.yu, service.revise, item.id, item.version, {"body": "## 回应\n只讲价格。"})
    item = await desk.do(desk.yu, service.submit, item.id, item.version)
    with pytest.raises(Invalid):
        await desk.do(desk.lan, keeping.request_changes, item.id, item.version, "  ")
    item = await desk.do(desk.lan, keeping.request_changes, item.id, item.version, "请补上总成本的数字")
    assert (item.state, item.published_number, item.draft_number) == (KnowledgeState.PUBLISHED, 1, 2)
    assert len(await desk.rows(Passage)) == 2
    with pytest.raises(Conflict):
        await desk.do(desk.lan, service.publish, item.id, item.version)
    item = await desk.do(desk.yu, service.revise, item.id, item.version, {"body": BODY + "\n\n采购价只占三成。"})
    item = await desk.do(desk.yu, service.submit, item.id, item.version, "补好了")
    item = await desk.do(desk.lan, service.publish, item.id, item.version)
    assert (item.published_number, item.draft_number) == (2, None)
    steps = [(row.version_number, row.step, row.comment) for row in await desk.rows(KnowledgeReview)]
    assert steps == [
        (1, ReviewStep.DRAFTED, None), (1, ReviewStep.SUBMITTED, None), (1, ReviewStep.PUBLISHED, None), (2, ReviewStep.DRAFTED, None),
        (2, ReviewStep.SUBMITTED, None), (2, ReviewStep.CHANGES_REQUESTED, "请补上总成本的数字"), (2, ReviewStep.SUBMITTED, "补好了"),
        (2, ReviewStep.PUBLISHED, None),
    ]  # fmt: skip


async def test_what_was_in_use_at_an_instant_is_known(desk: Desk, clock: Clock) -> None:
    first = clock.now
    item = await desk.published()
    second = clock.advance(days=3)
    item = await desk.do(desk.yu, service.revise, item.id, item.version, {"title": "医院说太贵"})
    item = await desk.do(desk.yu, service.submit, item.id, item.version)
    item = await desk.do(desk.lan, service.publish, item.id, item.version)
    third = clock.advance(days=3)
    item = await desk.do(desk.lan, keeping.suspend, item.id, item.version, "等法务确认")
    assert await desk.rows(Passage) == []
    fourth = clock.advance(days=1)
    item = await desk.do(desk.lan, keeping.resume, item.id, item.version)
    assert len(await desk.rows(Passage)) == 2
    periods = [(row.version_number, row.begun_at, row.ended_at) for row in await desk.rows(KnowledgePeriod)]
    assert periods == [(1, first, second), (2, second, third), (2, fourth, None)]
    with pytest.raises(Conflict):
        await desk.do(desk.lan, keeping.resume, item.id, item.version)
    item = await desk.do(desk.lan, keeping.republish, item.id, item.version, 1)
    draft = next(row for row in await desk.rows(KnowledgeVersion) if row.number == 3)
    assert (draft.title, draft.state) == ("医院说价格太高", KnowledgeState.DRAFT)
    with pytest.raises(Conflict):
        await desk.do(desk.lan, keeping.republish, item.id, item.version, 1)
    with pytest.raises(Invalid):
        await desk.do(desk.lan, keeping.comment_on, item.id, 9, "没有这一版")


async def test_an_entry_is_seen_by_whom_it_is_addressed_to(desk: Desk) -> None:
    """By rule, by PostgreSQL's own wall and by the search."""
    item = await desk.published()
    boss = await add_colleague(desk.database, "韩旭", Role.EXECUTIVE)
    assert await desk.sees(desk.east, item)
    east, south = (desk.territories[key].id for key in ("east-china", "south-china"))
    item = await desk.do(desk.lan, keeping.address, item.id, item.version, [Audience(territory_id=east)])
    assert [await desk.sees(one, item) for one in (desk.east, desk.south, desk.lan, boss)] == [True, False, True, True]
    library = Library(desk.database)
    for actor, count in ((desk.east, 1), (desk.south, 0)):
        assert len((await library.search(actor, "价格太高", Filter(), 5)).hits) == count
    both = [Audience(role=Role.EXECUTIVE), Audience(role=Role.REP, territory_id=south)]
    item = await desk.do(desk.lan, keeping.address, item.id, item.version, both)
    assert [await desk.sees(one, item) for one in (desk.east, desk.south, boss)] == [False, True, True]
    item = await desk.do(desk.lan, keeping.address, item.id, item.version, [Audience(role=Role.EXECUTIVE)])
    assert [await desk.sees(one, item) for one in (desk.south, boss)] == [False, True]
    with pytest.raises(Invalid):
        await desk.do(desk.lan, keeping.address, item.id, item.version, [Audience()])
    await desk.do(desk.lan, keeping.address, item.id, item.version, [])
    assert await desk.sees(desk.south, item)


async def test_a_brand_s_entry_is_for_who_works_for_the_brand(desk: Desk) -> None:
    async with desk.database.open_uow(SYSTEM) as uow:
        brands = [Brand(id=uow.new_id(), key=key, label_zh=key, label_en=key) for key in ("甲", "乙")]
        uow.session.add_all(brands)
        for brand in brands:
            uow.note("brand.added", brand)
    bound = [await add_colleague(desk.database, brand.key, Role.REP, brands=[brand]) for brand in brands]
    item = await desk.published()
    item = await desk.do(desk.lan, keeping.address, item.id, item.version, [Audience(brand_id=brands[0].id)])
    assert [await desk.sees(one, item) for one in (*bound, desk.east)] == [True, False, True]


async def test_a_rep_proposes_and_a_curator_decides(desk: Desk) -> None:
    item = await desk.published()
    given = {"kind": KnowledgeKind.TALK_TRACK, "language": Language.ZH, "reason": "客户最近总问这个"}
    proposal = await desk.do(
        desk.east, keeping.propose, item_id=item.id, content=Content("医院说价格太高", BODY + "\n\n可以分期。"), **given
    )
    other = await desk.do(
        desk.east, keeping.propose, item_id=None, content=Content("怎么谈分期", "先问预算周期。"), **given
    )
    with pytest.raises(Forbidden):
        await desk.do(desk.south, keeping.accept, proposal.id, proposal.version, None)
    accepted = await desk.do(desk.lan, keeping.accept, proposal.id, proposal.version, "好")
    assert (accepted.state, accepted.became_id) == (ProposalState.ACCEPTED, item.id)
    with pytest.raises(Conflict):
        await desk.do(desk.lan, keeping.reject, proposal.id, accepted.version, "晚了")
    rejected = await desk.do(desk.lan, keeping.reject, other.id, other.version, "和法务口径不一致")
    assert (rejected.state, rejected.decision) == (ProposalState.REJECTED, "和法务口径不一致")
    found = (await desk.rows(KnowledgeItem))[0]
    assert (found.published_number, found.draft_number, found.state) == (1, 2, KnowledgeState.PUBLISHED)
    hidden = await desk.do(desk.lan, keeping.address, item.id, found.version, [Audience(role=Role.LEGAL)])
    with pytest.raises(NotFound):
        await desk.do(desk.east, keeping.propose, item_id=hidden.id, content=PRICE, **given)
    assert len(await desk.rows(KnowledgeProposal)) == 2


async def test_owners_are_reminded_once(desk: Desk, clock: Clock) -> None:
    """A battlecard is looked at again after 90 days, an answer to an objection after half a year."""
    card = await desk.published(Content("对手甲", "他们的弱点是交期。"), KnowledgeKind.BATTLECARD)
    soon = await desk.published(Content("短期活动", "本月有效。", expires_at=clock.now + timedelta(days=20)))
    await desk.published()
    assert await keeping.remind_owners(desk.database) == 0
    clock.advance(days=10)
    assert await keeping.remind_owners(desk.database) == 1
    assert await keeping.remind_owners(desk.database) == 0
    clock.advance(days=70)
    assert await keeping.remind_owners(desk.database) == 1
    reminded = {row.id for row in await desk.rows(KnowledgeItem) if row.reminded_at is not None}
    assert reminded == {card.id, soon.id}
    assert len(await desk.rows(AuditEvent, AuditEvent.action == "knowledge.reminded")) == 2


def test_a_difference_is_told_line_by_line() -> None:
    old, new = "回应\n先认同\n再算账", "回应\n再算账\n约时间"
    assert keeping.difference(old, new) == [
        (LineChange.SAME, "回应"), (LineChange.REMOVED, "先认同"), (LineChange.SAME, "再算账"), (LineChange.ADDED, "约时间"),
    ]  # fmt: skip
