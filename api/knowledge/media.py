"""Exemplar media in the schema: by the skill that they show, or by what is said in them, to the second."""

from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import or_, select

from api.context import Context, Info
from api.knowledge.entries import KnowledgeItem
from api.mutations import given
from api.reads import check_size, computed, load_one, roots, shape_of
from api.scalars import enum
from domain.kernel import Invalid, Text, Unavailable, rows_visible
from knowledge import (
    Filter,
    KnowledgeKind,
    KnowledgeState,
    KnowledgeVersion,
    Media,
    MediaType,
    read_media,
    started_at,
)
from knowledge import KnowledgeItem as Item

MOST, QUERY_LENGTH, SKILL_LENGTH = 100, 2000, 60

enum(
    MediaType,
    "What exemplar media are.",
    RECORDING="Something to listen to.",
    VIDEO="Something to watch.",
    DOCUMENT="Something to read.",
)


@strawberry.type(description="What is said from one second on.")
class MediaMoment:
    """One moment of a transcript."""

    start_seconds: int = strawberry.field(description="The second, counted from the beginning.")
    text: str = strawberry.field(description="What is said.")


@strawberry.type(description="A recording, video or document that shows a skill well.")
class ExemplarMedia:
    """One published entry of media."""

    item: KnowledgeItem | None = strawberry.field(description="The entry.")
    type: MediaType = strawberry.field(description="What it is.")
    url: str | None = strawberry.field(description="Its address; null where it is an attachment.")
    attachment_id: strawberry.ID | None = strawberry.field(description="The attachment; null where it has an address.")
    duration_seconds: int | None = strawberry.field(description="How long it runs; null for documents.")
    skill: str = strawberry.field(description="The key of the skill that it shows.")
    transcript: list[MediaMoment] = strawberry.field(description="What is said in it, from which second on.")
    passage: str | None = strawberry.field(description="Where a query was given: the passage that was found.")
    start_seconds: int | None = strawberry.field(
        description="The second at which that passage begins; null where it is not of the transcript."
    )


async def _bodies(context: Context, skill: str | None, ids: list[UUID] | None) -> dict[UUID, str]:
    """The bodies of the published media in date that the reader sees, newest first."""
    version = (KnowledgeVersion.item_id == Item.id) & (KnowledgeVersion.number == Item.published_number)
    begun = or_(Item.effective_from.is_(None), Item.effective_from <= context.now)
    not_over = or_(Item.expires_at.is_(None), Item.expires_at > context.now)
    wanted = [Item.kind == KnowledgeKind.MEDIA, Item.state == KnowledgeState.PUBLISHED, begun, not_over]
    wanted += [rows_visible(Item, context.reader)]
    wanted += [KnowledgeVersion.body.contains(skill, autoescape=True)] if skill else []
    wanted += [Item.id.in_(ids)] if ids is not None else []
    rows = select(Item.id, KnowledgeVersion.body).join(KnowledgeVersion, version).where(*wanted)
    found = await context.rows(rows.order_by(KnowledgeVersion.published_at.desc(), Item.id))
    return {row["id"]: row["body"] for row in found}


def _read(body: str) -> Media | None:
    """The media of a body; None for an entry from before media were checked."""
    try:
        return read_media(body)
    except Invalid:
        return None


async def _shown(context: Context, id: UUID, media: Media, body: str, passage: str | None) -> ExemplarMedia:
    moments = [MediaMoment(start_seconds=one.start_seconds, text=one.text) for one in media.moments]
    item: Any = await load_one(context, shape_of(KnowledgeItem), id)
    return ExemplarMedia(
        item=item, type=media.type, url=media.url, attachment_id=strawberry.ID(media.attachment) if media.attachment else None,
        duration_seconds=media.duration_seconds, skill=media.skill, transcript=moments, passage=passage,
        start_seconds=started_at(body, passage) if passage else None,
    )  # fmt: skip


async def _found(context: Context, query: str) -> dict[UUID, str]:
    """The best passage of each of the media nearest to a query, best first."""
    if not query.strip() or len(query) > QUERY_LENGTH:
        words = Text(f"查询须为 1 到 {QUERY_LENGTH} 个字符", f"a query takes 1 to {QUERY_LENGTH} characters")
        raise Invalid(words, ("query",))
    if context.library is None:
        raise Unavailable(Text("知识检索此刻不可用", "knowledge search does not serve now"))
    found = await context.library.search(context.reader, query, Filter(kind=KnowledgeKind.MEDIA), MOST)
    return {hit.item_id: hit.passage for hit in found.hits}


@roots
class MediaQueries:
    """What is asked of exemplar media."""

    @computed("Published media that show a skill, newest first; with a query those in which it is said, nearest first.")
    async def exemplar_media(
        self,
        info: Info,
        skill: Annotated[str | None, strawberry.argument(description="The key of the skill.")] = strawberry.UNSET,
        query: Annotated[str | None, strawberry.argument(description="What is said in them.")] = strawberry.UNSET,
        first: Annotated[int, strawberry.argument(description="How many at most: 1 to 100.")] = 5,
    ) -> list[ExemplarMedia]:
        """Find them, and show where in each."""
        context, wanted = info.context, given(skill)
        check_size(context, first, "first")
        if wanted is not None and len(wanted) > SKILL_LENGTH:
            raise Invalid(
                Text(f"skill 不能超过 {SKILL_LENGTH} 个字符", f"skill takes {SKILL_LENGTH} characters"), ("skill",)
            )
        passages = await _found(context, given(query)) if given(query) is not None else None
        bodies = await _bodies(context, wanted, None if passages is None else list(passages))
        order = [id for id in (bodies if passages is None else passages) if id in bodies]
        read = [(id, media) for id in order if (media := _read(bodies[id])) and wanted in {None, media.skill}]
        return [
            await _shown(context, id, media, bodies[id], None if passages is None else passages[id])
            for id, media in read[:first]
        ]
