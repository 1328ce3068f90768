"""Leads over the schema: claimed, handed over, answered, judged, and turned into deals."""

from typing import Any

import pytest
from sqlalchemy import func, select

from api.reads import global_id
from domain import leads
from domain.accounts import Account
from domain.activities import Activity
from domain.deals import Opportunity
from domain.kernel import Language, new_id
from domain.leads import Lead
from domain.ledger import AuditEvent
from tests.api.conftest import Answer, Ask, Company, Statements

LEAD = """lead { id version name company status grade region interest channel disqualifyReason assignedAt firstRespondedAt firstResponseMinutes
  duplicateVerdict owner { name } budget { amount currency } convertedTo { at account { name } contact { name account { name } } opportunity { name } } }
  errors { path code message }"""


def step(root: str) -> str:
    name = root[0].upper() + root[1:]
    kind = "LeadAction" if root in {"releaseLead", "nurtureLead"} else name
    return f"mutation($input: {kind}Input!) {{ {root}(input: $input) {{ {LEAD} }} }}"


RESPOND = """
mutation($input: RespondToLeadInput!) {
  respondToLead(input: $input) { activity { id kind subject relatedTo { id } } lead { status firstResponseMinutes } errors { path code message } }
}
"""
CONVERT = """
mutation($input: ConvertLeadInput!) {
  convertLead(input: $input) {
    lead { status version convertedTo { at account { id } contact { id } opportunity { id } } }
    account { id name activities { subject } } contact { id name account { id } }
    opportunity { id name amount { amount currency } closeDate stage { key } pipeline { key } owner { name } lead { id } activities { subject } }
    errors { path code message }
  }
}
"""


async def counts(company: Company) -> list[int]:
    async with company.database.read() as connection:
        return [
            (await connection.execute(select(func.count()).select_from(model))).scalar_one()
            for model in (Lead, Account, Opportunity, Activity, AuditEvent)
        ]


def done(answer: Answer, root: str) -> Any:
    assert (answer.errors, answer.data[root]["errors"]) == ([], [])
    return answer.data[root]["lead"] if set(answer.data[root]) == {"lead", "errors"} else answer.data[root]


def refusal(answer: Answer, root: str) -> tuple[list[str], str]:
    assert answer.errors == []
    (error,) = answer.data[root]["errors"]
    assert {value is None for name, value in answer.data[root].items() if name != "errors"} == {True}
    return error["path"], error["code"]


@pytest.fixture
def mine(company: Company) -> str:
    return company.id(company.leads["mine"])


@pytest.fixture
def free(company: Company) -> str:
    return company.id(company.leads["open"])


async def test_a_mobile_capture_needs_a_name_and_a_number(company: Company, ask: Ask) -> None:
    quick = {
        "source": "手机",
        "externalId": "q-1",
        "name": "陈晨",
        "phone": "13700001234",
        "wechat": "chenchen",
        "channel": "PHONE",
    }
    lead = done(await ask(step("captureLead"), input=quick), "captureLead")
    assert (lead["status"], lead["owner"], lead["region"], lead["channel"]) == ("NEW", None, "east-china", "PHONE")
    assert lead["duplicateVerdict"] == "NONE"
    owned = done(await ask(step("captureLead"), input=quick | {"externalId": "q-2", "claim": True}), "captureLead")
    assert (owned["status"], owned["owner"], owned["duplicateVerdict"]) == ("ASSIGNED", {"name": "张磊"}, "CERTAIN")
    before = await counts(company)
    for bad, path in (({"name": " "}, "name"), ({"phone": "改天给"}, "phone"), ({"source": ""}, "source")):
        answer = await ask(step("captureLead"), input=quick | {"externalId": "q-3"} | bad)
        assert refusal(answer, "captureLead") == ([path], "INVALID")
    assert await counts(company) == before


