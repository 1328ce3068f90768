"""What the door to CEL reads, what it refuses and where."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.kernel.errors import Invalid
from domain.kernel.expression import LONGEST, Call, Name, Number, Truth, names, parse


def test_operators_names_and_numbers_come_with_their_places() -> None:
    tree = parse("a * 0.1 + math.least(b, 2)")
    assert tree == Call(
        "_+_",
        (
            Call("_*_", (Name("a", 1), Number(Fraction(1, 10), 5)), 3),
            Call("math.least", (Name("b", 22), Number(Fraction(2), 25)), 21),
        ),
        9,
    )
    assert names(tree) == {"a", "b"}
    assert parse("true") == Truth(True, 1)
    assert parse("-7") == Number(Fraction(-7), 1)


@settings(deadline=None)
@given(st.integers(0, 10**6 - 1), st.integers(1, 10**8 - 1))
def test_written_decimals_stay_exact(whole: int, tail: int) -> None:
    written = f"{whole}.{tail:08d}"
    number = parse(f"x + {written}")
    assert isinstance(number, Call)
    assert number.arguments[1] == Number(Fraction(written), 5)


@pytest.mark.parametrize(
    ("formula", "place"),
    [
        ("1 +", 4),
        ("台数 * 2", 1),
        ("", 1),
        ("[1, 2].all(x, x > 0)", 11),
        ("has(a.b)", 4),
        ("{'a': 1}", 1),
        ("a + 'x'", 5),
        ("2u + a", 1),
        ("a.b", 2),
        ("(a + b).c(1)", 10),
        ("a + 1e400", 5),
        ("a + 0.10000000000000001", 5),
        ("a + 9007199254740993e0", 5),
    ],
)
def test_what_is_no_formula_is_told_with_its_place(formula: str, place: int) -> None:
    with pytest.raises(Invalid) as refused:
        parse(formula, ("steps", "0", "formula"))
    assert f"第 {place} 个字符" in refused.value.text.zh
    assert f"character {place} " in refused.value.text.en
    assert refused.value.path == ("steps", "0", "formula")


@pytest.mark.parametrize(
    "formula", ["(" * 120 + "a" + ")" * 120, "-" + "(-" * 120 + "a" + ")" * 120, "+".join("a" * 200)]
)
def test_depth_ends_in_a_refusal(formula: str) -> None:
    with pytest.raises(Invalid, match="too deeply"):
        parse(formula)


def test_length_ends_in_a_refusal() -> None:
    with pytest.raises(Invalid, match="at most"):
        parse("a" * (LONGEST + 1))


@settings(deadline=None)
@given(st.text(max_size=60) | st.text("ab01.+-*/%()<>=!&|?:,[]{}'\"eu \n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tree = parse(text)
    except Invalid:
        return
    assert isinstance(tree, Call | Name | Number | Truth)
