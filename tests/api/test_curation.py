"""A week of a content team through the schema: review, comments, audiences, proposals, versions, and two who write at once."""

from datetime import timedelta
from typing import Any

from domain.kernel import utc_now
from tests.api.conftest import Answer, Ask, Company
from tests.api.test_knowledge import DRAFT, SEARCH, act, entry, item_of, published

ITEM = """
id version state title body reviewAt remindedAt owner { name }
draft { number state author { name } changesRequestedAt submittedAt }
versions { number state body author { name } publishedBy { name } }
history { versionNumber step by { name } at comment }
audience { role territory { key } brand { key } }
"""
PROPOSAL = "id version state title decision owner { name } decidedBy { name } became { id title state } item { id }"
QUEUE = "{ knowledgeItems(filter: { draftState: IN_REVIEW }) { edges { node { title } } } }"


def step(name: str, input: str = "KnowledgeItemWordsInput", more: str = "") -> str:
    return f"mutation($input: {input}!) {{ step: {name}(input: $input) {{ item {{ {ITEM} }} {more} errors {{ path code message }} }} }}"


def decide(name: str, input: str = "DecideKnowledgeProposalInput") -> str:
    return f"mutation($input: {input}!) {{ step: {name}(input: $input) {{ proposal {{ {PROPOSAL} }} errors {{ path code message }} }} }}"


async def read(ask: Ask, item: dict[str, Any], who: str = "CURATOR") -> dict[str, Any]:
    answer = await ask(
        f"query($id: ID!) {{ node(id: $id) {{ ... on KnowledgeItem {{ {ITEM} }} }} }}", who, id=item["id"]
    )
    assert answer.errors == []
    found: dict[str, Any] = answer.data["node"]
    return found


