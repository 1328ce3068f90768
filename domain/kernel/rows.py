"""Mapped rows that are read and written without SQLAlchemy's own statements, and belong to a session all the same."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Table, inspect
from sqlalchemy.orm import Mapper, Session, make_transient_to_detached

from domain.kernel.statements import default_of

T = TypeVar("T")


def as_row(session: Session, model: type[T], values: Mapping[str, Any]) -> T:
    """The row that has been read, as the session knows it: one that it has stays as it is there."""
    mapper: Mapper[T] = inspect(model)
    key = mapper.identity_key_from_primary_key(tuple(values[str(column.key)] for column in mapper.primary_key))
    known: T | None = session.identity_map.get(key)
    if known is not None:
        return known
    row: T = mapper.class_manager.new_instance()
    row.__dict__.update(values)
    state = inspect(row)
    state.key = key
    _join(session, state)
    return row


def stored(session: Session, row: Any) -> Mapping[str, Any]:
    """The values under which a new row is stored; from now on the session takes it for one that it has read."""
    values: dict[str, Any] = row.__dict__
    for name, default in _defaults(row.__table__):
        values.setdefault(name, default)
    make_transient_to_detached(row)
    _join(session, inspect(row))
    return values


def _join(session: Session, state: Any) -> None:
    """Have a session own a row, as SQLAlchemy's loading does: `Session.add` walks cascades first, ten times as long."""
    state.session_id = session.hash_key
    session.identity_map.add(state)


@lru_cache(maxsize=256)
def _defaults(table: Table) -> tuple[tuple[str, Any], ...]:
    return tuple((column.key, default_of(column)) for column in table.columns)
