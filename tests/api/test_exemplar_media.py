"""Exemplar media through the schema: by skill, by what is said in them, as far as the reader sees them."""

from typing import Any

from tests.api.conftest import Ask, Company
from tests.api.test_knowledge import published
from tests.knowledge.test_bodies import MEDIA

FIND = """query($skill: String, $query: String, $first: Int! = 5) { exemplarMedia(skill: $skill, query: $query, first: $first) {
  item { title } type url attachmentId durationSeconds skill transcript { startSeconds text } passage startSeconds } }"""


async def find(ask: Ask, **wanted: Any) -> list[dict[str, Any]]:
    answer = await ask(FIND, **wanted)
    assert answer.errors == []
    found: list[dict[str, Any]] = answer.data["exemplarMedia"]
    return found


async def shelf(ask: Ask) -> None:
    await published(ask, kind="MEDIA", title="异议处理：先问再答", body=MEDIA)
    opening = MEDIA.replace("objection_handling", "opening").replace("附件费", "开场白")
    await published(ask, kind="MEDIA", title="开场三句话", body=opening)


async def test_media_are_found_by_their_skill(company: Company, ask: Ask) -> None:
    await shelf(ask)
    (one,) = await find(ask, skill="objection_handling")
    assert (one["item"]["title"], one["type"], one["durationSeconds"]) == ("异议处理：先问再答", "VIDEO", 1120)
    assert (one["url"], one["attachmentId"]) == ("https://media.example.com/visits/0612", None)
    assert one["transcript"][2] == {"startSeconds": 1081, "text": "下周二我带财务的同事来。"}
    assert (one["passage"], one["startSeconds"]) == (None, None)
    assert len(await find(ask)) == 2
    assert len(await find(ask, first=1)) == 1
    assert await find(ask, skill="%") == []


async def test_what_is_said_is_found_with_its_second(company: Company, ask: Ask) -> None:
    await shelf(ask)
    found = await find(ask, query="第三年反过来 附件费", skill="objection_handling")
    assert [one["item"]["title"] for one in found] == ["异议处理：先问再答"]
    assert "附件费" in found[0]["passage"]
    assert found[0]["startSeconds"] == 12
    empty = await ask(FIND, query=" ")
    assert empty.codes == ["INVALID"]


async def test_drafts_and_other_kinds_are_no_exemplars(company: Company, ask: Ask) -> None:
    draft = "mutation($input: DraftKnowledgeItemInput!) { draftKnowledgeItem(input: $input) { item { id } errors { path message } } }"
    input = {"kind": "MEDIA", "title": "草稿", "language": "ZH", "body": MEDIA}
    assert (await ask(draft, "CURATOR", input=input)).data["draftKnowledgeItem"]["errors"] == []
    await published(ask, kind="FAQ", title="问答", body=MEDIA)
    assert await find(ask) == []
    wrong = (await ask(draft, "CURATOR", input=input | {"body": MEDIA.replace("https", "ftp")})).data
    assert wrong["draftKnowledgeItem"]["errors"][0]["path"] == ["body", "url"]
    assert wrong["draftKnowledgeItem"]["errors"][0]["message"] == "第 3 行：url 须是不带账号的 https 地址"
