"""Operations on accounts and their teams: made, changed, compared with others."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, union
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from domain import custom_fields, people
from domain.accounts.contacts import WRITERS
from domain.accounts.model import Account, AccountTeamMember, Channel, Contact, ContactPoint, LifecycleStage
from domain.accounts.policy import EMPLOYEES_LIMIT, closes_circle, company_key, named, normal_domain
from domain.kernel import (
    Actor,
    Base,
    Forbidden,
    Invalid,
    Money,
    Role,
    Text,
    UnitOfWork,
    load,
    not_found,
    once,
    rows_visible,
)
from domain.people import Brand, User

LEADERS = (Role.MANAGER, Role.SALES_OPS)
"""The roles that decide over accounts which they do not own."""
SUGGESTIONS = 20
"""Possible duplicates of one record, at most."""
Executor = AsyncSession | AsyncConnection


async def create_account(
    uow: UnitOfWork, *, name: str, industry: str | None = None, region: str | None = None, owner_id: UUID | None = None, brand_id: UUID | None = None,
    parent_id: UUID | None = None, lifecycle_stage: LifecycleStage | None = None, credit_grade: str | None = None, employees: int | None = None,
    annual_revenue: Money | None = None, domain: str | None = None, custom: Mapping[str, Any] | None = None, client_key: str | None = None,
) -> Account:  # fmt: skip
    """Create an account in the territory that its region names, or in the actor's; a rep owns what they create.

    The same client key gives the account that is there. Who gives custom values, if none, gives the required ones.

    Raises Invalid for what cannot be taken, NotFound for an owner, brand or parent that is not there, Forbidden for an owner
    whom the actor may not name and for a place that the actor does not see, KeyReused.
    """
    given = {
        "name": name, "industry": industry, "region": region, "owner_id": owner_id, "brand_id": brand_id, "parent_id": parent_id,
        "lifecycle_stage": lifecycle_stage or LifecycleStage.PROSPECT, "credit_grade": credit_grade, "employees": employees,
        "annual_revenue": annual_revenue, "domain": domain, "custom": custom,
    }  # fmt: skip

    async def make() -> Account:
        values = await _values(uow, None, given | {"owner_id": _owner_of_new(uow.actor, owner_id)})
        if values["territory_id"] is None:
            values["territory_id"] = _home_territory(uow.actor)
        values["brand_id"] = values["brand_id"] or uow.actor.home_brand(*WRITERS)
        account = Account(id=uow.new_id(), **values)
        uow.session.add(account)
        uow.note("account.created", account)
        await uow.session.flush()
        if not await is_seen(uow, Account, account.id, *WRITERS):
            words = Text("新客户须在您的辖区内，或由您负责", "a new account lies in your territory or is yours")
            raise Forbidden(words, ("region",))
        return account

    return await once(uow, client_key, "createAccount", given, Account, make)


def _owner_of_new(actor: Actor, owner_id: UUID | None) -> UUID | None:
    if owner_id is None:
        return actor.user_id if Role.REP in actor.roles and not actor.unrestricted else None
    if owner_id != actor.user_id and not actor.has(*LEADERS):
        raise Forbidden(_NOT_YOURS_TO_GIVE, ("ownerId",))
    return owner_id


_NOT_YOURS_TO_GIVE = Text(
    "只有辖区经理可以指定他人为负责人", "only a manager of the territory names somebody else as the owner"
)


def _home_territory(actor: Actor) -> UUID | None:
    mine = [id for reach in actor.reaches if reach.role in WRITERS for id in reach.territory_ids]
    return None if actor.unrestricted else min(mine, default=None)


async def update_account(
    uow: UnitOfWork, id: UUID | None, *, expected_version: int, changes: Mapping[str, Any]
) -> Account:
    """Change what is given of an account; what is left out stays, null clears.

    Raises NotFound for an account, owner, brand or parent that is not there or not the actor's to see, StaleVersion,
    Forbidden for another owner from anybody but a manager of the territory, Invalid for what cannot be taken.
    """
    account = await load(
        uow.session, uow.actor.only(*WRITERS), Account, id, expected_version=expected_version, lock=True
    )
    given_away = changes.get("owner_id", account.owner_id) != account.owner_id
    if given_away and not await is_seen(uow, Account, account.id, Role.MANAGER):
        raise Forbidden(_NOT_YOURS_TO_GIVE, ("ownerId",))
    if account.change(await _values(uow, account, changes)):
        uow.note("account.updated", account)
        await uow.session.flush()
    return account


async def is_seen(uow: UnitOfWork, model: type[Base], id: UUID, *roles: Role) -> bool:
    """Whether the actor sees a row by one of these roles."""
    visible = rows_visible(model, uow.actor.only(*roles))
    return (await uow.session.execute(select(1).where(model.__table__.c.id == id, visible))).first() is not None


# ---- what an account may hold ----------------------------------------------------------------------------------------

Check = Callable[[UnitOfWork, Account | None, Any], Awaitable[dict[str, Any]]]


async def _values(uow: UnitOfWork, account: Account | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that what is given fills."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        check = _CHECKS.get(name)
        values |= {name: value} if check is None else await check(uow, account, value)
    return values


async def _name(uow: UnitOfWork, account: Account | None, name: str | None) -> dict[str, Any]:
    known = named(name, Text("客户名称不能为空", "an account needs a name"))
    return {"name": known, "name_key": company_key(known)}


async def _region(uow: UnitOfWork, account: Account | None, region: str | None) -> dict[str, Any]:
    territory = await people.find_territory(uow.session, region)
    if territory is not None:
        return {"region": territory.key, "territory_id": territory.id}
    # A region that is no territory's says more exactly where it is, and not whose it is.
    return {"region": region} | ({"territory_id": None} if account is None else {})


async def _owner(uow: UnitOfWork, account: Account | None, owner_id: UUID | None) -> dict[str, Any]:
    enabled = select(User.id).where(User.id == owner_id, User.disabled_at.is_(None))
    if owner_id is not None and (await uow.session.execute(enabled)).first() is None:
        raise not_found("user", ("ownerId",))
    return {"owner_id": owner_id}


async def _brand(uow: UnitOfWork, account: Account | None, brand_id: UUID | None) -> dict[str, Any]:
    if brand_id is not None and await uow.session.get(Brand, brand_id) is None:
        raise not_found("brand", ("brandId",))
    return {"brand_id": brand_id}


async def _parent(uow: UnitOfWork, account: Account | None, parent_id: UUID | None) -> dict[str, Any]:
    if parent_id is not None and (account is None or parent_id != account.parent_id):
        await load(uow.session, uow.actor, Account, parent_id, path=("parentId",))
        if account is not None:
            # Two moves at once could close a circle that neither sees.
            await uow.wait_turn("account family")
            if closes_circle(await parents_above(uow.session, parent_id), account.id, parent_id):
                words = Text("上级客户不能是该客户自己或其下级", "an account cannot be above itself")
                raise Invalid(words, ("parentId",))
    return {"parent_id": parent_id}


async def parents_above(executor: Executor, account_id: UUID) -> dict[UUID, UUID | None]:
    """The parent of an account and of each one above it."""
    parents: dict[UUID, UUID | None] = {}
    above: UUID | None = account_id
    while above is not None and above not in parents:
        found = await executor.execute(select(Account.parent_id).where(Account.id == above))
        parents[above] = found.scalar_one_or_none()
        above = parents[above]
    return parents


async def _stage(uow: UnitOfWork, account: Account | None, stage: LifecycleStage | None) -> dict[str, Any]:
    if stage is None:
        raise Invalid(Text("生命周期阶段不能为空", "the lifecycle stage cannot be cleared"), ("lifecycleStage",))
    return {"lifecycle_stage": stage}


async def _employees(uow: UnitOfWork, account: Account | None, employees: int | None) -> dict[str, Any]:
    if employees is not None and not 0 <= employees <= EMPLOYEES_LIMIT:
        words = Text(f"员工人数须在 0 到 {EMPLOYEES_LIMIT} 之间", f"employees must be from 0 to {EMPLOYEES_LIMIT}")
        raise Invalid(words, ("employees",))
    return {"employees": employees}


async def _revenue(uow: UnitOfWork, account: Account | None, revenue: Money | None) -> dict[str, Any]:
    if revenue is None:
        return {"annual_revenue_minor": None, "currency": None}
    if revenue.amount_minor < 0:
        raise Invalid(Text("年营收不能为负", "the annual revenue cannot be negative"), ("annualRevenue", "amount"))
    return {"annual_revenue_minor": revenue.amount_minor, "currency": revenue.currency}


async def _domain(uow: UnitOfWork, account: Account | None, domain: str | None) -> dict[str, Any]:
    return {"domain": normal_domain(domain) if domain else None}


async def _custom(uow: UnitOfWork, account: Account | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    current, new = (None, given is not None) if account is None else (account.custom, False)
    return {"custom": await custom_fields.apply(uow, Account.entity(), current, given, new=new)}


_CHECKS: dict[str, Check] = {
    "name": _name, "region": _region, "owner_id": _owner, "brand_id": _brand, "parent_id": _parent, "lifecycle_stage": _stage, "employees": _employees,
    "annual_revenue": _revenue, "domain": _domain, "custom": _custom,
}  # fmt: skip


# ---- the team --------------------------------------------------------------------------------------------------------


async def add_team_member(uow: UnitOfWork, account: Account, user_id: UUID, role: Role) -> AccountTeamMember:
    """Put a colleague on an account's team, or return the equal member that is there."""
    await uow.wait_turn(f"account team\0{account.id}")
    member = AccountTeamMember
    same = and_(member.account_id == account.id, member.user_id == user_id, member.role == role)
    found = (await uow.session.execute(select(member).where(same))).scalar_one_or_none()
    if found is None:
        found = member(id=uow.new_id(), account_id=account.id, user_id=user_id, role=role)
        uow.session.add(found)
        uow.note("account.team_member_added", account, {"role": role.value})
        await uow.session.flush()
    return found


