"""Search over records: what each mapped class lets be found is kept as tokens beside it, in the commit of every change."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Index,
    Integer,
    Select,
    and_,
    delete,
    event,
    exists,
    insert,
    inspect,
    or_,
    select,
    true,
)
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Mapped, ORMExecuteState, Session, UOWTransaction, mapped_column

from domain.kernel import search_engine
from domain.kernel.access import declared, field_visible, may_read, rows_visible
from domain.kernel.actors import Actor, Role
from domain.kernel.orm import ERASED, Base
from domain.kernel.values import Ref, fingerprint
from domain.kernel.words import WORDS_VERSION, terms, tokens

LIMIT = 100
TITLE_WEIGHT, TEXT_WEIGHT = 1.0, 0.5
FILL_BATCH = 10_000
BEST, TAIL_BITS = 127, 56
"""Ranks go from 0 to BEST; two rows of a million have the same tail once in 100,000 installations."""
_REASON = "derived from rows that have their own notes, and made anew from them at any time"


class SearchText(Base):
    """The tokens of one part of a record: of columns that are seen together or not at all."""

    __tablename__ = "search_texts"
    __unledgered__ = _REASON
    __stays__ = "it goes with the record whose words it holds"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)
    """Its rank in the high bits, so that the best come first in the order of ids; below it what tells rows apart."""
    kind: Mapped[str]
    record_id: Mapped[UUID]
    part: Mapped[str]
    tokens: Mapped[str]

    __table_args__ = (Index("ix_search_texts_record", "record_id"),)


class SearchDeclaration(Base):
    """What the index was made from: once the classes declare something else, it is made anew."""

    __tablename__ = "search_declarations"
    __unledgered__ = _REASON

    digest: Mapped[str] = mapped_column(primary_key=True)


class UnindexedChangeError(RuntimeError):
    """A bulk statement writes what can be searched in a way that the index cannot follow: a bug in an operation."""


@dataclass(frozen=True, slots=True)
class Part:
    """Columns of a class whose words are kept together; `field` masks them, None: who sees the row sees them."""

    columns: tuple[str, ...]
    extra: tuple[str, ...]
    field: str | None
    weight: float

    @property
    def name(self) -> str:
        """The columns: rows that were kept under other ones are never found."""
        return "+".join(self.columns)


@lru_cache(maxsize=256)
def parts_of(model: type[Base]) -> tuple[Part, ...]:
    """The parts of a class: its title alone, and the title and all else that the same roles see.

    What every reader of the row sees is in each part, so that one query may ask for words of both.
    """
    if not model.__searched__:
        return ()
    access = declared(model)
    seen_by: dict[frozenset[Role], list[str]] = {}
    for column, field in model.__searched__.items():
        roles = frozenset(role for role in access if field is None or field in access.fields(role))
        seen_by.setdefault(roles, []).append(column)
    title = next(iter(model.__searched__))
    everybody = frozenset(access)
    open_columns = tuple(seen_by.pop(everybody, ()))
    parts = [Part((title,), (title,), None, TITLE_WEIGHT)]
    if len(open_columns) > 1:
        parts.append(Part(open_columns, open_columns[1:], None, TEXT_WEIGHT))
    for columns in seen_by.values():
        masking = model.__searched__[columns[0]]
        parts.append(Part((*open_columns, *columns), tuple(columns), masking, TEXT_WEIGHT))
    return tuple(parts)


def searched() -> dict[str, type[Base]]:
    """Every class that can be searched, by name."""
    found = {mapper.class_.__name__: mapper.class_ for mapper in Base.registry.mappers if mapper.class_.__searched__}
    return dict(sorted(found.items()))


# ---- the index follows every change ----------------------------------------------------------------------------------


def texts(model: type[Base], values: Mapping[str, Any] | RowMapping) -> Iterator[dict[str, Any]]:
    """The index rows of one record; nothing for a part that adds no word to its title."""
    id = values["id"]
    for part in parts_of(model):
        if any(_words(values.get(column)) for column in part.extra):
            text = "\n".join(_words(values.get(column)) for column in part.columns)
            if found := tokens(text):
                yield {
                    "id": _id(part, id, len(text)), "kind": model.entity(), "record_id": id, "part": part.name, "tokens": " ".join(found),
                }  # fmt: skip


def _id(part: Part, record_id: UUID, length: int) -> int:
    # Every hit has every word asked for: the shorter the text, the more of it the query says.
    rank = round(BEST * part.weight / (1 + math.log1p(length / 10)))
    tail = hashlib.blake2b(record_id.bytes + part.name.encode(), digest_size=TAIL_BITS // 8).digest()
    return rank << TAIL_BITS | int.from_bytes(tail)


def _words(value: Any) -> str:
    return "" if value is None or value == ERASED else str(value)


def _is_changed(row: Base) -> bool:
    attributes = inspect(row).attrs
    return any(attributes[column].history.has_changes() for column in row.__searched__)


def _keep(connection: Connection, texts: Iterable[dict[str, Any]]) -> None:
    if rows := list(texts):
        connection.execute(insert(SearchText), rows)


@event.listens_for(Session, "after_flush")
def _follow_flush(session: Session, _context: UOWTransaction) -> None:
    new = [row for row in session.new if row.__searched__]
    changed = [row for row in session.dirty if row.__searched__ and _is_changed(row)]
    gone = [*changed, *(row for row in session.deleted if row.__searched__)]
    if gone:
        ids = [row.id for row in gone]
        session.connection().execute(delete(SearchText).where(SearchText.record_id.in_(ids)))
    if new or changed:
        made = (text for row in (*new, *changed) for text in texts(type(row), row.__dict__))
        _keep(session.connection(), made)


@event.listens_for(Session, "do_orm_execute")
def _follow_bulk(state: ORMExecuteState) -> None:
    if not (state.is_insert or state.is_update or state.is_delete) or state.bind_mapper is None:
        return
    model = state.bind_mapper.class_
    if not model.__searched__:
        return
    rows = state.parameters if isinstance(state.parameters, Sequence) else None
    if state.is_insert and rows is not None:
        _keep(state.session.connection(), (text for row in rows for text in texts(model, row)))
    elif state.is_insert or state.is_delete or _sets(state) & model.__searched__.keys():
        raise UnindexedChangeError(f"a bulk statement on {model.__name__} which the search index cannot follow")


def _sets(state: ORMExecuteState) -> set[str]:
    """The columns that a bulk update sets."""
    given = state.parameters if isinstance(state.parameters, Sequence) else [state.parameters or {}]
    stated = getattr(state.statement, "_values", None) or {}
    return {column.key for column in stated} | {name for row in given for name in row}


async def forget(session: AsyncSession) -> None:
    """Leave nothing in the index of words that were taken out of records in this transaction."""
    await session.flush()
    connection = await session.connection()
    await connection.run_sync(search_engine.purge)


# ---- filling ---------------------------------------------------------------------------------------------------------


def declaration() -> str:
    """The digest of what the classes declare and of how words are made."""
    parts = {name: [part.name for part in parts_of(model)] for name, model in searched().items()}
    return fingerprint({"words": WORDS_VERSION, "parts": parts})


def is_filled(connection: Connection) -> bool:
    """Whether the index is made of what the classes declare now."""
    return connection.scalars(select(SearchDeclaration.digest)).all() == [declaration()]


def fill(connection: Connection) -> Iterator[tuple[str, int]]:
    """Make the whole index anew from the records; yields after each batch the class and how many of it are done."""
    connection.execute(delete(SearchDeclaration))
    connection.execute(delete(SearchText))
    for name, model in searched().items():
        done = 0
        for rows in _batches(connection, model):
            _keep(connection, (text for row in rows for text in texts(model, row)))
            done += len(rows)
            yield name, done
    connection.execute(insert(SearchDeclaration), [{"digest": declaration()}])
    search_engine.purge(connection)


def _batches(connection: Connection, model: type[Base]) -> Iterator[Sequence[RowMapping]]:
    table = model.__table__
    columns = [table.c.id, *(table.c[column] for column in model.__searched__)]
    page = select(*columns).order_by(table.c.id).limit(FILL_BATCH)
    rows = connection.execute(page).mappings().all()
    while rows:
        yield rows
        rows = connection.execute(page.where(table.c.id > rows[-1]["id"])).mappings().all()


# ---- searching -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that a query meets, and how well: 1 at best."""

    ref: Ref
    score: float


