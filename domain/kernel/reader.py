"""Readers of PostgreSQL: a connection that takes the readers' role for its transaction and says who asks.

What that role may see is the matter of `row_security`.
"""

from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, FromClause, func, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel.actors import Actor

READER, SCHEMA, SETTING = "sortie_reader", "sortie_rules", "sortie.actor"

_ENTER = text(f"SELECT set_config('role', '{READER}', true), set_config('{SETTING}', :actor, true)")


async def enter(connection: AsyncConnection, actor: Actor) -> None:
    """Have the rest of the transaction see what the actor may see, in one round trip."""
    await connection.execute(_ENTER, {"actor": words(actor)})


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
