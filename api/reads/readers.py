"""Readers in statements: what of one makes another statement, and who stands in for them while it is written."""

from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter

from api.reads import sql
from domain.kernel import Actor, ActorKind, Reach, Role

ReaderShape = tuple[tuple[Role, bool, bool, bool], ...]
STAND_IN = 0xA11CE << 64


def reader_shape(actor: Actor) -> ReaderShape:
    """What of a reader makes another statement: which roles they hold in which kinds of contexts, not in which ones."""
    return tuple(
        (reach.role, bool(reach.territory_ids), bool(reach.brand_ids), bool(reach.account_ids))
        for reach in actor.reaches
    )


@lru_cache(maxsize=512)
def stand_in(shape: ReaderShape) -> Actor:
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
    number: Any = value[0] if many and value is not None else value
    if not isinstance(number, UUID) or number.int >> 64 != STAND_IN >> 64:
        return None
    place = number.int & 0xFFFF
    if place == 0:
        return sql.Slot("user", lambda asking: asking.context.reader.user_id, of_reader=True)
    reach, part = (place >> 8) - 1, PARTS[place & 0xFF]
    return sql.Slot(place, lambda asking: sorted(getattr(asking.context.reader.reaches[reach], part)), of_reader=True)
