"""Deals over the schema: opened, changed, moved, their committees, their filters; and the pipelines that sales operations keep."""

from typing import Any

import pytest
from sqlalchemy import func, select

from domain import deals
from domain.deals import ForecastCategory, Opportunity, OpportunityContactRole, Pipeline, Stage
from domain.kernel import SYSTEM, Language, Money, Text
from domain.ledger import AuditEvent
from tests.api.conftest import Answer, Ask, Company, Statements

DEAL = """opportunity { id version name nextStep declaredProbability forecastCategory lossReason closeDate openedAt stageEnteredAt closedAt
  amount { amount currency } owner { name } primaryCompetitor stage { key label } pipeline { key region }
  contactRoles { id version role stance influence coveredAt contact { name } }
  committeeCoverage { percent covered uncovered unknown }
  transitions { fromStage { key } toStage { key } enteredAt leftAt days } }
  errors { path code message }"""
SEAT = f"contactRole {{ id version role stance influence coveredAt contact {{ name }} }} {DEAL}"
STAGE = "stage { id version key label position isClosed isWon expectedDays defaultForecastCategory retiredAt } errors { path code message }"
PIPELINE = "pipeline { id version key label region stages { id version key label position retiredAt } } errors { path code message }"
ANSWERS = {
    "addOpportunityContactRole": SEAT, "updateOpportunityContactRole": SEAT, "removeOpportunityContactRole": SEAT,
    "addStage": STAGE, "updateStage": STAGE, "retireStage": STAGE, "createPipeline": PIPELINE, "updatePipeline": PIPELINE, "reorderStages": PIPELINE,
}  # fmt: skip


def call(root: str) -> str:
    kind = root[0].upper() + root[1:]
    return f"mutation($input: {kind}Input!) {{ {root}(input: $input) {{ {ANSWERS.get(root, DEAL)} }} }}"


async def counts(company: Company) -> list[int]:
    models = (Opportunity, OpportunityContactRole, Pipeline, Stage, AuditEvent)
    async with company.database.read() as connection:
        return [(await connection.execute(select(func.count()).select_from(model))).scalar_one() for model in models]


def done(answer: Answer, root: str, name: str = "opportunity") -> Any:
    assert (answer.errors, answer.data[root]["errors"]) == ([], [])
    return answer.data[root][name]


def refusal(answer: Answer, root: str) -> tuple[list[str], str]:
    assert answer.errors == []
    (error,) = answer.data[root]["errors"]
    assert {value is None for name, value in answer.data[root].items() if name != "errors"} == {True}
    return error["path"], error["code"]


@pytest.fixture
def deal(company: Company) -> str:
    return company.id(company.deals["parts-1"])


@pytest.fixture
async def lost(company: Company) -> str:
    """The id of a stage in which deals of the company's pipeline are lost."""
    async with company.database.open_uow(SYSTEM) as uow:
        pipeline = company.deals["parts-1"].pipeline_id
        plan = deals.StagePlan("lost", Text("丢单", "Lost"), is_closed=True, category=ForecastCategory.OMITTED)
        return company.id(await deals.add_stage(uow, pipeline, plan))


# ---- deals -----------------------------------------------------------------------------------------------------------


async def test_a_deal_is_opened_once(company: Company, ask: Ask) -> None:
    input = {
        "clientKey": "新", "name": "影像归档二期", "accountId": company.id(company.accounts["hospital"]), "amount": {"amount": "1280000", "currency": "CNY"},
        "closeDate": "2026-09-30", "nextStep": "约院长", "declaredProbability": 35,
    }  # fmt: skip
    made = done(await ask(call("createOpportunity"), input=input), "createOpportunity")
    assert (made["name"], made["amount"], made["owner"]) == (
        "影像归档二期",
        {"amount": "1280000.00", "currency": "CNY"},
        {"name": "张磊"},
    )
    assert (made["stage"], made["pipeline"]) == (
        {"key": "qualify", "label": "资格确认"},
        {"key": "new_business", "region": None},
    )
    assert (made["nextStep"], made["declaredProbability"], made["forecastCategory"]) == ("约院长", 35, "PIPELINE")
    assert made["committeeCoverage"]["percent"] == 0
    assert made["transitions"] == [
        {"fromStage": None, "toStage": {"key": "qualify"}, "enteredAt": made["openedAt"], "leftAt": None, "days": 0}
    ]
    before = await counts(company)
    assert done(await ask(call("createOpportunity"), input=input), "createOpportunity") == made
    assert refusal(await ask(call("createOpportunity"), input=input | {"name": "别的"}), "createOpportunity") == (
        ["clientKey"],
        "KEY_REUSED",
    )
    assert await counts(company) == before


