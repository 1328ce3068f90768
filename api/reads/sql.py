"""SQL whose result is JSON: how each kind of value is written on both databases, and parameters that requests fill."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum as PythonEnum
from typing import Any
from uuid import UUID

import orjson
from babel.core import get_global
from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    Boolean,
    ColumnClause,
    ColumnElement,
    Date,
    Dialect,
    Enum,
    Numeric,
    Select,
    String,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    select,
)
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from domain.kernel import UtcDateTime
from domain.kernel.read_pool import Together

NOW = bindparam("sortie_now", type_=UtcDateTime(), required=True)
"""The instant of the request."""
TODAY = bindparam("sortie_today", type_=Date(), required=True)
"""The day (UTC) of the request."""

# ---- parameters ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """What stands for a value that each request gives: `read` takes it from the request."""

    key: Hashable
    read: Callable[[Any], Any]
    of_reader: bool = False
    """Whether every request of one reader gives the same value."""


def slot(
    key: Hashable, read: Callable[[Any], Any], kind: TypeEngine[Any], *, of_reader: bool = False
) -> BindParameter[Any]:
    """A parameter that requests fill; equal keys are one parameter."""
    return bindparam(None, Slot(key, read, of_reader), type_=kind, unique=True)


FindSlot = Callable[[BindParameter[Any]], Slot | None]
"""Says which parameters are filled by requests; every other is a constant of the code and is written as a literal."""


class _Written(SQLCompiler):
    """Writes constants as literals and gives each slot a numbered place."""

    def places(self) -> "dict[Hashable, tuple[Slot, TypeEngine[Any]]]":
        places: dict[Hashable, tuple[Slot, TypeEngine[Any]]] = self.__dict__.setdefault("_places", {})
        return places

    def visit_bindparam(self, bindparam: Any, *positional: Any, **options: Any) -> str:
        find: FindSlot = self.dialect.find_slot  # type: ignore[attr-defined]
        found = bindparam.value if isinstance(bindparam.value, Slot) else find(bindparam)
        if found is None:
            return str(super().visit_bindparam(bindparam, *positional, **options | {"literal_binds": True}))  # type: ignore[no-untyped-call]
        places = self.places()
        places.setdefault(found.key, (found, bindparam.type))
        number = list(places).index(found.key) + 1
        return self.place(number, bindparam.type)

    def place(self, number: int, kind: TypeEngine[Any]) -> str:
        raise NotImplementedError


class _PostgreSQLWritten(_Written, PGCompiler_asyncpg):
    def place(self, number: int, kind: TypeEngine[Any]) -> str:
        return self.dialect.place(number, self.dialect.type_compiler_instance.process(kind))  # type: ignore[attr-defined,no-any-return]


class _SQLiteWritten(_Written, SQLiteCompiler):
    """Says lookups apart, ahead of the statement: the stack of SQLite's parser does not hold many within each other."""

    def lookups(self) -> dict[str, str]:
        """The names of the lookups by their text."""
        lookups: dict[str, str] = self.__dict__.setdefault("_lookups", {})
        return lookups

    def apart(self, element: Any, **options: Any) -> str:
        """A lookup's condition, by the name under which it is said ahead."""
        text = self.process(element.inner)
        name = self.lookups().setdefault(text, f"seen_{len(self.lookups()) + 1}")
        return f"EXISTS (SELECT 1 FROM {name} WHERE {name}.key = {self.process(element.match, **options)})"

    def place(self, number: int, kind: TypeEngine[Any]) -> str:
        return f"?{number}"


class _PostgreSQL(PGDialect_asyncpg):
    statement_compiler = _PostgreSQLWritten
    _backslash_escapes = False
    supports_statement_cache = True
    places: Mapping[int, str] | None = None
    """What stands in the places of a statement, if not their own numbers."""

    def place(self, number: int, kind: str) -> str:
        return f"${number}::{kind}" if self.places is None else self.places[number]


class _SQLite(SQLiteDialect_pysqlite):
    statement_compiler = _SQLiteWritten
    supports_statement_cache = True


@dataclass(frozen=True, slots=True)
class Written:
    """A statement's text, and for each of its parameters in their order what reads it from a request."""

    sql: str
    reads: tuple[Callable[[Any], Any], ...]
    together: Together | None = None
    """The statement that answers several requests of one reader; None where each has to be asked for itself."""


