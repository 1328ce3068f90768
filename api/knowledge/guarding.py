"""What a version may not show or say, in the schema: what a screen gets of it, what is suspected, and notices to its writer."""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

import strawberry
from sqlalchemy import select

from api.context import Context
from api.reads import global_id
from api.scalars import enum
from domain.kernel import Language, Text, rows_visible
from knowledge import KnowledgeItem, KnowledgeVersion, guarding
from knowledge.hygiene import Removal, Suspicion, displayed

MARKED = Text(
    "此版本会被标记，发布人须写明放行理由：{}", "this version is marked, and whoever publishes it says why: {}"
)
DAMAGED = Text("请检查：{}", "please check: {}")

enum(
    Removal,
    "What was taken out of a body before it is shown.",
    SCRIPT="A script.",
    STYLE="A style.",
    EVENT_HANDLER="What runs at a click or the like.",
    FRAME="A page in the page.",
    FORM="A form.",
    IMAGE="A picture, which would call out.",
    MEDIA="Sound or film.",
    LINK="The address of a link that leads nowhere good.",
    COMMENT="A comment that readers do not see.",
    UNSEEN="Characters that nobody sees.",
    MARKUP="The layout: too intricate, and shown as plain text.",
    REST="The rest of a body too long to show.",
)
enum(
    Suspicion,
    "What a finding in a version is of: an order to the assistant, something hidden or active, or damage.",
    OVERRIDE="Tells the assistant to drop or change its rules.",
    ROLE="Gives the assistant another role.",
    ADDRESS="Tells the assistant what to answer.",
    DISCLOSURE="Asks to reveal or send out what is not to leave.",
    TOOL_CALL="Marks of conversation roles, or calls of tools.",
    HIDDEN="Text that a reader does not see.",
    DISGUISED="Text that is encoded or disguised.",
    ACTIVE="Scripts.",
    MOJIBAKE="Text read in a wrong encoding.",
    CONTROL="Control characters.",
    EMPTY="Nothing to read.",
    HUGE="More than an entry holds.",
    LONG_LINE="A line without an end.",
    DUPLICATE="A paragraph that is there twice.",
)


@strawberry.type(description="One kind of thing that a body holds and a screen does not get.")
class KnowledgeRemoval:
    """What was taken out."""

    kind: Removal = strawberry.field(description="What.")
    message: str = strawberry.field(description="What, in the reader's language.")
    count: int = strawberry.field(description="How many of it.")


@strawberry.type(description="One stretch of a version at which a reviewer should look.")
class KnowledgeSuspicion:
    """One finding."""

    kind: Suspicion = strawberry.field(description="What it looks like.")
    message: str = strawberry.field(description="What it looks like, in the reader's language.")
    field: str = strawberry.field(description="Where it stands: `title` or `body`.")
    start: int = strawberry.field(description="The place of its first character, from 0, in Unicode characters.")
    end: int = strawberry.field(description="The place behind its last one.")
    words: str = strawberry.field(description="What stands there.")
    steering: bool = strawberry.field(
        description="Whether it may be meant to steer an answer: whoever publishes the version says why."
    )


class KnowledgeNoticeCode(StrEnum):
    """What a notice is of."""

    SAME_CONTENT = "SAME_CONTENT"
    MARKED_FOR_REVIEW = "MARKED_FOR_REVIEW"
    DAMAGED = "DAMAGED"


enum(
    KnowledgeNoticeCode,
    "What a notice is of; one that clients do not know counts as other.",
    SAME_CONTENT="An entry in use says the same.",
    MARKED_FOR_REVIEW="Something in the version may be meant to steer an answer: a reviewer says why it is let through.",
    DAMAGED="Something in the version is damaged, twice there or too long.",
)


@strawberry.type(description="What a writer should know of a change that was taken all the same.")
class KnowledgeNotice:
    """One notice."""

    code: KnowledgeNoticeCode = strawberry.field(description="What clients switch on.")
    message: str = strawberry.field(description="What it is, in the reader's language.")
    item_ids: list[strawberry.ID] = strawberry.field(description="The other entries that it is about.")


def display(_language: Language, body: str) -> str:
    """The body as a screen may show it."""
    return displayed(body).html


def removals(language: Language, body: str) -> list[KnowledgeRemoval]:
    """What of the body a screen does not get."""
    found = displayed(body).removed
    return [KnowledgeRemoval(kind=each.kind, message=each.words.words(language), count=each.count) for each in found]


def suspicions(language: Language, title: str, body: str) -> list[KnowledgeSuspicion]:
    """At what of a version a reviewer should look."""
    return [
        KnowledgeSuspicion(
            kind=each.finding.kind, message=each.finding.words.words(language), field=each.field, start=each.finding.start, end=each.finding.end,
            words=each.words, steering=each.finding.steering,
        )
        for each in guarding.suspected(title, body)
    ]  # fmt: skip


async def notices(context: Context, item_id: UUID) -> list[KnowledgeNotice]:
    """What the writer of an entry's pending version should know; nothing where none is pending."""
    of_item = (KnowledgeVersion.item_id == KnowledgeItem.id) & (KnowledgeVersion.number == KnowledgeItem.draft_number)
    pending = select(KnowledgeVersion.title, KnowledgeVersion.body).join(KnowledgeItem, of_item)
    async with context.database.read(context.reader) as connection:
        found = (
            await connection.execute(
                pending.where(KnowledgeItem.id == item_id, rows_visible(KnowledgeItem, context.reader))
            )
        ).first()
        same = [] if found is None else await guarding.same_published(connection, item_id, found.body)
    if found is None:
        return []
    given = [_same(context.language, same)] if same else []
    looked = guarding.suspected(found.title, found.body)
    for code, words, steers in (
        (KnowledgeNoticeCode.MARKED_FOR_REVIEW, MARKED, True), (KnowledgeNoticeCode.DAMAGED, DAMAGED, False),
    ):  # fmt: skip
        if of_kind := [each for each in looked if each.finding.steering is steers]:
            names = guarding.named(of_kind)
            message = Text(words.zh.format(names.zh), words.en.format(names.en)).words(context.language)
            given.append(KnowledgeNotice(code=code, message=message, item_ids=[]))
    return given


def _same(language: Language, same: Sequence[guarding.Same]) -> KnowledgeNotice:
    titles = Text("、".join(f"“{each.title}”" for each in same), ", ".join(f"“{each.title}”" for each in same))
    words = Text(f"已有内容相同的已发布条目：{titles.zh}", f"entries in use say the same: {titles.en}")
    ids = [strawberry.ID(global_id("KnowledgeItem", each.id)) for each in same]
    return KnowledgeNotice(code=KnowledgeNoticeCode.SAME_CONTENT, message=words.words(language), item_ids=ids)
