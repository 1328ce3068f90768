"""Lists of rows read for many parents in one statement: whole, newest, or in keyset pages."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import strawberry
from sqlalchemy import ColumnElement, False_, Select, func, select

from api.context import Context
from api.reads.shapes import Shape, computed
from api.reads.sources import Row
from api.reads.view import Order, View, key_types, read_cursor, write_cursor
from domain.kernel import Invalid, Text

T = TypeVar("T")
Found = tuple[Row, Any]
Conditions = Callable[[View], list[ColumnElement[bool]]]


def check_size(context: Context, size: int, argument: str) -> None:
    """Check the length of a page or list.

    Raises Invalid unless it is 1 to what the reader may ask for, 100 unless an installation decides otherwise.
    """
    most = context.limits.page
    if not 1 <= size <= most:
        raise Invalid(
            Text(
                f"{argument} 必须在 1 到 {most} 之间，收到 {size}", f"{argument} must be from 1 to {most}, not {size}"
            ),
            (argument,),
        )


@dataclass(frozen=True)
class Listing:
    """Rows of a shape in an order: those below each of many parents, or all that meet the conditions (parent None)."""

    shape: Shape
    order: Order
    parent: str | None
    conditions: Conditions

    async def read(
        self,
        context: Context,
        parents: Sequence[UUID | None],
        *,
        limit: int | None = None,
        after: Sequence[Any] | None = None,
    ) -> dict[UUID | None, list[Found]]:
        """The rows, as objects, below each parent, at most `limit` of them that come after some key values."""
        view = self.shape.view(context.reader, context.language)
        asked = self._asked(view, parents)
        if asked is None:
            return {}
        if after is not None:
            asked.append(view.after(self.order, after))
        groups: dict[UUID | None, list[Found]] = {}
        for row in await context.rows(self._statement(view, asked, limit)):
            parent = row["parent"] if self.parent else None
            groups.setdefault(parent, []).append((row, self.shape.build(row, view)))
        return groups

    async def count(self, context: Context, parents: Sequence[UUID | None]) -> dict[UUID | None, int]:
        """How many rows there are below each parent."""
        view = self.shape.view(context.reader, context.language)
        asked = self._asked(view, parents)
        if asked is None:
            return {}
        statement = select(func.count().label("count")).select_from(view.table).where(*asked)
        if self.parent is not None:
            parent = view.table.c[self.parent]
            statement = statement.add_columns(parent.label("parent")).group_by(parent)
        return {row.get("parent"): row["count"] for row in await context.rows(statement)}

    def _asked(self, view: View, parents: Sequence[UUID | None]) -> list[ColumnElement[bool]] | None:
        """The conditions of the rows; None where the reader sees none whatever they are."""
        asked = [view.rows(), *self.conditions(view)]
        if self.parent is not None:
            asked.append(view.table.c[self.parent].in_(parents))
        return None if any(isinstance(condition, False_) for condition in asked) else asked

    def _statement(self, view: View, asked: list[ColumnElement[bool]], limit: int | None) -> Select[Any]:
        order = view.order_by(self.order)
        keys = [view.column(key.column).label(f"key_{at}") for at, key in enumerate(self.order.keys)]
        statement = select(*self.shape.select(view), *keys).where(*asked)
        if self.parent is None:
            return statement.order_by(*order).limit(limit)
        parent = view.table.c[self.parent]
        statement = statement.add_columns(parent.label("parent"))
        if limit is None:
            return statement.order_by(*order)
        rank = func.row_number().over(partition_by=parent, order_by=order).label("rank")
        ranked = statement.add_columns(rank).subquery()
        return select(ranked).where(ranked.c.rank <= limit).order_by(ranked.c.rank)

    def cursor(self, row: Row) -> str:
        """The cursor of a row that was read."""
        return write_cursor(self.order, [row[f"key_{at}"] for at in range(len(self.order.keys))])


class Places(Protocol):
    """Who knows the place of a row that was read."""

    def cursor(self, row: Row) -> str:
        """The cursor of the row."""
        ...


@strawberry.type(description="Where a page stands in its connection.")
class PageInfo:
    """Whether there is more, and the cursors at both ends."""

    has_next_page: bool = strawberry.field(description="Whether rows follow after this page.")
    has_previous_page: bool = strawberry.field(description="Whether this page began after a cursor.")
    start_cursor: str | None = strawberry.field(description="The cursor of the first row; null on an empty page.")
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last row, for `after`; null on an empty page."
    )


@strawberry.type(description="One row of a connection with its place.")
class Edge(Generic[T]):
    """A node and its cursor."""

    node: T = strawberry.field(description="The record.")
    cursor: str = strawberry.field(description="Where the record stands in this order, for `after`.")


@dataclass(frozen=True)
class Page:
    """The rows of one page, and whether more follow."""

    rows: Sequence[Found] = ()
    more: bool = False


@strawberry.type(description="A list in pages, in a stable order.")
class Connection(Generic[T]):
    """One page that is read when its rows are asked for, and a total that is counted when it is."""

    listing: strawberry.Private[Places | None]
    begins_after: strawberry.Private[bool]
    page: strawberry.Private[Callable[[], Awaitable[Page]]]
    total: strawberry.Private[Callable[[], Awaitable[int]]]

    @computed("The rows of this page.")
    async def edges(self) -> list[Edge[T]]:
        """Read the page."""
        page = await self.page()
        return [Edge(node=found, cursor=self.listing.cursor(row)) for row, found in page.rows] if self.listing else []

    @computed("Where this page stands.")
    async def page_info(self) -> PageInfo:
        """Read the page."""
        page = await self.page()
        ends = [self.listing.cursor(page.rows[at][0]) for at in (0, -1)] if self.listing and page.rows else [None, None]
        return PageInfo(
            has_next_page=page.more, has_previous_page=self.begins_after, start_cursor=ends[0], end_cursor=ends[1]
        )

    @computed("How many rows there are on all pages; counted only when asked for.")
    async def total_count(self) -> int | None:
        """Count them."""
        return await self.total()


async def _no_page() -> Page:
    return Page()


async def _no_rows() -> int:
    return 0


def empty_connection(*, begins_after: bool) -> Connection[Any]:
    """A connection that shows nothing and asks the database nothing."""
    return Connection(listing=None, begins_after=begins_after, page=_no_page, total=_no_rows)


def paged(
    context: Context, listing: Listing, parent: UUID | None, first: int, after: str | None, key: object
) -> Connection[Any]:
    """One page of a listing below one parent; pages asked under the same key at the same time are read together.

    Raises Invalid for a page size out of bounds and a cursor that is none.
    """
    check_size(context, first, "first")
    begin = read_cursor(key_types(listing.shape.model, listing.order), listing.order, after) if after else None

    async def pages(parents: list[UUID | None]) -> Mapping[UUID | None, Page]:
        groups = await listing.read(context, parents, limit=first + 1, after=begin)
        return {parent: Page(rows[:first], len(rows) > first) for parent, rows in groups.items()}

    async def totals(parents: list[UUID | None]) -> Mapping[UUID | None, int]:
        return await listing.count(context, parents)

    return Connection(
        listing=listing,
        begins_after=begin is not None,
        page=partial(context.load, (key, first, after), parent, pages, Page()),
        total=partial(context.load, (key, "total"), parent, totals, 0),
    )
