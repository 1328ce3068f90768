"""Text formats of knowledge: what is written is read back word for word, and what cannot be read is told with its place."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.kernel import Invalid, Language, Role
from knowledge import Content, Facets, KnowledgeKind
from knowledge.formats import (
    Audience,
    Defaults,
    Document,
    Found,
    read_csv,
    read_file,
    read_jsonl,
    read_markdown,
    write_csv,
    write_jsonl,
    write_markdown,
)

NONE = Defaults()
LETTERS = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cf", "Co", "Cn"))
ODD = st.sampled_from((
    "=1+1", "+86 138", "-5", "@all", "'='", "''", "---", "---\n", "\n", "\r\n", '"', "“”", ",", ";", "|", "[1, 2]", '["a"]', "null", "true", "# 标题", "话术：", ": - {}", "\t缩进",
    "  ", "客户说价格太高，怎么回？", "｜", "é", "\\", "```",
))  # fmt: skip
WORDS = st.lists(st.one_of(ODD, st.text(LETTERS, min_size=1, max_size=12)), min_size=1, max_size=6).map("".join)
LINE = WORDS.map(lambda words: words.replace("\r", " ").replace("\n", " ")).filter(str.strip)
NAMES = st.lists(LINE.map(lambda words: words[:60]).filter(str.strip), max_size=3).map(tuple)
MOMENTS = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)).map(  # noqa: DTZ001 - the zone follows
    lambda at: at.replace(tzinfo=UTC)
)
AUDIENCES = st.lists(
    st.builds(
        Audience, st.none() | st.sampled_from(Role), st.none() | st.just("east_china"), st.none() | st.just("east")
    ).filter(lambda one: bool(one.told())),
    max_size=2,
).map(tuple)


def kept(content: Content) -> bool:
    try:
        content.checked()
    except Invalid:
        return False
    return True


FACETS = st.builds(Facets, NAMES, NAMES, NAMES, NAMES, NAMES, NAMES)
CONTENTS = st.builds(Content, LINE, WORDS, FACETS, MOMENTS, MOMENTS, MOMENTS).filter(kept)
DOCUMENTS = st.builds(
    Document, LINE.filter(lambda name: len(name) <= 300), st.sampled_from(KnowledgeKind), st.sampled_from(Language), CONTENTS, st.none() | LINE, st.none() | LINE, st.none() | LINE,
    st.none() | LINE, AUDIENCES, st.booleans(),
)  # fmt: skip


def documents_of(found: list[Found]) -> list[Document]:
    refused = [one.refused.text.en for one in found if one.refused is not None]
    assert refused == []
    return [one.document for one in found if one.document is not None]


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS)
def test_markdown_loses_nothing(document: Document) -> None:
    text = write_markdown(document).encode().decode()
    assert documents_of(read_markdown(text, "x.md", NONE)) == [document]


@settings(max_examples=200, deadline=None)
@given(st.lists(DOCUMENTS, max_size=4))
def test_json_lines_lose_nothing(documents: list[Document]) -> None:
    text = "".join(write_jsonl(documents)).encode().decode()
    assert documents_of(read_jsonl(text, "x.jsonl", NONE)) == documents


@settings(max_examples=200, deadline=None)
@given(st.lists(DOCUMENTS, max_size=4))
def test_tables_lose_nothing_and_run_nothing(documents: list[Document]) -> None:
    text = "".join(write_csv(documents))
    assert documents_of(read_csv(text.encode().decode("utf-8-sig"), "x.csv", NONE)) == documents


def test_a_formula_is_guarded_where_a_spreadsheet_would_run_it() -> None:
    formula = Document(
        "a", KnowledgeKind.FAQ, Language.ZH, Content('=HYPERLINK("http://x.cn")', "-正文"), licence="@内部"
    )
    cells = "".join(write_csv([formula])).split("\r\n")[1]
    assert '"\'=HYPERLINK(""http://x.cn"")"' in cells
    assert "'-正文" in cells
    assert "'@内部" in cells


def test_a_table_made_by_hand_is_read_by_its_chinese_heads() -> None:
    text = "编号;标题;正文;类型;语言;行业;失效日期;受众\nA-1;价格太高;先问预算;应答知识;中文;医院、门诊;2027-03-02;role=REP,territory=east_china\n"
    (document,) = documents_of(read_csv(text, "表.csv", NONE))
    assert (document.kind, document.language) == (KnowledgeKind.OBJECTION_RESPONSE, Language.ZH)
    assert document.content.facets.industries == ("医院", "门诊")
    assert document.content.expires_at == datetime(2027, 3, 2, tzinfo=UTC)
    assert document.audience == (Audience(Role.REP, "east_china"),)


def test_plain_markdown_takes_its_title_from_its_first_heading_and_its_language_from_its_letters() -> None:
    text = "\n\n# 价格太高怎么办 #\n\n先问预算从哪里来。\n"
    (document,) = documents_of(read_markdown(text, "话术/价格.md", Defaults(KnowledgeKind.TALK_TRACK)))
    assert (document.id, document.content.title, document.language) == ("话术/价格", "价格太高怎么办", Language.ZH)
    assert document.content.body == text
    (english,) = documents_of(
        read_markdown("# Too dear\n\nAsk for the budget.", "dear.md", Defaults(KnowledgeKind.FAQ))
    )
    assert english.language is Language.EN


@pytest.mark.parametrize(
    ("name", "text", "field", "says"),
    [
        ("a.md", "---\nkind: [\n---\n正文", "front matter", "第 3 行"),
        ("a.md", "---\n- x\n---\n正文", "front matter", "名称: 值"),
        ("a.md", "没有标题", "title", "缺少标题"),
        ("a.md", "# 标题\n\n正文", "kind", "--kind"),
        ("a.md", "---\nkind: FAX\n---\n# 标题", "kind", "未知种类“FAX”"),
        ("a.md", "---\nkind: FAQ\nlanguage: fr\n---\n# 标题", "language", "不是 zh 或 en"),
        ("a.md", "---\nkind: FAQ\nexpires_at: 明年\n---\n# 标题", "expires_at", "不是日期"),
        ("a.md", "---\nkind: FAQ\naudience: role=BOSS\n---\n# 标题", "audience", "没有角色“BOSS”"),
        ("a.md", "---\nkind: FAQ\nconcerns: {a: 1}\n---\n# 标题", "concerns", "应为列表"),
        ("a.md", "---\nkind: FAQ\nshareable: 也许\n---\n# 标题", "shareable", "应为 是 或 否"),
        ("a.md", "---\nkind: FAQ\ntitle: 题\n---\n\x07正文", "body", ""),
        ("a.jsonl", '{"id": "1"', "", "不是有效的 JSON"),
        ("a.jsonl", "[1]", "", "不是 JSON 对象"),
        ("a.jsonl", '{"id": "1", "title": "题", "body": " ", "kind": "FAQ"}', "body", "缺少正文"),
        ("a.csv", "id,title,body,kind\n1,题,正文,FAQ,多\n", "", "有 5 格，表头有 4 格"),
        ("a.csv", "id,title,body,kind\n1,题,,FAQ\n", "body", "缺少正文"),
        ("a.exe", "x", "", "不支持的格式"),
        ("a.md", "---\nkind: FAQ\nreview_at: 2026-13-45\n---\n# 题", "front matter", "YAML"),
        ("a.md", "---\nkind: " + "[" * 3_000 + "\n---\n# 题", "front matter", "YAML"),
        (
            "a.jsonl",
            '{"id": "1", "title": "题", "body": "正文", "kind": "FAQ", "review_at": "0001-01-01T00:00:00+08:00"}',
            "review_at",
            "1970",
        ),
        ("a.md", '---\nkind: FAQ\nlicence: "\\ud800"\n---\n# 题', "licence", "无法保存的字符"),
        (
            "a.jsonl",
            '{"id": "1", "title": "题", "body": "正文", "kind": "FAQ", "audience": [{"territory": {"a": 1}}]}',
            "audience",
            "role=REP",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_field(name: str, text: str, field: str, says: str) -> None:
    def decode(_file: str, data: bytes) -> str:
        return data.decode()

    (found,) = read_file(name, text.encode(), decode, NONE)
    assert found.document is None
    assert found.refused is not None
    assert says in found.refused.text.zh
    if field:
        assert found.refused.path[0] == field


def test_fields_that_feed_nothing_are_named() -> None:
    (found,) = read_markdown("---\nkind: FAQ\ntags: [a]\nstate: PUBLISHED\n---\n# 标题\n", "a.md", NONE)
    assert found.unused == ("tags",)


def test_others_go_on_where_one_line_cannot() -> None:
    fine: dict[str, Any] = {"id": "1", "title": "题", "body": "正文", "kind": "FAQ"}
    import orjson

    lines = [orjson.dumps(fine), b"{", orjson.dumps(fine | {"id": "2"})]
    found = read_jsonl(b"\n".join(lines).decode(), "a.jsonl", NONE)
    assert [one.document.id if one.document else None for one in found] == ["1", None, "2"]
    assert found[1].place == "a.jsonl:2"


def test_dates_without_a_zone_are_utc_and_others_are_brought_to_it() -> None:
    text = '{"id": "1", "title": "题", "body": "正文", "kind": "FAQ", "review_at": "2027-01-01T08:00:00+08:00"}'
    (document,) = documents_of(read_jsonl(text, "a.jsonl", NONE))
    assert document.content.review_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert document.content.review_at.utcoffset() == timedelta()
