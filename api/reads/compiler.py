"""The compiler: one GraphQL operation becomes one SQL statement whose one row carries the text of the answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationDefinitionNode,
    OperationType,
    get_named_type,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues
from sqlalchemy import (
    Cast,
    ColumnElement,
    False_,
    FromClause,
    Integer,
    Select,
    True_,
    Uuid,
    and_,
    case,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
)
from sqlalchemy.sql.elements import Null
from sqlalchemy.types import TypeEngine
from strawberry.types.base import StrawberryOptional, get_object_definition
from strawberry.types.field import StrawberryField

from api.context import Context
from api.reads import sql
from api.reads.arguments import Given, Variables, arguments
from api.reads.filters import NOBODY, Condition
from api.reads.ids import PREFIXES, read_id
from api.reads.shapes import (
    DEFAULT_NAMES,
    NO_SIGHT,
    SHAPES,
    Alike,
    Begin,
    Below,
    ByGlobalId,
    Chosen,
    Column,
    Derived,
    Embedded,
    Expressed,
    Input,
    Listed,
    Localized,
    LookedUp,
    MoneyOf,
    Own,
    Paged,
    Part,
    RowShape,
    Scope,
    Shape,
    Source,
    ToAny,
    ToOne,
    Whole,
)
from api.reads.view import Order, View, by, key_types, read_cursor
from domain.kernel import SYSTEM, Actor, Forbidden, Language, may_read


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
    session_id: UUID | None = None
    changed: Sequence[UUID] = ()
    """The records of a payload that are read."""
    beside: Mapping[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    """The rows that the statement carries once, by their keys."""


Finish = Callable[[Any, Asking], Any]
"""Makes the answer's value of what the statement carries in its place."""


class Piece(NamedTuple):
    """The text of one value of the answer as SQL, and what is left to do on it in Python."""

    text: ColumnElement[str]
    finish: Finish | None = None


class Row(NamedTuple):
    """A row of a shape as its reader sees it, in the statement."""

    shape: Shape | RowShape
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
    beside: Mapping[str, Select[Any]]


@dataclass(frozen=True, slots=True)
class Draft:
    """A compiled operation: the statement's text of `data`, what finishes it, and which roots are refused."""

    text: ColumnElement[str]
    finish: Finish | None
    refused: Sequence[tuple[str, Sequence[FieldNode], Exception]]
    beside: Mapping[str, Select[Any]]


