"""The unit of work: one session, one instant, one actor, and nothing changed without a ledger note."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol, TypeVar
from uuid import UUID

import orjson
import uuid_utils
from sqlalchemy import TextClause, event, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.orm.exc import StaleDataError

from domain.kernel.actors import SYSTEM, Actor, ActorKind
from domain.kernel.changes import ChangeKind, told
from domain.kernel.errors import SalesError, StaleVersion, Text, Unavailable
from domain.kernel.events import Event, OutboxEvent
from domain.kernel.group_commit import GroupCommit
from domain.kernel.listening import Listener
from domain.kernel.orm import Base, Record
from domain.kernel.outages import GONE, UNREACHED, unavailable
from domain.kernel.postgres import MOST_CONNECTIONS, Seats, shares
from domain.kernel.read_pool import ReadPool, open_reads
from domain.kernel.reader import enter
from domain.kernel.replica import Replica, ReplicaFirst
from domain.kernel.row_changes import RowChange, field_changes
from domain.kernel.rows import as_row
from domain.kernel.sessions import UnitSession
from domain.kernel.sqlite import open_engine
from domain.kernel.statements import Statement, given
from domain.kernel.values import Ref

T = TypeVar("T", bound=Base)


def utc_now() -> datetime:
    """The present instant: the one clock of the product."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A fresh id, version 7: ordered by time, so that indexes grow at one end."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


@dataclass(slots=True)
class Note:
    """One ledger note: an action on a subject, with what it changed, before it is sealed."""

    action: str
    subject: Ref
    detail: dict[str, Any]
    personal: dict[str, Any] = field(default_factory=dict)
    person_ids: tuple[UUID, ...] = ()
    changes: list[RowChange] = field(default_factory=list)


class Recorder(Protocol):
    """Who writes notes down; the ledger does."""

    async def record(self, uow: "UnitOfWork", notes: list[Note]) -> dict[Ref, str]:
        """Store one event a note in the session's transaction and return the digests by subject."""
        ...


class UnledgeredChangeError(RuntimeError):
    """Rows were changed and no note covers them: a bug in an operation."""


class OvertakenError(RuntimeError):
    """A unit of work that hoped for a fresh key failed, maybe because there was one: it is to be run again without hope."""


