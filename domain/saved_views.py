"""Lists that people keep: what is shown, in which order and columns, and who else finds it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, select
from sqlalchemy.orm import Mapped, mapped_column

from domain import people
from domain.kernel import (
    Access,
    Actor,
    AtOrAbove,
    Conflict,
    Forbidden,
    Invalid,
    Matching,
    Owned,
    Record,
    Role,
    Text,
    UnitOfWork,
    load,
    sights,
)


class SharedWith(StrEnum):
    """Who finds a list beside its owner."""

    NOBODY = "NOBODY"
    TERRITORY = "TERRITORY"
    EVERYONE = "EVERYONE"


NAME_LENGTH, PER_PERSON = 200, 200


class SavedView(Record):
    """One named list of one person: a type of record with the filter, order and columns in which the schema takes them."""

    __tablename__ = "saved_views"
    __access__ = Access(
        sights(
            tuple(Role),
            Owned()
            | Matching("shared_with", (SharedWith.EVERYONE,))
            | Matching("shared_with", (SharedWith.TERRITORY,), AtOrAbove()),
            frozenset({"filter", "order_by", "columns", "region", "owner"}),
        )
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    entity_name: Mapped[str]
    filter: Mapped[dict[str, Any]]
    order_by: Mapped[str | None]
    columns: Mapped[list[str]]
    shared_with: Mapped[SharedWith]
    region: Mapped[str | None]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"))

    __table_args__ = (
        Index("ix_saved_views_owner", "owner_id", "entity_name"),
        Index("ix_saved_views_shared", "shared_with", "entity_name"),
    )


async def _checked(uow: UnitOfWork, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of a list, as it is stored.

    Raises Invalid for a name that is empty or too long, and a region that names no territory of the actor's.
    """
    values = dict(given)
    if "name" in values:
        values["name"] = (values["name"] or "").strip()
        if not 0 < len(values["name"]) <= NAME_LENGTH:
            words = Text(f"名称须为 1 到 {NAME_LENGTH} 个字符", f"a name has 1 to {NAME_LENGTH} characters")
            raise Invalid(words, ("name",))
    for name, empty in (("filter", {}), ("columns", []), ("shared_with", SharedWith.NOBODY)):
        if name in values and values[name] is None:
            values[name] = empty
    if "region" in values:
        territory = await people.find_territory(uow.session, values["region"])
        if values["region"] and (territory is None or not _reaches(uow.actor, territory.id)):
            raise Invalid(Text("只能共享给您所在的区域", "you share with regions of your own"), ("region",))
        values["region"] = territory.key if territory else None
        values["territory_id"] = territory.id if territory else None
    return values


def _reaches(actor: Actor, territory_id: UUID) -> bool:
    within = any(territory_id in reach.territory_ids for reach in actor.reaches)
    return within or actor.has(Role.SALES_OPS, Role.ADMIN)


def _check_sharing(view: SavedView) -> None:
    if (view.territory_id is not None) != (view.shared_with is SharedWith.TERRITORY):
        words = Text("共享给区域时须填区域，否则不填", "a region goes with sharing with it, and the other way round")
        raise Invalid(words, ("region",))


async def create_saved_view(
    uow: UnitOfWork, *, name: str, entity_name: str, filter: Mapping[str, Any] | None = None, order_by: str | None = None, columns: Sequence[str] | None = None,
    shared_with: SharedWith = SharedWith.NOBODY, region: str | None = None,
) -> SavedView:  # fmt: skip
    """Keep a list for the actor; what its filter, order and columns mean the schema has checked.

    Raises Invalid for a name that is empty or too long or a region that is not the actor's, Conflict for too many lists.
    """
    owner_id = uow.actor.user_id
    if owner_id is None:
        raise Invalid(Text("只有用户可以保存列表", "lists are kept for people"), ())
    kept = select(SavedView.id).where(SavedView.owner_id == owner_id).limit(PER_PERSON)
    if len((await uow.session.execute(kept)).all()) == PER_PERSON:
        raise Conflict(Text(f"最多保存 {PER_PERSON} 个列表", f"{PER_PERSON} lists are kept at most"), ())
    given = {"name": name, "filter": filter, "columns": columns, "shared_with": shared_with, "region": region}
    values = await _checked(uow, given)
    view = SavedView(id=uow.new_id(), owner_id=owner_id, entity_name=entity_name, order_by=order_by, **values)
    _check_sharing(view)
    uow.session.add(view)
    uow.note("saved_view.created", view)
    await uow.session.flush()
    return view


async def load_own(uow: UnitOfWork, id: UUID, *, expected_version: int | None = None) -> SavedView:
    """A list of the actor's own, to change it.

    Raises NotFound, StaleVersion, Forbidden for another's that is shared.
    """
    view = await load(uow.session, uow.actor, SavedView, id, expected_version=expected_version, lock=True)
    if view.owner_id != uow.actor.user_id and not uow.actor.unrestricted:
        raise Forbidden(Text("只有所有者可以更改这个列表", "only its owner changes a list"), ("id",))
    return view


async def update_saved_view(
    uow: UnitOfWork, id: UUID, *, expected_version: int, changes: Mapping[str, Any]
) -> SavedView:
    """Change `name`, `filter`, `order_by`, `columns`, `shared_with` or `region` of one's own list.

    Raises NotFound, StaleVersion, Forbidden for another's list, Invalid as `create_saved_view` does.
    """
    view = await load_own(uow, id, expected_version=expected_version)
    values = await _checked(uow, changes)
    # Sharing otherwise than with a territory drops the one that was named.
    if values.get("shared_with", SharedWith.TERRITORY) is not SharedWith.TERRITORY:
        values |= {"region": None, "territory_id": None}
    if view.change(values):
        _check_sharing(view)
        uow.note("saved_view.updated", view)
    await uow.session.flush()
    return view


async def delete_saved_view(uow: UnitOfWork, id: UUID, *, expected_version: int) -> None:
    """Keep one's own list no longer.

    Raises NotFound, StaleVersion, Forbidden for another's list.
    """
    view = await load_own(uow, id, expected_version=expected_version)
    await uow.session.delete(view)
    uow.note("saved_view.deleted", view)
    await uow.session.flush()
