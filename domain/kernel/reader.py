"""Readers of PostgreSQL: a connection that takes a readers' role for its transaction and says who asks.

What these roles may see is the matter of `row_security`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    MetaData,
    Table,
    Text,
    TextClause,
    bindparam,
    func,
    literal,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import True_

from domain.kernel.actors import Actor, ActorKind, Reach, Role

if TYPE_CHECKING:
    from domain.kernel.orm import Base

READER, SCHEMA = "sortie_reader", "sortie_rules"
"""The role of readers who hold several roles, or one within brands or accounts; it knows the rules of all roles."""
READERS = {role: f"{READER}_{role.value.lower()}" for role in Role}
"""The role of readers who hold one role alone, which is most of them: it knows the rules of that one."""
WHOLE, USER, ROLES, TERRITORIES, BOUNDED = (
    "sortie.whole",
    "sortie.user_id",
    "sortie.roles",
    "sortie.territories",
    "sortie.bounded",
)
SETTINGS = (WHOLE, USER, ROLES, TERRITORIES, BOUNDED)
"""What a transaction in the role `READER` says of who asks; who says nothing sees nothing."""
OWN_TERRITORIES = "sortie.own_territories"
OWN_SETTINGS = (USER, OWN_TERRITORIES)
"""What one says in the role of readers of one role."""


@dataclass(frozen=True, slots=True)
class WhoReads:
    """As whom a transaction reads: its role, and the settings that say who asks."""

    role: str
    names: tuple[str, ...]
    values: tuple[str, ...]


@lru_cache(maxsize=4096)
def who_reads(actor: Actor) -> WhoReads:
    """As whom a transaction reads for an actor. Role and names follow from the actor's roles and kinds of bounds alone."""
    roles = {reach.role for reach in actor.reaches}
    if len(roles) != 1 or any(bound(reach) for reach in actor.reaches):
        return WhoReads(READER, SETTINGS, settings(actor))
    territories = frozenset[UUID]().union(*(reach.territory_ids for reach in actor.reaches))
    own = (str(actor.user_id or ""), f"{{{','.join(sorted(map(str, territories)))}}}")
    return WhoReads(READERS[roles.pop()], OWN_SETTINGS, own)


@cache
def _enter(names: tuple[str, ...]) -> TextClause:
    said = "".join(f", set_config('{name}', (:said)[{at}], true)" for at, name in enumerate(names, 2))
    return text(f"SELECT set_config('role', (:said)[1], true){said}").bindparams(bindparam("said", type_=ARRAY(Text())))


async def enter(connection: AsyncConnection, actor: Actor) -> None:
    """Have the rest of the transaction see what the actor may see, in one round trip."""
    found = who_reads(actor)
    await connection.execute(_enter(found.names), {"said": [found.role, *found.values]})


@lru_cache(maxsize=4096)
def settings(actor: Actor) -> tuple[str, ...]:
    """What the policies of all roles need to know of an actor, in the order of `SETTINGS`.

    The tables that they see as a whole; who they are; their roles that no brands or accounts bound, with the territories of
    each; as JSON their reaches that are bounded.
    """
    free = [reach for reach in actor.reaches if not bound(reach)]
    whole = frozenset[str]().union(*(_whole(reach.role, bound(reach)) for reach in actor.reaches))
    territories: dict[str, set[str]] = {}
    for reach in free:
        territories.setdefault(reach.role.value, set()).update(map(str, reach.territory_ids))
    return (
        _among(whole),
        str(actor.user_id or ""),
        _among(territories),
        "".join(f";{role}={{{','.join(sorted(ids))}}};" for role, ids in sorted(territories.items())),
        _bounded(actor),
    )


def _among(names: Iterable[str]) -> str:
    return f",{','.join(sorted(names))}," if names else ""


@lru_cache
def _whole(role: Role, bounded: str) -> frozenset[str]:
    """The tables of which a reach of a role sees every row, whatever it is bounded to."""
    from domain.kernel.orm import Base

    some = frozenset({UUID(int=0)})
    none = frozenset[UUID]()
    reach = Reach(role, none, some if "b" in bounded else none, some if "a" in bounded else none)
    actor = Actor(ActorKind.USER, UUID(int=0), reaches=(reach,))
    seen = set()
    for mapper in Base.registry.mappers:
        access = mapper.class_.__access__
        rule = None if access is None else access.rule(role)
        table = mapper.class_.__table__
        # Only a rule that names nothing can admit all; to ask the others, which lead through many tables, takes long.
        plain = [part for part in _alternatives(rule) if not vars(part)]
        if any(isinstance(part.clause(table, reach, actor), True_) for part in plain):
            seen.add(mapper.class_.__tablename__)
    return frozenset(seen)


def _alternatives(rule: Any) -> Iterator[Any]:
    if rule is not None:
        for part in getattr(rule, "rules", ()):
            yield from _alternatives(part)
        yield rule


def _bounded(actor: Actor) -> str:
    reaches: list[dict[str, Any]] = [
        {
            "role": reach.role.value,
            "bounded": bound(reach),
            "territory_ids": sorted(map(str, reach.territory_ids)),
            "brand_ids": sorted(map(str, reach.brand_ids)),
            "account_ids": sorted(map(str, reach.account_ids)),
        }
        for reach in actor.reaches
        if bound(reach)
    ]
    return orjson.dumps(reaches).decode() if reaches else ""


def bound(reach: Reach) -> str:
    """By what a reach is bounded beside its territories; its role's rules read differently for each."""
    return "a" * bool(reach.account_ids) + "b" * bool(reach.brand_ids)


def sees(table: FromClause, actor: Actor, id: UUID | None) -> ColumnElement[bool]:
    """The condition that the policies let the actor see a row, for a statement of a connection that they do not bind."""
    said = literal(list(settings(actor)), ARRAY(Text()))
    found: ColumnElement[bool] = getattr(getattr(func, SCHEMA), f"sees_{table}")(id, said)
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
