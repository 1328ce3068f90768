"""An embedded installation taken along: every row of a SQLite database copied to PostgreSQL, and compared there."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
from sqlalchemy import Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import Base, Conflict, Invalid, Text
from migrations import import_models, newest_steps, objects, stored_steps, transaction

BATCH = 1_000
INTEGER_BITS = 63
"""Of the numbers that JSON is written with here; longer ones are compared as text."""
DERIVED = frozenset({"search_declarations"})
"""What a migrated database holds before anybody has written to it; it is replaced."""
PASSING = frozenset({"job_executors", "replica_turns"})
"""Who is at work now and how the machines stand: matters of each database alone."""

Progress = Callable[[int, int], None]
"""Told how many rows are done, and how many there are."""
Check = Callable[[AsyncConnection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Copied:
    """One table as it is in both databases."""

    table: str
    rows: int
    digest: str
    """SHA-256 over the rows in any order: the sum of the rows' own SHA-256, modulo 2^256."""


async def copy(source: str, target: str, check: Check, progress: Progress) -> list[Copied]:
    """Copy every row of a SQLite database to a PostgreSQL one that is migrated and empty; all of it or nothing.

    Each table is read back and compared, and `check` looks at the whole, before anything is committed. Nobody writes to either
    database meanwhile.

    Raises Invalid for other databases and for a value that PostgreSQL cannot hold, Conflict for another schema, for a target that
    holds records, a server that runs on the source, and for a row that is not the same, Unavailable for a database that cannot be
    reached.
    """
    if not source.startswith("sqlite") or target.startswith("sqlite"):
        raise Invalid(FROM_SQLITE)
    import_models()
    async with transaction(source) as old, transaction(target) as new:
        for connection, which in ((old, SOURCE), (new, TARGET)):
            if not await connection.run_sync(
                lambda one: stored_steps(one) == newest_steps() and objects.is_current(one)
            ):
                raise Conflict(Text(f"{which.zh}的结构不是最新的：请先对它运行 sortie migrate", f"the {which.en} has another schema: run `sortie migrate` on it first"))  # fmt: skip
        tables = [table for table in Base.metadata.sorted_tables if table.name not in PASSING]
        await _check_empty(new, tables)
        total = sum([await _count(old, table) for table in tables])
        copied = list[Copied]()
        for table in tables:

            def tell(rows: int) -> None:
                progress(sum(one.rows for one in copied) + rows, total)

            copied.append(await _copied(old, new, table, tell))
        await _count_on(new, tables)
        await check(new)
    return copied


SOURCE, TARGET = Text("来源数据库", "source"), Text("目标数据库", "target")
FROM_SQLITE = Text(
    "只能从 SQLite 复制到 PostgreSQL：--copy-from sqlite:///…，SORTIE_DATABASE_URL=postgresql://…",
    "only SQLite is copied, and to PostgreSQL: --copy-from sqlite:///…, SORTIE_DATABASE_URL=postgresql://…",
)


async def _count(connection: AsyncConnection, table: Table) -> int:
    return int(await connection.scalar(select(func.count()).select_from(table)) or 0)


async def _check_empty(new: AsyncConnection, tables: Iterable[Table]) -> None:
    """Have the target for ourselves, and nothing in it."""
    names = ", ".join(table.name for table in tables)
    await new.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
    for table in tables:
        if table.name in DERIVED:
            await new.execute(table.delete())
        elif count := await _count(new, table):
            zh = f"目标数据库不是空的：表 {table.name} 有 {count} 行"
            raise Conflict(Text(zh, f"the target is not empty: its table {table.name} has {count} rows"))


async def _copied(old: AsyncConnection, new: AsyncConnection, table: Table, progress: Callable[[int], None]) -> Copied:
    """Copy one table and read it back.

    Raises Conflict for a row that is not the same there.
    """
    here, there = _Sum(), _Sum()

    async def records() -> AsyncIterator[tuple[Any, ...]]:
        bind = _binding(new, table)
        async for rows in _rows(old, table):
            for row in rows:
                here.add(row)
                _check_text(table, row)
                yield tuple(
                    one(value) if one is not None and value is not None else value
                    for one, value in zip(bind, row, strict=True)
                )
            progress(here.rows)

    raw = await new.get_raw_connection()
    driver: Any = raw.driver_connection
    try:
        await driver.copy_records_to_table(
            table.name, records=records(), columns=[column.name for column in table.columns]
        )
    except asyncpg.DataError as error:
        raise Invalid(Text(f"表 {table.name} 有 PostgreSQL 无法保存的值：{error}", f"the table {table.name} has a value that PostgreSQL cannot hold: {error}"), (table.name,)) from error  # fmt: skip
    async for rows in _rows(new, table):
        for row in rows:
            there.add(row)
    if here != there:
        raise await _different(old, new, table, here, there)
    return Copied(table.name, here.rows, f"{here.total:064x}")


