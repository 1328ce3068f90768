"""Filters, declared on the fields of an input type: what each asks of the rows."""

from collections.abc import Awaitable, Callable
from typing import Any

import strawberry
from sqlalchemy import ColumnElement, and_, exists, false, func, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from strawberry.types.base import get_object_definition

from api.context import Context
from api.reads.ids import id_of, read_id
from api.reads.view import View

Clause = Callable[[View, Any, Context], ColumnElement[bool]]
"""What a filter's value asks of the rows of a view."""
Check = Callable[[Any, str, Context], Awaitable[None]]
"""What has to be looked up to know that a filter's value can be asked of the rows of an entity; it raises Invalid."""


def matching(clause: Clause, description: str, *, check: Check | None = None) -> Any:
    """A filter with a condition of its own."""
    metadata = {"clause": clause, "check": check}
    return strawberry.field(default=strawberry.UNSET, description=description, metadata=metadata)


def equals(column: str, description: str) -> Any:
    """A filter by equality; withheld values equal nothing."""
    return matching(lambda view, value, _context: view.column(column) == value, description)


def contains(column: str, description: str) -> Any:
    """A filter by a part of the text, upper and lower case alike."""
    return matching(lambda view, value, _context: view.column(column).icontains(value, autoescape=True), description)


def holds(column: str, description: str) -> Any:
    """A filter for lists that hold a text."""

    def clause(view: View, value: str, context: Context) -> ColumnElement[bool]:
        listed = view.column(column)
        if not context.database.embedded:
            return type_coerce(listed, JSONB).contains([value])
        entry = func.json_each(listed).table_valued("value")
        return exists(select(1).select_from(entry).where(entry.c.value == value))

    return matching(clause, description)


def names(entity: str, column: str, description: str) -> Any:
    """A filter by the global id of a related record; an id that names none matches nothing."""

    def clause(view: View, value: str, _context: Context) -> ColumnElement[bool]:
        id = id_of(entity, value)
        return false() if id is None else view.column(column) == id

    return matching(clause, description)


def names_any(kind_column: str, id_column: str, description: str) -> Any:
    """A filter by the global id of a record of any type."""

    def clause(view: View, value: str, _context: Context) -> ColumnElement[bool]:
        ref = read_id(value)
        if ref is None:
            return false()
        return and_(view.column(kind_column) == ref.kind, view.column(id_column) == ref.id)

    return matching(clause, description)


def since(column: str, description: str) -> Any:
    """A filter for instants at or after one."""
    return matching(lambda view, value, _context: view.column(column) >= value, description)


def until(column: str, description: str) -> Any:
    """A filter for instants before one."""
    return matching(lambda view, value, _context: view.column(column) < value, description)


async def check(given: Any, entity: str, context: Context) -> None:
    """Check the values of a filter that need something looked up.

    Raises Invalid for the first that cannot be asked of the entity.
    """
    for field in get_object_definition(given, strict=True).fields if given else ():
        value = getattr(given, field.python_name)
        if value and field.metadata.get("check"):
            await field.metadata["check"](value, entity, context)


def conditions(given: Any, view: View, context: Context) -> list[ColumnElement[bool]]:
    """What a filter's given values ask together; absent and null ones ask nothing."""
    if not given:
        return []
    asked = []
    for field in get_object_definition(given, strict=True).fields:
        value = getattr(given, field.python_name)
        if value is not None and value is not strawberry.UNSET:
            asked.append(field.metadata["clause"](view, value, context))
    return asked
