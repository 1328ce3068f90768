"""ROI models: named inputs with units and bounds, formulas in CEL, worked examples that hold; every figure is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from domain.kernel.errors import Invalid, Text
from domain.kernel.values import Language, Money
from knowledge.formulas import ZeroDivisor, value
from knowledge.roi_body import read_body
from knowledge.roi_model import Example, Model, Shown, Step, assembled, fits, unknown
from knowledge.units import Unit, rounded

_LARGEST = Fraction(10) ** 18


class Source(StrEnum):
    """Where the value of an input comes from; nothing else may fill one."""

    RECORD = "RECORD"
    ANSWER = "ANSWER"
    DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Given:
    """The value that an input is given, and by whom: a record or a person's answer."""

    value: Decimal | Money
    source: Source = Source.ANSWER


@dataclass(frozen=True, slots=True)
class Taken:
    """The value that an input was computed with, in its unit, and where it came from."""

    key: str
    label: Text
    unit: Unit
    value: Decimal
    source: Source


@dataclass(frozen=True, slots=True)
class Told:
    """What a person is told of one input or step: a question to answer, a value refused, why there is no result."""

    key: str
    text: Text


@dataclass(frozen=True, slots=True)
class Computed:
    """The value of one step or result; `value` is None where it is not computable, and `why` says so."""

    key: str
    label: Text
    unit: Unit
    decimals: int
    value: Decimal | None
    why: Text | None = None
    formula: str = ""
    uses: tuple[str, ...] = ()

    def words(self, language: Language) -> str:
        """The value as people write it, or why there is none."""
        if self.value is None:
            return self.why.words(language) if self.why else ""
        return self.unit.written(self.value, self.decimals, language)


@dataclass(frozen=True, slots=True)
class Computation:
    """What came of one computation: either what is to be asked or was refused, or inputs, steps and results."""

    questions: tuple[Told, ...] = ()
    refused: tuple[Told, ...] = ()
    inputs: tuple[Taken, ...] = ()
    steps: tuple[Computed, ...] = ()
    results: tuple[Computed, ...] = ()


def read_model(text: str) -> Model:
    """The ROI model of a body in YAML or JSON, checked whole.

    Raises Invalid, with the path, for what departs from the schema, unknown or doubled names, units that do not go together,
    bounds and defaults that contradict, and worked examples that do not hold.
    """
    model = assembled(read_body(text))
    for place, example in enumerate(model.examples):
        _hold(model, example, ("examples", str(place)))
    return model


def compute(model: Model, given: Mapping[str, Given]) -> Computation:
    """The computation of a model with what is given, defaults where nothing is.

    With an input missing it is the questions to ask; with one refused (unknown, not finite, out of bounds, another currency) what is
    wrong; else every step with its value. Work is bounded by the model's size: each formula's nodes are visited once, and values are
    rounded and limited in size between steps.
    """
    taken, questions, refused = (
        [],
        [],
        [Told(key, unknown(key)) for key in given.keys() - {each.key for each in model.inputs}],
    )
    for each in model.inputs:
        one = given.get(each.key) or (None if each.default is None else Given(each.default, Source.DEFAULT))
        if one is None:
            questions.append(Told(each.key, each.question))
            continue
        amount, wrong = fits(each, one.value)
        if wrong:
            refused.append(Told(each.key, wrong))
        taken.append(Taken(each.key, each.label, each.unit, amount, one.source))
    if questions or refused:
        return Computation(tuple(questions), tuple(sorted(refused, key=lambda told: told.key)))
    steps = _walk(model, {each.key: Fraction(each.value) * each.unit.factor for each in taken})
    return Computation(
        (), (), tuple(taken), tuple(steps.values()), tuple(_present(each, steps[each.step]) for each in model.results)
    )


def _walk(model: Model, values: dict[str, Fraction]) -> dict[str, Computed]:
    done: dict[str, Computed] = {}
    for step in model.steps:
        result, why = None, next((done[name].why for name in step.uses if name in done and done[name].why), None)
        if why is None:
            try:
                result, why = _rounded_step(step, Fraction(value(step.node, values)) / step.unit.factor)
            except ZeroDivisor as zero:
                why = _no_divisor(model, step, zero.names)
        if result is not None:
            values[step.key] = Fraction(result) * step.unit.factor
        done[step.key] = Computed(step.key, step.label, step.unit, step.decimals, result, why, step.formula, step.uses)
    return done


def _rounded_step(step: Step, exact: Fraction) -> tuple[Decimal | None, Text | None]:
    if abs(exact) >= _LARGEST:
        return None, Text(f"无法计算：“{step.label.zh}”的数太大", f"not computable: “{step.label.en}” is too large")
    figure = rounded(exact, step.decimals)
    if step.least is not None and figure < step.least:
        return None, Text(
            f"不成立：“{step.label.zh}”小于 {step.least}", f"does not apply: “{step.label.en}” is below {step.least}"
        )
    return figure, None


def _no_divisor(model: Model, step: Step, divisor: frozenset[str]) -> Text:
    """Why a step with a zero divisor has no value, with the inputs that the divisor comes from."""
    uses, found, waiting = {each.key: each.uses for each in model.steps}, set(), set(divisor)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(uses.get(name, ())) - found
    inputs = [each.label for each in model.inputs if each.key in found]
    zh, en = "、".join(each.zh for each in inputs), ", ".join(each.en for each in inputs)
    return Text(
        f"无法计算：“{step.label.zh}”的除数为零，取决于{zh}",
        f"not computable: the divisor of “{step.label.en}” is zero, which comes from: {en}",
    )


def _present(shown: Shown, step: Computed) -> Computed:
    if step.value is None:
        return Computed(shown.step, shown.label, shown.unit, shown.decimals, None, step.why)
    figure = rounded(Fraction(step.value) * step.unit.factor / shown.unit.factor, shown.decimals)
    return Computed(shown.step, shown.label, shown.unit, shown.decimals, figure, None, step.formula, step.uses)


def _hold(model: Model, example: Example, path: tuple[str, ...]) -> None:
    done = compute(model, {key: Given(amount) for key, amount in example.inputs.items()})
    for told in (*done.refused, *done.questions):
        raise Invalid(
            Text(f"算例缺少或写错输入：{told.text.zh}", f"the example’s inputs: {told.text.en}"),
            (*path, "inputs", told.key),
        )
    results = {each.key: each for each in done.results}
    for key, expected in example.results.items():
        if key not in results:
            raise Invalid(unknown(key), (*path, "results", key))
        if results[key].value != expected:
            zh, en = (results[key].words(language) for language in (Language.ZH, Language.EN))
            raise Invalid(
                Text(
                    f"算例不成立：写的是 {expected}，算出的是 {zh}",
                    f"the example does not hold: {expected} is written, computed is {en}",
                ),
                (*path, "results", key),
            )
