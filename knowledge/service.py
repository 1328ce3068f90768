"""The life of an entry: drafted, revised, reviewed, published by a second person, retired."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm.attributes import flag_modified

from domain.kernel import Base, Conflict, Event, Forbidden, Language, Text, UnitOfWork, insert_rows, load
from knowledge import guarding, text
from knowledge.bodies import check_body, searchable
from knowledge.content import DATES, Content, Facets
from knowledge.model import (
    CURATING,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgePeriod,
    KnowledgeReview,
    KnowledgeState,
    KnowledgeVersion,
    Passage,
    Publication,
    ReviewStep,
)

LOOKED_AT_AGAIN = {
    KnowledgeKind.BATTLECARD: timedelta(days=90),
    KnowledgeKind.CASE_STUDY: timedelta(days=365),
    KnowledgeKind.PLAYBOOK: timedelta(days=365),
    KnowledgeKind.POLICY: timedelta(days=365),
    KnowledgeKind.MEDIA: timedelta(days=365),
}
"""After how long an entry of a kind is looked at again, where nobody says when; the others after half a year."""
HALF_A_YEAR = timedelta(days=182)


@dataclass(frozen=True, slots=True)
class KnowledgeChanged(Event):
    """What may be found has changed: an entry was published or taken back."""

    kind: ClassVar[str] = "knowledge.changed"
    item_id: UUID


async def draft(
    uow: UnitOfWork,
    *,
    kind: KnowledgeKind,
    language: Language,
    content: Content,
    source: str | None = None,
    licence: str | None = None,
    owner_id: UUID | None = None,
    origin: tuple[str, str] | None = None,
) -> KnowledgeItem:
    """Start an entry; its author keeps it unless somebody else is named. `origin` is whence it came, and its id there.

    Raises Forbidden for people who do not curate, Invalid for content that cannot be kept.
    """
    may_curate(uow)
    check_body(kind, content.checked().body)
    item = KnowledgeItem(
        id=uow.new_id(), kind=kind, language=language, state=KnowledgeState.DRAFT, owner_id=owner_id or uow.actor.user_id, draft_number=1, source=source, licence=licence,
        external_source=origin[0] if origin else None, external_id=origin[1] if origin else None, effective_from=content.effective_from, expires_at=content.expires_at, **content.facets.lists(),
    )  # fmt: skip
    uow.session.add(item)
    uow.session.add(_version(uow, item, 1, content))
    step(uow, item, 1, ReviewStep.DRAFTED)
    uow.note("knowledge.drafted", item, {"number": 1})
    await uow.session.flush()
    return item


async def revise(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, change: dict[str, Any]
) -> KnowledgeItem:
    """Change the draft of an entry, or start a new one from the published version, which stays what it is.

    `change` holds the fields to change: title, body, expires_at, and any facet.
    """
    may_curate(uow)
    item = await load(uow.session, uow.actor, KnowledgeItem, item_id, expected_version=expected_version, lock=True)
    if item.state is KnowledgeState.RETIRED:
        raise Conflict(Text("该条目已下架，不能修改", "the entry is retired and cannot be revised"), ("id",))
    current = await current_version(uow, item)
    content = changed(stored_content(current), change).checked()
    check_body(item.kind, content.body)
    if item.draft_number is not None:
        current.title, current.body, current.facets, current.author_id = (
            content.title,
            content.body,
            content.stored_facets(),
            uow.actor.user_id,
        )
        current.state, current.changes_requested_at = KnowledgeState.DRAFT, None
        current.body_hash = guarding.body_hash(content.body)
        number = current.number
    else:
        last = (
            await uow.session.execute(
                select(func.max(KnowledgeVersion.number)).where(KnowledgeVersion.item_id == item.id)
            )
        ).scalar_one()
        number = last + 1
        uow.session.add(_version(uow, item, number, content))
        item.draft_number = number
        step(uow, item, number, ReviewStep.DRAFTED)
    if item.published_number is None:
        _carry(item, content)
        item.state = KnowledgeState.DRAFT
    touch(uow, item)
    uow.note("knowledge.revised", item, {"number": number})
    await uow.session.flush()
    return item


async def submit(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, comment: str | None = None
) -> KnowledgeItem:
    """Hand a draft to review, marked where something in it may be meant to steer an answer."""
    may_curate(uow)
    item = await load(uow.session, uow.actor, KnowledgeItem, item_id, expected_version=expected_version, lock=True)
    version = await draft_of(uow, item)
    if version.state is not KnowledgeState.DRAFT:
        raise Conflict(Text("草稿已在审核中", "the draft is in review already"), ("id",))
    check_body(item.kind, version.body)
    version.state, version.submitted_at, version.changes_requested_at = KnowledgeState.IN_REVIEW, uow.now, None
    if item.published_number is None:
        item.state = KnowledgeState.IN_REVIEW
    touch(uow, item)
    step(uow, item, version.number, ReviewStep.SUBMITTED, comment)
    if marks := guarding.steering(version.title, version.body):
        names = guarding.named(marks)
        step(uow, item, version.number, ReviewStep.MARKED, f"{names.zh}\n{names.en}")
    uow.note("knowledge.submitted", item, {"number": version.number, "comment": comment})
    await uow.session.flush()
    return item


async def publish(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, comment: str | None = None
) -> KnowledgeItem:
    """Publish the version in review; from this commit on it can be found and the one before it cannot.

    Raises Forbidden when its author alone would publish it, Conflict when nothing is in review, Invalid for one that is
    marked without a comment that says why it is let through.
    """
    may_curate(uow)
    item = await load(uow.session, uow.actor, KnowledgeItem, item_id, expected_version=expected_version, lock=True)
    version = await draft_of(uow, item)
    if version.state is not KnowledgeState.IN_REVIEW:
        raise Conflict(Text("须先提交审核才能发布", "a draft is submitted for review before it is published"), ("id",))
    if not uow.actor.unrestricted and version.author_id == uow.actor.user_id:
        raise Forbidden(
            Text("作者不能自己发布，须由另一位审核人发布", "an author does not publish alone: a second person does"),
            ("id",),
        )
    check_body(item.kind, version.body)
    if marks := guarding.steering(version.title, version.body):
        said = bool((comment or "").strip())
        if not said and not uow.actor.unrestricted:
            raise guarding.needs_words(marks)
        # What a program publishes was let through by nobody: it is found, and the assistant leaves it alone.
        version.let_through_at = uow.now if said and not uow.actor.unrestricted else None
    if item.published_number is not None:
        (await numbered(uow, item, item.published_number)).state = KnowledgeState.RETIRED
    version.state, version.published_at, version.published_by_id = KnowledgeState.PUBLISHED, uow.now, uow.actor.user_id
    content = stored_content(version)
    item.state, item.published_number, item.draft_number = KnowledgeState.PUBLISHED, version.number, None
    _carry(item, content)
    touch(uow, item)
    item.review_at = content.review_at or uow.now + LOOKED_AT_AGAIN.get(item.kind, HALF_A_YEAR)
    item.reminded_at = None
    await begin_use(uow, item, content)
    step(uow, item, version.number, ReviewStep.PUBLISHED, comment)
    uow.note("knowledge.published", item, {"number": version.number, "comment": comment})
    await uow.session.flush()
    return item


async def retire(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, comment: str | None = None
) -> KnowledgeItem:
    """Take an entry out of use; from this commit on it cannot be found, and what cited it still shows it."""
    may_curate(uow)
    item = await load(uow.session, uow.actor, KnowledgeItem, item_id, expected_version=expected_version, lock=True)
    if item.state is KnowledgeState.RETIRED:
        raise Conflict(Text("该条目已下架", "the entry is retired already"), ("id",))
    for number in (item.published_number, item.draft_number):
        if number is not None:
            (await numbered(uow, item, number)).state = KnowledgeState.RETIRED
    item.state = KnowledgeState.RETIRED
    touch(uow, item)
    await end_use(uow, item)
    step(uow, item, item.published_number or item.draft_number or 1, ReviewStep.RETIRED, comment)
    uow.note("knowledge.retired", item, {"comment": comment})
    await uow.session.flush()
    return item


@dataclass(frozen=True, slots=True)
class ImportedItem:
    """One entry of another system, published as it is."""

    external_id: str
    kind: KnowledgeKind
    language: Language
    content: Content
    source: str | None
    licence: str | None


async def imported_rows(
    uow: UnitOfWork, external_source: str, items: Sequence[ImportedItem]
) -> dict[type[Base], list[dict[str, Any]]]:
    """The rows of the entries that are not there yet, which the caller inserts as a batch and then has indexed.

    Raises Invalid for content that cannot be kept.
    """
    same = (KnowledgeItem.external_source == external_source) & KnowledgeItem.external_id.in_(
        [item.external_id for item in items]
    )
    known = set((await uow.session.execute(select(KnowledgeItem.external_id).where(same))).scalars())
    fresh = [(uow.new_id(), item, item.content.checked()) for item in items if item.external_id not in known]
    for _, item, content in fresh:
        check_body(item.kind, content.body)
    entries = [
        {
            "id": item_id, "kind": item.kind, "language": item.language, "state": KnowledgeState.PUBLISHED, "owner_id": None, "published_number": 1, "draft_number": None,
            "effective_from": content.effective_from, "expires_at": content.expires_at, "source": item.source,
            "review_at": content.review_at or uow.now + LOOKED_AT_AGAIN.get(item.kind, HALF_A_YEAR), "licence": item.licence,
            "external_source": external_source, "external_id": item.external_id, **content.facets.lists(),
        }
        for item_id, item, content in fresh
    ]  # fmt: skip
    versions = [
        {
            "id": uow.new_id(), "item_id": item_id, "number": 1, "state": KnowledgeState.PUBLISHED, "title": content.title, "body": content.body,
            "facets": content.stored_facets(), "author_id": None, "submitted_at": None, "published_at": uow.now, "published_by_id": uow.actor.user_id,
            "created_at": uow.now, "body_hash": guarding.body_hash(content.body),
        }
        for item_id, _, content in fresh
    ]  # fmt: skip
    periods = [
        {
            "id": uow.new_id(), "item_id": version["item_id"], "version_id": version["id"], "version_number": 1, "begun_at": uow.now,
            "ended_at": None, "effective_from": content.effective_from, "expires_at": content.expires_at,
        }
        for version, (_, _, content) in zip(versions, fresh, strict=True)
    ]  # fmt: skip
    return {KnowledgeItem: entries, KnowledgeVersion: versions, KnowledgePeriod: periods}


async def index_imported(uow: UnitOfWork, versions: Sequence[dict[str, Any]]) -> None:
    """Cut inserted first versions into passages, so that they can be found from this commit on."""
    if not versions:
        return
    rows = [row for each in versions for row in _passages(each["item_id"], 1, Content(each["title"], each["body"]))]
    await _store_passages(uow, rows)
    uow.emit(KnowledgeChanged(versions[0]["item_id"]))


def changed(content: Content, change: dict[str, Any]) -> Content:
    """Content with some of its fields changed; a date may be None, a text or a list that is stays as it was."""
    facets = {name: tuple(change[name]) for name in content.facets.lists() if change.get(name) is not None}
    plain = {name: change[name] for name in ("title", "body") if change.get(name) is not None}
    dates = {name: change[name] for name in DATES if name in change}
    return replace(content, facets=replace(content.facets, **facets), **plain, **dates)


async def present_body(uow: UnitOfWork, item_id: UUID | None) -> str:
    """The text of the draft of an entry, or of the version in use."""
    may_curate(uow)
    return (await current_version(uow, await load(uow.session, uow.actor, KnowledgeItem, item_id))).body


def stored_content(version: KnowledgeVersion) -> Content:
    """What a stored version says."""
    kept = version.facets
    facets = Facets(**{field.name: tuple(kept.get(field.name, ())) for field in fields(Facets)})
    dates = {name: datetime.fromisoformat(kept[name]) if kept.get(name) else None for name in DATES}
    return Content(version.title, version.body, facets, **dates)


def may_curate(uow: UnitOfWork) -> None:
    """Raise Forbidden for people who do not curate."""
    if not uow.actor.has(*CURATING):
        raise Forbidden(
            Text("只有知识运营、法务或管理员可以维护知识", "only curators, legal and administrators keep the knowledge")
        )


def _version(uow: UnitOfWork, item: KnowledgeItem, number: int, content: Content) -> KnowledgeVersion:
    return KnowledgeVersion(
        id=uow.new_id(), item_id=item.id, number=number, state=KnowledgeState.DRAFT, title=content.title, body=content.body,
        facets=content.stored_facets(), author_id=uow.actor.user_id, created_at=uow.now, body_hash=guarding.body_hash(content.body),
    )  # fmt: skip


async def numbered(uow: UnitOfWork, item: KnowledgeItem, number: int) -> KnowledgeVersion:
    """A version that is known to be there."""
    same = (KnowledgeVersion.item_id == item.id) & (KnowledgeVersion.number == number)
    return (await uow.session.execute(select(KnowledgeVersion).where(same))).scalar_one()


async def current_version(uow: UnitOfWork, item: KnowledgeItem) -> KnowledgeVersion:
    """The draft, else the version in use."""
    return await numbered(uow, item, item.draft_number or item.published_number or 1)


async def draft_of(uow: UnitOfWork, item: KnowledgeItem) -> KnowledgeVersion:
    """The pending version.

    Raises Conflict where there is none.
    """
    if item.draft_number is None or item.state is KnowledgeState.RETIRED:
        raise Conflict(Text("该条目没有草稿", "the entry has no draft"), ("id",))
    return await numbered(uow, item, item.draft_number)


def _carry(item: KnowledgeItem, content: Content) -> None:
    for name, values in content.facets.lists().items():
        setattr(item, name, values)
    item.expires_at, item.effective_from = content.expires_at, content.effective_from


def touch(uow: UnitOfWork, item: KnowledgeItem) -> None:
    """Have the item's version grow even where only its draft changed, and within one instant."""
    item.updated_at = uow.now
    flag_modified(item, "updated_at")


