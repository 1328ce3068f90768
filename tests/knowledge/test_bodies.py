"""Bodies that hold a ROI model or a reference to media: what is taken, and what a refusal says; Chinese first."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo import records
from domain.kernel import Database, Invalid, Language, Role
from knowledge import Content, KnowledgeKind, MediaType, check_body, model_of, read_media, service, started_at
from knowledge.bodies import searchable
from tests.factories import add_colleague

MODEL = """inputs:
  - {key: overtime, label: {zh: 每月加班, en: overtime a month}, unit: hours/months, min: 0, max: 1000}
  - {key: wage, label: {zh: 加班单价, en: wage}, unit: CNY/hours, min: 0, max: 500, default: 60}
steps:
  - {key: saving, label: {zh: 年节省, en: saving a year}, unit: CNY/years, decimals: 2, formula: overtime * wage}
results:
  - {step: saving}
examples:
  - {label: {zh: 某县医院, en: A county hospital}, inputs: {overtime: 58}, results: {saving: 41760}}"""
PROSE = "## 适用\n只算工资表里查得到的加班费。\n\n## 这样说\n主任，一年少付四万多，都在您自己的工资表里。"
BODY = f"{PROSE}\n\n```roi\n{MODEL}\n```"
MEDIA = """---
type: video
url: https://media.example.com/visits/0612
duration: 00:18:40
skill: objection_handling
---

## 看点
看他怎样先问再答。