class Compiler:
    """Compiles one operation for one stand-in of a reader, as far as the values of its variables make another plan."""

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
        self.beside: dict[str, Select[Any]] = {}
        self._slots = 0

    # ---- operations ----------------------------------------------------------------------------------------------

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
        payload = get_named_type(kind.fields[name].type)
        found: list[PayloadField] = []
        texts: list[ColumnElement[str]] = []
        self.beside = {}
        for inner, asked in self.below(payload, details).items():
            if asked[0].node.name.value == "__typename":
                found.append(PayloadField(inner, "", None, lambda _value, _asking: payload.name))
                continue
            declared = payload.fields[asked[0].node.name.value]
            named, attribute = get_named_type(declared.type), declared.extensions["strawberry-definition"].python_name
            if named.name in SHAPES and not _is_list(declared):
                piece = self.record(SHAPES[named.name], named, asked, self.slot(_changed(len(texts)), Uuid()))
                found.append(PayloadField(inner, attribute, len(texts), piece.finish))
                texts.append(piece.text)
            else:
                found.append(PayloadField(inner, attribute, None, self._serialised(declared.type, asked)))
        return Change(key, name, [detail.node for detail in details], found, texts, self.beside)

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
        return Piece(sql.join(*parts, "}"), _finish_fields(finishes) if finishes else None)

    def object(self, kind: GraphQLObjectType, details: list[FieldDetails], row: Row) -> Piece:
        """An object of the answer that stands for a row."""
        fields = self.below(kind, details)
        return self.fields(kind, fields, lambda _key, found: self._field(kind, found, row))

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

    # ---- fields of a row -----------------------------------------------------------------------------------------

    def _field(self, kind: GraphQLObjectType, details: list[FieldDetails], row: Row) -> Piece:
        name = details[0].node.name.value
        declared = kind.fields[name]
        source = source_of(declared)
        if source is None:
            if name == "id" and row.shape.is_node:
                return Piece(self._global_id(row))
            raise NotCompiled(f"{kind.name}.{name}")
        return self._written(declared, source, details, row)

    def _written(self, declared: GraphQLField, source: Source, details: list[FieldDetails], row: Row) -> Piece:
        match source:
            case ToOne():
                return self._to_one(declared, source, details, row)
            case ToAny():
                return self._to_any(declared, source, details, row)
            case MoneyOf():
                return self._money(declared, source, details, row)
            case LookedUp():
                return self._looked_up(declared, source, details, row)
            case Derived():
                return self._derived(declared, source, details, row)
            case Expressed():
                return self._value(declared, source.element(row.view), row, can_be_null=source.is_optional)
            case Embedded():
                return self._embedded(declared, source, details, row)
            case Listed():
                return self._listed(declared, source, details, row)
            case Paged():
                return self._paged(declared, source, details, row)
            case Alike():
                return self._alike(declared, source, details, row)
            case Part():
                return self._part(declared, source, details, row)
            case Column():
                return self._column(declared, row, source.columns[0], source.name)
            case Localized():
                return self._column(declared, row, source.columns[self.language is Language.EN], source.name)
            case Below():
                return self._below(declared, source, details, row)
        raise NotCompiled(f"{row.shape.name}.{details[0].node.name.value}")

    def _global_id(self, row: Row) -> ColumnElement[str]:
        return sql.join(f'"{PREFIXES[row.shape.entity]}_', sql.hexadecimal(row.view.key), '"')

    def _column(self, declared: GraphQLField, row: Row, column: str, field: str) -> Piece:
        return self._value(declared, row.view.column(column, field), row, can_be_null=row.view.nullable(column, field))

    def _value(self, declared: GraphQLField, element: ColumnElement[Any], row: Row, *, can_be_null: bool) -> Piece:
        """A scalar, an enum, or a list of them."""
        text, finish = scalar(get_named_type(declared.type), element, is_list=_is_list(declared))
        if can_be_null:
            text = func.coalesce(text, sql.refused(row.view.key) if isinstance(declared.type, GraphQLNonNull) else NULL)
        return Piece(text, finish)

    def _or_null(self, declared: GraphQLField, found: Piece, row: Row) -> Piece:
        """A value that may be absent: null then, or no answer at all where the schema says that it never is."""
        instead: Any = sql.refused(row.view.key) if isinstance(declared.type, GraphQLNonNull) else NULL
        return Piece(func.coalesce(found.text, instead), _unless_null(found.finish))

    def _money(self, declared: GraphQLField, source: MoneyOf, details: list[FieldDetails], row: Row) -> Piece:
        minor, currency = source.elements(row.view)
        kind = get_named_type(declared.type)
        words = {"amount": sql.in_quotes(sql.amount(minor, currency)), "currency": sql.string(currency)}
        fields = self.below(kind, details)
        piece = self.fields(kind, fields, lambda _key, found: Piece(words[found[0].node.name.value]))
        absent = minor.is_(None) | currency.is_(None)
        plain = len(source.columns) == len(source.parts)
        if plain and not any(row.view.nullable(column, source.name) for column in source.columns):
            return piece
        return self._or_null(declared, Piece(case((absent, null()), else_=piece.text)), row)

    def _derived(self, declared: GraphQLField, source: Derived, details: list[FieldDetails], row: Row) -> Piece:
        """The columns in the place of the value, which Python makes of them."""
        elements = source.elements(row.view)
        readers = [sql.reader(element.type) for element in elements]
        text = sql.join("[", *_between(",", [sql.bare(element) for element in elements]), "]")
        serialise = self._serialised(declared.type, details)
        language, absent = self.language, _absent(declared)

        def finish(carried: Any, asking: Asking) -> Any:
            values = [read(value) for read, value in zip(readers, carried, strict=True)]
            made = source.made(values, language)
            return serialise(made, asking) if made is not None else absent()

        return Piece(text, finish)

    def _looked_up(self, declared: GraphQLField, source: LookedUp, details: list[FieldDetails], row: Row) -> Piece:
        """The columns in the place of the value; what Python needs beside them comes with the statement, once."""
        elements = source.elements(row.view)
        readers = [sql.reader(element.type) for element in elements]
        text = sql.join("[", *_between(",", [sql.bare(element) for element in elements]), "]")
        serialise, language, key = self._serialised(declared.type, details), self.language, source.beside.key
        self.beside[key] = source.beside.statement()

        def finish(carried: Any, asking: Asking) -> Any:
            values = [read(value) for read, value in zip(readers, carried, strict=True)]
            if all(value is None for value in values):
                return []
            return serialise(source.build(language, asking.beside[key], *values), asking)

        return Piece(text, finish)

    def _embedded(self, declared: GraphQLField, source: Embedded, details: list[FieldDetails], row: Row) -> Piece:
        inside = source.inside(row.view)
        piece = self.object(get_named_type(declared.type), details, Row(source.target, inside))
        present = source.present(row.view)
        if isinstance(present, True_):
            return piece
        return self._or_null(declared, Piece(case((present, piece.text)), piece.finish), row)

    def _serialised(self, kind: Any, details: list[FieldDetails]) -> Finish:
        """What writes a value of Python as the answer has it."""
        if isinstance(kind, GraphQLNonNull):
            return self._serialised(kind.of_type, details)
        if isinstance(kind, GraphQLList):
            one = self._serialised(kind.of_type, details)
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
        serialise = self._serialised(declared.type, details)
        if worded is not None:
            return lambda value, asking: serialise(worded(value, asking.context.language), asking)
        return lambda value, asking: serialise(getattr(value, definition.python_name), asking)

    # ---- other records -------------------------------------------------------------------------------------------

    def _to_one(self, declared: GraphQLField, source: ToOne, details: list[FieldDetails], row: Row) -> Piece:
        id = row.view.column(source.columns[0], source.name)
        found = self.record(source.target, get_named_type(declared.type), details, id)
        return self._or_null(declared, found, row)

    def record(
        self, shape: Shape, kind: GraphQLObjectType, details: list[FieldDetails], id: ColumnElement[UUID]
    ) -> Piece:
        """The object of the record with an id; null where the reader does not see it."""
        view = self.view(shape)
        seen = view.rows()
        if isinstance(seen, False_) or isinstance(id, Null) or (isinstance(id, Cast) and isinstance(id.clause, Null)):
            return Piece(null())
        piece = self.object(kind, details, Row(shape, view))
        return Piece(_one(piece.text, view.table, view.key == id, seen), piece.finish)

    def _to_any(self, declared: GraphQLField, source: ToAny, details: list[FieldDetails], row: Row) -> Piece:
        kind, id = (row.view.column(column, source.name) for column in source.columns)
        abstract = get_named_type(declared.type)
        assert isinstance(abstract, GraphQLInterfaceType | GraphQLUnionType)  # noqa: S101 - what such a field leads to
        shapes = [SHAPES[one.name] for one in self.schema.get_possible_types(abstract)]
        chosen = [shape for shape in shapes if source.kinds is None or shape.entity in source.kinds]
        return self._or_null(declared, self.any_record(chosen, details, kind, id), row)

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

    def _part(self, declared: GraphQLField, source: Part, details: list[FieldDetails], row: Row) -> Piece:
        view = self.view(source.target)
        numbers = [row.view.column(column, source.name) for column in source.columns]
        number = numbers[0] if len(numbers) == 1 else func.coalesce(*numbers)
        own = Row(source.target, view)
        if source.show is None:
            piece = self.object(get_named_type(declared.type), details, own)
        else:
            text, last = scalar(get_named_type(declared.type), view.column(source.show, source.show), is_list=False)
            piece = Piece(text, last)
        wanted = and_(view.table.c[source.below] == row.view.key, view.table.c[source.number] == number)
        return self._or_null(declared, Piece(_one(piece.text, view.table, wanted, view.rows()), piece.finish), row)

    # ---- lists ---------------------------------------------------------------------------------------------------

    def _below(self, declared: GraphQLField, source: Below, details: list[FieldDetails], row: Row) -> Piece:
        def conditions(view: View) -> list[ColumnElement[bool]]:
            same = [view.table.c[name] == value for name, value in source.where.items()]
            return [view.table.c[source.column] == row.view.key, *same, row.view.shows(source.name)]

        if _is_connection(declared):
            return self._connection(declared, details, source.target, source.order, conditions)
        given = self.arguments(declared, details)
        limit = self.size(given, "last") if "last" in given else None
        return self.rows(get_named_type(declared.type), details, source.target, source.order, conditions, limit)

    def rows(
        self,
        kind: GraphQLObjectType,
        details: list[FieldDetails],
        shape: Shape,
        order: Order,
        conditions: Callable[[View], list[ColumnElement[bool]]],
        limit: int | None,
    ) -> Piece:
        """A list of rows that meet the conditions."""
        raw = self.view(shape)
        asked = _together([raw.rows(), *conditions(raw)])
        if asked is None:
            return Piece(sql.quoted("[]"))
        chosen = select(raw.table).where(*asked).order_by(*raw.order_by(order)).limit(limit)
        inner = chosen.correlate_except(raw.table).subquery()
        piece = self.object(kind, details, Row(shape, self.view(shape, inner)))
        return _list_text(piece, inner)

    def _scope(self, row: Row) -> Scope:
        """The scope of what hangs on a row."""
        key = row.view.key
        return Scope(self.actor, self.language, lambda column: column == key, row.view.table)

    def _values(self, inputs: Mapping[str, Input], given: Mapping[str, Given]) -> dict[str, Any]:
        """The arguments of a listing as its statement takes them."""
        return {
            name: self._put(one, given.get(DEFAULT_NAMES.apply_naming_config(name))) for name, one in inputs.items()
        }

    def _put(self, one: Input, given: Given | None) -> Any:
        if given is None or given.value is None:
            return None
        convert = one.convert or (lambda value: value)
        now = convert(given.value)
        if one.kind is None or now is None:
            return now
        read = given.read
        return self.slot(lambda asking: convert(read(asking.variables)), one.kind)

    def _listed(self, declared: GraphQLField, source: Listed, details: list[FieldDetails], row: Row) -> Piece:
        scope, given = self._scope(row), self.arguments(declared, details)
        limit = self.size(given, "last") if source.last else None
        made = scope.within(source.rows(scope, **self._values(source.inputs, given)))
        return self._shown(declared, source, details, made.where(row.view.shows(source.name)), limit)

    def _shown(
        self, declared: GraphQLField, source: Listed, details: list[FieldDetails], made: Select[Any], limit: int | None
    ) -> Piece:
        """The rows of a statement in their order."""
        rows = made.subquery()
        ordered = source.target.view(rows, self.actor, self.language).order_by(source.order)
        inner = select(rows).order_by(*ordered).limit(limit).subquery()
        view = source.target.view(inner, self.actor, self.language)
        piece = self.object(get_named_type(declared.type), details, Row(source.target, view))
        return _list_text(piece, inner)

    def _alike(self, declared: GraphQLField, source: Alike, details: list[FieldDetails], row: Row) -> Piece:
        scope = self._scope(row)
        found = scope.within(source.rows(scope)).subquery()

        def conditions(view: View) -> list[ColumnElement[bool]]:
            return [view.key.in_(select(found.c.other)), row.view.shows(source.name)]

        kind = get_named_type(declared.type)
        return self.rows(kind, details, source.target, by("id"), conditions, source.most)

    def _connection(
        self,
        declared: GraphQLField,
        details: list[FieldDetails],
        shape: Shape,
        order: Order,
        conditions: Callable[[View], list[ColumnElement[bool]]],
    ) -> Piece:
        given = self.arguments(declared, details)
        first = self.size(given, "first")
        after = given.get("after")
        kinds = key_types(shape.model, order)
        values = self._cursor(kinds, order, after) if after is not None and after.value else None
        raw = self.view(shape)
        asked = _together([raw.rows(), *conditions(raw)])
        page = _Page(self, declared, details, order, first, begins_after=values is not None)
        if asked is None:
            return page.empty()
        begun = asked if values is None else [*asked, raw.after(order, values)]

        def chosen(limit: int, *numbers: ColumnElement[Any]) -> Select[Any]:
            rows = select(raw.table, *numbers).where(*begun).order_by(*raw.order_by(order)).limit(limit)
            return rows.correlate_except(raw.table)

        return page.compiled(
            raw, chosen, lambda inner: Row(shape, self.view(shape, inner)), lambda: page.total(raw.table, asked)
        )

    def _paged(self, declared: GraphQLField, source: Paged, details: list[FieldDetails], row: Row) -> Piece:
        scope, given = self._scope(row), self.arguments(declared, details)
        first, after = self.size(given, "first"), given.get("after")
        values = self._cursor(source.kinds, source.order, after) if after is not None and after.value else None
        arguments = self._values(source.inputs, given)
        page = _Page(self, declared, details, source.order, first, begins_after=values is not None)

        def made(begin: Begin) -> FromClause:
            return scope.within(source.rows(scope, begin, **arguments).where(row.view.shows(source.name))).subquery()

        target, begun = source.target, made(Begin(values, first + page.numbered))
        raw = target.view(begun, self.actor, self.language)

        def chosen(limit: int, *numbers: ColumnElement[Any]) -> Select[Any]:
            return select(begun, *numbers).order_by(*raw.order_by(source.order)).limit(limit)

        def shown(inner: FromClause) -> Row:
            return Row(target, target.view(inner, self.actor, self.language))

        return page.compiled(raw, chosen, shown, lambda: page.total(made(Begin()), []))

    def _cursor(self, types: Sequence[TypeEngine[Any]], order: Order, after: Given) -> list[Any]:
        """The key values of a cursor: null where they are now, parameters elsewhere."""
        read = after.read

        def value(number: int) -> Callable[[Asking], Any]:
            return lambda asking: read_cursor(types, order, read(asking.variables))[number]

        now = read_cursor(types, order, after.value)
        return [None if one is None else self.slot(value(number), types[number]) for number, one in enumerate(now)]

    # ---- roots ---------------------------------------------------------------------------------------------------

    def _root(self, kind: GraphQLObjectType, key: str, details: list[FieldDetails]) -> Piece:
        name = details[0].node.name.value
        if name.startswith("__"):
            raise NotCompiled(name)
        declared = kind.fields[name]
        source = source_of(declared)
        match source:
            case Whole():
                return self._whole(key, declared, source, details)
            case ByGlobalId():
                return self._by_global_id(declared, details)
            case Own():
                return self._own(declared, source, details)
            case Chosen():
                given = self._values(source.inputs, self.arguments(declared, details))
                shape, inner = source.target, get_named_type(declared.type)
                return self.rows(
                    inner, details, shape, shape.order, lambda view: source.conditions(view, **given), None
                )
            case Listed():
                given = self._values(source.inputs, self.arguments(declared, details))
                everywhere = Scope(self.actor, self.language, lambda _column: true())
                return self._shown(declared, source, details, source.rows(everywhere, **given), None)
        raise NotCompiled(f"{kind.name}.{name}")

    def _by_global_id(self, declared: GraphQLField, details: list[FieldDetails]) -> Piece:
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
        return Piece(func.coalesce(piece.text, NULL), _unless_null(piece.finish))

    def _own(self, declared: GraphQLField, source: Own, details: list[FieldDetails]) -> Piece:
        shape = source.target
        view = View(shape.model, shape.withheld, shape.model.__table__.alias(), SYSTEM, self.language)
        piece = self.object(get_named_type(declared.type), details, Row(shape, view))
        found = _one(piece.text, view.table, view.key == literal(self.actor.user_id, Uuid()), view.rows())
        return Piece(func.coalesce(found, NULL), _unless_null(piece.finish))

    def _whole(self, key: str, declared: GraphQLField, source: Whole, details: list[FieldDetails]) -> Piece:
        shape = source.target
        if source.is_optional and not may_read(shape.model, self.actor):
            self.refused.append((key, [detail.node for detail in details], Forbidden(NO_SIGHT)))
            return Piece(sql.quoted(NULL))
        given = self.arguments(declared, details)
        wanted = given.get("orderBy")
        order = source.orders[wanted.value] if wanted is not None and wanted.value else shape.order

        def conditions(view: View) -> list[ColumnElement[bool]]:
            return list(self._filtered(source, given.get("filter"), view))

        return self._connection(declared, details, shape, order, conditions)

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


