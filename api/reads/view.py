"""A class's table as one reader sees it: visible rows, masked columns, and keyset order over them."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, False_, FromClause, True_, and_, case, cast, literal, null, or_, true, tuple_
from sqlalchemy.types import TypeEngine

from api.scalars import instant_words
from domain.kernel import Actor, Base, Invalid, Language, Text, UtcDateTime, field_visible, rows_visible

_INT64 = 1 << 63


@dataclass(frozen=True)
class Key:
    """One column of an order."""

    column: str
    descending: bool


@dataclass(frozen=True)
class Order:
    """An order of rows, nulls last; one that pages ends in the id, which makes it total."""

    keys: tuple[Key, ...]

    @property
    def words(self) -> str:
        """The order in short, as `by` takes it."""
        return ",".join("-" * key.descending + key.column for key in self.keys)


def by(*keys: str) -> Order:
    """An order by columns; a minus in front of a name means descending."""
    return Order(tuple(Key(key.removeprefix("-"), key.startswith("-")) for key in keys))


@dataclass(frozen=True, eq=False)
class View:
    """One reader's view of a mapped class; `withheld` names the fields that a role may be refused, with their columns."""

    model: type[Base] | None
    """None for rows that a statement makes, which is written for its reader."""
    withheld: Mapping[str, tuple[str, ...]]
    table: FromClause
    actor: Actor
    language: Language

    def rows(self) -> ColumnElement[bool]:
        """The condition for the rows that the reader sees."""
        return self._rows

    @cached_property
    def _rows(self) -> ColumnElement[bool]:
        # Building the condition costs milliseconds where rules lead through other classes.
        if self.model is None:
            return true()
        return rows_visible(self.model, self.actor, self.table)

    def sees(self, field: str) -> ColumnElement[bool]:
        """The condition for rows on which the reader sees a field that may be withheld; literal where it can be."""
        if self.model is None:
            return true()
        return field_visible(self.model, field, self.actor, self.table)

    def shows(self, field: str) -> ColumnElement[bool]:
        """The condition for rows on which the reader sees a field of any kind."""
        return self.sees(field) if field in self.withheld else true()

    @property
    def key(self) -> ColumnElement[UUID]:
        """The id of the row, or its first column where it has none."""
        return self.table.c.id if "id" in self.table.c else next(iter(self.table.c))

    def column(self, name: str, field: str | None = None) -> ColumnElement[Any]:
        """A column, null where a field that it belongs to is withheld: the one given, or (for filters and orders) the first."""
        column = self.table.c[name]
        owner = field or self._field_of(name)
        if owner not in self.withheld:
            return column
        seen = self.sees(owner)
        if isinstance(seen, True_):
            return column
        return cast(null(), column.type) if isinstance(seen, False_) else case((seen, column))

    def type_of(self, name: str) -> TypeEngine[Any]:
        """The type of a column."""
        return self.table.c[name].type

    def _field_of(self, name: str) -> str:
        return next((field for field, columns in self.withheld.items() if name in columns), name)

    def nullable(self, name: str, field: str | None = None) -> bool:
        """Whether a column, as the reader sees it, can be null."""
        owner = field or self._field_of(name)
        hidden = owner in self.withheld and not isinstance(self.sees(owner), True_)
        return hidden or bool(getattr(self.table.c[name], "nullable", True))

    def order_by(self, order: Order) -> list[ColumnElement[Any]]:
        """The order's clauses; NULLS LAST only where nulls can be, so that plain indexes serve."""
        clauses: list[ColumnElement[Any]] = []
        for key in order.keys:
            column = self.column(key.column)
            directed = column.desc() if key.descending else column.asc()
            clauses.append(directed.nulls_last() if self.nullable(key.column) else directed)
        return clauses

    def after(self, order: Order, values: Sequence[Any]) -> ColumnElement[bool]:
        """The condition for rows that come after the one with these key values."""
        columns = [self.column(key.column) for key in order.keys]
        bound = [
            value if isinstance(value, ColumnElement) else literal(value, column.type)
            for value, column in zip(values, columns, strict=True)
        ]
        one_way = len({key.descending for key in order.keys}) == 1
        if one_way and not any(self.nullable(key.column) for key in order.keys):
            left, right = tuple_(*columns), tuple_(*bound)
            return left < right if order.keys[0].descending else left > right
        steps: list[ColumnElement[bool]] = []
        same: list[ColumnElement[bool]] = []
        for key, column, value, wanted in zip(order.keys, columns, values, bound, strict=True):
            if value is not None:
                later = column < wanted if key.descending else column > wanted
                beyond = or_(later, column.is_(None)) if self.nullable(key.column) else later
                steps.append(and_(*same, beyond))
            same.append(column.is_(None) if value is None else column == wanted)
        return or_(*steps)


