"""What customers' own systems may have: entries that a curator has marked shareable, and the log of who asked for what."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Index, delete, exists, or_
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import (
    SYSTEM,
    Access,
    Base,
    Conflict,
    Database,
    Everyone,
    Invalid,
    Role,
    Sight,
    Text,
    UnitOfWork,
    load,
)
from knowledge import guarding
from knowledge.model import KnowledgeAudience, KnowledgeItem, KnowledgeKind, KnowledgeState
from knowledge.service import may_curate, numbered, touch

SHARED_KINDS = frozenset({KnowledgeKind.CASE_STUDY, KnowledgeKind.PRODUCT_SHEET, KnowledgeKind.ROI_MODEL})
KEPT = timedelta(days=180)
"""How long a request is remembered."""


class ContentRequest(Base):
    """One request of a customer's system: by which key, for which path and entry, how it ended, and when."""

    __tablename__ = "content_requests"
    __unledgered__ = "a log of reads, kept for half a year"
    __access__ = Access({role: Sight(Everyone(), frozenset({"key", "item"})) for role in (Role.ADMIN, Role.AUDITOR)})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key_id: Mapped[UUID]
    path: Mapped[str]
    item_id: Mapped[UUID | None]
    status: Mapped[int]
    at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (Index("ix_content_requests_key", "key_id", "at"),)


def is_shared(now: datetime) -> ColumnElement[bool]:
    """Which entries the content API shows: shareable, published, in date, of the kinds that leave, addressed to everybody."""
    item = KnowledgeItem
    addressed = exists().where(KnowledgeAudience.item_id == item.id)
    return (
        item.shareable.is_(True)
        & (item.state == KnowledgeState.PUBLISHED)
        & item.kind.in_(SHARED_KINDS)
        & or_(item.effective_from.is_(None), item.effective_from <= now)
        & or_(item.expires_at.is_(None), item.expires_at > now)
        & ~addressed
    )


async def share(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, *, shareable: bool, comment: str | None = None
) -> KnowledgeItem:
    """Let customers' systems have an entry while it is published, or have it no longer: from this commit on.

    Raises Forbidden for people who do not curate, Conflict for one that is not published or is addressed to some alone,
    Invalid for a kind that does not leave, or for a version that is marked and that no reviewer has let through.
    """
    may_curate(uow)
    item = await load(uow.session, uow.actor, KnowledgeItem, item_id, expected_version=expected_version, lock=True)
    if shareable:
        await _may_leave(uow, item)
    item.shareable = shareable
    touch(uow, item)
    uow.note("knowledge.shared" if shareable else "knowledge.unshared", item, {"comment": comment})
    await uow.session.flush()
    return item


async def _may_leave(uow: UnitOfWork, item: KnowledgeItem) -> None:
    if item.kind not in SHARED_KINDS:
        kinds = ", ".join(sorted(SHARED_KINDS))
        raise Invalid(Text(f"只有这些类型可以对外共享：{kinds}", f"only these kinds are shared: {kinds}"), ("id",))
    if item.state is not KnowledgeState.PUBLISHED or item.published_number is None:
        raise Conflict(Text("只有已发布的条目可以对外共享", "an entry is published before it is shared"), ("id",))
    addressed = exists().where(KnowledgeAudience.item_id == item.id).select()
    if (await uow.session.execute(addressed)).scalar_one():
        raise Conflict(
            Text("该条目只面向部分受众，不能对外共享", "the entry is addressed to some alone and is not shared"),
            ("id",),
        )
    version = await numbered(uow, item, item.published_number)
    marks = guarding.steering(version.title, version.body)
    if marks and version.let_through_at is None:
        names = guarding.named(marks)
        raise Invalid(
            Text(f"此版本被标记且未放行：{names.zh}", f"this version is marked and was not let through: {names.en}"),
            ("id",),
        )


async def log_requests(database: Database, requests: Sequence[ContentRequest]) -> None:
    """Remember requests."""
    async with database.open_uow(SYSTEM) as uow:
        uow.session.add_all(requests)


async def forget_old_requests(database: Database) -> int:
    """Remove requests older than KEPT, and return how many."""
    async with database.open_uow(SYSTEM) as uow:
        gone = await uow.session.execute(
            delete(ContentRequest).where(ContentRequest.at < uow.now - KEPT).returning(ContentRequest.id)
        )
        return len(gone.all())