async def test_what_makes_no_deal_says_where(company: Company, ask: Ask) -> None:
    base = {"clientKey": "1", "name": "影像归档", "accountId": company.id(company.accounts["hospital"])}
    before = await counts(company)
    for bad, path, code in (
        ({"name": " "}, ["name"], "INVALID"), ({"accountId": company.id(company.accounts["device"])}, ["accountId"], "NOT_FOUND"),
        ({"accountId": company.user("lei")}, ["accountId"], "NOT_FOUND"), ({"amount": {"amount": "-5", "currency": "CNY"}}, ["amount", "amount"], "INVALID"),
        ({"amount": {"amount": "5", "currency": "XXY"}}, ["amount", "currency"], "INVALID"), ({"stageKey": "won"}, ["stageKey"], "INVALID"),
        ({"ownerId": company.user("na")}, ["ownerId"], "FORBIDDEN"), ({"declaredProbability": 101}, ["declaredProbability"], "INVALID"),
        ({"primaryCompetitor": "无名"}, ["primaryCompetitor"], "INVALID"),
    ):  # fmt: skip
        assert refusal(await ask(call("createOpportunity"), input=base | bad), "createOpportunity") == (path, code), bad
    for who in ("FINANCE", "CSM", "SALES_OPS"):
        assert refusal(await ask(call("createOpportunity"), who, input=base), "createOpportunity") == ([], "FORBIDDEN")
    assert await counts(company) == before


async def test_a_deal_is_changed_where_something_is_given(company: Company, ask: Ask, deal: str) -> None:
    change = {
        "id": deal,
        "expectedVersion": 1,
        "amount": None,
        "forecastCategory": "COMMIT",
        "declaredProbability": 90,
        "nextStep": "签框架",
    }
    changed = done(await ask(call("updateOpportunity"), input=change), "updateOpportunity")
    assert (changed["amount"], changed["forecastCategory"], changed["name"]) == (None, "COMMIT", "苏州精密零部件 第1期")
    assert (changed["version"], changed["nextStep"], changed["closeDate"]) == (2, "签框架", "2026-06-01")
    handed = {"id": deal, "expectedVersion": 2, "ownerId": company.user("na")}
    before = await counts(company)
    assert refusal(await ask(call("updateOpportunity"), input=handed), "updateOpportunity") == (
        ["ownerId"],
        "FORBIDDEN",
    )
    stale = await ask(call("updateOpportunity"), input=change)
    assert refusal(stale, "updateOpportunity") == (["expectedVersion"], "STALE_VERSION")
    assert refusal(await ask(call("updateOpportunity"), "na", input=handed), "updateOpportunity") == (
        ["id"],
        "NOT_FOUND",
    )
    assert refusal(await ask(call("updateOpportunity"), "FINANCE", input=handed), "updateOpportunity") == (
        [],
        "FORBIDDEN",
    )
    wrong = await ask(call("updateOpportunity"), input={"id": deal, "expectedVersion": 2, "forecastCategory": "CLOSED"})
    assert refusal(wrong, "updateOpportunity") == (["forecastCategory"], "INVALID")
    assert "资格确认" in wrong.data["updateOpportunity"]["errors"][0]["message"]
    assert await counts(company) == before
    assert done(await ask(call("updateOpportunity"), "min", input=handed), "updateOpportunity")["owner"] == {
        "name": "李娜"
    }


async def test_a_deal_moves_by_key_or_id_and_tells_its_stays(company: Company, ask: Ask, deal: str, lost: str) -> None:
    company.database.clock.advance(days=9, hours=5)  # type: ignore[attr-defined]
    moved = done(
        await ask(call("moveOpportunity"), input={"id": deal, "expectedVersion": 1, "stageKey": "proposal"}),
        "moveOpportunity",
    )
    assert (moved["stage"]["key"], moved["forecastCategory"]) == ("proposal", "BEST_CASE")
    company.database.clock.advance(days=2)  # type: ignore[attr-defined]
    gone = {"id": deal, "expectedVersion": 2, "stageId": lost, "lossReason": "价格高出两成"}
    ended = done(await ask(call("moveOpportunity"), input=gone), "moveOpportunity")
    assert (ended["lossReason"], ended["closedAt"]) == ("价格高出两成", "2026-03-13T06:30:00.000000Z")
    assert [(stay["fromStage"], stay["toStage"]["key"], stay["days"]) for stay in ended["transitions"]] == [
        (None, "qualify", 9),
        ({"key": "qualify"}, "proposal", 2),
        ({"key": "proposal"}, "lost", 0),
    ]
    before = await counts(company)
    back = {"id": deal, "expectedVersion": 3, "stageKey": "proposal"}
    assert refusal(await ask(call("moveOpportunity"), input=back), "moveOpportunity") == (["id"], "FORBIDDEN")
    assert await counts(company) == before
    assert done(await ask(call("moveOpportunity"), "min", input=back), "moveOpportunity")["closedAt"] is None


