"""Who works here: users, roles granted in a context and for a time, territories, brands."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import (
    Access,
    Actor,
    ActorKind,
    Conflict,
    Everyone,
    Invalid,
    Language,
    Reach,
    Record,
    Role,
    Text,
    Unauthenticated,
    UnitOfWork,
    sights,
)

ALL_ROLES = tuple(Role)


class User(Record):
    """One person who signs in."""

    __tablename__ = "users"
    __access__ = Access(sights(ALL_ROLES, Everyone(), frozenset({"language", "time_zone", "roles"})))

    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    language: Mapped[Language] = mapped_column(default=Language.ZH)
    time_zone: Mapped[str] = mapped_column(default="Asia/Shanghai")
    disabled_at: Mapped[datetime | None]
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (UniqueConstraint("source", "external_id"),)


class Territory(Record):
    """A sales region, part of a larger one or not; its key is what records call their region."""

    __tablename__ = "territories"

    key: Mapped[str] = mapped_column(unique=True)
    label_zh: Mapped[str]
    label_en: Mapped[str]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"))


class Brand(Record):
    """A brand under which the company sells."""

    __tablename__ = "brands"

    key: Mapped[str] = mapped_column(unique=True)
    label_zh: Mapped[str]
    label_en: Mapped[str]


class RoleGrant(Record):
    """A role of a user, in a territory and brand or everywhere, from one instant to another."""

    __tablename__ = "role_grants"
    __aggregate__ = ("User", "user_id")

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    role: Mapped[Role]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"))
    brand_id: Mapped[UUID | None] = mapped_column(ForeignKey("brands.id"))
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]

    __table_args__ = (Index("ix_role_grants_user", "user_id", "role"),)


def normal_email(email: str) -> str:
    """The form in which an address is stored and looked up."""
    return email.strip().lower()


async def add_user(uow: UnitOfWork, *, name: str, email: str, language: Language = Language.ZH) -> User:
    """Add a person who may sign in.

    Raises Conflict when the address is taken.
    """
    address = normal_email(email)
    if (await uow.session.execute(select(User.id).where(User.email == address))).first():
        raise Conflict(Text(f"邮箱 {address} 已有用户", f"there is a user with {address} already"), ("email",))
    user = User(id=uow.new_id(), name=name, email=address, language=language, time_zone="Asia/Shanghai")
    uow.session.add(user)
    uow.note("user.added", user)
    return user


async def grant_role(
    uow: UnitOfWork,
    user: User,
    role: Role,
    *,
    territory: Territory | None = None,
    brand: Brand | None = None,
    valid_to: datetime | None = None,
) -> RoleGrant:
    """Give a user a role from now on."""
    grant = RoleGrant(
        id=uow.new_id(), user_id=user.id, role=role, valid_from=uow.now, valid_to=valid_to,
        territory_id=territory.id if territory else None, brand_id=brand.id if brand else None,
    )  # fmt: skip
    uow.session.add(grant)
    uow.note("user.role_granted", user, {"role": role.value, "territory": territory.key if territory else None})
    return grant


async def add_territory(uow: UnitOfWork, *, key: str, label: Text, parent: Territory | None = None) -> Territory:
    """Add a territory, or return the one that has the key."""
    found = (await uow.session.execute(select(Territory).where(Territory.key == key))).scalar_one_or_none()
    if found is not None:
        return found
    territory = Territory(
        id=uow.new_id(), key=key, label_zh=label.zh, label_en=label.en, parent_id=parent.id if parent else None
    )
    uow.session.add(territory)
    uow.note("territory.added", territory)
    return territory


async def add_brand(uow: UnitOfWork, *, key: str, label: Text) -> Brand:
    """Add a brand, or return the one that has the key."""
    found = (await uow.session.execute(select(Brand).where(Brand.key == key))).scalar_one_or_none()
    if found is not None:
        return found
    brand = Brand(id=uow.new_id(), key=key, label_zh=label.zh, label_en=label.en)
    uow.session.add(brand)
    uow.note("brand.added", brand)
    return brand


async def find_territory(session: AsyncSession, region: str | None) -> Territory | None:
    """The territory that a region names by key or by label in either language; None for an unknown one."""
    if not region or not region.strip():
        return None
    word = region.strip().lower()
    by_key = func.lower(Territory.key) == word
    same = by_key | (func.lower(Territory.label_zh) == word) | (func.lower(Territory.label_en) == word)
    best = select(Territory).where(same).order_by(by_key.desc(), Territory.id).limit(1)
    return (await session.execute(best)).scalar_one_or_none()


def with_descendants(parents: dict[UUID, UUID | None], roots: set[UUID]) -> frozenset[UUID]:
    """The territories and everything below them, from a map of child to parent."""
    inside = set(roots)
    while True:
        more = {child for child, parent in parents.items() if parent in inside} - inside
        if not more:
            return frozenset(inside)
        inside |= more


SELLERS = (Role.REP, Role.MANAGER)
NO_SELLER = Text(
    "该同事不存在、已停用，或不在该区域做销售", "no such colleague, disabled, or not selling in this territory"
)


async def check_seller(
    uow: UnitOfWork, user_id: UUID, territory_id: UUID | None, *, path: tuple[str, ...] = ("ownerId",)
) -> None:
    """Check that somebody sells now: in a territory, or anywhere where none is given.

    Raises Invalid when they do not.
    """
    valid = (RoleGrant.valid_from <= uow.now) & (RoleGrant.valid_to.is_(None) | (RoleGrant.valid_to > uow.now))
    of_user = (RoleGrant.user_id == user_id) & RoleGrant.role.in_(SELLERS) & User.disabled_at.is_(None)
    grants = select(RoleGrant.territory_id).join(User, User.id == RoleGrant.user_id).where(of_user, valid)
    places = set((await uow.session.execute(grants)).scalars())
    if not places or not (territory_id is None or None in places or places & await with_ancestors(uow, territory_id)):
        raise Invalid(NO_SELLER, path)


async def with_ancestors(uow: UnitOfWork, territory_id: UUID) -> frozenset[UUID]:
    """A territory and all above it."""
    rows = (await uow.session.execute(select(Territory.id, Territory.parent_id))).all()
    parents: dict[UUID, UUID | None] = {row.id: row.parent_id for row in rows}
    above = [territory_id]
    while (parent := parents.get(above[-1])) is not None:
        above.append(parent)
    return frozenset(above)


async def sign_in(
    connection: AsyncConnection, now: datetime, *, email: str | None = None, user_id: UUID | None = None
) -> Actor:
    """The frozen actor for a known, enabled user with the grants valid now; valid until the first of them ends.

    Raises Unauthenticated for an unknown or disabled user.
    """
    who = User.email == normal_email(email) if email is not None else User.id == user_id
    user = (await connection.execute(select(User.id, User.name).where(who, User.disabled_at.is_(None)))).first()
    if user is None:
        raise Unauthenticated(Text("用户不存在或已停用", "no such user, or disabled"))
    valid = (RoleGrant.valid_from <= now) & (RoleGrant.valid_to.is_(None) | (RoleGrant.valid_to > now))
    columns = (RoleGrant.role, RoleGrant.territory_id, RoleGrant.brand_id, RoleGrant.valid_to)
    grants = (
        await connection.execute(select(*columns).where(RoleGrant.user_id == user.id, valid).order_by(RoleGrant.id))
    ).all()
    territories = (await connection.execute(select(Territory.id, Territory.parent_id))).all()
    parents: dict[UUID, UUID | None] = {row.id: row.parent_id for row in territories}
    reaches = []
    for role in sorted({grant.role for grant in grants}):
        mine = [grant for grant in grants if grant.role is role]
        roots = {grant.territory_id for grant in mine if grant.territory_id is not None}
        brands = frozenset(grant.brand_id for grant in mine if grant.brand_id is not None)
        reaches.append(Reach(role, with_descendants(parents, roots), brands))
    ends = [grant.valid_to for grant in grants if grant.valid_to is not None]
    return Actor(ActorKind.USER, user.id, user.name, tuple(reaches), valid_until=min(ends, default=None))


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
