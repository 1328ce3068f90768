"""What is particular to each database about search over records: SQLite's FTS5, and PostgreSQL's text search with GIN."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Connection,
    Dialect,
    FromClause,
    Select,
    bindparam,
    cast,
    column,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import TSQUERY, TSVECTOR
from sqlalchemy.types import Integer, String

from domain.kernel.words import Terms

TABLES = frozenset({"search_index", "search_index_data", "search_index_idx", "search_index_config"})
"""What FTS5 makes of its table; no mapped class stands for these."""
INDEXES = frozenset({"ix_search_texts_tokens"})
_VECTOR = "array_to_tsvector(string_to_array(tokens, ' '))"
_SECURE_DELETE = (3, 42)
"""The SQLite from which on FTS5 can take out what is deleted at once."""

# Tokens are made already: `ascii` cuts at spaces and leaves every other character alone. Which row has a token is all that
# is asked, so no places are kept. The rows' own text stays in the one table, which the triggers follow.
_INDEX = """CREATE VIRTUAL TABLE IF NOT EXISTS search_index USING fts5
(tokens, content='search_texts', content_rowid='id', tokenize='ascii', detail=none, columnsize=0)"""
_ADDED = """CREATE TRIGGER IF NOT EXISTS search_texts_added AFTER INSERT ON search_texts
BEGIN INSERT INTO search_index(rowid, tokens) VALUES (new.id, new.tokens); END"""
_REMOVED = """CREATE TRIGGER IF NOT EXISTS search_texts_removed AFTER DELETE ON search_texts
BEGIN INSERT INTO search_index(search_index, rowid, tokens) VALUES ('delete', old.id, old.tokens); END"""
_SQLITE = (_INDEX, _ADDED, _REMOVED)
_POSTGRESQL = (f"CREATE INDEX IF NOT EXISTS ix_search_texts_tokens ON search_texts USING gin ({_VECTOR})",)
_REMOVE_SQLITE = (
    "DROP TRIGGER IF EXISTS search_texts_added",
    "DROP TRIGGER IF EXISTS search_texts_removed",
    "DROP TABLE IF EXISTS search_index",
)


def _is_sqlite(dialect: Dialect) -> bool:
    return dialect.name == "sqlite"


def install(connection: Connection) -> None:
    """Make what search needs beside its table, where it is not there yet."""
    for statement in _SQLITE if _is_sqlite(connection.dialect) else _POSTGRESQL:
        connection.execute(text(statement))
    if _removes_at_once(connection.dialect):
        connection.execute(text("INSERT INTO search_index(search_index, rank) VALUES ('secure-delete', 1)"))


def remove(connection: Connection) -> None:
    """Take it away, so that the table itself can go."""
    statements = _REMOVE_SQLITE if _is_sqlite(connection.dialect) else ("DROP INDEX IF EXISTS ix_search_texts_tokens",)
    for statement in statements:
        connection.execute(text(statement))


def _removes_at_once(dialect: Dialect) -> bool:
    return _is_sqlite(dialect) and getattr(dialect.dbapi, "sqlite_version_info", (0,)) >= _SECURE_DELETE


def purge(connection: Connection) -> None:
    """Leave nothing in the index of what was removed from it: without this it stays in old segments for a while."""
    if not _is_sqlite(connection.dialect):
        return
    # What the merged segments leave behind is overwritten too, which SQLite otherwise spares itself.
    connection.exec_driver_sql("PRAGMA secure_delete=ON")
    connection.exec_driver_sql("INSERT INTO search_index(search_index) VALUES ('optimize')")
    connection.exec_driver_sql("PRAGMA secure_delete=FAST")


def ranked(texts: FromClause, dialect: str) -> Select[Any]:
    """The rows that have the terms bound as `terms`, in the words of `written`; the highest id first, at most `first`.

    FTS5 gives them in this order by itself, so that a reader's rules are asked only until there are enough.
    """
    asked: BindParameter[str] = bindparam("terms", type_=String())
    rows = select(texts.c.id, texts.c.kind, texts.c.record_id).limit(bindparam("first", type_=Integer()))
    if dialect == "sqlite":
        index = table("search_index", column("rowid", BigInteger()), column("search_index", String()))
        joined = rows.select_from(index.join(texts, texts.c.id == index.c.rowid))
        return joined.where(index.c.search_index.match(asked)).order_by(index.c.rowid.desc())
    vector = literal_column(_VECTOR, type_=TSVECTOR())
    return rows.where(vector.op("@@", return_type=Boolean())(cast(asked, TSQUERY()))).order_by(texts.c.id.desc())


def written(asked: Terms, dialect: str) -> str:
    """The terms in the database's own words; tokens are letters and digits alone, so there is nothing to escape."""
    if dialect == "sqlite":
        words = [f'"{token}"' for token in asked.whole] + ([f'"{asked.prefix}" *'] if asked.prefix else [])
        return " AND ".join(words)
    return " & ".join([f"'{token}'" for token in asked.whole] + ([f"'{asked.prefix}':*"] if asked.prefix else []))
