"""Knowledge entries and their versions in the schema, and the steps of their life."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry

import knowledge
from api.context import Info
from api.knowledge import guarding
from api.mutations import UserError, given, mutation, refusals, text
from api.people import User
from api.reads import (
    STAMPS,
    Connection,
    Node,
    column,
    deferred,
    equals,
    expect,
    holds,
    listing,
    node,
    part,
    roots,
    selected,
    to_one,
)
from api.scalars import enum
from domain.kernel import Language
from knowledge import CURATING, Content, Facets, KnowledgeKind, KnowledgeState

enum(
    KnowledgeKind,
    "What kind of content an entry holds.",
    TALK_TRACK="A proven wording for a situation.",
    OBJECTION_RESPONSE="An approved answer to a concern, with its proof.",
    CASE_STUDY="A similar customer's result.",
    BATTLECARD="How to meet one competitor.",
    PLAYBOOK="What to do in a stage or situation.",
    FAQ="A question and its answer.",
    POLICY="A rule of ours or of the law.",
    PRODUCT_SHEET="What a product is and does.",
    MEDIA="A picture, film or document.",
    ROI_MODEL="How a purchase pays back.",
)
enum(
    KnowledgeState,
    "Where an entry stands.",
    DRAFT="Being written.",
    IN_REVIEW="Handed in; a second person looks at it.",
    PUBLISHED="In use.",
    SUSPENDED="Taken out of use for now.",
    RETIRED="Taken out of use for good.",
)
TITLE_LENGTH, BODY_LENGTH = 300, 200_000


@node(
    knowledge.KnowledgeVersion,
    hidden=frozenset(
        {
            "item_id",
            "facets",
            "author_id",
            "submitted_at",
            "published_by_id",
            "created_at",
            "import_batch_id",
            "changes_requested_at",
            "body_hash",
        }
    ),
)
class KnowledgeVersion:
    """One stored text of an entry; a published one never changes."""

    number: int = column("Its number, from 1.")
    state: KnowledgeState = column("Where it stands.")
    title: str = column("Its title.")
    body: str = column("Its text, as Markdown.")
    published_at: datetime | None = column("When it was published.")
    let_through_at: datetime | None = column("When a reviewer let it through although it was marked, for curators.")
    display: str = deferred(
        ("body",), guarding.display, "Its text as HTML for a screen: it runs, loads and sends nothing."
    )
    removals: list[guarding.KnowledgeRemoval] = deferred(
        ("body",), guarding.removals, "What of its text `display` leaves out."
    )
    suspicions: list[guarding.KnowledgeSuspicion] = deferred(
        ("title", "body"), guarding.suspicions, "At what a reviewer should look: orders to the assistant, hidden text, damage; for curators."
    )  # fmt: skip


_VERSION = {"below": "item_id", "number": "number"}
_SHOWN = ("published_number", "draft_number")


@node(
    knowledge.KnowledgeItem,
    hidden=(STAMPS - {"version"})
    | {"regions", "effective_from", "external_source", "external_id", "review_at", "reminded_at"},
)
class KnowledgeItem(Node):
    """An entry of the curated knowledge, with its published version and a pending one."""

    kind: KnowledgeKind = column("What kind of content it holds.")
    language: Language = column("The language in which it is written.")
    owner: User | None = to_one("owner_id", "The colleague who keeps it.")
    expires_at: datetime | None = column("When it goes out of date.")
    source: str | None = column("Where it comes from.")
    licence: str | None = column("Under which licence it may be used.")
    version: int = column("Grows with every stored change, state included; what `expectedVersion` compares.")
    state: KnowledgeState = column("Where the published version stands; the draft, while nothing is published.")
    title: str = part(
        _SHOWN,
        "The title of the published version; of the draft, while nothing is published.",
        of="KnowledgeVersion",
        show="title",
        **_VERSION,
    )
    body: str = part(
        _SHOWN,
        "The text of the published version; of the draft, while nothing is published.",
        of="KnowledgeVersion",
        show="body",
        **_VERSION,
    )
    published: KnowledgeVersion | None = part(("published_number",), "The version in use.", **_VERSION)
    draft: KnowledgeVersion | None = part(
        ("draft_number",), "The pending version, for those who keep the knowledge.", **_VERSION
    )
    concerns: list[str] = column("The concerns that it meets, by key; none: any.")
    stages: list[str] = column("The stages for which it is made, by key; none: any.")
    roles: list[str] = column("The buying roles for which it is made, by key; none: any.")
    industries: list[str] = column("The industries for which it is made, by key; none: any.")
    competitors: list[str] = column("The competitors that it is about, by key; none: any.")
    shareable: bool = column("Whether customers' systems may have it while it is published.")


@strawberry.input(description="Which entries; all conditions hold together.")
class KnowledgeFilter:
    """Conditions on entries."""

    kind: KnowledgeKind | None = equals("kind", "What kind of content.")
    state: KnowledgeState | None = equals("state", "Where it stands.")
    language: Language | None = equals("language", "The language in which it is written.")
    concern: str | None = holds("concerns", "A concern that it names.")
    stage: str | None = holds("stages", "A stage that it names.")
    role: str | None = holds("roles", "A buying role that it names.")
    industry: str | None = holds("industries", "An industry that it names.")
    competitor: str | None = holds("competitors", "A competitor that it names.")


# ---- the life of an entry --------------------------------------------------------------------------------------------


@strawberry.input(description="An entry to start.")
class DraftKnowledgeItemInput:
    """What starting takes."""

    kind: KnowledgeKind = strawberry.field(description="What kind of content.")
    title: str = text("The title.", TITLE_LENGTH, required=True)
    body: str = text("The text, as Markdown.", BODY_LENGTH, required=True)
    language: Language = strawberry.field(description="The language in which it is written.")
    concerns: list[str] | None = text("The concerns that it meets, by key.", 100)
    stages: list[str] | None = text("The stages for which it is made, by key.", 100)
    roles: list[str] | None = text("The buying roles for which it is made, by key.", 100)
    industries: list[str] | None = text("The industries for which it is made, by key.", 100)
    competitors: list[str] | None = text("The competitors that it is about, by key.", 100)
    expires_at: datetime | None = strawberry.field(default=strawberry.UNSET, description="When it goes out of date.")
    source: str | None = text("Where it comes from.")
    licence: str | None = text("Under which licence it may be used.")


@strawberry.input(description="What to change in an entry; what is left out stays.")
class ReviseKnowledgeItemInput:
    """What revising takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    expected_version: int = strawberry.field(description="The `version` on which the change is made.")
    title: str | None = text("The title.", TITLE_LENGTH)
    body: str | None = text("The text, as Markdown.", BODY_LENGTH)
    concerns: list[str] | None = text("The concerns that it meets, by key.", 100)
    stages: list[str] | None = text("The stages for which it is made, by key.", 100)
    roles: list[str] | None = text("The buying roles for which it is made, by key.", 100)
    industries: list[str] | None = text("The industries for which it is made, by key.", 100)
    competitors: list[str] | None = text("The competitors that it is about, by key.", 100)
    expires_at: datetime | None = strawberry.field(default=strawberry.UNSET, description="When it goes out of date.")


