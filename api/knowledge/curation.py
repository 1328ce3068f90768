"""Keeping the knowledge, in the schema: reviews, audiences, proposals, differences, and what was in use when."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import ColumnElement, and_, or_

import knowledge
from api.context import Info
from api.knowledge.entries import (
    BODY_LENGTH,
    TITLE_LENGTH,
    ActionInput,
    KnowledgeItem,
    KnowledgeItemPayload,
    KnowledgeLine,
    KnowledgeVersion,
    exchange,
    payload,
    step,
)
from api.knowledge.question_runs import PublicationChange
from api.mutations import UserError, given, mutation, refusals, text
from api.people import User
from api.reads import (
    STAMPS,
    Connection,
    Listing,
    Node,
    View,
    by,
    column,
    computed,
    equals,
    expect,
    id_of,
    listing,
    matching,
    names,
    node,
    roots,
    selected,
    shape_of,
    to_one,
)
from api.scalars import enum
from domain import people
from domain.kernel import Base, Invalid, Language, Role, Text, load
from knowledge import CURATING, Audience, Content, KnowledgeKind, ProposalState

enum(
    ProposalState,
    "What became of a proposal.",
    OPEN="Nobody has decided yet.",
    ACCEPTED="It became a draft.",
    REJECTED="It was not taken, and the decision says why.",
)
COMMENT_LENGTH = 5_000


@node(knowledge.KnowledgePeriod, order=by("-begun_at", "id"), hidden=frozenset())
class KnowledgePeriod(Node):
    """A time in which one version of an entry was in use."""

    item: KnowledgeItem | None = to_one("item_id", "The entry as it is now; null where the reader does not see it now.")
    version: KnowledgeVersion | None = to_one("version_id", "The version that was in use.")
    version_number: int = column("Its number.")
    begun_at: datetime = column("From when it was in use.")
    ended_at: datetime | None = column("Until when; null: still.")
    effective_from: datetime | None = column("From when it said that it holds.")
    expires_at: datetime | None = column("Until when it said that it holds.")


@node(knowledge.KnowledgeProposal, hidden=STAMPS - {"version", "created_at"})
class KnowledgeProposal(Node):
    """What somebody who does not keep the knowledge would have in it: a new entry, or other words for one."""

    version: int = column("Grows with every stored change; what `expectedVersion` compares.")
    created_at: datetime = column("When it was made.")
    item: KnowledgeItem | None = to_one("item_id", "The entry that is to say something else; null: a new one.")
    kind: KnowledgeKind = column("What kind of content.")
    language: Language = column("The language in which it is written.")
    title: str = column("The title.")
    body: str = column("The text, as Markdown.")
    reason: str | None = column("Why.")
    owner: User | None = to_one("owner_id", "Who proposes it.")
    state: ProposalState = column("What became of it.")
    decided_by: User | None = to_one("decided_by_id", "Who decided.")
    decided_at: datetime | None = column("When.")
    decision: str | None = column("With what words.")
    became: KnowledgeItem | None = to_one("became_id", "The entry whose draft it became.")


def _in_use(view: View, at: ColumnElement[datetime]) -> ColumnElement[bool]:
    begun, ended, begins, ends = (
        view.column(name) for name in ("begun_at", "ended_at", "effective_from", "expires_at")
    )
    held = and_(or_(begins.is_(None), begins <= at), or_(ends.is_(None), ends > at))
    return and_(begun <= at, or_(ended.is_(None), ended > at), held)


@strawberry.input(description="Of when, and of which entry.")
class KnowledgeAsOfFilter:
    """Conditions on the times in which versions were in use."""

    at: datetime | None = matching(_in_use, "In use at this instant, and in date then.", "begun_at")
    item: strawberry.ID | None = names("KnowledgeItem", "item_id", "The entry.")


@strawberry.input(description="Which proposals; all conditions hold together.")
class KnowledgeProposalFilter:
    """Conditions on proposals."""

    state: ProposalState | None = equals("state", "What became of it.")
    kind: KnowledgeKind | None = equals("kind", "What kind of content.")
    language: Language | None = equals("language", "The language in which it is written.")
    owner: strawberry.ID | None = names("User", "owner_id", "Who proposes it.")
    item: strawberry.ID | None = names("KnowledgeItem", "item_id", "The entry that is to say something else.")


# ---- inputs ----------------------------------------------------------------------------------------------------------


@strawberry.input(description="A step in the life of an entry that needs words.")
class KnowledgeItemWordsInput:
    """What such a step takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")
    comment: str = text("Why, or what is to be changed.", COMMENT_LENGTH, required=True)


@strawberry.input(description="A word on a version.")
class CommentOnKnowledgeItemInput:
    """What a comment takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    version_number: int = strawberry.field(description="Of which version it speaks.")
    comment: str = text("The words.", COMMENT_LENGTH, required=True)


@strawberry.input(description="An earlier version that is to be said again.")
class RepublishKnowledgeItemInput:
    """What that takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")
    version_number: int = strawberry.field(description="The version whose words the new draft begins with.")


