"""Live updates: what commits change, handed to whoever watches it, and read anew as each of them may see it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import strawberry

from api.context import Context, Info
from api.reads import SHAPES, Node, computed, load_ref
from api.reads.ids import global_id, read_id
from api.scalars import enum
from domain.kernel import EVERYTHING, Change, ChangeKind, Database, Invalid, Ref, Text, Unavailable, heard, may_read

MOST_IDS = 100
MOST_WAITING = 256
"""Changes that wait for one watcher; beyond it they are told to read everything anew."""
MOST_SEEN = 1_000
"""Records of which a watcher is remembered to have been told."""
PROOF_SECONDS = 60.0
"""How long a watcher who hears nothing goes on without being admitted anew."""

PAUSE_SECONDS = 1.0
"""Between two tries while the database does not answer."""

HOW_MANY = Text(f"请给出 1 至 {MOST_IDS} 个 id", f"give 1 to {MOST_IDS} ids")
NO_KINDS = Text("请给出至少一种记录", "give at least one kind of record")


class RecordKind(StrEnum):
    """The kinds of records that can be watched as a whole."""

    ACCOUNT = "ACCOUNT"
    CONTACT = "CONTACT"
    LEAD = "LEAD"
    OPPORTUNITY = "OPPORTUNITY"
    ACTIVITY = "ACTIVITY"
    QUOTE = "QUOTE"
    ORDER = "ORDER"

    @property
    def entity(self) -> str:
        """The class."""
        return self.value.title()


enum(
    RecordKind,
    "What can be watched as a whole.",
    ACCOUNT="Accounts.",
    CONTACT="People.",
    LEAD="Leads.",
    OPPORTUNITY="Opportunities.",
    ACTIVITY="Activities.",
    QUOTE="Quotes.",
    ORDER="Orders.",
)
enum(
    ChangeKind,
    "What happened to a record.",
    MADE="It was made.",
    CHANGED="It, or a part of it, was changed.",
    GONE="It is no longer there, or no longer the reader's to see.",
    RESYNC="Something was missed, or is too much to be told one by one: read again what is shown.",
)


@dataclass(eq=False)
class Watcher:
    """Somebody who listens: what was told and not yet taken, each record once, and no more than a bounded number."""

    refs: frozenset[Ref]
    entities: frozenset[str]
    _waiting: dict[Ref, ChangeKind] = field(default_factory=dict)
    _resync: bool = False
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, ref: Ref, what: ChangeKind) -> None:
        """Have a change wait for the watcher; one who falls behind reads everything anew instead."""
        self._told.set()
        if self._resync:
            return
        known = self._waiting.get(ref)
        self._waiting[ref] = ChangeKind.MADE if known is ChangeKind.MADE and what is ChangeKind.CHANGED else what
        if len(self._waiting) > MOST_WAITING:
            self.resync()

    def resync(self) -> None:
        """Say that something was missed: what waits is part of that."""
        self._waiting.clear()
        self._resync = True
        self._told.set()

    async def take(self) -> tuple[bool, dict[Ref, ChangeKind]]:
        """Wait for something, and take all of it: whether something was missed, and the changes."""
        await self._told.wait()
        self._told.clear()
        resync, self._resync = self._resync, False
        waiting, self._waiting = self._waiting, {}
        return resync, waiting


class Hub:
    """The watchers of one process, found by what they watch."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_ref: dict[Ref, set[Watcher]] = {}
        self._by_entity: dict[str, set[Watcher]] = {}
        self._watchers: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._watchers)

    def start(self) -> None:
        """Listen to the database."""
        self._database.listen(self.hear, self.resync)

    async def stop(self) -> None:
        """Listen no more."""
        await self._database.stop_listening()

    def hear(self, payload: str) -> None:
        """Hand on what a commit told."""
        for change in heard(payload):
            self._hand_on(change)

    def _hand_on(self, change: Change) -> None:
        if change.kind == EVERYTHING:
            self.resync()
        elif change.id is None:
            concerned = self._by_entity.get(change.kind, set()) | {
                watcher for ref, watchers in self._by_ref.items() if ref.kind == change.kind for watcher in watchers
            }
            for watcher in concerned:
                watcher.resync()
        else:
            ref = Ref(change.kind, change.id)
            for watcher in self._by_ref.get(ref, set()) | self._by_entity.get(change.kind, set()):
                watcher.tell(ref, change.what)

    def resync(self) -> None:
        """Tell every watcher that something may have been missed."""
        for watcher in self._watchers:
            watcher.resync()

    @contextmanager
    def watching(self, refs: Iterable[Ref] = (), entities: Iterable[str] = ()) -> Iterator[Watcher]:
        """A watcher of these records and of all of these entities, until the block ends."""
        watcher = Watcher(frozenset(refs), frozenset(entities))
        self._watchers.add(watcher)
        for index, keys in self._places(watcher):
            for key in keys:
                index.setdefault(key, set()).add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            for index, keys in self._places(watcher):
                for key in keys:
                    index[key].discard(watcher)
                    if not index[key]:
                        del index[key]

    def _places(self, watcher: Watcher) -> tuple[tuple[dict[Any, set[Watcher]], frozenset[Any]], ...]:
        return (self._by_ref, watcher.refs), (self._by_entity, watcher.entities)


