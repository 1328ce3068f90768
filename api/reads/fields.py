"""The words in which a type declares its fields; the resolvers behind them are the same for every type."""

from asyncio import gather
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import ColumnElement, False_, FromClause, func, literal, select, true, tuple_
from sqlalchemy.types import TypeEngine

from api.context import Context, Info
from api.reads.filters import check, conditions
from api.reads.ids import read_id
from api.reads.lists import Connection, Found, Listing, Page, check_size, empty_connection, paged
from api.reads.shapes import (
    NO_SIGHT,
    SHAPES,
    Alike,
    Begin,
    Below,
    Beside,
    ByGlobalId,
    Chosen,
    Column,
    Derived,
    Embedded,
    Expressed,
    Expression,
    Gathered,
    Input,
    Listed,
    Localized,
    LookedUp,
    MoneyOf,
    Own,
    Paged,
    Part,
    Related,
    Row,
    Rows,
    Scope,
    Shape,
    Source,
    ToAny,
    ToOne,
    Whole,
    shape_of,
)
from api.reads.view import Order, View, read_cursor, write_cursor
from domain import kernel
from domain.kernel import Forbidden, Language, Ref, may_read

Where = Mapping[str, Any]


@strawberry.type(description="An exact amount of one currency.")
class Money:
    """How the schema shows the domain's money."""

    amount: Decimal = strawberry.field(description="The amount in major units, exact.")
    currency: str = strawberry.field(description="The ISO 4217 code.")


def _declare(source: Source, description: str, resolver: Callable[..., Any] | None = None) -> Any:
    metadata = {"source": source}
    if resolver is None:
        return strawberry.field(description=description, metadata=metadata)
    return strawberry.field(resolver=resolver, description=description, metadata=metadata)


def column(description: str, name: str | None = None) -> Any:
    """A field that shows a column, by default the one of its own name."""
    return _declare(Column(name), description)


def localized(stem: str, description: str) -> Any:
    """A field that shows `stem_zh` or `stem_en`, whichever the reader reads."""
    return _declare(Localized(stem), description)


def derived(columns: tuple[str, ...], build: Callable[..., Any], description: str) -> Any:
    """A field that a pure function makes of columns."""
    return _declare(Derived(columns, build), description)


def in_words(columns: tuple[str, ...], build: Callable[..., Any], description: str) -> Any:
    """A field that a pure function makes of the reader's language and of columns."""
    source = Derived(columns, build)
    source.in_words = True
    return _declare(source, description)


def worded(build: Callable[[Any, Language], Any], description: str) -> Any:
    """A field of a plain object that a function says in the reader's language."""

    async def resolve(root: Any, info: Info) -> Any:
        return build(root, info.context.language)

    return strawberry.field(resolver=_taking(resolve), description=description, metadata={"worded": build})


def expressed(expression: Expression, description: str) -> Any:
    """A field that the database computes of the row."""
    return _declare(Expressed(expression), description)


def embedded(description: str, columns: Collection[str] = (), **slots: str | Expression) -> Any:
    """A field that shows a part of the row as an object: the type's columns, by columns of the row or expressions over it.

    `columns` are those that the expressions read. It is null where it may be and no slot holds anything.
    """
    return _declare(Embedded(slots, columns), description)


def gathered(lookups: tuple[Expression, ...], build: Callable[..., Any], description: str) -> Any:
    """A field that a pure function makes of what lookups beside the row find; null or empty where all of them find nothing."""
    source = Gathered(lookups, build)

    async def resolve(root: Any, info: Info) -> Any:
        context, shape = info.context, source.owner

        async def fetch(ids: list[UUID]) -> Mapping[UUID, Any]:
            view = shape.view(context.reader, context.language)
            found = [element.label(f"found_{at}") for at, element in enumerate(source.elements(view))]
            rows = await context.rows(select(view.key.label("id"), *found).where(view.key.in_(ids)))
            return {row["id"]: source.made(list(row.values())[1:], view.language) for row in rows}

        found = await context.load(source, root.row_id, fetch)
        return [] if found is None and source.is_list else found

    return _declare(source, description, _taking(resolve))