class _Page:
    """One page of a connection on its way into the statement."""

    def __init__(
        self,
        compiler: Compiler,
        declared: GraphQLField,
        details: list[FieldDetails],
        order: Order,
        first: int,
        *,
        begins_after: bool,
    ) -> None:
        self.compiler = compiler
        self.kind: GraphQLObjectType = get_named_type(declared.type)
        self.fields = compiler.below(self.kind, details)
        self.named = {details[0].node.name.value for details in self.fields.values()}
        self.order = order
        self.first = first
        self.begins_after = "true" if begins_after else "false"
        self.number: ColumnElement[int] = literal_column("NULL")

    @property
    def numbered(self) -> bool:
        """Whether the rows need numbers: one more than the page is read then, which says whether there is more."""
        return "pageInfo" in self.named

    def empty(self) -> Piece:
        """A page of nothing."""
        nothing = {"hasNextPage": "false", "hasPreviousPage": self.begins_after, "startCursor": NULL, "endCursor": NULL}

        def write(_key: str, details: list[FieldDetails]) -> Piece:
            name = details[0].node.name.value
            if name != "pageInfo":
                return Piece(sql.quoted("0" if name == "totalCount" else "[]"))
            info = get_named_type(self.kind.fields[name].type)
            return self.compiler.fields(
                info,
                self.compiler.below(info, details),
                lambda _key, found: Piece(sql.quoted(nothing[found[0].node.name.value])),
            )

        return self.compiler.fields(self.kind, self.fields, write)

    def compiled(
        self,
        raw: View,
        chosen: Callable[..., Select[Any]],
        shown: Callable[[FromClause], Row],
        total: Callable[[], ColumnElement[str]],
    ) -> Piece:
        """The rows of the page, where it stands and how many rows there are, as far as they are asked for."""
        numbers = []
        if self.numbered:
            numbers.append(func.row_number().over(order_by=raw.order_by(self.order)).label("row_number"))
        inner = chosen(self.first + self.numbered, *numbers).subquery()
        row = shown(inner)
        if self.numbered:
            self.number = inner.c.row_number

        def write(_key: str, details: list[FieldDetails]) -> Piece:
            declared = self.kind.fields[details[0].node.name.value]
            match details[0].node.name.value:
                case "edges":
                    return self._edges(declared, details, row, numbered=self.numbered)
                case "pageInfo":
                    return self._page_info(declared, details, row)
                case _:
                    return Piece(total())

        piece = self.compiler.fields(self.kind, self.fields, write)
        if self.named.isdisjoint({"edges", "pageInfo"}):
            return piece
        return Piece(select(piece.text).select_from(inner).correlate_except(inner).scalar_subquery(), piece.finish)

    def _edges(self, declared: GraphQLField, details: list[FieldDetails], row: Row, *, numbered: bool) -> Piece:
        kind = get_named_type(declared.type)

        def write(_key: str, found: list[FieldDetails]) -> Piece:
            if found[0].node.name.value == "cursor":
                return Piece(sql.in_quotes(self._place(row.view)))
            inner = get_named_type(kind.fields["node"].type)
            return self.compiler.object(inner, found, row)

        piece = self.compiler.fields(kind, self.compiler.below(kind, details), write)
        text = case((self.number <= self.first, piece.text)) if numbered else piece.text
        listed = sql.join("[", func.coalesce(sql.list_of(text), ""), "]")
        return Piece(listed, _finish_list(piece.finish))

    def _page_info(self, declared: GraphQLField, details: list[FieldDetails], row: Row) -> Piece:
        kind = get_named_type(declared.type)
        place = self._place(row.view)
        numbered = sql.join(sql.whole(literal(10**6, Integer()) + self.number), place)
        last = func.substr(func.max(case((self.number <= self.first, numbered))), 8)
        begin = func.max(case((self.number == 1, place)))
        words: dict[str, ColumnElement[str]] = {
            "hasNextPage": sql.truth(func.count() > self.first),
            "hasPreviousPage": sql.quoted(self.begins_after),
            "startCursor": func.coalesce(sql.in_quotes(begin), NULL),
            "endCursor": func.coalesce(sql.in_quotes(last), NULL),
        }
        fields = self.compiler.below(kind, details)
        return self.compiler.fields(kind, fields, lambda _key, found: Piece(words[found[0].node.name.value]))

    def _place(self, view: View) -> ColumnElement[str]:
        """The row's cursor, as `write_cursor` writes it."""
        values = [sql.bare(view.column(key.column)) for key in self.order.keys]
        return sql.cursor_of(sql.join(f'["{self.order.words}",', *_between(",", values), "]"))

    @staticmethod
    def total(table: FromClause, asked: list[ColumnElement[bool]]) -> ColumnElement[str]:
        """How many rows there are on all pages."""
        return _one(sql.whole(func.count()), table, *asked)


