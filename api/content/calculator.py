"""The ROI calculator of the content API: what a model takes, and one computation, of which nothing is stored."""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from api.content.shelf import Shown
from api.reads import global_id
from domain.kernel import Conflict, Invalid, Language, Text
from knowledge import bodies
from knowledge.roi import Computation, Computed, Given, Told, compute
from knowledge.roi_model import Model

INPUTS, DIGITS = 200, 60
NO_OBJECT = Text('正文须是 JSON：{"inputs": {"名称": 数}}', 'the body is JSON: {"inputs": {"name": number}}')


def model_of(row: Shown) -> Model:
    """The model that an entry holds.

    Raises Conflict for one of earlier days that is words alone.
    """
    try:
        return bodies.model_of(row.body)
    except Invalid as why:
        zh, en = f"该条目没有可计算的模型：{why.text.zh}", f"the entry holds no model that computes: {why.text.en}"
        raise Conflict(Text(zh, en), ("id",)) from None


def described(row: Shown, model: Model, language: Language) -> dict[str, Any]:
    """What a model takes and gives."""
    return {
        "id": global_id("KnowledgeItem", row.id), "version": row.number, "title": row.title, "language": row.language.value,
        "source": row.source, "licence": row.licence,
        "inputs": [
            {
                "key": each.key, "label": each.label.words(language), "unit": each.unit.name, "min": str(each.least), "max": str(each.most),
                "default": None if each.default is None else str(each.default), "question": each.question.words(language),
            }
            for each in model.inputs
        ],
        "results": [
            {"key": each.step, "label": each.label.words(language), "unit": each.unit.name, "decimals": each.decimals} for each in model.results
        ],
    }  # fmt: skip


def asked(body: bytes) -> dict[str, Given]:
    """The values that a request gives, exact as they are written.

    Raises Invalid, with the name, for what is no JSON of that form.
    """
    try:
        found = json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise Invalid(NO_OBJECT) from error
    given = found.get("inputs") if isinstance(found, dict) and found.keys() == {"inputs"} else None
    if not isinstance(given, dict) or len(given) > INPUTS:
        raise Invalid(NO_OBJECT, ("inputs",))
    return {key: Given(_number(key, value)) for key, value in given.items()}


def _number(key: str, value: Any) -> Decimal:
    if isinstance(value, str) and len(value) <= DIGITS:
        try:
            value = Decimal(value)
        except InvalidOperation:
            value = None
    if not isinstance(value, Decimal) or not value.is_finite():
        raise Invalid(Text(f"“{key}”须是数", f"“{key}” must be a number"), ("inputs", key))
    return value


def computed(model: Model, given: Mapping[str, Given], language: Language) -> tuple[Computation, dict[str, Any]]:
    """One computation, and how it is told: results, or what is missing and what was refused."""
    done = compute(model, given)
    if done.questions or done.refused:
        return done, {"missing": _told(done.questions, language), "refused": _told(done.refused, language)}
    taken = [
        {"key": each.key, "label": each.label.words(language), "unit": each.unit.name, "value": str(each.value), "from": each.source.value}
        for each in done.inputs
    ]  # fmt: skip
    return done, {"inputs": taken, "steps": _values(done.steps, language), "results": _values(done.results, language)}


def _told(told: tuple[Told, ...], language: Language) -> list[dict[str, str]]:
    return [{"key": each.key, "message": each.text.words(language)} for each in told]


def _values(values: tuple[Computed, ...], language: Language) -> list[dict[str, Any]]:
    return [
        {
            "key": each.key, "label": each.label.words(language), "unit": each.unit.name, "value": None if each.value is None else str(each.value),
            "words": each.words(language), "formula": each.formula or None,
        }
        for each in values
    ]  # fmt: skip
