"""Saved questions through the schema: kept by curators, run as the asker sees, and asked before a publication what it breaks."""

from typing import Any

import pytest
from sqlalchemy import select

from domain.kernel import Language
from domain.ledger import AuditEvent
from knowledge import Publication
from tests.api.conftest import Answer, Ask, Company
from tests.api.test_content_board import searched
from tests.api.test_knowledge import DRAFT, act, entry, item_of, published

TEST = "id version question within askerRole territory { key } kind entryLanguage concern expectations { item { title } comes } lastRun { passed publication methods ranks { itemId rank } }"
SAVE = f"mutation($input: SaveRetrievalTestInput!) {{ step: saveRetrievalTest(input: $input) {{ test {{ {TEST} }} errors {{ path code message }} }} }}"
REVISE = f"mutation($input: ReviseRetrievalTestInput!) {{ step: reviseRetrievalTest(input: $input) {{ test {{ {TEST} }} errors {{ path code message }} }} }}"
DELETE = "mutation($input: DeleteRetrievalTestInput!) { step: deleteRetrievalTest(input: $input) { testId errors { path code } } }"
LIST = f"query($filter: RetrievalTestFilter) {{ retrievalTests(filter: $filter) {{ totalCount edges {{ node {{ {TEST} }} }} }} }}"
RUN = """mutation($input: RunRetrievalTestsInput!) { step: runRetrievalTests(input: $input) { ran failed errors { code message }
  outcomes { test { question } passed methods degraded found { item { title } }
    ranks { item { title } comes rank score explanation { method rank weight } } } } }"""
EFFECT = "test { question } passes wouldPass ranks { item { title } comes before after }"
PREVIEW = f"""query($itemId: ID!, $change: PublicationChange! = PUBLISH) {{ publicationPreview(itemId: $itemId, change: $change) {{
  tests failingBefore failingAfter newlyFailing {{ {EFFECT} }} newlyPassing {{ {EFFECT} }} moved {{ {EFFECT} }} methods degraded }} }}"""
REVISE_ITEM = "mutation($input: ReviseKnowledgeItemInput!) { step: reviseKnowledgeItem(input: $input) { item { id version state draft { title } } errors { path code message } } }"
ADDRESS = "mutation($input: AddressKnowledgeItemInput!) { step: addressKnowledgeItem(input: $input) { item { id version } errors { code message } } }"
DECIDE = """mutation($input: %s!) { step: %s(input: $input) { item { id version state } brokenTests { question } errors { path code message } } }"""
GAPS = "{ knowledgeGaps { gaps { examples tests } } }"
DELIVERY = "交期怎么保证"
DELIVERY_BODY = "按周给出排产计划，晚一天赔一天。"


def kept_test(answer: Answer) -> dict[str, Any]:
    assert answer.errors == []
    assert answer.data["step"]["errors"] == []
    test: dict[str, Any] = answer.data["step"]["test"]
    return test


async def saved(ask: Ask, question: str, *expected: dict[str, Any], key: str = "", **more: Any) -> dict[str, Any]:
    given = {"clientKey": key or question, "question": question, "expected": [item["id"] for item in expected]} | more
    return kept_test(await ask(SAVE, "CURATOR", input=given))


async def runs(ask: Ask, *tests: dict[str, Any]) -> dict[str, dict[str, Any]]:
    given = {"ids": [test["id"] for test in tests]} if tests else {}
    answer = await ask(RUN, "CURATOR", input=given)
    assert answer.errors == []
    assert answer.data["step"]["errors"] == []
    return {one["test"]["question"]: one for one in answer.data["step"]["outcomes"]}


async def previewed(ask: Ask, item: dict[str, Any], change: str = "PUBLISH") -> dict[str, Any]:
    answer = await ask(PREVIEW, "LEGAL", itemId=item["id"], change=change)
    assert answer.errors == []
    found: dict[str, Any] = answer.data["publicationPreview"]
    return found


async def decide(ask: Ask, step: str, kind: str, item: dict[str, Any]) -> dict[str, Any]:
    given = {"id": item["id"], "expectedVersion": item["version"], "comment": "内容已过时"}
    answer = await ask(DECIDE % (kind, step), "LEGAL", input=given)
    assert answer.errors == []
    done: dict[str, Any] = answer.data["step"]
    assert done["errors"] == []
    return done


async def pending(ask: Ask, item: dict[str, Any], **change: Any) -> dict[str, Any]:
    given = {"id": item["id"], "expectedVersion": item["version"]} | change
    return item_of(await act(ask, "CURATOR", "submit", item_of(await ask(REVISE_ITEM, "CURATOR", input=given))))


