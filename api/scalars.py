"""Scalars and enums of the schema: read strictly, written in one place, described."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NewType

import strawberry
from graphql import FloatValueNode, IntValueNode, StringValueNode, ValueNode
from strawberry.types.scalar import ScalarDefinition

from domain.kernel import Invalid, Text

JSON = NewType("JSON", object)
"""Any JSON value."""

_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,10})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def instant_words(at: datetime) -> str:
    """An instant as every answer shows it: UTC, six digits of microseconds, Z."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_instant(value: object) -> datetime:
    """An instant from RFC 3339 text.

    Raises Invalid for anything else, a time without its zone included.
    """
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        at = at.astimezone(UTC) if at is not None and at.tzinfo is not None else None
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise Invalid(
            Text(
                "时间须写成 2026-03-02T09:30:00+08:00 的形式并带时区",
                "write a time as 2026-03-02T09:30:00+08:00, zone included",
            )
        )
    return at


def read_date(value: object) -> date:
    """A day from its ISO 8601 text.

    Raises Invalid for anything else.
    """
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise Invalid(Text("日期须写成 2026-03-02 的形式", "write a date as 2026-03-02"))


def read_decimal(value: object) -> Decimal:
    """An exact number from text such as "1250000.00", or from a whole number.

    Raises Invalid for a binary float, which is not exact, and for more than 20 digits before the point or 10 behind it.
    """
    words = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not _DECIMAL.fullmatch(words):
        raise Invalid(Text('数值须写成 "1250000.00" 形式的字符串', 'write a number as a string such as "1250000.00"'))
    return Decimal(words)


def _decimal_literal(node: ValueNode, _variables: dict[str, Any] | None = None) -> Decimal:
    return read_decimal(node.value if isinstance(node, IntValueNode | FloatValueNode | StringValueNode) else None)


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime", description="An instant in UTC with microseconds: 2026-03-02T01:30:00.000000Z. On input any zone, which must be given.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html", serialize=instant_words, parse_value=read_instant,
    ),
    date: strawberry.scalar(
        name="Date", description="A calendar day: 2026-03-02.", specified_by_url="https://scalars.graphql.org/andimarek/local-date.html",
        serialize=date.isoformat, parse_value=read_date,
    ),
    Decimal: strawberry.scalar(
        name="Decimal", description='An exact decimal number, as a string such as "1250000.00".', specified_by_url="https://speleotrove.com/decimal/daconvs.html",
        serialize=lambda value: format(value, "f"), parse_value=read_decimal, parse_literal=_decimal_literal,
    ),
    JSON: strawberry.scalar(
        name="JSON", description="Any JSON value.", specified_by_url="https://www.rfc-editor.org/rfc/rfc8259", serialize=lambda value: value, parse_value=lambda value: value,
    ),
}  # fmt: skip


def enum(kind: type[StrEnum], description: str, **values: str) -> None:
    """Register an enum of the domain with a description of itself and of each value.

    Raises ValueError when a value has none.
    """
    registered = strawberry.enum(kind, description=description)
    definition = registered.__strawberry_definition__  # type: ignore[attr-defined]
    if values.keys() != {value.name for value in definition.values}:
        raise ValueError(f"{kind.__name__}: describe every value, and no other: {sorted(values)}")
    for value in definition.values:
        value.description = values[value.name]