def _changed(number: int) -> Callable[[Asking], UUID]:
    return lambda asking: asking.changed[number]


def as_input(declared: StrawberryField) -> Callable[[Any], Any]:
    """What makes the input that a room's code knows of what GraphQL read: objects of the input's class of mappings."""
    kind = declared.type.of_type if isinstance(declared.type, StrawberryOptional) else declared.type
    definition = get_object_definition(kind)
    if definition is None:
        return lambda value: value
    names = {DEFAULT_NAMES.get_graphql_name(field): field.python_name for field in definition.fields}
    return lambda value: definition.origin(**{names[name]: part for name, part in value.items()})


# ---- pieces ----------------------------------------------------------------------------------------------------------


def source_of(declared: GraphQLField) -> Source | None:
    """Where a field's value comes from, as its type declares it."""
    definition = declared.extensions.get("strawberry-definition")
    return None if definition is None else definition.metadata.get("source")


def scalar(kind: Any, element: ColumnElement[Any], *, is_list: bool) -> Piece:
    """A value that is no object, by the schema's type for it."""
    if is_list or kind.name in {"JSON", "Float"}:
        return Piece(sql.json(element), as_it_is)
    match kind.name:
        case "Boolean":
            return Piece(sql.truth(element))
        case "Int":
            return Piece(sql.whole(element))
        case "DateTime":
            return Piece(sql.in_quotes(sql.instant(element)))
        case "Date":
            return Piece(sql.in_quotes(sql.day(element)))
    if isinstance(kind, GraphQLEnumType):
        return Piece(sql.in_quotes(element))
    if isinstance(element.type, Uuid) or kind.name not in {"String", "ID"}:
        raise NotCompiled(kind.name)
    return Piece(sql.string(element))


