"""Service keys: with what another system comes, for what, until when, and no longer once it is revoked."""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import (
    ActorKind,
    Conflict,
    Invalid,
    Scope,
    Text,
    Unauthenticated,
    UnitOfWork,
    load,
    once,
)
from domain.people.model import KeySecret, ServiceKey, User
from domain.people.sessions import digest

PREFIX = "sk_sortie_"
LONGEST_DAYS, USUAL_DAYS = 366 * 2, 365
LABEL_LENGTH = 100
BAD_KEY = Text("密钥无效、已过期或已吊销", "the key is not valid, has expired or was revoked")


@dataclass(frozen=True, slots=True)
class Presented:
    """What a good key says of who came with it."""

    key_id: UUID
    user_id: UUID
    scopes: frozenset[Scope]
    expires_at: datetime
    last_used_on: date | None


async def add_service_key(
    uow: UnitOfWork, user: User, *, label: str, scopes: Iterable[Scope], expires_at: datetime | None = None, client_key: str | None = None
) -> tuple[ServiceKey, str | None]:  # fmt: skip
    """Make a key for a service account, and the text that its owner presents: it is told this once and kept nowhere.

    A repeated call with the same client key returns the same key without that text.

    Raises Conflict for a person, who signs in, Invalid for a label, scopes or an end that cannot be.
    """
    wanted, ends = sorted(set(scopes)), expires_at or uow.now + timedelta(days=USUAL_DAYS)
    if user.kind is not ActorKind.INTEGRATION:
        raise Conflict(Text("密钥只发给服务账号", "keys are for service accounts alone"), ("userId",))
    if not label.strip() or len(label) > LABEL_LENGTH:
        raise Invalid(
            Text(f"密钥名称须为 1 到 {LABEL_LENGTH} 个字符", f"a label has 1 to {LABEL_LENGTH} characters"), ("label",)
        )
    if not wanted:
        raise Invalid(Text("请至少给一个用途（scope）", "name at least one scope"), ("scopes",))
    if not uow.now < ends <= uow.now + timedelta(days=LONGEST_DAYS):
        zh, en = f"有效期须在 {LONGEST_DAYS} 天以内", f"a key holds for at most {LONGEST_DAYS} days from now"
        raise Invalid(Text(zh, en), ("expiresAt",))
    told: list[str] = []

    async def make() -> ServiceKey:
        secret = secrets.token_urlsafe(32)
        key = ServiceKey(
            id=uow.new_id(), user_id=user.id, label=label.strip(), scopes=[scope.value for scope in wanted], expires_at=ends
        )  # fmt: skip
        uow.session.add(key)
        await uow.session.flush()
        uow.session.add(KeySecret(key_id=key.id, secret_hash=digest(secret)))
        uow.note("user.key_added", user, {"key": key.id.hex, "scopes": key.scopes})
        told.append(f"{PREFIX}{key.id.hex}_{secret}")
        return key

    given = {"user": user.id.hex, "label": label.strip(), "scopes": [scope.value for scope in wanted]}
    ends_given = {"expiresAt": expires_at.isoformat() if expires_at else None}
    key = await once(uow, client_key, "addServiceKey", given | ends_given, ServiceKey, make)
    return key, next(iter(told), None)


async def revoke_service_key(uow: UnitOfWork, id: UUID | None, *, expected_version: int | None = None) -> ServiceKey:
    """Take a key back: nobody comes in with it from now on.

    Raises NotFound, StaleVersion, Conflict for one that was revoked before.
    """
    key = await load(uow.session, uow.actor, ServiceKey, id, expected_version=expected_version, lock=True)
    if key.revoked_at is not None:
        raise Conflict(Text("该密钥已吊销", "this key was revoked before"), ("id",))
    user = await uow.session.get_one(User, key.user_id, with_for_update=True)
    key.revoked_at = uow.now
    user.auth_epoch += 1
    uow.note("user.key_revoked", user, {"key": key.id.hex})
    return key


async def key_presented(connection: AsyncConnection, token: str, now: datetime) -> Presented:
    """What a presented key says.

    Raises Unauthenticated alike for an unknown, wrong, expired or revoked key and for a disabled account's.
    """
    id, secret = _parts(token)
    columns = (
        ServiceKey.user_id,
        ServiceKey.scopes,
        ServiceKey.expires_at,
        KeySecret.secret_hash,
        KeySecret.last_used_on,
    )
    found = (
        select(*columns).join(KeySecret, KeySecret.key_id == ServiceKey.id).join(User, User.id == ServiceKey.user_id)
    )
    holds = ServiceKey.revoked_at.is_(None) & (ServiceKey.expires_at > now) & User.disabled_at.is_(None)
    row = None if id is None else (await connection.execute(found.where(ServiceKey.id == id, holds))).first()
    if id is None or row is None or not hmac.compare_digest(row.secret_hash, digest(secret)):
        raise Unauthenticated(BAD_KEY)
    return Presented(id, row.user_id, frozenset(map(Scope, row.scopes)), row.expires_at, row.last_used_on)


async def days_of_use(connection: AsyncConnection, ids: list[UUID]) -> dict[UUID, date | None]:
    """The last day on which somebody came with each of the keys."""
    used = await connection.execute(select(KeySecret.key_id, KeySecret.last_used_on).where(KeySecret.key_id.in_(ids)))
    return {row.key_id: row.last_used_on for row in used}


async def key_used(uow: UnitOfWork, key_id: UUID) -> None:
    """Remember that somebody came with a key today."""
    await uow.session.execute(update(KeySecret).where(KeySecret.key_id == key_id).values(last_used_on=uow.now.date()))


def _parts(token: str) -> tuple[UUID | None, str]:
    id, _, secret = token.removeprefix(PREFIX).partition("_")
    try:
        return UUID(hex=id), secret
    except ValueError:
        return None, secret