async def test_a_lead_is_claimed_by_the_first(company: Company, ask: Ask, free: str) -> None:
    lead = done(await ask(step("claimLead"), input={"id": free}), "claimLead")
    assert (lead["status"], lead["owner"], lead["version"]) == ("ASSIGNED", {"name": "张磊"}, 2)
    again = done(await ask(step("claimLead"), input={"id": free}), "claimLead")
    assert again == lead
    absent = global_id("Lead", new_id())
    for who, id, code in (("na", free, "NOT_FOUND"), ("lei", absent, "NOT_FOUND"), ("min", free, "FORBIDDEN")):
        assert refusal(await ask(step("claimLead"), who, input={"id": id}), "claimLead")[1] == code


async def test_a_lead_goes_from_hand_to_hand(company: Company, ask: Ask, free: str) -> None:
    na, lei = company.user("na"), company.user("lei")
    given = done(
        await ask(step("assignLead"), "min", input={"id": free, "expectedVersion": 1, "ownerId": lei}), "assignLead"
    )
    assert (given["owner"], given["assignedAt"]) == ({"name": "张磊"}, "2026-03-02T01:30:00.000000Z")
    before = await counts(company)
    stale = await ask(step("assignLead"), "min", input={"id": free, "expectedVersion": 1, "ownerId": na})
    assert refusal(stale, "assignLead") == (["expectedVersion"], "STALE_VERSION")
    foreign = await ask(step("assignLead"), input={"id": free, "expectedVersion": 2, "ownerId": na})
    assert refusal(foreign, "assignLead") == (["ownerId"], "INVALID")
    unknown = await ask(step("assignLead"), input={"id": free, "expectedVersion": 2, "ownerId": free})
    assert refusal(unknown, "assignLead") == (["ownerId"], "NOT_FOUND")
    assert await counts(company) == before
    released = done(await ask(step("releaseLead"), input={"id": free, "expectedVersion": 2}), "releaseLead")
    assert (released["status"], released["owner"], released["assignedAt"]) == ("NEW", None, None)


async def test_a_lead_is_corrected_where_something_is_given(company: Company, ask: Ask, mine: str) -> None:
    change = {
        "id": mine,
        "expectedVersion": 1,
        "company": None,
        "interest": "影像归档",
        "grade": "B",
        "budget": {"amount": "1.50", "currency": "usd"},
    }
    lead = done(await ask(step("updateLead"), input=change), "updateLead")
    assert (lead["company"], lead["interest"], lead["grade"], lead["name"]) == (None, "影像归档", "B", "线索mine")
    assert (lead["budget"], lead["version"]) == ({"amount": "1.50", "currency": "USD"}, 2)
    before = await counts(company)
    for bad, path, code in (
        ({"name": ""}, ["name"], "INVALID"), ({"name": None}, ["name"], "INVALID"), ({"budget": {"amount": "1.005", "currency": "CNY"}}, ["budget", "amount"], "INVALID"),
        ({"interest": "长" * 5001}, ["interest"], "INVALID"), ({"expectedVersion": 1}, ["expectedVersion"], "STALE_VERSION"),
    ):  # fmt: skip
        answer = await ask(step("updateLead"), input={"id": mine, "expectedVersion": 2} | bad)
        assert refusal(answer, "updateLead") == (path, code)
    assert await counts(company) == before


async def test_a_reply_is_logged_once_and_timed(company: Company, ask: Ask, mine: str, free: str) -> None:
    company.database.clock.advance(minutes=42)  # type: ignore[attr-defined]
    reply = {"clientKey": "1", "leadId": mine, "kind": "CALL", "subject": "谈了需求"}
    first = done(await ask(RESPOND, input=reply), "respondToLead")
    assert first["lead"] == {"status": "WORKING", "firstResponseMinutes": 42}
    assert first["activity"]["relatedTo"] == {"id": mine}
    assert done(await ask(RESPOND, input=reply), "respondToLead") == first
    before = await counts(company)
    for bad, path, code in (
        ({"kind": "NOTE"}, ["kind"], "INVALID"), ({"leadId": free}, ["leadId"], "CONFLICT"), ({"subject": " "}, ["subject"], "INVALID"),
        ({"leadId": company.id(company.leads["far"])}, ["leadId"], "NOT_FOUND"), ({"leadId": company.user("lei")}, ["leadId"], "NOT_FOUND"),
    ):  # fmt: skip
        answer = await ask(RESPOND, input=reply | {"clientKey": "2"} | bad)
        assert refusal(answer, "respondToLead") == (path, code)
    assert refusal(await ask(RESPOND, input=reply | {"subject": "别的"}), "respondToLead") == (
        ["clientKey"],
        "KEY_REUSED",
    )
    assert await counts(company) == before


