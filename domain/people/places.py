"""Territories and brands: the places and labels in which roles hold and records lie."""

from typing import TypeVar
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.kernel import Text, UnitOfWork
from domain.people.model import Brand, Territory

T = TypeVar("T", Territory, Brand)


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
    return await _named(session, Territory, region)


async def find_brand(session: AsyncSession, name: str | None) -> Brand | None:
    """The brand that a name means, by key or by label in either language; None for an unknown one."""
    return await _named(session, Brand, name)


async def _named(session: AsyncSession, model: type[T], name: str | None) -> T | None:
    if not name or not name.strip():
        return None
    word = name.strip().lower()
    by_key = func.lower(model.key) == word
    same = by_key | (func.lower(model.label_zh) == word) | (func.lower(model.label_en) == word)
    best = select(model).where(same).order_by(by_key.desc(), model.id).limit(1)
    return (await session.execute(best)).scalar_one_or_none()


def with_descendants(parents: dict[UUID, UUID | None], roots: set[UUID]) -> frozenset[UUID]:
    """The territories and everything below them, from a map of child to parent."""
    inside = set(roots)
    while True:
        more = {child for child, parent in parents.items() if parent in inside} - inside
        if not more:
            return frozenset(inside)
        inside |= more
