"""Small builders that go through the real operations, and the clock and ids that make tests repeatable."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain import people
from domain.kernel import SYSTEM, Actor, Database, Role, Text

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
