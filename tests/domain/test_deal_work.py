"""Working on deals: opened, changed and moved by rule, committees seated, pipelines kept and varied by region."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from domain import accounts, deals
from domain.accounts import Account, BuyingRole, Contact
from domain.deals import (
    ForecastCategory,
    Influence,
    Opportunity,
    OpportunityContactRole,
    Pipeline,
    Stage,
    StagePlan,
    Stance,
)
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
    Role,
    SalesError,
    StaleVersion,
    Text,
    load,
)
from domain.ledger import AuditEvent
from tests.factories import START, Clock, add_colleague, add_territories

PLAN = (
    StagePlan("discovery", Text("需求确认", "Discovery"), expected_days=14),
    StagePlan("ceo", Text("等总经理拍板", "Waiting for the CEO"), category=ForecastCategory.BEST_CASE),
    StagePlan("won", Text("赢单", "Won"), is_closed=True, is_won=True, category=ForecastCategory.CLOSED),
    StagePlan("lost", Text("丢单", "Lost"), is_closed=True, category=ForecastCategory.OMITTED),
)


@dataclass
class Desk:
    """张磊 of the East, 李娜 of the South, their manager 王敏, 高锐 who keeps pipelines and 陈芳 who counts money."""

    database: Database
    people: dict[str, Actor]
    stages: dict[str, Stage]
    account: Account
    contact: Contact

    async def do(self, who: str, operation: Callable[..., Awaitable[Any]], *given: Any, **more: Any) -> Any:
        async with self.database.open_uow(self.people[who]) as uow:
            return await operation(uow, *given, **more)

    async def open(self, who: str = "lei", **more: Any) -> Opportunity:
        fields: dict[str, Any] = {"name": "影像科 CT 三台", "account_id": self.account.id} | more
        made: Opportunity = await self.do(who, deals.create_opportunity, **fields)
        return made

    async def move(self, who: str, deal: Opportunity, key: str, **more: Any) -> Opportunity:
        """Move a deal as the mutation does."""
        async with self.database.open_uow(self.people[who]) as uow:
            row = await deals.deal_to_change(uow, deal.id, *deals.SELLERS)
            stage = await deals.stage_in_use(uow, row.pipeline_id, key=key, path=("stageKey",))
            await deals.move_opportunity(uow, row, stage, **more)
        return row

    async def count(self, model: type[Base]) -> int:
        async with self.database.read() as connection:
            return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())

    async def refused(self, kind: type[SalesError], operation: Awaitable[Any]) -> SalesError:
        """The refusal of an operation, after which nothing has changed."""
        models = (Opportunity, OpportunityContactRole, Pipeline, Stage, AuditEvent)
        before = [await self.count(model) for model in models]
        with pytest.raises(kind) as caught:
            await operation
        assert [await self.count(model) for model in models] == before
        return caught.value

    async def labels(self, *, retired: bool = False) -> list[str]:
        """The stages of the pipeline in their order."""
        of = Stage.pipeline_id == self.stages["won"].pipeline_id
        kept = of & (Stage.retired_at.is_not(None) if retired else Stage.retired_at.is_(None))
        async with self.database.read() as connection:
            return list((await connection.execute(select(Stage.key).where(kept).order_by(Stage.position))).scalars())


@pytest.fixture
async def desk(database: Database) -> Desk:
    made = await add_territories(database)
    people = {
        "lei": await add_colleague(database, "张磊", Role.REP, territories=[made["east-china"]]),
        "na": await add_colleague(database, "李娜", Role.REP, territories=[made["south-china"]]),
        "min": await add_colleague(database, "王敏", Role.MANAGER, territories=[made["china"]]),
        "rui": await add_colleague(database, "高锐", Role.SALES_OPS),
        "chen": await add_colleague(database, "陈芳", Role.FINANCE),
    }
    async with database.open_uow(SYSTEM) as uow:
        stages = await deals.ensure_pipeline(uow, "new_business", Text("新签", "New business"), PLAN)
        await deals.ensure_competitor(uow, "yuanbai", Text("远柏", "Yuanbai"))
        account = await accounts.create_account(
            uow, name="上海华山医疗集团", region="上海", owner_id=people["lei"].user_id
        )
        await uow.session.flush()
        contact = await accounts.create_contact(uow, name="陈主任", account_id=account.id)
    return Desk(database, people, stages, account, contact)


# ---- opening ---------------------------------------------------------------------------------------------------------


async def test_a_deal_begins_in_the_first_open_stage_and_belongs_to_who_opens_it(desk: Desk) -> None:
    deal = await desk.open(amount=Money(420_000_000, "CNY"), next_step="约院长", declared_probability=40)
    assert (deal.stage_id, deal.owner_id) == (desk.stages["discovery"].id, desk.people["lei"].user_id)
    assert (deal.next_step, deal.declared_probability) == ("约院长", 40)
    assert (await desk.open("min")).owner_id == desk.people["lei"].user_id


BAD: list[tuple[dict[str, Any], type[SalesError], str]] = [
    ({"name": "　"}, Invalid, "name"), ({"amount": Money(-1, "CNY")}, Invalid, "amount"), ({"declared_probability": 101}, Invalid, "declaredProbability"),
    ({"declared_probability": -1}, Invalid, "declaredProbability"), ({"next_step": "等" * 1001}, Invalid, "nextStep"),
    ({"primary_competitor": "无名"}, Invalid, "primaryCompetitor"), ({"stage_key": "won"}, Invalid, "stageKey"), ({"stage_key": "没有"}, NotFound, "stageKey"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "kind", "where"), BAD, ids=[f"{where}-{number}" for number, (_, _, where) in enumerate(BAD)]
)
async def test_what_makes_no_deal_leaves_nothing(
    desk: Desk, more: dict[str, Any], kind: type[SalesError], where: str
) -> None:
    assert (await desk.refused(kind, desk.open(**more))).path[0] == where


async def test_who_may_open_a_deal_and_for_whom(desk: Desk) -> None:
    assert (await desk.refused(NotFound, desk.open("na"))).path == ("accountId",)
    assert (await desk.refused(NotFound, desk.open("chen"))).path == ("accountId",)
    na = desk.people["na"].user_id
    assert (await desk.refused(Forbidden, desk.open(owner_id=na))).path == ("ownerId",)
    assert (await desk.open("min", owner_id=na)).owner_id == na
    assert (await desk.refused(Invalid, desk.open("min", owner_id=desk.people["chen"].user_id))).path == ("ownerId",)


# ---- changing --------------------------------------------------------------------------------------------------------


async def test_an_update_sets_what_is_given_and_clears_what_is_null(desk: Desk) -> None:
    deal = await desk.open(amount=Money(100, "CNY"), next_step="约院长")
    changes = {
        "name": "CT 四台", "amount": Money(500_000_000, "CNY"), "close_date": date(2026, 9, 30), "primary_competitor": "yuanbai",
        "forecast_category": ForecastCategory.COMMIT, "declared_probability": 80, "next_step": None,
    }  # fmt: skip
    changed = await desk.do("lei", deals.update_opportunity, deal.id, changes=changes, expected_version=1)
    assert (changed.name, changed.amount, changed.close_date) == (
        "CT 四台",
        Money(500_000_000, "CNY"),
        date(2026, 9, 30),
    )
    assert (changed.forecast_category, changed.next_step, changed.version) == (ForecastCategory.COMMIT, None, 2)
    back = await desk.do("rui", deals.update_opportunity, deal.id, changes={"forecast_category": None, "amount": None})
    assert (back.forecast_category, back.amount) == (ForecastCategory.PIPELINE, None)
    events = await desk.count(AuditEvent)
    same = await desk.do("lei", deals.update_opportunity, deal.id, changes={"name": "CT 四台"})
    assert (same.version, await desk.count(AuditEvent)) == (3, events)


async def test_updates_that_cannot_be_change_nothing(desk: Desk) -> None:
    deal = await desk.open()
    na = desk.people["na"].user_id
    refusals: list[tuple[str, dict[str, Any], type[SalesError], str]] = [
        ("lei", {"name": None}, Invalid, "name"), ("lei", {"declared_probability": 200}, Invalid, "declaredProbability"),
        ("lei", {"forecast_category": ForecastCategory.CLOSED}, Invalid, "forecastCategory"), ("lei", {"owner_id": na}, Forbidden, "ownerId"),
        ("lei", {"owner_id": None}, Invalid, "ownerId"), ("min", {"owner_id": desk.people["rui"].user_id}, Invalid, "ownerId"),
        ("na", {"name": "抢单"}, NotFound, "id"), ("chen", {"name": "改名"}, NotFound, "id"), ("lei", {"primary_competitor": "无名"}, Invalid, "primaryCompetitor"),
    ]  # fmt: skip
    for who, changes, kind, where in refusals:
        told = await desk.refused(kind, desk.do(who, deals.update_opportunity, deal.id, changes=changes))
        assert told.path[0] == where, changes
    stale = desk.do("lei", deals.update_opportunity, deal.id, changes={"name": "晚了"}, expected_version=9)
    assert (await desk.refused(StaleVersion, stale)).path == ("expectedVersion",)
    assert (await desk.do("min", deals.update_opportunity, deal.id, changes={"owner_id": na})).owner_id == na


# ---- moving ----------------------------------------------------------------------------------------------------------


async def test_a_loss_needs_its_reason_and_nothing_else_has_one(desk: Desk) -> None:
    deal = await desk.open()
    for reason in (None, " "):
        told = await desk.refused(Invalid, desk.move("lei", deal, "lost", loss_reason=reason))
        assert (told.path, told.text.zh) == (("lossReason",), "丢单须填写原因")
    assert (await desk.refused(Invalid, desk.move("lei", deal, "ceo", loss_reason="太贵"))).path == ("lossReason",)
    lost = await desk.move("lei", deal, "lost", loss_reason=" 价格高出两成 ")
    assert (lost.loss_reason, lost.closed_at, lost.forecast_category) == (
        "价格高出两成",
        START,
        ForecastCategory.OMITTED,
    )


async def test_a_closed_deal_is_reopened_by_the_manager_of_its_territory(desk: Desk, clock: Clock) -> None:
    deal = await desk.open()
    await desk.move("lei", deal, "won")
    clock.advance(days=1)
    for key, more in (("ceo", {}), ("lost", {"loss_reason": "退货"})):
        await desk.refused(Forbidden, desk.move("lei", deal, key, **more))
    reopened = await desk.move("min", deal, "ceo")
    assert (reopened.closed_at, reopened.forecast_category) == (None, ForecastCategory.BEST_CASE)


async def test_a_move_is_dated_between_the_last_one_and_now(desk: Desk, clock: Clock) -> None:
    deal = await desk.open()
    clock.advance(days=3)
    for at in (START - timedelta(seconds=1), clock.now + timedelta(seconds=1)):
        assert (await desk.refused(Invalid, desk.move("lei", deal, "ceo", at=at))).path == ("at",)
    assert (await desk.move("lei", deal, "ceo", at=START + timedelta(days=1))).stage_entered_at == START + timedelta(
        days=1
    )


# ---- the buying committee --------------------------------------------------------------------------------------------


async def _seat(desk: Desk, deal: Opportunity, who: str = "lei", **more: Any) -> OpportunityContactRole:
    async with desk.database.open_uow(desk.people[who]) as uow:
        row = await deals.deal_to_change(uow, deal.id, *deals.SELLERS)
        contact = await load(uow.session, uow.actor, Contact, desk.contact.id)
        return await deals.add_contact_role(uow, row, contact, **({"role": BuyingRole.TECHNICAL_EVALUATOR} | more))


async def test_a_seat_is_taken_changed_and_given_up(desk: Desk) -> None:
    deal = await desk.open()
    seat = await _seat(desk, deal, influence=Influence.HIGH)
    assert (seat.stance, seat.influence, seat.covered_at) == (Stance.UNKNOWN, Influence.HIGH, None)
    assert (await desk.refused(Conflict, _seat(desk, deal))).path == ("role",)
    changes = {"stance": Stance.SUPPORTS, "covered_at": START, "influence": None}
    changed = await desk.do("lei", deals.update_contact_role, seat.id, changes=changes, expected_version=1)
    assert (changed.stance, changed.influence, changed.covered_at) == (Stance.SUPPORTS, None, START)
    await _seat(desk, deal, role=BuyingRole.USER)
    taken = desk.do("lei", deals.update_contact_role, seat.id, changes={"role": BuyingRole.USER})
    assert (await desk.refused(Conflict, taken)).path == ("role",)
    left = await desk.do("lei", deals.remove_contact_role, seat.id, expected_version=2)
    assert (left.id, await desk.count(OpportunityContactRole)) == (deal.id, 1)


async def test_seats_are_for_those_who_work_on_the_deal(desk: Desk) -> None:
    deal = await desk.open()
    seat = await _seat(desk, deal)
    for who in ("na", "rui", "chen"):
        await desk.refused(
            NotFound, desk.do(who, deals.update_contact_role, seat.id, changes={"stance": Stance.OPPOSES})
        )
        await desk.refused(NotFound, desk.do(who, deals.remove_contact_role, seat.id))
    stale = desk.do("lei", deals.remove_contact_role, seat.id, expected_version=4)
    await desk.refused(StaleVersion, stale)
    ahead = desk.do("lei", deals.update_contact_role, seat.id, changes={"covered_at": START + timedelta(days=1)})
    assert (await desk.refused(Invalid, ahead)).path == ("coveredAt",)


async def test_of_two_equal_seats_at_once_one_is_taken(desk: Desk) -> None:
    deal = await desk.open()
    results = await asyncio.gather(*(_seat(desk, deal) for _ in range(3)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Conflict", "OpportunityContactRole"]


# ---- pipelines -------------------------------------------------------------------------------------------------------


async def test_a_regional_pipeline_serves_its_territory_first(desk: Desk) -> None:
    channel: Pipeline = await desk.do(
        "rui", deals.create_pipeline, label=Text("华东渠道", "Channel East"), stages=PLAN, region="华东"
    )
    assert (channel.region, channel.key.startswith("pipeline_")) == ("east-china", True)
    assert (await desk.open()).pipeline_id == channel.id
    async with desk.database.open_uow(SYSTEM) as uow:
        far = await accounts.create_account(uow, name="广州医疗", region="华南", owner_id=desk.people["na"].user_id)
    assert (await desk.open("na", account_id=far.id)).pipeline_id == desk.stages["won"].pipeline_id
    told = await desk.refused(Invalid, desk.open("na", account_id=far.id, pipeline_id=channel.id))
    assert told.path == ("pipelineId",)
    everywhere = await desk.do("rui", deals.update_pipeline, channel.id, changes={"region": None}, expected_version=1)
    assert (everywhere.territory_id, everywhere.version) == (None, 2)
    assert (await desk.open("na", account_id=far.id, pipeline_id=channel.id)).pipeline_id == channel.id


UNFIT: list[tuple[dict[str, Any], type[SalesError], tuple[str, ...]]] = [
    ({"label": Text(" ", "x")}, Invalid, ("label", "zh")), ({"stages": PLAN[:3]}, Invalid, ("stages",)), ({"region": "火星"}, Invalid, ("region",)),
    ({"stages": (*PLAN, PLAN[0])}, Invalid, ("stages",)), ({"key": "大写"}, Invalid, ("key",)), ({"key": "new_business"}, Conflict, ("key",)),
    ({"stages": (*PLAN, StagePlan("a b", Text("甲", "A")))}, Invalid, ("stages", "4", "key")),
    ({"stages": (*PLAN, StagePlan("", Text("甲", "A"), is_won=True))}, Invalid, ("stages",)),
    ({"stages": (*PLAN, StagePlan("", Text("甲", "A"), expected_days=0))}, Invalid, ("stages", "4", "expectedDays")),
]  # fmt: skip


async def test_what_makes_no_pipeline_leaves_nothing(desk: Desk) -> None:
    for more, kind, path in UNFIT:
        fields: dict[str, Any] = {"label": Text("渠道", "Channel"), "stages": PLAN} | more
        assert (await desk.refused(kind, desk.do("rui", deals.create_pipeline, **fields))).path == path, more


async def test_stages_are_added_in_place_and_reordered(desk: Desk) -> None:
    pipeline_id = desk.stages["won"].pipeline_id
    stage: Stage = await desk.do(
        "rui", deals.add_stage, pipeline_id, StagePlan("poc", Text("试用", "Trial")), position=1
    )
    assert await desk.labels() == ["discovery", "poc", "ceo", "won", "lost"]
    ids = [stage.id, *(desk.stages[key].id for key in ("discovery", "ceo", "won", "lost"))]
    pipeline = await desk.do("rui", deals.reorder_stages, pipeline_id, ids, expected_version=2)
    assert (await desk.labels(), pipeline.version) == (["poc", "discovery", "ceo", "won", "lost"], 3)
    events = await desk.count(AuditEvent)
    assert (await desk.do("rui", deals.reorder_stages, pipeline_id, ids)).version == 3
    assert await desk.count(AuditEvent) == events
    for wrong in (ids[1:], [*ids[1:], ids[1]], [*ids, ids[0]]):
        assert (await desk.refused(Conflict, desk.do("rui", deals.reorder_stages, pipeline_id, wrong))).path == (
            "stageIds",
        )
    stale = desk.do("rui", deals.reorder_stages, pipeline_id, ids[::-1], expected_version=2)
    await desk.refused(StaleVersion, stale)


async def test_a_stage_is_renamed_in_the_words_of_the_business(desk: Desk) -> None:
    stage = desk.stages["discovery"]
    changes = {
        "label": Text("等总经理点头", "Waiting for the nod"),
        "expected_days": None,
        "category": ForecastCategory.BEST_CASE,
    }
    changed: Stage = await desk.do("rui", deals.update_stage, stage.id, changes=changes, expected_version=1)
    assert (changed.label_zh, changed.expected_days, changed.default_forecast_category, changed.version) == (
        "等总经理点头",
        None,
        ForecastCategory.BEST_CASE,
        2,
    )
    wrong = desk.do("rui", deals.update_stage, stage.id, changes={"category": ForecastCategory.CLOSED})
    assert (await desk.refused(Invalid, wrong)).path == ("forecastCategory",)


async def test_a_stage_is_retired_once_no_open_deal_stands_in_it(desk: Desk) -> None:
    deal = await desk.open(stage_key="ceo")
    stage = desk.stages["ceo"]
    told = await desk.refused(Conflict, desk.do("rui", deals.retire_stage, stage.id))
    assert "1 个商机" in told.text.zh
    await desk.move("lei", deal, "discovery")
    retired: Stage = await desk.do("rui", deals.retire_stage, stage.id, expected_version=1)
    assert (retired.retired_at, await desk.labels(), await desk.labels(retired=True)) == (
        START,
        ["discovery", "won", "lost"],
        ["ceo"],
    )
    told = await desk.refused(Conflict, desk.move("lei", deal, "ceo"))
    assert (told.path, "等总经理拍板" in told.text.zh) == (("stageKey",), True)
    await desk.refused(Conflict, desk.open(stage_key="ceo"))
    for key in ("won", "lost"):
        await desk.refused(Conflict, desk.do("rui", deals.retire_stage, desk.stages[key].id))


async def test_a_deal_does_not_slip_into_a_stage_that_is_being_retired(desk: Desk) -> None:
    deal, stage = await desk.open(), desk.stages["ceo"]
    both = await asyncio.gather(
        desk.move("lei", deal, "ceo"), desk.do("rui", deals.retire_stage, stage.id), return_exceptions=True
    )
    assert [isinstance(result, Conflict) for result in both].count(True) == 1


async def test_pipelines_are_kept_by_sales_operations(desk: Desk) -> None:
    pipeline_id, stage = desk.stages["won"].pipeline_id, desk.stages["ceo"]
    for who in ("lei", "min", "chen"):
        for operation in (
            desk.do(who, deals.update_pipeline, pipeline_id, changes={"region": None}),
            desk.do(who, deals.add_stage, pipeline_id, StagePlan("", Text("甲", "A"))),
            desk.do(who, deals.update_stage, stage.id, changes={"expected_days": 3}),
            desk.do(who, deals.reorder_stages, pipeline_id, [stage.id]),
            desk.do(who, deals.retire_stage, stage.id),
        ):
            await desk.refused(NotFound, operation)


kinds = st.tuples(st.booleans(), st.booleans())


@given(st.lists(kinds, max_size=8))
def test_a_whole_pipeline_stays_whole_with_more_stages_that_can_be(stages: list[tuple[bool, bool]]) -> None:
    whole = {(False, False), (True, True), (True, False)}
    assert deals.is_whole([*whole, *stages]) is all(kind != (False, True) for kind in stages)
    assert not any(deals.is_whole([kind for kind in [*whole, *stages] if kind != lacking]) for lacking in whole)


@given(st.sampled_from(ForecastCategory), st.sampled_from(ForecastCategory), st.booleans())
def test_a_closed_deal_counts_as_its_stage_says(
    wanted: ForecastCategory, default: ForecastCategory, closed: bool
) -> None:
    fits = deals.category_fits(wanted, default, is_closed=closed)
    assert fits == (wanted is default if closed else wanted is not ForecastCategory.CLOSED)
