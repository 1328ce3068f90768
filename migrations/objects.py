"""What a database needs beside the tables that the models declare: made after the last step, taken away before the first."""

from collections.abc import Callable

from sqlalchemy import Connection

from domain.kernel import row_security, search, search_engine
from knowledge import pgvector

Progress = Callable[[str], None]

TABLES = search_engine.TABLES | pgvector.TABLES
"""Tables that no mapped class stands for."""
INDEXES = search_engine.INDEXES
"""Indexes that no mapped class declares."""


def is_of_models(name: str | None, kind: str, _parents: object = None) -> bool:
    """Whether a table or index of the database is one that the models declare, or that no step should be there."""
    others: dict[str, frozenset[str]] = {"table": TABLES, "index": INDEXES}
    return name not in others.get(kind, frozenset())


def install(connection: Connection, progress: Progress | None = None) -> bool:
    """Make what is not there yet, and index and policies anew where the classes declare others; whether that did anything."""
    search_engine.install(connection)
    changed = pgvector.install(connection, progress)
    if not row_security.is_installed(connection):
        row_security.install(connection)
        changed = True
    if search.is_filled(connection):
        return changed
    for entity, rows in search.fill(connection):
        if progress is not None:
            progress(f"search: {entity} {rows:,}")
    return True


def is_current(connection: Connection) -> bool:
    """Whether everything is as this release needs it, on a database of the newest schema."""
    ready = search.is_filled(connection) and row_security.is_installed(connection)
    return ready and not pgvector.lacks_table(connection)


def make_way(connection: Connection) -> None:
    """Take away what stands on columns, so that steps can change them."""
    row_security.remove(connection)


def remove(connection: Connection) -> None:
    """Take everything away."""
    make_way(connection)
    pgvector.remove(connection)
    search_engine.remove(connection)
