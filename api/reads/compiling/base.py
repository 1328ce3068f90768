"""The ground of compiling: objects and their fields, views, parameters and arguments."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_subfields
from graphql.execution.values import VariableValues
from sqlalchemy import (
    ColumnElement,
    FromClause,
)

from api.context import Context
from api.reads import sql
from api.reads.arguments import Given, arguments
from api.reads.compiling.pieces import (
    Asking,
    Finish,
    NotCompiled,
    Piece,
    Row,
    finish_fields,
)
from api.reads.shapes import Shape
from api.reads.sources import Beside
from api.reads.view import View
from domain.kernel import Actor, Language


class Base:
    """What compiling an operation rests on: its document, its variables and its reader's stand-in."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        variables: VariableValues,
        context: Context,
        actor: Actor,
    ) -> None:
        self.schema = schema
        self.operation = operation
        self.fragments = {
            one.name.value: FragmentDetails(one)
            for one in document.definitions
            if isinstance(one, FragmentDefinitionNode)
        }
        self.variables = variables
        self.context = context
        self.actor = actor
        self.language: Language = context.language
        self.refused: list[tuple[str, Sequence[FieldNode], Exception]] = []
        self.beside: dict[str, Beside] = {}
        self._slots = 0

    def field(self, kind: GraphQLObjectType, details: list[FieldDetails], row: Row) -> Piece:
        """A field of a row."""
        raise NotImplementedError

    def fields(
        self,
        kind: GraphQLObjectType,
        fields: Mapping[str, list[FieldDetails]],
        write: Callable[[str, list[FieldDetails]], Piece],
    ) -> Piece:
        """One object of the answer."""
        parts: list[str | ColumnElement[Any]] = ["{"]
        finishes: dict[str, Finish] = {}
        for number, (key, details) in enumerate(fields.items()):
            parts.append(f'{"," if number else ""}"{key}":')
            if details[0].node.name.value == "__typename":
                parts.append(f'"{kind.name}"')
                continue
            piece = write(key, details)
            parts.append(piece.text)
            if piece.finish is not None:
                finishes[key] = piece.finish
        return Piece(sql.join(*parts, "}"), finish_fields(finishes) if finishes else None)

    def object(self, kind: GraphQLObjectType, details: list[FieldDetails], row: Row) -> Piece:
        """An object of the answer that stands for a row."""
        fields = self.below(kind, details)
        return self.fields(kind, fields, lambda _key, found: self.field(kind, found, row))

    def below(self, kind: GraphQLObjectType, details: list[FieldDetails]) -> Mapping[str, list[FieldDetails]]:
        """The fields that are asked of a type under a field, fragments put in and directives followed."""
        return collect_subfields(
            self.schema, self.fragments, self.variables, self.operation, kind, details
        ).grouped_field_set

    def view(self, shape: Shape, table: FromClause | None = None) -> View:
        """A fresh view of a shape's rows."""
        return shape.fresh_view(self.actor, self.language, table)

    def slot(self, read: Callable[[Asking], Any], kind: Any) -> ColumnElement[Any]:
        """A parameter that each request fills."""
        self._slots += 1
        return sql.slot(self._slots, read, kind)

    def arguments(self, declared: GraphQLField, details: list[FieldDetails]) -> dict[str, Given]:
        """A field's arguments."""
        return arguments(declared, details[0].node, self.variables)

    def size(self, given: Mapping[str, Given], name: str) -> int:
        """The number of rows that an argument asks for, which stands in the statement."""
        value = given[name].value
        if not isinstance(value, int) or not 1 <= value <= self.context.limits.page:
            raise NotCompiled(name)
        return value
