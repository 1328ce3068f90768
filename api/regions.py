"""Filtering by region as people name it: by key or by label in either language."""

from typing import Any

from sqlalchemy import ColumnElement, Text, func, or_, select

from api.context import Context
from api.reads import View, matching
from domain.people import Territory


def _convert(value: str, _context: Context) -> tuple[str, str]:
    return value, value.strip().lower()


def _clause(view: View, value: ColumnElement[str], word: ColumnElement[str]) -> ColumnElement[bool]:
    labels = or_(func.lower(Territory.label_zh) == word, func.lower(Territory.label_en) == word)
    region = view.column("region")
    return or_(region == value, region.in_(select(Territory.key).where(labels)))


def in_region(description: str) -> Any:
    """A filter on `region`."""
    return matching(_clause, description, Text(), Text(), convert=_convert)