async def begin_use(uow: UnitOfWork, item: KnowledgeItem, content: Content) -> None:
    """Have the published version found from this commit on, and no other one."""
    number = item.published_number or 1
    await uow.session.flush()
    await uow.session.execute(delete(Passage).where(Passage.item_id == item.id))
    await _end_period(uow, item)
    uow.session.add(
        KnowledgePeriod(
            id=uow.new_id(), item_id=item.id, version_id=(await numbered(uow, item, number)).id, version_number=number, begun_at=uow.now, effective_from=content.effective_from, expires_at=content.expires_at,
        )
    )  # fmt: skip
    await _store_passages(uow, _passages(item.id, number, content))
    uow.emit(KnowledgeChanged(item.id))


async def end_use(uow: UnitOfWork, item: KnowledgeItem) -> None:
    """Have no version found from this commit on."""
    await uow.session.flush()
    await uow.session.execute(delete(Passage).where(Passage.item_id == item.id))
    await _end_period(uow, item)
    await _count(uow, 0)
    uow.emit(KnowledgeChanged(item.id))


async def _end_period(uow: UnitOfWork, item: KnowledgeItem) -> None:
    running = (KnowledgePeriod.item_id == item.id) & KnowledgePeriod.ended_at.is_(None)
    for period in (await uow.session.execute(select(KnowledgePeriod).where(running))).scalars():
        period.ended_at = uow.now


