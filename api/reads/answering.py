"""Answers to reads: the plan of an operation is found or made, its one statement is asked, and its text is the answer."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from graphql import GraphQLSchema
from sqlalchemy import BindParameter, select

from api.context import Context
from api.documents import Document
from api.limits import Kept
from api.reads import sql
from api.reads.arguments import Outlines
from api.reads.compiler import Compiler, Draft, Finish, NotCompiled
from domain.kernel import Actor, ActorKind, Reach, SalesError

KEPT_PLANS = 1_000
STAND_IN = 0xA11CE << 64


class StandingChanged(Exception):
    """The user's grants, keys or standing have changed since the edge remembered them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the edge remembers of a user, for a statement to prove: the session by which they came, and the epoch."""

    user_id: UUID
    session_id: UUID | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled operation: its statement, what fills the statement's parameters, and what is left to do in Python."""

    sql: str
    reads: tuple[Any, ...]
    finish: Finish | None
    refused: tuple[tuple[str, Any, Exception], ...]


@dataclass(frozen=True, slots=True)
class Uncompiled:
    """That an operation is left to the resolvers, and the field for which it is."""

    field: str


class Plans:
    """The plans of one schema and database, the least recently used forgotten first."""

    def __init__(self, schema: GraphQLSchema, *, embedded: bool) -> None:
        self._schema = schema
        self._embedded = embedded
        self._known: Kept[Plan | Uncompiled] = Kept(KEPT_PLANS)

    def find(self, document: Document, variables: Any, context: Context) -> Plan | Uncompiled:
        """The plan for an operation with variables of this outline, for readers of this one's shape."""
        outlines = document.plans.get("outlines")
        if outlines is None:
            outlines = document.plans["outlines"] = Outlines(self._schema, document.ast, document.operation)
        key: Hashable = (
            document.text, document.name, shape_of_reader(context.reader), context.language, context.limits.page,
            outlines.of(variables.coerced),
        )  # fmt: skip
        return self._known.get(key, lambda: self._made(document, variables, context))

    def _made(self, document: Document, variables: Any, context: Context) -> Plan | Uncompiled:
        try:
            actor = stand_in(shape_of_reader(context.reader))
            compiler = Compiler(self._schema, document.ast, document.operation, variables, context, actor)
            return self._plan(compiler.query())
        except NotCompiled as reason:
            return Uncompiled(reason.field)
        except SalesError as error:
            return Uncompiled(str(error))

    def _plan(self, draft: Draft) -> Plan:
        written = sql.write(select(draft.text), find_slot, embedded=self._embedded)
        return Plan(written.sql, written.reads, draft.finish, tuple(draft.refused))


# ---- readers ---------------------------------------------------------------------------------------------------------

Shape = tuple[tuple[Any, bool, bool, bool], ...]


@lru_cache(maxsize=4096)
def shape_of_reader(actor: Actor) -> Shape:
    """What of a reader makes another statement: which roles they hold in which kinds of contexts, not in which ones."""
    return tuple(
        (reach.role, bool(reach.territory_ids), bool(reach.brand_ids), bool(reach.account_ids))
        for reach in actor.reaches
    )


@lru_cache(maxsize=512)
def stand_in(shape: Shape) -> Actor:
    """The reader for whom statements are compiled: a number stands for each id that a real one has."""

    def ids(reach: int, part: int, held: bool) -> frozenset[UUID]:
        return frozenset({UUID(int=STAND_IN | (reach + 1) << 8 | part)}) if held else frozenset()

    reaches = tuple(
        Reach(role, ids(number, 0, territories), ids(number, 1, brands), ids(number, 2, accounts))
        for number, (role, territories, brands, accounts) in enumerate(shape)
    )
    return Actor(ActorKind.USER, UUID(int=STAND_IN), reaches=reaches)


PARTS = ("territory_ids", "brand_ids", "account_ids")
_TIMES = {
    "sortie_now": sql.Slot("now", lambda asking: asking.context.now),
    "sortie_today": sql.Slot("today", lambda asking: asking.context.now.date()),
}


def find_slot(parameter: BindParameter[Any]) -> sql.Slot | None:
    """The slot for a parameter in whose place a stand-in is, or the time."""
    if parameter.key in _TIMES:
        return _TIMES[parameter.key]
    value = parameter.value
    many = isinstance(value, list | tuple) and len(value) == 1
    number = value[0] if many else value
    if not isinstance(number, UUID) or number.int >> 64 != STAND_IN >> 64:
        return None
    place = number.int & 0xFFFF
    if place == 0:
        return sql.Slot("user", lambda asking: asking.context.reader.user_id)
    reach, part = (place >> 8) - 1, PARTS[place & 0xFF]
    return sql.Slot(place, lambda asking: sorted(getattr(asking.context.reader.reaches[reach], part)))
