"""Mutations: one input, one unit of work, a payload that says what is or why not."""

from typing import Any

from sqlalchemy import func, select

from api.reads import global_id
from domain.accounts import Contact
from domain.activities import Activity
from domain.kernel import Language, new_id
from domain.leads import Lead
from domain.ledger import AuditEvent
from tests.api.conftest import Answer, Ask, Company

CAPTURE = """
mutation Capture($input: CaptureLeadInput!) {
  captureLead(input: $input) {
    lead { id name company status region budget { amount currency } contact { name contactPoints { masked } } capturedAt }
    errors { path code message }
  }
}
"""
LOG = """
mutation Log($input: LogActivityInput!) {
  logActivity(input: $input) { activity { id subject occurredAt actor { displayName } relatedTo { id } } errors { path code message } }
}
"""
CONSENT = """
mutation Consent($input: RecordConsentInput!) {
  recordConsent(input: $input) {
    contact { id contactability(purpose: "marketing") { channel decision light reason } } errors { path code message }
  }
}
"""


async def count(company: Company, model: Any) -> int:
    async with company.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())


async def all_counts(company: Company) -> list[int]:
    return [await count(company, model) for model in (Lead, Contact, Activity, AuditEvent)]


def lead(**more: Any) -> dict[str, Any]:
    return {"source": "展会", "externalId": "2026-1", "name": "陈晨", "phone": "13700001234", "region": "华东"} | more


def refusal(answer: Answer, root: str) -> tuple[list[str], str]:
    assert answer.errors == []
    payload = answer.data[root]
    (error,) = payload["errors"]
    assert [value for name, value in payload.items() if name != "errors"] == [None]
    assert error["message"]
    return error["path"], error["code"]


async def test_a_lead_is_captured_once(company: Company, ask: Ask) -> None:
    input = lead(company="宁波电子", budget={"amount": "120000.50", "currency": "cny"}, payload={"页面": "价格"})
    answer = await ask(CAPTURE, input=input)
    assert answer.errors == []
    found = answer.data["captureLead"]["lead"]
    assert (found["name"], found["region"], found["status"]) == ("陈晨", "east-china", "NEW")
    assert found["budget"] == {"amount": "120000.50", "currency": "CNY"}
    assert found["contact"] == {"name": "陈晨", "contactPoints": [{"masked": "137****1234"}]}
    before = await all_counts(company)
    again = await ask(CAPTURE, input=input)
    assert again.data["captureLead"] == {"lead": found, "errors": []}
    assert await all_counts(company) == before


BAD_LEADS = (
    (lead(name=" "), ["name"]),
    (lead(phone="电话"), ["phone"]),
    (lead(email="不是邮箱"), ["email"]),
    (lead(externalId="x" * 100_000), ["externalId"]),
    (lead(company="公司" * 300), ["company"]),
    (lead(budget={"amount": "1.005", "currency": "CNY"}), ["budget", "amount"]),
    (lead(budget={"amount": "1", "currency": "XXY"}), ["budget", "currency"]),
    (lead(payload=["不是对象"]), ["payload"]),
)


async def test_a_lead_that_cannot_be_taken_says_where_and_changes_nothing(company: Company, ask: Ask) -> None:
    before = await all_counts(company)
    for input, path in BAD_LEADS:
        assert refusal(await ask(CAPTURE, input=input), "captureLead") == (path, "INVALID")
    assert await all_counts(company) == before


async def test_refusals_are_told_in_the_readers_language(ask: Ask) -> None:
    chinese, english = (
        await ask(CAPTURE, input=lead(name="")),
        await ask(CAPTURE, input=lead(name=""), language=Language.EN),
    )
    assert chinese.data["captureLead"]["errors"][0]["message"] == "name 不能为空"
    assert english.data["captureLead"]["errors"][0]["message"] == "name cannot be empty"


async def test_only_sellers_and_managers_capture_and_log(company: Company, ask: Ask) -> None:
    before = await all_counts(company)
    activity = {
        "clientKey": "1",
        "relatedToId": company.id(company.accounts["parts"]),
        "kind": "CALL",
        "subject": "电话",
    }
    for who in company.people.keys() - {"lei", "na", "min"}:
        assert refusal(await ask(CAPTURE, who, input=lead()), "captureLead") == ([], "FORBIDDEN"), who
        assert refusal(await ask(LOG, who, input=activity), "logActivity") == ([], "FORBIDDEN"), who
    assert await all_counts(company) == before


