"""Mapped rows that are read and written without SQLAlchemy's own statements, and belong to a session all the same."""

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy.orm import Mapper, Session, make_transient_to_detached
from sqlalchemy.orm.attributes import instance_state

T = TypeVar("T")


def as_row(session: Session, model: type[T], values: Mapping[str, Any]) -> T:
    """The row that has been read, as the session knows it: one that it has stays as it is there."""
    mapper: Mapper[T] = model.__mapper__  # type: ignore[attr-defined]
    key = _key(mapper, values)
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
    state = instance_state(row)
    if state.modified:
        make_transient_to_detached(row)
    else:
        # Nothing was set since it was made: there is no history to forget.
        state.key = _key(row.__mapper__, row.__dict__)
    _join(session, state)


def _key(mapper: Mapper[Any], values: Mapping[str, Any]) -> Any:
    return mapper.identity_key_from_primary_key(tuple(values[str(column.key)] for column in mapper.primary_key))


def _join(session: Session, state: Any) -> None:
    """Have a session own a row, as SQLAlchemy's loading does: `Session.add` walks cascades first, ten times as long."""
    state.session_id = session.hash_key
    session.identity_map.add(state)
