"""What a type of the schema declares about itself: its mapped class, and for each field where the value comes from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

import strawberry
from sqlalchemy import ColumnElement, FromClause, True_
from sqlalchemy.engine import RowMapping
from strawberry.schema.name_converter import NameConverter
from strawberry.types.base import StrawberryList, StrawberryOptional, get_object_definition
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

from api.reads.filters import Condition
from api.reads.ids import global_id
from api.reads.view import Order, View, by
from domain.kernel import Actor, Base, Language, Text, declared

DEFAULT_NAMES = NameConverter()
T = TypeVar("T", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
Row = RowMapping

STAMPS = frozenset({
    "version", "created_at", "updated_at", "created_by_kind", "created_by_id", "updated_by_kind", "updated_by_id", "import_batch_id",
})  # fmt: skip
"""Columns of every record that a type without them leaves hidden."""


@strawberry.interface(description="Anything that has a global id and can be fetched by it.")
class Node:
    """One record, whatever its type."""

    id: strawberry.ID = strawberry.field(description="The global id: opaque, unique over all types, stable.")


def computed(description: str) -> Callable[[F], F]:
    """Declare a field whose resolver is written by hand."""
    return cast("Callable[[F], F]", strawberry.field(description=description))


class Source:
    """Where a field's value comes from; `bind` tells it the field that it stands for."""

    columns: tuple[str, ...] = ()
    name: str
    declaration: StrawberryField

    def bind(self, declaration: StrawberryField) -> None:
        """Take in the field that declares this source."""
        self.name, self.declaration = declaration.python_name, declaration

    def select(self, view: View) -> dict[str, ColumnElement[Any]]:
        """The expressions that a row needs for this field, by label."""
        return {f"{self.name}__{column}": view.column(column, self.name) for column in self.columns}

    def read(self, row: Row, view: View) -> Any:
        """The value that the object carries, from the row's labels."""
        raise NotImplementedError

    @cached_property
    def target(self) -> "Shape":
        """The shape of the type that the field leads to."""
        return shape_of(self.declaration.type)

    @property
    def is_optional(self) -> bool:
        """Whether the field may be null."""
        return isinstance(self.declaration.type, StrawberryOptional)


class Column(Source):
    """The value of one column."""

    def __init__(self, column: str | None) -> None:
        self.columns = (column,) if column else ()

    def bind(self, declaration: StrawberryField) -> None:
        """Use the field's own name where no column is named."""
        super().bind(declaration)
        self.columns = self.columns or (self.name,)

    def read(self, row: Row, view: View) -> Any:
        """Return it."""
        return row[f"{self.name}__{self.columns[0]}"]


class ToOne(Column):
    """The record whose id one column holds."""


class Derived(Source):
    """A value built from columns by a pure function; null where all of them are withheld or null."""

    def __init__(self, columns: tuple[str, ...], build: Callable[..., Any]) -> None:
        self.columns = columns
        self.build = build

    def elements(self, view: View) -> list[ColumnElement[Any]]:
        """The expressions of which the value is made."""
        return [view.column(column, self.name) for column in self.columns]

    def made(self, values: Sequence[Any]) -> Any:
        """The value made of those of the expressions."""
        return None if all(value is None for value in values) else self.build(*values)

    def read(self, row: Row, view: View) -> Any:
        """Build it."""
        return self.made([row[f"{self.name}__{column}"] for column in self.columns])


class MoneyOf(Derived):
    """Money from an amount in minor units and its currency."""


class ToAny(Derived):
    """The record of any type whose kind and id two columns hold; `kinds` are the entities that it can be, all without it."""

    kinds: frozenset[str] | None = None


class Part(Source):
    """The part of the object that has the first number which the columns hold, or (with `show`) one value of that part."""

    def __init__(self, numbers: tuple[str, ...], below: str, number: str, of: str | None, show: str | None) -> None:
        self.columns = numbers
        self.below = below
        self.number = number
        self.of = of
        self.show = show

    @cached_property
    def target(self) -> "Shape":
        """The shape of the part."""
        return SHAPES[self.of] if self.of else shape_of(self.declaration.type)

    def read(self, row: Row, view: View) -> Any:
        """Return the number."""
        values = (row[f"{self.name}__{column}"] for column in self.columns)
        return next((value for value in values if value is not None), None)