def looked_up(columns: tuple[str, ...], beside: Beside, build: Callable[..., Any], description: str) -> Any:
    """A list field that a function makes of the reader's language, rows that are the same for every object, and columns.

    It is empty where all the columns are null.
    """
    source = LookedUp(columns, beside, build)

    async def resolve(root: Any, info: Info) -> Any:
        values, context = root.__dict__[source.name], info.context
        if values is None:
            return []
        known = await load_beside(context, beside)
        return build(context.language, known, *values)

    return _declare(source, description, _taking(resolve))


async def load_beside(context: Context, beside: Beside) -> list[tuple[Any, ...]]:
    """The rows that an operation needs once."""

    async def fetch(_keys: list[str]) -> dict[str, Any]:
        return {beside.key: [tuple(row.values()) for row in await context.rows(beside.statement())]}

    return list(await context.load(("beside", beside.key), beside.key, fetch))


def money(amount_minor: str | Expression, currency: str | Expression, description: str) -> Any:
    """A field that shows an amount in minor units and its currency as money."""

    def build(amount: int | None, code: str | None) -> kernel.Money | None:
        return None if amount is None or code is None else kernel.Money(amount, code)

    return _declare(MoneyOf((amount_minor, currency), build), description)


# ---- arguments -------------------------------------------------------------------------------------------------------


