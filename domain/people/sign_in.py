"""What a sign-in makes of a user: the frozen actor with every grant that holds now."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import Actor, ActorKind, Reach, Role, Scope, Text, Unauthenticated, beyond
from domain.people.model import RoleGrant, SignInSession, Territory, User
from domain.people.places import with_descendants
from domain.people.users import normal_email

NOBODY = Text("用户不存在或已停用", "no such user, or disabled")

_STANDING = select(User.auth_epoch).where(User.id == bindparam("id"), User.disabled_at.is_(None))
_IN_SESSION = _STANDING.where(
    exists().where(SignInSession.id == bindparam("session"), SignInSession.user_id == User.id)
)


def epoch_of(user_id: ColumnElement[UUID], session_id: ColumnElement[UUID]) -> ScalarSelect[int]:
    """The epoch of a user who may be here now, by the session that they came with where there is one; null for any other."""
    user, session = beyond(User).alias(), beyond(SignInSession).alias()
    lasts = exists().where(session.c.id == session_id, session.c.user_id == user.c.id)
    here = select(user.c.auth_epoch).where(user.c.id == user_id, user.c.disabled_at.is_(None))
    return here.where(session_id.is_(None) | lasts).scalar_subquery()


async def standing(connection: AsyncConnection, user_id: UUID, session_id: UUID | None = None) -> int | None:
    """The epoch of a user who may be here now; None for an unknown or disabled one, or one whose session was ended."""
    if session_id is None:
        found = await connection.execute(_STANDING, {"id": user_id})
    else:
        found = await connection.execute(_IN_SESSION, {"id": user_id, "session": session_id})
    epoch: int | None = found.scalar_one_or_none()
    return epoch


async def user_id_of(connection: AsyncConnection, email: str, *, any_kind: bool = False) -> UUID:
    """The enabled person (or user of any kind) with an address; another system comes with a key.

    Raises Unauthenticated where there is none.
    """
    who = (User.email == normal_email(email)) & User.disabled_at.is_(None)
    if not any_kind:
        who &= User.kind == ActorKind.USER
    id: UUID | None = (await connection.execute(select(User.id).where(who))).scalar_one_or_none()
    if id is None:
        raise Unauthenticated(NOBODY)
    return id


async def sign_in(
    connection: AsyncConnection,
    now: datetime,
    *,
    email: str | None = None,
    user_id: UUID | None = None,
    scopes: frozenset[Scope] | None = None,
) -> Actor:
    """The frozen actor for a known, enabled user with the grants valid now; valid until the first of them ends or another begins.

    By an address only a person signs in: another system comes with a key, which bounds it to `scopes`.

    Raises Unauthenticated for an unknown or disabled user.
    """
    if email is not None:
        user_id = await user_id_of(connection, email)
    found = select(User.id, User.name, User.kind).where(User.id == user_id, User.disabled_at.is_(None))
    user = (await connection.execute(found)).first()
    if user is None:
        raise Unauthenticated(NOBODY)
    lasting = RoleGrant.valid_to.is_(None) | (RoleGrant.valid_to > now)
    columns = (
        RoleGrant.role,
        RoleGrant.territory_id,
        RoleGrant.brand_id,
        RoleGrant.account_id,
        RoleGrant.valid_from,
        RoleGrant.valid_to,
    )
    mine = select(*columns).where(RoleGrant.user_id == user.id, lasting).order_by(RoleGrant.id)
    known = (await connection.execute(mine)).all()
    grants = [grant for grant in known if grant.valid_from <= now]
    territories = (await connection.execute(select(Territory.id, Territory.parent_id))).all()
    turns = [grant.valid_to for grant in grants if grant.valid_to] + [
        one.valid_from for one in known if one.valid_from > now
    ]
    return Actor(
        user.kind, user.id, user.name, reaches_of(grants, {row.id: row.parent_id for row in territories}),
        valid_until=min(turns, default=None), scopes=scopes,
    )  # fmt: skip


def reaches_of(grants: Iterable[Any], parents: dict[UUID, UUID | None]) -> tuple[Reach, ...]:
    """The reaches that grants add up to, none of them wider than one of the grants.

    Territories of one role and brand join, and so do accounts, and brands of one role and the same territories; a brand
    never reaches into a territory for which another grant was given.
    """
    places: dict[tuple[Role, UUID | None], set[UUID]] = defaultdict(set)
    accounts: dict[tuple[Role, UUID | None], set[UUID]] = defaultdict(set)
    for grant in grants:
        key = (grant.role, grant.brand_id)
        if grant.account_id is not None:
            accounts[key].add(grant.account_id)
        else:
            places[key].update({grant.territory_id} - {None})
    brands: dict[Reach, set[UUID | None]] = defaultdict(set)
    for (role, brand), roots in places.items():
        brands[Reach(role, with_descendants(parents, roots))].add(brand)
    for (role, brand), ids in accounts.items():
        brands[Reach(role, account_ids=frozenset(ids))].add(brand)
    found = [replace(reach, brand_ids=_bounded(labels)) for reach, labels in brands.items()]
    return tuple(
        sorted(
            found,
            key=lambda reach: (reach.role, *map(sorted, (reach.account_ids, reach.territory_ids, reach.brand_ids))),
        )
    )


def _bounded(brands: set[UUID | None]) -> frozenset[UUID]:
    return frozenset() if None in brands else frozenset(brand for brand in brands if brand is not None)