@strawberry.input(description="Whom an entry is addressed to: all that is given holds together.")
class KnowledgeAudienceInput:
    """One audience."""

    role: Role | None = strawberry.field(default=None, description="A role.")
    territory_id: strawberry.ID | None = strawberry.field(default=None, description="A region, with all within it.")
    brand_id: strawberry.ID | None = strawberry.field(default=None, description="A brand.")


@strawberry.input(description="Who may see an entry.")
class AddressKnowledgeItemInput:
    """What addressing takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")
    audience: list[KnowledgeAudienceInput] = strawberry.field(
        description="Whom it is addressed to: who fits one of these. Everybody where there is none."
    )


@strawberry.input(description="Who keeps an entry from now on.")
class HandOverKnowledgeItemInput:
    """What that takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")
    owner_id: strawberry.ID = strawberry.field(description="The colleague.")


@strawberry.input(description="A new entry, or other words for one.")
class ProposeKnowledgeInput:
    """What a proposal takes."""

    item_id: strawberry.ID | None = strawberry.field(
        default=None, description="The entry that is to say something else; a new one without it."
    )
    kind: KnowledgeKind = strawberry.field(
        default=KnowledgeKind.TALK_TRACK, description="What kind of content; an entry keeps its own."
    )
    language: Language = strawberry.field(
        default=Language.ZH, description="The language in which it is written; an entry keeps its own."
    )
    title: str = text("The title.", TITLE_LENGTH, required=True)
    body: str = text("The text, as Markdown.", BODY_LENGTH, required=True)
    reason: str | None = text("Why.", COMMENT_LENGTH)


@strawberry.input(description="What becomes of a proposal.")
class DecideKnowledgeProposalInput:
    """What a decision takes."""

    id: strawberry.ID = strawberry.field(description="The proposal.")
    expected_version: int = strawberry.field(description="The `version` on which it is decided.")
    decision: str | None = text("With what words; a refusal needs some.", COMMENT_LENGTH)


@strawberry.type(description="The proposal as it is now, or why the step was not taken.")
class KnowledgeProposalPayload:
    """The answer to every step of a proposal."""

    proposal: KnowledgeProposal | None = strawberry.field(default=None, description="The proposal.")
    errors: list[UserError] = refusals()


Input = Annotated[KnowledgeItemWordsInput, strawberry.argument(description="The entry, its version and the words.")]
Decision = Annotated[DecideKnowledgeProposalInput, strawberry.argument(description="The proposal and the decision.")]
Operation = Callable[..., Awaitable[Any]]


async def _kept(
    info: Info, input: Any, operation: Operation, *given: Any, named: Iterable[tuple[type[Base], UUID | None]] = ()
) -> KnowledgeItemPayload:
    """Take a step; what it names besides the entry has to be there."""
    id = expect("KnowledgeItem", input.id, "id")
    async with info.context.open_uow() as uow:
        for model, other in named:
            if other is not None:
                await load(uow.session, uow.actor, model, other)
        await operation(uow, id, input.expected_version, *given)
    return await payload(info, id)


async def _decided(info: Info, input: DecideKnowledgeProposalInput, operation: Operation) -> KnowledgeProposalPayload:
    id = expect("KnowledgeProposal", input.id, "id")
    async with info.context.open_uow() as uow:
        await operation(uow, id, input.expected_version, given(input.decision))
    return KnowledgeProposalPayload(proposal=selected(info, KnowledgeProposal, id))


def _audience(one: KnowledgeAudienceInput) -> Audience:
    territory = one.territory_id and expect("Territory", one.territory_id, "audience")
    brand = one.brand_id and expect("Brand", one.brand_id, "audience")
    return Audience(one.role, territory or None, brand or None)


def _numbered(item: UUID, *numbers: int) -> Callable[[View], list[Any]]:
    return lambda view: [view.table.c.item_id == item, view.table.c.number.in_(numbers)]


@roots
class CurationQueries:
    """What those ask who keep the knowledge."""

    knowledge_proposals: Connection[KnowledgeProposal] = listing(
        "What was proposed: to those who keep the knowledge all of it, to others their own; newest first.",
        filter=KnowledgeProposalFilter,
    )

    knowledge_as_of: Connection[KnowledgePeriod] = listing(
        "The versions that were in use at an instant (`at`), of the entries that the reader sees now; without it every version with the time in which it was.",
        filter=KnowledgeAsOfFilter,
    )

    @computed("The lines by which two versions of an entry differ, in the order of the second.")
    async def knowledge_difference(
        self,
        info: Info,
        item: Annotated[strawberry.ID, strawberry.argument(description="The entry.")],
        old: Annotated[int, strawberry.argument(description="The number of the first version.")],
        new: Annotated[int, strawberry.argument(description="The number of the second.")],
    ) -> list[KnowledgeLine]:
        """Compare them as the reader sees them."""
        context, id = info.context, id_of("KnowledgeItem", item)
        if not context.reader.has(*knowledge.WATCHING):
            return []
        shape = shape_of(KnowledgeVersion)
        rows: Any = (
            None
            if id is None
            else await Listing(shape, shape.order, None, _numbered(id, old, new)).read(context, [None])
        )
        found = {version.number: version for _, version in (rows or {}).get(None, [])}
        if not {old, new} <= found.keys():
            raise Invalid(Text("没有这个版本", "there is no such version"), ("item",))
        lines = knowledge.difference(found[old].body, found[new].body)
        return [KnowledgeLine(change=change, text=line) for change, line in lines]