async def join_team(
    uow: UnitOfWork, account_id: UUID | None, user_id: UUID, role: Role, *, client_key: str | None = None
) -> AccountTeamMember:
    """Put a colleague on the team of an account that the actor owns or decides over.

    Raises NotFound for an account or colleague that is not there, Forbidden for others, KeyReused.
    """
    given = {"account": account_id, "user": user_id, "role": role}

    async def make() -> AccountTeamMember:
        account = await _answered_for(uow, account_id, ("accountId",))
        enabled = select(User.id).where(User.id == user_id, User.disabled_at.is_(None))
        if (await uow.session.execute(enabled)).first() is None:
            raise not_found("user", ("userId",))
        return await add_team_member(uow, account, user_id, role)

    return await once(uow, client_key, "addAccountTeamMember", given, AccountTeamMember, make)


async def leave_team(uow: UnitOfWork, id: UUID | None, *, expected_version: int) -> UUID:
    """Take a colleague off the team of an account that the actor owns or decides over, and return the account's id.

    Raises NotFound, StaleVersion, Forbidden.
    """
    actor = uow.actor.only(*WRITERS)
    member = await load(uow.session, actor, AccountTeamMember, id, expected_version=expected_version, lock=True)
    account = await _answered_for(uow, member.account_id, ("id",))
    await uow.session.delete(member)
    uow.note("account.team_member_removed", account, {"role": member.role.value})
    await uow.session.flush()
    return account.id