async def test_an_activity_is_logged_once(company: Company, ask: Ask) -> None:
    id = company.id(company.deals["parts-1"])
    input = {
        "clientKey": "手机-1",
        "relatedToId": id,
        "kind": "VISIT",
        "subject": "看产线",
        "occurredAt": "2026-03-02T09:00:00+08:00",
    }
    answer = await ask(LOG, input=input)
    assert answer.errors == []
    activity = answer.data["logActivity"]["activity"]
    assert activity["occurredAt"] == "2026-03-02T01:00:00.000000Z"
    assert activity["actor"] == {"displayName": "张磊"}
    assert activity["relatedTo"] == {"id": id}
    assert (await ask(LOG, input=input)).data["logActivity"]["activity"] == activity
    assert refusal(await ask(LOG, input=input | {"subject": "别的"}), "logActivity") == (["clientKey"], "KEY_REUSED")
    found = await ask('{ activities(filter: { clientKey: "手机-1" }) { totalCount } }')
    assert found.data == {"activities": {"totalCount": 1}}


async def test_an_activity_on_a_foreign_record_and_on_an_absent_one_are_refused_alike(
    company: Company, ask: Ask
) -> None:
    before = await all_counts(company)
    absent = [global_id("Account", new_id()), "什么都不是", company.user("lei"), company.id(company.accounts["device"])]
    for id in absent:
        input = {"clientKey": "1", "relatedToId": id, "kind": "CALL", "subject": "电话"}
        assert refusal(await ask(LOG, input=input), "logActivity") == (["relatedToId"], "NOT_FOUND")
    assert await all_counts(company) == before


async def test_consent_is_recorded_and_withdrawn_at_once(company: Company, ask: Ask) -> None:
    id = company.id(company.contacts["hospital"])
    input = {"contactId": id, "purpose": "marketing", "channel": "PHONE", "status": "OPT_IN", "source": "展会登记"}

    async def phone(status: str) -> tuple[str, str]:
        answer = await ask(CONSENT, input=input | {"status": status})
        assert (answer.errors, answer.data["recordConsent"]["errors"]) == ([], [])
        (decision,) = (
            one for one in answer.data["recordConsent"]["contact"]["contactability"] if one["channel"] == "PHONE"
        )
        return decision["decision"], decision["light"]

    assert await phone("OPT_IN") == ("ALLOW", "GREEN")
    company.database.clock.advance(minutes=1)  # type: ignore[attr-defined]
    assert (await phone("OPT_OUT"))[0] == "DENY"
    assert refusal(await ask(CONSENT, input=input | {"purpose": "没有"}), "recordConsent") == (["purpose"], "INVALID")
    assert refusal(await ask(CONSENT, "na", input=input), "recordConsent") == (["contactId"], "NOT_FOUND")
    assert refusal(await ask(CONSENT, "FINANCE", input=input), "recordConsent") == ([], "FORBIDDEN")


async def test_mutations_of_one_operation_see_what_the_ones_before_did(company: Company, ask: Ask) -> None:
    id = company.id(company.leads["mine"])
    document = """
    mutation($id: ID!) {
      a: logActivity(input: { clientKey: "1", relatedToId: $id, kind: NOTE, subject: "备注" }) { activity { relatedTo { ... on Lead { firstRespondedAt activities { subject } } } } }
      b: logActivity(input: { clientKey: "2", relatedToId: $id, kind: CALL, subject: "电话" }) { activity { relatedTo { ... on Lead { firstRespondedAt activities { subject } } } } }
    }
    """
    answer = await ask(document, id=id)
    assert answer.errors == []
    before, after = (answer.data[key]["activity"]["relatedTo"] for key in ("a", "b"))
    assert before == {"firstRespondedAt": None, "activities": [{"subject": "备注"}]}
    assert after["firstRespondedAt"] == "2026-03-02T01:30:00.000000Z"
    assert [activity["subject"] for activity in after["activities"]] == ["电话", "备注"]
