"""Mapped rows that are read and written without SQLAlchemy's own statements, and belong to a session all the same."""

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy.orm import Mapper, Session, make_transient_to_detached
from sqlalchemy.orm.attributes import instance_state

T = TypeVar("T")


def as_row(session: Session, model: type[T], values: Mapping[str, Any]) -> T:
    """The row that has been read, as the session knows it: one that it has stays as it is there."""
    mapper: Mapper[T] = model.__mapper__  # type: ignore[attr-defined]
    key = mapper.identity_key_from_primary_key(tuple(values[str(column.key)] for column in mapper.primary_key))
    known: T | None = session.identity_map.get(key)
    if known is not None:
        return known
    row: T = mapper.class_manager.new_instance()
    row.__dict__.update(values)
    state = instance_state(row)
    state.key = key
    _join(session, state)
    return row


def stored(session: Session, row: Any) -> None:
    """Have the session take a new row, of which every column is known, for one that it has read."""
    make_transient_to_detached(row)
    _join(session, instance_state(row))


def _join(session: Session, state: Any) -> None:
    """Have a session own a row, as SQLAlchemy's loading does: `Session.add` walks cascades first, ten times as long."""
    state.session_id = session.hash_key
    session.identity_map.add(state)
