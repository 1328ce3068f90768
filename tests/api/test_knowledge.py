"""Knowledge through the schema: its life in the hands of two people, filters, search, and who sees drafts."""

from typing import Any

from tests.api.conftest import Answer, Ask, Company, Statements

ITEM = """
id version state title body kind language owner { name } expiresAt concerns stages industries
published { number state title publishedAt } draft { number state title body }
"""
DRAFT = f"mutation($input: DraftKnowledgeItemInput!) {{ step: draftKnowledgeItem(input: $input) {{ item {{ {ITEM} }} errors {{ path code message }} }} }}"
REVISE = f"mutation($input: ReviseKnowledgeItemInput!) {{ step: reviseKnowledgeItem(input: $input) {{ item {{ {ITEM} }} errors {{ path code message }} }} }}"
SEEN = f"query($id: ID!) {{ node(id: $id) {{ ... on KnowledgeItem {{ {ITEM} }} }} }}"
SEARCH = """
query($query: String!, $filter: KnowledgeFilter, $first: Int! = 5) {
  searchKnowledge(query: $query, filter: $filter, first: $first) {
    hits { item { title } versionNumber passage score explanation { method rank score weight } } methods degraded
  }
}
"""


def _action(step: str) -> str:
    return f"mutation($input: KnowledgeItemActionInput!) {{ step: {step}KnowledgeItem(input: $input) {{ item {{ {ITEM} }} errors {{ path code message }} }} }}"


def entry(**more: Any) -> dict[str, Any]:
    body = "## 回应\n先认同，再把五年总成本摆出来：采购价只占三成，停机与维护占七成。"
    return {
        "kind": "OBJECTION_RESPONSE",
        "title": "医院说价格太高",
        "body": body,
        "language": "ZH",
        "concerns": ["price_too_high"],
    } | more


def item_of(answer: Answer) -> dict[str, Any]:
    assert answer.errors == []
    assert answer.data["step"]["errors"] == []
    item: dict[str, Any] = answer.data["step"]["item"]
    return item


async def act(ask: Ask, who: str, step: str, item: dict[str, Any]) -> Answer:
    return await ask(_action(step), who, input={"id": item["id"], "expectedVersion": item["version"]})


async def published(ask: Ask, **more: Any) -> dict[str, Any]:
    item = item_of(await ask(DRAFT, "CURATOR", input=entry(**more)))
    item = item_of(await act(ask, "CURATOR", "submit", item))
    return item_of(await act(ask, "LEGAL", "publish", item))


async def test_an_entry_is_drafted_reviewed_published_revised_and_retired(company: Company, ask: Ask) -> None:
    drafted = item_of(await ask(DRAFT, "CURATOR", input=entry()))
    assert (drafted["state"], drafted["title"], drafted["published"]) == ("DRAFT", "医院说价格太高", None)
    assert drafted["concerns"] == ["price_too_high"]
    submitted = item_of(await act(ask, "CURATOR", "submit", drafted))
    assert submitted["version"] > drafted["version"]
    alone = await act(ask, "CURATOR", "publish", submitted)
    assert alone.data["step"]["errors"][0]["code"] == "FORBIDDEN"
    out = item_of(await act(ask, "LEGAL", "publish", submitted))
    assert (out["state"], out["published"]["number"], out["draft"]) == ("PUBLISHED", 1, None)
    change = {"id": out["id"], "expectedVersion": out["version"], "title": "价格太高怎么答"}
    revised = item_of(await ask(REVISE, "CURATOR", input=change))
    assert (revised["title"], revised["published"]["title"], revised["draft"]["title"]) == (
        "医院说价格太高",
        "医院说价格太高",
        "价格太高怎么答",
    )
    stale = await ask(REVISE, "CURATOR", input=change)
    assert (stale.data["step"]["item"]["version"], stale.data["step"]["errors"][0]["code"]) == (
        revised["version"],
        "STALE_VERSION",
    )
    assert stale.data["step"]["errors"][0]["path"] == ["expectedVersion"]
    gone = item_of(await act(ask, "ADMIN", "retire", revised))
    assert gone["state"] == "RETIRED"
    assert (await ask(SEEN, "lei", id=gone["id"])).data == {"node": None}


async def test_a_draft_is_seen_by_those_who_keep_knowledge_alone(company: Company, ask: Ask) -> None:
    hidden = item_of(await ask(DRAFT, "CURATOR", input=entry()))
    shown = await published(ask, title="公开的")
    change = {"id": shown["id"], "expectedVersion": shown["version"], "body": "还没定的说法"}
    await ask(REVISE, "CURATOR", input=change)
    for who in ("lei", "min", "FINANCE", "EXECUTIVE"):
        assert (await ask(SEEN, who, id=hidden["id"])).data == {"node": None}
        seen = (await ask(SEEN, who, id=shown["id"])).data["node"]
        assert (seen["title"], seen["draft"]) == ("公开的", None)
        assert "还没定" not in str(seen)
    for who in ("CURATOR", "LEGAL", "ADMIN", "AUDITOR"):
        assert (await ask(SEEN, who, id=shown["id"])).data["node"]["draft"]["body"] == "还没定的说法"
        assert (await ask("{ knowledgeItems { totalCount } }", who)).data == {"knowledgeItems": {"totalCount": 2}}