async def test_a_move_that_cannot_be_says_where(company: Company, ask: Ask, deal: str, lost: str) -> None:
    foreign = company.id((await _stages(company, company.pipelines["renewal"]))[0])
    before = await counts(company)
    for bad, path, code in (
        ({}, ["stageId"], "INVALID"), ({"stageKey": "won", "stageId": lost}, ["stageId"], "INVALID"), ({"stageKey": "没有"}, ["stageKey"], "NOT_FOUND"),
        ({"stageId": foreign}, ["stageId"], "NOT_FOUND"), ({"stageId": deal}, ["stageId"], "NOT_FOUND"), ({"stageId": lost}, ["lossReason"], "INVALID"),
        ({"stageKey": "won", "lossReason": "没有输"}, ["lossReason"], "INVALID"), ({"stageKey": "won", "at": "2020-01-01T00:00:00Z"}, ["at"], "INVALID"),
        ({"stageKey": "won", "expectedVersion": 3}, ["expectedVersion"], "STALE_VERSION"),
    ):  # fmt: skip
        answer = await ask(call("moveOpportunity"), input={"id": deal, "expectedVersion": 1} | bad)
        assert refusal(answer, "moveOpportunity") == (path, code), bad
    answer = await ask(call("moveOpportunity"), "na", input={"id": deal, "expectedVersion": 1, "stageKey": "won"})
    assert refusal(answer, "moveOpportunity") == (["id"], "NOT_FOUND")
    assert await counts(company) == before


async def _stages(company: Company, pipeline: str) -> list[Stage]:
    async with company.database.open_uow(SYSTEM) as uow:
        rows = await uow.session.execute(select(Stage).order_by(Stage.id))
        return [stage for stage in rows.scalars() if pipeline.endswith(stage.pipeline_id.hex)]


async def test_open_deals_follow_their_account_into_another_territory(company: Company, ask: Ask) -> None:
    document = (
        "mutation($input: UpdateAccountInput!) { updateAccount(input: $input) { account { region } errors { code } } }"
    )
    account = company.accounts["parts"]
    answer = await ask(
        document, "min", input={"id": company.id(account), "expectedVersion": account.version, "region": "华南"}
    )
    assert answer.data == {"updateAccount": {"account": {"region": "south-china"}, "errors": []}}
    found = '{ opportunities(filter: { region: "华南", search: "苏州" }) { edges { node { name } } } }'
    names = [edge["node"]["name"] for edge in (await ask(found, "min")).data["opportunities"]["edges"]]
    assert sorted(names) == ["苏州精密零部件 第1期", "苏州精密零部件 第2期"]
    async with company.database.read() as connection:
        noted = select(func.count()).where(AuditEvent.action == "opportunity.territory_followed")
        assert (await connection.execute(noted)).scalar_one() == 2


# ---- committees ------------------------------------------------------------------------------------------------------


