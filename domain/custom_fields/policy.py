"""What a custom field takes, how its values are stored and how they read: pure decisions."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from babel.dates import format_date
from babel.numbers import format_decimal

from domain.custom_fields.model import CustomFieldKind
from domain.kernel import Invalid, Language, Text, money

KEY_LENGTH, LABEL_LENGTH, DESCRIPTION_LENGTH, TEXT_LENGTH = 60, 100, 1000, 2000
CHOICE_LIMIT = 200
NUMBER_LIMIT = 10**15
"""Beyond this a number of JSON is no longer exact everywhere."""
_KEY = re.compile(rf"[a-z][a-z0-9_]{{0,{KEY_LENGTH - 1}}}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AMOUNT = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,10})?")

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a choice field with its labels; a retired one is still shown, and no longer taken."""

    key: str
    zh: str
    en: str
    retired: bool = False


@dataclass(frozen=True, slots=True)
class FieldFact:
    """A declared field as far as values are concerned."""

    key: str
    label: Text
    kind: CustomFieldKind
    choices: tuple[Choice, ...] = ()
    is_required: bool = False


def read_choices(stored: Iterable[Mapping[str, Any]]) -> tuple[Choice, ...]:
    """The choices of a field from their stored form."""
    return tuple(Choice(**choice) for choice in stored)


def read_value(field: FieldFact, value: Any, path: tuple[str, ...] = ()) -> Any:
    """The form in which a value is stored: JSON of the field's kind.

    Raises Invalid for a value of another kind, out of bounds, or not among the choices.
    """
    read, expected = _READERS[field.kind]
    found = read(value, path) if field.kind is CustomFieldKind.MONEY else read(value)
    if found is None:
        raise Invalid(_says(field, expected), path)
    if field.kind is CustomFieldKind.CHOICE and found not in _open(field):
        known = [f"{choice.zh}（{choice.key}）" for choice in field.choices if not choice.retired]
        choices = ", ".join(_open(field))
        words = Text(f"只能取：{'、'.join(known)}；收到“{value}”", f"takes one of {choices}; not “{value}”")
        raise Invalid(_says(field, words), path)
    return found


def _open(field: FieldFact) -> list[str]:
    return [choice.key for choice in field.choices if not choice.retired]


def _says(field: FieldFact, words: Text) -> Text:
    return Text(
        f"字段“{field.label.zh}”（{field.key}）{words.zh}", f"field “{field.label.en}” ({field.key}) {words.en}"
    )


def _read_text(value: Any) -> str | None:
    words = value.strip() if isinstance(value, str) else ""
    return words if 0 < len(words) <= TEXT_LENGTH and "\0" not in words else None


def _read_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if abs(value) < NUMBER_LIMIT else None


def _read_date(value: Any) -> str | None:
    try:
        return date.fromisoformat(value).isoformat() if isinstance(value, str) and _DATE.fullmatch(value) else None
    except ValueError:
        return None