def on(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": item["id"], "expectedVersion": item["version"]} | more


def refused(answer: Answer) -> list[str]:
    return [error["code"] for error in answer.data["step"]["errors"]]


def titles(answer: Answer, root: str = "knowledgeItems") -> list[str]:
    return [edge["node"]["title"] for edge in answer.data[root]["edges"]]


async def test_a_reviewer_sends_a_draft_back_and_the_words_are_kept(company: Company, ask: Ask) -> None:
    item = item_of(await ask(DRAFT, "CURATOR", input=entry()))
    item = item_of(await act(ask, "CURATOR", "submit", item))
    assert titles(await ask(QUEUE, "LEGAL")) == ["医院说价格太高"]
    back = step("requestChangesToKnowledgeItem")
    assert refused(await ask(back, "LEGAL", input=on(item, comment=" "))) == ["INVALID"]
    item = item_of(await ask(back, "LEGAL", input=on(item, comment="五年总成本要写明出处")))
    assert (item["draft"]["state"], item["draft"]["changesRequestedAt"] is None) == ("DRAFT", False)
    assert titles(await ask(QUEUE, "LEGAL")) == []
    said = {"id": item["id"], "versionNumber": 1, "comment": "出处：2025年维保台账"}
    item = item_of(await ask(step("commentOnKnowledgeItem", "CommentOnKnowledgeItemInput"), "CURATOR", input=said))
    steps = [(one["step"], one["by"]["name"], one["comment"]) for one in item["history"]]
    assert steps == [
        ("DRAFTED", "Curator", None),
        ("SUBMITTED", "Curator", None),
        ("CHANGES_REQUESTED", "Legal", "五年总成本要写明出处"),
        ("COMMENTED", "Curator", "出处：2025年维保台账"),
    ]
    # Others see neither drafts nor what was said of them, and an auditor sees all of it.
    assert await read(ask, item, "lei") is None
    assert (await read(ask, item, "AUDITOR"))["history"] == item["history"]


async def test_what_is_suspended_is_gone_at_once_and_comes_back_as_it_was(company: Company, ask: Ask) -> None:
    item = await published(ask)
    assert (await ask(SEARCH, "lei", query="价格太高")).data["searchKnowledge"]["hits"] != []
    suspend = step("suspendKnowledgeItem")
    assert refused(await ask(suspend, "lei", input=on(item, comment="我不喜欢"))) == ["FORBIDDEN"]
    item = item_of(await ask(suspend, "LEGAL", input=on(item, comment="新价格下周一生效")))
    assert item["state"] == "SUSPENDED"
    assert (await ask(SEARCH, "lei", query="价格太高")).data["searchKnowledge"]["hits"] == []
    assert await read(ask, item, "lei") is None
    assert refused(await ask(suspend, "LEGAL", input=on(item, comment="再一次"))) == ["CONFLICT"]
    item = item_of(await act(ask, "CURATOR", "resume", item))
    assert (item["state"], item["published"]["number"]) == ("PUBLISHED", 1)
    assert (await ask(SEARCH, "lei", query="价格太高")).data["searchKnowledge"]["hits"] != []


async def test_an_entry_is_seen_by_those_to_whom_it_is_addressed(company: Company, ask: Ask) -> None:
    item = await published(ask)
    territories = (await ask("{ territories { edges { node { id key } } } }", "ADMIN")).data["territories"]["edges"]
    south = next(edge["node"]["id"] for edge in territories if edge["node"]["key"] == "south-china")
    address = step("addressKnowledgeItem", "AddressKnowledgeItemInput")
    assert refused(await ask(address, "CURATOR", input=on(item, audience=[{}]))) == ["INVALID"]
    nowhere = [{"territoryId": company.id(company.accounts["parts"])}]
    assert refused(await ask(address, "CURATOR", input=on(item, audience=nowhere))) != []
    item = item_of(await ask(address, "CURATOR", input=on(item, audience=[{"role": "REP", "territoryId": south}])))
    assert item["audience"] == [{"role": "REP", "territory": {"key": "south-china"}, "brand": None}]
    for who, seen in (("na", True), ("lei", False), ("min", False), ("CURATOR", True)):
        assert (await read(ask, item, who) is not None) == seen
        hits = (await ask(SEARCH, who, query="价格太高")).data["searchKnowledge"]["hits"]
        assert bool(hits) == seen
    item = item_of(await ask(address, "CURATOR", input=on(item, audience=[])))
    assert await read(ask, item, "lei") is not None


async def test_every_version_is_kept_compared_and_said_again(company: Company, ask: Ask) -> None:
    item = await published(ask)
    change = on(item, body="## 回应\n先听客户说完。", reviewAt="2027-01-15T00:00:00Z")
    item = item_of(await ask(step("reviseKnowledgeItem", "ReviseKnowledgeItemInput"), "CURATOR", input=change))
    item = item_of(await act(ask, "CURATOR", "submit", item))
    item = item_of(await act(ask, "LEGAL", "publish", item))
    seen = await read(ask, item)
    assert seen["reviewAt"] == "2027-01-15T00:00:00.000000Z"
    assert [(one["number"], one["state"], one["publishedBy"]["name"]) for one in seen["versions"]] == [
        (2, "PUBLISHED", "Legal"),
        (1, "RETIRED", "Legal"),
    ]
    assert (await read(ask, item, "lei"))["versions"] == []
    compare = "query($id: ID!, $new: Int!) { knowledgeDifference(item: $id, old: 1, new: $new) { change text } }"
    lines = (await ask(compare, "CURATOR", id=item["id"], new=2)).data["knowledgeDifference"]
    assert [(line["change"], line["text"][:4]) for line in lines] == [
        ("SAME", "## 回"), ("REMOVED", "先认同，"), ("ADDED", "先听客户"),
    ]  # fmt: skip
    assert [error["extensions"]["code"] for error in (await ask(compare, "CURATOR", id=item["id"], new=9)).errors] == [
        "INVALID"
    ]
    again = step("republishKnowledgeItem", "RepublishKnowledgeItemInput")
    item = item_of(await ask(again, "CURATOR", input=on(item, versionNumber=1)))
    assert (item["draft"]["number"], item["versions"][0]["body"]) == (3, entry()["body"])
    assert refused(await ask(again, "CURATOR", input=on(item, versionNumber=1))) == ["CONFLICT"]


async def test_what_was_in_use_at_an_instant_is_told(company: Company, ask: Ask) -> None:
    clock: Any = company.database.clock
    before = clock()
    clock.advance(days=1)
    item = await published(ask)
    first = clock()
    clock.advance(days=1)
    change = on(item, body="第二版")
    item = item_of(await ask(step("reviseKnowledgeItem", "ReviseKnowledgeItemInput"), "CURATOR", input=change))
    item = item_of(await act(ask, "CURATOR", "submit", item))
    item = item_of(await act(ask, "LEGAL", "publish", item))
    second = clock()
    clock.advance(days=1)
    item = item_of(await ask(step("suspendKnowledgeItem"), "LEGAL", input=on(item, comment="复核")))
    third = clock()
    then = "query($at: DateTime!) { knowledgeAsOf(filter: { at: $at }) { totalCount edges { node { versionNumber version { body } item { id } } } } }"
    for at, numbers in ((before, []), (first, [1]), (second, [2]), (third, [])):
        found = (await ask(then, "AUDITOR", at=at.isoformat())).data["knowledgeAsOf"]
        assert [edge["node"]["versionNumber"] for edge in found["edges"]] == numbers
        assert found["totalCount"] == len(numbers)
    (edge,) = (await ask(then, "AUDITOR", at=first.isoformat())).data["knowledgeAsOf"]["edges"]
    assert edge["node"]["version"]["body"] == entry()["body"]
    # What is out of use is nobody's who does not keep it, at no instant.
    assert (await ask(then, "lei", at=first.isoformat())).data["knowledgeAsOf"]["edges"] == []


async def test_who_writes_second_gets_the_difference_and_loses_nothing(company: Company, ask: Ask) -> None:
    item = item_of(await ask(DRAFT, "CURATOR", input=entry(body="第一行\n第二行")))
    revise = step("reviseKnowledgeItem", "ReviseKnowledgeItemInput", "difference { change text }")
    first = await ask(revise, "CURATOR", input=on(item, body="第一行\n甲改的第二行"))
    assert first.data["step"]["difference"] == []
    second = await ask(revise, "LEGAL", input=on(item, body="第一行\n乙改的第二行"))
    assert refused(second) == ["STALE_VERSION"]
    assert [(one["change"], one["text"]) for one in second.data["step"]["difference"]] == [
        ("SAME", "第一行"), ("REMOVED", "甲改的第二行"), ("ADDED", "乙改的第二行"),
    ]  # fmt: skip
    now = second.data["step"]["item"]
    assert now["version"] == first.data["step"]["item"]["version"]
    merged = item_of(await ask(revise, "LEGAL", input=on(now, body="第一行\n甲乙都改的第二行")))
    assert (await read(ask, merged))["versions"][0]["body"] == "第一行\n甲乙都改的第二行"


async def test_a_rep_proposes_and_a_curator_decides(company: Company, ask: Ask) -> None:
    propose = decide("proposeKnowledge", "ProposeKnowledgeInput")
    words = {
        "title": "客户问备件多久到",
        "body": "华东两日内到。",
        "kind": "FAQ",
        "language": "ZH",
        "reason": "本周被问了三次",
    }
    made = (await ask(propose, "lei", input=words)).data["step"]["proposal"]
    assert (made["state"], made["owner"]["name"], made["became"]) == ("OPEN", "张磊", None)
    listed = "{ knowledgeProposals { edges { node { title } } } }"
    assert titles(await ask(listed, "na"), "knowledgeProposals") == []
    assert titles(await ask(listed, "lei"), "knowledgeProposals") == ["客户问备件多久到"]
    accept, reject = decide("acceptKnowledgeProposal"), decide("rejectKnowledgeProposal")
    assert refused(await ask(accept, "lei", input=on(made))) == ["FORBIDDEN"]
    assert refused(await ask(reject, "CURATOR", input=on(made))) == ["INVALID"]
    taken = (await ask(accept, "CURATOR", input=on(made, decision="好，补上华南"))).data["step"]["proposal"]
    assert (taken["state"], taken["became"]["title"], taken["became"]["state"]) == (
        "ACCEPTED",
        "客户问备件多久到",
        "DRAFT",
    )
    assert refused(await ask(reject, "CURATOR", input=on(taken, decision="晚了"))) == ["CONFLICT"]
    shown = await published(ask)
    wrong = words | {"itemId": shown["id"], "body": "降价就行。"}
    second = (await ask(propose, "na", input=wrong)).data["step"]["proposal"]
    assert second["item"]["id"] == shown["id"]
    left = (await ask(reject, "LEGAL", input=on(second, decision="不能承诺降价"))).data["step"]["proposal"]
    assert (left["state"], left["decision"], left["decidedBy"]["name"]) == ("REJECTED", "不能承诺降价", "Legal")


async def test_an_entry_is_handed_over_and_its_keeper_reminded(company: Company, ask: Ask) -> None:
    item = await published(ask, expiresAt=(utc_now() + timedelta(days=3650)).isoformat())
    over = step("handOverKnowledgeItem", "HandOverKnowledgeItemInput")
    item = item_of(await ask(over, "CURATOR", input=on(item, ownerId=company.user("LEGAL"))))
    assert item["owner"]["name"] == "Legal"
    document = "query($filter: KnowledgeFilter) { knowledgeItems(filter: $filter) { edges { node { title } } } }"
    for filter, found in (
        ({"owner": company.user("LEGAL")}, 1), ({"owner": company.user("CURATOR")}, 0), ({"reminded": True}, 0), ({"reminded": False}, 1),
        ({"expiresBefore": "2100-01-01T00:00:00Z"}, 1), ({"reviewBefore": "2026-03-03T00:00:00Z"}, 0),
    ):  # fmt: skip
        assert len(titles(await ask(document, "CURATOR", filter=filter))) == found
