"""Small builders that go through the real operations, and the clock and ids that make tests repeatable."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from assistant.model import Disposition, Generation, GenerationKind
from domain import ledger, people
from domain.kernel import SYSTEM, Actor, ActorKind, Database, Language, Ref, Role, Text

START = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
"""Monday, 09:30 in Shanghai: when every test begins."""


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **units: float) -> datetime:
        """Move on by timedelta's units and return the new instant."""
        self.now += timedelta(**units)
        return self.now


@dataclass
class Ids:
    """Version 7 ids that count up: the same test makes the same ids."""

    clock: Clock
    count: int = field(default=0)

    def __call__(self) -> UUID:
        self.count += 1
        milliseconds = int(self.clock().timestamp() * 1000)
        return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0b10 << 62) | self.count)


REGIONS = {
    "china": (Text("中国", "China"), None),
    "east-china": (Text("华东", "East China"), "china"),
    "shanghai": (Text("上海", "Shanghai"), "east-china"),
    "south-china": (Text("华南", "South China"), "china"),
}


async def add_territories(database: Database) -> dict[str, people.Territory]:
    """China with East China (and Shanghai in it) and South China, by key."""
    made: dict[str, people.Territory] = {}
    async with database.open_uow(SYSTEM) as uow:
        for key, (label, parent) in REGIONS.items():
            made[key] = await people.add_territory(uow, key=key, label=label, parent=made[parent] if parent else None)
            await uow.session.flush()
    return made


async def sign_in(database: Database, email: str) -> Actor:
    """The actor whom an address signs in as now."""
    async with database.read() as connection:
        return await people.sign_in(connection, database.clock(), email=email)


async def add_colleague(
    database: Database,
    name: str,
    *roles: Role,
    territories: Iterable[people.Territory] = (),
    brands: Iterable[people.Brand] = (),
    email: str | None = None,
) -> Actor:
    """A signed-in user who holds each role in each territory and brand (or everywhere when none is given)."""
    address = email or f"{name.encode().hex()}@example.com"
    places: list[people.Territory | None] = [*territories]
    labels: list[people.Brand | None] = [*brands]
    async with database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name=name, email=address)
        await uow.session.flush()
        for role in roles:
            for territory in places or [None]:
                for brand in labels or [None]:
                    await people.grant_role(uow, user, role, territory=territory, brand=brand)
    return await sign_in(database, address)


async def add_generation(
    database: Database, actor: Actor, *, territory: people.Territory | None = None, persons: Iterable[UUID] = ()
) -> Ref:
    """A row for an answer that the actor asks for, as it stands before any model is called, with its event."""
    async with database.open_uow(actor) as uow:
        assert actor.user_id is not None
        generation = Generation(
            id=uow.new_id(), kind=GenerationKind.VISIT_BRIEF, requested_by_id=actor.user_id, requested_at=uow.now, subject_kind="Account",
            subject_id=uow.new_id(), subject_label="华山医院", ask="陈芳和吴刚在意什么", language=Language.ZH, client_key=uow.new_id().hex,
            input_fingerprint="", disposition=Disposition.REQUESTED, territory_id=territory.id if territory else None,
        )  # fmt: skip
        uow.session.add(generation)
        uow.note("generation.requested", generation, persons=persons)
    return generation.ref()


SIGNER = ledger.Signer(bytes(range(32)))
"""The one who signs the heads of test ledgers."""
LEI = Actor(ActorKind.USER, UUID(int=7), "张磊")
"""Somebody who does things, where it does not matter who."""


class Board:
    """A place where ledger heads are published: a list."""

    def __init__(self) -> None:
        self.heads: list[ledger.Head] = []

    def __call__(self, head: ledger.Head) -> None:
        self.heads.append(head)


async def note(database: Database, action: str = "account.viewed", subject: Ref | None = None, **more: Any) -> str:
    """One event in the ledger; its digest."""
    async with database.open_uow(LEI) as uow:
        ref = subject or Ref("Account", uow.new_id())
        uow.note(action, ref, **more)
    return uow.digests[ref]


async def fill_ledger(database: Database, clock: Clock, *batches: int) -> Board:
    """Batches of events, each sealed a second after the one before."""
    board = Board()
    for size in batches:
        for number in range(size):
            await note(database, detail={"备注": f"第{number}次", "amount_minor": number, "reason": None})
        clock.advance(seconds=1)
        await ledger.seal(database, SIGNER, board)
    return board


async def verify_ledger(database: Database, **more: Any) -> ledger.Verification:
    """What an audit with the test signer's key finds."""
    async with database.read() as connection:
        return await ledger.verify(connection, SIGNER.public_key, **more)


async def execute(database: Database, *statements: str) -> None:
    """Change the database behind the product's back."""
    async with database.writer.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def checkpoint(database: Database) -> None:
    """Bring everything that was committed into the SQLite file itself, so that the file can be copied."""
    async with database.writer.connect() as connection:
        await connection.rollback()
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        await raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