def _argument(name: str, kind: Any, description: str, default: Any = Parameter.empty) -> Parameter:
    annotation = Annotated[kind, strawberry.argument(description=description)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


FIRST = _argument("first", int, "How many rows at most: 1 to 100.", 20)
AFTER = _argument(
    "after", str | None, "The cursor after which to begin: `endCursor` of the page before.", strawberry.UNSET
)
LAST = _argument("last", int, "How many at most, newest first: 1 to 100.", 20)


def _taking(resolver: Callable[..., Any], *arguments: Parameter) -> Callable[..., Any]:
    """The resolver with the arguments that the schema is to show."""
    fixed = [
        Parameter("root", Parameter.POSITIONAL_OR_KEYWORD),
        Parameter("info", Parameter.POSITIONAL_OR_KEYWORD, annotation=Info),
    ]
    resolver.__signature__ = Signature([*fixed, *arguments])  # type: ignore[attr-defined]
    return resolver


# ---- one record ------------------------------------------------------------------------------------------------------


async def load_one(context: Context, shape: Shape, id: UUID) -> Any:
    """The object with an id, read together with every other that is asked for now; None where the reader does not see it."""

    async def fetch(ids: list[UUID]) -> dict[UUID, Any]:
        view = shape.view(context.reader, context.language)
        found = {one.row_id: one for one in await _objects(context, shape, view, view.rows(), ids)}
        missing = [id for id in ids if id not in found]
        if missing and "merged_into_id" in view.table.c:
            found |= await _survivors(context, shape, view, missing)
        return found

    return await context.load(("one", shape.entity), id, fetch)


async def _survivors(context: Context, shape: Shape, view: View, ids: list[UUID]) -> dict[UUID, Any]:
    """The objects into which those with these ids were merged: old links keep working."""
    table = shape.model.__table__
    merged = select(table.c.id, table.c.merged_into_id).where(table.c.id.in_(ids), table.c.merged_into_id.is_not(None))
    into = {row["id"]: row["merged_into_id"] for row in await context.rows(merged, kernel.SYSTEM)}
    objects = await _objects(context, shape, view, view.rows(), sorted(set(into.values()))) if into else []
    found = {one.row_id: one for one in objects}
    return {id: found[survivor] for id, survivor in into.items() if survivor in found}


class Selected:
    """A record of a mutation's payload, read as the reader sees it when it is asked for."""

    __slots__ = ("_context", "_shape", "row_id")

    def __init__(self, context: Context, shape: Shape, row_id: UUID) -> None:
        self._context = context
        self._shape = shape
        self.row_id = row_id

    def __await__(self) -> Generator[Any, None, Any]:
        return load_one(self._context, self._shape, self.row_id).__await__()


def selected(info: Info, kind: type, id: UUID) -> Any:
    """The record with an id, for a payload: what is selected of it is read once the change is done."""
    return Selected(info.context, shape_of(kind), id)


async def load_self(context: Context, shape: Shape, id: UUID) -> Any:
    """The reader's own record, whatever roles they hold."""
    view = shape.view(kernel.SYSTEM, context.language)
    return next(iter(await _objects(context, shape, view, view.rows(), [id])), None)


async def _objects(context: Context, shape: Shape, view: View, seen: Any, ids: list[UUID]) -> list[Any]:
    if isinstance(seen, False_):
        return []
    statement = select(*shape.select(view)).where(view.table.c.id.in_(ids), seen)
    return [shape.build(row, view) for row in await context.rows(statement, view.actor)]


async def load_ref(context: Context, ref: Ref) -> Any:
    """The object that a reference names; None where it is of no type of the schema or not the reader's to see."""
    shape = SHAPES.get(ref.kind)
    return None if shape is None or not shape.is_node else await load_one(context, shape, ref.id)


def to_one(column: str, description: str) -> Any:
    """A field that leads to the record whose id the column holds."""
    source = ToOne(column)

    async def resolve(root: Any, info: Info) -> Any:
        id = root.__dict__[source.name]
        return None if id is None else await load_one(info.context, source.target, id)

    return _declare(source, description, _taking(resolve))


def to_any(kind_column: str, id_column: str, description: str, *, kinds: Collection[str] | None = None) -> Any:
    """A field that leads to a record of any type, or of the entities named."""

    def build(kind: str | None, id: UUID | None) -> Ref | None:
        return None if kind is None or id is None else Ref(kind, id)

    source = ToAny((kind_column, id_column), build, kinds)

    async def resolve(root: Any, info: Info) -> Any:
        ref = root.__dict__[source.name]
        return None if ref is None else await load_ref(info.context, ref)

    return _declare(source, description, _taking(resolve))


def part(
    numbers: tuple[str, ...],
    description: str,
    *,
    below: str,
    number: str,
    of: str | None = None,
    show: str | None = None,
) -> Any:
    """A field that leads to the object's part with the first number that the columns hold.

    A part's column `below` holds the object's id, `number` its number. With `show` the field has that value of the part,
    whose type `of` then names.
    """
    source = Part(numbers, below, number, of, show)

    async def resolve(root: Any, info: Info) -> Any:
        wanted = root.__dict__[source.name]
        found = None if wanted is None else await _load_part(info.context, source, (root.row_id, wanted))
        return found if show is None or found is None else found.__dict__[show]

    return _declare(source, description, _taking(resolve))


async def _load_part(context: Context, source: Part, key: tuple[UUID, int]) -> Any:
    shape = source.target

    async def fetch(keys: list[tuple[UUID, int]]) -> dict[tuple[UUID, int], Any]:
        view = shape.view(context.reader, context.language)
        below, number = view.table.c[source.below], view.table.c[source.number]
        found = select(*shape.select(view), below.label("part_of"), number.label("part_number"))
        rows = await context.rows(found.where(tuple_(below, number).in_(keys), view.rows()))
        return {(row["part_of"], row["part_number"]): shape.build(row, view) for row in rows}

    return await context.load(("part", shape.entity, source.below, source.number), key, fetch)


# ---- lists -----------------------------------------------------------------------------------------------------------


def _below(source: Below) -> Listing:
    def conditions(view: View) -> list[Any]:
        return [view.table.c[name] == value for name, value in source.where.items()]

    return Listing(source.target, source.order, source.column, conditions)


async def _listed(root: Any, context: Context, source: Below, limit: int | None) -> list[Any]:
    if not root.__dict__[source.name]:
        return []
    listing = _below(source)

    async def fetch(parents: list[UUID | None]) -> Mapping[UUID | None, list[Any]]:
        groups = await listing.read(context, parents, limit=limit)
        return {parent: [found for _, found in rows] for parent, rows in groups.items()}

    return list(await context.load((source, limit), root.row_id, fetch, ()))


def many(column: str, description: str, *, order: Order | None = None, where: Where | None = None) -> Any:
    """A field with every row whose column holds the object's id; for lists that are short by nature."""
    source = Below(column, order, where)

    async def resolve(root: Any, info: Info) -> list[Any]:
        return await _listed(root, info.context, source, None)

    return _declare(source, description, _taking(resolve))


def newest(column: str, description: str, *, where: Where | None = None) -> Any:
    """A field with the first rows, in their type's order, whose column holds the object's id."""
    source = Below(column, None, where)

    async def resolve(root: Any, info: Info, last: int) -> list[Any]:
        check_size(info.context, last, "last")
        return await _listed(root, info.context, source, last)

    return _declare(source, description, _taking(resolve, LAST))


def connection(column: str, description: str, *, order: Order | None = None, where: Where | None = None) -> Any:
    """A field with the rows whose column holds the object's id, in pages."""
    source = Below(column, order, where)

    async def resolve(root: Any, info: Info, first: int, after: str | None = None) -> Connection[Any]:
        page = paged(info.context, _below(source), root.row_id, first, after or None, source)
        return page if root.__dict__[source.name] else empty_connection(begins_after=bool(after))

    return _declare(source, description, _taking(resolve, FIRST, AFTER))


def batched(load: Callable[..., Awaitable[Mapping[UUID, Any]]], description: str) -> Any:
    """A field that a room computes for many objects at once; the function's keyword arguments are the field's.

    Where the reader does not see it, or nothing is computed, it is null if it may be, else an empty list.
    """
    source = Related()
    arguments = [p for p in signature(load).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        absent = None if source.is_optional else ()
        if not root.__dict__[source.name]:
            return absent

        async def fetch(ids: list[UUID]) -> Mapping[UUID, Any]:
            return await load(info.context, ids, **given)

        return await info.context.load((source, *sorted(given.items())), root.row_id, fetch, absent)

    return _declare(source, description, _taking(resolve, *arguments))


def listed(rows: Rows, description: str, *inputs: Input, order: Order, last: bool = False) -> Any:
    """A field with rows that a statement makes, all of them or with `last` the first ones in their order."""
    source = Listed(rows, order, inputs, last=last)

    async def resolve(root: Any, info: Info, last: int | None = None, **given: Any) -> list[Any]:
        context = info.context
        if last is not None:
            check_size(context, last, "last")
        values = {name: _put(source.inputs[name], value) for name, value in given.items()}
        if root is None:
            return (await _rows_of(context, source, None, last, values)).get(None, [])
        if not root.__dict__[source.name]:
            return []

        async def fetch(ids: list[UUID]) -> Mapping[UUID | None, list[Any]]:
            return await _rows_of(context, source, ids, last, values)

        return list(await context.load((source, last, *sorted(given.items())), root.row_id, fetch, ()))

    return _declare(
        source, description, _taking(resolve, *([LAST] if last else []), *(one.parameter for one in inputs))
    )


def _put(given: Input, value: Any) -> Any:
    """An argument's value as a listing's statement takes it; None where it was left out."""
    if value is None or value is strawberry.UNSET:
        return None
    found = given.convert(value) if given.convert else value
    return found if given.kind is None or found is None else literal(found, given.kind)


async def _rows_of(
    context: Context, source: Listed, parents: list[UUID] | None, last: int | None, given: Mapping[str, Any]
) -> dict[UUID | None, list[Any]]:
    """The rows below each object, or (parents None) all there are."""

    def below(column: ColumnElement[Any]) -> ColumnElement[bool]:
        return true() if parents is None else column.in_(parents)

    made = source.rows(Scope(context.reader, context.language, below), **given).subquery()
    view = source.target.view(made, context.reader, context.language)
    order = view.order_by(source.order)
    columns = [*source.target.select(view)]
    if parents is not None:
        columns.append(made.c.parent.label("listed_below"))
    statement = select(*columns).order_by(*order)
    if last is not None:
        rank = func.row_number().over(partition_by=made.c.parent, order_by=order).label("rank")
        ranked = select(*columns, rank).subquery()
        statement = select(ranked).where(ranked.c.rank <= last).order_by(ranked.c.rank)
    groups: dict[UUID | None, list[Any]] = {}
    for row in await context.rows(statement):
        groups.setdefault(row.get("listed_below"), []).append(source.target.build(row, view))
    return groups


def paged_rows(rows: Rows, description: str, *inputs: Input, order: Order, kinds: Sequence[TypeEngine[Any]]) -> Any:
    """A field with rows that a statement makes, in pages: `kinds` are the types of the order's keys."""
    source = Paged(rows, order, kinds, inputs)

    async def resolve(root: Any, info: Info, first: int, after: str | None = None, **given: Any) -> Connection[Any]:
        context = info.context
        check_size(context, first, "first")
        begin = read_cursor(kinds, order, after) if after else None
        values = {name: _put(source.inputs[name], value) for name, value in given.items()}
        asked = _PagedRows(context, source, values)
        same = (source, *((name, str(value)) for name, value in sorted(given.items())))
        if not root.__dict__[source.name]:
            return empty_connection(begins_after=begin is not None)

        async def pages(parents: list[UUID]) -> Mapping[UUID, Page]:
            groups = await asked.read(parents, first + 1, begin)
            return {parent: Page(found[:first], len(found) > first) for parent, found in groups.items()}

        return Connection(
            listing=asked, begins_after=begin is not None, page=partial(context.load, (same, first, after), root.row_id, pages, Page()),
            total=partial(context.load, (same, "total"), root.row_id, asked.count, 0),
        )  # fmt: skip

    return _declare(source, description, _taking(resolve, FIRST, AFTER, *(one.parameter for one in inputs)))


@dataclass(frozen=True)
class _PagedRows:
    """The rows of a field for one reader and with some arguments."""

    context: Context
    source: Paged
    given: Mapping[str, Any]

    def _made(self, parents: Sequence[UUID], begin: Begin) -> FromClause:
        scope = Scope(self.context.reader, self.context.language, lambda column: column.in_(parents))
        return self.source.rows(scope, begin, **self.given).subquery()

    async def read(self, parents: Sequence[UUID], limit: int, after: Sequence[Any] | None) -> dict[UUID, list[Found]]:
        """The first rows below each object that come after some key values, at most `limit` of each: one statement."""
        made = self._made(parents, Begin(after, limit if len(parents) == 1 else None))
        view = self.source.target.view(made, self.context.reader, self.context.language)
        order = view.order_by(self.source.order)
        keys = [made.c[key.column].label(f"key_{at}") for at, key in enumerate(self.source.order.keys)]
        rank = func.row_number().over(partition_by=made.c.parent, order_by=order).label("rank")
        columns = [*self.source.target.select(view), *keys, made.c.parent.label("listed_below"), rank]
        ranked = select(*columns).subquery()
        groups: dict[UUID, list[Found]] = {}
        for row in await self.context.rows(select(ranked).where(ranked.c.rank <= limit).order_by(ranked.c.rank)):
            groups.setdefault(row["listed_below"], []).append((row, self.source.target.build(row, view)))
        return groups

    async def count(self, parents: list[UUID]) -> dict[UUID, int]:
        """How many rows there are below each object."""
        made = self._made(parents, Begin())
        statement = select(made.c.parent, func.count().label("count")).group_by(made.c.parent)
        return {row["parent"]: row["count"] for row in await self.context.rows(statement)}

    def cursor(self, row: Row) -> str:
        """The cursor of a row that was read."""
        return write_cursor(self.source.order, [row[f"key_{at}"] for at in range(len(self.source.order.keys))])


def alike(rows: Rows, most: int, description: str) -> Any:
    """A field with the first records, by their ids, to which a statement leads: from `parent` to `other`."""
    source = Alike(rows, most)

    async def resolve(root: Any, info: Info) -> list[Any]:
        context = info.context
        if not root.__dict__[source.name]:
            return []

        async def fetch(ids: list[UUID]) -> Mapping[UUID, list[Any]]:
            scope = Scope(context.reader, context.language, lambda column: column.in_(ids))
            found: dict[UUID, list[UUID]] = {}
            for row in await context.rows(rows(scope)):
                found.setdefault(row["parent"], []).append(row["other"])
            wanted = {parent: sorted(others)[:most] for parent, others in found.items()}
            loaded = {other for others in wanted.values() for other in others}
            read = await gather(*(load_one(context, source.target, other) for other in sorted(loaded)))
            known = dict(zip(sorted(loaded), read, strict=True))
            return {parent: [known[other] for other in others if known[other]] for parent, others in wanted.items()}

        return list(await context.load(source, root.row_id, fetch, ()))

    return _declare(source, description, _taking(resolve))


# ---- roots -----------------------------------------------------------------------------------------------------------


def listing(description: str, *, filter: type | None = None, orders: Mapping[Any, Order] | None = None) -> Any:
    """A root field with every row of its type that the reader sees, in pages.

    `orders` gives the order for each value of an enum. Where the field may be null it answers FORBIDDEN to a reader whose
    roles have no sight of the type; where it may not, such a reader finds it empty.
    """
    source = Whole(filter, orders)

    async def resolve(root: Any, info: Info, first: int, after: str | None = None, **given: Any) -> Connection[Any]:
        context, shape = info.context, source.target
        if source.is_optional and not may_read(shape.model, context.reader):
            raise Forbidden(NO_SIGHT)
        await check(given.get("filter"), shape.entity, context)
        order = orders[given["order_by"]] if orders and given.get("order_by") else shape.order
        whole = Listing(shape, order, None, lambda view: conditions(given.get("filter"), view, context))
        return paged(context, whole, None, first, after or None, object())

    arguments = [FIRST, AFTER]
    if filter is not None:
        arguments.append(
            _argument("filter", filter | None, "Which rows; all conditions hold together.", strawberry.UNSET)
        )
    if orders:
        kind = type(next(iter(orders)))
        arguments.append(
            _argument("order_by", kind | None, "In which order; newest first without it.", strawberry.UNSET)
        )
    return _declare(source, description, _taking(resolve, *arguments))


def chosen(description: str, conditions: Callable[..., list[ColumnElement[bool]]], *inputs: Input) -> Any:
    """A root field with every row of its type that the reader sees and that meets conditions made of the arguments."""
    source = Chosen(conditions, inputs)

    async def resolve(root: Any, info: Info, **given: Any) -> list[Any]:
        context, shape = info.context, source.target
        values = {name: _put(source.inputs[name], value) for name, value in given.items()}
        found = Listing(shape, shape.order, None, lambda view: conditions(view, **values))
        groups = await found.read(context, [None])
        return [one for _, one in groups.get(None, [])]

    return _declare(source, description, _taking(resolve, *(one.parameter for one in inputs)))


def own_record(description: str) -> Any:
    """A root field with the reader's own record, whatever roles they hold; null for nobody."""
    source = Own()

    async def resolve(root: Any, info: Info) -> Any:
        actor = info.context.actor
        if actor is None or actor.user_id is None:
            return None
        return await load_self(info.context, source.target, actor.user_id)

    return _declare(source, description, _taking(resolve))


def any_record(description: str) -> Any:
    """A root field with the record of any type that a global id names; null where there is none or the reader does not see it."""

    async def resolve(root: Any, info: Info, id: str) -> Any:
        ref = read_id(id)
        return None if ref is None else await load_ref(info.context, ref)

    return _declare(ByGlobalId(), description, _taking(resolve, _argument("id", strawberry.ID, "The global id.")))


def argument(
    name: str,
    kind: Any,
    description: str,
    default: Any = Parameter.empty,
    *,
    as_sql: TypeEngine[Any] | None = None,
    convert: Callable[[Any], Any] | None = None,
) -> Input:
    """An argument of a listing; with a type of SQL its value is a parameter of the statement, else part of it: booleans, enums."""
    return Input(_argument(name, kind, description, default), as_sql, convert)
