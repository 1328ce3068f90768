"""Where the rows of list fields come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, True_
from sqlalchemy.types import TypeEngine
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

from api.reads.filters import Condition
from api.reads.sources import DEFAULT_NAMES, Row, Source
from api.reads.view import Order, View
from domain.kernel import Actor, Language, Text


class Related(Source):
    """Rows or facts that hang on the object and are fetched for many objects at once; the object knows whether it may show them."""

    def select(self, view: View) -> dict[str, ColumnElement[Any]]:
        """Select the field's visibility where it differs from row to row."""
        if self.name not in view.withheld:
            return {}
        seen = view.sees(self.name)
        return {} if isinstance(seen, True_) else {f"{self.name}__seen": seen}

    def read(self, row: Row, view: View) -> Any:
        """Whether the reader sees the field on this row."""
        return bool(row.get(f"{self.name}__seen", True))


class Below(Related):
    """The rows of another type whose column holds the object's id and whose other columns hold what `where` says."""

    def __init__(self, column: str, order: Order | None, where: Mapping[str, Any] | None) -> None:
        self.column = column
        self.own_order = order
        self.where = where or {}

    @property
    def order(self) -> Order:
        """The order of the rows: the field's own, or their type's."""
        return self.own_order or self.target.order


NO_SIGHT = Text("您的角色无权查看这个列表", "your role has no sight of this list")


class Whole(Related):
    """Every row of a type, with the filter that may narrow it and the orders among which one may choose."""

    def __init__(self, filter: type | None, orders: Mapping[Any, Order] | None) -> None:
        self.filter = filter
        self.orders = orders or {}

    @cached_property
    def conditions(self) -> dict[str, tuple[Condition, StrawberryField]]:
        """The filter's conditions by the names of its fields in the schema."""
        fields = get_object_definition(self.filter, strict=True).fields if self.filter else []
        return {DEFAULT_NAMES.get_graphql_name(field): (field.metadata["condition"], field) for field in fields}


@dataclass(frozen=True, slots=True)
class Input:
    """One argument of a listing: the type of its value in SQL and what makes it; without a type, the value itself."""

    parameter: Parameter
    kind: TypeEngine[Any] | None = None
    convert: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom a statement is, and below which objects: `below` gives the condition on the column that leads to them."""

    actor: Actor
    language: Language
    below: Callable[[ColumnElement[Any]], ColumnElement[bool]]
    outer: FromClause | None = None

    def within(self, statement: Select[Any]) -> Select[Any]:
        """A statement that looks at the object outside, wherever it stands."""
        return statement if self.outer is None else statement.correlate(self.outer)


Rows = Callable[..., Select[Any]]
"""Makes of a scope and a listing's arguments the statement with its rows; the column `parent` says below which object."""


class Listed(Related):
    """Rows that a statement makes, shown as objects of a type that stands for such rows; at most `last` of them."""

    def __init__(self, rows: Rows, order: Order, inputs: Sequence[Input], *, last: bool) -> None:
        self.rows = rows
        self.order = order
        self.inputs = {given.parameter.name: given for given in inputs}
        self.last = last


@dataclass(frozen=True, slots=True)
class Begin:
    """Which rows of a page a statement may leave out: those not after some key values, those beyond so many a parent."""

    after: Sequence[Any] | None = None
    limit: int | None = None


class Paged(Related):
    """Rows that a statement makes, in pages; the statement is told where the page begins, so that it can look no further.

    It makes those alone that its reader sees.
    """

    can_be_withheld = False

    def __init__(self, rows: Rows, order: Order, kinds: Sequence[TypeEngine[Any]], inputs: Sequence[Input]) -> None:
        self.rows = rows
        self.order = order
        self.kinds = kinds
        self.inputs = {given.parameter.name: given for given in inputs}


class Alike(Related):
    """Records of a type to which a statement leads: its column `other` holds their ids, in the order of ids."""

    def __init__(self, rows: Rows, most: int) -> None:
        self.rows = rows
        self.most = most


class Chosen(Related):
    """Every record of a type that meets conditions made of the field's arguments, in the type's order."""

    def __init__(self, conditions: Callable[..., list[ColumnElement[bool]]], inputs: Sequence[Input]) -> None:
        self.conditions = conditions
        self.inputs = {given.parameter.name: given for given in inputs}
