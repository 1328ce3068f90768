"""Deals: pipelines set up once, stays in stages without gap, buying committees and their coverage."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from domain import accounts, deals
from domain.accounts import Account, BuyingRole, Contact
from domain.deals import (
    NEEDED_ROLES,
    CommitteeSeat,
    Competitor,
    ForecastCategory,
    ImportedDeal,
    Opportunity,
    OpportunityContactRole,
    Pipeline,
    Stage,
    StagePlan,
    StageTransition,
    Stance,
)
from domain.kernel import SYSTEM, Actor, Base, Database, Invalid, Money, NotFound, Role, StaleVersion, Text, load
from domain.ledger import AuditEvent
from tests.factories import START, Clock, add_colleague, add_territories

PLAN = [
    StagePlan("discovery", Text("需求确认", "Discovery"), expected_days=14),
    StagePlan("proposal", Text("方案报价", "Proposal"), expected_days=21, category=ForecastCategory.BEST_CASE),
    StagePlan("won", Text("赢单", "Won"), is_closed=True, is_won=True, category=ForecastCategory.CLOSED),
    StagePlan("lost", Text("输单", "Lost"), is_closed=True, category=ForecastCategory.OMITTED),
]


@dataclass
class Desk:
    """A pipeline, an account of East China that 张磊 owns, 李娜 who does not see it, and 王敏 who manages the territory."""

    database: Database
    lei: Actor
    na: Actor
    min: Actor
    stages: dict[str, Stage]
    account: Account

    async def open(self, stage: str = "discovery", **more: Any) -> Opportunity:
        """Open a deal of the account as 张磊."""
        fields: dict[str, Any] = {
            "name": "影像科 CT 三台",
            "stage": self.stages[stage],
            "account_id": self.account.id,
        } | more
        async with self.database.open_uow(self.lei) as uow:
            return await deals.open_opportunity(uow, **fields)

    async def move(self, opportunity: Opportunity, stage: str, actor: Actor | None = None, **more: Any) -> Opportunity:
        """Move the deal as it is stored now."""
        async with self.database.open_uow(actor or self.lei) as uow:
            row = await load(uow.session, uow.actor, Opportunity, opportunity.id)
            await deals.move_opportunity(uow, row, self.stages[stage], **more)
        return row

    async def stays(self, opportunity: Opportunity) -> list[Any]:
        """The stays of a deal as (stage key, entered, left), in order."""
        keys = {stage.id: key for key, stage in self.stages.items()}
        of_deal = StageTransition.opportunity_id == opportunity.id
        async with self.database.read() as connection:
            rows = await connection.execute(
                select(StageTransition.__table__)
                .where(of_deal)
                .order_by(StageTransition.entered_at, StageTransition.id)
            )
            return [(keys[row.to_stage_id], row.entered_at, row.left_at) for row in rows]

    async def count(self, model: type[Base]) -> int:
        """How many rows there are."""
        async with self.database.read() as connection:
            return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())


@pytest.fixture
async def desk(database: Database) -> Desk:
    made = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[made["east-china"]])
    na = await add_colleague(database, "李娜", Role.REP, territories=[made["south-china"]])
    boss = await add_colleague(database, "王敏", Role.MANAGER, territories=[made["china"]])
    async with database.open_uow(SYSTEM) as uow:
        stages = await deals.ensure_pipeline(uow, "new_business", Text("新签", "New business"), PLAN)
        account = await accounts.create_account(uow, name="上海华山医疗集团", region="华东", owner_id=lei.user_id)
    return Desk(database, lei, na, boss, stages, account)


# ---- pipelines -------------------------------------------------------------------------------------------------------


async def test_a_pipeline_is_set_up_once_with_its_stages_in_order(desk: Desk) -> None:
    events = await desk.count(AuditEvent)
    async with desk.database.open_uow(SYSTEM) as uow:
        again = await deals.ensure_pipeline(uow, "new_business", Text("别的名字", "Another"), PLAN[:1])
    assert list(again) == ["discovery", "proposal", "won", "lost"]
    assert [stage.position for stage in again.values()] == [0, 1, 2, 3]
    assert {key: stage.id for key, stage in again.items()} == {key: stage.id for key, stage in desk.stages.items()}
    assert (await desk.count(Pipeline), await desk.count(Stage), await desk.count(AuditEvent)) == (1, 4, events)


async def test_a_competitor_is_added_once(desk: Desk) -> None:
    async with desk.database.open_uow(SYSTEM) as uow:
        first = await deals.ensure_competitor(uow, "yuanbai", Text("远柏", "Yuanbai"))
        second = await deals.ensure_competitor(uow, "yuanbai", Text("远柏医疗", "Yuanbai Medical"))
    assert (first.id, second.label_zh, await desk.count(Competitor)) == (second.id, "远柏", 1)


# ---- opening and moving ----------------------------------------------------------------------------------------------


async def test_a_deal_is_opened_in_its_accounts_territory_for_its_owner(desk: Desk) -> None:
    deal = await desk.open(name=" 影像科 CT 三台 ", amount=Money(420_000_000, "CNY"))
    assert (deal.name, deal.owner_id, deal.territory_id) == (
        "影像科 CT 三台",
        desk.lei.user_id,
        desk.account.territory_id,
    )
    assert (deal.amount, deal.forecast_category) == (Money(420_000_000, "CNY"), ForecastCategory.PIPELINE)
    assert (deal.opened_at, deal.stage_entered_at, deal.closed_at) == (START, START, None)
    assert await desk.stays(deal) == [("discovery", START, None)]


async def test_a_deal_without_an_amount_has_none(desk: Desk) -> None:
    assert (await desk.open()).amount is None


async def test_a_deal_opens_on_an_account_that_its_opener_sees(desk: Desk) -> None:
    events = await desk.count(AuditEvent)
    with pytest.raises(NotFound) as refused:
        async with desk.database.open_uow(desk.na) as uow:
            await deals.open_opportunity(uow, name="抢单", stage=desk.stages["discovery"], account_id=desk.account.id)
    assert refused.value.path == ("accountId",)
    with pytest.raises(Invalid) as unnamed:
        await desk.open(name="\u3000")
    assert unnamed.value.path == ("name",)
    assert (await desk.count(Opportunity), await desk.count(AuditEvent)) == (0, events)


async def test_moves_leave_no_gap_between_stays(desk: Desk, clock: Clock) -> None:
    deal = await desk.open()
    proposed = clock.advance(days=3)
    await desk.move(deal, "proposal")
    lost = clock.advance(days=5)
    moved = await desk.move(deal, "lost", loss_reason="预算取消")
    assert (moved.closed_at, moved.loss_reason, moved.forecast_category) == (lost, "预算取消", ForecastCategory.OMITTED)
    reopened = clock.advance(days=1)
    moved = await desk.move(deal, "proposal", desk.min)
    assert (moved.closed_at, moved.loss_reason, moved.stage_entered_at) == (None, None, reopened)
    assert moved.forecast_category is ForecastCategory.BEST_CASE
    assert await desk.stays(deal) == [
        ("discovery", START, proposed), ("proposal", proposed, lost), ("lost", lost, reopened), ("proposal", reopened, None),
    ]  # fmt: skip


async def test_a_move_to_the_same_stage_is_none(desk: Desk, clock: Clock) -> None:
    deal = await desk.open()
    events = await desk.count(AuditEvent)
    clock.advance(days=1)
    moved = await desk.move(deal, "discovery")
    assert (moved.version, moved.stage_entered_at, await desk.count(AuditEvent)) == (1, START, events)
    assert await desk.stays(deal) == [("discovery", START, None)]


async def test_a_deal_stays_in_its_pipeline(desk: Desk) -> None:
    deal = await desk.open()
    async with desk.database.open_uow(SYSTEM) as uow:
        others = await deals.ensure_pipeline(uow, "renewal", Text("续约", "Renewal"), PLAN[:1])
    desk.stages["renewal"] = others["discovery"]
    with pytest.raises(Invalid) as refused:
        await desk.move(deal, "renewal")
    assert refused.value.path == ("stageId",)
    assert await desk.stays(deal) == [("discovery", START, None)]


async def test_a_deal_does_not_leave_a_stage_before_it_entered_it(desk: Desk) -> None:
    deal = await desk.open()
    with pytest.raises(Invalid) as refused:
        await desk.move(deal, "proposal", at=START - timedelta(seconds=1))
    assert refused.value.path == ("at",)
    assert await desk.stays(deal) == [("discovery", START, None)]


async def test_of_two_moves_at_once_one_is_stale(desk: Desk) -> None:
    if desk.database.embedded:
        pytest.skip("SQLite has one writer: the second reads what the first wrote")
    deal = await desk.open()

    async def overtaken() -> None:
        async with desk.database.open_uow(desk.lei) as uow:
            row = await load(uow.session, uow.actor, Opportunity, deal.id)
            await desk.move(deal, "won")
            await deals.move_opportunity(uow, row, desk.stages["lost"], loss_reason="价格")

    with pytest.raises(StaleVersion):
        await overtaken()
    assert [key for key, _, left in await desk.stays(deal) if left is None] == ["won"]


# ---- imported --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "worked_in", "stays"),
    [
        ("proposal", None, [("proposal", 0, None)]),
        ("won", None, [("won", 30, None)]),
        ("won", "proposal", [("proposal", 0, 30), ("won", 30, None)]),
    ],
)
async def test_an_export_tells_of_stays_as_far_as_it_knows(
    desk: Desk, stage: str, worked_in: str | None, stays: list[tuple[str, int, int | None]]
) -> None:
    closed = START + timedelta(days=30) if desk.stages[stage].is_closed else None
    deal = ImportedDeal(
        "006", "老系统的单子", desk.account.id, desk.lei.user_id, None, desk.stages[stage], desk.stages[worked_in] if worked_in else None,
        Money(100, "CNY"), START, closed, None,
    )  # fmt: skip
    async with desk.database.open_uow(SYSTEM) as uow:
        rows = deals.imported_rows(uow, "旧 CRM", [(uow.new_id(), deal)])
    [opportunity] = rows[Opportunity]
    assert (opportunity["amount_minor"], opportunity["currency"], opportunity["closed_at"]) == (100, "CNY", closed)
    assert opportunity["stage_entered_at"] == (closed or START)
    keys = {each.id: key for key, each in desk.stages.items()}
    assert {stay["opportunity_id"] for stay in rows[StageTransition]} == {opportunity["id"]}
    assert [(keys[stay["to_stage_id"]], stay["entered_at"], stay["left_at"]) for stay in rows[StageTransition]] == [
        (key, START + timedelta(days=entered), None if left is None else START + timedelta(days=left))
        for key, entered, left in stays
    ]


# ---- the buying committee --------------------------------------------------------------------------------------------


async def test_a_person_has_one_seat_a_role(desk: Desk, clock: Clock) -> None:
    deal = await desk.open()
    async with desk.database.open_uow(desk.lei) as uow:
        chen = await accounts.create_contact(uow, name="陈芳", account_id=desk.account.id)
        await uow.session.flush()
        await deals.set_contact_role(uow, deal, chen, BuyingRole.TECHNICAL_EVALUATOR, covered_at=uow.now)
        await deals.set_contact_role(uow, deal, chen, BuyingRole.USER)
    clock.advance(days=1)
    async with desk.database.open_uow(desk.lei) as uow:
        chen = await uow.session.get_one(Contact, chen.id)
        deal = await uow.session.get_one(Opportunity, deal.id)
        seat = await deals.set_contact_role(uow, deal, chen, BuyingRole.TECHNICAL_EVALUATOR, stance=Stance.SUPPORTS)
    assert (seat.stance, seat.covered_at) == (Stance.SUPPORTS, START)
    assert await desk.count(OpportunityContactRole) == 2


seats = st.lists(st.builds(CommitteeSeat, st.sampled_from(BuyingRole), st.booleans()), max_size=12)


@given(seats)
def test_every_needed_role_is_covered_or_known_or_unknown(sat: list[CommitteeSeat]) -> None:
    coverage = deals.committee_coverage(sat)
    parts = (coverage.covered, coverage.uncovered, coverage.unknown)
    assert sorted(role for part in parts for role in part) == sorted(NEEDED_ROLES)
    assert coverage.percent == 20 * len(coverage.covered)
    assert set(coverage.covered) == {seat.role for seat in sat if seat.covered} & set(NEEDED_ROLES)
    assert set(coverage.unknown) == set(NEEDED_ROLES) - {seat.role for seat in sat}


@given(seats, st.builds(CommitteeSeat, st.sampled_from(BuyingRole), st.just(value=True)))
def test_speaking_to_one_more_never_lowers_coverage(sat: list[CommitteeSeat], more: CommitteeSeat) -> None:
    assert deals.committee_coverage([*sat, more]).percent >= deals.committee_coverage(sat).percent


def test_nobody_known_covers_nothing() -> None:
    assert (deals.committee_coverage([]).percent, deals.committee_coverage([]).unknown) == (0, NEEDED_ROLES)
    assert deals.CommitteeCoverage((), (), ()).percent == 0