@strawberry.type(description="A change of a record that was committed a moment ago.")
class RecordChange:
    """What is told of a change; the record is looked up when it is asked for."""

    kind: ChangeKind = strawberry.field(description="What happened.")
    id: strawberry.ID | None = strawberry.field(description="The record's global id; null at RESYNC.")
    ref: strawberry.Private[Ref | None]

    @computed("The record as it is now; null at GONE and RESYNC.")
    async def node(self, info: Info) -> Node | None:
        """Load it as the reader sees it."""
        found: Node | None = None
        if self.ref is not None and self.kind is not ChangeKind.GONE:
            found = await load_ref(info.context, self.ref)
        return found


RESYNC = RecordChange(kind=ChangeKind.RESYNC, id=None, ref=None)


@dataclass
class Delivery:
    """The changes that one reader is told: those of records that they see now, or saw when they were told last."""

    context: Context
    watcher: Watcher
    _seen: dict[Ref, None] = field(default_factory=dict)

    async def changes(self) -> AsyncIterator[RecordChange]:
        """Each change as it comes; ends with an error when the reader may no longer be here.

        Raises Unauthenticated.
        """
        await self._look(self.watcher.refs)
        while True:
            resync, waiting = False, dict[Ref, ChangeKind]()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    resync, waiting = await self.watcher.take()
            try:
                await self.context.renew()
                if resync:
                    await self._look(self.watcher.refs)
                due = await self._due(waiting)
            except Unavailable:
                self.watcher.resync()
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if resync:
                yield RESYNC
            for ref, what in due.items():
                yield RecordChange(kind=what, id=strawberry.ID(global_id(ref.kind, ref.id)), ref=ref)

    def _patience(self) -> float:
        """Seconds until the reader is to be admitted anew, at the latest when their token ends."""
        ends_at, now = self.context.ends_at, self.context.database.clock().timestamp()
        return PROOF_SECONDS if ends_at is None else max(0.0, min(PROOF_SECONDS, ends_at - now))

    async def _due(self, waiting: dict[Ref, ChangeKind]) -> dict[Ref, ChangeKind]:
        """What is told: a change of a record in sight, and once that one is no longer there or no longer in sight."""
        known = self._seen.keys() & waiting.keys()
        seen = await self._look(ref for ref, what in waiting.items() if what is not ChangeKind.GONE)
        due = {}
        for ref, what in waiting.items():
            if ref in seen:
                due[ref] = what
            elif ref in known:
                due[ref] = ChangeKind.GONE
        return due

    async def _look(self, refs: Iterable[Ref]) -> set[Ref]:
        """Those of the records that the reader sees now."""
        asked = list(refs)
        found = await asyncio.gather(*(load_ref(self.context, ref) for ref in asked))
        seen = {ref for ref, node in zip(asked, found, strict=True) if node is not None}
        for ref in asked:
            self._seen.pop(ref, None)
            if ref in seen:
                self._seen[ref] = None
        while len(self._seen) > MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        return seen


def _refs(ids: list[strawberry.ID]) -> list[Ref]:
    """The records that ids name; an id that is none watches nothing, as one of a record that is absent."""
    if not 1 <= len(ids) <= MOST_IDS:
        raise Invalid(HOW_MANY, ("ids",))
    return [ref for ref in map(read_id, ids) if ref is not None]


def _argument(description: str) -> Any:
    return strawberry.argument(description=description)


@strawberry.type
class LiveSubscriptions:
    """The roots of this room."""

    @strawberry.subscription(  # type: ignore[untyped-decorator]  # Strawberry declares it without types
        description="Changes of records, as they are committed by anybody; of those alone that the reader sees."
    )
    async def record_changed(
        self, info: Info, ids: Annotated[list[strawberry.ID], _argument(f"The global ids: 1 to {MOST_IDS}.")]
    ) -> AsyncIterator[RecordChange]:
        """Watch them."""
        context = info.context
        with context.live.watching(refs=_refs(ids)) as watcher:
            async for change in Delivery(context, watcher).changes():
                yield change

    @strawberry.subscription(  # type: ignore[untyped-decorator]  # Strawberry declares it without types
        description="Changes of all records of some kinds, new ones included; of those alone that the reader sees."
    )
    async def records_changed(
        self, info: Info, kinds: Annotated[list[RecordKind], _argument("Which kinds.")]
    ) -> AsyncIterator[RecordChange]:
        """Watch them."""
        context = info.context
        if not kinds:
            raise Invalid(NO_KINDS, ("kinds",))
        entities = [kind.entity for kind in kinds if may_read(SHAPES[kind.entity].model, context.reader)]
        with context.live.watching(entities=entities) as watcher:
            async for change in Delivery(context, watcher).changes():
                yield change
