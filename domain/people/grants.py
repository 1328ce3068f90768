"""Roles granted to users: in a context, from one instant to another, and taken back."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import Conflict, Invalid, NotFound, Role, Text, UnitOfWork, entity, load
from domain.people.model import Brand, RoleGrant, Territory, User
from domain.people.places import find_brand, find_territory
from domain.people.users import keep_an_admin

BY_TERRITORY = frozenset({Role.REP, Role.MANAGER})
"""The roles that a territory tells what they see; the others would hold beyond it, so that it would promise too much."""
BY_BRAND = frozenset({Role.REP, Role.MANAGER, Role.CSM, Role.FINANCE, Role.LEGAL, Role.EXECUTIVE})
"""The roles whose work can lie within a brand; the others keep what all brands share."""
BY_ACCOUNT = frozenset({Role.REP, Role.MANAGER, Role.CSM})
"""The roles that somebody can have for one customer; the others have duties that no customer bounds."""


async def grant_role(
    uow: UnitOfWork,
    user: User,
    role: Role,
    *,
    territory: Territory | None = None,
    brand: Brand | None = None,
    account_id: UUID | None = None,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> RoleGrant:
    """Give a user a role from an instant on, now without one."""
    grant = RoleGrant(
        id=uow.new_id(), user_id=user.id, role=role, valid_from=valid_from or uow.now, valid_to=valid_to, account_id=account_id,
        territory_id=territory.id if territory else None, brand_id=brand.id if brand else None,
    )  # fmt: skip
    uow.session.add(grant)
    user.auth_epoch += 1
    detail = {"role": role.value, "territory": territory.key if territory else None}
    context = {
        "brand": brand.key if brand else None,
        "account": account_id.hex if account_id else None,
        "from": valid_from.isoformat() if valid_from else None,
        "until": valid_to.isoformat() if valid_to else None,
    }
    uow.note("user.role_granted", user, detail | {name: value for name, value in context.items() if value})
    return grant


async def give_role(
    uow: UnitOfWork,
    user: User,
    role: Role,
    *,
    territory: str | None = None,
    brand: str | None = None,
    account_id: UUID | None = None,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> RoleGrant:
    """Give a user a role in the context that keys (or labels) and an account's id name, unless they hold it there already.

    Raises Invalid for a context that does not bound the role, a beginning that has passed and an end before it, NotFound for an unknown
    territory, brand or account, Conflict for a grant that the user has.
    """
    if valid_from is not None and valid_from < uow.now:
        raise Invalid(Text("开始时间已过", "the beginning has passed already"), ("validFrom",))
    if valid_to is not None and valid_to <= (valid_from or uow.now):
        raise Invalid(
            Text("截止时间已过，或早于开始时间", "the end has passed already or comes before the beginning"), ("until",)
        )
    place, label = await _context(uow, role, territory, brand, account_id)
    await uow.wait_turn(f"grants\0{user.id}")
    begins = valid_from or uow.now
    held = [one for one in await _held(uow, user, role, place, label, account_id) if one.valid_from <= begins]
    if any(grant.valid_to is None or (valid_to is not None and grant.valid_to >= valid_to) for grant in held):
        raise Conflict(Text("该用户已有相同的授权", "the user holds this grant already"), ("role",))
    return await grant_role(
        uow, user, role, territory=place, brand=label, account_id=account_id, valid_from=valid_from, valid_to=valid_to
    )


async def grants_in(
    uow: UnitOfWork, user: User, role: Role, *, territory: str | None = None, brand: str | None = None, account_id: UUID | None = None
) -> list[RoleGrant]:  # fmt: skip
    """The grants of a role that hold now or are to come in exactly the context that is named.

    Raises Invalid and NotFound as `give_role` does.
    """
    place, label = await _context(uow, role, territory, brand, account_id)
    return await _held(uow, user, role, place, label, account_id)


async def _context(
    uow: UnitOfWork, role: Role, territory: str | None, brand: str | None, account_id: UUID | None
) -> tuple[Territory | None, Brand | None]:
    named = {"territory": (territory, BY_TERRITORY), "brand": (brand, BY_BRAND), "accountId": (account_id, BY_ACCOUNT)}
    for field, (value, roles) in named.items():
        if value is not None and role not in roles:
            zh, en = f"角色 {role.value} 不能按 {field} 限定", f"{field} does not bound the role {role.value}"
            raise Invalid(Text(zh, en), (field,))
    if account_id is not None and territory is not None:
        raise Invalid(Text("客户和区域不能同时限定", "an account and a territory exclude each other"), ("territory",))
    place, label = await find_territory(uow.session, territory), await find_brand(uow.session, brand)
    for field, value, found in (("territory", territory, place), ("brand", brand, label)):
        if value is not None and found is None:
            raise NotFound(Text(f"没有“{value}”", f"there is no “{value}”"), (field,))
    await _account_exists(uow, account_id)
    return place, label


async def _account_exists(uow: UnitOfWork, account_id: UUID | None) -> None:
    if account_id is None:
        return
    # Whoever keeps people names a customer by its id without seeing what hangs on it.
    accounts = entity("Account").__table__
    if (await uow.session.execute(select(accounts.c.id).where(accounts.c.id == account_id))).first() is None:
        raise NotFound(Text("没有这个客户", "there is no such account"), ("accountId",))


async def accounts_named(uow: UnitOfWork, name: str) -> list[UUID]:
    """The accounts that have exactly this name, two at most."""
    accounts = entity("Account").__table__
    same = select(accounts.c.id).where(accounts.c.name == name.strip()).order_by(accounts.c.id).limit(2)
    return list((await uow.session.execute(same)).scalars())


async def _held(
    uow: UnitOfWork, user: User, role: Role, territory: Territory | None, brand: Brand | None, account_id: UUID | None
) -> list[RoleGrant]:
    """The grants of exactly this role and context that have not ended."""
    holds = (RoleGrant.user_id == user.id) & (RoleGrant.role == role)
    here = (
        RoleGrant.territory_id.is_not_distinct_from(territory.id if territory else None)
        & RoleGrant.brand_id.is_not_distinct_from(brand.id if brand else None)
        & RoleGrant.account_id.is_not_distinct_from(account_id)
    )
    open_ = RoleGrant.valid_to.is_(None) | (RoleGrant.valid_to > uow.now)
    return list(
        (await uow.session.execute(select(RoleGrant).where(holds, here, open_).order_by(RoleGrant.id))).scalars()
    )


async def revoke_role(uow: UnitOfWork, grant_id: UUID | None, *, expected_version: int | None = None) -> RoleGrant:
    """Take a role back from now on; the grant stays on record with its end.

    Raises NotFound, StaleVersion, Conflict for a grant that has ended and for the last ADMIN's.
    """
    grant = await load(uow.session, uow.actor, RoleGrant, grant_id, expected_version=expected_version, lock=True)
    if grant.valid_to is not None and grant.valid_to <= uow.now:
        raise Conflict(Text("该授权已经结束", "this grant has ended already"), ("id",))
    if grant.role is Role.ADMIN:
        await keep_an_admin(uow, RoleGrant.id == grant.id)
    user = await uow.session.get_one(User, grant.user_id, with_for_update=True)
    grant.valid_to = uow.now
    user.auth_epoch += 1
    uow.note("user.role_revoked", user, {"role": grant.role.value, "grant": grant.id.hex})
    return grant


async def role_codes(connection: AsyncConnection, user_ids: list[UUID], now: datetime) -> dict[UUID, list[Role]]:
    """The roles of many users at once, each list sorted."""
    valid = (RoleGrant.valid_from <= now) & (RoleGrant.valid_to.is_(None) | (RoleGrant.valid_to > now))
    rows = await connection.execute(
        select(RoleGrant.user_id, RoleGrant.role).where(RoleGrant.user_id.in_(user_ids), valid).distinct()
    )
    roles: dict[UUID, list[Role]] = {user_id: [] for user_id in user_ids}
    for user_id, role in rows:
        roles[user_id].append(role)
    return {user_id: sorted(found) for user_id, found in roles.items()}