async def test_only_those_who_keep_knowledge_change_it(company: Company, ask: Ask) -> None:
    for who in ("lei", "min", "FINANCE", "DPO"):
        answer = await ask(DRAFT, who, input=entry())
        assert (answer.data["step"]["item"], answer.data["step"]["errors"][0]["code"]) == (None, "FORBIDDEN")
    assert (await ask("{ knowledgeItems { totalCount } }", "CURATOR")).data == {"knowledgeItems": {"totalCount": 0}}


BAD_ENTRIES = (
    ({"title": " "}, "title"), ({"title": "长" * 301}, "title"), ({"concerns": ["x" * 101]}, "concerns"), ({"stages": [""]}, "stages"),
)  # fmt: skip


async def test_an_entry_that_cannot_be_kept_says_where(company: Company, ask: Ask) -> None:
    for more, where in BAD_ENTRIES:
        (error,) = (await ask(DRAFT, "CURATOR", input=entry(**more))).data["step"]["errors"]
        assert (error["code"], error["path"]) == ("INVALID", [where])


async def test_entries_are_filtered_and_cost_one_statement_a_relation(
    company: Company, ask: Ask, statements: Statements
) -> None:
    await published(ask, title="甲", stages=["proposal"], industries=["hospital"])
    await published(ask, title="乙", kind="FAQ", concerns=["roi_unclear"], language="EN")
    document = "query($filter: KnowledgeFilter) { knowledgeItems(filter: $filter) { edges { node { title body owner { name } published { number } } } } }"
    for filter, titles in (
        ({"stage": "proposal"}, ["甲"]), ({"concern": "roi_unclear"}, ["乙"]), ({"industry": "hospital", "kind": "FAQ"}, []), ({"language": "EN"}, ["乙"]),
        ({"state": "PUBLISHED"}, ["乙", "甲"]), ({"stage": "%"}, []), ({}, ["乙", "甲"]),
    ):  # fmt: skip
        statements.seen.clear()
        answer = await ask(document, filter=filter)
        assert answer.errors == []
        assert [edge["node"]["title"] for edge in answer.data["knowledgeItems"]["edges"]] == titles
        assert len(statements) == (3 if titles else 1)


async def test_search_finds_what_is_published_and_explains(company: Company, ask: Ask) -> None:
    await published(ask)
    await published(ask, title="交期怎么保证", body="## 回应\n按周给出排产计划。", concerns=["delivery_time"])
    await ask(DRAFT, "CURATOR", input=entry(title="没发布的价格话术"))
    answer = await ask(SEARCH, query="客户觉得价格太高")
    assert answer.errors == []
    found = answer.data["searchKnowledge"]
    assert found["hits"][0]["item"] == {"title": "医院说价格太高"}
    assert "总成本" in found["hits"][0]["passage"]
    assert found["hits"][0]["explanation"][0]["rank"] == 1
    assert len(found["methods"]) == 1
    assert found["degraded"]
    assert "没发布的价格话术" not in str(found)
    only = await ask(SEARCH, query="价格", filter={"concern": "delivery_time"})
    assert [hit["item"]["title"] for hit in only.data["searchKnowledge"]["hits"]] in ([], ["交期怎么保证"])
    assert (await ask(SEARCH, query="价格", filter={"state": "DRAFT"})).data["searchKnowledge"]["hits"] == []


async def test_a_search_that_cannot_be_made_is_invalid(company: Company, ask: Ask) -> None:
    for query, first, where in ((" ", 5, "query"), ("价" * 2001, 5, "query"), ("价格", 0, "first")):
        answer = await ask(SEARCH, query=query, first=first)
        assert answer.codes == ["INVALID"]
        assert answer.errors[0]["extensions"]["path"] == [where]


async def test_the_index_says_how_it_stands_to_those_who_look_after_it(company: Company, ask: Ask) -> None:
    document = "{ knowledgeIndex { publication passages passagesWithoutVector engine model methods degraded building { done } rejected } }"
    before = (await ask(document, "CURATOR")).data["knowledgeIndex"]
    await published(ask)
    after = (await ask(document, "AUDITOR")).data["knowledgeIndex"]
    assert (after["publication"] - before["publication"], after["passages"]) == (1, 1)
    assert (after["model"], after["methods"], after["passagesWithoutVector"]) == (None, ["bm25"], 1)
    assert after["degraded"] == "向量模型尚未就绪，仅按关键词（BM25）检索"
    (error,) = (await ask(document, "lei")).errors
    assert error["extensions"]["code"] == "FORBIDDEN"
