"""Knowledge in the schema: entries and their versions, search, and the life of an entry."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

import strawberry

import knowledge
from api.context import Context, Info
from api.mutations import UserError, given, mutation, refusals, text
from api.people import User
from api.reads import (
    STAMPS,
    Connection,
    Node,
    check_size,
    column,
    computed,
    equals,
    expect,
    holds,
    listing,
    load_one,
    node,
    part,
    roots,
    selected,
    shape_of,
    to_one,
)
from api.scalars import enum
from domain.kernel import Invalid, Language, Text, Unavailable
from knowledge import CURATING, Content, Facets, Filter, Hit, KnowledgeKind, KnowledgeState

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
TITLE_LENGTH, BODY_LENGTH, QUERY_LENGTH = 300, 200_000, 2000


@node(
    knowledge.KnowledgeVersion,
    hidden=frozenset(
        {"item_id", "facets", "author_id", "submitted_at", "published_by_id", "created_at", "import_batch_id"}
    ),
)
class KnowledgeVersion:
    """One stored text of an entry; a published one never changes."""

    number: int = column("Its number, from 1.")
    state: KnowledgeState = column("Where it stands.")
    title: str = column("Its title.")
    body: str = column("Its text, as Markdown.")
    published_at: datetime | None = column("When it was published.")


_VERSION = {"below": "item_id", "number": "number"}
_SHOWN = ("published_number", "draft_number")


@node(
    knowledge.KnowledgeItem,
    hidden=(STAMPS - {"version"}) | {"regions", "effective_from", "external_source", "external_id"},
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


# ---- search ----------------------------------------------------------------------------------------------------------


@strawberry.type(description="What one method said of a passage.")
class PassageScore:
    """One line of the explanation."""

    method: str = strawberry.field(description="The method.")
    rank: int | None = strawberry.field(description="The rank in its list, from 1; null where it is not in it.")
    score: float = strawberry.field(description="The method's own score.")
    weight: float = strawberry.field(description="What it weighs in the sum.")


@strawberry.type(description="An entry that was found, with its best passage.")
class KnowledgeHit:
    """One answer of a search."""

    item: KnowledgeItem = strawberry.field(description="The entry.")
    version_number: int = strawberry.field(description="The version that was found.")
    passage: str = strawberry.field(description="The best passage.")
    score: float = strawberry.field(description="The fused score, 0 to 1.")
    explanation: list[PassageScore] = strawberry.field(description="What each method said.")


@strawberry.type(description="What a search found, and how.")
class KnowledgeSearch:
    """The answer to a search."""

    hits: list[KnowledgeHit] = strawberry.field(description="The entries, best first.")
    methods: list[str] = strawberry.field(description="The methods that served.")
    degraded: str | None = strawberry.field(description="Why not every method served; null when all did.")


def _filter(filter: KnowledgeFilter | None) -> Filter:
    names = ("kind", "language", "concern", "stage", "role", "industry", "competitor")
    return Filter(**{name: given(getattr(filter, name)) for name in names}) if filter else Filter()


async def _hits(context: Context, hits: tuple[Hit, ...]) -> list[KnowledgeHit]:
    items = await asyncio.gather(*(load_one(context, shape_of(KnowledgeItem), hit.item_id) for hit in hits))
    return [
        KnowledgeHit(
            item=item, version_number=hit.version, passage=hit.passage, score=hit.score, explanation=cast("list[PassageScore]", list(hit.explanation)),
        )
        for item, hit in zip(items, hits, strict=True) if item is not None
    ]  # fmt: skip


def _check_query(query: str) -> None:
    if not query.strip():
        raise Invalid(Text("查询不能为空", "the query cannot be empty"), ("query",))
    if len(query) > QUERY_LENGTH:
        words = Text(f"查询不能超过 {QUERY_LENGTH} 个字符", f"a query takes at most {QUERY_LENGTH} characters")
        raise Invalid(words, ("query",))


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
    errors: list[UserError] = refusals()


FACETS = ("concerns", "stages", "roles", "industries", "competitors")


async def _step(info: Info, input: KnowledgeItemActionInput, operation: Any) -> KnowledgeItemPayload:
    id = expect("KnowledgeItem", input.id, "id")
    async with info.context.open_uow() as uow:
        await operation(uow, id, input.expected_version, given(input.comment))
    return await _payload(info, id)


async def _payload(info: Info, id: UUID) -> KnowledgeItemPayload:
    return KnowledgeItemPayload(item=selected(info, KnowledgeItem, id))


ActionInput = Annotated[KnowledgeItemActionInput, strawberry.argument(description="The entry and its version.")]


@roots
class KnowledgeQueries:
    """The roots of this room."""

    knowledge_items: Connection[KnowledgeItem] = listing(
        "The entries that the reader sees, newest first.", filter=KnowledgeFilter
    )

    @computed(
        "The published entries nearest to a query in words and meaning that the reader sees and that are in date."
    )
    async def search_knowledge(
        self,
        info: Info,
        query: Annotated[str, strawberry.argument(description="What is looked for, in either language.")],
        filter: Annotated[KnowledgeFilter | None, strawberry.argument(description="Which entries.")] = strawberry.UNSET,
        first: Annotated[int, strawberry.argument(description="How many at most: 1 to 100.")] = 5,
    ) -> KnowledgeSearch:
        """Search, and load what was found as the reader sees it."""
        context = info.context
        check_size(info.context, first, "first")
        _check_query(query)
        if context.library is None:
            raise Unavailable(Text("知识检索此刻不可用", "knowledge search does not serve now"))
        found = await context.library.search(context.reader, query, _filter(filter), first)
        never = filter and given(filter.state) not in {None, KnowledgeState.PUBLISHED}
        hits = [] if never else await _hits(context, found.hits)
        return KnowledgeSearch(
            hits=hits,
            methods=list(found.methods),
            degraded=found.degraded.words(context.language) if found.degraded else None,
        )


@strawberry.type
class KnowledgeMutations:
    """The mutations of this room."""

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