def step(uow: UnitOfWork, item: KnowledgeItem, number: int, step: ReviewStep, comment: str | None = None) -> None:
    """Keep what was done to a version, by whom and with what words."""
    uow.session.add(
        KnowledgeReview(
            id=uow.new_id(),
            item_id=item.id,
            version_number=number,
            step=step,
            by_id=uow.actor.user_id,
            at=uow.now,
            comment=comment,
        )
    )


def _passages(item_id: UUID, number: int, content: Content) -> list[dict[str, Any]]:
    return [
        {
            "item_id": item_id, "version_number": number, "position": passage.position, "title_path": text.TITLE_SEPARATOR.join(passage.title_path),
            "text": passage.text, "content_hash": text.content_hash(passage),
        }
        for passage in text.passages(content.title, searchable(content.body))
    ]  # fmt: skip


async def _store_passages(uow: UnitOfWork, rows: list[dict[str, Any]]) -> None:
    first = await _count(uow, len(rows))
    await insert_rows(uow, Passage, [row | {"number": first + offset} for offset, row in enumerate(rows)])


async def _count(uow: UnitOfWork, passages: int) -> int:
    """Count a publication or withdrawal, reserve passage numbers and return the first of them."""
    await uow.wait_turn("publication")
    raised = (
        update(Publication)
        .where(Publication.id == 1)
        .values(number=Publication.number + 1, last_passage=Publication.last_passage + passages)
    )
    done = await uow.session.execute(raised.returning(Publication.last_passage))
    last = done.scalar_one_or_none()
    if last is None:
        uow.session.add(Publication(id=1, number=1, last_passage=passages))
        await uow.session.flush()
        last = passages
    return last - passages + 1
