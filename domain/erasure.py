"""Forgetting a person: what every room and every answer holds of them, and the keys to what the ledger holds."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain import accounts, ledger
from domain.accounts import Contact, ContactPoint
from domain.kernel import Base, Forbidden, Ref, Role, Text, UnitOfWork, entity, load, search


async def erase_person(uow: UnitOfWork, contact_id: UUID | None) -> Contact:
    """Blank every personal value about a person in one commit, and make those in the ledger unreadable for good.

    What goes is declared on the classes: the rows of which somebody is the person, and the aggregates (answers) that name
    them, whoever else these name. A contact that was merged into this one is the same person and goes with it. States,
    dates and digests stay, and so does every proof of the ledger.

    Raises Forbidden for others than the DPO, NotFound for an absent contact, Conflict for one who was erased before.
    """
    if not uow.actor.has(Role.DPO):
        raise Forbidden(
            Text("只有数据保护官可以删除个人信息", "only the data protection officer erases people"), ("contactId",)
        )
    contact = await load(uow.session, uow.actor, Contact, contact_id, path=("contactId",), lock=True)
    merged = await uow.session.scalars(select(Contact).where(Contact.merged_into_id == contact.id))
    persons = [contact, *(one for one in merged if one.erased_at is None)]
    for person in persons:
        await ledger.destroy_keys(uow, person.id)
        await accounts.erase_contact(uow, person)
    ids, roots = [person.id for person in persons], set()
    for model in [mapper.class_ for mapper in Base.registry.mappers if mapper.class_.__person__ is not None]:
        if model.__erases__ is not None:
            await _erase_aggregates(uow, model, model.__erases__, ids)
        elif model not in {Contact, ContactPoint}:
            roots |= {row.root() for row in await _blanked(uow, model, model.__person__, ids)}
    for root in roots:
        uow.note("person.erased", root)
    await search.forget(uow.session)
    return contact


async def _rows(uow: UnitOfWork, model: type[Any], attribute: str, values: list[UUID]) -> list[Any]:
    statement = select(model).where(getattr(model, attribute).in_(values))
    return list((await uow.session.execute(statement)).scalars())


async def _blanked(uow: UnitOfWork, model: type[Any], attribute: str, values: list[UUID]) -> list[Any]:
    """The rows that lost something."""
    rows = await _rows(uow, model, attribute, values)
    for row in rows:
        row.blank_personal()
    return [row for row in rows if uow.session.is_modified(row)]


async def _erase_aggregates(uow: UnitOfWork, link: type[Any], erases: tuple[str, str], person_ids: list[UUID]) -> None:
    """Blank the aggregates that a link ties to the person; what is noted of that is sealed under all whom they name."""
    root, attribute = erases
    ids = [getattr(row, attribute) for row in await _rows(uow, link, link.__person__, person_ids)]
    parts = [mapper.class_ for mapper in Base.registry.mappers if (mapper.class_.__aggregate__ or ("",))[0] == root]
    for model, column in ((entity(root), "id"), *((part, part.__aggregate__[1]) for part in parts)):
        await _blanked(uow, model, column, ids)
    named: dict[UUID, list[UUID]] = {id: [] for id in ids}
    for row in await _rows(uow, link, attribute, ids):
        named[getattr(row, attribute)].append(getattr(row, link.__person__))
    for id, persons in named.items():
        uow.note("person.erased", Ref(root, id), persons=persons)
