"""The door: a bearer's token or key becomes the actor whose grants hold now."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from api.auth.tokens import Identity, LocalVerifier, Verifier
from api.secret_files import read_key
from api.settings import Settings
from api.standing import Standing
from domain import people
from domain.kernel import SYSTEM, Actor, Conflict, Database, Text, Unauthenticated, Unavailable

TOKEN_CHARACTERS = 8_192
ACTOR_SECONDS = 10
"""How long an actor is remembered where nothing about the user changes: a grant that begins later counts after that."""
REMEMBERED_TOKENS = 10_000

NO_BEARER = Text("Authorization 头应为“Bearer <令牌>”", "the Authorization header should read “Bearer <token>”")
ISSUER_SIGNS = Text(
    "已配置身份提供方（SORTIE_TOKEN_ISSUER），令牌由它签发",
    "an issuer is configured (SORTIE_TOKEN_ISSUER): it gives the tokens",
)


@dataclass(frozen=True, slots=True)
class Admission:
    """An actor whom a token names, the second (Unix time) at which the token ends, and what must still stand of the user."""

    actor: Actor
    expires_at: float
    standing: Standing
    key_id: UUID | None = None
    """The service key with which they came, if it was one."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    admission: Admission
    until: float


class Door:
    """Where bearers of tokens and keys become actors.

    An actor is remembered for a moment, but never taken before the database has said that the user is enabled, that the
    session lasts and that nothing about the user's grants, keys or address has changed since: one row by its primary key,
    read here by `admit`, or by whoever takes an actor from `peek`.
    Whatever process disables, revokes or signs out, the next request of every process knows.
    """

    def __init__(self, database: Database, verifier: Verifier) -> None:
        self._database = database
        self._verifier = verifier
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()

    async def admit(self, authorization: str | None) -> Admission | None:
        """Who is asking; None when the header is absent.

        Raises Unauthenticated for a bad token or key and for an unknown or disabled user, Unavailable when nobody can
        tell now.
        """
        if authorization is None or not authorization.strip():
            return None
        known = self.peek(authorization)
        if known is not None and await self._stands(known.standing):
            return known
        self.forget(authorization)
        token, now = _bearer(authorization), self._database.clock()
        fresh = await (self._by_key(token, now) if token.startswith(people.PREFIX) else self._by_token(token, now))
        self._remembered[_digest(authorization)] = fresh
        while len(self._remembered) > REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)
        return fresh.admission

    def peek(self, authorization: str) -> Admission | None:
        """Who came with this header a moment ago, for a caller that has the database prove their standing itself."""
        known = self._remembered.get(_digest(authorization))
        if known is None or self._database.clock().timestamp() >= known.until:
            return None
        return known.admission

    def forget(self, authorization: str) -> None:
        """Take nobody by this header before it has been looked at anew."""
        self._remembered.pop(_digest(authorization), None)

    async def _stands(self, known: Standing) -> bool:
        async with self._database.read(SYSTEM) as connection:
            return await people.standing(connection, known.user_id, known.session_id) == known.epoch

    async def _by_token(self, token: str, now: datetime) -> _Remembered:
        identity = await self._verifier.identity(token, now)
        async with self._database.read(SYSTEM) as connection:
            return await _known(connection, now, identity)

    async def _by_key(self, token: str, now: datetime) -> _Remembered:
        async with self._database.read(SYSTEM) as connection:
            key = await people.key_presented(connection, token, now)
            identity = Identity(key.expires_at.timestamp(), user_id=key.user_id)
            known = await _known(connection, now, identity, key)
        if key.last_used_on != now.date():
            try:
                async with self._database.open_uow(SYSTEM) as uow:
                    await people.key_used(uow, key.key_id)
            except Unavailable:
                # A busy database keeps nobody out: the next request says it again.
                pass
        return known


async def _known(
    connection: AsyncConnection, now: datetime, identity: Identity, key: people.Presented | None = None
) -> _Remembered:
    """The actor with the grants that hold now, and the epoch as it was before they were read."""
    user_id = identity.user_id or await people.user_id_of(connection, identity.email or "")
    epoch = await people.standing(connection, user_id, identity.session_id)
    if epoch is None:
        raise Unauthenticated(people.NOBODY)
    actor = await people.sign_in(connection, now, user_id=user_id, scopes=key.scopes if key else None)
    ends = actor.valid_until
    until = min(now.timestamp() + ACTOR_SECONDS, identity.expires_at, ends.timestamp() if ends else float("inf"))
    standing = Standing(user_id, identity.session_id, epoch)
    return _Remembered(Admission(actor, identity.expires_at, standing, key.key_id if key else None), until)


def _digest(authorization: str) -> bytes:
    """What a header is remembered by: whoever reads this process's memory finds no token in it."""
    return hashlib.sha256(authorization.encode("utf-8", "replace")).digest()


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > TOKEN_CHARACTERS or not token.isascii():
        raise Unauthenticated(NO_BEARER)
    return token


async def issue(database: Database, settings: Settings, email: str) -> str:
    """A token of the local key for a known, enabled person.

    Raises Unauthenticated for any other, Conflict where an issuer gives the tokens.
    """
    if not settings.signs_tokens:
        raise Conflict(ISSUER_SIGNS)
    async with database.read(SYSTEM) as connection:
        actor = await people.sign_in(connection, database.clock(), email=email)
    key = LocalVerifier(read_key(settings.token_key))
    return key.sign(cast("UUID", actor.user_id), database.clock(), timedelta(hours=settings.token_hours))