## 转写
[00:00:12] 您说贵，我先问一句：贵在首价，还是贵在五年？
[00:12:30] 那我们一起把附件费加进去。
您看，第三年就反过来了。
[00:18:01] 下周二我带财务的同事来。"""


def refused(kind: KnowledgeKind, body: str) -> tuple[tuple[str, ...], str, str]:
    with pytest.raises(Invalid) as told:
        check_body(kind, body)
    return told.value.path, told.value.text.zh, told.value.text.en


def refusal(kind: KnowledgeKind, body: str) -> Invalid | None:
    try:
        check_body(kind, body)
    except Invalid as told:
        return told
    return None


def roi(body: str) -> tuple[tuple[str, ...], str, str]:
    return refused(KnowledgeKind.ROI_MODEL, body)


def media(body: str) -> tuple[tuple[str, ...], str, str]:
    return refused(KnowledgeKind.MEDIA, body)


# ---- ROI models ------------------------------------------------------------------------------------------------------


def test_a_model_stands_between_its_marks_and_people_search_the_prose_alone() -> None:
    check_body(KnowledgeKind.ROI_MODEL, BODY)
    assert [each.key for each in model_of(BODY).inputs] == ["overtime", "wage"]
    assert searchable(BODY).strip() == PROSE
    assert model_of(BODY.replace("\n", "\r\n")).results[0].step == "saving"


def test_other_kinds_say_what_they_like() -> None:
    check_body(KnowledgeKind.FAQ, "## 问\n怎么算？\n\n## 答\n看模型。")
    assert searchable("---\n一条线\n---\n正文") == "---\n一条线\n---\n正文"
    assert searchable("```python\nx = 1\n```") == "```python\nx = 1\n```"


def test_prose_alone_is_no_model_and_two_are_one_too_many() -> None:
    path, zh, en = roi(PROSE)
    assert (path, "现有 0 个" in zh, "has 0" in en) == (("body",), True, True)
    assert "现有 2 个" in roi(f"{BODY}\n\n```roi\n{MODEL}\n```")[1]


def test_a_line_that_cannot_be_read_is_counted_in_the_body() -> None:
    broken = BODY.replace("steps:", "steps: [")
    line = broken.splitlines().index("  - {step: saving}")
    _, zh, en = roi(broken)
    assert any(f"第 {number} 行" in zh and f"line {number} " in en for number in range(line - 2, line + 3)), zh


def test_a_field_is_named_by_its_path() -> None:
    path, zh, en = roi(BODY.replace("unit: CNY/years", "unit: CNY"))
    assert path == ("body", "steps", "0", "formula")
    assert "单位" in zh
    assert "CNY" in en
    assert roi(BODY.replace("overtime * wage", "overtime * price"))[0] == ("body", "steps", "0", "formula")


def test_an_example_that_does_not_hold_is_refused() -> None:
    path, zh, en = roi(BODY.replace("saving: 41760", "saving: 41000"))
    assert path == ("body", "examples", "0", "results", "saving")
    assert "算例不成立：写的是 41000" in zh
    assert "¥41,760" in zh
    assert "41000 is written" in en


async def test_an_entry_is_drafted_revised_and_found_only_with_a_sound_model(database: Database) -> None:
    yu = await add_colleague(database, "赵宇", Role.CURATOR)
    kind, language = KnowledgeKind.ROI_MODEL, Language.ZH
    with pytest.raises(Invalid):
        async with database.open_uow(yu) as uow:
            await service.draft(uow, kind=kind, language=language, content=Content("加班账", PROSE))
    async with database.open_uow(yu) as uow:
        item = await service.draft(uow, kind=kind, language=language, content=Content("加班账", BODY))
    with pytest.raises(Invalid) as wrong:
        async with database.open_uow(yu) as uow:
            await service.revise(uow, item.id, None, {"body": BODY.replace("41760", "1")})
    assert wrong.value.path[:2] == ("body", "examples")
    async with database.open_uow(yu) as uow:
        assert await service.present_body(uow, item.id) == BODY
        await service.submit(uow, item.id, None)


@pytest.mark.parametrize(
    "entry",
    [entry for entry in records.entries().values() if entry.kind is KnowledgeKind.ROI_MODEL],
    ids=lambda entry: entry.key,
)
def test_every_model_of_the_demo_company_is_one(entry: records.EntryRecord) -> None:
    assert model_of(entry.whole_body).examples
    assert searchable(entry.whole_body).strip() == entry.body


# ---- media -----------------------------------------------------------------------------------------------------------


def test_media_name_what_they_refer_to_and_what_is_said_when() -> None:
    read = read_media(MEDIA)
    assert (read.type, read.url, read.attachment) == (MediaType.VIDEO, "https://media.example.com/visits/0612", None)
    assert (read.duration_seconds, read.skill) == (1120, "objection_handling")
    assert [moment.start_seconds for moment in read.moments] == [12, 750, 1081]
    assert read.moments[1].text == "那我们一起把附件费加进去。 您看，第三年就反过来了。"
    assert "skill:" not in searchable(MEDIA)
    assert "[00:12:30] 那我们" in searchable(MEDIA)


@pytest.mark.parametrize(
    ("passage", "second"),
    [
        ("[00:12:30] 那我们一起把附件费加进去。", 750),
        ("您看，第三年就反过来了。\n[00:18:01] 下周二我带财务的同事来。", 750),
        ("看他怎样先问再答。", None),
        ("没有说过的话", None),
    ],
)
def test_a_passage_knows_its_second(passage: str, second: int | None) -> None:
    assert started_at(MEDIA, passage) == second


def test_a_document_needs_no_duration() -> None:
    body = MEDIA.partition("\n## 转写")[0].replace("type: video", "type: document").replace("duration: 00:18:40\n", "")
    assert read_media(body).duration_seconds is None


@pytest.mark.parametrize(
    ("old", "new", "path", "zh"),
    [
        ("https://media.example.com/visits/0612", "http://media.example.com/a", "url", "第 3 行"),
        ("https://media.example.com/visits/0612", "https://u:p@media.example.com/a", "url", "第 3 行"),
        ("https://media.example.com/visits/0612", "javascript:alert(1)", "url", "第 3 行"),
        ("duration: 00:18:40", "duration: 18 分钟", "duration", "第 4 行"),
        ("duration: 00:18:40\n", "", "duration", "缺少字段 duration"),
        ("skill: objection_handling", "skill: 异议处理", "skill", "第 5 行"),
        ("skill: objection_handling\n", "", "skill", "缺少字段 skill"),
        ("type: video", "type: film", "type", "type 只能是"),
        ("type: video", "type: video\ntype: video", "type", "写了两次"),
        ("type: video", "type: video\nattachment: att_" + "0" * 32, "url", "只填一个"),
        ("[00:12:30]", "[12:30]", "transcript", "第 13 行"),
        ("[00:12:30]", "[00:00:05]", "transcript", "时间没有往后走"),
        ("[00:18:01]", "[00:19:01]", "transcript", "超过总时长"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_place(old: str, new: str, path: str, zh: str) -> None:
    found = media(MEDIA.replace(old, new))
    assert found[0][:2] == ("body", path)
    assert zh in found[1]


LINES = st.sampled_from(
    ["---", "type: video", "url: https://a.example/b", "duration: 00:10:00", "skill: opening", "skill:", "[00:00:05] 您好", "[00:09:00]  ", "[0:1", "```roi", "```",
     *MODEL.splitlines(), "## 转写", "", "正文", "\t", "\x85", "a: b"]
)  # fmt: skip


@given(st.lists(st.one_of(LINES, st.text(max_size=20)), max_size=30).map("\n".join), st.text(max_size=10))
def test_whatever_a_body_holds_it_is_taken_or_refused_and_prose_is_never_lost(body: str, passage: str) -> None:
    refusals = [told for kind in (KnowledgeKind.ROI_MODEL, KnowledgeKind.MEDIA) if (told := refusal(kind, body))]
    assert all(told.path[0] == "body" and told.text.zh and told.text.en for told in refusals)
    kept = searchable(body)
    assert set(kept.splitlines()) <= set(body.splitlines())
    if "```roi" not in body and not body.startswith("---"):
        assert kept.strip() == "\n".join(body.splitlines()).strip()
    second = started_at(body, passage)
    assert second is None or second >= 0


def test_prose_alone_refers_to_nothing() -> None:
    path, zh, en = media("看这个视频。")
    assert (path, "---" in zh, "---" in en) == (("body",), True, True)


def test_the_page_of_the_documentation_shows_bodies_that_are_taken() -> None:
    page = (Path(__file__).parents[2] / "docs" / "roi-models.md").read_text(encoding="utf-8")
    examples = [part.partition("\n````")[0] for part in page.split("````markdown\n")[1:]]
    assert len(examples) == 2
    check_body(KnowledgeKind.ROI_MODEL, examples[0])
    check_body(KnowledgeKind.MEDIA, examples[1])


def test_the_media_of_the_demo_company_are_ones() -> None:
    read = [read_media(entry.body) for entry in records.entries().values() if entry.kind is KnowledgeKind.MEDIA]
    assert sorted(each.skill for each in read) == ["discovery", "objection_handling"]
    assert all(each.moments for each in read)
