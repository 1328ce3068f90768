"""The content board through the schema: who sees it, what it shows, and how a curator decides."""

from datetime import timedelta
from typing import Any

import pytest

from domain.kernel import SYSTEM, Role
from knowledge import likeness, retirement
from knowledge.usage import Occasion, logged
from tests.api.conftest import Ask, Company
from tests.api.test_knowledge import published
from tests.factories import START, Clock

COVERAGE = "query($kind: KnowledgeKind) { knowledgeCoverage(kind: $kind) { concerns stages industries empty cells { concern stage industry entries madeFor } } }"
GAPS = "query($days: Int! = 90) { knowledgeGaps(days: $days) { searches unanswered clusteredBy gaps { asked questions examples concern empty lastAt } } }"
STALE = "{ staleKnowledge { totalCount entries { item { title } reason since } } }"
UNUSED = "query($days: Int! = 90) { unusedKnowledge(days: $days) { totalCount entries { item { title } lastAt } } }"
ALIKE = """query($filter: KnowledgeLikenessFilter) { knowledgeLikenesses(filter: $filter) { totalCount edges { node {
  item { title } otherItem { title } passage otherPassage similarity method contradicts figures otherFigures } } } }"""
PROPOSALS = """query($filter: RetirementProposalFilter) { retirementProposals(filter: $filter) { totalCount edges { node {
  id version item { title state } ground evidence state decision decidedBy { name } } } } }"""
ACCEPT = """mutation($input: AcceptRetirementProposalInput!) { step: acceptRetirementProposal(input: $input) {
  proposal { state decision item { state } decidedBy { name } } errors { path code message } } }"""
REJECT = """mutation($input: RejectRetirementProposalInput!) { step: rejectRetirementProposal(input: $input) {
  proposal { state decision item { state } } errors { path code message } } }"""
SEERS, OTHERS = ("CURATOR", "LEGAL", "ADMIN", "min"), ("lei", "FINANCE", "EXECUTIVE", "AUDITOR")


def nodes(answer: Any, root: str) -> list[dict[str, Any]]:
    assert answer.errors == []
    return [edge["node"] for edge in answer.data[root]["edges"]]


async def searched(company: Company, query: str, who: str, times: int = 1) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        person = company.people[who]
        territories = [one for reach in person.reaches for one in reach.territory_ids]
        occasion = Occasion(uow.now, person.user_id, Role.REP, min(territories), concern="payment_terms")
        for _ in range(times):
            uow.session.add_all(logged(uow.new_id, occasion, query, (), wanted_as="search"))


@pytest.mark.parametrize("who", OTHERS)
async def test_the_board_is_for_who_keeps_the_knowledge_and_managers(company: Company, ask: Ask, who: str) -> None:
    for document, root in (
        (COVERAGE, "knowledgeCoverage"),
        (GAPS, "knowledgeGaps"),
        (STALE, "staleKnowledge"),
        (UNUSED, "unusedKnowledge"),
    ):
        answer = await ask(document, who)
        assert (answer.data, answer.codes) == ({root: None}, ["FORBIDDEN"])
    assert (await ask(ALIKE, who)).data["knowledgeLikenesses"]["totalCount"] == 0
    assert (await ask(PROPOSALS, who)).data["retirementProposals"]["totalCount"] == 0


@pytest.mark.parametrize("who", SEERS)
async def test_coverage_has_the_axes_of_the_installation(company: Company, ask: Ask, who: str) -> None:
    await published(ask, stages=["proposal"])
    answer = await ask(COVERAGE, who)
    assert answer.errors == []
    found = answer.data["knowledgeCoverage"]
    assert found["stages"] == ["due", "qualify", "proposal"]
    assert found["industries"] == ["hospital"]
    assert "price_too_high" in found["concerns"]
    assert len(found["cells"]) == len(found["concerns"]) * 3
    covered = [(one["concern"], one["stage"], one["entries"]) for one in found["cells"] if one["entries"]]
    assert covered == [("price_too_high", "proposal", 1)]
    assert found["empty"] == len(found["cells"]) - 1
    assert (await ask(COVERAGE, who, kind="POLICY")).data["knowledgeCoverage"]["empty"] == len(found["cells"])


async def test_gaps_are_those_of_the_territories_of_a_manager(company: Company, ask: Ask) -> None:
    await searched(company, "能不能分期付款三年", "lei", 3)
    async with company.database.open_uow(SYSTEM) as uow:
        uow.session.add_all(logged(uow.new_id, Occasion(uow.now), "有没有红外热像仪", (), wanted_as="search"))
    whole = (await ask(GAPS, "CURATOR")).data["knowledgeGaps"]
    assert (whole["searches"], whole["unanswered"], whole["clusteredBy"]) == (4, 4, "WORDS")
    assert [(gap["asked"], gap["examples"], gap["concern"]) for gap in whole["gaps"]] == [
        (3, ["能不能分期付款三年"], "payment_terms"), (1, ["有没有红外热像仪"], None),
    ]  # fmt: skip
    managed = (await ask(GAPS, "min")).data["knowledgeGaps"]
    assert (managed["searches"], [gap["asked"] for gap in managed["gaps"]]) == (3, [3])
    wrong = await ask(GAPS, "CURATOR", days=0)
    assert wrong.codes == ["INVALID"]
    assert "365" in wrong.errors[0]["message"]


