"""What a type of the schema declares about itself: its mapped class, and for each field where the value comes from."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from inspect import Parameter
from typing import Any, TypeVar, cast

import strawberry
from sqlalchemy import ColumnElement, False_, FromClause, Select, True_, case, null, or_, true
from sqlalchemy import cast as cast_to
from sqlalchemy.types import TypeEngine
from strawberry.schema.name_converter import NameConverter
from strawberry.types.base import StrawberryList, StrawberryOptional, get_object_definition
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

from api.reads.filters import Condition
from api.reads.ids import global_id
from api.reads.view import Order, Slots, View, by
from domain.kernel import Actor, Base, Language, Text, declared

DEFAULT_NAMES = NameConverter()
T = TypeVar("T", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[Any, Any]
Expression = Callable[[View], ColumnElement[Any]]
"""An expression over the columns of a row as its reader sees it."""

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
    can_be_withheld = True
    """Whether access declarations say who sees the field; else whoever sees the row does."""
    name: str
    declaration: StrawberryField
    owner: "Shape"
    """The shape of the type that has the field."""

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
    def target(self) -> Any:
        """The shape of the type that the field leads to: a `Shape`, or a `RowShape` for rows that a statement makes."""
        return shape_of(self.declaration.type)

    @property
    def is_list(self) -> bool:
        """Whether the field is a list that is empty where there is nothing."""
        return isinstance(self.declaration.type, StrawberryList)

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

    in_words = False
    """Whether the function is given the reader's language first."""

    def __init__(self, parts: Sequence[str | Expression], build: Callable[..., Any]) -> None:
        self.parts = parts
        self.columns = tuple(part for part in parts if isinstance(part, str))
        self.build = build

    def elements(self, view: View) -> list[ColumnElement[Any]]:
        """The expressions of which the value is made: columns, and others over the row that say themselves who sees them."""
        return [view.column(part, self.name) if isinstance(part, str) else part(view) for part in self.parts]

    def select(self, view: View) -> dict[str, ColumnElement[Any]]:
        """Select them."""
        return {f"{self.name}__{at}": element for at, element in enumerate(self.elements(view))}

    def values(self, row: Row) -> list[Any]:
        """Their values."""
        return [row[f"{self.name}__{at}"] for at in range(len(self.parts))]

    def made(self, values: Sequence[Any], language: Language) -> Any:
        """The value made of those of the expressions."""
        if all(value is None for value in values):
            return None
        return self.build(language, *values) if self.in_words else self.build(*values)

    def read(self, row: Row, view: View) -> Any:
        """Build it."""
        return self.made(self.values(row), view.language)


class Gathered(Derived):
    """A value that a pure function makes of what lookups beside the row found; they are made when the field is asked for."""

    def __init__(self, lookups: tuple[Expression, ...], build: Callable[..., Any]) -> None:
        super().__init__((), build)
        self.lookups = lookups

    def elements(self, view: View) -> list[ColumnElement[Any]]:
        """The lookups, null where the field is withheld."""
        seen = view.shows(self.name)
        found = [lookup(view) for lookup in self.lookups]
        return found if isinstance(seen, True_) else [case((seen, one)) for one in found]

    def select(self, view: View) -> dict[str, ColumnElement[Any]]:
        """Select nothing with the row."""
        return {}

    def read(self, row: Row, view: View) -> Any:
        """Leave it to whoever asks for the field."""
        return None


class LookedUp(Derived):
    """A value that a function makes of columns and of rows that are the same for every object: definitions."""

    def __init__(self, columns: tuple[str, ...], beside: "Beside", build: Callable[..., Any]) -> None:
        super().__init__(columns, build)
        self.beside = beside

    def read(self, row: Row, view: View) -> Any:
        """Return the columns' values."""
        values = self.values(row)
        return None if all(value is None for value in values) else values


@dataclass(frozen=True, slots=True)
class Beside:
    """Rows that an operation needs once, whatever its objects: their statement, known by a key."""

    key: str
    statement: Callable[[], Select[Any]]


class Expressed(Source):
    """A value that the database computes of the row."""

    def __init__(self, expression: Expression) -> None:
        self.expression = expression

    def element(self, view: View) -> ColumnElement[Any]:
        """The expression; null where the field is withheld."""
        seen = view.shows(self.name)
        found = self.expression(view)
        if isinstance(seen, True_):
            return found
        return cast_to(null(), found.type) if isinstance(seen, False_) else case((seen, found))

    def select(self, view: View) -> dict[str, ColumnElement[Any]]:
        """Select the expression."""
        return {self.name: self.element(view)}

    def read(self, row: Row, view: View) -> Any:
        """Return its value."""
        return row[self.name]


class Embedded(Source):
    """A part of the row itself, shown as an object whose columns the row fills; null where none of them holds anything."""

    def __init__(self, slots: Mapping[str, str | Expression], columns: Collection[str]) -> None:
        self.slots = slots
        self.columns = (*(slot for slot in slots.values() if isinstance(slot, str)), *columns)

    def inside(self, view: View) -> View:
        """The object's view of the row."""
        return Slots(view.model, {}, view.table, view.actor, view.language, view, self.name, self.slots)

    def present(self, view: View) -> ColumnElement[bool]:
        """The condition for rows that have such an object."""
        inside = self.inside(view)
        if not self.is_optional:
            return true()
        return or_(*(inside.column(slot).is_not(None) for slot in self.slots))

    def select(self, view: View) -> dict[str, ColumnElement[Any]]:
        """Select what the object needs."""
        inside = self.inside(view)
        found = {label: one for source in self.target.sources for label, one in source.select(inside).items()}
        parts: dict[str, ColumnElement[Any]] = {f"{self.name}__{label}": one for label, one in found.items()}
        return parts | {f"{self.name}__present": self.present(view)}

    def read(self, row: Row, view: View) -> Any:
        """Build the object."""
        if not row[f"{self.name}__present"]:
            return None
        start = f"{self.name}__"
        inner = {label.removeprefix(start): value for label, value in row.items() if label.startswith(start)}
        return self.target.build(inner, self.inside(view))


class MoneyOf(Derived):
    """Money from an amount in minor units and its currency."""


class ToAny(Derived):
    """The record of any type whose kind and id two columns hold; `kinds` are the entities that it can be, all without it."""

    def __init__(self, columns: tuple[str, ...], build: Callable[..., Any], kinds: Collection[str] | None) -> None:
        super().__init__(columns, build)
        self.kinds = kinds


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


class Own(Source):
    """The reader's own record, whatever roles they hold."""


class ByGlobalId(Source):
    """The record of any type that a global id names."""


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


SHAPES: dict[str, Shape] = {}
"""Every shape of mapped rows by the name of its type."""
ROW_SHAPES: dict[str, RowShape] = {}
"""Every shape of other rows by the name of its type."""


def shape_of(kind: Any) -> Any:
    """The shape at the bottom of a field's type, below null, lists and connections."""
    known: dict[str, Any] = {**SHAPES, **ROW_SHAPES}
    while not isinstance(kind, type) or get_object_definition(kind, strict=True).name not in known:
        if isinstance(kind, StrawberryOptional | StrawberryList):
            kind = kind.of_type
        elif isinstance(kind, LazyType):
            kind = kind.resolve_type()
        else:
            kind = next(iter(get_object_definition(kind, strict=True).type_var_map.values()))
    return known[get_object_definition(kind, strict=True).name]


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
