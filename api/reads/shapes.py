"""What a type of the schema declares about itself: its mapped class, the order of its rows, and its fields' sources."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

import strawberry
from sqlalchemy import ColumnElement, FromClause
from strawberry.types.base import StrawberryList, StrawberryOptional, get_object_definition
from strawberry.types.field import StrawberryField

from api.reads.ids import global_id
from api.reads.sources import ROW_SHAPES, SHAPES, Row, Source
from api.reads.view import Order, View, by
from domain.kernel import Actor, Base, Language, declared

T = TypeVar("T", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

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


# What a reader's role makes of a type costs milliseconds to write down and is the same for each of their requests.
@lru_cache(maxsize=512)
def _view(shape: "Shape", actor: Actor, language: Language) -> View:
    return shape.fresh_view(actor, language)


@lru_cache(maxsize=512)
def _selection(shape: "Shape", view: View) -> tuple[ColumnElement[Any], ...]:
    needed = {label: part for source in shape.sources for label, part in source.select(view).items()}
    return (view.table.c.id.label("id"), *(part.label(label) for label, part in needed.items()))


@dataclass(eq=False)
class RowShape:
    """One type of the schema that stands for rows which some statement makes."""

    kind: type
    sources: tuple[Source, ...]
    is_node = False

    def view(self, table: FromClause, actor: Actor, language: Language) -> View:
        """A reader's view of such rows."""
        return View(None, {}, table, actor, language)

    def select(self, view: View) -> list[ColumnElement[Any]]:
        """Every expression that an object needs, labelled."""
        needed = {label: part for source in self.sources for label, part in source.select(view).items()}
        return [part.label(label) for label, part in needed.items()]

    def build(self, row: Row, view: View) -> Any:
        """The object of a row."""
        found: Any = object.__new__(self.kind)
        found.__dict__.update({source.name: source.read(row, view) for source in self.sources})
        return found


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
        masked = [source for source in self.sources if source.can_be_withheld and _can_be_empty(source.declaration)]
        return {source.name: source.columns for source in masked}

    def view(self, actor: Actor, language: Language) -> View:
        """A reader's view of an alias of the table, the same one each time: one statement takes one view of a shape."""
        return _view(self, actor, language)

    def fresh_view(self, actor: Actor, language: Language, table: FromClause | None = None) -> View:
        """A reader's view of an alias of its own, or of a table that has the rows."""
        return View(
            self.model, self.withheld, self.model.__table__.alias() if table is None else table, actor, language
        )

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


def _can_be_empty(field: StrawberryField) -> bool:
    definition = get_object_definition(field.type)
    is_connection = definition is not None and definition.name == "Connection"
    return isinstance(field.type, StrawberryOptional | StrawberryList) or is_connection


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


def rows(cls: T) -> T:
    """Declare that a class of the schema stands for rows which a statement makes, or for a part of other rows.

    Its docstring is the type's description.
    """
    made = strawberry.type(cls, description=(cls.__doc__ or "").strip())
    ROW_SHAPES[get_object_definition(made, strict=True).name] = RowShape(made, _bound(made))
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
        for source in shape.sources:
            source.owner = shape
        SHAPES[shape.name] = shape
        return made

    return decorate
