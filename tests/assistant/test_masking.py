import logging
import re
import time
from collections import Counter
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assistant.masking import Kind, Masking, addressed
from tests.assistant.masking_table import LINES, PEOPLE

MARKED = re.compile(r"«([A-Z_]+)\|([^»]+)»")
GIVEN = re.compile(r"⟦([A-Z_]+)_[0-9]+⟧")
CHECKED = ("RESIDENT_ID", "BANK_CARD", "CREDIT_CODE")


def bare(line: str) -> str:
    return MARKED.sub(lambda match: match[2], line)


def expected(line: str) -> list[tuple[str, str]]:
    return MARKED.findall(line)


def masked_values(line: str) -> list[tuple[str, str]]:
    masking = Masking(PEOPLE)
    masked = masking.mask(bare(line))
    return [(match[1], masking.restore(match[0])) for match in GIVEN.finditer(masked)]


def share_found(kind: str) -> float:
    wanted = [(line, value) for line in LINES for name, value in expected(line) if name == kind]
    found = [value for line, value in wanted if any(value in masked for _, masked in masked_values(line))]
    return len(found) / len(wanted)


def test_table_is_large_and_chinese_first() -> None:
    chinese = [line for line in LINES if re.search("[一-龥]", line)]
    kinds = Counter(kind for line in LINES for kind, _ in expected(line))
    assert len(LINES) >= 150
    assert len(chinese) > 0.8 * len(LINES)
    assert len([line for line in LINES if not expected(line)]) >= 80
    assert all(kinds[kind] >= 12 for kind in (*CHECKED, "PHONE", "WECHAT", "EMAIL", "PLATE", "ADDRESS", "PERSON"))


@pytest.mark.parametrize(
    ("kind", "floor"),
    [
        *((kind, 0.98) for kind in CHECKED),
        ("EMAIL", 0.98),
        ("PHONE", 0.95),
        ("PLATE", 0.95),
        ("PERSON", 1.0),
        ("WECHAT", 0.85),
        ("QQ", 0.85),
        ("ADDRESS", 0.85),
    ],
)
def test_recall(kind: str, floor: float) -> None:
    assert share_found(kind) >= floor


def test_precision() -> None:
    """What is masked is a marked value, give or take two characters, and bears its kind."""
    masked = [(line, kind, value) for line in LINES for kind, value in masked_values(line)]
    right = [
        value
        for line, kind, value in masked
        if any(kind == name and want in value and len(value) - len(want) <= 2 for name, want in expected(line))
    ]
    assert len(right) / len(masked) >= 0.95


@pytest.mark.parametrize("line", [line for line in LINES if not expected(line)])
def test_own_codes_prices_and_figures_stay(line: str) -> None:
    assert Masking(PEOPLE).mask(line) == line


