"""Compiled references: the one record that a column names, of one type or any."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLUnionType,
    get_named_type,
)
from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import (
    Cast,
    ColumnElement,
    False_,
    and_,
    case,
    func,
    null,
    select,
)
from sqlalchemy.sql.elements import Null

from api.reads import sql
from api.reads.compiling.pieces import Asking, Piece, Row, object_type, one, scalar
from api.reads.compiling.values import Values
from api.reads.shapes import Shape
from api.reads.sources import SHAPES, Part, ToAny, ToOne


class Records(Values):
    """Compiles fields that lead to other records."""

    def to_one(self, declared: GraphQLField, source: ToOne, details: list[FieldDetails], row: Row) -> Piece:
        """The record whose id a column holds."""
        id = row.view.column(source.columns[0], source.name)
        found = self.record(source.target, object_type(declared), details, id)
        return self.or_null(declared, found, row)

    def record(
        self, shape: Shape, kind: GraphQLObjectType, details: list[FieldDetails], id: ColumnElement[UUID]
    ) -> Piece:
        """The object of the record with an id; null where the reader does not see it."""
        view = self.view(shape)
        seen = view.rows()
        if isinstance(seen, False_) or isinstance(id, Null) or (isinstance(id, Cast) and isinstance(id.clause, Null)):
            return Piece(null())
        piece = self.object(kind, details, Row(shape, view))
        return Piece(one(piece.text, view.table, view.key == id, seen), piece.finish)

    def to_any(self, declared: GraphQLField, source: ToAny, details: list[FieldDetails], row: Row) -> Piece:
        """The record of any type that two columns name."""
        kind, id = (row.view.column(column, source.name) for column in source.columns)
        abstract = get_named_type(declared.type)
        assert isinstance(abstract, GraphQLInterfaceType | GraphQLUnionType)  # noqa: S101 - what such a field leads to
        shapes = [SHAPES[one.name] for one in self.schema.get_possible_types(abstract)]
        chosen = [shape for shape in shapes if source.kinds is None or shape.entity in source.kinds]
        return self.or_null(declared, self.any_record(chosen, details, kind, id), row)

    def any_record(
        self, shapes: Sequence[Shape], details: list[FieldDetails], kind: ColumnElement[Any], id: ColumnElement[Any]
    ) -> Piece:
        """The object of a record of one of several types; each type's text says which it is where that matters."""
        pieces = []
        for shape in shapes:
            concrete = self.schema.type_map[shape.name]
            assert isinstance(concrete, GraphQLObjectType)  # noqa: S101 - shapes stand for object types
            pieces.append((shape, self.record(shape, concrete, details, self.surviving(shape, id))))
        finishes = [piece.finish for _, piece in pieces]
        if any(finishes):
            texts = [sql.join(f"[{number},", piece.text, "]") for number, (_, piece) in enumerate(pieces)]
        else:
            texts = [piece.text for _, piece in pieces]
        whens = [(kind == shape.entity, text) for (shape, _), text in zip(pieces, texts, strict=True)]
        if not whens:
            return Piece(null())

        def finish(carried: Any, asking: Asking) -> Any:
            number, value = carried
            last = finishes[number]
            return value if last is None else last(value, asking)

        return Piece(case(*whens), finish if any(finishes) else None)

    @staticmethod
    def surviving(shape: Shape, id: ColumnElement[Any]) -> ColumnElement[Any]:
        """The id, or of a merged record the one of that into which it was merged: old links keep working."""
        if "merged_into_id" not in shape.model.__table__.c:
            return id
        gone = shape.model.__table__.alias()
        into = select(gone.c.merged_into_id).where(gone.c.id == id).correlate_except(gone).scalar_subquery()
        return func.coalesce(into, id)

    def part(self, declared: GraphQLField, source: Part, details: list[FieldDetails], row: Row) -> Piece:
        """The part of the object that a column numbers, or one value of it."""
        view = self.view(source.target)
        numbers = [row.view.column(column, source.name) for column in source.columns]
        number = numbers[0] if len(numbers) == 1 else func.coalesce(*numbers)
        own = Row(source.target, view)
        if source.show is None:
            piece = self.object(object_type(declared), details, own)
        else:
            text, last = scalar(get_named_type(declared.type), view.column(source.show, source.show), is_list=False)
            piece = Piece(text, last)
        wanted = and_(view.table.c[source.below] == row.view.key, view.table.c[source.number] == number)
        return self.or_null(declared, Piece(one(piece.text, view.table, wanted, view.rows()), piece.finish), row)
