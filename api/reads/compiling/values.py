"""Compiled values: columns, money, parts of the row, and what Python makes of columns."""

from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    get_named_type,
)
from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import (
    ColumnElement,
    True_,
    case,
    func,
    null,
)

from api.reads import sql
from api.reads.compiling.base import Base
from api.reads.compiling.pieces import (
    NULL,
    Asking,
    Finish,
    NotCompiled,
    Piece,
    Row,
    absent,
    between,
    is_list,
    object_type,
    once,
    scalar,
    unless_null,
)
from api.reads.ids import PREFIXES
from api.reads.sources import Column, Derived, Embedded, Expressed, Localized, LookedUp, MoneyOf
from domain.kernel import Language


class Values(Base):
    """Compiles fields whose value is the row's own."""

    def global_id(self, row: Row) -> ColumnElement[str]:
        """The row's global id."""
        return sql.join(f'"{PREFIXES[row.shape.entity]}_', sql.hexadecimal(row.view.key), '"')

    def column(self, declared: GraphQLField, source: Column, _details: list[FieldDetails], row: Row) -> Piece:
        """The value of a column."""
        return self._column(declared, row, source.columns[0], source.name)

    def localized(self, declared: GraphQLField, source: Localized, _details: list[FieldDetails], row: Row) -> Piece:
        """The text of the reader's language."""
        return self._column(declared, row, source.columns[self.language is Language.EN], source.name)

    def expressed(self, declared: GraphQLField, source: Expressed, _details: list[FieldDetails], row: Row) -> Piece:
        """What the database computes."""
        return self._value(declared, source.element(row.view), row, can_be_null=source.is_optional)

    def _column(self, declared: GraphQLField, row: Row, column: str, field: str) -> Piece:
        return self._value(declared, row.view.column(column, field), row, can_be_null=row.view.nullable(column, field))

    def _value(self, declared: GraphQLField, element: ColumnElement[Any], row: Row, *, can_be_null: bool) -> Piece:
        """A scalar, an enum, or a list of them."""
        text, finish = scalar(get_named_type(declared.type), element, is_list=is_list(declared))
        if can_be_null:
            text = func.coalesce(text, sql.refused(row.view.key) if isinstance(declared.type, GraphQLNonNull) else NULL)
        return Piece(text, finish)

    def or_null(self, declared: GraphQLField, found: Piece, row: Row) -> Piece:
        """A value that may be absent: null then, or no answer at all where the schema says that it never is."""
        instead: Any = sql.refused(row.view.key) if isinstance(declared.type, GraphQLNonNull) else NULL
        return Piece(func.coalesce(found.text, instead), unless_null(found.finish))

    def money(self, declared: GraphQLField, source: MoneyOf, details: list[FieldDetails], row: Row) -> Piece:
        """An amount and its currency."""
        minor, currency = source.elements(row.view)
        kind = object_type(declared)
        words = {"amount": sql.in_quotes(sql.amount(minor, currency)), "currency": sql.string(currency)}
        fields = self.below(kind, details)
        piece = self.fields(kind, fields, lambda _key, found: Piece(words[found[0].node.name.value]))
        absent = minor.is_(None) | currency.is_(None)
        plain = len(source.columns) == len(source.parts)
        if plain and not any(row.view.nullable(column, source.name) for column in source.columns):
            return piece
        return self.or_null(declared, Piece(case((absent, null()), else_=piece.text)), row)

    def derived(self, declared: GraphQLField, source: Derived, details: list[FieldDetails], row: Row) -> Piece:
        """The columns in the place of the value, which Python makes of them."""
        elements = source.elements(row.view)
        readers = [sql.reader(element.type) for element in elements]
        text = sql.join("[", *between(",", [sql.bare(element) for element in elements]), "]")
        serialise = self.serialised(declared.type, details)
        language, instead = self.language, absent(declared)

        def finish(carried: Any, asking: Asking) -> Any:
            values = [read(value) for read, value in zip(readers, carried, strict=True)]
            made = source.made(values, language)
            return serialise(made, asking) if made is not None else instead()

        return Piece(text, once(finish) if source.repeats else finish)

    def looked_up(self, declared: GraphQLField, source: LookedUp, details: list[FieldDetails], row: Row) -> Piece:
        """The columns in the place of the value; what Python needs beside them comes with the statement, once."""
        elements = source.elements(row.view)
        readers = [sql.reader(element.type) for element in elements]
        text = sql.join("[", *between(",", [sql.bare(element) for element in elements]), "]")
        serialise, language, key = self.serialised(declared.type, details), self.language, source.beside.key
        self.beside[key] = source.beside

        def finish(carried: Any, asking: Asking) -> Any:
            values = [read(value) for read, value in zip(readers, carried, strict=True)]
            if all(value is None for value in values):
                return []
            return serialise(source.build(language, asking.beside[key], *values), asking)

        return Piece(text, once(finish))

    def embedded(self, declared: GraphQLField, source: Embedded, details: list[FieldDetails], row: Row) -> Piece:
        """A part of the row as an object."""
        inside = source.inside(row.view)
        piece = self.object(object_type(declared), details, Row(source.target, inside))
        present = source.present(row.view)
        if isinstance(present, True_):
            return piece
        return self.or_null(declared, Piece(case((present, piece.text)), piece.finish), row)

    def serialised(self, kind: Any, details: list[FieldDetails]) -> Finish:
        """What writes a value of Python as the answer has it."""
        if isinstance(kind, GraphQLNonNull):
            return self.serialised(kind.of_type, details)
        if isinstance(kind, GraphQLList):
            one = self.serialised(kind.of_type, details)
            return lambda values, asking: None if values is None else [one(value, asking) for value in values]
        if isinstance(kind, GraphQLScalarType | GraphQLEnumType):
            return lambda value, _asking: None if value is None else kind.serialize(value)
        if not isinstance(kind, GraphQLObjectType):
            raise NotCompiled(str(kind))
        fields = [(key, self._attribute(kind, found)) for key, found in self.below(kind, details).items()]

        def write(value: Any, asking: Asking) -> Any:
            return None if value is None else {key: read(value, asking) for key, read in fields}

        return write

    def _attribute(self, kind: GraphQLObjectType, details: list[FieldDetails]) -> Finish:
        """One field of an object of Python."""
        name = details[0].node.name.value
        if name == "__typename":
            return lambda _value, _asking: kind.name
        declared = kind.fields[name]
        definition = declared.extensions["strawberry-definition"]
        worded = definition.metadata.get("worded")
        if definition.base_resolver is not None and worded is None:
            raise NotCompiled(f"{kind.name}.{name}")
        serialise = self.serialised(declared.type, details)
        if worded is not None:
            return lambda value, asking: serialise(worded(value, asking.context.language), asking)
        return lambda value, asking: serialise(getattr(value, definition.python_name), asking)