async def _rows(connection: AsyncConnection, table: Table) -> AsyncIterator[Sequence[Any]]:
    async with connection.stream(select(*table.columns)) as result:
        async for rows in result.partitions(BATCH):
            yield rows


def _binding(connection: AsyncConnection, table: Table) -> list[Callable[[Any], Any] | None]:
    """What makes of each column's value what the driver takes; the types' own."""
    dialect = connection.dialect
    return [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns]


class _Sum:
    """How many rows there are, and the sum of their digests: the same for the same rows in any order."""

    def __init__(self) -> None:
        self.rows = 0
        self.total = 0

    def add(self, row: Sequence[Any]) -> None:
        """Take one row into it."""
        self.rows += 1
        self.total = (self.total + int.from_bytes(_digest(row))) % (1 << 256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sum) and (self.rows, self.total) == (other.rows, other.total)

    __hash__ = None  # type: ignore[assignment]


def _digest(row: Sequence[Any]) -> bytes:
    return hashlib.sha256(
        orjson.dumps([_neutral(value) for value in row], default=_told, option=orjson.OPT_SORT_KEYS)
    ).digest()


def _neutral(value: Any) -> Any:
    """A value as both databases say it: JSON keeps neither the order of keys nor, in JSONB, how a number was written."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case Decimal():
            return str(value.normalize())
        case Mapping():
            return {key: _neutral(one) for key, one in value.items()}
        case list() | tuple():
            return [_neutral(one) for one in value]
        case int() if not isinstance(value, bool) and value.bit_length() > INTEGER_BITS:
            return str(value)
        case _:
            return value


def _told(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes | memoryview) else str(value)


def _check_text(table: Table, row: Sequence[Any]) -> None:
    """PostgreSQL holds no NUL, and would not say where it is."""
    for column, value in zip(table.columns, row, strict=True):
        if any("\0" in words for words in _words(value)):
            key = "、".join(str(one) for one in _key(table, row))
            where = (table.name, key, column.name)
            raise Invalid(Text(f"表 {table.name} 中 {key} 的 {column.name} 含有 NUL 字符，PostgreSQL 无法保存", f"{column.name} of {key} in the table {table.name} has a NUL, which PostgreSQL cannot hold"), where)  # fmt: skip


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _words(key)
            yield from _words(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _words(one)


def _key(table: Table, row: Sequence[Any]) -> tuple[Any, ...]:
    at = {column.name: place for place, column in enumerate(table.columns)}
    return tuple(row[at[column.name]] for column in table.primary_key)


async def _different(old: AsyncConnection, new: AsyncConnection, table: Table, here: _Sum, there: _Sum) -> Conflict:
    """Which row it is that is not the same."""
    known = {_key(table, row): _digest(row) async for rows in _rows(old, table) for row in rows}
    async for rows in _rows(new, table):
        for row in rows:
            if known.get(_key(table, row)) == _digest(row):
                del known[_key(table, row)]
    first = next(iter(known), ())
    key = "、".join(map(str, first))
    zh = f"表 {table.name} 复制后不一致：{here.rows} 行与 {there.rows} 行，首个不同的行 {key}"
    en = f"the table {table.name} is not the same: {here.rows} and {there.rows} rows, the first that differs is {key}"
    return Conflict(Text(zh, en), (table.name, key))


async def _count_on(new: AsyncConnection, tables: Iterable[Table]) -> None:
    """Have sequences go on after the numbers that came along."""
    for table in tables:
        for column in table.primary_key:
            name = await new.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
            if name is not None and (last := await new.scalar(select(func.max(column)))) is not None:
                await new.execute(select(func.setval(name, last)))
