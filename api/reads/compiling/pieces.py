"""What compiling passes on: pieces of SQL text with what is left to do in Python, and what becomes of a whole operation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
)
from sqlalchemy import (
    ColumnElement,
    False_,
    FromClause,
    Select,
    Uuid,
    func,
    select,
)
from strawberry.types.base import StrawberryOptional, get_object_definition
from strawberry.types.field import StrawberryField

from api.context import Context
from api.reads import sql
from api.reads.arguments import Variables
from api.reads.sources import DEFAULT_NAMES, Beside, Source
from api.reads.view import View
from domain.kernel import WhoReads


class NotCompiled(Exception):
    """An operation, or the values that it has now, for the resolvers: `field` names the one that asks for them."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


@dataclass(slots=True)
class Asking:
    """One request as statements and finishing see it."""

    variables: Variables
    context: Context
    who: WhoReads
    """As whom the database is asked."""
    session_id: UUID | None = None
    changed: Sequence[UUID] = ()
    """The records of a payload that are read."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What is made of the rows that the statement carries once, by their keys."""
    made: dict[tuple[Any, str], Any] = field(default_factory=dict)
    """What was made of what the statement carried, for the next row that carries the same."""


Finish = Callable[[Any, Asking], Any]
"""Makes the answer's value of what the statement carries in its place."""


class Piece(NamedTuple):
    """The text of one value of the answer as SQL, and what is left to do on it in Python."""

    text: ColumnElement[Any]
    finish: Finish | None = None


class Row(NamedTuple):
    """A row of a shape as its reader sees it, in the statement."""

    shape: Any
    """A `Shape`, or a `RowShape` for rows that a statement makes."""
    view: View


NULL = "null"


def as_it_is(value: Any, _asking: Asking) -> Any:
    """Leave a value alone that is only written anew, in the one form of numbers and spaces."""
    return value


@dataclass(frozen=True, slots=True)
class PayloadField:
    """One field of a mutation's payload: a record that is read, by the number of its text in the statement, or a value."""

    key: str
    attribute: str
    text: int | None
    finish: Finish | None


@dataclass(frozen=True, slots=True)
class Change:
    """One root field of a mutation: what is executed, and how its payload is written."""

    key: str
    name: str
    nodes: list[FieldNode]
    fields: list[PayloadField]
    texts: list[ColumnElement[str]]
    beside: Mapping[str, Beside]


@dataclass(frozen=True, slots=True)
class Draft:
    """A compiled operation: the statement's text of `data`, what finishes it, and which roots are refused."""

    text: ColumnElement[str]
    finish: Finish | None
    refused: Sequence[tuple[str, Sequence[FieldNode], Exception]]
    beside: Mapping[str, Beside]


def changed(number: int) -> Callable[[Asking], UUID]:
    """What reads the id of a payload's record, by its number."""
    return lambda asking: asking.changed[number]


def as_input(declared: StrawberryField) -> Callable[[Any], Any]:
    """What makes the input that a room's code knows of what GraphQL read: objects of the input's class of mappings."""
    kind = declared.type.of_type if isinstance(declared.type, StrawberryOptional) else declared.type
    definition = get_object_definition(kind)
    if definition is None:
        return lambda value: value
    names = {DEFAULT_NAMES.get_graphql_name(field): field.python_name for field in definition.fields}
    return lambda value: definition.origin(**{names[name]: part for name, part in value.items()})


def source_of(declared: GraphQLField) -> Source | None:
    """Where a field's value comes from, as its type declares it."""
    definition = declared.extensions.get("strawberry-definition")
    return None if definition is None else definition.metadata.get("source")


def scalar(kind: Any, element: ColumnElement[Any], *, is_list: bool) -> Piece:
    """A value that is no object, by the schema's type for it."""
    if is_list or kind.name in {"JSON", "Float"}:
        return Piece(sql.json(element), as_it_is)
    write = sql.in_quotes if isinstance(kind, GraphQLEnumType) else _SCALARS.get(kind.name)
    if write is None or isinstance(element.type, Uuid):
        raise NotCompiled(kind.name)
    return Piece(write(element))


_SCALARS: Mapping[str, Callable[[ColumnElement[Any]], ColumnElement[str]]] = {
    "Boolean": sql.truth,
    "Int": sql.whole,
    "DateTime": lambda element: sql.in_quotes(sql.instant(element)),
    "Date": lambda element: sql.in_quotes(sql.day(element)),
    "String": sql.string,
    "ID": sql.string,
}
"""How plain values are written, by their type in the schema."""


def object_type(declared: GraphQLField) -> GraphQLObjectType:
    """The type of the objects to which a field leads."""
    kind = get_named_type(declared.type)
    assert isinstance(kind, GraphQLObjectType)  # noqa: S101 - asked of fields that lead to objects alone
    return kind


def is_list(declared: GraphQLField) -> bool:
    """Whether a field is a list."""
    kind = declared.type.of_type if isinstance(declared.type, GraphQLNonNull) else declared.type
    return isinstance(kind, GraphQLList)


def is_connection(declared: GraphQLField) -> bool:
    """Whether a field is a list in pages."""
    return get_named_type(declared.type).name.endswith("Connection")


def between(mark: str, elements: list[ColumnElement[Any]]) -> list[str | ColumnElement[Any]]:
    """The elements with a mark between each two."""
    parts: list[str | ColumnElement[Any]] = []
    for number, element in enumerate(elements):
        parts += [mark, element] if number else [element]
    return parts


def together(conditions: list[ColumnElement[bool]]) -> list[ColumnElement[bool]] | None:
    """The conditions; None where one of them holds for no row."""
    return None if any(isinstance(condition, False_) for condition in conditions) else conditions


def one(text: ColumnElement[str], table: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[str]:
    """The text of the one row of a table that meets the conditions; null where there is none."""
    return select(text).select_from(table).where(*conditions).correlate_except(table).scalar_subquery()


def list_text(piece: Piece, rows: FromClause) -> Piece:
    """The texts of all rows as a JSON list."""
    text = sql.join("[", func.coalesce(sql.list_of(piece.text), ""), "]")
    listed: Select[Any] = select(text).select_from(rows).correlate_except(rows)
    return Piece(listed.scalar_subquery(), finish_list(piece.finish))


def finish_fields(finishes: Mapping[str, Finish]) -> Finish:
    """What finishes the fields of an object that need it."""
    known = tuple(finishes.items())

    def finish(carried: Any, asking: Asking) -> Any:
        for key, last in known:
            carried[key] = last(carried[key], asking)
        return carried

    return finish


def finish_list(last: Finish | None) -> Finish | None:
    """What finishes each entry of a list."""
    if last is None:
        return None
    return lambda carried, asking: [last(one, asking) for one in carried]


def once(last: Finish) -> Finish:
    """What finishes equal values of one answer once; nobody changes what comes of it."""

    def finish(carried: Any, asking: Asking) -> Any:
        key = (last, repr(carried))
        if key not in asking.made:
            asking.made[key] = last(carried, asking)
        return asking.made[key]

    return finish


def absent(declared: GraphQLField) -> Callable[[], Any]:
    """What stands where there is nothing: null, an empty list, or no answer at all."""
    if not isinstance(declared.type, GraphQLNonNull):
        return lambda: None
    if isinstance(declared.type.of_type, GraphQLList):
        return list

    def refuse() -> Any:
        raise NotCompiled("null")

    return refuse


def unless_null(last: Finish | None) -> Finish | None:
    """What finishes a value that may be null."""
    if last is None:
        return None
    return lambda carried, asking: None if carried is None else last(carried, asking)