@dataclass(frozen=True, eq=False)
class Slots(View):
    """A view of a part of a row: each of its columns is a column of the row outside or an expression over that."""

    outside: View
    field: str
    slots: Mapping[str, str | Callable[[View], ColumnElement[Any]]]

    def sees(self, field: str) -> ColumnElement[bool]:
        """The condition for rows on which the reader sees a field: what is withheld, the row outside withholds."""
        return true()

    def column(self, name: str, field: str | None = None) -> ColumnElement[Any]:
        """A column of the part."""
        slot = self.slots[name]
        if isinstance(slot, str):
            return self.outside.column(slot, self.field)
        seen, found = self.outside.shows(self.field), slot(self.outside)
        return found if isinstance(seen, True_) else case((seen, found))

    def nullable(self, name: str, field: str | None = None) -> bool:
        """Whether a column can be null, which nobody says of an expression."""
        return True

    @property
    def key(self) -> ColumnElement[UUID]:
        """The id of the row outside."""
        return self.outside.key


def write_cursor(order: Order, values: Sequence[Any]) -> str:
    """An opaque cursor: the order and a row's values of its keys."""
    words = orjson.dumps([order.words, *map(_plain, values)])
    return base64.urlsafe_b64encode(words).rstrip(b"=").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.hex
    return instant_words(value) if isinstance(value, datetime) else value


def key_types(model: type[Base], order: Order) -> list[TypeEngine[Any]]:
    """The types of an order's keys."""
    return [model.__table__.c[key.column].type for key in order.keys]


def read_cursor(types: Sequence[TypeEngine[Any]], order: Order, cursor: str) -> list[Any]:
    """The key values, of these types, in a cursor.

    Raises Invalid for one that this order did not write.
    """
    try:
        words, *values = _parts(cursor)
        if words != order.words:
            _refuse(words)
        return [_typed(value, key_type) for value, key_type in zip(values, types, strict=True)]
    except _UNREADABLE as error:
        raise Invalid(NO_CURSOR, ("after",)) from error


_UNREADABLE = (ValueError, TypeError, AttributeError, OverflowError, binascii.Error)
NO_CURSOR = Text("after 不是这个列表在当前排序下的游标", "after is no cursor of this list in this order")


def cursor_values(cursor: str) -> list[Any]:
    """The key values in a cursor of any order, as JSON has them.

    Raises Invalid for one that no order wrote.
    """
    try:
        _words, *values = _parts(cursor)
    except _UNREADABLE as error:
        raise Invalid(NO_CURSOR, ("after",)) from error
    return values


def _parts(cursor: str) -> list[Any]:
    padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
    parts: list[Any] = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    return parts


def _typed(value: Any, column_type: TypeEngine[Any]) -> Any:
    kind = datetime if isinstance(column_type, UtcDateTime) else column_type.python_type
    if value is None:
        return None
    if kind is datetime:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo is not None else _refuse(value)
    if kind is date:
        return date.fromisoformat(value)
    if kind is UUID:
        return UUID(hex=value)
    too_large = isinstance(value, int) and abs(value) >= _INT64
    return value if type(value) is kind and not too_large else _refuse(value)


def _refuse(value: Any) -> Any:
    raise ValueError(value)
