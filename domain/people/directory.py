"""Who works here, at a glance: users with the roles that hold now, and the keys of a service account."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import ActorKind, Role, entity
from domain.people.model import Brand, KeySecret, RoleGrant, ServiceKey, Territory, User


@dataclass(frozen=True, slots=True)
class Held:
    """One role that holds now, its context by key and name."""

    role: Role
    territory: str | None
    brand: str | None
    account: str | None
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One user with what they hold."""

    email: str
    name: str
    kind: ActorKind
    disabled_at: datetime | None
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key of a service account."""

    id: UUID
    label: str
    scopes: tuple[str, ...]
    expires_at: datetime
    revoked_at: datetime | None
    last_used_on: date | None


async def directory(connection: AsyncConnection, now: datetime) -> list[Entry]:
    """Everybody, by address, disabled users included."""
    accounts = entity("Account").__table__
    grants = (
        select(RoleGrant.user_id, RoleGrant.role, Territory.key, Brand.key, accounts.c.name, RoleGrant.valid_to)
        .outerjoin(Territory, Territory.id == RoleGrant.territory_id)
        .outerjoin(Brand, Brand.id == RoleGrant.brand_id)
        .outerjoin(accounts, accounts.c.id == RoleGrant.account_id)
        .where(RoleGrant.valid_from <= now, RoleGrant.valid_to.is_(None) | (RoleGrant.valid_to > now))
        .order_by(RoleGrant.role, RoleGrant.id)
    )
    held: dict[UUID, list[Held]] = defaultdict(list)
    for user_id, *words in await connection.execute(grants):
        held[user_id].append(Held(*words))
    users = select(User.id, User.email, User.name, User.kind, User.disabled_at).order_by(User.email)
    rows = (await connection.execute(users)).all()
    return [Entry(row.email, row.name, row.kind, row.disabled_at, tuple(held[row.id])) for row in rows]


async def keys_of(connection: AsyncConnection, user_id: UUID) -> list[KeyEntry]:
    """The keys of a service account, newest first."""
    columns = (
        ServiceKey.id,
        ServiceKey.label,
        ServiceKey.scopes,
        ServiceKey.expires_at,
        ServiceKey.revoked_at,
        KeySecret.last_used_on,
    )
    found = select(*columns).join(KeySecret, KeySecret.key_id == ServiceKey.id).where(ServiceKey.user_id == user_id)
    rows = await connection.execute(found.order_by(ServiceKey.id.desc()))
    return [
        KeyEntry(row.id, row.label, tuple(row.scopes), row.expires_at, row.revoked_at, row.last_used_on) for row in rows
    ]
