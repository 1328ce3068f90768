"""Knowledge entries and their versions in the schema, and the steps of their life."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import ColumnElement, exists, select

import knowledge
from api.context import Context, Info
from api.knowledge import guarding
from api.knowledge.question_runs import PublicationChange, broken_by, note_broken
from api.mutations import UserError, changes, given, mutation, refusals, text
from api.people import Brand, Territory, User
from api.reads import (
    SHAPES,
    STAMPS,
    Connection,
    Node,
    View,
    by,
    column,
    deferred,
    equals,
    expect,
    holds,
    listing,
    load_one,
    many,
    matching,
    names,
    node,
    part,
    roots,
    selected,
    to_one,
    until,
)
from api.scalars import enum
from domain.kernel import Language, Role, StaleVersion, rows_visible
from knowledge import CURATING, Content, Facets, KnowledgeKind, KnowledgeState, LineChange, ReviewStep, difference

if TYPE_CHECKING:
    from api.knowledge.questions import RetrievalTest

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
enum(
    LineChange,
    "What became of a line between two texts.",
    SAME="It is in both.",
    ADDED="It is in the second alone.",
    REMOVED="It is in the first alone.",
)
enum(
    ReviewStep,
    "What was done to a version on its way.",
    DRAFTED="Begun.",
    SUBMITTED="Handed in for review.",
    MARKED="Something in it may be meant to steer an answer: whoever publishes it says why.",
    COMMENTED="Spoken of.",
    CHANGES_REQUESTED="Sent back with what is to be changed.",
    PUBLISHED="Let out by a second person.",
    SUSPENDED="Taken out of use for now.",
    RESUMED="Taken into use again.",
    RETIRED="Taken out of use for good.",
)
TITLE_LENGTH, BODY_LENGTH = 300, 200_000
BrokenTests = list[Annotated["RetrievalTest", strawberry.lazy("api.knowledge.questions")]] | None


@node(
    knowledge.KnowledgeVersion,
    order=by("-number"),
    hidden=frozenset({"item_id", "facets", "import_batch_id", "body_hash"}),
)
class KnowledgeVersion:
    """One stored text of an entry; a published one never changes."""

    number: int = column("Its number, from 1.")
    state: KnowledgeState = column("Where it stands.")
    title: str = column("Its title.")
    body: str = column("Its text, as Markdown.")
    created_at: datetime = column("When it was begun.")
    submitted_at: datetime | None = column("When it was handed in; for those who keep the knowledge.")
    changes_requested_at: datetime | None = column(
        "When it was sent back with what is to be changed, if it still is; for those who keep the knowledge."
    )
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
    author: User | None = to_one("author_id", "Who wrote it; for those who keep the knowledge.")
    published_by: User | None = to_one("published_by_id", "Who let it out; for those who keep the knowledge.")


@node(knowledge.KnowledgeReview, order=by("at", "id"), hidden=frozenset({"item_id"}))
class KnowledgeReviewStep:
    """One step of a version on its way, which never changes."""

    version_number: int = column("Of which version.")
    step: ReviewStep = column("What was done.")
    by: User | None = to_one("by_id", "Who did it.")
    at: datetime = column("When.")
    comment: str | None = column("With what words.")


@node(knowledge.KnowledgeAudience, order=by("id"), hidden=frozenset({"item_id"}))
class KnowledgeAudience:
    """Whom an entry is addressed to: all that it names holds together, and what is null holds for all."""

    role: Role | None = column("The role.")
    territory: Territory | None = to_one("territory_id", "The region, with all within it.")
    brand: Brand | None = to_one("brand_id", "The brand.")


_VERSION = {"below": "item_id", "number": "number"}
_SHOWN = ("published_number", "draft_number")


@node(knowledge.KnowledgeItem, hidden=(STAMPS - {"version"}) | {"external_source", "external_id"})
class KnowledgeItem(Node):
    """An entry of the curated knowledge, with its published version and a pending one."""

    kind: KnowledgeKind = column("What kind of content it holds.")
    language: Language = column("The language in which it is written.")
    owner: User | None = to_one("owner_id", "The colleague who keeps it.")
    effective_from: datetime | None = column("From when it holds; null: since it was published.")
    expires_at: datetime | None = column("When it goes out of date.")
    review_at: datetime | None = column("When it is to be looked at again; for those who keep the knowledge.")
    reminded_at: datetime | None = column("When its owner was last reminded of that; for those who keep the knowledge.")
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
    versions: list[KnowledgeVersion] = many(
        "item_id", "Every version that there was, the newest first; for those who keep the knowledge."
    )
    history: list[KnowledgeReviewStep] = many(
        "item_id", "What was done to its versions, and with what words; for those who keep the knowledge."
    )
    audience: list[KnowledgeAudience] = many(
        "item_id", "Whom it is addressed to; everybody where there is none. For those who keep the knowledge."
    )
    concerns: list[str] = column("The concerns that it meets, by key; none: any.")
    stages: list[str] = column("The stages for which it is made, by key; none: any.")
    roles: list[str] = column("The buying roles for which it is made, by key; none: any.")
    industries: list[str] = column("The industries for which it is made, by key; none: any.")
    competitors: list[str] = column("The competitors that it is about, by key; none: any.")
    regions: list[str] = column("The customers' regions for which it is made, by key; none: any.")
    shareable: bool = column("Whether customers' systems may have it while it is published.")


def _pending(view: View, state: KnowledgeState) -> ColumnElement[bool]:
    version, draft = knowledge.KnowledgeVersion, view.column("draft_number")
    same = (version.item_id == view.table.c.id) & (version.number == draft)
    return exists(select(1).where(same, version.state == state, rows_visible(version, view.actor)))


def _reminded(view: View, wanted: bool) -> ColumnElement[bool]:
    at = view.column("reminded_at")
    return at.is_not(None) if wanted else at.is_(None)


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
    region: str | None = holds("regions", "A customers' region that it names.")
    owner: strawberry.ID | None = names("User", "owner_id", "The colleague who keeps it.")
    review_before: datetime | None = until("review_at", "To be looked at again before this instant.")
    expires_before: datetime | None = until("expires_at", "Out of date before this instant.")
    reminded: bool | None = matching(
        _reminded, "True: its owner was reminded that it expires or is to be looked at again; false: not."
    )
    draft_state: KnowledgeState | None = matching(
        _pending, "Where its pending version stands: `IN_REVIEW` is the review queue."
    )


# ---- the life of an entry --------------------------------------------------------------------------------------------


def _date(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


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
    regions: list[str] | None = text("The customers' regions for which it is made, by key.", 100)
    effective_from: datetime | None = _date("From when it holds; at once without it.")
    expires_at: datetime | None = _date("When it goes out of date.")
    review_at: datetime | None = _date("When it is to be looked at again; without it after a time that its kind has.")
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
    regions: list[str] | None = text("The customers' regions for which it is made, by key.", 100)
    effective_from: datetime | None = _date("From when it holds; null: at once.")
    expires_at: datetime | None = _date("When it goes out of date; null: never.")
    review_at: datetime | None = _date("When it is to be looked at again; null: after a time that its kind has.")


@strawberry.input(description="A step in the life of an entry.")
class KnowledgeItemActionInput:
    """What a step takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")
    comment: str | None = text("Why.", 2000)