def _read_boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _read_choice(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _read_money(value: Any, path: tuple[str, ...]) -> dict[str, str] | None:
    if not isinstance(value, dict) or value.keys() != {"amount", "currency"}:
        return None
    amount, currency = value["amount"], value["currency"]
    words = str(amount) if isinstance(amount, int | str) and not isinstance(amount, bool) else ""
    if not isinstance(currency, str) or not _AMOUNT.fullmatch(words):
        return None
    read = money(Decimal(words), currency, path)
    return {"amount": format(read.amount, "f"), "currency": read.currency}


_READERS: dict[CustomFieldKind, tuple[Callable[..., Any], Text]] = {
    CustomFieldKind.TEXT: (
        _read_text,
        Text(f"须为 1 到 {TEXT_LENGTH} 个字符的文本", f"takes a text of 1 to {TEXT_LENGTH} characters"),
    ),
    CustomFieldKind.NUMBER: (
        _read_number,
        Text("须为数字，且绝对值小于 1000 万亿", "takes a number below 10^15 in magnitude"),
    ),
    CustomFieldKind.DATE: (_read_date, Text("须为日期，写成 2026-03-02", "takes a date such as 2026-03-02")),
    CustomFieldKind.BOOLEAN: (_read_boolean, Text("须为 true 或 false", "takes true or false")),
    CustomFieldKind.CHOICE: (_read_choice, Text("须为选项的键", "takes the key of a choice")),
    CustomFieldKind.MONEY: (
        _read_money,
        Text(
            '须为金额，写成 {"amount": "1250000.00", "currency": "CNY"}',
            'takes money such as {"amount": "1250000.00", "currency": "CNY"}',
        ),
    ),
}


def words_of(field: FieldFact, value: Any, language: Language) -> str:
    """A stored value as its reader reads it."""
    locale = "zh_CN" if language is Language.ZH else "en_US"
    match field.kind:
        case CustomFieldKind.NUMBER:
            return str(format_decimal(value, format="#,##0.##########", locale=locale))
        case CustomFieldKind.DATE:
            return str(format_date(date.fromisoformat(value), format="medium", locale=locale))
        case CustomFieldKind.BOOLEAN:
            return (Text("是", "Yes") if value else Text("否", "No")).words(language)
        case CustomFieldKind.CHOICE:
            chosen = next((choice for choice in field.choices if choice.key == value), None)
            return value if chosen is None else Text(chosen.zh, chosen.en).words(language)
        case CustomFieldKind.MONEY:
            return money(Decimal(value["amount"]), value["currency"]).words(language)
        case CustomFieldKind.TEXT:
            return str(value)


def changed_values(
    fields: Mapping[str, FieldFact], current: Mapping[str, Any] | None, given: Mapping[str, Any], *, complete: bool
) -> Values | None:
    """The values of a record after taking in those given: null clears one, those left out stay; None for no values.

    `complete` asks for every required field. Raises Invalid, at `custom` and the key, for an unknown or retired key, a
    value that the field does not take, and a required field that is cleared or missing.
    """
    values = dict(current or {})
    for key, value in given.items():
        field = fields.get(key)
        if field is None:
            known = "、".join(fields) or "无", ", ".join(fields) or "none"
            words = Text(f"没有自定义字段“{key}”；现有：{known[0]}", f"no custom field “{key}”; there are: {known[1]}")
            raise Invalid(words, ("custom", key))
        values.pop(key, None)
        if value is not None:
            values[key] = read_value(field, value, ("custom", key))
        elif field.is_required:
            raise Invalid(_says(field, _REQUIRED), ("custom", key))
    missing = [field for field in fields.values() if field.is_required and field.key not in values]
    if complete and missing:
        raise Invalid(_says(missing[0], _REQUIRED), ("custom", missing[0].key))
    return values or None


_REQUIRED = Text("必填", "is required")


def check_key(key: str, path: tuple[str, ...]) -> None:
    """Check the form of a key.

    Raises Invalid where it is none.
    """
    if not _KEY.fullmatch(key):
        raise Invalid(
            Text(
                f"键“{key}”须以小写字母开头，只含小写字母、数字和下划线，不超过 {KEY_LENGTH} 个字符",
                f"the key “{key}” must begin with a lower-case letter and hold lower-case letters, digits and underscores, {KEY_LENGTH} at most",
            ),
            path,
        )


def check_label(label: Text, path: tuple[str, ...] = ()) -> None:
    """Check that there is a label in both languages, of bounded length.

    Raises Invalid for the first that is none.
    """
    for name, words in (("labelZh", label.zh), ("labelEn", label.en)):
        if not 0 < len(words.strip()) <= LABEL_LENGTH:
            text = Text(f"{name} 须为 1 到 {LABEL_LENGTH} 个字符", f"{name} takes 1 to {LABEL_LENGTH} characters")
            raise Invalid(text, (*path, name))


def check_choices(kind: CustomFieldKind, choices: Sequence[Choice]) -> None:
    """Check the choices of a field: some for a choice field, none for another, each once.

    Raises Invalid where they cannot be taken.
    """
    if (kind is CustomFieldKind.CHOICE) != bool(choices):
        raise Invalid(
            Text("选项字段需要选项，其他字段没有选项", "a choice field needs choices, and no other field has any"),
            ("choices",),
        )
    if len(choices) > CHOICE_LIMIT or len({choice.key for choice in choices}) < len(choices):
        words = Text(f"选项最多 {CHOICE_LIMIT} 个，键不能重复", f"{CHOICE_LIMIT} choices at most, each key once")
        raise Invalid(words, ("choices",))
    for position, choice in enumerate(choices):
        path = ("choices", str(position))
        check_key(choice.key, (*path, "key"))
        check_label(Text(choice.zh, choice.en), path)
