"""The words in which a type declares fields whose value is the row's own; the resolvers behind them are the same for every type."""

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy import select

from api.context import Info
from api.reads.declaring import declare, taking
from api.reads.loading import load_beside
from api.reads.sources import (
    Beside,
    Column,
    Deferred,
    Derived,
    Embedded,
    Expressed,
    Expression,
    Gathered,
    Localized,
    LookedUp,
    MoneyOf,
)
from domain import kernel
from domain.kernel import Language


@strawberry.type(description="An exact amount of one currency.")
class Money:
    """How the schema shows the domain's money."""

    amount: Decimal = strawberry.field(description="The amount in major units, exact.")
    currency: str = strawberry.field(description="The ISO 4217 code.")


def column(description: str, name: str | None = None) -> Any:
    """A field that shows a column, by default the one of its own name."""
    return declare(Column(name), description)


def localized(stem: str, description: str) -> Any:
    """A field that shows `stem_zh` or `stem_en`, whichever the reader reads."""
    return declare(Localized(stem), description)


def derived(columns: tuple[str, ...], build: Callable[..., Any], description: str) -> Any:
    """A field that a pure function makes of columns."""
    return declare(Derived(columns, build), description)


def in_words(columns: tuple[str, ...], build: Callable[..., Any], description: str) -> Any:
    """A field that a pure function makes of the reader's language and of columns."""
    source = Derived(columns, build)
    source.in_words = True
    return declare(source, description)


def deferred(columns: tuple[str, ...], build: Callable[..., Any], description: str) -> Any:
    """A field that a pure function takes milliseconds to make of the reader's language and of columns."""
    source = Deferred(columns, build)

    async def resolve(root: Any, info: Info) -> Any:
        found = source.made(root.__dict__[source.name], info.context.language)
        return [] if found is None and source.is_list else found

    return declare(source, description, taking(resolve))


def worded(build: Callable[[Any, Language], Any], description: str) -> Any:
    """A field of a plain object that a function says in the reader's language."""

    async def resolve(root: Any, info: Info) -> Any:
        return build(root, info.context.language)

    return strawberry.field(resolver=taking(resolve), description=description, metadata={"worded": build})


def expressed(expression: Expression, description: str) -> Any:
    """A field that the database computes of the row."""
    return declare(Expressed(expression), description)


def embedded(description: str, columns: Collection[str] = (), **slots: str | Expression) -> Any:
    """A field that shows a part of the row as an object: the type's columns, by columns of the row or expressions over it.

    `columns` are those that the expressions read. It is null where it may be and no slot holds anything.
    """
    return declare(Embedded(slots, columns), description)


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

    return declare(source, description, taking(resolve))


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

    return declare(source, description, taking(resolve))


def money(amount_minor: str | Expression, currency: str | Expression, description: str) -> Any:
    """A field that shows an amount in minor units and its currency as money."""

    def build(amount: int | None, code: str | None) -> kernel.Money | None:
        return None if amount is None or code is None else kernel.Money(amount, code)

    return declare(MoneyOf((amount_minor, currency), build), description)
