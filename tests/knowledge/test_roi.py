"""ROI models: what is taken at save, what is computed, asked and told; Chinese first."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.kernel.errors import Invalid
from domain.kernel.values import Language, Money
from knowledge import roi_body
from knowledge.roi import Computation, Given, Source, compute, read_model
from knowledge.roi_model import Model

MODELS = sorted((Path(__file__).parents[2] / "demo" / "roi_models").glob("*.yaml"))


def body(**changed: Any) -> dict[str, Any]:
    """A small model of overtime that a machine saves, with parts of it replaced."""
    return {
        "inputs": [
            {
                "key": "overtime",
                "label": {"zh": "每月加班", "en": "overtime a month"},
                "unit": "hours/months",
                "min": 0,
                "max": 1000,
            },
            {
                "key": "wage",
                "label": {"zh": "加班工时单价", "en": "overtime wage"},
                "unit": "CNY/hours",
                "min": 0,
                "max": 500,
                "default": 60,
            },
            {
                "key": "price",
                "label": {"zh": "设备款", "en": "price"},
                "unit": "CNY",
                "min": 0,
                "max": 9000000,
                "from": "opportunity.amount",
            },
        ],
        "steps": [
            {
                "key": "saving",
                "label": {"zh": "年节省", "en": "saving a year"},
                "unit": "CNY/years",
                "decimals": 2,
                "formula": "overtime * wage",
            },
            {
                "key": "payback",
                "label": {"zh": "回收期", "en": "payback"},
                "unit": "months",
                "formula": "price / saving",
            },
        ],
        "results": [{"step": "saving"}, {"step": "payback", "unit": "years"}],
        "examples": [
            {
                "label": {"zh": "某县医院", "en": "A county hospital"},
                "inputs": {"overtime": 58, "price": 83520},
                "results": {"saving": 41760, "payback": 2},
            }
        ],
    } | changed


def written(content: dict[str, Any]) -> str:
    # By way of JSON, so that what stands twice is written twice and not as an alias.
    return yaml.safe_dump(orjson.loads(orjson.dumps(content)), allow_unicode=True, sort_keys=False)


def model(**changed: Any) -> Model:
    return read_model(written(body(**changed)))


def step(formula: str, unit: str = "CNY", **more: Any) -> dict[str, Any]:
    return {"key": "saving", "label": {"zh": "年节省", "en": "saving"}, "unit": unit, "formula": formula} | more


def only_step(formula: str, unit: str = "CNY", **more: Any) -> dict[str, Any]:
    """A body with this one step, and no claim of its example that it does not make."""
    example = {
        "label": {"zh": "例", "en": "example"},
        "inputs": {"overtime": 0, "price": 0},
        "results": {"saving": more.pop("gives", 0)},
    }
    return body(steps=[step(formula, unit, **more)], results=[{"step": "saving"}], examples=[example])


def answers(**values: str) -> dict[str, Given]:
    return {key: Given(Decimal(value)) for key, value in values.items()}


def refusal(content: dict[str, Any] | str) -> Invalid:
    with pytest.raises(Invalid) as refused:
        read_model(content if isinstance(content, str) else written(content))
    assert refused.value.text.zh
    return refused.value


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_models_of_the_demo_company_hold(path: Path) -> None:
    read = read_model(path.read_text("utf-8"))
    assert read.examples
    assert compute(read, {}).questions


def test_there_is_one_for_every_entry_of_the_kind() -> None:
    assert len(MODELS) == 7


def test_an_answer_can_show_how_it_came_about() -> None:
    done = compute(model(), answers(overtime="58", price="83520"))
    assert [each.words(Language.ZH) for each in done.results] == ["¥41,760.00/年", "2.00 年"]
    assert [each.words(Language.EN) for each in done.results] == ["CN¥41,760.00/year", "2.00 years"]
    assert [(each.key, each.value, each.formula, each.uses) for each in done.steps] == [
        ("saving", Decimal("41760.00"), "overtime * wage", ("overtime", "wage")),
        ("payback", Decimal(24), "price / saving", ("price", "saving")),
    ]
    assert [(each.key, each.value, each.source) for each in done.inputs] == [
        ("overtime", Decimal(58), Source.ANSWER),
        ("wage", Decimal(60), Source.DEFAULT),
        ("price", Decimal(83520), Source.ANSWER),
    ]


def test_a_record_fills_money_in_its_own_currency_only() -> None:
    given_ = answers(overtime="58") | {"price": Given(Money(8352000, "CNY"), Source.RECORD)}
    assert compute(model(), given_).inputs[2].value == Decimal(83520)
    refused = compute(model(), given_ | {"price": Given(Money(100, "USD"), Source.RECORD)})
    assert refused.refused[0].text.zh == "“设备款”须以 CNY 计，给的是 USD"
    assert not refused.results


def test_what_is_missing_is_asked_and_nothing_is_guessed() -> None:
    asked = compute(model(), {})
    assert [(each.key, each.text.zh) for each in asked.questions] == [
        ("overtime", "请问每月加班是多少？（0 小时/月 至 1,000 小时/月）"),
        ("price", "请问设备款是多少？（¥0 至 ¥9,000,000）"),
    ]
    assert asked.questions[1].text.en == "Please give: price (CN¥0 to CN¥9,000,000)"
    assert (asked.inputs, asked.steps, asked.results) == ((), (), ())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("1000.5", "“每月加班”须在 0 小时/月 至 1,000 小时/月 之间"),
        ("-1", "“每月加班”须在 0 小时/月 至 1,000 小时/月 之间"),
        ("NaN", "“每月加班”必须是有限的数"),
        ("Infinity", "“每月加班”必须是有限的数"),
        ("1e-999999", "“每月加班”最多 12 位小数"),
        ("1e999999", "“每月加班”须在 0 小时/月 至 1,000 小时/月 之间"),
    ],
)
def test_a_value_that_does_not_fit_is_told(value: str, told: str) -> None:
    done = compute(model(), answers(overtime=value, price="1"))
    assert [each.text.zh for each in done.refused] == [told]
    assert done.results == ()


def test_money_finer_than_a_minor_unit_and_unknown_inputs_are_told() -> None:
    done = compute(model(), answers(overtime="1", price="0.001", color="1"))
    assert [(each.key, each.text.zh) for each in done.refused] == [
        ("color", "没有名为“color”的项"),
        ("price", "“设备款”最多 2 位小数"),
    ]


def test_a_zero_divisor_is_not_computable_and_says_which_inputs() -> None:
    done = compute(model(), answers(overtime="0", price="1"))
    payback = done.results[1]
    assert payback.value is None
    assert payback.words(Language.ZH) == "无法计算：“回收期”的除数为零，取决于每月加班、加班工时单价"
    assert (
        payback.words(Language.EN)
        == "not computable: the divisor of “payback” is zero, which comes from: overtime a month, overtime wage"
    )
    assert done.results[0].value == 0


def test_what_needs_a_value_that_is_not_computable_says_the_same() -> None:
    steps = [
        *body()["steps"],
        {"key": "half", "label": {"zh": "一半", "en": "half"}, "unit": "months", "formula": "payback / 2"},
    ]
    done = compute(
        model(steps=steps, results=[{"step": "saving"}, {"step": "payback", "unit": "years"}, {"step": "half"}]),
        answers(overtime="0", price="1"),
    )
    assert done.results[2].why == done.results[1].why is not None


def test_below_its_least_a_step_does_not_apply() -> None:
    done = compute(read_model(written(NEGATIVE)), answers(loss="5"))
    assert done.results[0].words(Language.ZH) == "不成立：“回收期”小于 0"
    assert done.results[0].words(Language.EN) == "does not apply: “payback” is below 0"


NEGATIVE = {
    "inputs": [{"key": "loss", "label": {"zh": "亏损", "en": "loss"}, "unit": "CNY/months", "min": 0, "max": 10}],
    "steps": [
        {
            "key": "payback",
            "label": {"zh": "回收期", "en": "payback"},
            "unit": "CNY/months",
            "min": 0,
            "formula": "-loss",
        }
    ],
    "results": [{"step": "payback"}],
    "examples": [{"label": {"zh": "例", "en": "e"}, "inputs": {"loss": 0}, "results": {"payback": 0}}],
}


@pytest.mark.parametrize(
    ("formula", "unit", "told"),
    [
        ("overtime + price", "CNY", "公式第 10 个字符处：单位不合：hours/months 与 CNY 不能放在一起"),
        ("overtime > price ? price : price", "CNY", "公式第 10 个字符处：单位不合：hours/months 与 CNY 不能放在一起"),
        ("price + 1", "CNY", "公式第 7 个字符处：单位不合：CNY 与 number 不能放在一起"),
        ("price * wage", "CNY", "公式算出的单位是 CNY^2/hours，写的是 CNY"),
        ("price", "USD", "公式算出的单位是 CNY，写的是 USD"),
        ("prise", "CNY", "公式第 1 个字符处：没有名为“prise”的输入或前面的步骤"),
        ("saving + price", "CNY", "公式第 1 个字符处：没有名为“saving”的输入或前面的步骤"),
        ("price / 0", "CNY", "公式第 7 个字符处：除数是零"),
        ("price > 0", "CNY", "公式的结果是条件，不是数"),
        ("price ? price : price", "CNY", "公式第 7 个字符处：这里要的是条件（比较的结果）"),
        ("(price > 0) + (wage > 0)", "CNY", "公式第 13 个字符处：条件不能当数来算"),
        ("pow(price, 9)", "CNY", "公式第 4 个字符处：没有这样的函数或运算“pow”"),
        ("price % 2", "CNY", "公式第 7 个字符处：没有这样的函数或运算“_%_”"),
    ],
)
def test_formulas_are_checked_when_saved(formula: str, unit: str, told: str) -> None:
    refused = refusal(only_step(formula, unit))
    assert (refused.text.zh, refused.path) == (told, ("steps", "0", "formula"))


@pytest.mark.parametrize(
    ("formula", "unit", "gives"),
    [
        ("price > 0 ? price / price * price : price", "CNY", 0),
        ("math.greatest(price, 0)", "CNY", 0),
        ("math.ceil(1 / 3)", "number", 1),
        ("math.floor(-7 / 2)", "number", -4),
        ("7 / 2", "percent", 350),
        ("true && !(price > 0) || price / price > 1 ? 2 : 1", "number", 2),
        ("math.abs(0.1 + 0.2 - 0.3)", "number", 0),
        ("2.5 * 0.002", "number", Decimal("0.01")),
    ],
)
def test_formulas_give_exact_values(formula: str, unit: str, gives: Decimal) -> None:
    read_model(written(only_step(formula, unit, gives=float(gives))))


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"inputs": []}, ("inputs",)),
        ({"color": 1}, ()),
        ({"inputs": [{**body()["inputs"][0], "unit": "fathoms"}]}, ("inputs", "0", "unit")),
        ({"inputs": [{**body()["inputs"][0], "unit": "CNY/CNY"}]}, ("inputs", "0", "unit")),
        ({"inputs": [{**body()["inputs"][0], "key": "in"}]}, ("inputs", "0", "key")),
        ({"inputs": [{**body()["inputs"][0], "key": "Überstunden"}]}, ("inputs", "0", "key")),
        ({"inputs": [body()["inputs"][0]] * 2}, ("inputs", "1", "key")),
        ({"inputs": [{**body()["inputs"][0], "min": 2, "max": 1}]}, ("inputs", "0", "min")),
        ({"inputs": [{**body()["inputs"][0], "default": -1}]}, ("inputs", "0", "default")),
        ({"inputs": [{**body()["inputs"][0], "from": "opportunity.amount"}]}, ("inputs", "0", "from")),
        ({"inputs": [{**body()["inputs"][0], "from": "contact.salary"}]}, ("inputs", "0", "from")),
        ({"results": [{"step": "ghost"}]}, ("results", "0", "step")),
        ({"results": [{"step": "payback", "unit": "hours"}]}, ("results", "0", "unit")),
        ({"results": [{"step": "payback"}] * 2}, ("results", "1")),
        ({"examples": []}, ("examples",)),
        (
            {"examples": [{**body()["examples"][0], "results": {"saving": 41761}}]},
            ("examples", "0", "results", "saving"),
        ),
        ({"examples": [{**body()["examples"][0], "results": {"ghost": 1}}]}, ("examples", "0", "results", "ghost")),
        ({"examples": [{**body()["examples"][0], "inputs": {"overtime": 58}}]}, ("examples", "0", "inputs", "price")),
        (
            {"examples": [{**body()["examples"][0], "inputs": {"overtime": -1, "price": 1}}]},
            ("examples", "0", "inputs", "overtime"),
        ),
    ],
)
def test_a_body_that_contradicts_itself_says_where(changed: dict[str, Any], path: tuple[str, ...]) -> None:
    assert refusal(body(**changed)).path == path


@pytest.mark.parametrize(
    "text",
    [
        "", "只是一句话", "[1, 2", "{" * 5000, "[" * 5000, "a: &x [1]\nb: *x", "a: !!python/name:os.system x", "a: !!float 1", "a: 1\na: 2",
        '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": 1e999999999}', "a: 1e-99", '{"a": ' + "9" * 5000 + "}", "\x00", "x" * (roi_body.LONGEST + 1),
    ],
)  # fmt: skip
def test_what_is_no_body_is_refused(text: str) -> None:
    refusal(text)


def test_json_is_taken_as_yaml_is() -> None:
    assert read_model(orjson.dumps(body()).decode()) == model()


quantities = st.decimals(-5, 1500, places=2, allow_nan=False)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(["overtime", "wage", "price", "color"]), quantities))
def test_bounds_are_kept_and_results_follow_the_formulas(values: dict[str, Decimal]) -> None:
    read = model()
    done = compute(read, {key: Given(value) for key, value in values.items()})
    fit = all(
        key in bounds(read) and bounds(read)[key][0] <= value <= bounds(read)[key][1] for key, value in values.items()
    )
    complete = {"overtime", "price"} <= values.keys()
    assert bool(done.refused) == (not fit)
    assert bool(done.questions) == (not complete)
    assert bool(done.results) == (fit and complete)
    if done.results:
        yearly = Fraction(values["overtime"]) * 12 * Fraction(values.get("wage", Decimal(60)))
        assert done.steps[0].value == round_half_up(yearly)
        assert (done.steps[1].value is None) == (done.steps[0].value == 0)


def bounds(read: Model) -> dict[str, tuple[Decimal, Decimal]]:
    return {each.key: (each.least, each.most) for each in read.inputs}


def round_half_up(value: Fraction) -> Decimal:
    cents = (value * 100 + Fraction(1, 2)).__floor__()
    return Decimal(cents) / 100


names = st.sampled_from(["overtime", "wage", "price", "0", "1", "0.5", "12"])
formulas = st.recursive(
    names,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({''.join(parts)})"),
        st.tuples(inner, inner).map(lambda parts: f"math.least({parts[0]}, {parts[1]})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} > {parts[1]} ? {parts[2]} : {parts[0]})"),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(formulas, st.sampled_from(["CNY", "number", "CNY/hours", "hours/months", "months"]), quantities, quantities)
def test_any_formula_is_refused_or_computes_to_an_end(
    formula: str, unit: str, overtime: Decimal, price: Decimal
) -> None:
    try:
        read = read_model(written(only_step(formula, unit)))
    except Invalid:
        return
    done: Computation = compute(read, {"overtime": Given(overtime), "price": Given(price)})
    for each in done.results:
        assert (each.value is None) == (each.why is not None)


def test_values_cannot_grow_without_end() -> None:
    """Sixty squarings in a row would be a number of 2^60 digits; it ends as soon as a step is too large."""
    square = [step("price * price / price * 1000000 + price", "CNY")]
    for place in range(59):
        before = f"s{place - 1}" if place else "saving"
        square.append(step(f"{before} * {before} / price * 999999", "CNY") | {"key": f"s{place}"})
    done = compute(
        model(steps=square, results=[{"step": "saving"}], examples=[SMALL]), answers(overtime="1", price="9000000")
    )
    assert done.steps[0].value == Decimal(9000009000000)
    assert all(each.value is None for each in done.steps[1:])
    assert done.steps[59].why is not None
    assert "数太大" in done.steps[59].why.zh


SMALL = {"label": {"zh": "例", "en": "e"}, "inputs": {"overtime": 1, "price": 1}, "results": {"saving": 1000001}}
