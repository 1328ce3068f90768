"""Readers of PostgreSQL: a connection that takes the readers' role for its transaction and says who asks.

What that role may see is the matter of `row_security`.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from sqlalchemy import Column, ColumnElement, FromClause, MetaData, Table, func, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel.actors import Actor

if TYPE_CHECKING:
    from domain.kernel.orm import Base

READER, SCHEMA, SETTING = "sortie_reader", "sortie_rules", "sortie.actor"

SETTINGS = (SETTING,)
"""The names of what a transaction says of who asks."""
_ENTER = text(f"SELECT set_config('role', '{READER}', true), set_config('{SETTING}', :actor, true)")


async def enter(connection: AsyncConnection, actor: Actor) -> None:
    """Have the rest of the transaction see what the actor may see, in one round trip."""
    await connection.execute(_ENTER, {"actor": words(actor)})


def settings(actor: Actor) -> tuple[str, ...]:
    """The values of `SETTINGS` for an actor."""
    return (words(actor),)


@lru_cache(maxsize=4096)
def words(actor: Actor) -> str:
    """What the policies need to know of an actor, as JSON."""
    reaches: list[dict[str, Any]] = [
        {
            "role": reach.role.value,
            "bounded": bound(bool(reach.account_ids), bool(reach.brand_ids)),
            "territory_ids": sorted(map(str, reach.territory_ids)),
            "brand_ids": sorted(map(str, reach.brand_ids)),
            "account_ids": sorted(map(str, reach.account_ids)),
        }
        for reach in actor.reaches
    ]
    return orjson.dumps({"user": actor.user_id and str(actor.user_id), "reaches": reaches}).decode()


def bound(accounts: bool, brands: bool) -> str:
    """By what a reach is bounded beside its territories; its role's rules read differently for each."""
    return "a" * accounts + "b" * brands


def sees(table: FromClause, actor: Actor, id: UUID | None) -> ColumnElement[bool]:
    """The condition that the policies let the actor see a row, for a statement of a connection that they do not bind."""
    found: ColumnElement[bool] = getattr(getattr(func, SCHEMA), f"sees_{table}")(id, words(actor))
    return found


# ---- beyond the wall -------------------------------------------------------------------------------------------------


@lru_cache
def beyond(model: "type[Base]") -> FromClause:
    """The class's rows beyond the wall: its key, the columns of `__beyond__` and those by which its access rules go.

    On PostgreSQL it is a view of the rules' schema, on SQLite the table itself. Who reads it decides for whom.
    """
    return _clause(model, columns_beyond(model))


@lru_cache
def lookup(model: "type[Base]") -> FromClause:
    """The class's rows beyond the wall as its access rules look them up."""
    return _clause(model, frozenset(model.__table__.c.keys()))


def _clause(model: "type[Base]", names: frozenset[str]) -> FromClause:
    columns = [Column(one.key, one.type) for one in model.__table__.c if one.key in names]
    return Table(model.__tablename__, MetaData(), *columns, schema=SCHEMA)


def columns_beyond(model: "type[Base]") -> frozenset[str]:
    """The columns of a class that its view in the rules' schema has for those who read beyond the wall; none without `__beyond__`."""
    if not model.__beyond__:
        return frozenset()
    own = model.__table__
    named = frozenset() if model.__access__ is None else model.__access__.columns(own)
    return frozenset(key.key for key in own.primary_key) | {"id"} & set(own.c.keys()) | model.__beyond__ | named
