"""The compiler: one GraphQL operation becomes one SQL statement whose one row carries the text of the answer."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLField,
    GraphQLObjectType,
    OperationType,
    get_named_type,
)
from graphql.execution.collect_fields import FieldDetails, collect_fields
from sqlalchemy import (
    ColumnElement,
    Uuid,
    func,
    literal,
    true,
)

from api.reads import sql
from api.reads.arguments import Given
from api.reads.compiling.lists import Lists
from api.reads.compiling.pieces import (
    NULL,
    Asking,
    Change,
    Draft,
    NotCompiled,
    PayloadField,
    Piece,
    Row,
    as_input,
    changed,
    is_list,
    object_type,
    one,
    source_of,
    unless_null,
)
from api.reads.filters import NOBODY, Condition
from api.reads.ids import read_id
from api.reads.list_sources import NO_SIGHT, Alike, Below, Chosen, Listed, Paged, Scope, Whole
from api.reads.sources import (
    SHAPES,
    ByGlobalId,
    Column,
    Deferred,
    Derived,
    Embedded,
    Expressed,
    Gathered,
    Localized,
    LookedUp,
    MoneyOf,
    Own,
    Part,
    Source,
    ToAny,
    ToOne,
)
from api.reads.view import View
from domain.kernel import SYSTEM, Forbidden, may_read


class Compiler(Lists):
    """Compiles one operation for one stand-in of a reader, as far as the values of its variables make another plan."""

    def query(self) -> Draft:
        """Compile a query.

        Raises NotCompiled for one that is left to the resolvers.
        """
        kind = self.schema.query_type
        if self.operation.operation is not OperationType.QUERY or kind is None:
            raise NotCompiled(self.operation.operation.value)
        fields = collect_fields(self.schema, self.fragments, self.variables, kind, self.operation).grouped_field_set
        piece = self.fields(kind, fields, lambda name, details: self._root(kind, name, details))
        return Draft(piece.text, piece.finish, self.refused, self.beside)

    def mutation(self) -> list[Change]:
        """Compile what is read once each root of a mutation is done.

        Raises NotCompiled, before anything is executed, for one whose payload is left to the resolvers.
        """
        kind = self.schema.mutation_type
        assert kind is not None  # noqa: S101 - the schema has mutations
        fields = collect_fields(self.schema, self.fragments, self.variables, kind, self.operation).grouped_field_set
        return [self._change(kind, key, details) for key, details in fields.items()]

    def _change(self, kind: GraphQLObjectType, key: str, details: list[FieldDetails]) -> Change:
        name = details[0].node.name.value
        if name.startswith("__"):
            raise NotCompiled(name)
        payload = object_type(kind.fields[name])
        found: list[PayloadField] = []
        texts: list[ColumnElement[str]] = []
        self.beside = {}
        for inner, asked in self.below(payload, details).items():
            if asked[0].node.name.value == "__typename":
                found.append(PayloadField(inner, "", None, lambda _value, _asking: payload.name))
                continue
            declared = payload.fields[asked[0].node.name.value]
            named, attribute = get_named_type(declared.type), declared.extensions["strawberry-definition"].python_name
            if isinstance(named, GraphQLObjectType) and named.name in SHAPES and not is_list(declared):
                piece = self.record(SHAPES[named.name], named, asked, self.slot(changed(len(texts)), Uuid()))
                found.append(PayloadField(inner, attribute, len(texts), piece.finish))
                texts.append(piece.text)
            else:
                found.append(PayloadField(inner, attribute, None, self.serialised(declared.type, asked)))
        return Change(key, name, [detail.node for detail in details], found, texts, self.beside)

    def field(self, kind: GraphQLObjectType, details: list[FieldDetails], row: Row) -> Piece:
        """A field of a row, by the source that its type declares."""
        name = details[0].node.name.value
        declared = kind.fields[name]
        source = source_of(declared)
        if source is None:
            if name == "id" and row.shape.is_node:
                return Piece(self.global_id(row))
            raise NotCompiled(f"{kind.name}.{name}")
        write = None if source is None else WRITERS.get(type(source))
        if write is None:
            raise NotCompiled(f"{kind.name}.{name}")
        return write(self, declared, source, details, row)

    # ---- roots ---------------------------------------------------------------------------------------------------

    def _root(self, kind: GraphQLObjectType, key: str, details: list[FieldDetails]) -> Piece:
        name = details[0].node.name.value
        if name.startswith("__"):
            raise NotCompiled(name)
        declared = kind.fields[name]
        source = source_of(declared)
        write = None if source is None else ROOTS.get(type(source))
        if write is None:
            raise NotCompiled(f"{kind.name}.{name}")
        return write(self, key, declared, source, details)

    def chosen(self, _key: str, declared: GraphQLField, source: Chosen, details: list[FieldDetails]) -> Piece:
        """Every row of a type that meets conditions made of the arguments."""
        given = self.values(source.inputs, self.arguments(declared, details))
        shape, kind = source.target, object_type(declared)

        def conditions(view: View) -> list[ColumnElement[bool]]:
            return [view.rows(), *source.conditions(view, **given)]

        return self.rows(kind, details, shape, shape.order, conditions, None)

    def everywhere(self, _key: str, declared: GraphQLField, source: Listed, details: list[FieldDetails]) -> Piece:
        """The rows that a statement makes, below nothing."""
        given = self.values(source.inputs, self.arguments(declared, details))
        everywhere = Scope(self.actor, self.language, lambda _column: true())
        return self.shown(declared, source, details, source.rows(everywhere, **given), None)

    def by_global_id(self, _key: str, declared: GraphQLField, _source: Source, details: list[FieldDetails]) -> Piece:
        """The record that a global id names: of which type it is makes another plan."""
        given = self.arguments(declared, details)["id"]
        ref = read_id(given.value)
        shape = (
            None
            if ref is None
            else next((one for one in SHAPES.values() if one.is_node and one.entity == ref.kind), None)
        )
        if shape is None:
            return Piece(sql.quoted(NULL))
        concrete = self.schema.type_map[shape.name]
        assert isinstance(concrete, GraphQLObjectType)  # noqa: S101 - shapes stand for object types
        read = given.read

        def id(asking: Asking) -> UUID:
            named = read_id(read(asking.variables))
            return NOBODY if named is None else named.id

        piece = self.record(shape, concrete, details, self.surviving(shape, self.slot(id, Uuid())))
        return Piece(func.coalesce(piece.text, NULL), unless_null(piece.finish))

    def own(self, _key: str, declared: GraphQLField, source: Own, details: list[FieldDetails]) -> Piece:
        """The reader's own record, whatever roles they hold."""
        shape = source.target
        view = View(shape.model, shape.withheld, shape.model.__table__.alias(), SYSTEM, self.language)
        piece = self.object(object_type(declared), details, Row(shape, view))
        found = one(piece.text, view.table, view.key == literal(self.actor.user_id, Uuid()), view.rows())
        return Piece(func.coalesce(found, NULL), unless_null(piece.finish))

    def whole(self, key: str, declared: GraphQLField, source: Whole, details: list[FieldDetails]) -> Piece:
        """Every row of a type, narrowed by a filter, in pages."""
        shape = source.target
        if source.is_optional and not may_read(shape.model, self.actor):
            self.refused.append((key, [detail.node for detail in details], Forbidden(NO_SIGHT)))
            return Piece(sql.quoted(NULL))
        given = self.arguments(declared, details)
        wanted = given.get("orderBy")
        order = source.orders[wanted.value] if wanted is not None and wanted.value else shape.order

        def conditions(view: View) -> list[ColumnElement[bool]]:
            return [view.rows(), *self._filtered(source, given.get("filter"), view)]

        return self.connection(declared, details, shape, order, conditions)

    def _filtered(self, source: Whole, given: Given | None, view: View) -> "list[ColumnElement[bool]]":
        """What a filter's given values ask, their values as parameters."""
        asked = []
        for field, (condition, declared) in source.conditions.items():
            part = None if given is None else given.parts.get(field)
            if part is None or part.value is None:
                continue
            if condition.check is not None:
                raise NotCompiled(f"filter.{field}")
            asked.append(self._asked(condition, as_input(declared), part, view))
        return asked

    def _asked(
        self, condition: Condition, to_input: Callable[[Any], Any], part: Given, view: View
    ) -> ColumnElement[bool]:
        condition.values(to_input(part.value), self.context)
        if not condition.kinds:
            return condition.clause(view, to_input(part.value))

        def value(number: int) -> Callable[[Asking], Any]:
            return lambda asking: condition.values(to_input(part.read(asking.variables)), asking.context)[number]

        return condition.clause(
            view, *(self.slot(value(number), kind) for number, kind in enumerate(condition.types(view)))
        )


WRITERS: Mapping[type[Source], Callable[..., Piece]] = {
    Column: Compiler.column, Localized: Compiler.localized, MoneyOf: Compiler.money, Derived: Compiler.derived, Gathered: Compiler.derived,
    Deferred: Compiler.derived,
    LookedUp: Compiler.looked_up, Expressed: Compiler.expressed, Embedded: Compiler.embedded, ToOne: Compiler.to_one, ToAny: Compiler.to_any,
    Part: Compiler.part, Below: Compiler.below_row, Listed: Compiler.listed, Paged: Compiler.paged, Alike: Compiler.alike,
}  # fmt: skip
"""What compiles a field of a row, by its source."""
ROOTS: Mapping[type[Source], Callable[..., Piece]] = {
    Whole: Compiler.whole, ByGlobalId: Compiler.by_global_id, Own: Compiler.own, Chosen: Compiler.chosen, Listed: Compiler.everywhere,
}  # fmt: skip
"""What compiles a root."""
