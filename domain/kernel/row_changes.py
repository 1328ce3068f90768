"""What a unit of work changed of a row, column by column, for the ledger."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import inspect

from domain.kernel.orm import Base
from domain.kernel.values import Ref


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One column's value before and after."""

    before: Any
    after: Any
    personal: bool


@dataclass(slots=True)
class RowChange:
    """One changed row: what happened to it and to which of its columns."""

    row: Ref
    verb: str
    person_id: UUID | None
    fields: dict[str, FieldChange]


STAMPS = frozenset(
    {
        "id",
        "version",
        "created_at",
        "updated_at",
        "created_by_kind",
        "created_by_id",
        "updated_by_kind",
        "updated_by_id",
    }
)
"""Columns that the ledger event itself says already."""


def field_changes(row: Base, verb: str) -> dict[str, FieldChange]:
    """The noted columns of a row that was created, updated or deleted, each with its value before and after."""
    fields = _noted_fields(type(row))
    if verb == "created":
        now = row.__dict__
        return {key: FieldChange(None, now[key], personal) for key, personal in fields if now.get(key) is not None}
    if verb == "deleted":
        return {key: FieldChange(getattr(row, key), None, personal) for key, personal in fields}
    state, changes = inspect(row), {}
    for key, personal in fields:
        history = state.attrs[key].history
        if history.has_changes():
            before = history.deleted[0] if history.deleted else None
            changes[key] = FieldChange(before, getattr(row, key), personal)
    return changes


@lru_cache(maxsize=256)
def _noted_fields(model: type[Base]) -> tuple[tuple[str, bool], ...]:
    """The columns of a class that enter the ledger, and whether they are personal."""
    columns = ((attribute.key, attribute.columns[0]) for attribute in inspect(model).column_attrs)
    return tuple((key, bool(column.info.get("personal"))) for key, column in columns if key not in STAMPS)