async def publication(company: Company) -> tuple[Any, ...]:
    async with company.database.read() as connection:
        return tuple((await connection.execute(select(Publication.__table__))).one())


async def test_a_test_is_saved_once_revised_and_deleted(company: Company, ask: Ask) -> None:
    price, delivery = await published(ask), await published(ask, title=DELIVERY, body=DELIVERY_BODY)
    first = await saved(ask, "客户嫌采购价太高", price, key="甲", concern="price_too_high", kind="OBJECTION_RESPONSE")
    assert (first["within"], first["askerRole"], first["concern"], first["lastRun"]) == (
        5,
        "REP",
        "price_too_high",
        None,
    )
    assert first["expectations"] == [{"item": {"title": "医院说价格太高"}, "comes": True}]
    again = await saved(ask, "客户嫌采购价太高", price, key="甲", concern="price_too_high", kind="OBJECTION_RESPONSE")
    assert again["id"] == first["id"]
    change = {
        "id": first["id"], "expectedVersion": first["version"], "question": "采购说太贵", "within": 2, "concern": None, "unwanted": [delivery["id"]],
    }  # fmt: skip
    revised = kept_test(await ask(REVISE, "LEGAL", input=change))
    assert (revised["question"], revised["within"], revised["concern"], revised["kind"]) == (
        "采购说太贵",
        2,
        None,
        "OBJECTION_RESPONSE",
    )
    assert {one["item"]["title"]: one["comes"] for one in revised["expectations"]} == {
        "医院说价格太高": True,
        DELIVERY: False,
    }
    stale = await ask(REVISE, "CURATOR", input=change)
    assert stale.data["step"]["errors"][0]["code"] == "STALE_VERSION"
    await runs(ask)
    gone = {"id": first["id"], "expectedVersion": revised["version"]}
    assert (await ask(DELETE, "lei", input=gone)).data["step"]["errors"][0]["code"] == "FORBIDDEN"
    assert (await ask(DELETE, "CURATOR", input=gone)).data["step"] == {"testId": first["id"], "errors": []}
    assert (await ask(LIST, "CURATOR")).data["retrievalTests"]["totalCount"] == 0
    async with company.database.read() as connection:
        told = (
            (await connection.execute(select(AuditEvent.action).where(AuditEvent.action.like("%retrieval_test%"))))
            .scalars()
            .all()
        )
    assert sorted(told) == [f"knowledge.retrieval_test_{step}" for step in ("deleted", "revised", "saved")]


BAD: tuple[tuple[dict[str, Any], str, list[str]], ...] = (
    ({"question": "　"}, "INVALID", ["question"]), ({"question": "长" * 2001}, "INVALID", ["question"]), ({"within": 0}, "INVALID", ["within"]),
    ({"within": 51}, "INVALID", ["within"]), ({"expected": []}, "INVALID", ["expected"]), ({"expected": ["kno_0"]}, "NOT_FOUND", ["expected"]),
    ({"expected": ["kno_" + "0" * 32]}, "NOT_FOUND", ["expected"]), ({"concern": " "}, "INVALID", ["concern"]),
    ({"territoryId": "ter_" + "0" * 32}, "NOT_FOUND", ["territoryId"]),
)  # fmt: skip


async def test_a_test_that_cannot_be_asked_says_where(company: Company, ask: Ask) -> None:
    price = await published(ask)
    for number, (more, code, where) in enumerate(BAD):
        given = {"clientKey": str(number), "question": "太贵", "expected": [price["id"]]} | more
        (error,) = (await ask(SAVE, "CURATOR", input=given)).data["step"]["errors"]
        assert (error["code"], error["path"]) == (code, where), more
    both = {"clientKey": "both", "question": "太贵", "expected": [price["id"]], "unwanted": [price["id"]]}
    (error,) = (await ask(SAVE, "CURATOR", input=both)).data["step"]["errors"]
    assert (error["code"], error["message"]) == ("INVALID", "同一条目不能既应出现又不应出现")
    (error,) = (await ask(SAVE, "CURATOR", language=Language.EN, input=both)).data["step"]["errors"]
    assert error["message"] == "an entry cannot be expected and unwanted"
    assert (await ask(LIST, "CURATOR")).data["retrievalTests"]["totalCount"] == 0