async def test_a_lead_is_judged(company: Company, ask: Ask, mine: str) -> None:
    kept = done(await ask(step("nurtureLead"), input={"id": mine, "expectedVersion": 1}), "nurtureLead")
    found = done(await ask(step("qualifyLead"), input={"id": mine, "expectedVersion": 2, "grade": "A"}), "qualifyLead")
    given_up = {"id": mine, "expectedVersion": 3, "reason": "预算冻结"}
    lost = done(await ask(step("disqualifyLead"), input=given_up), "disqualifyLead")
    assert [lead["status"] for lead in (kept, found, lost)] == ["NURTURING", "QUALIFIED", "DISQUALIFIED"]
    assert (found["grade"], lost["disqualifyReason"]) == ("A", "预算冻结")
    again = {"id": mine, "expectedVersion": 4}
    chinese = await ask(step("qualifyLead"), input=again)
    english = await ask(step("qualifyLead"), input=again, language=Language.EN)
    assert chinese.data["qualifyLead"]["errors"][0]["message"] == "线索已放弃，不能这样做"
    assert english.data["qualifyLead"]["errors"][0]["message"] == "the lead is given up: that does not allow this"


async def test_only_sellers_and_managers_work_on_leads(company: Company, ask: Ask, mine: str) -> None:
    before = await counts(company)
    inputs: dict[str, dict[str, Any]] = {
        "releaseLead": {}, "nurtureLead": {}, "qualifyLead": {}, "updateLead": {"company": "甲"}, "disqualifyLead": {"reason": "甲"},
        "assignLead": {"ownerId": company.user("lei")},
    }  # fmt: skip
    for root, more in inputs.items():
        for who in company.people.keys() - {"lei", "na", "min"}:
            answer = await ask(step(root), who, input={"id": mine, "expectedVersion": 1} | more)
            assert refusal(answer, root) == ([], "FORBIDDEN"), (root, who)
        answer = await ask(step(root), "na", input={"id": mine, "expectedVersion": 1} | more)
        assert refusal(answer, root) == (["id"], "NOT_FOUND"), root
    assert await counts(company) == before


async def test_a_lead_is_converted_once_with_all_that_hangs_on_it(company: Company, ask: Ask, mine: str) -> None:
    done(
        await ask(RESPOND, input={"clientKey": "1", "leadId": mine, "kind": "CALL", "subject": "谈了需求"}),
        "respondToLead",
    )
    input = {
        "clientKey": "转",
        "leadId": mine,
        "expectedVersion": 2,
        "opportunityName": "电子病历一期",
        "closeDate": "2026-09-30",
    }
    made = done(await ask(CONVERT, input=input), "convertLead")
    assert made["account"]["name"] == "宁波电子"
    deal = made["opportunity"]
    assert (deal["name"], deal["amount"], deal["closeDate"]) == (
        "电子病历一期",
        {"amount": "50000.00", "currency": "CNY"},
        "2026-09-30",
    )
    assert (deal["stage"], deal["pipeline"], deal["owner"]) == (
        {"key": "qualify"},
        {"key": "new_business"},
        {"name": "张磊"},
    )
    assert deal["lead"] == {"id": mine}
    assert (
        [one["subject"] for one in deal["activities"]]
        == [one["subject"] for one in made["account"]["activities"]]
        == ["谈了需求"]
    )
    assert made["contact"]["account"] == {"id": made["account"]["id"]}
    became = made["lead"]["convertedTo"]
    assert (made["lead"]["status"], became["opportunity"], became["account"], became["contact"]["id"]) == (
        "CONVERTED", {"id": deal["id"]}, {"id": made["account"]["id"]}, made["contact"]["id"],
    )  # fmt: skip
    before = await counts(company)
    assert done(await ask(CONVERT, input=input), "convertLead") == made
    twice = await ask(CONVERT, input=input | {"clientKey": "再转", "expectedVersion": 3})
    assert refusal(twice, "convertLead") == (["leadId"], "CONFLICT")
    assert "电子病历一期" in twice.data["convertLead"]["errors"][0]["message"]
    other = await ask(CONVERT, input=input | {"opportunityName": "别的"})
    assert refusal(other, "convertLead") == (["clientKey"], "KEY_REUSED")
    assert await counts(company) == before