async def test_a_committee_is_seated_and_its_coverage_told(company: Company, ask: Ask, deal: str) -> None:
    person = company.id(company.contacts["parts"])
    input = {"clientKey": "1", "opportunityId": deal, "contactId": person, "role": "PURCHASING", "influence": "HIGH"}
    answer = await ask(call("addOpportunityContactRole"), input=input)
    seat = done(answer, "addOpportunityContactRole", "contactRole")
    assert (seat["stance"], seat["influence"], seat["coveredAt"], seat["contact"]) == (
        "UNKNOWN",
        "HIGH",
        None,
        {"name": "苏州精密零部件·采购"},
    )
    assert answer.data["addOpportunityContactRole"]["opportunity"]["committeeCoverage"] == {
        "percent": 0, "covered": [], "uncovered": ["PURCHASING"], "unknown": ["ECONOMIC_BUYER", "DECISION_MAKER", "TECHNICAL_EVALUATOR", "FINANCE"],
    }  # fmt: skip
    assert (
        done(await ask(call("addOpportunityContactRole"), input=input), "addOpportunityContactRole", "contactRole")
        == seat
    )
    change = {"id": seat["id"], "expectedVersion": 1, "stance": "SUPPORTS", "coveredAt": "2026-03-01T10:00:00+08:00"}
    answer = await ask(call("updateOpportunityContactRole"), input=change)
    changed = done(answer, "updateOpportunityContactRole", "contactRole")
    assert (changed["stance"], changed["coveredAt"], changed["version"]) == (
        "SUPPORTS",
        "2026-03-01T02:00:00.000000Z",
        2,
    )
    coverage = answer.data["updateOpportunityContactRole"]["opportunity"]["committeeCoverage"]
    assert (coverage["percent"], coverage["covered"]) == (20, ["PURCHASING"])
    answer = await ask(call("removeOpportunityContactRole"), input={"id": seat["id"], "expectedVersion": 2})
    assert done(answer, "removeOpportunityContactRole", "contactRole") is None
    assert answer.data["removeOpportunityContactRole"]["opportunity"]["contactRoles"] == []


async def test_seats_that_cannot_be_say_where(company: Company, ask: Ask, deal: str) -> None:
    person = company.id(company.contacts["parts"])
    base = {"clientKey": "1", "opportunityId": deal, "contactId": person, "role": "PURCHASING"}
    done(await ask(call("addOpportunityContactRole"), input=base), "addOpportunityContactRole", "contactRole")
    before = await counts(company)
    for bad, path, code in (
        ({}, ["role"], "CONFLICT"), ({"contactId": company.id(company.contacts["device"])}, ["contactId"], "NOT_FOUND"),
        ({"opportunityId": company.id(company.deals["device-1"])}, ["opportunityId"], "NOT_FOUND"),
        ({"role": "USER", "coveredAt": "2030-01-01T00:00:00Z"}, ["coveredAt"], "INVALID"),
    ):  # fmt: skip
        answer = await ask(call("addOpportunityContactRole"), input=base | {"clientKey": "2"} | bad)
        assert refusal(answer, "addOpportunityContactRole") == (path, code), bad
    answer = await ask(call("addOpportunityContactRole"), "SALES_OPS", input=base | {"clientKey": "3"})
    assert refusal(answer, "addOpportunityContactRole") == ([], "FORBIDDEN")
    assert await counts(company) == before


# ---- finding ---------------------------------------------------------------------------------------------------------

FIND = """
query($filter: OpportunityFilter) {
  opportunities(filter: $filter, orderBy: CLOSE_DATE_ASC) { totalCount edges { node { name stage { label } pipeline { label } committeeCoverage { percent }
    contactRoles { role } transitions { days toStage { key } } lead { id } } } }
}
"""


async def test_deals_are_found_by_what_a_screen_asks(company: Company, ask: Ask, statements: Statements) -> None:
    async with company.database.open_uow(company.people["min"]) as uow:
        await deals.update_opportunity(
            uow, company.deals["parts-1"].id, changes={"amount": Money(9_900, "USD"), "next_step": "约见"}
        )
    company.database.clock.advance(days=10)  # type: ignore[attr-defined]
    hospital, parts = "杭州第一医院", "苏州精密零部件"
    stage = company.id((await _stages(company, company.pipelines["new"]))[1])
    yuan = "100000"
    for filter, names in (
        ({"pipelineId": company.pipelines["renewal"]}, []), ({"pipelineId": company.pipelines["new"], "stageKey": "won"}, [f"{hospital} 第3期", f"{parts} 第3期"]),
        ({"stageId": stage}, [f"{hospital} 第2期", f"{parts} 第2期"]), ({"closeDateSince": "2026-06-02", "closeDateBefore": "2026-06-03"}, [f"{hospital} 第2期", f"{parts} 第2期"]),
        ({"amountFrom": {"amount": yuan, "currency": "CNY"}, "amountTo": {"amount": yuan, "currency": "CNY"}}, [f"{hospital} 第1期"]),
        ({"amountTo": {"amount": "99", "currency": "USD"}}, [f"{parts} 第1期"]), ({"stalledDays": 10, "accountId": company.id(company.accounts["parts"])}, [f"{parts} 第1期", f"{parts} 第2期"]),
        ({"stalledDays": 11}, []), ({"region": "中国", "search": "医院", "open": True}, [f"{hospital} 第1期", f"{hospital} 第2期"]), ({"region": "South China"}, []),
        ({"forecastCategory": "CLOSED"}, [f"{hospital} 第3期", f"{parts} 第3期"]),
    ):  # fmt: skip
        statements.seen.clear()
        answer = await ask(FIND, filter=filter)
        assert answer.errors == []
        assert [edge["node"]["name"] for edge in answer.data["opportunities"]["edges"]] == names, filter
        # deals, their number; pipelines, coverage, seats, transitions; the stages of deals and transitions together
        assert len(statements) == (7 if names else 2)