@pytest.mark.parametrize("who", ["lei", "min", "FINANCE", "DPO"])
async def test_tests_are_for_who_keeps_the_knowledge(company: Company, ask: Ask, who: str) -> None:
    price = await published(ask)
    await saved(ask, "太贵", price)
    await runs(ask)
    assert (await ask(LIST, who)).data["retrievalTests"] == {"totalCount": 0, "edges": []}
    given = {"clientKey": "x", "question": "太贵", "expected": [price["id"]]}
    for document, input in ((SAVE, given), (RUN, {})):
        assert (await ask(document, who, input=input)).data["step"]["errors"][0]["code"] == "FORBIDDEN"
    assert (await ask(PREVIEW, who, itemId=price["id"])).codes == ["FORBIDDEN"]
    assert (await ask(LIST, "AUDITOR")).data["retrievalTests"]["totalCount"] == 1


async def test_a_run_says_what_came_and_is_kept(company: Company, ask: Ask) -> None:
    price, delivery = await published(ask), await published(ask, title=DELIVERY, body=DELIVERY_BODY)
    good = await saved(ask, "采购价太高，停机维护", price)
    bad = await saved(ask, "排产计划晚了怎么办", price, within=1, unwanted=[delivery["id"]])
    found = await runs(ask)
    passed, failed = found[good["question"]], found[bad["question"]]
    assert (passed["passed"], passed["methods"], passed["found"]) == (True, ["bm25"], [])
    assert "BM25" in passed["degraded"]
    [rank] = passed["ranks"]
    assert (rank["item"], rank["comes"], rank["rank"]) == ({"title": "医院说价格太高"}, True, 1)
    assert (rank["score"], [line["method"] for line in rank["explanation"]]) == (1.0, ["bm25"])
    assert (failed["passed"], [hit["item"]["title"] for hit in failed["found"]]) == (False, [DELIVERY])
    assert {one["item"]["title"]: (one["comes"], one["rank"]) for one in failed["ranks"]} == {
        "医院说价格太高": (True, None),
        DELIVERY: (False, 1),
    }
    failing = (await ask(LIST, "CURATOR", filter={"passed": False})).data["retrievalTests"]
    [node] = [edge["node"] for edge in failing["edges"]]
    assert (node["question"], node["lastRun"]["passed"], node["lastRun"]["publication"]) == (bad["question"], False, 2)
    assert node["lastRun"]["methods"] == ["bm25"]
    assert {one["itemId"]: one["rank"] for one in node["lastRun"]["ranks"]} == {price["id"]: None, delivery["id"]: 1}
    assert [
        edge["node"]["id"]
        for edge in (await ask(LIST, "CURATOR", filter={"passed": True})).data["retrievalTests"]["edges"]
    ] == [good["id"]]
    await runs(ask, good)
    assert (await ask(LIST, "CURATOR", filter={"passed": False})).data["retrievalTests"]["totalCount"] == 1


async def test_a_test_is_asked_as_its_asker_sees(company: Company, ask: Ask) -> None:
    price = await published(ask)
    territories = (await ask("{ territories { edges { node { id key } } } }", "CURATOR")).data
    ids = {edge["node"]["key"]: edge["node"]["id"] for edge in territories["territories"]["edges"]}
    given = {
        "id": price["id"],
        "expectedVersion": price["version"],
        "audience": [{"territoryId": ids["east-china"], "role": "REP"}],
    }
    assert (await ask(ADDRESS, "CURATOR", input=given)).data["step"]["errors"] == []
    east = await saved(ask, "采购价太高", price, key="east", territoryId=ids["east-china"])
    south = await saved(ask, "采购价高", price, key="south", territoryId=ids["south-china"])
    finance = await saved(ask, "价太高", price, key="finance", askerRole="FINANCE")
    found = await runs(ask)
    assert {question: one["passed"] for question, one in found.items()} == {
        east["question"]: True,
        south["question"]: False,
        finance["question"]: False,
    }
    assert east["territory"] == {"key": "east-china"}