@strawberry.type(description="A line of two texts that are compared.")
class KnowledgeLine:
    """One line of a difference."""

    change: LineChange = strawberry.field(description="What became of it.")
    text: str = strawberry.field(description="The line.")


@strawberry.type(description="The entry as it is now, or why the step was not taken.")
class KnowledgeItemPayload:
    """The answer to every step."""

    item: KnowledgeItem | None = strawberry.field(default=None, description="The entry.")
    notices: list[guarding.KnowledgeNotice] = strawberry.field(
        default_factory=list, description="What the writer of the pending version should know."
    )
    difference: list[KnowledgeLine] = strawberry.field(
        default_factory=list,
        description="Where somebody else was faster: from the text as it is now to the text that was not taken.",
    )
    broken_tests: BrokenTests = strawberry.field(
        default=None,
        description="After publishing or withdrawing: the retrieval tests that passed before and fail since; null where that was not found out.",
    )
    errors: list[UserError] = refusals()


FACETS = ("concerns", "stages", "roles", "industries", "competitors", "regions")
DATES = ("effective_from", "expires_at", "review_at")


async def step(info: Info, input: Any, operation: Any) -> KnowledgeItemPayload:
    """Take a step on an entry with a comment, and read it as the caller sees it."""
    id = expect("KnowledgeItem", input.id, "id")
    async with info.context.open_uow() as uow:
        await operation(uow, id, input.expected_version, given(input.comment))
    return await payload(info, id)