async def test_stale_and_unused_entries_are_listed(company: Company, ask: Ask, clock: Clock) -> None:
    ends = (START + timedelta(days=5)).isoformat()
    await published(ask, title="五月政策", expiresAt=ends)
    await published(ask, title="价格太高怎么答")
    clock.advance(days=100)
    for who in ("CURATOR", "LEGAL", "ADMIN"):
        stale = (await ask(STALE, who)).data["staleKnowledge"]
        assert stale["totalCount"] == 1
        assert [(one["item"]["title"], one["reason"]) for one in stale["entries"]] == [("五月政策", "EXPIRED")]
        unused = (await ask(UNUSED, who)).data["unusedKnowledge"]
        assert {one["item"]["title"] for one in unused["entries"]} == {"五月政策", "价格太高怎么答"}
        assert (await ask(UNUSED, who, days=120)).data["unusedKnowledge"] == {"totalCount": 0, "entries": []}
    # What is out of date is its keepers' alone.
    assert (await ask(STALE, "min")).data["staleKnowledge"] == {"totalCount": 0, "entries": []}
    found = (await ask(UNUSED, "min")).data["unusedKnowledge"]
    assert (found["totalCount"], [one["item"]["title"] for one in found["entries"]]) == (1, ["价格太高怎么答"])
    clock.advance(days=100)
    due = (await ask(STALE, "min")).data["staleKnowledge"]
    assert [(one["item"]["title"], one["reason"]) for one in due["entries"]] == [("价格太高怎么答", "REVIEW_DUE")]


async def test_entries_that_say_it_with_other_figures_are_to_be_checked(company: Company, ask: Ask) -> None:
    for title, days in (("账期政策", 60), ("医院账期", 90)):
        await published(ask, title=title, body=f"采购付款的账期最长{days}天，超过的须由财务书面批准，每季度复核一次。")
    assert await likeness.refresh(company.database) == 1
    (pair,) = nodes(await ask(ALIKE, "CURATOR", filter={"contradicts": True}), "knowledgeLikenesses")
    assert {pair["item"]["title"], pair["otherItem"]["title"]} == {"账期政策", "医院账期"}
    assert {*pair["figures"], *pair["otherFigures"]} == {"60天", "90天"}
    assert pair["passage"] != pair["otherPassage"]
    assert nodes(await ask(ALIKE, "CURATOR", filter={"contradicts": False}), "knowledgeLikenesses") == []


async def test_a_curator_decides_proposals(company: Company, ask: Ask, clock: Clock) -> None:
    for title in ("旧政策甲", "旧政策乙"):
        await published(ask, title=title, expiresAt=(START + timedelta(days=1)).isoformat())
    clock.advance(days=40)
    assert await retirement.propose(company.database) == 2
    open_ones = {
        one["item"]["title"]: one
        for one in nodes(await ask(PROPOSALS, "LEGAL", filter={"state": "OPEN"}), "retirementProposals")
    }
    assert {one["ground"] for one in open_ones.values()} == {"EXPIRED"}
    assert open_ones["旧政策甲"]["evidence"]["expired_at"].startswith("2026-03-03")
    first, second = open_ones["旧政策甲"], open_ones["旧政策乙"]
    given = {"id": first["id"], "expectedVersion": first["version"], "comment": "已由新政策取代"}
    refused = await ask(ACCEPT, "min", input=given)
    assert refused.data["step"]["errors"][0]["code"] == "FORBIDDEN"
    done = await ask(ACCEPT, "CURATOR", input=given)
    assert done.errors == []
    assert done.data["step"]["proposal"] == {
        "state": "ACCEPTED", "decision": "已由新政策取代", "item": {"state": "RETIRED"}, "decidedBy": {"name": "Curator"},
    }  # fmt: skip
    again = await ask(ACCEPT, "CURATOR", input=given)
    assert again.data["step"]["errors"][0]["code"] in {"CONFLICT", "STALE_VERSION"}
    keep = {"id": second["id"], "expectedVersion": second["version"], "reason": "客户还在按它执行"}
    kept = await ask(REJECT, "ADMIN", input=keep)
    assert kept.data["step"]["proposal"] == {
        "state": "REJECTED",
        "decision": keep["reason"],
        "item": {"state": "PUBLISHED"},
    }
    assert await retirement.propose(company.database) == 0