class Localized(Source):
    """The text of the reader's language among two columns."""

    def __init__(self, stem: str) -> None:
        self.columns = (f"{stem}_zh", f"{stem}_en")

    def select(self, view: View) -> dict[str, ColumnElement[Any]]:
        """Select the one column."""
        return {self.name: view.column(self.columns[view.language is Language.EN], self.name)}

    def read(self, row: Row, view: View) -> Any:
        """Return it."""
        return row[self.name]


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


# What a reader's role makes of a type costs milliseconds to write down and is the same for each of their requests.
@lru_cache(maxsize=512)
def _view(shape: "Shape", actor: Actor, language: Language) -> View:
    table: FromClause = shape.model.__table__.alias()
    return View(shape.model, shape.withheld, table, actor, language)


@lru_cache(maxsize=512)
def _selection(shape: "Shape", view: View) -> tuple[ColumnElement[Any], ...]:
    needed = {label: part for source in shape.sources for label, part in source.select(view).items()}
    return (view.table.c.id.label("id"), *(part.label(label) for label, part in needed.items()))


@dataclass(eq=False)
class Shape:
    """One type of the schema that stands for rows of a mapped class."""

    kind: type
    model: type[Base]
    order: Order
    hidden: frozenset[str]
    sources: tuple[Source, ...]
    is_node: bool

    @property
    def name(self) -> str:
        """The name of the type in the schema."""
        return str(get_object_definition(self.kind, strict=True).name)

    @property
    def entity(self) -> str:
        """The name by which references know the class."""
        return self.model.entity()

    @cached_property
    def withheld(self) -> dict[str, tuple[str, ...]]:
        """The fields that a role may be refused, those that can be null or empty, with the columns behind each."""
        return {source.name: source.columns for source in self.sources if _can_be_withheld(source.declaration)}

    def view(self, actor: Actor, language: Language) -> View:
        """A reader's view of an alias of the table, the same one each time: one statement takes one view of a shape."""
        return _view(self, actor, language)

    def select(self, view: View) -> list[ColumnElement[Any]]:
        """Every expression that an object needs, labelled."""
        return list(_selection(self, view))

    def build(self, row: Row, view: View) -> Any:
        """The object of a row: every field's value, or for relations what they are fetched by."""
        found: Any = object.__new__(self.kind)
        found.__dict__.update({source.name: source.read(row, view) for source in self.sources})
        found.__dict__["row_id"] = row["id"]
        if self.is_node:
            found.__dict__["id"] = global_id(self.entity, row["id"])
        return found


def _can_be_withheld(field: StrawberryField) -> bool:
    definition = get_object_definition(field.type)
    is_connection = definition is not None and definition.name == "Connection"
    return isinstance(field.type, StrawberryOptional | StrawberryList) or is_connection


SHAPES: dict[str, Shape] = {}
"""Every shape by the name of its type."""


def shape_of(kind: Any) -> Shape:
    """The shape at the bottom of a field's type, below null, lists and connections."""
    while not isinstance(kind, type) or get_object_definition(kind, strict=True).name not in SHAPES:
        if isinstance(kind, StrawberryOptional | StrawberryList):
            kind = kind.of_type
        elif isinstance(kind, LazyType):
            kind = kind.resolve_type()
        else:
            kind = next(iter(get_object_definition(kind, strict=True).type_var_map.values()))
    return SHAPES[get_object_definition(kind, strict=True).name]


def _bound(made: type) -> tuple[Source, ...]:
    sources: list[tuple[Source, StrawberryField]] = [
        (field.metadata["source"], field)
        for field in get_object_definition(made, strict=True).fields
        if "source" in field.metadata
    ]
    for source, field in sources:
        source.bind(field)
    return tuple(source for source, _ in sources)


def roots(cls: T) -> T:
    """Declare that a class holds a room's root fields."""
    made = strawberry.type(cls)
    _bound(made)
    return made


def node(model: type[Base], *, hidden: frozenset[str] = frozenset(), order: Order | None = None) -> Callable[[T], T]:
    """Declare that a class of the schema stands for rows of a mapped class.

    Its docstring is the type's description. `hidden` names the columns that no field shows, `order` is the one in which
    its rows come, newest first where none is given. Raises LookupError for a mapped class without an access declaration.
    """
    declared(model)

    def decorate(cls: T) -> T:
        made = strawberry.type(cls, description=(cls.__doc__ or "").strip())
        shape = Shape(made, model, order or by("-id"), hidden, _bound(made), issubclass(made, Node))
        SHAPES[get_object_definition(made, strict=True).name] = shape
        return made

    return decorate
