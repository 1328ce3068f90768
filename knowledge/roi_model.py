"""The body of a ROI model as typed parts: inputs, steps, results and worked examples, names and units checked."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from domain.kernel.errors import Invalid, Text
from domain.kernel.expression import Name, Node, names, parse
from domain.kernel.values import Language, Money
from knowledge.formulas import Special, measured
from knowledge.units import Dimension, Unit, dimension_words, rounded, unit

# What a record may fill, and whether it is money (in its own currency), a count, or, None, whatever a field of the company's own holds.
_SOURCES = {
    "account.employees": "people",
    "account.annual_revenue": "money",
    "opportunity.amount": "money",
    "quote_total": "money",
    "order_total": "money",
    "product.list_price": "money",
    "account.custom.": None,
    "opportunity.custom.": None,
}
_LONGEST_TAIL = 24


@dataclass(frozen=True, slots=True)
class Input:
    """One named value that a model takes, in its unit and between its bounds."""

    key: str
    label: Text
    unit: Unit
    least: Decimal
    most: Decimal
    default: Decimal | None
    source: str | None
    question: Text


@dataclass(frozen=True, slots=True)
class Step:
    """One named formula; its value is rounded half up to `decimals` in its unit, and later steps take that value.

    Below `least`, where one is set, it has no meaning: there is no negative time to payback.
    """

    key: str
    label: Text
    unit: Unit
    decimals: int
    least: Decimal | None
    formula: str
    node: Node
    uses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One step that an answer shows, in a unit of its choice."""

    step: str
    label: Text
    unit: Unit
    decimals: int


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: inputs, and the shown results that they must give; None is what cannot be computed."""

    label: Text
    inputs: dict[str, Decimal]
    results: dict[str, Decimal | None]


@dataclass(frozen=True, slots=True)
class Model:
    """One checked ROI model, whose worked examples hold."""

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    results: tuple[Shown, ...]
    examples: tuple[Example, ...]


def assembled(body: dict[str, Any]) -> Model:
    """The model of a body that is valid by the schema; whether its worked examples hold is not yet known.

    Raises Invalid, with the path, for unknown or doubled names, units that do not go together, and contradicting bounds.
    """
    known: dict[str, Dimension] = {}
    inputs = tuple(_input(each, known, ("inputs", str(place))) for place, each in enumerate(body["inputs"]))
    steps = tuple(_step(each, known, ("steps", str(place))) for place, each in enumerate(body["steps"]))
    by_key = {each.key: each for each in steps}
    results = tuple(_shown(each, by_key, ("results", str(place))) for place, each in enumerate(body["results"]))
    _single([each.step for each in results])
    examples = tuple(
        Example(Text(**each["label"]), _decimals(each["inputs"]), _decimals(each["results"]))
        for each in body["examples"]
    )
    return Model(inputs, steps, results, examples)


def fits(each: Input, value: Decimal | Money) -> tuple[Decimal, Text | None]:
    """The amount of a value for an input, and what is wrong with it, if anything is."""
    if isinstance(value, Money):
        wanted = each.unit.name
        if value.currency != wanted:
            return value.amount, Text(
                f"“{each.label.zh}”须以 {wanted} 计，给的是 {value.currency}",
                f"“{each.label.en}” is in {wanted}, and {value.currency} was given",
            )
        value = value.amount
    if not value.is_finite():
        return Decimal(0), Text(f"“{each.label.zh}”必须是有限的数", f"“{each.label.en}” must be a finite number")
    if not each.least <= value <= each.most:
        bounds = _bounds(each.unit, each.least, each.most)
        return value, Text(f"“{each.label.zh}”须在 {bounds.zh} 之间", f"“{each.label.en}” must be from {bounds.en}")
    finest = each.unit.decimals
    # The tail is looked at before the value becomes a fraction: 1e-999999999 would be one without end.
    if int(value.as_tuple().exponent) < -_LONGEST_TAIL or rounded(Fraction(value), finest) != value:
        return value, Text(f"“{each.label.zh}”最多 {finest} 位小数", f"“{each.label.en}” has at most {finest} decimals")
    return value, None


def _bounds(measure: Unit, least: Decimal, most: Decimal) -> Text:
    def written(value: Decimal, language: Language) -> str:
        exponent = value.normalize().as_tuple().exponent
        return measure.written(value, max(0, -int(exponent)), language)

    zh, en = Language.ZH, Language.EN
    return Text(f"{written(least, zh)} 至 {written(most, zh)}", f"{written(least, en)} to {written(most, en)}")


def _input(body: dict[str, Any], known: dict[str, Dimension], path: tuple[str, ...]) -> Input:
    measure = unit(body["unit"], (*path, "unit"))
    _declare(body["key"], measure, known, path)
    label, least, most = Text(**body["label"]), Decimal(body["min"]), Decimal(body["max"])
    if least > most:
        raise Invalid(Text("下限大于上限", "min is above max"), (*path, "min"))
    default = Decimal(body["default"]) if "default" in body else None
    made = Input(
        body["key"],
        label,
        measure,
        least,
        most,
        default,
        body.get("from"),
        _question(body, label, measure, least, most),
    )
    if default is not None and (wrong := fits(made, default)[1]):
        raise Invalid(Text(f"默认值：{wrong.zh}", f"the default: {wrong.en}"), (*path, "default"))
    if made.source is not None:
        _check_source(made.source, measure, (*path, "from"))
    return made


def _question(body: dict[str, Any], label: Text, measure: Unit, least: Decimal, most: Decimal) -> Text:
    if "question" in body:
        return Text(**body["question"])
    bounds = _bounds(measure, least, most)
    return Text(f"请问{label.zh}是多少？（{bounds.zh}）", f"Please give: {label.en} ({bounds.en})")


def _check_source(source: str, measure: Unit, path: tuple[str, ...]) -> None:
    prefix = next(
        (
            each
            for each in _SOURCES
            if source == each or (each.endswith(".") and source.startswith(each) and source != each)
        ),
        None,
    )
    if prefix is None:
        listed = ", ".join(each + "…" if each.endswith(".") else each for each in _SOURCES)
        raise Invalid(
            Text(f"“{source}”不是可取数的记录字段；可用：{listed}", f"no record fills “{source}”; known are {listed}"),
            path,
        )
    kind = _SOURCES[prefix]
    fits = kind is None or (measure.currency == measure.name if kind == "money" else measure.name == kind)
    if not fits:
        raise Invalid(Text(f"“{source}”的单位不是 {measure.name}", f"“{source}” does not come in {measure.name}"), path)


def _step(body: dict[str, Any], known: dict[str, Dimension], path: tuple[str, ...]) -> Step:
    measure, where = unit(body["unit"], (*path, "unit")), (*path, "formula")
    node = parse(body["formula"], where)
    found = measured(node, known, where)
    if found is Special.TRUTH:
        raise Invalid(Text("公式的结果是条件，不是数", "the formula gives a condition, not a number"), where)
    if not isinstance(found, Special) and found != measure.dimension:
        zh = f"公式算出的单位是 {dimension_words(found)}，写的是 {measure.name}"
        raise Invalid(Text(zh, f"the formula gives {dimension_words(found)}, and the unit says {measure.name}"), where)
    _declare(body["key"], measure, known, path)
    decimals = int(body.get("decimals", measure.decimals))
    uses, least = tuple(sorted(names(node))), Decimal(body["min"]) if "min" in body else None
    return Step(body["key"], Text(**body["label"]), measure, decimals, least, body["formula"], node, uses)


def _shown(body: dict[str, Any], steps: dict[str, Step], path: tuple[str, ...]) -> Shown:
    step = steps.get(body["step"])
    if step is None:
        raise Invalid(unknown(body["step"]), (*path, "step"))
    measure = unit(body["unit"], (*path, "unit")) if "unit" in body else step.unit
    if measure.dimension != step.unit.dimension:
        raise Invalid(
            Text(f"{step.unit.name} 不能换算成 {measure.name}", f"{step.unit.name} is no {measure.name}"),
            (*path, "unit"),
        )
    label = Text(**body["label"]) if "label" in body else step.label
    return Shown(step.key, label, measure, int(body.get("decimals", min(step.decimals, 2))))


def _declare(key: str, measure: Unit, known: dict[str, Dimension], path: tuple[str, ...]) -> None:
    where = (*path, "key")
    if not isinstance(parse(key, where), Name) or key == "math":
        raise Invalid(Text(f"“{key}”是 CEL 的保留字", f"“{key}” is a reserved word of CEL"), where)
    if key in known:
        raise Invalid(Text(f"名称“{key}”用了两次", f"the name “{key}” is used twice"), where)
    known[key] = measure.dimension


def _single(keys: list[str]) -> None:
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise Invalid(Text(f"步骤“{key}”显示了两次", f"the step “{key}” is shown twice"), ("results", str(place)))


def unknown(key: str) -> Text:
    """What is told of a key that names nothing."""
    return Text(f"没有名为“{key}”的项", f"nothing is called “{key}”")


def _decimals(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if each is None else Decimal(each) for key, each in values.items()}