def write(statement: Select[Any], find_slot: FindSlot, *, embedded: bool) -> Written:
    """The statement for SQLite (`embedded`) or PostgreSQL."""
    dialect: Any = _SQLite() if embedded else _PostgreSQL()  # type: ignore[no-untyped-call]
    dialect.find_slot = find_slot
    if embedded:
        # SQLite has no wall: what lies beyond it are the tables themselves.
        dialect.identifier_preparer.schema_for_object = lambda _table: None
    compiled: Any = statement.compile(dialect=dialect)
    places = list(compiled.places().values())
    together = None if embedded else _together(statement, dialect, places)
    return Written(_with_lookups(compiled), tuple(_filled(found, kind, dialect) for found, kind in places), together)


def _together(statement: Select[Any], dialect: Any, places: list[tuple[Slot, TypeEngine[Any]]]) -> Together | None:
    """The statement beside a list of what each request has of its own; a list cannot be one of many there."""
    own = [at for at, (found, _) in enumerate(places) if not found.of_reader]
    shared = [at for at, (found, _) in enumerate(places) if found.of_reader]
    kinds = [dialect.type_compiler_instance.process(kind) for _, kind in places]
    if not own or any(kinds[at].endswith("[]") for at in own):
        return None
    dialect.places = {at + 1: f"each.own_{at}" for at in own} | {
        at + 1: f"${number}::{kinds[at]}" for number, at in enumerate(shared, 1)
    }
    lists = ", ".join(f"${number}::{kinds[at]}[]" for number, at in enumerate(own, len(shared) + 1))
    names = ", ".join(f"own_{at}" for at in own)
    text = (
        f"SELECT one.* FROM unnest({lists}) WITH ORDINALITY AS each ({names}, place), "
        f"LATERAL ({statement.compile(dialect=dialect)}) AS one ORDER BY each.place"
    )
    return Together(text, tuple(shared), tuple(own))


def _with_lookups(compiled: Any) -> str:
    text = str(compiled)
    lookups = compiled.lookups() if isinstance(compiled, _SQLiteWritten) else {}
    if not lookups:
        return text
    said = ", ".join(f"{name} AS NOT MATERIALIZED ({lookup})" for lookup, name in lookups.items())
    recursive = "WITH RECURSIVE "
    if text.startswith(recursive):
        return f"{recursive}{said}, {text.removeprefix(recursive)}"
    return f"WITH {said} {text}"


def _filled(found: Slot, kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any]:
    process = kind.dialect_impl(dialect).bind_processor(dialect)
    if process is None:
        return found.read
    read = found.read
    return lambda request: process(read(request))


# ---- text ------------------------------------------------------------------------------------------------------------


class Joined(FunctionElement[str]):
    """Texts one after the other; null when one of them is."""

    type = Text()
    inherit_cache = True


CHAIN = 100
"""Parts of one chain at most on SQLite, whose expressions may be 1,000 levels deep."""


@compiles(Joined, "postgresql")
def _joined(element: Joined, compiler: SQLCompiler, **options: Any) -> str:
    return _halved([compiler.process(part, **options) for part in element.clauses])


def _halved(parts: list[str]) -> str:
    """Joined as a tree: a chain would copy its beginning at each step."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_halved(parts[:half])} || {_halved(parts[half:])})"


@compiles(Joined, "sqlite")
def _chained(element: Joined, compiler: SQLCompiler, **options: Any) -> str:
    """Joined as a chain: the stack of SQLite's parser holds 100 brackets and words."""
    parts = [compiler.process(part, **options) for part in element.clauses]
    while len(parts) > CHAIN:
        parts = [f"({' || '.join(parts[at : at + CHAIN])})" for at in range(0, len(parts), CHAIN)]
    return " || ".join(parts)


def quoted(words: str) -> ColumnElement[str]:
    """A text of the schema or of a document's names as SQL."""
    return _Words(words)


class _Words(ColumnClause[str]):
    """A text that stands in the statement itself."""

    inherit_cache = False

    def __init__(self, words: str) -> None:
        super().__init__("'" + words.replace("'", "''") + "'", Text(), is_literal=True)
        self.words = words


