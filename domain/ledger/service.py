"""What is done with the ledger: record, seal, publish, verify, prove, reveal, and destroy keys."""

import asyncio
import fcntl
import hashlib
import hmac
import operator
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Select, bindparam, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from domain.kernel import (
    SYSTEM,
    Base,
    Conflict,
    Database,
    Invalid,
    Note,
    Ref,
    RowChange,
    Text,
    UnitOfWork,
    insert_rows,
    not_found,
)
from domain.ledger.model import AuditEvent, Cipher, ImportBatch, KeyHolder, LedgerHead, PersonKey
from domain.ledger.policy import (
    OTHER_HEAD,
    UNREADABLE_EVENT,
    UNREADABLE_HEAD,
    Audit,
    CompactRange,
    Content,
    Entry,
    Head,
    InclusionProof,
    LedgerProblem,
    Signer,
    VerifiedHead,
    canonical,
    inclusion_path,
    plain,
    seq_bytes,
)

SEAL_LOCK = 0x534F5254
SEAL_BATCH, READ_BATCH = 5_000, 2_000
_UNREADABLE = (LookupError, TypeError, ValueError, OverflowError)

Holders = frozenset[UUID]


def _holder_set(holders: Holders) -> str:
    return hashlib.sha256(b"".join(sorted(person.bytes for person in holders))).hexdigest()


async def _keys(uow: UnitOfWork, wanted: Iterable[Holders]) -> dict[Holders, Cipher]:
    """The key of each set of persons, made where there is none; without a secret where one of them is erased."""
    names = {_holder_set(holders): holders for holders in wanted}
    keys = await _stored_keys(uow, [name for name, holders in names.items() if not holders <= uow.made])
    missing = {name: names[name] for name in sorted(names.keys() - keys.keys())}
    # Of persons whom this unit of work made nobody else has made a key, and nobody has erased them.
    fresh = {name: holders for name, holders in missing.items() if holders <= uow.made}
    keys |= _add_keys(uow, fresh)
    if others := {name: holders for name, holders in missing.items() if name not in fresh}:
        keys |= await _make_keys(uow, others)
        keys |= await _stored_keys(uow, sorted(others.keys() - keys.keys()))
    return {names[name]: key for name, key in keys.items()}


async def _stored_keys(uow: UnitOfWork, names: Iterable[str]) -> dict[str, Cipher]:
    found = [await uow.find(PersonKey, holder_set=name) for name in names]
    return {key.holder_set: key.cipher for key in found if key is not None}


def _add_keys(uow: UnitOfWork, fresh: Mapping[str, Holders]) -> dict[str, Cipher]:
    """Make the keys of sets that nobody else knows."""
    rows = [_key(uow, name) | {"secret": AESGCM.generate_key(256), "destroyed_at": None} for name in fresh]
    uow.write(PersonKey, rows)
    uow.write(KeyHolder, _held(rows, fresh))
    return {row["holder_set"]: Cipher(row["id"], row["secret"]) for row in rows}


def _key(uow: UnitOfWork, name: str) -> dict[str, Any]:
    return {"id": uow.new_id(), "holder_set": name, "created_at": uow.now}


def _held(keys: Iterable[Mapping[str, Any]], sets: Mapping[str, Holders]) -> list[dict[str, UUID]]:
    return [{"key_id": key["id"], "person_id": person} for key in keys for person in sorted(sets[key["holder_set"]])]


async def _make_keys(uow: UnitOfWork, missing: Mapping[str, Holders]) -> dict[str, Cipher]:
    """Make the keys of sets that have none; those are left out that another transaction has made meanwhile."""
    connection = await uow.session.connection()
    # A person alone who has no key was never erased: erasing leaves one without a secret.
    erased = await _erased(uow.session, frozenset().union(*missing.values()), missing)
    keys = []
    for name, holders in missing.items():
        secret, destroyed_at = (None, uow.now) if holders & erased else (AESGCM.generate_key(256), None)
        keys.append(_key(uow, name) | {"secret": secret, "destroyed_at": destroyed_at})
    # Another transaction may be making the same key: wait for it and take its key.
    upsert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(PersonKey)
    upsert = upsert.on_conflict_do_nothing(index_elements=["holder_set"])
    own: set[str] = set((await connection.execute(upsert.returning(PersonKey.holder_set), keys)).scalars())
    made = [key for key in keys if key["holder_set"] in own]
    uow.write(KeyHolder, _held(made, missing))
    return {str(key["holder_set"]): Cipher(key["id"], key["secret"]) for key in made}


