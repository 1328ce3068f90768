"""Buying committees: who sits on one, how they stand, and since when we have their ear."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain.accounts import BuyingRole, Contact
from domain.deals.model import SELLERS, Influence, Opportunity, OpportunityContactRole, Stance
from domain.kernel import Conflict, Invalid, Text, UnitOfWork, load

SEATED = Text("该联系人在这个商机中已有此角色", "this person has this role on the deal already")


async def set_contact_role(
    uow: UnitOfWork,
    opportunity: Opportunity,
    contact: Contact,
    role: BuyingRole,
    *,
    stance: Stance = Stance.UNKNOWN,
    covered_at: datetime | None = None,
) -> OpportunityContactRole:
    """Seat a person in a deal's buying committee, or change how they stand and whether we have spoken."""
    seat = await _seat(uow, opportunity.id, contact.id, role)
    if seat is None:
        return await add_contact_role(uow, opportunity, contact, role, stance=stance, covered_at=covered_at)
    seat.stance, seat.covered_at = stance, covered_at or seat.covered_at
    uow.note("opportunity.contact_role_updated", opportunity, {"role": role.value})
    await uow.session.flush()
    return seat


async def _seat(
    uow: UnitOfWork, opportunity_id: UUID, contact_id: UUID, role: BuyingRole
) -> OpportunityContactRole | None:
    """The person's seat in this role; nobody else makes it before this transaction ends."""
    await uow.wait_turn(f"contact role\0{opportunity_id}\0{contact_id}\0{role}")
    same = (
        (OpportunityContactRole.opportunity_id == opportunity_id)
        & (OpportunityContactRole.contact_id == contact_id)
        & (OpportunityContactRole.role == role)
    )
    return (await uow.session.execute(select(OpportunityContactRole).where(same))).scalar_one_or_none()


async def add_contact_role(
    uow: UnitOfWork,
    opportunity: Opportunity,
    contact: Contact,
    role: BuyingRole,
    *,
    stance: Stance = Stance.UNKNOWN,
    influence: Influence | None = None,
    covered_at: datetime | None = None,
) -> OpportunityContactRole:
    """Seat a person in a deal's buying committee.

    Raises Conflict when they sit there in this role, Invalid for a talk that lies ahead.
    """
    _check_covered(uow, covered_at)
    if await _seat(uow, opportunity.id, contact.id, role) is not None:
        raise Conflict(SEATED, ("role",))
    seat = OpportunityContactRole(
        id=uow.new_id(), opportunity_id=opportunity.id, contact_id=contact.id, role=role, stance=stance, influence=influence, covered_at=covered_at,
    )  # fmt: skip
    uow.session.add(seat)
    uow.note("opportunity.contact_role_added", opportunity, {"role": role.value})
    await uow.session.flush()
    return seat


def _check_covered(uow: UnitOfWork, covered_at: datetime | None) -> None:
    if covered_at is not None and covered_at > uow.now:
        raise Invalid(Text("沟通时间不能晚于现在", "nobody has been spoken to in the future"), ("coveredAt",))


async def _seat_to_change(
    uow: UnitOfWork, id: UUID, expected_version: int | None
) -> tuple[Opportunity, OpportunityContactRole]:
    actor = uow.actor.only(*SELLERS)
    seat = await load(uow.session, actor, OpportunityContactRole, id, expected_version=expected_version, lock=True)
    return await load(uow.session, actor, Opportunity, seat.opportunity_id), seat


async def update_contact_role(
    uow: UnitOfWork, id: UUID, *, changes: Mapping[str, Any], expected_version: int | None = None
) -> OpportunityContactRole:
    """Set what is given of role, stance, influence and covered_at; one that changes nothing is no event.

    Raises NotFound for a foreign one, Conflict when the person sits there in the new role already, Invalid for a talk ahead.
    """
    opportunity, seat = await _seat_to_change(uow, id, expected_version)
    role = changes.get("role", seat.role)
    if role is not seat.role and await _seat(uow, opportunity.id, seat.contact_id, role) is not None:
        raise Conflict(SEATED, ("role",))
    _check_covered(uow, changes.get("covered_at"))
    for name in ("role", "stance", "influence", "covered_at"):
        if name in changes:
            setattr(seat, name, changes[name])
    if uow.session.is_modified(seat):
        uow.note("opportunity.contact_role_updated", opportunity, {"role": seat.role.value})
        await uow.session.flush()
    return seat


async def remove_contact_role(uow: UnitOfWork, id: UUID, *, expected_version: int | None = None) -> Opportunity:
    """Take a person's seat out of the buying committee, and return the deal.

    Raises NotFound for a foreign one.
    """
    opportunity, seat = await _seat_to_change(uow, id, expected_version)
    await uow.session.delete(seat)
    uow.note("opportunity.contact_role_removed", opportunity, {"role": seat.role.value})
    await uow.session.flush()
    return opportunity
