"""Sessions: what a browser holds of a sign-in, good for fresh access tokens until it ends."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import Ref, Text, Unauthenticated, UnitOfWork
from domain.people.model import SignInSession, User

ENDED = Text("登录已结束，请重新登录", "the session has ended: sign in again")


@dataclass(frozen=True, slots=True)
class Session:
    """A session that lasts: whose it is and until when."""

    id: UUID
    user_id: UUID
    ends_at: datetime


def digest(secret: str) -> str:
    """The form in which a secret of 256 random bits is kept."""
    return hashlib.sha256(secret.encode("ascii", "replace")).hexdigest()


async def begin_session(uow: UnitOfWork, user_id: UUID, lifetime: timedelta, way: str) -> str:
    """Begin a session of a user who has proved who they are in some way; the secret that names it is in nobody else's hands."""
    await uow.session.execute(delete(SignInSession).where(SignInSession.ends_at <= uow.now))
    secret = secrets.token_urlsafe(32)
    session = SignInSession(
        id=uow.new_id(), user_id=user_id, secret_hash=digest(secret), began_at=uow.now, ends_at=uow.now + lifetime
    )
    uow.session.add(session)
    uow.note("user.signed_in", Ref("User", user_id), {"way": way})
    return f"{session.id.hex}.{secret}"


async def session_of(connection: AsyncConnection, token: str, now: datetime) -> Session:
    """The session that a secret names.

    Raises Unauthenticated for one that has ended or never was, and for a disabled user's.
    """
    columns = (SignInSession.user_id, SignInSession.secret_hash, SignInSession.ends_at)
    found = select(*columns).join(User, User.id == SignInSession.user_id)
    id, secret = _parts(token)
    holds = (SignInSession.id == id) & (SignInSession.ends_at > now) & User.disabled_at.is_(None)
    row = None if id is None else (await connection.execute(found.where(holds))).first()
    if id is None or row is None or not hmac.compare_digest(row.secret_hash, digest(secret)):
        raise Unauthenticated(ENDED)
    return Session(id, row.user_id, row.ends_at)


async def end_session(uow: UnitOfWork, token: str) -> None:
    """End the session that a secret names, if there is one."""
    id, secret = _parts(token)
    if id is not None:
        same = (SignInSession.id == id) & (SignInSession.secret_hash == digest(secret))
        await uow.session.execute(delete(SignInSession).where(same))


def _parts(token: str) -> tuple[UUID | None, str]:
    id, _, secret = token.partition(".")
    try:
        return UUID(hex=id), secret
    except ValueError:
        return None, secret
