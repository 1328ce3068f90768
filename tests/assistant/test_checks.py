"""Every check bites, and nothing is left in an answer that code did not compute and no cited source says."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import checks
from assistant.checks import Checked
from assistant.draft import Draft, Evidence, Figure, KnowledgeQuote, Pen, Section
from assistant.numbers import CITATION, NumberInText, amounts_in_words, dates_in, numbers_in, numbers_in_lines
from domain.kernel import Language, Money, Ref, Text
from tests.assistant.company import FOREIGN, HOSPITAL, Company

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ORDER = Evidence(Ref("Order", UUID(int=1)), NOW, "SO-1；2025-08-25；¥432,000")
SHEET = KnowledgeQuote(
    UUID(int=2),
    1,
    "监护仪目录价",
    "监护仪目录价\nPM8 的目录价是 38,000 元，五年附件和返修合计省 12.5%。\n岭南中心医院用了 24 台，百分之三十的报警没了。",
    Language.ZH,
)


def answer(*lines: str, key: str = "snapshot", language: Language = Language.ZH) -> Draft:
    """A section that says these lines, with an order as [1] and a product sheet as [2], and two computed figures."""
    draft = Draft(language)
    pen = Pen(draft, key)
    pen.money("order_total", Text("订单", "order"), Money(43_200_000, "CNY"), ORDER)
    pen.percent("share", Text("比例", "share"), Decimal("7.7"), ORDER)
    pen.cite(SHEET)
    pen.date(NOW.date())
    draft.sections.append(Section(key, "客户概况", "\n".join(lines)))
    return draft


def run(*lines: str, free: bool = False, foreign: tuple[str, ...] = (FOREIGN,)) -> Checked:
    return checks.run(
        answer(*lines),
        foreign_names=frozenset(foreign),
        own_names=frozenset({HOSPITAL}),
        free_sections=frozenset({"snapshot"} if free else ()),
    )


def body(checked: Checked) -> str:
    return checked.sections[0].body


def failed(checked: Checked) -> list[str]:
    return [result.key for result in checked.results if not result.passed]


GOOD = "- 他们下过一单 ¥432,000。[1]"


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        ("- 详情见 https://evil.example/x。[1]", "outside_link"),
        ("- 详情见[官网](//evil.example)。[1]", "outside_link"),
        ("- 请访问evil.com了解。[1]", "outside_link"),
        ("- 请访问ｗｗｗ．evil．cn了解。[1]", "outside_link"),
        ("- ![图](data:image/png;base64,xx)[1]", "outside_link"),
        ("- <img src=x onerror=alert(1)>优惠。[1]", "outside_link"),
        ("- <script>x</script>[1]", "outside_link"),
        ("- ⟦PERSON_9⟧很满意。[1]", "masked_leak"),
        ("- 请联系 PERSON_9。[1]", "masked_leak"),
        ("- 他们很满意。[7]", "citation_numbers"),
        ("- 他们很满意。[1][0]", "citation_numbers"),
        (f"- {FOREIGN}也在用。[1]", "foreign_customer"),
        ("- 报价 ¥400,000。[1]", "figures_sourced"),
        ("- 报价 CNY400000。[1]", "figures_sourced"),
        ("- 报价 43.2 万美元。[1]", "figures_sourced"),
        ("- 报价 $432,000。[1]", "figures_sourced"),
        ("- 报价 40 万元。[2]", "figures_sourced"),
        ("- 可以打 8 折。[2]", "figures_sourced"),
        ("- 可以打八折。[2]", "figures_sourced"),
        ("- 报价三十万元。[1]", "figures_sourced"),
        ("- 优惠百分之二十。[1]", "figures_sourced"),
        ("- 省 38,000%。[2]", "figures_sourced"),
        ("- 折让 7.8%。[1]", "figures_sourced"),
        ("- 下一单在 2026-08-25。[1]", "figures_sourced"),
        ("- 下一单在 2026年9月1日。[1]", "figures_sourced"),
        ("- 他们是行业第一。", "claims_cited"),
    ],
)
def test_what_has_no_source_is_removed_and_named(bad: str, key: str) -> None:
    checked = run(GOOD, bad)
    assert body(checked) == GOOD
    assert failed(checked) == [key]
    (found,) = [result for result in checked.results if result.key == key]
    assert found.detail is not None
    assert bad.removeprefix("- ")[:4] in found.detail


@pytest.mark.parametrize(
    "good",
    [
        "- 订单 ¥432,000。[1]",
        "- 订单 43.2 万元。[1]",
        "- 订单 432 千元，即 432,000 yuan。[1]",
        "- 比目录价低 7.7%。[1]",
        "- 下单日 2025-08-25，即 2025年8月25日。[1]",
        "- 今天是 2026-03-02。[1]",
        "- PM8 目录价 3.8 万元，合计省 12.5％。[2]",
        "- 百分之三十的报警没了。[2]",
        f"- {FOREIGN}用了 24 台。[2]",
        f"- {HOSPITAL}也是同样的考虑。[1]",
        "1. 先谈 PM8、VX3 和 CM-DR9。[2]",
        "2、再谈 US6。[2]",
        "您看哪天方便？",
        "**监护仪目录价**：",
    ],
)
def test_what_code_computed_or_a_source_says_stays(good: str) -> None:
    checked = run(good)
    assert body(checked) == good
    assert failed(checked) == []


def test_only_the_sentence_that_fails_goes() -> None:
    checked = run("- 订单 ¥432,000。[1]再让 5%。[1]他们很满意。[1]")
    assert body(checked) == "- 订单 ¥432,000。[1]他们很满意。[1]"
    assert failed(checked) == ["figures_sourced"]


def test_a_removed_quotation_leaves_no_bare_number_behind() -> None:
    checked = run("- 客户说：“给我 5 折。”[1]")
    assert checked.sections[0].missing
    assert body(checked) == ""


def test_a_sentence_without_a_number_of_its_own_is_carried_by_its_line() -> None:
    assert body(run("- 订单 ¥432,000。他们很满意。[1]")) == "- 订单 ¥432,000。他们很满意。[1]"


def test_another_customers_name_hides_neither_in_case_nor_in_the_own_name() -> None:
    foreign = ("Ruihe Health", "人民医院")
    assert failed(run("- RUIHE HEALTH 也在用。[1]", foreign=foreign)) == ["foreign_customer"]
    assert failed(run("- 人民医院也在用。[1]", foreign=foreign)) == ["foreign_customer"]
    assert failed(run(f"- {HOSPITAL}很满意。[1]", foreign=foreign)) == []


def test_figures_of_one_section_do_not_carry_another() -> None:
    draft = answer(GOOD)
    draft.sections.append(Section("cases", "案例", "- 他们省了 7.7%，从 2026-03-02 起。[1]"))
    checked = checks.run(draft)
    assert [section.missing for section in checked.sections] == [False, True]
    assert failed(checked) == ["figures_sourced"]


def test_free_sections_greet_without_a_source_and_still_claim_no_figure() -> None:
    checked = run("周敏您好，我是张磊。", "给您 5 折。", free=True)
    assert body(checked) == "周敏您好，我是张磊。"
    assert failed(checked) == ["figures_sourced"]


def test_numbers_from_sources_become_figures_of_their_section() -> None:
    checked = run("- 五年合计省 12.5%，目录价 38,000 元。[2]")
    assert [
        (figure.key, figure.value, figure.unit, figure.citation, figure.section_key) for figure in checked.figures
    ] == [
        ("quoted_1", Decimal("12.5"), "%", 2, "snapshot"),
        ("quoted_2", Decimal(38000), "CNY", 2, "snapshot"),
    ]


def reworded(text: str, composed: str = GOOD, *, free: bool = False) -> Checked:
    return checks.run(answer(text), composed=answer(composed), free_sections=frozenset({"snapshot"} if free else ()))


def test_a_models_sentence_shares_something_with_its_source() -> None:
    assert failed(reworded("- PM8 目录价包含附件和返修。[2]")) == []
    assert failed(reworded("- 我们承诺终身免费上门，随叫随到。[2]")) == ["claims_supported"]
    assert failed(reworded("- 他们去年下过一单，¥432,000。[1]")) == []
    # A number that code computed carries its own sentence, not the next one with the same mark.
    assert failed(reworded("- 订单 ¥432,000。[1]我们承诺终身免费上门。[1]")) == ["claims_supported"]


def test_a_models_sentence_without_a_source_says_what_the_composer_said() -> None:
    opt_out = "如果暂时不需要，回复“不用”即可，我不再打扰。"
    assert failed(reworded("暂时不需要的话，回复“不用”就行。", opt_out, free=True)) == []
    assert failed(reworded("您看哪天方便？", opt_out, free=True)) == []
    assert failed(reworded("我们的设备从不出故障。", opt_out, free=True)) == ["claims_supported"]
    assert failed(reworded("- 我们的设备从不出故障。")) == ["claims_cited"]


def test_english_words_are_compared_as_words() -> None:
    source = "The depot in Suzhou repairs monitors within two working days and lends a spare unit meanwhile."
    assert checks.support_share("Suzhou repairs monitors within two days. [1]", source) > checks.SUPPORT_FULL
    assert checks.support_share("Everything is free forever. [1]", source) == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("共 1,234.5 万元", [(Decimal(12345000), "CNY")]),
        ("VX3、CM-PM8、SO-2026", []),
        ("第一；2、第二[3]", [(Decimal(2), "")]),
        ("US$1,000 与 3 million dollars", [(Decimal(1000), "USD"), (Decimal(3000000), "USD")]),
        ("降 3 个百分点，打 9 折", [(Decimal(3), "%"), (Decimal(9), "折")]),
        ("2025-08-25 的 3.5%", [(Decimal("3.5"), "%")]),
    ],
)
def test_numbers_are_read_with_what_they_count(text: str, found: list[tuple[Decimal, str]]) -> None:
    assert numbers_in(text) == [NumberInText(value, unit) for value, unit in found]


def test_list_marks_are_no_numbers() -> None:
    assert numbers_in_lines("1. 第一\n2、第二\n3.5 万") == [NumberInText(Decimal(35000), "")]


def test_dates_and_amounts_in_words_are_read() -> None:
    assert dates_in("2025年8月5日与 2026/3/2") == {"2025-08-05", "2026-03-02"}
    assert amounts_in_words("三十万元，打八折，38 万元，五月十七日") == {"三十万元", "八折", "五月十七日"}
    assert amounts_in_words("Twenty  percent off three hundred thousand yuan, and 5 percent") == {
        "twenty percent",
        "three hundred thousand yuan",
    }


PIECES = st.sampled_from(
    [
        "¥432,000", "7.7%", "38,000 元", "12.5%", "24 台", "99", "¥1", "5 折", "30 万", "2025-08-25", "2026-12-31", "[1]", "[2]", "[3]", "。", "！", "；", ". ", "\n", "\n- ",
        "1. ", " ", "客户", "很满意", "PM8", FOREIGN, HOSPITAL, "“", "”", "https://x.cn/", "三成", "(", "**", "？", "：",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join), st.booleans(), st.booleans())
def test_whatever_is_said_every_number_left_is_known(text: str, free: bool, by_model: bool) -> None:
    draft = answer(text)
    checked = checks.run(
        draft, foreign_names=frozenset({FOREIGN}), own_names=frozenset({HOSPITAL}), free_sections=frozenset({"snapshot"} if free else ()),
        composed=answer(GOOD) if by_model else None,
    )  # fmt: skip
    sources = {number: source.text for number, source in draft.sources.items()}
    for line in body(checked).split("\n"):
        cited = {int(number) for number in CITATION.findall(line)}
        assert cited <= sources.keys()
        known = {number for cite in cited for number in numbers_in_lines(sources[cite])}
        for number in numbers_in_lines(line):
            figures = {figure.value for figure in checked.figures if figure.section_key == "snapshot"}
            assert number.value in figures
            assert number in known or number in {
                NumberInText(Decimal(432000), "CNY"),
                NumberInText(Decimal("7.7"), "%"),
            }
        assert dates_in(line) <= {"2026-03-02"}.union(*(dates_in(sources[cite]) for cite in cited))
        assert FOREIGN not in line or any(FOREIGN in sources[cite] for cite in cited)
        assert "http" not in line


@given(st.text(max_size=300))
def test_no_text_breaks_the_checks(text: str) -> None:
    checked = checks.run(answer(text))
    assert checks.run(answer(body(checked))).sections[0].body == body(checked)


@pytest.mark.parametrize("language", [Language.ZH, Language.EN])
async def test_the_composers_own_text_passes(company: Company, language: Language) -> None:
    for answered in (
        await company.brief(language=language),
        await company.brief("clinic", language=language),
        await company.reply("价格太高了", language=language),
        await company.script(language=language),
    ):
        assert [(check.key, check.detail) for check in answered.checks if not check.passed] == []


def test_figures_that_lost_their_sentence_go_too() -> None:
    draft = answer("- 比目录价低 7.7%。[1]")
    draft.figures.append(Figure("snapshot", "lost", "没写的", Decimal(5), "", 1))
    assert [figure.key for figure in checks.run(draft).figures] == ["share"]