async def _erased(session: AsyncSession, persons: Holders, missing: Iterable[str]) -> Holders:
    names = {_holder_set(frozenset({person})): person for person in persons}
    for name in missing:
        names.pop(name, None)
    if not names:
        return frozenset()
    gone = select(PersonKey.holder_set).where(PersonKey.holder_set.in_(names), PersonKey.destroyed_at.is_not(None))
    return frozenset(names[name] for name in await session.scalars(gone))


async def destroy_keys(uow: UnitOfWork, person_id: UUID) -> int:
    """Make every personal value of a person in the ledger unreadable for good, and return how many keys that took.

    Values that enter later, in this unit of work or another, are not kept at all. Every digest and proof stays valid.
    """
    uow.made.discard(person_id)
    await _keys(uow, [frozenset({person_id})])
    held = select(KeyHolder.key_id).where(KeyHolder.person_id == person_id)
    keys = (
        await uow.session.scalars(select(PersonKey).where(PersonKey.id.in_(held), PersonKey.secret.is_not(None)))
    ).all()
    for key in keys:
        key.secret, key.destroyed_at = None, uow.now
    await uow.session.flush()
    uow.note("person.keys_destroyed", Ref("Contact", person_id), {"keys": len(keys)})
    return len(keys)


def _fields(change: RowChange) -> tuple[dict[str, Any], dict[str, Any]]:
    """Before and after of each changed column: of those that anybody may read, and of personal ones."""
    fields: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name, field in change.fields.items():
        before = None if field.before is None else plain(field.before)
        fields[field.personal][name] = {"before": before, "after": plain(field.after)}
    return fields


def _said(note: Note) -> tuple[list[dict[str, Any]], dict[Holders, dict[str, Any]]]:
    """What changed, with personal values left out and named; and these by whose erasure takes them away.

    That is the row's person, else those of the note, or its subject.
    """
    changes, personal = [], dict[Holders, dict[str, Any]]()
    named = frozenset(note.person_ids or (note.subject.id,))
    for change in note.changes:
        fields, hidden = _fields(change)
        entry: dict[str, Any] = {"row": str(change.row), "verb": change.verb, "fields": fields}
        if hidden:
            entry["personal"] = sorted(hidden)
            mine = personal.setdefault(frozenset({change.person_id}) if change.person_id else named, {})
            mine.setdefault("changes", []).append({"row": entry["row"], "fields": hidden})
        changes.append(entry)
    if note.personal:
        personal.setdefault(named, {})["personal"] = plain(note.personal)
    return changes, personal


class LedgerRecorder:
    """The kernel's recorder: one event a note, with its digest, in the transaction of the change."""

    async def record(self, uow: UnitOfWork, notes: list[Note]) -> dict[Ref, str]:
        """Store the events and return their digests by subject, the last where a subject has several."""
        said = [_said(note) for note in notes]
        wanted = {holders for _, personal in said for holders in personal}
        keys = await _keys(uow, wanted) if wanted else {}
        rows, digests = [], {}
        for note, (changes, personal) in zip(notes, said, strict=True):
            id = uow.new_id()
            sealed = [
                keys[holders].encipher(id, canonical(personal[holders])) for holders in sorted(personal, key=sorted)
            ]
            content = _content(uow, id, note, {"detail": plain(note.detail), "changes": changes, "sealed": sealed})
            digests[note.subject] = digest = content.digest()
            rows.append(dict(zip(CONTENT, _CONTENT_OF(content), strict=True), digest=digest))
        uow.write(AuditEvent, rows)
        return digests


def _content(uow: UnitOfWork, id: UUID, note: Note, detail: dict[str, Any]) -> Content:
    actor, subject = uow.actor, note.subject
    return Content(
        id, uow.now, actor.kind, actor.user_id, plain(actor.display_name), actor.on_behalf_of_id,
        note.action, subject.kind, subject.id, detail,
    )  # fmt: skip