async def test_filters_that_cannot_be_say_where(ask: Ask) -> None:
    for filter, path in (
        ({"stalledDays": -1}, ["filter", "stalledDays"]), ({"amountFrom": {"amount": "1.005", "currency": "CNY"}}, ["filter", "amountFrom", "amount"]),
    ):  # fmt: skip
        answer = await ask(FIND.replace("totalCount", ""), filter=filter)
        assert [(error["extensions"]["code"], error["extensions"]["path"]) for error in answer.errors] == [
            ("INVALID", path)
        ]


async def test_who_does_not_see_whose_a_deal_is_does_not_find_where_it_is(ask: Ask) -> None:
    document = '{ opportunities(filter: { region: "华东" }) { totalCount } }'
    assert (await ask(document, "FINANCE")).data == {"opportunities": {"totalCount": 0}}
    assert (await ask(document, "SALES_OPS")).data == {"opportunities": {"totalCount": 6}}


# ---- pipelines -------------------------------------------------------------------------------------------------------

CHANNEL: dict[str, Any] = {
    "clientKey": "渠道", "label": {"zh": "华东渠道", "en": "Channel East"}, "region": "华东",
    "stages": [
        {"label": {"zh": "报备"}, "key": "registered", "expectedDays": 7}, {"label": {"zh": "等总经理拍板", "en": "Waiting for the CEO"}, "forecastCategory": "BEST_CASE"},
        {"label": {"zh": "赢单"}, "isClosed": True, "isWon": True}, {"label": {"zh": "丢单"}, "isClosed": True},
    ],
}  # fmt: skip


async def test_a_regional_pipeline_is_set_up_once_and_serves_its_region(company: Company, ask: Ask) -> None:
    made = done(await ask(call("createPipeline"), "SALES_OPS", input=CHANNEL), "createPipeline", "pipeline")
    assert (made["label"], made["region"], [stage["label"] for stage in made["stages"]]) == (
        "华东渠道",
        "east-china",
        ["报备", "等总经理拍板", "赢单", "丢单"],
    )
    assert done(await ask(call("createPipeline"), "SALES_OPS", input=CHANNEL), "createPipeline", "pipeline") == made
    english = await ask(
        "{ pipelines { edges { node { label stages { label defaultForecastCategory } } } } }", language=Language.EN
    )
    found = english.data["pipelines"]["edges"][2]["node"]
    assert found["label"] == "Channel East"
    assert [tuple(stage.values()) for stage in found["stages"]] == [
        ("报备", "PIPELINE"), ("Waiting for the CEO", "BEST_CASE"), ("赢单", "CLOSED"), ("丢单", "OMITTED"),
    ]  # fmt: skip
    input = {"clientKey": "1", "name": "渠道单", "accountId": company.id(company.accounts["hospital"])}
    assert (
        done(await ask(call("createOpportunity"), input=input), "createOpportunity")["pipeline"]["region"]
        == "east-china"
    )
    input = {"clientKey": "1", "name": "直销单", "accountId": company.id(company.accounts["device"])}
    assert (
        done(await ask(call("createOpportunity"), "na", input=input), "createOpportunity")["pipeline"]["key"]
        == "new_business"
    )


