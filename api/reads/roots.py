"""The words in which rooms declare the roots of reads."""

from collections.abc import Callable, Mapping
from typing import Any

import strawberry
from sqlalchemy import ColumnElement

from api.context import Info
from api.reads.declaring import AFTER, FIRST, declare, parameter, put, taking
from api.reads.filters import check, conditions
from api.reads.ids import read_id
from api.reads.list_sources import NO_SIGHT, Chosen, Input, Whole
from api.reads.lists import Connection, Listing, paged
from api.reads.loading import load_ref, load_self
from api.reads.sources import ByGlobalId, Own
from api.reads.view import Order
from domain.kernel import Forbidden, may_read


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
            parameter("filter", filter | None, "Which rows; all conditions hold together.", strawberry.UNSET)
        )
    if orders:
        kind = type(next(iter(orders)))
        arguments.append(
            parameter("order_by", kind | None, "In which order; newest first without it.", strawberry.UNSET)
        )
    return declare(source, description, taking(resolve, *arguments))


def chosen(description: str, conditions: Callable[..., list[ColumnElement[bool]]], *inputs: Input) -> Any:
    """A root field with every row of its type that the reader sees and that meets conditions made of the arguments."""
    source = Chosen(conditions, inputs)

    async def resolve(root: Any, info: Info, **given: Any) -> list[Any]:
        context, shape = info.context, source.target
        values = {name: put(source.inputs[name], value) for name, value in given.items()}
        found = Listing(shape, shape.order, None, lambda view: conditions(view, **values))
        groups = await found.read(context, [None])
        return [one for _, one in groups.get(None, [])]

    return declare(source, description, taking(resolve, *(one.parameter for one in inputs)))


def own_record(description: str) -> Any:
    """A root field with the reader's own record, whatever roles they hold; null for nobody."""
    source = Own()

    async def resolve(root: Any, info: Info) -> Any:
        actor = info.context.actor
        if actor is None or actor.user_id is None:
            return None
        return await load_self(info.context, source.target, actor.user_id)

    return declare(source, description, taking(resolve))


def any_record(description: str) -> Any:
    """A root field with the record of any type that a global id names; null where there is none or the reader does not see it."""

    async def resolve(root: Any, info: Info, id: str) -> Any:
        ref = read_id(id)
        return None if ref is None else await load_ref(info.context, ref)

    return declare(ByGlobalId(), description, taking(resolve, parameter("id", strawberry.ID, "The global id.")))