async def import_rows(
    uow: UnitOfWork,
    source: str,
    tables: Mapping[type[Base], list[dict[str, Any]]],
    detail: dict[str, Any] | None = None,
) -> ImportBatch:
    """Insert rows in bulk, each naming its batch, under one event that holds their number and digest.

    The digest of a table is HMAC-SHA256, keyed by the batch's salt, over one canonical line a row, each with a line feed.
    """
    count, salt = sum(map(len, tables.values())), os.urandom(32)
    batch = ImportBatch(id=uow.new_id(), source=source, started_at=uow.now, row_count=count, salt=salt)
    uow.session.add(batch)
    await uow.session.flush()
    counted = {}
    for model, rows in tables.items():
        named = [row | {"import_batch_id": batch.id} for row in rows]
        await insert_rows(uow, model, named)
        counted[model.entity()] = {"rows": len(rows), "digest": rows_digest(salt, named)}
    uow.note("import.batch_recorded", batch, {"source": source, "tables": counted} | (detail or {}), covers=tables)
    return batch


def rows_digest(salt: bytes, rows: Iterable[Mapping[str, Any]]) -> str:
    """The digest of imported rows that an import event holds."""
    digest = RowsDigest(salt)
    digest.add(rows)
    return digest.hex()


class RowsDigest:
    """The digest of rows that come in parts: HMAC-SHA256 over one canonical line a row, each with a line feed."""

    def __init__(self, salt: bytes) -> None:
        self._digest = hmac.new(salt, digestmod="sha256")

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in the next rows."""
        for row in rows:
            self._digest.update(canonical(plain(row)) + b"\n")

    def hex(self) -> str:
        """The digest of the rows so far."""
        return self._digest.hexdigest()


Publish = Callable[[Head], None]
_HEAD = select(*(getattr(LedgerHead, field.name) for field in fields(Head)))
_NEWEST = LedgerHead.size.desc()


class HeadFile:
    """A file outside the database, one signed head a line, to which heads are only ever added."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, head: Head) -> None:
        """Add the head and have it on the disk, unless it is the last one already; safe with several processes."""
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 4096))
            *lines, torn = file.read().split(b"\n")
            # A crash in the middle of an append leaves half a line.
            file.truncate(end - len(torn))
            if lines[-1:] != [head.line()]:
                file.write(head.line() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def last(self) -> Head | None:
        """The newest published head; None before the first, and where the last line is none.

        The audit reads them all and says what is wrong with one.
        """
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().split(b"\n")[:-1]
        try:
            return Head.from_line(lines[-1]) if lines else None
        except ValueError:
            return None

    def read(self) -> list[Head]:
        """Every published head.

        Raises Invalid, with the line's number, for a line that is none.
        """
        heads = []
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                heads.append(Head.from_line(line))
            except ValueError as error:
                no_head = Text(
                    f"{self.path} 第 {number} 行不是账本头", f"line {number} of {self.path} is no ledger head"
                )
                raise Invalid(no_head, (str(number),)) from error
        return heads


async def seal(database: Database, signer: Signer, publish: Publish) -> Head | None:
    """Put every waiting event into the tree, sign the new head, commit, and publish; the newest head, None without any.

    Several processes may do so at once. A crash before publishing is made good by the next call. Raises LedgerProblem
    when the stored state of the tree is not the one that was signed last.
    """
    waiting = select(AuditEvent.seq).where(AuditEvent.sealed_at.is_(None)).limit(1)
    while True:
        async with database.read(SYSTEM) as connection:
            idle = (await connection.execute(waiting)).first() is None
            newest = (await connection.execute(_HEAD.order_by(_NEWEST).limit(1))).first()
        if idle:
            break
        await _seal_batch(database, signer)
    if newest is None:
        return None
    head = Head(*newest)
    await asyncio.to_thread(publish, head)
    return head


async def _seal_batch(database: Database, signer: Signer) -> None:
    async with database.open_uow(SYSTEM) as uow:
        if not database.embedded:
            await uow.session.execute(select(func.pg_advisory_xact_lock(SEAL_LOCK)))
        connection = await uow.session.connection()
        tree = await _tree(connection, signer.public_key)
        # Never "after the last seq": PostgreSQL commits out of order.
        waiting = select(AuditEvent.seq, AuditEvent.digest).where(AuditEvent.sealed_at.is_(None))
        seqs, places = hashlib.sha256(), []
        for seq, digest in await uow.session.execute(waiting.order_by(AuditEvent.seq).limit(SEAL_BATCH)):
            places.append({"of_seq": seq, "leaf": tree.size})
            tree.append(digest)
            seqs.update(seq_bytes(seq))
        if not places:
            return
        place = update(AuditEvent).where(AuditEvent.seq == bindparam("of_seq"))
        place = place.values(leaf_index=bindparam("leaf"), sealed_at=uow.now)
        await connection.execute(place, places)
        head = signer.sign(tree.size, tree.root(), seqs.hexdigest(), uow.now)
        uow.session.add(LedgerHead(**asdict(head), frontier=[node.hex() for node in tree.frontier]))


async def _tree(connection: AsyncConnection, public_key: bytes) -> CompactRange:
    """The tree of the newest head, checked against its signature: a forged state must not be signed again."""
    newest = _HEAD.add_columns(LedgerHead.frontier).order_by(_NEWEST).limit(1)
    try:
        row = (await connection.execute(newest)).first()
        if row is None:
            return CompactRange()
        *signed, frontier = row
        head, tree = Head(*signed), CompactRange(row.size, [bytes.fromhex(node) for node in frontier])
        genuine = head.signed_by(public_key) and tree.root() == head.root_hash
    except _UNREADABLE as error:
        raise LedgerProblem(UNREADABLE_HEAD) from error
    if not genuine or len(tree.frontier) != head.size.bit_count():
        raise LedgerProblem(OTHER_HEAD, size=head.size)
    return tree


Take = Callable[[Entry], None]
Progress = Callable[[int], None] | None
"""Told the number of events in each batch that was checked."""
CONTENT = tuple(field.name for field in fields(Content))
_CONTENT_OF = operator.attrgetter(*CONTENT)
_PLACE = (AuditEvent.seq, AuditEvent.digest, AuditEvent.leaf_index, AuditEvent.sealed_at)
_ENTRY = select(*_PLACE, *(getattr(AuditEvent, name) for name in CONTENT))


@dataclass(frozen=True, slots=True)
class Verification:
    """What an audit found: how many events, how many sealed, the newest head, and the first problem if there is one."""

    sound: bool
    events: int
    sealed: int
    head: Head | None
    problem: Text | None
    verified: VerifiedHead | None


def _entry(row: Sequence[Any]) -> Entry:
    seq, digest, leaf_index, sealed_at, *content = row
    # SQLite keeps 5.5 and "x" in a column of integers.
    leaf = None if leaf_index is None else operator.index(leaf_index)
    return Entry(seq, Content(*content), digest, leaf, sealed_at)


async def verify(
    connection: AsyncConnection,
    public_key: bytes,
    *,
    heads: Sequence[Head] = (),
    remembered: Head | None = None,
    since: VerifiedHead | None = None,
    progress: Progress = None,
) -> Verification:
    """Recompute the ledger from what is stored, and compare with its heads, the published ones and a remembered one.

    Finds an edited, deleted, swapped or inserted event, a cut tail and (by the remembered head) a restored backup. With
    `since` only later events are read. Read the published heads before opening the connection: they must not be newer
    than what it sees.
    """
    if connection.dialect.name == "postgresql" and not connection.in_transaction():
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    if since is None or (remembered is not None and remembered.size < since.size):
        since = VerifiedHead()
    witnesses = [(Text("已发布的", "published"), head) for head in heads]
    if remembered is not None:
        witnesses.append((Text("您记住的", "remembered"), remembered))
    counted = select(func.count(), func.count(AuditEvent.sealed_at)).select_from(AuditEvent)
    events, sealed = (await connection.execute(counted)).one()
    stored: list[Head] = []
    try:
        stored = await stored_heads(connection)
        verified = await _audit(connection, Audit(stored, witnesses, public_key, since), progress)
        await _tree(connection, public_key)
    except LedgerProblem as found:
        return Verification(False, events, sealed, stored[-1] if stored else None, found.text, None)
    return Verification(True, events, sealed, stored[-1] if stored else None, None, verified)


async def head_problem(connection: AsyncConnection, public_key: bytes, published: Head | None) -> Text | None:
    """What is wrong with the newest stored head: forged, or older than the published one. Nothing else is read."""
    try:
        tree = await _tree(connection, public_key)
    except LedgerProblem as found:
        return found.text
    if published is not None and published.size > tree.size:
        return Text(
            f"账本比已发布的账本头短：{tree.size} < {published.size}",
            f"the ledger is shorter than its published head: {tree.size} < {published.size}",
        )
    return None


async def stored_heads(connection: AsyncConnection) -> list[Head]:
    """Every head that the database holds, the oldest first.

    Raises LedgerProblem for one that cannot be read.
    """
    try:
        rows = (await connection.execute(_HEAD.order_by(LedgerHead.size))).all()
        return [Head(operator.index(size), *signed) for size, *signed in rows]
    except _UNREADABLE as error:
        raise LedgerProblem(UNREADABLE_HEAD) from error


async def _audit(connection: AsyncConnection, audit: Audit, progress: Progress) -> VerifiedHead:
    audit.check_heads()
    leaf, size = AuditEvent.leaf_index, audit.since.size
    in_tree = _ENTRY.where(leaf >= size if size else leaf.is_not(None)).order_by(leaf, AuditEvent.seq)
    await _feed(connection, in_tree, audit.sealed, progress)
    await _feed(connection, _ENTRY.where(leaf.is_(None)).order_by(AuditEvent.seq), audit.waiting, progress)
    before = (await connection.execute(select(func.count()).where(leaf < size))).scalar_one() if size else 0
    return audit.finish(before)


async def _feed(connection: AsyncConnection, statement: Select[Any], take: Take, progress: Progress) -> None:
    read = 0
    try:
        async with connection.stream(statement, execution_options={"yield_per": READ_BATCH}) as result:
            async for rows in result.partitions():
                for row in rows:
                    take(_entry(row))
                read += len(rows)
                if progress is not None:
                    progress(len(rows))
    except _UNREADABLE:
        await _name_unreadable(connection, statement.offset(read))
        raise


async def entries(connection: AsyncConnection) -> AsyncIterator[Entry]:
    """Every event with its place: the leaves in their order, then those that wait to be sealed.

    Raises LedgerProblem for a row that cannot be read.
    """
    leaf = AuditEvent.leaf_index
    for part in (_ENTRY.where(leaf.is_not(None)).order_by(leaf), _ENTRY.where(leaf.is_(None)).order_by(AuditEvent.seq)):
        try:
            async with connection.stream(part, execution_options={"yield_per": READ_BATCH}) as result:
                async for row in result:
                    yield _entry(row)
        except _UNREADABLE as error:
            raise LedgerProblem(UNREADABLE_EVENT, seq="?") from error


async def _name_unreadable(connection: AsyncConnection, statement: Select[Any]) -> None:
    """Look in a batch for the row that holds what its columns cannot hold.

    Raises LedgerProblem with its number.
    """
    numbers = await connection.execute(statement.with_only_columns(AuditEvent.seq).limit(READ_BATCH))
    for seq in numbers.scalars().all():
        try:
            _entry((await connection.execute(_ENTRY.where(AuditEvent.seq == seq))).one())
        except _UNREADABLE as error:
            raise LedgerProblem(UNREADABLE_EVENT, seq=seq) from error


async def prove(connection: AsyncConnection, event_id: UUID) -> InclusionProof:
    """The proof that a sealed event is in the tree of the newest head; it reads the digest of every leaf.

    Raises NotFound for an unknown event, Conflict for one that waits to be sealed.
    """
    event = (await connection.execute(select(AuditEvent.leaf_index).where(AuditEvent.id == event_id))).first()
    if event is None:
        raise not_found("AuditEvent", ("id",))
    if event.leaf_index is None:
        raise Conflict(Text("该事件尚未封存，请稍后再试", "the event is not sealed yet: ask again shortly"), ("id",))
    head = Head(*(await connection.execute(_HEAD.order_by(_NEWEST).limit(1))).one())
    leaves = select(AuditEvent.digest).where(AuditEvent.leaf_index < head.size).order_by(AuditEvent.leaf_index)
    digests = (await connection.execute(leaves)).scalars().all()
    return InclusionProof(event.leaf_index, inclusion_path(digests, event.leaf_index), head)


@dataclass(frozen=True, slots=True)
class Revelation:
    """The personal values of one event that can still be read, and how many blobs were erased."""

    values: tuple[dict[str, Any], ...]
    erased: int


async def reveal(session: AsyncSession, event: AuditEvent) -> Revelation:
    """The personal values that an event holds under living keys.

    Raises Conflict when a ciphertext or its commitment was tampered with.
    """
    blobs = event.detail["sealed"]
    keys = await session.scalars(select(PersonKey).where(PersonKey.id.in_([UUID(blob["key"]) for blob in blobs])))
    by_id = {key.id.hex: key for key in keys}
    found = [by_id[blob["key"]].cipher.decipher(event.id, blob) for blob in blobs]
    values = tuple(orjson.loads(plaintext) for plaintext in found if plaintext is not None)
    return Revelation(values, len(blobs) - len(values))