def _flat(parts: Iterable[str | ColumnElement[Any]]) -> Iterator[str | ColumnElement[Any]]:
    for part in parts:
        if isinstance(part, Joined):
            yield from _flat(part.clauses)
        else:
            yield part.words if isinstance(part, _Words) else part


def join(*parts: str | ColumnElement[Any]) -> ColumnElement[str]:
    """The parts one after the other, words among them as they are."""
    merged: list[str | ColumnElement[Any]] = []
    for part in _flat(parts):
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif not isinstance(part, str) or part:
            merged.append(part)
    elements = [quoted(part) if isinstance(part, str) else part for part in merged]
    return elements[0] if len(elements) == 1 else Joined(*elements)


def _function(postgresql: str, sqlite: str, kind: TypeEngine[Any] | None = None) -> Callable[..., ColumnElement[Any]]:
    """A function of SQL that reads differently on both databases; {0} is its first argument."""

    class Made(FunctionElement[Any]):
        type = kind or Text()
        inherit_cache = True

    def compiled(template: str) -> Callable[..., str]:
        def compile_it(element: Any, compiler: SQLCompiler, **options: Any) -> str:
            parts = [compiler.process(part, **options) for part in element.clauses]
            return template.format(*parts, all=", ".join(parts))

        return compile_it

    compiles(Made, "postgresql")(compiled(postgresql))
    compiles(Made, "sqlite")(compiled(sqlite))
    return Made


string = _function("to_json({0}::text)::text", "json_quote({0})")
"""A text as a JSON string."""
whole = _function("({0})::text", "CAST({0} AS TEXT)")
"""A whole number as JSON."""
json = _function("({0})::text", "{0}")
"""A JSON value as it is stored."""
hexadecimal = _function("replace(({0})::text, '-', '')", "{0}")
"""The 32 digits of an id."""
instant = _function(
    """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""", "(replace({0}, ' ', 'T') || 'Z')"
)
"""An instant as `scalars.instant_words` writes it."""
day = _function("to_char({0}, 'YYYY-MM-DD')", "{0}")
"""A day in ISO 8601."""
list_of = _function("string_agg({0}, ',')", "group_concat({0}, ',')")
"""The texts of all rows with commas between them, in the order of the rows; null without rows."""
cursor_of = _function("translate(encode(convert_to({0}, 'UTF8'), 'base64'), E'+/=\\n', '-_')", "sortie_base64url({0})")
"""A text in URL-safe base64 without padding."""
refused = _function("(('refused ' || ({0})::text)::int)::text", "json('refused ' || {0})")
"""Fails where it is reached, which a value that may not be null does when it is."""
_row = _function("json_build_array({all})", "json_array({all})")
_rows = _function("coalesce(json_agg({0})::text, '[]')", "json_group_array(json({0}))")
_nested = _function("({0})", "json({0})", JSON())


whole_days = _function(
    "floor(extract(epoch FROM ({1} - {0})) / 86400)::bigint",
    "((CAST(strftime('%s', {1}) AS INTEGER) * 1000000 + CAST(substr({1}, 21, 6) AS INTEGER)"
    " - CAST(strftime('%s', {0}) AS INTEGER) * 1000000 - CAST(substr({0}, 21, 6) AS INTEGER)) / 86400000000)",
    BigInteger(),
)
"""How many whole days lie between two instants, the first not after the second."""


def changed_to(detail: ColumnElement[Any], row: ColumnElement[str], field: str) -> ColumnElement[str]:
    """What a ledger event's detail says a field of a row holds since: its text; null where it says nothing."""
    after = _function(
        f"(SELECT change #>> '{{{{fields,{field},after}}}}' FROM jsonb_array_elements({{0}} -> 'changes') AS change WHERE change ->> 'row' = {{1}} LIMIT 1)",
        f"(SELECT json_extract(change.value, '$.fields.{field}.after') FROM json_each({{0}}, '$.changes') AS change"
        " WHERE json_extract(change.value, '$.row') = {1} LIMIT 1)",
    )
    return after(detail, row)


as_id = _function("({0})::uuid", "replace({0}, '-', '')", Uuid())
"""An id of its text in any form."""


def truth(condition: ColumnElement[bool]) -> ColumnElement[str]:
    """A condition as JSON; null where it is."""
    return case((condition, "true"), (~condition, "false"))