@strawberry.type
class CurationMutations:
    """What those do who keep the knowledge, and what others propose."""

    @mutation("Send what is in review back, with what is to be changed.", *CURATING)
    async def request_changes_to_knowledge_item(self, info: Info, input: Input) -> KnowledgeItemPayload | None:
        """Send it back."""
        return await step(info, input, knowledge.request_changes)

    @mutation("Say something of a version; nothing else changes.", *CURATING)
    async def comment_on_knowledge_item(
        self, info: Info, input: Annotated[CommentOnKnowledgeItemInput, strawberry.argument(description="The words.")]
    ) -> KnowledgeItemPayload | None:
        """Keep the words."""
        id = expect("KnowledgeItem", input.id, "id")
        async with info.context.open_uow() as uow:
            await knowledge.comment_on(uow, id, input.version_number, input.comment)
        return await payload(info, id)

    @mutation("Take the published version out of use for now; it is not found from this moment on.", *CURATING)
    async def suspend_knowledge_item(self, info: Info, input: Input) -> KnowledgeItemPayload | None:
        """Suspend it."""
        return await exchange(info, input, knowledge.suspend, PublicationChange.WITHDRAW)

    @mutation("Take a suspended version into use again.", *CURATING)
    async def resume_knowledge_item(self, info: Info, input: ActionInput) -> KnowledgeItemPayload | None:
        """Resume it."""
        return await step(info, input, knowledge.resume)

    @mutation("Begin a draft with the words of an earlier version.", *CURATING)
    async def republish_knowledge_item(
        self, info: Info, input: Annotated[RepublishKnowledgeItemInput, strawberry.argument(description="The version.")]
    ) -> KnowledgeItemPayload | None:
        """Begin it."""
        return await _kept(info, input, knowledge.republish, input.version_number)

    @mutation("Say who may see an entry.", *CURATING)
    async def address_knowledge_item(
        self, info: Info, input: Annotated[AddressKnowledgeItemInput, strawberry.argument(description="The audience.")]
    ) -> KnowledgeItemPayload | None:
        """Address it."""
        audience = [_audience(one) for one in input.audience]
        territories = [(people.Territory, one.territory_id) for one in audience]
        brands = [(people.Brand, one.brand_id) for one in audience]
        return await _kept(info, input, knowledge.address, audience, named=[*territories, *brands])

    @mutation("Have a colleague keep an entry from now on.", *CURATING)
    async def hand_over_knowledge_item(
        self,
        info: Info,
        input: Annotated[HandOverKnowledgeItemInput, strawberry.argument(description="The colleague.")],
    ) -> KnowledgeItemPayload | None:
        """Hand it over."""
        owner = expect("User", input.owner_id, "ownerId")
        return await _kept(info, input, knowledge.hand_over, owner, named=[(people.User, owner)])

    @mutation("Propose a new entry, or other words for one; those who keep the knowledge decide.", *Role)
    async def propose_knowledge(
        self, info: Info, input: Annotated[ProposeKnowledgeInput, strawberry.argument(description="The proposal.")]
    ) -> KnowledgeProposalPayload | None:
        """Keep it until somebody decides."""
        item_id = None if input.item_id is None else expect("KnowledgeItem", input.item_id, "itemId")
        async with info.context.open_uow() as uow:
            proposal = await knowledge.propose(
                uow, item_id=item_id, kind=input.kind, language=input.language, content=Content(input.title, input.body), reason=given(input.reason)
            )  # fmt: skip
        return KnowledgeProposalPayload(proposal=selected(info, KnowledgeProposal, proposal.id))

    @mutation("Make a draft of a proposal; it goes to review as every draft does.", *CURATING)
    async def accept_knowledge_proposal(self, info: Info, input: Decision) -> KnowledgeProposalPayload | None:
        """Accept it."""
        return await _decided(info, input, knowledge.accept)

    @mutation("Leave a proposal as it is, and tell its proposer why.", *CURATING)
    async def reject_knowledge_proposal(self, info: Info, input: Decision) -> KnowledgeProposalPayload | None:
        """Reject it."""
        return await _decided(info, input, knowledge.reject)