def _is_list(declared: GraphQLField) -> bool:
    kind = declared.type.of_type if isinstance(declared.type, GraphQLNonNull) else declared.type
    return isinstance(kind, GraphQLList)


def _is_connection(declared: GraphQLField) -> bool:
    return get_named_type(declared.type).name.endswith("Connection")


def _between(mark: str, elements: list[ColumnElement[Any]]) -> list[str | ColumnElement[Any]]:
    parts: list[str | ColumnElement[Any]] = []
    for number, element in enumerate(elements):
        parts += [mark, element] if number else [element]
    return parts


def _together(conditions: list[ColumnElement[bool]]) -> list[ColumnElement[bool]] | None:
    """The conditions; None where one of them holds for no row."""
    return None if any(isinstance(condition, False_) for condition in conditions) else conditions


def _one(text: ColumnElement[str], table: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[str]:
    return select(text).select_from(table).where(*conditions).correlate_except(table).scalar_subquery()


def _list_text(piece: Piece, rows: FromClause) -> Piece:
    text = sql.join("[", func.coalesce(sql.list_of(piece.text), ""), "]")
    listed: Select[Any] = select(text).select_from(rows).correlate_except(rows)
    return Piece(listed.scalar_subquery(), _finish_list(piece.finish))


def _finish_fields(finishes: Mapping[str, Finish]) -> Finish:
    known = tuple(finishes.items())

    def finish(carried: Any, asking: Asking) -> Any:
        for key, last in known:
            carried[key] = last(carried[key], asking)
        return carried

    return finish


def _finish_list(last: Finish | None) -> Finish | None:
    if last is None:
        return None
    return lambda carried, asking: [last(one, asking) for one in carried]


def _absent(declared: GraphQLField) -> Callable[[], Any]:
    """What stands where there is nothing: null, an empty list, or no answer at all."""
    if not isinstance(declared.type, GraphQLNonNull):
        return lambda: None
    if isinstance(declared.type.of_type, GraphQLList):
        return list

    def refuse() -> Any:
        raise NotCompiled("null")

    return refuse


def _unless_null(last: Finish | None) -> Finish | None:
    if last is None:
        return None
    return lambda carried, asking: None if carried is None else last(carried, asking)
