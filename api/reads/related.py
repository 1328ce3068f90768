"""The words in which a type declares fields that lead to other rows: one, many, in pages."""

from asyncio import gather
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, func, select, true, tuple_
from sqlalchemy.types import TypeEngine

from api.context import Context, Info
from api.reads.declaring import AFTER, FIRST, LAST, declare, put, taking
from api.reads.list_sources import (
    Alike,
    Begin,
    Below,
    Input,
    Listed,
    Paged,
    Related,
    Rows,
    Scope,
)
from api.reads.lists import Connection, Found, Listing, Page, check_size, empty_connection, paged
from api.reads.loading import load_one, load_ref
from api.reads.sources import (
    Part,
    Row,
    ToAny,
    ToOne,
)
from api.reads.view import Order, View, read_cursor, write_cursor
from domain.kernel import Ref

Where = Mapping[str, Any]


def to_one(column: str, description: str) -> Any:
    """A field that leads to the record whose id the column holds."""
    source = ToOne(column)

    async def resolve(root: Any, info: Info) -> Any:
        id = root.__dict__[source.name]
        return None if id is None else await load_one(info.context, source.target, id)

    return declare(source, description, taking(resolve))


def to_any(kind_column: str, id_column: str, description: str, *, kinds: Collection[str] | None = None) -> Any:
    """A field that leads to a record of any type, or of the entities named."""

    def build(kind: str | None, id: UUID | None) -> Ref | None:
        return None if kind is None or id is None else Ref(kind, id)

    source = ToAny((kind_column, id_column), build, kinds)

    async def resolve(root: Any, info: Info) -> Any:
        ref = root.__dict__[source.name]
        return None if ref is None else await load_ref(info.context, ref)

    return declare(source, description, taking(resolve))


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

    return declare(source, description, taking(resolve))


async def _load_part(context: Context, source: Part, key: tuple[UUID, int]) -> Any:
    shape = source.target

    async def fetch(keys: list[tuple[UUID, int]]) -> dict[tuple[UUID, int], Any]:
        view = shape.view(context.reader, context.language)
        below, number = view.table.c[source.below], view.table.c[source.number]
        found = select(*shape.select(view), below.label("part_of"), number.label("part_number"))
        rows = await context.rows(found.where(tuple_(below, number).in_(keys), view.rows()))
        return {(row["part_of"], row["part_number"]): shape.build(row, view) for row in rows}

    return await context.load(("part", shape.entity, source.below, source.number), key, fetch)


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

    return declare(source, description, taking(resolve))


def newest(column: str, description: str, *, where: Where | None = None) -> Any:
    """A field with the first rows, in their type's order, whose column holds the object's id."""
    source = Below(column, None, where)

    async def resolve(root: Any, info: Info, last: int) -> list[Any]:
        check_size(info.context, last, "last")
        return await _listed(root, info.context, source, last)

    return declare(source, description, taking(resolve, LAST))


def connection(column: str, description: str, *, order: Order | None = None, where: Where | None = None) -> Any:
    """A field with the rows whose column holds the object's id, in pages."""
    source = Below(column, order, where)

    async def resolve(root: Any, info: Info, first: int, after: str | None = None) -> Connection[Any]:
        page = paged(info.context, _below(source), root.row_id, first, after or None, source)
        return page if root.__dict__[source.name] else empty_connection(begins_after=bool(after))

    return declare(source, description, taking(resolve, FIRST, AFTER))


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

    return declare(source, description, taking(resolve, *arguments))


def listed(rows: Rows, description: str, *inputs: Input, order: Order, last: bool = False) -> Any:
    """A field with rows that a statement makes, all of them or with `last` the first ones in their order."""
    source = Listed(rows, order, inputs, last=last)

    async def resolve(root: Any, info: Info, last: int | None = None, **given: Any) -> list[Any]:
        context = info.context
        if last is not None:
            check_size(context, last, "last")
        values = {name: put(source.inputs[name], value) for name, value in given.items()}
        if root is None:
            return (await _rows_of(context, source, None, last, values)).get(None, [])
        if not root.__dict__[source.name]:
            return []

        async def fetch(ids: list[UUID]) -> Mapping[UUID | None, list[Any]]:
            return await _rows_of(context, source, ids, last, values)

        return list(await context.load((source, last, *sorted(given.items())), root.row_id, fetch, ()))

    return declare(source, description, taking(resolve, *([LAST] if last else []), *(one.parameter for one in inputs)))


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
        values = {name: put(source.inputs[name], value) for name, value in given.items()}
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

    return declare(source, description, taking(resolve, FIRST, AFTER, *(one.parameter for one in inputs)))


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

    return declare(source, description, taking(resolve))