async def test_a_preview_says_what_a_publication_would_break_and_changes_nothing(company: Company, ask: Ask) -> None:
    price, delivery = await published(ask), await published(ask, title=DELIVERY, body=DELIVERY_BODY)
    kept = await saved(ask, "采购价太高", price)
    lost = await saved(ask, "排产计划", delivery)
    gained = await saved(ask, "物流中心播报", delivery)
    await runs(ask)
    before = await publication(company)
    draft = await pending(ask, delivery, body="改由物流中心每日播报。")
    shown = await previewed(ask, draft)
    assert (shown["tests"], shown["failingBefore"], shown["failingAfter"], shown["methods"]) == (3, 1, 1, ["bm25"])
    rank = {"item": {"title": DELIVERY}, "comes": True}
    assert shown["newlyFailing"] == [
        {
            "test": {"question": lost["question"]},
            "passes": True,
            "wouldPass": False,
            "ranks": [rank | {"before": 1, "after": None}],
        }
    ]
    assert shown["newlyPassing"] == [
        {
            "test": {"question": gained["question"]},
            "passes": False,
            "wouldPass": True,
            "ranks": [rank | {"before": None, "after": 1}],
        }
    ]
    assert shown["moved"] == []
    assert await publication(company) == before
    assert {question: one["passed"] for question, one in (await runs(ask)).items()} == {
        kept["question"]: True,
        lost["question"]: True,
        gained["question"]: False,
    }
    done = await decide(ask, "publishKnowledgeItem", "KnowledgeItemActionInput", draft)
    assert done["brokenTests"] == [{"question": lost["question"]}]
    assert {question: one["passed"] for question, one in (await runs(ask)).items()} == {
        kept["question"]: True,
        lost["question"]: False,
        gained["question"]: True,
    }
    async with company.database.read() as connection:
        noted = (
            (
                await connection.execute(
                    select(AuditEvent.detail).where(AuditEvent.action == "knowledge.retrieval_tests_broken")
                )
            )
            .scalars()
            .all()
        )
    assert [lost["id"][4:] in str(one) for one in noted] == [True]


async def test_an_entry_that_was_never_out_is_previewed_for_those_who_would_see_it(company: Company, ask: Ask) -> None:
    price = await published(ask)
    drafted = item_of(await ask(DRAFT, "CURATOR", input=entry(title=DELIVERY, body=DELIVERY_BODY)))
    drafted = item_of(await act(ask, "CURATOR", "submit", drafted))
    rep = await saved(ask, "排产计划", drafted)
    finance = await saved(ask, "排产计划赔付", drafted, askerRole="FINANCE")
    shown = await previewed(ask, drafted)
    assert {one["test"]["question"] for one in shown["newlyPassing"]} == {rep["question"], finance["question"]}
    given = {"id": drafted["id"], "expectedVersion": drafted["version"], "audience": [{"role": "FINANCE"}]}
    assert (await ask(ADDRESS, "CURATOR", input=given)).data["step"]["errors"] == []
    shown = await previewed(ask, drafted)
    assert [one["test"]["question"] for one in shown["newlyPassing"]] == [finance["question"]]
    none = await ask(PREVIEW, "CURATOR", itemId=price["id"])
    assert none.codes == ["CONFLICT"]
    assert (await ask(PREVIEW, "CURATOR", itemId="kno_" + "0" * 32)).codes == ["NOT_FOUND"]


@pytest.mark.parametrize(
    ("step", "kind"),
    [("suspendKnowledgeItem", "KnowledgeItemWordsInput"), ("retireKnowledgeItem", "KnowledgeItemActionInput")],
)
async def test_withdrawing_says_what_it_breaks(company: Company, ask: Ask, step: str, kind: str) -> None:
    price = await published(ask)
    other = await published(ask, title="采购价的另一种说法", body="采购价要和三年的维护一起算。")
    lost, moved = await saved(ask, "采购价太高", price), await saved(ask, "采购价", other, within=2)
    shown = await previewed(ask, price, "WITHDRAW")
    assert [one["test"]["question"] for one in shown["newlyFailing"]] == [lost["question"]]
    assert {one["test"]["question"] for one in shown["moved"]} <= {moved["question"]}
    done = await decide(ask, step, kind, price)
    assert done["brokenTests"] == [{"question": lost["question"]}]
    assert (await runs(ask))[lost["question"]]["passed"] is False
    assert (await ask(PREVIEW, "CURATOR", itemId=price["id"], change="WITHDRAW")).codes == ["CONFLICT"]


async def test_without_tests_nothing_is_broken(company: Company, ask: Ask) -> None:
    price = await published(ask)
    assert (await previewed(ask, price, "WITHDRAW"))["tests"] == 0
    assert (await decide(ask, "retireKnowledgeItem", "KnowledgeItemActionInput", price))["brokenTests"] == []


async def test_a_gap_becomes_a_test(company: Company, ask: Ask) -> None:
    words = "能不能分期付款三年"
    await searched(company, words, "lei", 3)
    price = await published(ask)
    [gap] = (await ask(GAPS, "CURATOR")).data["knowledgeGaps"]["gaps"]
    assert (gap["examples"], gap["tests"]) == ([words], 0)
    await saved(ask, gap["examples"][0], price)
    [gap] = (await ask(GAPS, "min")).data["knowledgeGaps"]["gaps"]
    assert gap["tests"] == 1
