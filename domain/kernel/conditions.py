"""Conditions that both databases write differently: a column among an actor's ids, a column that leads to another row."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import orjson
from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Dialect,
    FromClause,
    Select,
    SQLColumnExpression,
    String,
    TypeDecorator,
    Uuid,
    bindparam,
    exists,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


class Ids(TypeDecorator[list[UUID]]):
    """Any number of ids as one value: an array on PostgreSQL, JSON with the digits that SQLite stores of them there."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's own form."""
        return dialect.type_descriptor(ARRAY(Uuid()) if dialect.name == "postgresql" else String())

    def process_bind_param(self, value: list[UUID] | None, dialect: Dialect) -> Any:
        """Write the ids for SQLite."""
        if value is None or dialect.name == "postgresql":
            return value
        return orjson.dumps([id.hex for id in value]).decode()


class _Condition(FunctionElement[bool]):
    """A condition that the databases write differently."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Self:
        """Stand as it is: SQLite would compare a condition with 1, which no index answers."""
        return self


class Among(_Condition):
    """The condition that a column holds one of some ids, which are one parameter however many they are."""

    inherit_cache = True


@compiles(Among)
def _any(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} = ANY ({ids})"


@compiles(Among, "sqlite")
def _listed(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"


def among(column: SQLColumnExpression[Any], ids: Iterable[UUID]) -> ColumnElement[bool]:
    """The condition that a column holds one of the ids."""
    return Among(column, bindparam(None, sorted(ids), type_=Ids()))


class Leads(_Condition):
    """The condition that a column leads to a row of another table on which some conditions hold.

    A writer of SQL that cannot nest such lookups without end may say `inner`, the keys of all those rows, elsewhere.
    """

    inherit_cache = True
    match: ColumnElement[Any]  # type: ignore[assignment]
    inner: Select[Any]


@compiles(Leads)
def _leads(element: Leads, compiler: SQLCompiler, **options: Any) -> str:
    apart = getattr(compiler, "apart", None)
    if apart is not None:
        return str(apart(element, **options))
    (found,) = element.clauses
    return str(compiler.process(found, **options))


def leads(
    table: FromClause, match: ColumnElement[Any], key: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> ColumnElement[bool]:
    """The condition that a column of a table leads to a row with that key on which the conditions hold."""
    found = Leads(exists(select(1).where(key == match, *conditions).correlate(table)))
    found.match, found.inner = match, select(key.label("key")).where(*conditions).correlate(None)
    return found


class DatabaseNow(FunctionElement[datetime]):
    """The instant at which the database answers."""

    type = DateTime(timezone=True)
    inherit_cache = True


@compiles(DatabaseNow)
def _now(_element: DatabaseNow, _compiler: SQLCompiler, **_options: Any) -> str:
    return "now()"


@compiles(DatabaseNow, "sqlite")
def _now_as_text(_element: DatabaseNow, _compiler: SQLCompiler, **_options: Any) -> str:
    # Instants are kept as text with microseconds.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
