import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.text import (
    QUERY_TOKEN_LIMIT,
    Script,
    content_hash,
    normalise,
    passages,
    query_tokens,
    script_of,
    tokenise,
    word_count,
)

SENTENCES = st.lists(
    st.sampled_from(
        [
            "客户说价格太高。",
            "先算三年总拥有成本，再谈折扣！",
            "他们问：“能分期吗？”",
            "Customers ask for ROI first. ",
            "It costs 1.5 million; pay over 24 months. ",
            "- 第一点\n",
            "第二段\n\n",
            "MX-200 的维保 ",
        ]
    ),
    max_size=60,
).map("".join)
WORDS = re.compile(r"[\u4e00-\u9fff]|[A-Za-z0-9]+")


def test_chinese_gives_characters_and_pairs() -> None:
    assert tokenise("价格太高") == ["价", "格", "太", "高", "价格", "格太", "太高"]


def test_punctuation_parts_chinese_pairs() -> None:
    assert "价折" not in tokenise("降价，折扣")
    assert tokenise("价") == ["价"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ＲＯＩ　３０％", ["roi", "30"]),
        ("SaaS续费", ["saa", "续", "费", "续费"]),
        ("30天", ["30", "天"]),
        ("ﬁnance", ["financ"]),
        ("", []),
        ("——！？", []),
        ("𠮷野家", ["𠮷", "野", "家", "𠮷野", "野家"]),
    ],
)
def test_tokens_of_mixed_text(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


def test_english_forms_of_a_word_meet() -> None:
    assert len({*tokenise("discount discounts Discounted DISCOUNTING")}) == 1


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_full_width_text_has_the_same_tokens(text: str) -> None:
    wide = "".join(chr(ord(character) + 0xFEE0) for character in text)
    assert tokenise(wide) == tokenise(text)


def test_a_pasted_page_costs_no_more_than_a_long_question() -> None:
    page = "".join(chr(0x4E00 + number % 5000) for number in range(35_000))
    started = time.process_time()
    assert len(query_tokens(page)) == QUERY_TOKEN_LIMIT
    assert time.process_time() - started < 1
    assert query_tokens("价格价格") == ["价", "格", "价格", "格价"]


def test_threads_stem_alike() -> None:
    texts = [f"negotiations about pricing and renewals {number}" for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(tokenise, texts)) == [tokenise(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("客户嫌贵怎么办", Script.ZH),
        ("SaaS 续费 ROI 怎么算", Script.ZH),
        ("已经在用 Salesforce 了", Script.ZH),
        ("we met 张伟 at the expo", Script.EN),
        ("Too expensive", Script.EN),
        ("MX-200", Script.EN),
        ("MX200 8800", Script.NEITHER),
        ("2026", Script.NEITHER),
        ("", Script.NEITHER),
    ],
)
def test_script(text: str, script: Script) -> None:
    assert script_of(text) is script


def test_passages_follow_headings_and_keep_the_title_path() -> None:
    body = "先认同。\n\n## 算账\n三年成本低 18%。\n### 分期\n可分 24 期。\n## 证据\n某三甲医院。\n"
    found = passages("价格异议", body)
    assert [(each.position, each.title_path, each.text) for each in found] == [
        (0, ("价格异议",), "先认同。"),
        (1, ("价格异议", "算账"), "三年成本低 18%。"),
        (2, ("价格异议", "算账", "分期"), "可分 24 期。"),
        (3, ("价格异议", "证据"), "某三甲医院。"),
    ]
    assert found[2].heading == "分期"
    assert found[2].searchable == "价格异议 › 算账 › 分期\n可分 24 期。"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("# 价格异议\n正文", [(("价格异议",), "正文")]),
        ("## 空\n## 有\n正文", [(("价格异议", "有"), "正文")]),
        ("```\n# 不是标题\n```", [(("价格异议",), "```\n# 不是标题\n```")]),
        ("~~~\n```\n# 不是\n~~~\n## 是\n文", [(("价格异议",), "~~~\n```\n# 不是\n~~~"), (("价格异议", "是"), "文")]),
        ("#号码 1\n#1 原因", [(("价格异议",), "#号码 1\n#1 原因")]),
        ("## Closed heading ##\ntext", [(("价格异议", "Closed heading"), "text")]),
        ("", [(("价格异议",), "价格异议")]),
        ("## 只有标题", [(("价格异议",), "价格异议")]),
    ],
)
def test_what_counts_as_a_heading(body: str, expected: list[tuple[tuple[str, ...], str]]) -> None:
    assert [(each.title_path, each.text) for each in passages("价格异议", body)] == expected


def test_long_sections_are_cut_evenly_at_sentence_borders() -> None:
    sentence = "客户最关心三年的总成本。"
    found = passages("价格异议", sentence * 25, word_limit=100)
    assert all(each.text.endswith("。") for each in found)
    lengths = [word_count(each.text) for each in found]
    assert sum(lengths) == 25 * 11
    assert max(lengths) <= 100
    assert min(lengths) > 60


def test_a_closing_quotation_mark_stays_with_its_sentence() -> None:
    found = passages("异议", "他说：“太贵了。”我们先认同。", word_limit=6)
    assert [each.text for each in found] == ["他说：“太贵了。”", "我们先认同。"]


def test_a_sentence_over_the_limit_is_cut_between_words() -> None:
    found = passages("异议", "价" * 25 + " alpha beta", word_limit=10)
    assert [each.text for each in found] == ["价" * 10, "价" * 10, "价" * 5 + " alpha beta"]


@given(st.lists(st.tuples(st.sampled_from(["", "## 算账\n", "### 证据\n"]), SENTENCES), max_size=6), st.integers(1, 60))
def test_nothing_is_lost_and_no_passage_is_too_long(sections: list[tuple[str, str]], word_limit: int) -> None:
    body = "".join(f"\n{heading}{text}" for heading, text in sections)
    found = passages("标题", body, word_limit)
    texts = " ".join(text for _, text in sections)
    if WORDS.search(texts):
        assert WORDS.findall(" ".join(each.text for each in found)) == WORDS.findall(texts)
        assert max(word_count(each.text) for each in found) <= word_limit
    assert [each.position for each in found] == list(range(len(found)))
    assert all(each.text == each.text.strip() != "" for each in found)


def test_bad_documents_are_refused() -> None:
    with pytest.raises(ValueError, match="title"):
        passages("  ", "正文")
    with pytest.raises(ValueError, match="0"):
        passages("标题", "正文", word_limit=0)


def test_the_content_hash_hangs_on_titles_and_text_alone() -> None:
    first, second = passages("标题", "## 甲\n同文\n## 乙\n同文")
    (again,) = passages("标题", "## 甲\n同文")
    assert content_hash(first) == content_hash(again)
    assert content_hash(first) != content_hash(second)


def test_normal_form() -> None:
    assert normalise("Ｖ２．０　㈱") == "v2.0 (株)"
