"""What the content API shows: shared entries as they stand in the database now, and how each is written."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select

from api.reads import global_id
from api.scalars import instant_words
from domain.kernel import SYSTEM, Database, Language, not_found
from knowledge import KnowledgeItem, KnowledgeKind, KnowledgeVersion, is_shared
from knowledge.hygiene import displayed, plain_markdown

ROI_PATH = "/content/v1/roi/{id}"


@dataclass(frozen=True, slots=True)
class After:
    """Where a page begins: behind the entry that was changed then."""

    updated_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Shown:
    """One shared entry with the version that is published."""

    id: UUID
    kind: KnowledgeKind
    language: Language
    updated_at: datetime
    expires_at: datetime | None
    source: str | None
    licence: str | None
    number: int
    title: str
    body: str
    published_at: datetime | None


def conditions(
    kind: KnowledgeKind | None, language: Language | None, since: datetime | None
) -> list[ColumnElement[bool]]:
    """Which of the shared entries are asked for."""
    given: Mapping[Any, Any] = {KnowledgeItem.kind: kind, KnowledgeItem.language: language}
    found: list[ColumnElement[bool]] = [column == value for column, value in given.items() if value is not None]
    return found if since is None else [*found, KnowledgeItem.updated_at >= since]


async def page(
    database: Database, wanted: Sequence[ColumnElement[bool]], after: After | None, limit: int
) -> list[Shown]:
    """The shared entries that were changed longest ago first, one more than asked for where there are more."""
    item = KnowledgeItem
    behind = (
        []
        if after is None
        else [or_(item.updated_at > after.updated_at, and_(item.updated_at == after.updated_at, item.id > after.id))]
    )
    return await _rows(database, [*wanted, *behind], limit + 1)


async def shared_ids(database: Database, wanted: Sequence[ColumnElement[bool]]) -> frozenset[UUID]:
    """The entries among which a search may look."""
    async with database.read(SYSTEM) as connection:
        found = select(KnowledgeItem.id).where(is_shared(database.clock()), *wanted)
        return frozenset((await connection.execute(found)).scalars())


async def of_ids(database: Database, ids: Collection[UUID]) -> dict[UUID, Shown]:
    """Those of the entries that are shared now."""
    return {row.id: row for row in await _rows(database, [KnowledgeItem.id.in_(ids)], len(ids))} if ids else {}


async def one(database: Database, id: UUID | None, kind: KnowledgeKind | None = None) -> Shown:
    """A shared entry.

    Raises NotFound for any other, whatever the reason.
    """
    wanted = [KnowledgeItem.id == id, *conditions(kind, None, None)]
    rows = await _rows(database, wanted, 1) if id is not None else []
    if not rows:
        raise not_found("KnowledgeItem", ("id",))
    return rows[0]


async def _rows(database: Database, wanted: Sequence[ColumnElement[bool]], limit: int) -> list[Shown]:
    item, version = KnowledgeItem, KnowledgeVersion
    of_item = (version.item_id == item.id) & (version.number == item.published_number)
    found = (
        select(
            item.id, item.kind, item.language, item.updated_at, item.expires_at, item.source, item.licence, version.number, version.title, version.body,
            version.published_at,
        )
        .join(version, of_item).where(is_shared(database.clock()), *wanted).order_by(item.updated_at, item.id).limit(limit)
    )  # fmt: skip
    async with database.read(SYSTEM) as connection:
        return [Shown(*row) for row in await connection.execute(found)]


def written(row: Shown) -> dict[str, Any]:
    """An entry as JSON: its body as HTML that runs nothing, and as Markdown without raw HTML, pictures or other links."""
    id = global_id("KnowledgeItem", row.id)
    return {
        "id": id, "kind": row.kind.value, "language": row.language.value, "version": row.number, "title": row.title,
        "body": {"html": displayed(row.body).html, "markdown": plain_markdown(row.body)}, "source": row.source, "licence": row.licence,
        "publishedAt": _at(row.published_at), "updatedAt": _at(row.updated_at), "expiresAt": _at(row.expires_at),
        "calculator": ROI_PATH.format(id=id) if row.kind is KnowledgeKind.ROI_MODEL else None,
    }  # fmt: skip


def _at(instant: datetime | None) -> str | None:
    return None if instant is None else instant_words(instant)
