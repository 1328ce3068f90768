"""Filters, declared on the fields of an input type: what each asks of the rows."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy import JSON, ColumnElement, Text, Uuid, and_, exists, func, literal, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine
from strawberry.types.base import get_object_definition

from api.context import Context
from api.reads.ids import id_of, read_id
from api.reads.view import View

Clause = Callable[..., ColumnElement[bool]]
"""What a filter asks of the rows of a view, given its value, or the values that it was converted into."""
Convert = Callable[[Any, Context], Any]
"""Makes of a filter's value what SQL compares with; a tuple where that is several values. Raises Invalid."""
Check = Callable[[Any, str, Context], Awaitable[None]]
"""What has to be looked up to know that a filter's value can be asked of the rows of an entity; it raises Invalid."""

NOBODY = UUID(int=0)
"""The id of no record."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter: its clause, the types of the values in it (of a column by its name), and how they are made.

    Without types the clause is given the value itself: a boolean or an enum, for which each value makes another statement.
    """

    clause: Clause
    kinds: tuple[TypeEngine[Any] | str, ...]
    convert: Convert | None
    check: Check | None

    def types(self, view: View) -> list[TypeEngine[Any]]:
        """The types of the values."""
        return [view.type_of(kind) if isinstance(kind, str) else kind for kind in self.kinds]

    def values(self, value: Any, context: Context) -> tuple[Any, ...]:
        """The values for SQL.

        Raises Invalid for one that cannot be asked.
        """
        found = self.convert(value, context) if self.convert else value
        return found if isinstance(found, tuple) else (found,)

    def asked(self, view: View, value: Any, context: Context) -> ColumnElement[bool]:
        """What the filter asks with a value."""
        values = self.values(value, context)
        if self.kinds:
            values = tuple(literal(one, kind) for one, kind in zip(values, self.types(view), strict=True))
        return self.clause(view, *values)


def matching(
    clause: Clause,
    description: str,
    *kinds: TypeEngine[Any] | str,
    convert: Convert | None = None,
    check: Check | None = None,
) -> Any:
    """A filter with a condition of its own."""
    metadata = {"condition": Condition(clause, kinds, convert, check)}
    return strawberry.field(default=strawberry.UNSET, description=description, metadata=metadata)


def equals(column: str, description: str) -> Any:
    """A filter by equality; withheld values equal nothing."""
    return matching(lambda view, value: view.column(column) == value, description, column)


def _pattern(value: str, _context: Context) -> str:
    for special in "/%_":
        value = value.replace(special, f"/{special}")
    return f"%{value}%"


def contains(column: str, description: str) -> Any:
    """A filter by a part of the text, upper and lower case alike."""
    return contains_in((column,), description)


def contains_in(columns: tuple[str, ...], description: str) -> Any:
    """A filter by a part of any of several texts, upper and lower case alike."""

    def clause(view: View, pattern: ColumnElement[str]) -> ColumnElement[bool]:
        low = func.lower(pattern)
        return or_(*(func.lower(view.column(column)).like(low, escape="/") for column in columns))

    return matching(clause, description, Text(), convert=_pattern)


class _Holds(FunctionElement[bool]):
    """Whether a JSON list holds a text."""

    inherit_cache = True


@compiles(_Holds, "postgresql")
def _holds_in_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    listed, value = element.clauses
    return str(compiler.process(type_coerce(listed, JSONB).contains(func.jsonb_build_array(value)), **options))


@compiles(_Holds, "sqlite")
def _holds_in_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    listed, value = element.clauses
    entry = func.json_each(type_coerce(listed, JSON)).table_valued("value")
    return str(compiler.process(exists(select(1).select_from(entry).where(entry.c.value == value)), **options))


def holds(column: str, description: str) -> Any:
    """A filter for lists that hold a text."""

    def clause(view: View, value: ColumnElement[str]) -> ColumnElement[bool]:
        return _Holds(view.column(column), value)

    return matching(clause, description, Text())


def names(entity: str, column: str, description: str) -> Any:
    """A filter by the global id of a related record; an id that names none matches nothing."""

    def convert(value: str, _context: Context) -> UUID:
        return id_of(entity, value) or NOBODY

    return matching(lambda view, wanted: view.column(column) == wanted, description, Uuid(), convert=convert)


def names_any(kind_column: str, id_column: str, description: str) -> Any:
    """A filter by the global id of a record of any type."""

    def convert(value: str, _context: Context) -> tuple[str, UUID]:
        ref = read_id(value)
        return ("", NOBODY) if ref is None else (ref.kind, ref.id)

    def clause(view: View, kind: ColumnElement[str], id: ColumnElement[UUID]) -> ColumnElement[bool]:
        return and_(view.column(kind_column) == kind, view.column(id_column) == id)

    return matching(clause, description, kind_column, Uuid(), convert=convert)


def since(column: str, description: str) -> Any:
    """A filter for instants at or after one."""
    return matching(lambda view, value: view.column(column) >= value, description, column)


def until(column: str, description: str) -> Any:
    """A filter for instants before one."""
    return matching(lambda view, value: view.column(column) < value, description, column)


async def check(given: Any, entity: str, context: Context) -> None:
    """Check the values of a filter that need something looked up.

    Raises Invalid for the first that cannot be asked of the entity.
    """
    for field in get_object_definition(given, strict=True).fields if given else ():
        value = getattr(given, field.python_name)
        condition: Condition = field.metadata["condition"]
        if value and condition.check:
            await condition.check(value, entity, context)


def conditions(given: Any, view: View, context: Context) -> list[ColumnElement[bool]]:
    """What a filter's given values ask together; absent and null ones ask nothing."""
    if not given:
        return []
    asked = []
    for field in get_object_definition(given, strict=True).fields:
        value = getattr(given, field.python_name)
        if value is not None and value is not strawberry.UNSET:
            condition: Condition = field.metadata["condition"]
            asked.append(condition.asked(view, value, context))
    return asked
