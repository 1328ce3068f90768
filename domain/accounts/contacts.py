"""Operations on people and their addresses: made, changed, found by equal addresses, erased once."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from domain import custom_fields
from domain.accounts.model import Account, BuyingRole, Channel, Contact, ContactPoint
from domain.accounts.policy import masked, match_key, named
from domain.kernel import Conflict, Invalid, Role, Text, UnitOfWork, load, once

WRITERS = (Role.REP, Role.MANAGER, Role.SALES_OPS)
"""The roles that change accounts and contacts which they see."""
KEEPERS = (Role.REP, Role.MANAGER)
"""The roles that change addresses of people whom they see."""
_ERASED = Text("该联系人的个人信息已被删除", "this contact has been erased")


async def create_contact(
    uow: UnitOfWork, *, name: str, account_id: UUID | None = None, title: str | None = None, buying_role: BuyingRole | None = None,
    custom: Mapping[str, Any] | None = None, client_key: str | None = None,
) -> Contact:  # fmt: skip
    """Create a person, at an account that the actor sees or at none; the same client key gives the one that is there.

    Raises Invalid for an empty name and custom values that cannot be taken, NotFound for an account that the actor may not
    change, KeyReused.
    """
    given = {"name": name, "account": account_id, "title": title, "buying_role": buying_role, "custom": custom}

    async def make() -> Contact:
        known = named(name, Text("联系人姓名不能为空", "a contact needs a name"))
        if account_id is not None:
            await load(uow.session, uow.actor.only(*WRITERS), Account, account_id, path=("accountId",))
        contact = Contact(
            id=uow.new_id(), account_id=account_id, name=known, title=title, buying_role=buying_role,
            custom=await custom_fields.apply(uow, Contact.entity(), None, custom, new=custom is not None),
        )  # fmt: skip
        uow.session.add(contact)
        uow.note("contact.created", contact)
        await uow.session.flush()
        return contact

    return await once(uow, client_key, "createContact", given, Contact, make)


async def update_contact(
    uow: UnitOfWork, id: UUID | None, *, expected_version: int, changes: Mapping[str, Any]
) -> Contact:
    """Change a person's name, title, buying role, account or custom values; what is left out stays, null clears.

    Raises NotFound for a contact or account that the actor may not change, StaleVersion, Conflict for an erased person,
    Invalid for what cannot be taken.
    """
    actor = uow.actor.only(*WRITERS)
    contact = await load(uow.session, actor, Contact, id, expected_version=expected_version, lock=True)
    _not_erased(contact, ("id",))
    values = dict(changes)
    if "name" in values:
        values["name"] = named(values["name"], Text("联系人姓名不能为空", "a contact needs a name"))
    if "account_id" in values:
        if values["account_id"] is None:
            raise Invalid(Text("联系人须属于一个客户", "a contact stays at an account"), ("accountId",))
        await load(uow.session, actor, Account, values["account_id"], path=("accountId",))
    if "custom" in values:
        values["custom"] = await custom_fields.apply(uow, Contact.entity(), contact.custom, values["custom"])
    if contact.change(values):
        uow.note("contact.updated", contact)
        await uow.session.flush()
    return contact


def _not_erased(contact: Contact, path: tuple[str, ...]) -> None:
    if contact.erased_at is not None:
        raise Conflict(_ERASED, path)


# ---- addresses -------------------------------------------------------------------------------------------------------


async def add_contact_point(
    uow: UnitOfWork,
    contact: Contact,
    channel: Channel,
    value: str,
    *,
    verified_at: datetime | None = None,
    path: tuple[str, ...] = ("value",),
) -> ContactPoint:
    """Add an address to a person, or return the equal one that is there.

    Raises Invalid for an address that cannot be one, Conflict when the person was erased.
    """
    key = match_key(channel, value, path)
    _not_erased(contact, path)
    await uow.wait_turn(f"contact point\0{contact.id}\0{key}")
    found = await _equal_point(uow, contact.id, channel, key)
    if found is not None:
        return found
    point = ContactPoint(
        id=uow.new_id(),
        contact_id=contact.id,
        channel=channel,
        value=value.strip(),
        match_key=key,
        masked=masked(channel, value.strip()),
        verified_at=verified_at,
    )
    uow.session.add(point)
    uow.note("contact.point_added", contact, {"channel": channel.value})
    await uow.session.flush()
    return point


async def _equal_point(uow: UnitOfWork, contact_id: UUID, channel: Channel, key: str) -> ContactPoint | None:
    same = (ContactPoint.contact_id == contact_id) & (ContactPoint.channel == channel) & (ContactPoint.match_key == key)
    return (await uow.session.execute(select(ContactPoint).where(same))).scalar_one_or_none()


async def add_point(
    uow: UnitOfWork, contact_id: UUID | None, channel: Channel, value: str, *, verified: bool = False, client_key: str | None = None
) -> ContactPoint:  # fmt: skip
    """Add an address to a person whom the actor sees; an equal one, or one of the same client key, is returned instead.

    Raises NotFound, Invalid, KeyReused, Conflict for an erased person.
    """
    given = {"contact": contact_id, "channel": channel, "value": value, "verified": verified}

    async def make() -> ContactPoint:
        actor = uow.actor.only(*KEEPERS)
        contact = await load(uow.session, actor, Contact, contact_id, path=("contactId",), lock=True)
        return await add_contact_point(uow, contact, channel, value, verified_at=uow.now if verified else None)

    return await once(uow, client_key, "addContactPoint", given, ContactPoint, make)


async def update_point(
    uow: UnitOfWork, id: UUID | None, *, expected_version: int, changes: Mapping[str, Any]
) -> ContactPoint:
    """Change an address, or say whether somebody made sure of it; a changed address is unverified until somebody does.

    Raises NotFound, StaleVersion, Invalid for an address that cannot be one, Conflict when the person has the same one.
    """
    point = await _point(uow, id, expected_version)
    values: dict[str, Any] = {}
    if "value" in changes:
        key = match_key(point.channel, changes["value"] or "")
        other = await _equal_point(uow, point.contact_id, point.channel, key)
        if other is not None and other.id != point.id:
            raise Conflict(Text("该联系人已有相同的联系方式", "the contact has the same contact point"), ("value",))
        value = changes["value"].strip()
        values = {"value": value, "match_key": key, "masked": masked(point.channel, value)}
        if key != point.match_key:
            values["verified_at"] = None
    if changes.get("verified") is not None:
        kept = values.get("verified_at", point.verified_at)
        values["verified_at"] = (kept or uow.now) if changes["verified"] else None
    if point.change(values):
        uow.note("contact.point_updated", point.root(), {"channel": point.channel.value})
        await uow.session.flush()
    return point


async def remove_point(uow: UnitOfWork, id: UUID | None, *, expected_version: int) -> UUID:
    """Remove an address, and return the id of its person.

    Raises NotFound, StaleVersion.
    """
    point = await _point(uow, id, expected_version)
    await uow.session.delete(point)
    uow.note("contact.point_removed", point.root(), {"channel": point.channel.value})
    await uow.session.flush()
    return point.contact_id


async def _point(uow: UnitOfWork, id: UUID | None, expected_version: int) -> ContactPoint:
    actor = uow.actor.only(*KEEPERS)
    point = await load(uow.session, actor, ContactPoint, id, expected_version=expected_version, lock=True)
    await uow.wait_turn(f"contact points\0{point.contact_id}")
    return point


async def find_contact(uow: UnitOfWork, points: Iterable[tuple[Channel, str]]) -> Contact | None:
    """The oldest person who has one of the addresses (channel and match key), whoever may see them.

    Nobody else makes a person of these addresses before this transaction ends: equal people must not be made twice.
    """
    wanted = sorted({(_kin(channel), key) for channel, key in points})
    if not wanted:
        return None
    await uow.wait_turn(*(f"address\0{'/'.join(kin)}\0{key}" for kin, key in wanted))
    same = or_(*((ContactPoint.match_key == key) & ContactPoint.channel.in_(kin) for kin, key in wanted))
    having = select(ContactPoint.contact_id).where(same)
    statement = select(Contact).where(Contact.id.in_(having), Contact.erased_at.is_(None)).order_by(Contact.id).limit(1)
    return (await uow.session.execute(statement)).scalar_one_or_none()


def _kin(channel: Channel) -> tuple[Channel, ...]:
    """The channels on which the same address means the same person: a telephone number takes calls and messages."""
    return (Channel.PHONE, Channel.SMS) if channel in {Channel.PHONE, Channel.SMS} else (channel,)


async def erase_contact(uow: UnitOfWork, contact: Contact) -> None:
    """Replace a person's name by a placeholder and delete their addresses; the ledger's keys are destroyed by its own room.

    Raises Conflict when the person was erased before.
    """
    _not_erased(contact, ("contactId",))
    for point in (
        await uow.session.execute(select(ContactPoint).where(ContactPoint.contact_id == contact.id))
    ).scalars():
        await uow.session.delete(point)
    contact.name, contact.title, contact.custom = f"已删除 {contact.id.hex[-6:]}", None, None
    contact.erased_at = uow.now
    uow.note("contact.erased", contact)
