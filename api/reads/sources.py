"""Where the values of fields come from: what the words of `fields` declare, for resolvers and compiler alike."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, False_, Select, True_, case, null, or_, true
from sqlalchemy import cast as cast_to
from strawberry.schema.name_converter import NameConverter
from strawberry.types.base import StrawberryList, StrawberryOptional, get_object_definition
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

from api.reads.view import Slots, View
from domain.kernel import Language

if TYPE_CHECKING:
    from api.reads.shapes import RowShape, Shape

DEFAULT_NAMES = NameConverter()
Row = Mapping[Any, Any]
Expression = Callable[[View], ColumnElement[Any]]
"""An expression over the columns of a row as its reader sees it."""

SHAPES: dict[str, "Shape"] = {}
"""Every `Shape` of mapped rows by the name of its type."""
ROW_SHAPES: dict[str, "RowShape"] = {}
"""Every `RowShape` of other rows by the name of its type."""


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
    repeats = False
    """Whether rows of one answer often have the same value, so that it is made once for them."""

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

    repeats = True

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


class Deferred(Derived):
    """A value that a pure function takes milliseconds to make of the reader's language and columns: made when it is asked for."""

    in_words = True
    repeats = True

    def read(self, row: Row, view: View) -> Any:
        """Return the columns' values."""
        return self.values(row)


class LookedUp(Derived):
    """A value that a function makes of columns and of rows that are the same for every object: definitions."""

    repeats = True

    def __init__(self, columns: tuple[str, ...], beside: "Beside", build: Callable[..., Any]) -> None:
        super().__init__(columns, build)
        self.beside = beside

    def read(self, row: Row, view: View) -> Any:
        """Return the columns' values."""
        values = self.values(row)
        return None if all(value is None for value in values) else values


@dataclass(frozen=True, slots=True)
class Beside:
    """Rows that an operation needs once, whatever its objects: their statement, known by a key, and what is made of them."""

    key: str
    statement: Callable[[], Select[Any]]
    read: Callable[[list[tuple[Any, ...]]], Any]


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
