"""Filtering by region as people name it: by key or by label in either language."""

from typing import Any

from sqlalchemy import ColumnElement, func, or_, select

from api.context import Context
from api.reads import View, matching
from domain.people import Territory


def _clause(view: View, value: str, _context: Context) -> ColumnElement[bool]:
    word = value.strip().lower()
    labels = or_(func.lower(Territory.label_zh) == word, func.lower(Territory.label_en) == word)
    region = view.column("region")
    return or_(region == value, region.in_(select(Territory.key).where(labels)))


def in_region(description: str) -> Any:
    """A filter on `region`."""
    return matching(_clause, description)