def weighted_digit(body: str) -> str:
    """Return the check character of GB 11643, from the weights that the standard prints."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return "10X98765432"[sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True)) % 11]


@given(
    st.integers(110000, 659999),
    st.dates(min_value=date(1900, 1, 1), max_value=date(2025, 12, 31)),
    st.integers(0, 999),
)
def test_every_right_resident_id_is_masked_and_a_wrong_one_is_not(area: int, born: date, order: int) -> None:
    body = f"{area}{born:%Y%m%d}{order:03}"
    digit = weighted_digit(body)
    wrong = "0" if digit == "1" else "1"
    assert Masking().mask(f"证件{body}{digit}，已核") == "证件⟦RESIDENT_ID_1⟧，已核"
    assert "RESIDENT_ID" not in Masking().mask(f"档案{body}{wrong}，已核")


@given(st.sampled_from("3456789"), st.integers(0, 10**9 - 1), st.sampled_from(["", " ", "-"]))
def test_every_mobile_number_is_masked(second: str, rest: int, gap: str) -> None:
    digits = f"1{second}{rest:09}"
    number = gap.join((digits[:3], digits[3:7], digits[7:]))
    full_width = number.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})
    assert Masking().mask(f"请致电{number}，谢谢") == "请致电⟦PHONE_1⟧，谢谢"
    assert Masking().mask(f"请致电{full_width}，谢谢") == "请致电⟦PHONE_1⟧，谢谢"


PIECES = st.sampled_from(
    [
        *(bare(line) for line in LINES[::7]),
        *PEOPLE,
        *(f"{kind}_1" for kind in Kind),
        *(
            "⟦PERSON_1⟧",
            "【PHONE_1】",
            "[[EMAIL_2]]",
            "[PLATE_1]",
            "template_1",
            "⟦",
            "⟧",
            "[",
            "]",
            "_1",
            "１",
            "person_1",
        ),
        *(
            "13812345678",
            "+86 13812345678",
            "zhang@example.com",
            "京A12345",
            "地址：上海市",
            "微信：abc_123",
            " ",
            "x",
            "9",
        ),
    ]
)
ANY_TEXT = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=8).map("".join))


@given(st.lists(ANY_TEXT, max_size=3))
@example(["PERSON_1 张伟 ⟦PERSON_1⟧"])
@example(["13812345678PHONE_1"])
@example(["[⟦PHONE_1⟧]13812345678", "⟦LITERAL_1⟧"])
def test_restore_undoes_mask(texts: list[str]) -> None:
    masking = Masking(PEOPLE)
    masked = [masking.mask(text) for text in texts]
    assert [masking.restore(text) for text in masked] == texts
    assert all(not masking.unknown(text) for text in masked)


def test_same_value_has_same_placeholder() -> None:
    masking = Masking(["张伟", "李娜"])
    assert masking.mask("张伟（13812345678）约了李娜") == "⟦PERSON_1⟧（⟦PHONE_1⟧）约了⟦PERSON_2⟧"
    assert masking.mask("李娜回电 13812345678，抄送张伟") == "⟦PERSON_2⟧回电 ⟦PHONE_1⟧，抄送⟦PERSON_1⟧"
    assert masking.counts == {"PERSON": 2, "PHONE": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "请⟦PERSON_1⟧回电",
        "请⟦ PERSON_1 ⟧回电",
        "请【PERSON_1】回电",
        "请[PERSON_1]回电",
        "请[[person_1]]回电",
        "请PERSON_1回电",
    ],
)
def test_restores_what_models_make_of_a_placeholder(reply: str) -> None:
    masking = Masking(["张伟"])
    masking.mask("张伟")
    assert masking.restore(reply) == "请张伟回电"


def test_invented_placeholders_are_named_and_left() -> None:
    masking = Masking(["张伟"])
    masking.mask("张伟，车牌京A12345")
    reply = "⟦PERSON_1⟧与⟦PERSON_7⟧在 template_1 中，PLATE_1"
    assert masking.restore(reply) == "张伟与⟦PERSON_7⟧在 template_1 中，京A12345"
    assert masking.unknown(reply) == ["⟦PERSON_7⟧"]


def test_placeholder_written_by_a_stranger_brings_no_value() -> None:
    masking = Masking(["张伟"])
    masking.mask("张伟")
    masked = masking.mask("备注：⟦PERSON_1⟧")
    assert masked == "备注：⟦LITERAL_1⟧"
    assert masking.restore(masked) == "备注：⟦PERSON_1⟧"


def test_names_are_whole_words_in_latin_script_and_anywhere_in_chinese() -> None:
    masking = Masking(["Will", "Ann Lee", "张伟", "张伟明", "王", "  "])
    assert masking.mask("请Ann  Lee和张伟明来") == "请⟦PERSON_1⟧和⟦PERSON_2⟧来"
    unchanged = "It will work, Willow and Joann Leeds say; 王牌产品"
    assert masking.mask(unchanged) == unchanged


def test_values_show_neither_in_repr_nor_in_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        masking = Masking(["张伟"])
        masking.restore(masking.mask("张伟 13812345678 zhang@example.com"))
    shown = f"{masking!r} {masking} {caplog.text}"
    assert repr(masking) == "Masking(EMAIL=1, PERSON=1, PHONE=1)"
    assert not any(value in shown for value in ("张伟", "13812345678", "zhang@example.com"))


@pytest.mark.parametrize(
    "piece", ["地址:", "微信", "中区", "1 ", "a-", "+1", "a@", "中小区", "路1号", "62 ", "零", "⟦", "wxid_"]
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    started = time.perf_counter()
    Masking(PEOPLE).mask(piece * (100_000 // len(piece)))
    assert time.perf_counter() - started < 5


def test_people_are_masked_as_notes_address_them() -> None:
    masking = Masking(addressed(("林秀英", "欧阳青", "Will Smith")))
    text = "林主任和欧阳院长在场，林总监没来；森林公园、高工与 Will Smith 先生"
    masked = masking.mask(text)
    assert masked == "⟦PERSON_1⟧和⟦PERSON_2⟧在场，⟦PERSON_3⟧没来；森林公园、高工与 ⟦PERSON_4⟧ 先生"
    assert masking.restore(masked) == text
