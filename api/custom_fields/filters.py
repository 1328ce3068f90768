"""Filters by custom fields, on both databases."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import strawberry
from sqlalchemy import ColumnElement, Float, and_, false, or_, true
from sqlalchemy import cast as sql_cast

from api.context import Context
from api.custom_fields.kinds import CustomFieldKind
from api.custom_fields.values import declared
from api.mutations import given, text
from api.reads import View, matching
from api.scalars import JSON
from domain import custom_fields
from domain.custom_fields import KEY_LENGTH, FieldFact
from domain.kernel import Invalid, Text

FILTERS = 20
"""Conditions on custom fields in one filter, at most."""
VALUES = 100
"""Values of `oneOf`, at most."""


def _json(description: str, name: str | None = None) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description, name=name)


@strawberry.input(description="A condition on one custom field; what is given of it holds together.")
class CustomFieldFilter:
    """What one field must hold."""

    key: str = text("The field's key.", KEY_LENGTH, required=True)
    is_: JSON | None = _json("It holds exactly this.", "is")
    one_of: list[JSON] | None = _json("It holds one of these.")
    at_least: JSON | None = _json("It holds this or more: a number, a day, or an amount of this currency.")
    at_most: JSON | None = _json("It holds this or less: a number, a day, or an amount of this currency.")
    contains: str | None = text("It is a text with this part, upper and lower case alike.", 200)
    is_set: bool | None = _json("True: it holds something; false: it holds nothing.")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One condition of a filter: its name in the schema and its value."""

    name: str
    value: Any


def _asked(one: CustomFieldFilter) -> Iterator[_Asked]:
    names = {"is_": "is", "at_least": "atLeast", "at_most": "atMost", "contains": "contains", "is_set": "isSet"}
    for python_name, name in names.items():
        if given(value := getattr(one, python_name)) is not None:
            yield _Asked(name, value)
    yield from (_Asked("oneOf", value) for value in given(one.one_of) or ())


ORDERED = frozenset({CustomFieldKind.NUMBER, CustomFieldKind.DATE, CustomFieldKind.MONEY})


async def _check(filters: list[CustomFieldFilter], entity: str, context: Context) -> None:
    """Check the conditions against the declared fields."""
    if len(filters) > FILTERS:
        raise Invalid(Text(f"最多 {FILTERS} 个条件", f"{FILTERS} conditions at most"), ("filter", "custom"))
    fields = (await declared(context, [entity]))[entity]
    for one in filters:
        path = ("filter", "custom", one.key)
        if one.key not in fields:
            known = "、".join(fields) or "无", ", ".join(fields) or "none"
            words = (
                f"没有自定义字段“{one.key}”；现有：{known[0]}",
                f"no custom field “{one.key}”; there are: {known[1]}",
            )
            raise Invalid(Text(*words), path)
        if len(given(one.one_of) or ()) > VALUES:
            raise Invalid(Text(f"oneOf 最多 {VALUES} 个值", f"oneOf takes {VALUES} values at most"), (*path, "oneOf"))
        for asked in _asked(one):
            _check_one(fields[one.key], asked, (*path, asked.name))


def _check_one(field: FieldFact, asked: _Asked, path: tuple[str, ...]) -> None:
    wrong = (asked.name in {"atLeast", "atMost"} and field.kind not in ORDERED) or (
        asked.name == "contains" and field.kind is not CustomFieldKind.TEXT
    )
    if wrong:
        label = field.label
        words = Text(
            f"字段“{label.zh}”不能用 {asked.name} 筛选", f"the field “{label.en}” cannot be filtered by {asked.name}"
        )
        raise Invalid(words, path)
    # A retired choice can still be looked for.
    if asked.name not in {"contains", "isSet"} and field.kind is not CustomFieldKind.CHOICE:
        custom_fields.read_value(field, asked.value, path)


def _clause(view: View, filters: list[CustomFieldFilter]) -> ColumnElement[bool]:
    stored = view.column("custom")
    return and_(true(), *(_one(stored, one) for one in filters))


def _one(stored: ColumnElement[Any], one: CustomFieldFilter) -> ColumnElement[bool]:
    item, parts = stored[one.key], []
    for asked in _asked(one):
        match asked.name:
            case "contains":
                parts.append(item.as_string().icontains(asked.value, autoescape=True))
            case "isSet":
                words = item.as_string()
                parts.append(words.is_not(None) if asked.value else words.is_(None))
            case "oneOf":
                continue
            case _:
                parts.append(_compared(stored, one.key, asked))
    if given(one.one_of) is not None:
        parts.append(or_(false(), *(_compared(stored, one.key, _Asked("is", value)) for value in one.one_of or ())))
    return and_(true(), *parts)


def _compared(stored: ColumnElement[Any], key: str, asked: _Asked) -> ColumnElement[bool]:
    """A stored value against one of the same JSON type: a key never changes its kind."""
    value = asked.value
    if isinstance(value, dict):
        amount = sql_cast(stored[key, "amount"].as_string(), Float)
        same = stored[key, "currency"].as_string() == str(value["currency"]).upper()
        return and_(same, _measured(amount, asked.name, float(value["amount"])))
    if isinstance(value, bool):
        return cast("ColumnElement[bool]", stored[key].as_boolean() == value)
    if isinstance(value, int | float):
        return _measured(stored[key].as_float(), asked.name, float(value))
    return _measured(stored[key].as_string(), asked.name, value)


def _measured(held: Any, name: str, value: Any) -> ColumnElement[bool]:
    compare = {"is": operator.eq, "atLeast": operator.ge, "atMost": operator.le}[name]
    return cast("ColumnElement[bool]", compare(held, value))


def custom_filter() -> Any:
    """The filter by custom fields."""
    return matching(_clause, "Conditions on custom fields; all hold together.", check=_check)
