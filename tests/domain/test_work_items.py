"""Work items: who may do what to one, how they end, how they move up, and what is told of them."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from domain import accounts, erasure, work_items
from domain.kernel import (
    ERASED,
    SYSTEM,
    Actor,
    Conflict,
    Database,
    Forbidden,
    Invalid,
    NotFound,
    Ref,
    Role,
    SalesError,
    StaleVersion,
    Text,
)
from domain.ledger import AuditEvent
from domain.work_items import (
    FOUR_EYES,
    Duty,
    Evidence,
    Refusal,
    Standing,
    WorkDecision,
    WorkItem,
    WorkKind,
    WorkState,
    WorkStep,
    next_rung,
    refusal,
    unmet,
)
from tests.factories import START, Clock, add_colleague, add_territories, verify_ledger

ONE, OTHER = "1" * 64, "2" * 64
TITLE = Text("审批一份方案", "approve a pack")


# ---- decisions -------------------------------------------------------------------------------------------------------


def duty(**more: Any) -> Duty:
    given: dict[str, Any] = {
        "kind": WorkKind.TASK, "state": WorkState.OPEN, "owned": True, "queued": False, "escalated_to": None, "placed": True,
    }  # fmt: skip
    return Duty(**(given | more))


@pytest.mark.parametrize("step", WorkStep)
@pytest.mark.parametrize("state", [state for state in WorkState if state is not WorkState.OPEN])
def test_what_is_over_takes_no_step_by_anybody(step: WorkStep, state: WorkState) -> None:
    everybody = Standing(owns=True, serves=True, manages=True, above=True, system=True)
    assert refusal(step, duty(state=state), everybody) is Refusal.OVER


@pytest.mark.parametrize(
    ("standing", "queued", "owned", "steps"),
    [
        (Standing(), False, True, ""),
        (Standing(owns=True), False, True, "DECIDE DELEGATE ESCALATE"),
        (Standing(opened=True), False, True, "ESCALATE CANCEL"),
        (Standing(manages=True), False, True, "DECIDE DELEGATE ESCALATE CANCEL"),
        (Standing(above=True), False, True, "DELEGATE"),
        (Standing(system=True), False, True, "ESCALATE CANCEL"),
        (Standing(serves=True), True, False, "DECIDE DELEGATE ESCALATE"),
        (Standing(serves=True), True, True, "DELEGATE ESCALATE"),
        (Standing(serves=True, owns=True), True, True, "DECIDE DELEGATE ESCALATE"),
        (Standing(owns=True), True, True, "DELEGATE ESCALATE"),
        (Standing(manages=True), True, False, "ESCALATE CANCEL"),
    ],
)
def test_who_may_do_what(standing: Standing, queued: bool, owned: bool, steps: str) -> None:
    given = duty(queued=queued, owned=owned)
    assert " ".join(step for step in WorkStep if refusal(step, given, standing) is None) == steps


def test_nobody_decides_on_an_approval_that_they_asked_for() -> None:
    for kind, opened in product(WorkKind, (True, False)):
        why = refusal(WorkStep.DECIDE, duty(kind=kind), Standing(owns=True, opened=opened, manages=True))
        assert why is (Refusal.OWN_REQUEST if opened and kind in FOUR_EYES else None)


def test_the_ladder_ends_at_the_executives() -> None:
    assert [next_rung(at, placed=True) for at in (None, Role.MANAGER, Role.EXECUTIVE)] == [Role.MANAGER, Role.EXECUTIVE, None]  # fmt: skip
    assert next_rung(None, placed=False) is Role.EXECUTIVE
    top = duty(escalated_to=Role.EXECUTIVE)
    assert refusal(WorkStep.ESCALATE, top, Standing(owns=True)) is Refusal.AT_THE_TOP


def test_a_criterion_is_met_by_evidence_that_shows_something() -> None:
    criteria = ["客户确认", "报价附上"]
    assert unmet(criteria, []) == [0, 1]
    assert unmet(criteria, [Evidence(0, " "), Evidence(None, "已确认")]) == [0, 1]
    assert unmet(criteria, [Evidence(1, "见附件"), Evidence(0, None, "Quote", UUID(int=1))]) == []


# ---- operations ------------------------------------------------------------------------------------------------------


@dataclass
class Office:
    """A rep and a manager in the East, two lawyers, an accountant, an executive, and a rep of the South."""

    database: Database
    people: dict[str, Actor]
    account: Ref
    territory_id: UUID
    contact_id: UUID

    def id(self, who: str) -> UUID:
        user_id = self.people[who].user_id
        assert user_id is not None
        return user_id

    async def open(self, by: str = "lei", **more: Any) -> WorkItem:
        given: dict[str, Any] = {
            "kind": WorkKind.APPROVAL, "subject": self.account, "title": TITLE, "due_at": self.database.clock() + timedelta(hours=8), "queue": Role.LEGAL,
            "content_digest": ONE, "territory_id": self.territory_id, "persons": [self.contact_id],
        }  # fmt: skip
        async with self.database.open_uow(self.people[by]) as uow:
            return await work_items.open_item(uow, **(given | more))

    async def do(self, who: str, operation: Any, /, *given: Any, **more: Any) -> Any:
        actor = SYSTEM if who == "system" else self.people[who]
        async with self.database.open_uow(actor) as uow:
            return await operation(uow, *given, **more)

    async def item(self, id: UUID) -> WorkItem:
        async with self.database.open_uow(SYSTEM) as uow:
            return await uow.session.get_one(WorkItem, id)

    async def events(self) -> list[str]:
        async with self.database.read() as connection:
            wanted = select(AuditEvent.action).where(AuditEvent.subject_kind == "WorkItem").order_by(AuditEvent.seq)
            return list((await connection.execute(wanted)).scalars())

    async def in_state(self, state: WorkState) -> list[UUID]:
        async with self.database.read() as connection:
            return list((await connection.scalars(select(WorkItem.id).where(WorkItem.state == state))).all())

    async def refused(
        self, kind: type[SalesError], who: str, operation: Any, /, *given: Any, **more: Any
    ) -> SalesError:
        """The refusal of an operation, after which nothing has changed."""
        async with self.database.read() as connection:
            before = (await connection.execute(select(WorkItem.__table__).order_by(WorkItem.id))).all()
        events = await self.events()
        with pytest.raises(kind) as caught:
            await self.do(who, operation, *given, **more)
        async with self.database.read() as connection:
            assert (await connection.execute(select(WorkItem.__table__).order_by(WorkItem.id))).all() == before
        assert await self.events() == events
        return caught.value


@pytest.fixture
async def office(database: Database) -> Office:
    made = await add_territories(database)
    east, south = [made["east-china"]], [made["south-china"]]
    people = {
        "lei": await add_colleague(database, "张磊", Role.REP, territories=east),
        "na": await add_colleague(database, "李娜", Role.REP, territories=south),
        "min": await add_colleague(database, "王敏", Role.MANAGER, territories=east),
        "fa": await add_colleague(database, "周法", Role.LEGAL),
        "lu": await add_colleague(database, "陆律", Role.LEGAL),
        "chen": await add_colleague(database, "陈芳", Role.FINANCE),
        "zong": await add_colleague(database, "赵总", Role.EXECUTIVE),
        "dun": await add_colleague(database, "吴盾", Role.DPO),
    }
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="华山医院", owner_id=people["lei"].user_id, region="华东")
        contact = await accounts.create_contact(uow, name="刘主任", account_id=account.id)
    return Office(database, people, account.ref(), made["east-china"].id, contact.id)


async def test_an_approval_is_given_by_its_queue_for_exactly_its_content(office: Office, clock: Clock) -> None:
    item = await office.open()
    assert (item.state, await office.in_state(WorkState.OPEN)) == (WorkState.OPEN, [item.id])
    unbound = await office.refused(Invalid, "fa", work_items.decide, item.id, WorkDecision.ACCEPTED)
    assert unbound.text.zh == "请注明所批准内容的摘要"
    other = await office.refused(
        Conflict, "fa", work_items.decide, item.id, WorkDecision.ACCEPTED, content_digest=OTHER
    )
    assert (other.text.zh, other.path) == ("内容与送审时不一致，需要重新审批", ("contentDigest",))
    at = clock.advance(minutes=5)
    done = await office.do("fa", work_items.decide, item.id, WorkDecision.ACCEPTED, content_digest=ONE)
    assert (done.state, done.decided_at, done.decided_by_id) == (WorkState.DONE, at, office.id("fa"))
    assert await office.in_state(WorkState.DONE) == [item.id]
    assert await office.events() == ["work_item.opened", "work_item.decided"]


async def test_only_the_role_of_a_queue_decides_and_sees_it(office: Office) -> None:
    item = await office.open()
    for who, kind in (("na", NotFound), ("chen", NotFound), ("zong", NotFound), ("lei", Forbidden), ("min", Forbidden)):
        await office.refused(kind, who, work_items.decide, item.id, WorkDecision.ACCEPTED, content_digest=ONE)
    mine = await office.open(by="fa")
    why = await office.refused(Forbidden, "fa", work_items.decide, mine.id, WorkDecision.ACCEPTED, content_digest=ONE)
    assert why.text.zh == "不能审批自己提出的事项"


async def test_what_is_handed_to_one_is_no_longer_the_other_ones_to_decide(office: Office) -> None:
    item = await office.open()
    await office.refused(Invalid, "fa", work_items.delegate, item.id, owner_id=office.id("chen"))
    await office.refused(Forbidden, "min", work_items.delegate, item.id, owner_id=office.id("lu"))
    await office.do("fa", work_items.delegate, item.id, owner_id=office.id("lu"))
    await office.refused(Forbidden, "fa", work_items.decide, item.id, WorkDecision.ACCEPTED, content_digest=ONE)
    done = await office.do(
        "lu", work_items.decide, item.id, WorkDecision.REJECTED, content_digest=ONE, reason="措辞过头"
    )
    assert (done.state, await office.in_state(WorkState.REJECTED)) == (WorkState.REJECTED, [item.id])


async def test_a_rejection_says_why_and_an_older_version_is_not_decided(office: Office) -> None:
    item = await office.open()
    for decision in (WorkDecision.REJECTED, WorkDecision.CHANGED):
        await office.refused(Invalid, "fa", work_items.decide, item.id, decision, content_digest=ONE, reason=" ")
    await office.do("fa", work_items.escalate, item.id, reason="需要高管意见")
    await office.refused(
        StaleVersion, "fa", work_items.decide, item.id, WorkDecision.ACCEPTED, content_digest=ONE, expected_version=1
    )


async def test_a_task_is_met_with_evidence_for_each_criterion(office: Office) -> None:
    criteria = ["客户书面确认", "附上新报价"]
    async with office.database.open_uow(office.people["min"]) as uow:
        item = await work_items.create(
            uow, kind=WorkKind.TASK, subject=office.account, title="补签协议", due_at=START + timedelta(days=2), owner_id=office.id("lei"), acceptance=criteria
        )  # fmt: skip
    only = [Evidence(0, "邮件已收到")]
    why = await office.refused(Invalid, "lei", work_items.decide, item.id, WorkDecision.ACCEPTED, evidence=only)
    assert why.text.zh == "第 2 条验收标准缺少证据"
    nowhere = [*only, Evidence(1, "报价 12"), Evidence(2, "多余")]
    await office.refused(Invalid, "lei", work_items.decide, item.id, WorkDecision.ACCEPTED, evidence=nowhere)
    done = await office.do("lei", work_items.decide, item.id, WorkDecision.ACCEPTED, evidence=nowhere[:2])
    assert [one["note"] for one in done.evidence] == ["邮件已收到", "报价 12"]


async def test_a_managers_queue_is_that_of_their_territory(office: Office) -> None:
    here = await office.open(queue=Role.MANAGER)
    nowhere = await office.open(queue=Role.MANAGER, territory_id=None)
    await office.refused(NotFound, "min", work_items.decide, nowhere.id, WorkDecision.ACCEPTED, content_digest=ONE)
    done = await office.do("min", work_items.decide, here.id, WorkDecision.ACCEPTED, content_digest=ONE)
    assert done.state is WorkState.DONE


async def test_evidence_is_a_record_that_whoever_shows_it_sees(office: Office) -> None:
    item = await office.open(kind=WorkKind.REVIEW)
    for kind in ("Account", "Nothing"):
        foreign = [Evidence(None, None, kind, office.account.id)]
        await office.refused(
            NotFound, "fa", work_items.decide, item.id, WorkDecision.ACCEPTED, content_digest=ONE, evidence=foreign
        )
    mine = await office.open(by="min", queue=None, owner_id=office.id("lei"), content_digest=None)
    shown = [Evidence(None, None, "Account", office.account.id)]
    done = await office.do("lei", work_items.decide, mine.id, WorkDecision.ACCEPTED, evidence=shown)
    assert done.evidence[0]["record_id"] == office.account.id.hex


async def test_nothing_is_opened_that_nobody_could_meet(office: Office) -> None:
    given: dict[str, Any] = {"kind": WorkKind.TASK, "subject": office.account, "title": "回访", "due_at": START + timedelta(days=1)}  # fmt: skip
    lei = office.id("lei")
    for wrong in (
        {}, {"owner_id": UUID(int=5)}, {"owner_id": lei, "queue": Role.LEGAL}, {"owner_id": lei, "title": " "}, {"owner_id": lei, "due_at": START},
        {"owner_id": lei, "reason": "长" * 2001}, {"owner_id": lei, "acceptance": [""]}, {"owner_id": lei, "acceptance": ["好"] * 21},
    ):  # fmt: skip
        await office.refused(Invalid, "min", work_items.create, **(given | wrong))
    await office.refused(NotFound, "na", work_items.create, **given, owner_id=office.id("na"))
    await office.refused(NotFound, "min", work_items.create, **(given | {"subject": Ref("User", lei)}), owner_id=lei)


async def test_what_is_not_met_in_time_moves_up_twice_and_stays_there(office: Office, clock: Clock) -> None:
    item = await office.open()
    settled = await office.open(by="na", territory_id=None)
    await office.do("fa", work_items.decide, settled.id, WorkDecision.ACCEPTED, content_digest=ONE)
    clock.advance(hours=7)
    assert await work_items.escalate_overdue(office.database) == 0
    clock.advance(hours=1)
    assert await work_items.escalate_overdue(office.database) == 1
    assert (await office.item(item.id)).escalated_to is Role.MANAGER
    assert await work_items.escalate_overdue(office.database) == 0
    await office.do("min", work_items.delegate, item.id, owner_id=office.id("lu"))
    clock.advance(hours=8)
    assert await work_items.escalate_overdue(office.database) == 1
    top = await office.item(item.id)
    assert (top.escalated_to, top.escalates_at, top.state) == (Role.EXECUTIVE, None, WorkState.OPEN)
    await office.refused(Conflict, "lu", work_items.escalate, item.id, reason="再升级")
    later = clock() + timedelta(hours=1)
    moved = await office.do("zong", work_items.delegate, item.id, owner_id=office.id("fa"), due_at=later)
    assert (moved.due_at, moved.escalates_at) == (later, None)
    clock.advance(days=1)
    assert await work_items.escalate_overdue(office.database) == 0
    await office.refused(Forbidden, "zong", work_items.decide, item.id, WorkDecision.ACCEPTED, content_digest=ONE)
    assert Counter(await office.events())["work_item.escalated"] == 2


async def test_who_asked_calls_it_off(office: Office) -> None:
    item = await office.open()
    await office.refused(Forbidden, "fa", work_items.cancel, item.id, reason="不办")
    await office.refused(Invalid, "lei", work_items.cancel, item.id, reason="")
    done = await office.do("lei", work_items.cancel, item.id, reason="客户撤回")
    assert (done.state, await office.in_state(WorkState.CANCELLED)) == (WorkState.CANCELLED, [item.id])
    await office.refused(Conflict, "fa", work_items.decide, item.id, WorkDecision.ACCEPTED, content_digest=ONE)


async def test_the_database_itself_holds_no_item_with_two_ends(office: Office) -> None:
    item = await office.open()
    await office.do("lei", work_items.cancel, item.id, reason="客户撤回")
    with pytest.raises(IntegrityError):
        async with office.database.writer.begin() as connection:
            await connection.execute(text("UPDATE work_items SET decided_at = opened_at, decision = 'ACCEPTED'"))
    assert (await office.item(item.id)).state is WorkState.CANCELLED


async def test_with_the_person_of_whom_it_speaks_its_words_go(office: Office) -> None:
    item = await office.open(reason=Text("刘主任要求", "Director Liu asks"))
    await office.do("dun", erasure.erase_person, office.contact_id)
    gone = await office.item(item.id)
    assert (gone.title_zh, gone.reason_zh, gone.content_digest, gone.state) == (ERASED, None, ONE, WorkState.OPEN)
    assert (await verify_ledger(office.database)).problem is None


# ---- whatever the order ----------------------------------------------------------------------------------------------

WHO = ("lei", "na", "min", "fa", "lu", "zong", "system")
STEPS = st.one_of(
    st.tuples(st.just("decide"), st.sampled_from(WHO), st.sampled_from([*WorkDecision]), st.sampled_from((ONE, ONE, OTHER, None))),
    st.tuples(st.just("delegate"), st.sampled_from(WHO), st.sampled_from(("lei", "fa", "lu", "min"))),
    st.tuples(st.just("escalate"), st.sampled_from(WHO)),
    st.tuples(st.just("cancel"), st.sampled_from(WHO)),
    st.tuples(st.just("wait"), st.integers(1, 12)),
)  # fmt: skip


def histories(number: int, count: int) -> list[list[tuple[Any, ...]]]:
    drawn: list[list[tuple[Any, ...]]] = []

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, min_size=5, max_size=15))
    def collect(history: list[tuple[Any, ...]]) -> None:
        drawn.append(history)

    collect()
    return drawn


@dataclass
class History:
    """One item and what was done to it; the first end that it came to is its last word."""

    office: Office
    clock: Clock
    item: WorkItem
    ended: WorkItem | None = None
    done: Counter[str] = field(default_factory=Counter)

    async def take(self, step: tuple[Any, ...]) -> None:
        self.clock.advance(minutes=1)
        if step[0] == "wait":
            self.clock.advance(hours=step[1])
            moved = await work_items.escalate_overdue(self.office.database)
            assert not (moved and self.ended), "what has ended moves up"
            return
        before = await self.office.item(self.item.id)
        try:
            await self._do(*step)
        except SalesError:
            assert vars_of(await self.office.item(self.item.id)) == vars_of(before), step
            return
        after = await self.office.item(self.item.id)
        assert self.ended is None, f"{step} after {self.ended and self.ended.state}"
        assert after.version == before.version + 1
        self.done[step[0]] += 1
        if step[0] == "decide":
            self._check_decision(before, step)
        if after.state is not WorkState.OPEN:
            self.ended = after
        assert await self.office.in_state(after.state) == [self.item.id]

    async def _do(self, verb: str, who: str, *given: Any) -> None:
        id = self.item.id
        if verb == "decide":
            decision, digest = given
            await self.office.do(who, work_items.decide, id, decision, content_digest=digest, reason="依据充分")
        elif verb == "delegate":
            await self.office.do(who, work_items.delegate, id, owner_id=self.office.id(given[0]))
        else:
            await self.office.do(who, getattr(work_items, verb), id, reason="依据充分")

    def _check_decision(self, before: WorkItem, step: tuple[Any, ...]) -> None:
        _, who, _, digest = step
        assert digest == ONE, "decided on for other content"
        assert who in {"fa", "lu"}, "decided by another role than the queue's"
        assert before.owner_id in {None, self.office.id(who)}, "decided by another than its owner"


def vars_of(item: WorkItem) -> dict[str, Any]:
    return {column.name: getattr(item, column.name) for column in WorkItem.__table__.c}


async def test_each_comes_to_one_end_whatever_the_order(office: Office, clock: Clock) -> None:
    done: Counter[str] = Counter()
    ends: Counter[WorkState] = Counter()
    for steps in histories(20261124, 40):
        history = History(office, clock, await office.open())
        for step in steps:
            await history.take(step)
        last = await office.item(history.item.id)
        ends[last.state] += 1
        assert history.ended is None or vars_of(history.ended) == vars_of(last)
        done += history.done
        async with office.database.writer.begin() as connection:
            await connection.execute(text("DELETE FROM work_item_persons"))
            await connection.execute(text("DELETE FROM work_items"))
    assert set(ends) == set(WorkState), ends
    assert set(done) == {"decide", "delegate", "escalate", "cancel"}, done


async def test_the_sql_of_the_state_says_what_the_item_says(office: Office) -> None:
    for number, decision in enumerate((None, *WorkDecision)):
        item = await office.open()
        if decision is not None:
            await office.do("fa", work_items.decide, item.id, decision, content_digest=ONE, reason=f"第{number}次")
    gone = await office.open()
    await office.do("lei", work_items.cancel, gone.id, reason="不办")
    async with office.database.open_uow(SYSTEM) as uow:
        rows = (await uow.session.execute(select(WorkItem, WorkItem.state))).all()
        assert [item.state.value for item, _ in rows] == [said for _, said in rows]
        counts = dict((await uow.session.execute(select(WorkItem.state, func.count()).group_by(WorkItem.state))).all())
    assert counts == {"OPEN": 1, "DONE": 2, "REJECTED": 1, "CANCELLED": 1}