class UnitOfWork:
    """One open transaction of one actor at one instant. Only leaving the block that opened it commits."""

    def __init__(
        self, session: UnitSession, now: datetime, actor: Actor, ids: Callable[[], UUID], *, hopeful: bool = False
    ) -> None:
        self.session = session
        self.now = now
        self.actor = actor
        self.hoped = False
        """Whether the work rests on a key being fresh that only the commit can tell."""
        self.made: set[UUID] = set()
        """The ids that this unit of work gave out: nobody else knows of what has them."""
        self.notes: list[Note] = []
        self.digests: dict[Ref, str] = {}
        self._changes: dict[Ref, list[RowChange]] = {}
        self._told: dict[Ref, ChangeKind] = {}
        self._bulk: set[str] = set()
        self._covered_tables: set[str] = set()
        self._ids = ids
        self._hopeful = hopeful
        self._transaction = session.transaction

    def new_id(self) -> UUID:
        """A fresh id for what this unit of work makes."""
        id = self._ids()
        self.made.add(id)
        return id

    def note(
        self,
        action: str,
        subject: Base | Ref,
        detail: dict[str, Any] | None = None,
        *,
        personal: dict[str, Any] | None = None,
        persons: Iterable[UUID] = (),
        covers: Iterable[type[Base]] = (),
    ) -> None:
        """Say what is done and to what; before and after of the subject's rows are added at commit.

        `detail` holds JSON values without personal data; `personal` holds values that are enciphered under a key which
        dies with any of `persons`. `covers` names classes that a bulk statement of this operation writes.
        """
        ref = subject if isinstance(subject, Ref) else subject.ref()
        self.notes.append(Note(action, ref, detail or {}, personal or {}, tuple(persons)))
        self._covered_tables.update(model.__tablename__ for model in covers)

    def emit(self, fact: Event) -> None:
        """Put an event into the outbox of this commit."""
        self.session.add(OutboxEvent(id=self.new_id(), kind=fact.kind, body=fact.body(), emitted_at=self.now))

    async def find(self, model: type[T], **values: Any) -> T | None:
        """The one row that holds these values, whoever may see it; None where there is none."""
        empty = frozenset(name for name, value in values.items() if value is None)
        found = await self._transaction.fetch(_holding(model, tuple(values), empty), **values)
        return as_row(self.session.sync_session, model, found[0]) if found else None

    async def earlier(self, model: type[T], **key: Any) -> T | None:
        """The row that was made before under a key which a unique constraint guards; nobody else makes one meanwhile.

        A hopeful unit of work does not look: most keys are fresh, and of one that is not the constraint tells.
        """
        self.hoped = self._hopeful
        if self._hopeful:
            return None
        await self.wait_turn("\0".join(map(str, (model.__tablename__, *key.values()))))
        return await self.find(model, **key)

    def write(self, model: type[Base], rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows of a class that needs no note, in this commit.

        Raises UnledgeredChangeError for any other class.
        """
        if model.__unledgered__ is None:
            raise UnledgeredChangeError(f"{model.__name__} needs a note: add its rows to the session")
        self._transaction.insert(model, rows)

    async def wait_turn(self, *names: str) -> None:
        """Let other transactions that named one of these end first, and have later ones wait for this one.

        What is looked up afterwards is there or is not, and nobody else makes it meanwhile. SQLite has one writer anyway.
        """
        digests = (hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8] for name in names)
        # In one order for everybody, so that two transactions never wait for each other.
        await self._transaction.wait_turn(sorted({int.from_bytes(digest, signed=True) for digest in digests}))

    async def finish(self, recorder: Recorder, tell: Callable[[str], None] | None = None) -> None:
        """Flush, check that notes cover every change, write the notes, and commit.

        What changed is told by `tell` afterwards, without one by the commit itself.

        Raises UnledgeredChangeError when a change has none.
        """
        await self.session.flush()
        noted = {note.subject: note for note in self.notes}
        bare = [str(ref) for ref in self._changes if ref not in noted]
        bare += sorted(self._bulk - self._covered_tables)
        if bare:
            raise UnledgeredChangeError(f"changed without a ledger note: {', '.join(bare)}")
        for ref, changes in self._changes.items():
            noted[ref].changes = changes
        if self.notes:
            self.digests = await recorder.record(self, self.notes)
        news = self._news()
        if tell is None or not news:
            self._transaction.news = news
            await self._transaction.commit()
            return
        try:
            await self._transaction.commit()
        except IntegrityError:
            raise
        except BaseException:
            # Whoever is cut off or stopped while committing may well have committed: told in vain is better than not told.
            tell(news)
            raise
        tell(news)

    def _news(self) -> str:
        """What listeners are told: every changed record that readers reach, and what it is a part of."""
        return told(self._told, [model.entity() for model in map(_class_of, self._bulk) if model and model.__access__])

    def add_new(self, row: Base) -> None:
        """Stamp a new row that is about to be written, and remember that it was made."""
        if isinstance(row, Record):
            row.__dict__.update(
                version=1, created_at=self.now, updated_at=self.now, created_by_kind=self.actor.kind,
                created_by_id=self.actor.user_id, updated_by_kind=self.actor.kind, updated_by_id=self.actor.user_id,
            )  # fmt: skip
        self._collect(row, "created")

    def stamp_and_collect(self, session: Session) -> None:
        """Before a flush: stamp records with actor and instant, and remember every change."""
        for row in session.new:
            if isinstance(row, Record):
                row.created_at = row.updated_at = self.now
                row.created_by_kind = row.updated_by_kind = self.actor.kind
                row.created_by_id = row.updated_by_id = self.actor.user_id
            self._collect(row, "created")
        for row in session.dirty:
            if session.is_modified(row):
                if isinstance(row, Record):
                    row.updated_at, row.updated_by_kind, row.updated_by_id = (
                        self.now,
                        self.actor.kind,
                        self.actor.user_id,
                    )
                self._collect(row, "updated")
        for row in session.deleted:
            self._collect(row, "deleted")

    def _collect(self, row: Base, verb: str) -> None:
        if row.__unledgered__ is not None:
            return
        ref, root = row.ref(), row.root()
        if row.__access__ is not None:
            self._tell(ref, root, WHAT[verb])
        person_id = getattr(row, row.__person__) if row.__person__ else None
        change = RowChange(ref, verb, person_id, field_changes(row, verb))
        self._changes.setdefault(root, []).append(change)

    def _tell(self, ref: Ref, root: Ref, what: ChangeKind) -> None:
        if self._told.get(ref) is not ChangeKind.MADE or what is ChangeKind.GONE:
            self._told[ref] = what
        self._told.setdefault(root, ChangeKind.CHANGED)

    def check_bulk(self, state: ORMExecuteState) -> None:
        """Before a bulk statement: remember which ledgered table it writes."""
        if state.is_insert or state.is_update or state.is_delete:
            name = state.statement.table.name  # type: ignore[attr-defined]
            model = _class_of(name)
            if model is not None and model.__unledgered__ is None:
                self._bulk.add(name)
        elif isinstance(state.statement, TextClause) and not state.statement.text.lstrip().upper().startswith("SELECT"):
            self._bulk.add(f"“{state.statement.text.strip()[:60]}”")


WHAT = {"created": ChangeKind.MADE, "updated": ChangeKind.CHANGED, "deleted": ChangeKind.GONE}


@lru_cache(maxsize=256)
def _class_of(table: str) -> type[Base] | None:
    return next((mapper.class_ for mapper in Base.registry.mappers if mapper.class_.__tablename__ == table), None)


@lru_cache(maxsize=256)
def _holding(model: type[Base], names: tuple[str, ...], empty: frozenset[str]) -> Statement:
    columns = model.__table__.c
    same = (columns[name] == (None if name in empty else given(name, columns[name].type)) for name in names)
    return Statement(select(model.__table__).where(*same))


@event.listens_for(Session, "before_flush")
def _before_flush(session: Session, _context: object, _instances: object) -> None:
    uow = session.info.get("uow")
    if uow is not None:
        uow.stamp_and_collect(session)


@event.listens_for(Session, "do_orm_execute")
def _before_statement(state: ORMExecuteState) -> None:
    uow = state.session.info.get("uow")
    if uow is not None:
        uow.check_bulk(state)


class Database:
    """One database, SQLite or PostgreSQL: pools for writing and reading, and the door to units of work."""

    def __init__(
        self,
        url: str,
        recorder: Recorder,
        *,
        clock: Callable[[], datetime] = utc_now,
        ids: Callable[[], UUID] = new_id,
        connections: int = MOST_CONNECTIONS,
        lock_timeout_seconds: float = 15.0,
        read_seconds: float = 10.0,
        replica_url: str | None = None,
        replica_lag_seconds: float = 0.25,
    ) -> None:
        self.url = url
        self.recorder = recorder
        self.clock = clock
        self.new_id = ids
        self.embedded = url.startswith("sqlite")
        self._hear: Callable[[str], None] | None = None
        self._listener: Listener | None = None
        sessions, seats = shares(connections)
        self.reads = open_reads(url, connections=seats, seconds=read_seconds)
        self.replica: Replica | None = None
        self.queries: ReadPool = self.reads
        """Whom queries ask: the replica where there is one and it has every commit that anybody was told of."""
        if replica_url is not None:
            self.replica = Replica(
                replica_url, url, lag_seconds=replica_lag_seconds, read_seconds=read_seconds, connections=seats
            )
            self.queries = ReplicaFirst(self.replica, self.reads)
        if self.embedded:
            self.writer = open_engine(url, writing=True, pool_size=1, lock_timeout_seconds=lock_timeout_seconds)
            self.reader = open_engine(url, writing=False, pool_size=4, lock_timeout_seconds=lock_timeout_seconds)
            # SQLite has one writer: behind one lock in this process, and BEGIN IMMEDIATE against others.
            self._units: GroupCommit | Seats = GroupCommit(self.writer, lock_timeout_seconds, tell=self._tell)
        else:
            self.writer = self.reader = create_async_engine(
                url, pool_size=sessions, max_overflow=0, json_deserializer=orjson.loads
            )
            self._units = Seats(url, seats)

    @asynccontextmanager
    async def open_uow(self, actor: Actor, *, hopeful: bool = False) -> AsyncIterator[UnitOfWork]:
        """Open a unit of work that commits on a quiet exit and rolls back on any error.

        Whoever has left it finds what it changed, in every process and on the replica as well.

        A `hopeful` one takes keys for fresh without looking. Raises StaleVersion when somebody else was faster, Unavailable
        when the database is locked, full or gone, OvertakenError when a hope may have been in vain.
        """
        alone = actor.kind is ActorKind.IMPORT
        async with _readable_errors(), self._units.unit(alone=alone) as session:
            session.info["uow"] = uow = UnitOfWork(session, self.clock(), actor, self.new_id, hopeful=hopeful)
            transaction, kept = session.transaction, False
            try:
                yield uow
                await uow.finish(self.recorder, self._listener.tell if self._listener else None)
                kept = True
            except (IntegrityError, SalesError, StaleDataError) as error:
                if uow.hoped:
                    raise OvertakenError from error
                raise
            finally:
                # The next unit of work has it: whoever holds on to this one must not reach into that.
                del uow.session
                await session.leave(kept=kept)
        if self.replica is not None and transaction.kept:
            await self.replica.caught_up()

    @asynccontextmanager
    async def read(self, actor: Actor = SYSTEM) -> AsyncIterator[AsyncConnection]:
        """Open a connection for reading alone; on PostgreSQL the database itself keeps it to what the actor may see.

        Raises Unavailable when the database is locked or gone.
        """
        async with _readable_errors(), self.reader.connect() as connection:
            if not self.embedded and not actor.unrestricted:
                await enter(connection, actor)
            yield connection

    def listen(self, hear: Callable[[str], None], begun: Callable[[], None]) -> None:
        """Have `hear` called with what each commit tells: of every process on PostgreSQL, of this one on SQLite.

        `begun` is called whenever listening begins, the first time included: what was told before was not heard.
        """
        self._hear = hear
        if self.replica is not None:
            hear, begun = self._when_read(hear, begun, self.replica)
        if not self.embedded:
            self._listener = Listener(self.url, hear, begun)
            self._listener.start()

    @staticmethod
    def _when_read(
        hear: Callable[[str], None], begun: Callable[[], None], replica: Replica
    ) -> tuple[Callable[[str], None], Callable[[], None]]:
        """The same, called once whoever then asks the replica finds what is told."""
        return lambda payload: replica.afterwards(lambda: hear(payload)), lambda: replica.afterwards(begun)

    async def stop_listening(self) -> None:
        """Hear nothing any more."""
        self._hear = None
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None

    def _tell(self, payload: str) -> None:
        if self._hear is not None:
            self._hear(payload)

    async def close(self) -> None:
        """Give every connection back."""
        await self.stop_listening()
        if self.replica is not None:
            await self.replica.close()
        await self.reads.close()
        await self._units.close()
        await self.writer.dispose()
        if self.reader is not self.writer:
            await self.reader.dispose()


@asynccontextmanager
async def _readable_errors() -> AsyncIterator[None]:
    try:
        yield
    except StaleDataError as error:
        text = Text(
            "记录刚刚被他人更改，请刷新后重试", "somebody else has just changed the record: reload and try again"
        )
        raise StaleVersion(text, ("expectedVersion",)) from error
    except DBAPIError as error:
        known = unavailable(error)
        if known is error:
            raise
        raise known from error
    except UNREACHED as error:
        raise Unavailable(GONE) from error


async def insert_rows(uow: UnitOfWork, model: type[Base], rows: list[dict[str, Any]]) -> None:
    """Insert many rows in one statement, stamped like single ones; the caller's note must cover the class."""
    if not rows:
        return
    if issubclass(model, Record):
        kind, user_id = uow.actor.kind, uow.actor.user_id
        stamp = {
            "version": 1,
            "created_at": uow.now,
            "updated_at": uow.now,
            "created_by_kind": kind,
            "created_by_id": user_id,
            "updated_by_kind": kind,
            "updated_by_id": user_id,
        }
        rows = [stamp | row for row in rows]
    # Without this every change in which columns are null begins another statement.
    await uow.session.execute(insert(model).execution_options(render_nulls=True), rows)