async def test_stages_are_added_renamed_reordered_and_retired(company: Company, ask: Ask) -> None:
    made = done(await ask(call("createPipeline"), "SALES_OPS", input=CHANNEL), "createPipeline", "pipeline")
    add = {"clientKey": "1", "pipelineId": made["id"], "stage": {"label": {"zh": "样机试用"}}, "position": 1}
    stage = done(await ask(call("addStage"), "SALES_OPS", input=add), "addStage", "stage")
    assert (stage["label"], stage["position"], stage["isClosed"]) == ("样机试用", 1, False)
    rename = {"id": stage["id"], "expectedVersion": 1, "label": {"zh": "客户试用"}, "expectedDays": 30}
    renamed = done(await ask(call("updateStage"), "SALES_OPS", input=rename), "updateStage", "stage")
    assert (renamed["label"], renamed["expectedDays"], renamed["version"]) == ("客户试用", 30, 2)
    first, second, third, fourth = (one["id"] for one in made["stages"])
    order = {"id": made["id"], "expectedVersion": 2, "stageIds": [first, second, stage["id"], third, fourth]}
    reordered = done(await ask(call("reorderStages"), "SALES_OPS", input=order), "reorderStages", "pipeline")
    assert [one["label"] for one in reordered["stages"]] == ["报备", "等总经理拍板", "客户试用", "赢单", "丢单"]
    retire = {"id": second, "expectedVersion": reordered["stages"][1]["version"]}
    retired = done(await ask(call("retireStage"), "SALES_OPS", input=retire), "retireStage", "stage")
    assert retired["retiredAt"] == "2026-03-02T01:30:00.000000Z"
    moved = {"id": made["id"], "expectedVersion": 4, "region": None, "label": {"zh": "渠道"}}
    changed = done(await ask(call("updatePipeline"), "SALES_OPS", input=moved), "updatePipeline", "pipeline")
    assert (changed["region"], changed["label"]) == (None, "渠道")
    assert [(one["label"], one["retiredAt"] is None) for one in changed["stages"]] == [
        ("报备", True), ("客户试用", True), ("赢单", True), ("丢单", True), ("等总经理拍板", False),
    ]  # fmt: skip
    totals = await ask("query($id: ID!) { pipelineByStage(pipelineId: $id) { stage { label } count } }", id=made["id"])
    assert [one["stage"]["label"] for one in totals.data["pipelineByStage"]] == ["报备", "客户试用", "赢单", "丢单"]


async def test_pipelines_that_cannot_be_say_where(company: Company, ask: Ask) -> None:
    made = done(await ask(call("createPipeline"), "SALES_OPS", input=CHANNEL), "createPipeline", "pipeline")
    stages = CHANNEL["stages"]
    before = await counts(company)
    cases: list[tuple[str, dict[str, Any], list[str], str]] = [
        ("createPipeline", CHANNEL | {"clientKey": "2", "stages": stages[:3]}, ["stages"], "INVALID"),
        ("createPipeline", CHANNEL | {"clientKey": "2", "region": "火星"}, ["region"], "INVALID"),
        ("createPipeline", CHANNEL | {"clientKey": "2", "key": "renewal"}, ["key"], "CONFLICT"),
        ("createPipeline", CHANNEL | {"clientKey": "2", "label": {"zh": " "}}, ["label", "zh"], "INVALID"),
        ("updatePipeline", {"id": made["id"], "expectedVersion": 5, "region": None}, ["expectedVersion"], "STALE_VERSION"),
        ("updatePipeline", {"id": made["id"], "expectedVersion": 1, "label": None}, ["label"], "INVALID"),
        ("addStage", {"clientKey": "3", "pipelineId": made["id"], "stage": {"label": {"zh": "甲"}, "key": "registered"}}, ["key"], "CONFLICT"),
        ("addStage", {"clientKey": "3", "pipelineId": made["id"], "stage": {"label": {"zh": "甲"}}, "position": 9}, ["position"], "INVALID"),
        ("updateStage", {"id": made["stages"][0]["id"], "expectedVersion": 1, "expectedDays": 0}, ["expectedDays"], "INVALID"),
        ("updateStage", {"id": made["stages"][0]["id"], "expectedVersion": 1, "forecastCategory": None}, ["forecastCategory"], "INVALID"),
        ("reorderStages", {"id": made["id"], "expectedVersion": 1, "stageIds": [made["stages"][0]["id"]]}, ["stageIds"], "CONFLICT"),
        ("retireStage", {"id": company.id((await _stages(company, company.pipelines["new"]))[0]), "expectedVersion": 1}, ["id"], "CONFLICT"),
    ]  # fmt: skip
    for root, input, path, code in cases:
        assert refusal(await ask(call(root), "SALES_OPS", input=input), root) == (path, code), input
        assert refusal(await ask(call(root), "min", input=input), root) == ([], "FORBIDDEN"), root
    assert await counts(company) == before
