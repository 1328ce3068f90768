"""Statements without ceremony: compiled once for each database, and given straight to its driver in a unit's transaction."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import BindParameter, Column, Dialect, Executable, Table
from sqlalchemy.sql.schema import ScalarElementColumnDefault
from sqlalchemy.types import TypeEngine
from sqlalchemy.util.concurrency import await_

from domain.kernel.reader import SCHEMA

Process = Callable[[Any], Any]
TOGETHER = 24
"""Rows of one statement at most: more of a table travel by a statement of their own, so that there are few texts."""


def _into(kind: TypeEngine[Any], dialect: Dialect) -> Process | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _out_of(kind: TypeEngine[Any], dialect: Dialect) -> Process | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)


@dataclass(frozen=True, slots=True)
class Written:
    """A statement's text for one database, what fills its places, and how a row of its answer is read."""

    sql: str
    places: tuple[tuple[str | None, Any], ...]
    names: tuple[str, ...]
    read: tuple[tuple[str, Process], ...]

    @classmethod
    def of(cls, statement: Any, dialect: Dialect) -> "Written":
        """Compile it; what is `given` is named with each run, every other parameter is a constant."""
        views = (
            {}
            if dialect.name == "postgresql"
            else {"schema_translate_map": {SCHEMA: None}, "render_schema_translate": True}
        )
        compiled: Any = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}, **views)
        columns = getattr(statement, "selected_columns", ())
        read = ((column.key, _out_of(column.type, dialect)) for column in columns)
        return cls(
            str(compiled),
            tuple(_places(compiled, dialect)),
            tuple(column.key for column in columns),
            tuple((name, process) for name, process in read if process is not None),
        )

    def filled(self, given: Mapping[str, Any]) -> list[Any]:
        """What the driver takes, in the order of the places."""
        return [
            what if name is None else given[name] if what is None else what(given[name]) for name, what in self.places
        ]

    def row(self, values: Iterable[Any]) -> dict[str, Any]:
        """A row of the answer by the names of its columns."""
        found = dict(zip(self.names, values, strict=True))
        for name, process in self.read:
            found[name] = process(found[name])
        return found


def _places(compiled: Any, dialect: Dialect) -> Iterable[tuple[str | None, Any]]:
    for name in compiled.positiontup or ():
        # What a list was spread into is named after it, with a number.
        bound = compiled.binds.get(name)
        kind = (compiled.binds[name.rpartition("_")[0]] if bound is None else bound).type
        process = _into(kind, dialect)
        if isinstance(bound, _Given):
            yield name, process
        else:
            value = compiled.params[name]
            yield None, value if process is None else process(value)


class _Given(BindParameter[Any]):
    inherit_cache = True


def given(name: str, kind: Any) -> BindParameter[Any]:
    """A parameter that is named with each run."""
    return _Given(name, None, type_=kind)


class Statement:
    """One statement of the code, which is compiled when a database first runs it."""

    def __init__(self, statement: Executable, *, locks: bool = False) -> None:
        self.statement = statement
        self.locks = locks
        """Whether it locks rows, and so belongs into the transaction even where nothing was changed yet."""
        self._written: dict[str, Written] = {}

    def on(self, dialect: Dialect) -> Written:
        """The statement in the words of a database."""
        written = self._written.get(dialect.name)
        if written is None:
            written = self._written[dialect.name] = Written.of(self.statement, dialect)
        return written


@dataclass(frozen=True, slots=True)
class RowForm:
    """How rows of a table are inserted: each of its columns but one that the database counts up."""

    names: tuple[str, ...]
    defaults: Mapping[str, Any]
    """What each column holds where nothing was given."""
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    processes: tuple[tuple[int, Process], ...]
    head: str

    def complete(self, row: dict[str, Any]) -> None:
        """Give a row what it lacks: the columns' defaults, or null."""
        for name in self.defaults.keys() - row.keys():
            row[name] = self.defaults[name]

    def values(self, row: Mapping[str, Any]) -> list[Any]:
        """A complete row as the driver takes it."""
        values = list(self.pick(row))
        for at, process in self.processes:
            if values[at] is not None:
                values[at] = process(values[at])
        return values


def is_given(model: Any) -> bool:
    """Whether a row of the class has its key before it is stored: the database counts none up."""
    table: Table = model.__table__
    return table.autoincrement_column is None


def default_of(column: Column[Any]) -> Any:
    """What a column holds where nothing was given."""
    return column.default.arg if isinstance(column.default, ScalarElementColumnDefault) else None


@lru_cache(maxsize=256)
def row_form(table: Table, dialect: Dialect) -> RowForm:
    """How rows of a table are inserted."""
    columns = [column for column in table.columns if column is not table.autoincrement_column]
    prepare = dialect.identifier_preparer
    processes = ((at, _into(column.type, dialect)) for at, column in enumerate(columns))
    keys = tuple(column.key for column in columns)
    return RowForm(
        keys,
        {column.key: default_of(column) for column in columns},
        itemgetter(*keys) if len(keys) > 1 else lambda row: (row[keys[0]],),
        tuple((at, process) for at, process in processes if process is not None),
        f"INSERT INTO {prepare.format_table(table)} ({', '.join(map(prepare.format_column, columns))})",
    )


class Transaction(ABC):
    """The transaction of one unit of work, below the session that shares it.

    Inserts wait here, so that they travel together: whatever else is asked comes after them.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.news = ""
        """What listeners are told with the commit: see `changes.told`."""
        self.kept = False
        """Whether its commit had anything to keep."""
        self._waiting: dict[Table, list[list[Any]]] = {}

    def insert(self, model: Any, rows: Iterable[dict[str, Any]]) -> None:
        """Have rows of a mapped class inserted before anything else is asked, and before the commit; they are completed."""
        table: Table = model.__table__
        form = row_form(table, self.dialect)
        for row in rows:
            form.complete(row)
            self._waiting.setdefault(table, []).append(form.values(row))

    def _take(self) -> list[tuple[Table, list[list[Any]]]]:
        """What waits, referred-to tables first."""
        waiting, self._waiting = self._waiting, {}
        return sorted(waiting.items(), key=lambda item: _depth(item[0])) if len(waiting) > 1 else list(waiting.items())

    async def fetch(self, statement: Statement, **given: Any) -> list[dict[str, Any]]:
        """The rows that a statement finds, by the names of their columns."""
        written = statement.on(self.dialect)
        await self.ready(begun=statement.locks)
        return [written.row(values) for values in await self._run(written.sql, written.filled(given))]

    @abstractmethod
    async def ready(self, *, begun: bool = True) -> None:
        """Send what waits; with `begun` what follows is part of the transaction in any case."""

    @abstractmethod
    async def wait_turn(self, numbers: Sequence[int]) -> None:
        """Wait until no other transaction holds one of the numbers, and hold them to the end."""

    @abstractmethod
    async def _run(self, sql: str, values: list[Any]) -> Sequence[Iterable[Any]]:
        """The rows of one statement."""

    @abstractmethod
    async def commit(self) -> None:
        """Send what waits, and keep all of it."""


def come_after(connection: Any, *_statement: Any) -> None:
    """Before any statement of a session: what waits in the transaction that it shares goes first."""
    transaction = connection.info.get("transaction")
    if transaction is not None:
        await_(transaction.ready())


@lru_cache(maxsize=256)
def _depth(table: Table) -> int:
    """How far a table's rows stand above rows that refer to nothing."""
    above = {key.column.table for key in table.foreign_keys if key.column.table is not table}
    return 1 + max(map(_depth, above)) if above else 0