@strawberry.input(description="A step in the life of an entry.")
class KnowledgeItemActionInput:
    """What a step takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")
    comment: str | None = text("Why.", 2000)


@strawberry.type(description="The entry as it is now, or why the step was not taken.")
class KnowledgeItemPayload:
    """The answer to every step."""

    item: KnowledgeItem | None = strawberry.field(default=None, description="The entry.")
    notices: list[guarding.KnowledgeNotice] = strawberry.field(
        default_factory=list, description="What the writer of the pending version should know."
    )
    errors: list[UserError] = refusals()


FACETS = ("concerns", "stages", "roles", "industries", "competitors")


async def _step(info: Info, input: KnowledgeItemActionInput, operation: Any) -> KnowledgeItemPayload:
    id = expect("KnowledgeItem", input.id, "id")
    async with info.context.open_uow() as uow:
        await operation(uow, id, input.expected_version, given(input.comment))
    return await _payload(info, id)


async def _payload(info: Info, id: UUID) -> KnowledgeItemPayload:
    found = await guarding.notices(info.context, id)
    return KnowledgeItemPayload(item=selected(info, KnowledgeItem, id), notices=found)


ActionInput = Annotated[KnowledgeItemActionInput, strawberry.argument(description="The entry and its version.")]


@roots
class EntryQueries:
    """The lists of entries."""

    knowledge_items: Connection[KnowledgeItem] = listing(
        "The entries that the reader sees, newest first.", filter=KnowledgeFilter
    )


@strawberry.type
class EntryMutations:
    """What is done to entries."""

    @mutation("Start an entry as a draft.", *CURATING)
    async def draft_knowledge_item(
        self, info: Info, input: Annotated[DraftKnowledgeItemInput, strawberry.argument(description="The entry.")]
    ) -> KnowledgeItemPayload | None:
        """Start it, and read it as the caller sees it."""
        facets = Facets(**{name: tuple(given(getattr(input, name)) or ()) for name in FACETS})
        content = Content(input.title, input.body, facets, given(input.expires_at))
        async with info.context.open_uow() as uow:
            item = await knowledge.draft(
                uow, kind=input.kind, language=input.language, content=content, source=given(input.source), licence=given(input.licence)
            )  # fmt: skip
        return await _payload(info, item.id)

    @mutation("Change an entry's draft, or start one beside the published version.", *CURATING)
    async def revise_knowledge_item(
        self, info: Info, input: Annotated[ReviseKnowledgeItemInput, strawberry.argument(description="The change.")]
    ) -> KnowledgeItemPayload | None:
        """Revise it, and read it as the caller sees it."""
        id = expect("KnowledgeItem", input.id, "id")
        change = {name: given(getattr(input, name)) for name in ("title", "body", "expires_at", *FACETS)}
        async with info.context.open_uow() as uow:
            await knowledge.revise(uow, id, input.expected_version, change)
        return await _payload(info, id)

    @mutation("Hand a draft in for review.", *CURATING)
    async def submit_knowledge_item(self, info: Info, input: ActionInput) -> KnowledgeItemPayload | None:
        """Submit it."""
        return await _step(info, input, knowledge.submit)

    @mutation("Publish what is in review; a second person does.", *CURATING)
    async def publish_knowledge_item(self, info: Info, input: ActionInput) -> KnowledgeItemPayload | None:
        """Publish it."""
        return await _step(info, input, knowledge.publish)

    @mutation("Take an entry out of use.", *CURATING)
    async def retire_knowledge_item(self, info: Info, input: ActionInput) -> KnowledgeItemPayload | None:
        """Retire it."""
        return await _step(info, input, knowledge.retire)
