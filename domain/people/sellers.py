"""Who sells where: the colleagues to whom a record can be given."""

from uuid import UUID

from sqlalchemy import select

from domain.kernel import Invalid, Role, Text, UnitOfWork
from domain.people.model import RoleGrant, Territory, User

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
    grants = select(RoleGrant.territory_id).join(User, User.id == RoleGrant.user_id)
    # A grant on one customer lets somebody help there; it does not make them take over others.
    found = await uow.session.execute(grants.where(of_user, valid, RoleGrant.account_id.is_(None)))
    places = set(found.scalars())
    everywhere = bool(places) and (territory_id is None or None in places)
    if not everywhere and (territory_id is None or places.isdisjoint(await with_ancestors(uow, territory_id))):
        raise Invalid(NO_SELLER, path)


async def with_ancestors(uow: UnitOfWork, territory_id: UUID) -> list[UUID]:
    """A territory and all above it, the nearest first."""
    rows = (await uow.session.execute(select(Territory.id, Territory.parent_id))).all()
    parents: dict[UUID, UUID | None] = {row.id: row.parent_id for row in rows}
    above = [territory_id]
    while (parent := parents.get(above[-1])) is not None:
        above.append(parent)
    return above