def in_quotes(words: ColumnElement[str]) -> ColumnElement[str]:
    """A text without anything to escape as a JSON string."""
    return join('"', words, '"')


def _scaled(digits: int) -> Callable[..., ColumnElement[Any]]:
    """A whole number with its last digits behind the point."""
    if digits == 0:
        return whole
    power, unit = 10**digits, f"0.{1:0{digits}d}"
    printed = f"printf('%s%d.%0{digits}d', CASE WHEN {{0}} < 0 THEN '-' ELSE '' END, abs({{0}}) / {power}, abs({{0}}) % {power})"
    return _function(f"(({{0}})::numeric * {unit})::text", printed)


def _currencies() -> dict[int, list[str]]:
    """The currencies by their number of decimals, by CLDR; two where none is said."""
    found: dict[int, list[str]] = {2: ["CNY", "EUR", "GBP", "HKD", "SGD", "USD"]}
    for code, (digits, *_) in get_global("currency_fractions").items():
        if digits != USUAL_DIGITS and code != "DEFAULT":
            found.setdefault(digits, []).append(code)
    return found


USUAL_DIGITS = 2
_BY_DIGITS = [(_scaled(digits), sorted(codes)) for digits, codes in _currencies().items()]


def amount(minor: ColumnElement[Any], currency: ColumnElement[Any]) -> ColumnElement[str]:
    """An amount in minor units as the exact decimal of its currency, as `Money.amount` is."""
    known = [(currency.in_(codes), scaled(minor)) for scaled, codes in _BY_DIGITS]
    return case(*known, else_=_BY_DIGITS[0][0](minor))


# ---- values that Python finishes -------------------------------------------------------------------------------------


def packed(rows: Select[Any]) -> ColumnElement[str]:
    """All rows of a statement as one JSON array of arrays, in their order; `unpacked` reads it."""
    inner = rows.subquery()
    return select(_rows(_row(*map(_part, inner.c)))).select_from(inner).scalar_subquery()


def rows_as_json(*columns: ColumnElement[Any]) -> ColumnElement[str]:
    """The rows of a group as one JSON array of arrays, in no order; `unpacked` reads it."""
    return _rows(_row(*map(_part, columns)))


def _part(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _nested(column) if isinstance(column.type, JSON) else column


def unpacked(words: str | list[list[Any]], kinds: Sequence[TypeEngine[Any]]) -> list[tuple[Any, ...]]:
    """The rows in a packed text, their values as Python has them."""
    readers = [reader(kind) for kind in kinds]
    rows = orjson.loads(words) if isinstance(words, str | bytes) else words
    return [tuple(read(value) for read, value in zip(readers, row, strict=True)) for row in rows]


def bare(column: ColumnElement[Any]) -> ColumnElement[str]:
    """A column's value as JSON that `reader` of its type reads; null as null."""
    kind = column.type
    if isinstance(kind, JSON):
        words = json(column)
    elif isinstance(kind, UtcDateTime):
        words = in_quotes(instant(column))
    elif isinstance(kind, Date):
        words = in_quotes(day(column))
    elif isinstance(kind, Uuid):
        words = in_quotes(hexadecimal(column))
    elif isinstance(kind, String | Enum):
        words = string(column)
    elif kind.python_type is bool:
        words = truth(column)
    else:
        words = whole(column)
    return func.coalesce(words, "null")


def reader(kind: TypeEngine[Any]) -> Callable[[Any], Any]:
    """What makes a value of this type of what JSON holds of it."""
    for known, read in _READERS.items():
        if isinstance(kind, known):
            return lambda value: None if value is None else read(value, kind)
    return lambda value: value


def _read_instant(value: str, _kind: Any) -> datetime:
    at = datetime.fromisoformat(value)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _read_enum(value: str, kind: Any) -> Any:
    chosen: type[PythonEnum] | None = kind.enum_class
    return value if chosen is None else chosen[value]


_READERS: Mapping[type, Callable[[Any, Any], Any]] = {
    UtcDateTime: _read_instant,
    Date: lambda value, _kind: date.fromisoformat(value),
    Uuid: lambda value, _kind: UUID(hex=value),
    Enum: _read_enum,
    Boolean: lambda value, _kind: bool(value),
    Numeric: lambda value, _kind: Decimal(str(value)),
}
