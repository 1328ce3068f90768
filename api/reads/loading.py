"""Records read for resolvers: each together with every other that is asked for at the same time."""

from collections.abc import Generator
from typing import Any
from uuid import UUID

from sqlalchemy import False_, select

from api.context import Context, Info
from api.reads.shapes import Shape
from api.reads.sources import SHAPES, Beside, shape_of
from api.reads.view import View
from domain import kernel
from domain.kernel import Ref


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


async def load_beside(context: Context, beside: Beside) -> Any:
    """The rows that an operation needs once."""

    async def fetch(_keys: list[str]) -> dict[str, Any]:
        return {beside.key: beside.read([tuple(row.values()) for row in await context.rows(beside.statement())])}

    return await context.load(("beside", beside.key), beside.key, fetch)
