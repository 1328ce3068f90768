"""Compiled lists: rows below a row, rows that statements make, and their pages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLObjectType,
)
from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    select,
)
from sqlalchemy.types import TypeEngine

from api.reads import sql
from api.reads.arguments import Given
from api.reads.compiling.pages import Page
from api.reads.compiling.pieces import (
    Asking,
    Piece,
    Row,
    is_connection,
    list_text,
    object_type,
    together,
)
from api.reads.compiling.records import Records
from api.reads.list_sources import Alike, Begin, Below, Input, Listed, Paged, Scope
from api.reads.shapes import Shape
from api.reads.sources import DEFAULT_NAMES
from api.reads.view import Order, View, by, key_types, read_cursor
from domain.kernel import below_visible


class Lists(Records):
    """Compiles lists of rows, whole, bounded or in pages."""

    def below_row(self, declared: GraphQLField, source: Below, details: list[FieldDetails], row: Row) -> Piece:
        """The rows of another type that hang on the row."""
        target, shape = source.target, row.shape
        is_seen = row.view.actor is self.actor and isinstance(shape, Shape)

        def conditions(view: View) -> list[ColumnElement[bool]]:
            same = [view.table.c[name] == value for name, value in source.where.items()]
            # The statement has let the row above through: what hangs on it often need not be asked for itself.
            seen = (
                below_visible(target.model, source.column, shape.model, self.actor, view.table)
                if is_seen
                else view.rows()
            )
            return [seen, view.table.c[source.column] == row.view.key, *same, row.view.shows(source.name)]

        if is_connection(declared):
            return self.connection(declared, details, source.target, source.order, conditions)
        given = self.arguments(declared, details)
        limit = self.size(given, "last") if "last" in given else None
        return self.rows(object_type(declared), details, source.target, source.order, conditions, limit)

    def rows(
        self,
        kind: GraphQLObjectType,
        details: list[FieldDetails],
        shape: Shape,
        order: Order,
        conditions: Callable[[View], list[ColumnElement[bool]]],
        limit: int | None,
    ) -> Piece:
        """A list of rows that meet the conditions, who sees them among these."""
        raw = self.view(shape)
        asked = together(conditions(raw))
        if asked is None:
            return Piece(sql.quoted("[]"))
        chosen = select(raw.table).where(*asked).order_by(*raw.order_by(order)).limit(limit)
        inner = chosen.correlate_except(raw.table).subquery()
        piece = self.object(kind, details, Row(shape, self.view(shape, inner)))
        return list_text(piece, inner)

    def _scope(self, row: Row) -> Scope:
        """The scope of what hangs on a row."""
        key = row.view.key
        return Scope(self.actor, self.language, lambda column: column == key, row.view.table)

    def values(self, inputs: Mapping[str, Input], given: Mapping[str, Given]) -> dict[str, Any]:
        """The arguments of a listing as its statement takes them."""
        return {
            name: self._put(one, given.get(DEFAULT_NAMES.apply_naming_config(name))) for name, one in inputs.items()
        }

    def _put(self, one: Input, given: Given | None) -> Any:
        if given is None or given.value is None:
            return None
        convert = one.convert or (lambda value: value)
        now = convert(given.value)
        if one.kind is None or now is None:
            return now
        read = given.read
        return self.slot(lambda asking: convert(read(asking.variables)), one.kind)

    def listed(self, declared: GraphQLField, source: Listed, details: list[FieldDetails], row: Row) -> Piece:
        """The rows that a statement makes, below the row."""
        scope, given = self._scope(row), self.arguments(declared, details)
        limit = self.size(given, "last") if source.last else None
        made = scope.within(source.rows(scope, **self.values(source.inputs, given)))
        return self.shown(declared, source, details, made.where(row.view.shows(source.name)), limit)

    def shown(
        self, declared: GraphQLField, source: Listed, details: list[FieldDetails], made: Select[Any], limit: int | None
    ) -> Piece:
        """The rows of a statement in their order."""
        rows = made.subquery()
        ordered = source.target.view(rows, self.actor, self.language).order_by(source.order)
        inner = select(rows).order_by(*ordered).limit(limit).subquery()
        view = source.target.view(inner, self.actor, self.language)
        piece = self.object(object_type(declared), details, Row(source.target, view))
        return list_text(piece, inner)

    def alike(self, declared: GraphQLField, source: Alike, details: list[FieldDetails], row: Row) -> Piece:
        """The records to which a statement leads from the row."""
        scope = self._scope(row)
        found = scope.within(source.rows(scope)).subquery()

        def conditions(view: View) -> list[ColumnElement[bool]]:
            return [view.rows(), view.key.in_(select(found.c.other)), row.view.shows(source.name)]

        kind = object_type(declared)
        return self.rows(kind, details, source.target, by("id"), conditions, source.most)

    def connection(
        self,
        declared: GraphQLField,
        details: list[FieldDetails],
        shape: Shape,
        order: Order,
        conditions: Callable[[View], list[ColumnElement[bool]]],
    ) -> Piece:
        """A page of the rows that meet the conditions, who sees them among these."""
        given = self.arguments(declared, details)
        first = self.size(given, "first")
        after = given.get("after")
        kinds = key_types(shape.model, order)
        values = self._cursor(kinds, order, after) if after is not None and after.value else None
        raw = self.view(shape)
        asked = together(conditions(raw))
        page = Page(self, declared, details, order, first, begins_after=values is not None)
        if asked is None:
            return page.empty()
        begun = asked if values is None else [*asked, raw.after(order, values)]

        def chosen(limit: int, *numbers: ColumnElement[Any]) -> Select[Any]:
            rows = select(raw.table, *numbers).where(*begun).order_by(*raw.order_by(order)).limit(limit)
            return rows.correlate_except(raw.table)

        return page.compiled(
            raw, chosen, lambda inner: Row(shape, self.view(shape, inner)), lambda: page.total(raw.table, asked)
        )

    def paged(self, declared: GraphQLField, source: Paged, details: list[FieldDetails], row: Row) -> Piece:
        """A page of the rows that a statement makes, below the row."""
        scope, given = self._scope(row), self.arguments(declared, details)
        first, after = self.size(given, "first"), given.get("after")
        values = self._cursor(source.kinds, source.order, after) if after is not None and after.value else None
        arguments = self.values(source.inputs, given)
        page = Page(self, declared, details, source.order, first, begins_after=values is not None)

        def made(begin: Begin) -> FromClause:
            return scope.within(source.rows(scope, begin, **arguments).where(row.view.shows(source.name))).subquery()

        target, begun = source.target, made(Begin(values, first + page.numbered))
        raw = target.view(begun, self.actor, self.language)

        def chosen(limit: int, *numbers: ColumnElement[Any]) -> Select[Any]:
            return select(begun, *numbers).order_by(*raw.order_by(source.order)).limit(limit)

        def shown(inner: FromClause) -> Row:
            return Row(target, target.view(inner, self.actor, self.language))

        return page.compiled(raw, chosen, shown, lambda: page.total(made(Begin()), []))

    def _cursor(self, types: Sequence[TypeEngine[Any]], order: Order, after: Given) -> list[Any]:
        """The key values of a cursor: null where they are now, parameters elsewhere."""
        read = after.read

        def value(number: int) -> Callable[[Asking], Any]:
            return lambda asking: read_cursor(types, order, read(asking.variables))[number]

        now = read_cursor(types, order, after.value)
        return [None if one is None else self.slot(value(number), types[number]) for number, one in enumerate(now)]