async def exchange(info: Info, input: Any, operation: Any, change: PublicationChange) -> KnowledgeItemPayload:
    """Take a step that changes what may be found, and say which retrieval tests it breaks: to the caller and in the ledger."""
    id = expect("KnowledgeItem", input.id, "id")
    broken = await broken_by(info.context, id, change)
    async with info.context.open_uow() as uow:
        await operation(uow, id, input.expected_version, given(input.comment))
        note_broken(uow, id, broken)
    done = await payload(info, id)
    done.broken_tests = await shown_tests(info.context, broken)
    return done


async def shown_tests(context: Context, ids: Sequence[UUID] | None) -> Any:
    """Retrieval tests as the reader sees them; None for None."""
    if ids is None:
        return None
    found = [await load_one(context, SHAPES["RetrievalTest"], id) for id in ids]
    return [test for test in found if test is not None]


async def payload(info: Info, id: UUID) -> KnowledgeItemPayload:
    """The entry as the caller sees it now, with what its writer should know."""
    found = await guarding.notices(info.context, id)
    return KnowledgeItemPayload(item=selected(info, KnowledgeItem, id), notices=found)


async def _overtaken(info: Info, id: UUID, body: str | None, error: StaleVersion) -> KnowledgeItemPayload:
    """The entry as somebody else left it, and what of the text that was not taken differs from it."""
    context = info.context
    async with context.open_uow() as uow:
        now = await knowledge.present_body(uow, id)
    lines = [] if body is None else [KnowledgeLine(change=change, text=line) for change, line in difference(now, body)]
    refusal = UserError(path=list(error.path), code=error.code, message=error.text.words(context.language))
    return KnowledgeItemPayload(item=selected(info, KnowledgeItem, id), difference=lines, errors=[refusal])


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
        content = Content(input.title, input.body, facets, **{name: given(getattr(input, name)) for name in DATES})
        async with info.context.open_uow() as uow:
            item = await knowledge.draft(
                uow, kind=input.kind, language=input.language, content=content, source=given(input.source), licence=given(input.licence)
            )  # fmt: skip
        return await payload(info, item.id)

    @mutation("Change an entry's draft, or start one beside the published version.", *CURATING)
    async def revise_knowledge_item(
        self, info: Info, input: Annotated[ReviseKnowledgeItemInput, strawberry.argument(description="The change.")]
    ) -> KnowledgeItemPayload | None:
        """Revise it, and read it as the caller sees it."""
        id = expect("KnowledgeItem", input.id, "id")
        change = changes(input, "title", "body", *DATES, *FACETS)
        try:
            async with info.context.open_uow() as uow:
                await knowledge.revise(uow, id, input.expected_version, change)
        except StaleVersion as error:
            return await _overtaken(info, id, given(input.body), error)
        return await payload(info, id)

    @mutation("Hand a draft in for review.", *CURATING)
    async def submit_knowledge_item(self, info: Info, input: ActionInput) -> KnowledgeItemPayload | None:
        """Submit it."""
        return await step(info, input, knowledge.submit)

    @mutation("Publish what is in review; a second person does.", *CURATING)
    async def publish_knowledge_item(self, info: Info, input: ActionInput) -> KnowledgeItemPayload | None:
        """Publish it."""
        return await exchange(info, input, knowledge.publish, PublicationChange.PUBLISH)

    @mutation("Take an entry out of use.", *CURATING)
    async def retire_knowledge_item(self, info: Info, input: ActionInput) -> KnowledgeItemPayload | None:
        """Retire it."""
        return await exchange(info, input, knowledge.retire, PublicationChange.WITHDRAW)
