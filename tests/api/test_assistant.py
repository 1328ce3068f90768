"""The assistant over the schema: who may ask, what comes back, who sees it, and what people make of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.context import Context
from api.schema import schema
from assistant.pipeline import Desk
from domain import consent
from domain.accounts import Channel
from domain.consent import ConsentStatus
from domain.kernel import SYSTEM, Language
from tests.api.conftest import Ask, Company

FIELDS = """
  id kind mode disposition text language subjectLabel latencyMs requestedBy { displayName } subject { id __typename }
  sections { key heading body missing } figures { key label value unit citation } citations { number quote verdict record { id } asOf }
  checks { key passed detail } categories { key label score } feedback { verdict reason by { displayName } } auditEvents { action } consentReceipt { decision reason }
"""
BRIEF = f"mutation ($input: DraftVisitBriefInput!) {{ draftVisitBrief(input: $input) {{ generation {{ {FIELDS} }} errors {{ path code message }} }} }}"
REPLY = f"mutation ($input: DraftObjectionReplyInput!) {{ draftObjectionReply(input: $input) {{ generation {{ {FIELDS} }} errors {{ path code message }} }} }}"
SCRIPT = f"mutation ($input: DraftReactivationScriptInput!) {{ draftReactivationScript(input: $input) {{ generation {{ {FIELDS} }} errors {{ path code message }} }} }}"
FEEDBACK = "mutation ($input: GiveFeedbackInput!) { giveFeedback(input: $input) { generation { disposition feedback { verdict correctedText } } errors { path code } } }"
VETO = "mutation ($input: VetoGenerationInput!) { vetoGeneration(input: $input) { generation { disposition text } errors { path code } } }"
LIST = "{ generations(first: 10) { totalCount edges { node { id text sections { key } figures { key } citations { number } checks { key } } } } }"
METRICS = '{ assistantMetrics(since: "2020-01-01T00:00:00Z") { shown used edited rejected vetoed adoptionRate vetoRate p95LatencyMs } }'
STREAM = "subscription ($input: DraftGenerationInput!) { generationStream(input: $input) { section { key missing } generation { id disposition } } }"

THIRTEEN = [
    "snapshot", "decision_chain", "recent_activity", "purchase_cycles", "open_concerns", "competitors", "policy_changes", "talk_tracks", "cases", "quote_strategies",
    "compliance_risks", "contactability", "next_actions",
]  # fmt: skip


async def _brief(ask: Ask, company: Company, key: str = "k1", who: str = "lei", **more: Any) -> dict[str, Any]:
    answer = await ask(
        BRIEF, who, input={"accountId": company.id(company.accounts["hospital"]), "clientKey": key} | more
    )
    assert answer.errors == []
    payload: dict[str, Any] = answer.data["draftVisitBrief"]
    return payload


async def test_a_brief_comes_back_with_its_sections_and_sources(ask: Ask, company: Company) -> None:
    payload = await _brief(ask, company)
    brief = payload["generation"]
    assert payload["errors"] == []
    assert [section["key"] for section in brief["sections"]] == THIRTEEN
    assert brief["disposition"] == "AUTO_RELEASED"
    assert brief["mode"] == "COMPOSER"
    assert brief["requestedBy"]["displayName"] == "张磊"
    assert brief["subject"] == {"id": company.id(company.accounts["hospital"]), "__typename": "Account"}
    assert brief["text"].startswith("> 拜访作战包，由 AI 生成")
    assert "杭州第一医院" in brief["text"]
    assert {citation["number"] for citation in brief["citations"]} == set(range(1, len(brief["citations"]) + 1))
    assert all(check["passed"] for check in brief["checks"])
    assert [event["action"] for event in brief["auditEvents"]] == ["generation.finished", "generation.requested"]


async def test_the_reader_chooses_the_language(ask: Ask, company: Company) -> None:
    answer = await ask(
        BRIEF, language=Language.EN, input={"accountId": company.id(company.accounts["hospital"]), "clientKey": "en"}
    )
    brief = answer.data["draftVisitBrief"]["generation"]
    assert brief["language"] == "EN"
    assert brief["text"].startswith("> AI-generated visit brief")


async def test_a_foreign_account_and_an_absent_one_look_alike(ask: Ask, company: Company) -> None:
    for given in (company.id(company.accounts["device"]), "acc_00000000000000000000000000000000", "nonsense"):
        answer = await ask(BRIEF, input={"accountId": given, "clientKey": "x"})
        payload = answer.data["draftVisitBrief"]
        assert payload == {
            "generation": None,
            "errors": [{"path": ["accountId"], "code": "NOT_FOUND", "message": payload["errors"][0]["message"]}],
        }
    assert (await ask(LIST)).data["generations"]["totalCount"] == 0


@pytest.mark.parametrize(
    "who", ["CURATOR", "LEGAL", "FINANCE", "AUDITOR", "SALES_OPS", "ADMIN", "EXECUTIVE", "CSM", "DPO"]
)
async def test_others_do_not_draft(ask: Ask, company: Company, who: str) -> None:
    payload = await _brief(ask, company, who=who)
    assert payload["generation"] is None
    assert payload["errors"][0]["code"] == "FORBIDDEN"


async def test_the_same_key_gives_the_same_answer_and_other_input_is_refused(ask: Ask, company: Company) -> None:
    first, again = [(await _brief(ask, company))["generation"]["id"] for _ in range(2)]
    other = await _brief(ask, company, purpose="续约")
    assert first == again
    assert other["errors"][0]["code"] == "KEY_REUSED"


@pytest.mark.parametrize(("concern", "path"), [("", "concern"), ("   ", "concern"), ("贵" * 100_000, "concern")])
async def test_concerns_that_cannot_be_answered_are_refused(
    ask: Ask, company: Company, concern: str, path: str
) -> None:
    answer = await ask(
        REPLY, input={"opportunityId": company.id(company.deals["hospital-1"]), "concern": concern, "clientKey": "c"}
    )
    payload = answer.data["draftObjectionReply"]
    assert (payload["generation"], payload["errors"][0]["code"], payload["errors"][0]["path"]) == (
        None,
        "INVALID",
        [path],
    )


async def test_without_knowledge_a_reply_abstains(ask: Ask, company: Company) -> None:
    answer = await ask(
        REPLY,
        input={"opportunityId": company.id(company.deals["hospital-1"]), "concern": "价格太高了", "clientKey": "c"},
    )
    reply = answer.data["draftObjectionReply"]["generation"]
    assert (reply["disposition"], reply["text"]) == ("ABSTAINED", "")


async def test_a_lead_without_consent_is_blocked_with_the_reason(ask: Ask, company: Company) -> None:
    lead = company.leads["mine"]
    async with company.database.open_uow(SYSTEM) as uow:
        await consent.record(
            uow,
            contact_id=lead.contact_id,
            purpose="sales_follow_up",
            channel=Channel.PHONE,
            status=ConsentStatus.OPT_OUT,
            source="电话",
            evidence="客户说不要再打",
        )
    answer = await ask(SCRIPT, input={"leadId": company.id(lead), "clientKey": "r"})
    script = answer.data["draftReactivationScript"]["generation"]
    assert (script["disposition"], script["text"], script["sections"]) == ("BLOCKED", "", [])
    assert script["consentReceipt"]["decision"] == "DENY"
    assert script["consentReceipt"]["reason"]


async def test_a_script_waits_for_its_release(ask: Ask, company: Company) -> None:
    lead = company.leads["mine"]
    async with company.database.open_uow(SYSTEM) as uow:
        await consent.record(
            uow,
            contact_id=lead.contact_id,
            purpose="sales_follow_up",
            channel=Channel.PHONE,
            status=ConsentStatus.OPT_IN,
            source="网站勾选",
        )
    answer = await ask(SCRIPT, input={"leadId": company.id(lead), "clientKey": "r"})
    script = answer.data["draftReactivationScript"]["generation"]
    assert script["disposition"] == "NEEDS_APPROVAL"
    assert script["consentReceipt"]["decision"] == "ALLOW"
    assert "线索mine" in script["text"]


async def test_a_veto_takes_the_text_from_its_requester_alone(ask: Ask, company: Company) -> None:
    brief = (await _brief(ask, company))["generation"]
    assert (await ask(VETO, input={"generationId": brief["id"], "reason": "数字不对"})).data["vetoGeneration"][
        "errors"
    ][0]["code"] == "FORBIDDEN"
    vetoed = (await ask(VETO, "min", input={"generationId": brief["id"], "reason": "数字不对"})).data["vetoGeneration"][
        "generation"
    ]
    assert vetoed["disposition"] == "VETOED"
    assert vetoed["text"]
    texts = {
        who: (await ask(LIST, who)).data["generations"]["edges"][0]["node"]["text"] for who in ("lei", "min", "AUDITOR")
    }
    assert texts["lei"] == ""
    assert texts["min"] == texts["AUDITOR"] == vetoed["text"]


async def test_others_see_nothing_of_it(ask: Ask, company: Company) -> None:
    await _brief(ask, company)
    assert (await ask(LIST, "na")).data["generations"]["totalCount"] == 0
    assert (await ask(LIST, "CURATOR")).codes == ["FORBIDDEN"]


async def test_feedback_counts(ask: Ask, company: Company) -> None:
    ids = [(await _brief(ask, company, key))["generation"]["id"] for key in ("a", "b", "c", "d")]
    for generation_id, verdict in zip(ids, ("USED", "EDITED", "REJECTED"), strict=False):
        given = {
            "generationId": generation_id,
            "verdict": verdict,
            "correctedText": "改过的话" if verdict == "EDITED" else None,
        }
        assert (await ask(FEEDBACK, input=given)).data["giveFeedback"]["errors"] == []
    bare = (await ask(FEEDBACK, input={"generationId": ids[3], "verdict": "EDITED"})).data["giveFeedback"]
    assert bare["errors"] == [{"path": ["correctedText"], "code": "INVALID"}]
    await ask(VETO, "min", input={"generationId": ids[3], "reason": "不合规"})
    found = (await ask(METRICS, "min")).data["assistantMetrics"]
    assert {key: found[key] for key in ("shown", "used", "edited", "rejected", "vetoed", "adoptionRate", "vetoRate")} == {
        "shown": 4, "used": 1, "edited": 1, "rejected": 1, "vetoed": 1, "adoptionRate": 0.5, "vetoRate": 0.25,
    }  # fmt: skip
    assert (await ask(METRICS, "lei")).codes == ["FORBIDDEN"]
    empty = (
        await ask(METRICS.replace("2020", "2099").replace(")", ', until: "2100-01-01T00:00:00Z")', 1), "EXECUTIVE")
    ).data["assistantMetrics"]
    assert (empty["shown"], empty["adoptionRate"], empty["vetoRate"]) == (0, None, None)


async def _stream(company: Company, desk: Desk, key: str) -> list[dict[str, Any]]:
    database = company.database
    context = Context(database, company.people["lei"], Language.ZH, database.clock(), desk=desk, library=desk.library)
    given = {"kind": "VISIT_BRIEF", "subjectId": company.id(company.accounts["hospital"]), "clientKey": key}
    stream = await schema.subscribe(STREAM, variable_values={"input": given}, context_value=context)
    assert isinstance(stream, AsyncIterator)
    chunks = []
    async for result in stream:
        assert result.errors is None
        assert result.data is not None
        chunks.append(result.data["generationStream"])
    return chunks


async def test_a_stream_sends_sections_in_order_then_the_answer_and_repeats_on_the_same_key(
    company: Company, desk: Desk
) -> None:
    first = await _stream(company, desk, "s")
    again = await _stream(company, desk, "s")
    assert [chunk["section"]["key"] for chunk in first[:-1]] == THIRTEEN
    assert first[-1]["generation"]["disposition"] == "AUTO_RELEASED"
    assert again == first