async def test_what_cannot_be_converted_says_where(company: Company, ask: Ask, mine: str, free: str) -> None:
    before = await counts(company)
    base = {"clientKey": "1", "leadId": mine, "expectedVersion": 1}
    for bad, path, code in (
        ({"expectedVersion": 5}, ["expectedVersion"], "STALE_VERSION"), ({"leadId": free}, ["leadId"], "CONFLICT"),
        ({"leadId": company.id(company.leads["far"])}, ["leadId"], "NOT_FOUND"), ({"accountId": company.id(company.accounts["device"])}, ["accountId"], "NOT_FOUND"),
        ({"opportunityId": company.id(company.deals["device-1"])}, ["opportunityId"], "NOT_FOUND"), ({"stageKey": "won"}, ["stageKey"], "INVALID"),
        ({"pipelineId": mine}, ["pipelineId"], "NOT_FOUND"), ({"amount": {"amount": "-1", "currency": "CNY"}}, ["amount", "amount"], "INVALID"),
    ):  # fmt: skip
        assert refusal(await ask(CONVERT, input=base | bad), "convertLead") == (path, code), bad
    assert refusal(await ask(CONVERT, "FINANCE", input=base), "convertLead") == ([], "FORBIDDEN")
    assert await counts(company) == before


async def test_repeats_of_a_lead_are_told(company: Company, ask: Ask) -> None:
    form = {"source": "展会", "name": "陈晨", "phone": "13700001234", "region": "华东"}
    first = done(await ask(step("captureLead"), input=form | {"externalId": "1"}), "captureLead")
    second = done(await ask(step("captureLead"), input=form | {"externalId": "2"}), "captureLead")
    document = "query($id: ID!) { node(id: $id) { ... on Lead { duplicates { id } duplicateOf { id } } } }"
    assert (await ask(document, id=first["id"])).data["node"] == {
        "duplicates": [{"id": second["id"]}],
        "duplicateOf": None,
    }
    assert (await ask(document, id=second["id"])).data["node"] == {"duplicates": [], "duplicateOf": {"id": first["id"]}}


LISTED = "query($filter: LeadFilter) { leads(filter: $filter) { totalCount edges { node { name convertedTo { at } duplicates { id } firstResponseMinutes } } } }"


async def test_leads_are_found_by_what_a_screen_asks(
    company: Company, ask: Ask, statements: Statements, mine: str
) -> None:
    async with company.database.open_uow(company.people["lei"]) as uow:
        await leads.update(uow, company.leads["mine"].id, changes={"grade": leads.LeadGrade.A, "company": "上海精测"})
    done(
        await ask(RESPOND, input={"clientKey": "1", "leadId": mine, "kind": "CALL", "subject": "谈了需求"}),
        "respondToLead",
    )
    for filter, names in (
        ({"unowned": True}, ["线索open"]), ({"unowned": False}, ["线索mine"]), ({"responded": True}, ["线索mine"]), ({"responded": False}, ["线索open"]),
        ({"grade": "A"}, ["线索mine"]), ({"search": "精测"}, ["线索mine"]), ({"search": "OPEN"}, ["线索open"]), ({"channel": "WECHAT"}, []),
    ):  # fmt: skip
        statements.seen.clear()
        answer = await ask(LISTED, filter=filter)
        assert answer.errors == []
        assert [edge["node"]["name"] for edge in answer.data["leads"]["edges"]] == names, filter
        assert len(statements) == (3 if names else 2)