async def search(
    connection: AsyncConnection, actor: Actor, query: str, kinds: Iterable[str], first: int = LIMIT
) -> list[Hit]:
    """The records of some classes that have all words of a query in what the actor sees of them, the best first.

    A word matches whole, the query's last one by its beginning. Equal ones come newest first; there are at most LIMIT.
    """
    asked = terms(query)
    wanted = frozenset(kinds)
    models = tuple(model for name, model in searched().items() if name in wanted and may_read(model, actor))
    if not asked or not models:
        return []
    dialect = connection.dialect.name
    parts = max(len(parts_of(model)) for model in models)
    # A record may be found by each of its parts, and counts once.
    bound = {"terms": search_engine.written(asked, dialect), "first": min(first, LIMIT) * parts}
    best: dict[Ref, float] = {}
    for row in await connection.execute(_statement(models, actor, dialect), bound):
        best.setdefault(Ref(row.kind, row.record_id), round((row.id >> TAIL_BITS) / BEST, 2))
    hits = sorted((Hit(ref, score) for ref, score in best.items()), key=lambda hit: (-hit.score, -hit.ref.id.int))
    return hits[: min(first, LIMIT)]


@lru_cache(maxsize=1024)
def _statement(models: tuple[type[Base], ...], actor: Actor, dialect: str) -> Select[Any]:
    """One statement for all classes: the index is asked once, and each row that it names is looked at by its class's rules."""
    texts = SearchText.__table__
    seen = [_seen(model, actor, texts) for model in models]
    return search_engine.ranked(texts, dialect).where(or_(*seen))


def _seen(model: type[Base], actor: Actor, texts: FromClause) -> ColumnElement[bool]:
    """The condition for index rows of parts of a class that the actor sees."""
    table = model.__table__
    shown = [(part.name, _shown(model, part, actor)) for part in parts_of(model)]
    parts = or_(*(and_(texts.c.part == name, seen) for name, seen in shown))
    row = select(1).select_from(table).where(table.c.id == texts.c.record_id, rows_visible(model, actor), parts)
    return and_(texts.c.kind == model.entity(), exists(row.correlate(texts)))


def _shown(model: type[Base], part: Part, actor: Actor) -> ColumnElement[bool]:
    return true() if part.field is None else field_visible(model, part.field, actor)