async def _answered_for(uow: UnitOfWork, id: UUID | None, path: tuple[str, ...]) -> Account:
    account = await load(uow.session, uow.actor.only(*WRITERS), Account, id, path=path, lock=True)
    if not await answers_for(uow, account):
        words = Text("只有负责人、辖区经理或销售运营可以这样做", "only its owner, its manager or sales operations may")
        raise Forbidden(words, path)
    return account


async def answers_for(uow: UnitOfWork, account: Account) -> bool:
    """Whether the actor owns an account as a rep, or decides over it as a manager or for sales operations."""
    mine = account.owner_id is not None and account.owner_id == uow.actor.user_id and uow.actor.has(Role.REP)
    return mine or await is_seen(uow, Account, account.id, *LEADERS)


# ---- possible duplicates ---------------------------------------------------------------------------------------------


Below = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""Gives the condition on a column that it holds the id of one of the records asked about."""
Within = Callable[[Select[Any]], Select[Any]]
"""Has a statement look at the records asked about where it stands among others."""


def same_accounts(actor: Actor, below: Below, within: Within = lambda statement: statement) -> Select[Any]:
    """From accounts (`parent`) to the others (`other`) that the actor sees and that may be the same: by name, legal form aside, or by domain."""
    first, second = Account.__table__.alias(), Account.__table__.alias()
    # Accounts from before names had keys are found by their names.
    ways = (
        and_(second.c.name_key == first.c.name_key, first.c.name_key != ""),
        second.c.domain == first.c.domain,
        second.c.name == first.c.name,
    )
    return _pairs(
        Account, actor, within,
        *(select(first.c.id.label("parent"), second.c.id.label("other")).where(below(first.c.id), way) for way in ways),
    )  # fmt: skip


def same_contacts(actor: Actor, below: Below, within: Within = lambda statement: statement) -> Select[Any]:
    """From contacts (`parent`) to the others (`other`) that the actor sees and that may be the same: by an address, or by name at one account."""
    point, like = ContactPoint.__table__.alias(), ContactPoint.__table__.alias()
    first, second = Contact.__table__.alias(), Contact.__table__.alias()
    calls = (Channel.PHONE, Channel.SMS)
    kin = or_(like.c.channel == point.c.channel, and_(like.c.channel.in_(calls), point.c.channel.in_(calls)))
    by_address = select(point.c.contact_id.label("parent"), like.c.contact_id.label("other")).where(
        below(point.c.contact_id), like.c.match_key == point.c.match_key, kin
    )
    by_name = select(first.c.id, second.c.id).where(
        below(first.c.id),
        second.c.account_id == first.c.account_id,
        func.lower(second.c.name) == func.lower(first.c.name),
    )
    return _pairs(Contact, actor, within, by_address, by_name)


def _pairs(model: type[Account | Contact], actor: Actor, within: Within, *ways: Select[Any]) -> Select[Any]:
    """The pairs that one of the ways leads to. Each has an index; where one condition says either, the whole table is looked at."""
    pairs = union(*map(within, ways)).subquery()
    one, other = model.__table__.alias(), model.__table__.alias()
    erased = [side.c.erased_at.is_(None) for side in (one, other) if "erased_at" in side.c]
    return within(
        select(pairs.c.parent, pairs.c.other)
        .where(one.c.id == pairs.c.parent, other.c.id == pairs.c.other, pairs.c.parent != pairs.c.other)
        .where(*erased, rows_visible(model, actor, other))
    )
