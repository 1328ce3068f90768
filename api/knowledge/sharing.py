"""Sharing with customers' systems in the schema: what is shared, and what those systems asked for."""

from datetime import datetime
from typing import Annotated

import strawberry

import knowledge
from api.context import Info
from api.knowledge.entries import KnowledgeItem, KnowledgeItemPayload
from api.mutations import given, mutation, text
from api.people import ServiceKey
from api.reads import (
    Connection,
    Node,
    by,
    column,
    equals,
    expect,
    listing,
    names,
    node,
    roots,
    selected,
    since,
    to_one,
    until,
)
from knowledge import CURATING


@node(knowledge.ContentRequest, order=by("-at", "-id"))
class ContentRequest(Node):
    """One request of a customer's own system to the content API; it is kept for half a year."""

    key: ServiceKey | None = to_one("key_id", "The key with which it came.")
    path: str = column("What was asked, without the query.")
    item: KnowledgeItem | None = to_one("item_id", "The entry of which it was.")
    status: int = column("The HTTP status of the answer.")
    at: datetime = column("When.")


@strawberry.input(description="Which requests; all conditions hold together.")
class ContentRequestFilter:
    """Conditions on requests."""

    key_id: strawberry.ID | None = names("ServiceKey", "key_id", "The key with which they came.")
    item_id: strawberry.ID | None = names("KnowledgeItem", "item_id", "The entry of which they were.")
    status: int | None = equals("status", "The HTTP status of the answer.")
    since: datetime | None = since("at", "At this instant or later.")
    before: datetime | None = until("at", "Before this instant.")


@strawberry.input(description="An entry that customers' systems may have, or may have no longer.")
class ShareKnowledgeItemInput:
    """What sharing takes."""

    id: strawberry.ID = strawberry.field(description="The entry.")
    expected_version: int = strawberry.field(description="The `version` on which the decision is made.")
    shareable: bool = strawberry.field(description="Whether they may have it.")
    comment: str | None = text("Why.", 2000)


@roots
class SharingQueries:
    """The roots of what is shared."""

    content_requests: Connection[ContentRequest] = listing(
        "What customers' systems asked of the content API, for administrators and auditors: the newest first; `totalCount` counts them.",
        filter=ContentRequestFilter,
    )


@strawberry.type
class SharingMutations:
    """What is done about sharing."""

    @mutation("Let customers' own systems have a published entry, or have it no longer.", *CURATING)
    async def share_knowledge_item(
        self, info: Info, input: Annotated[ShareKnowledgeItemInput, strawberry.argument(description="The decision.")]
    ) -> KnowledgeItemPayload | None:
        """Share it or not, and read it as the caller sees it."""
        id = expect("KnowledgeItem", input.id, "id")
        async with info.context.open_uow() as uow:
            await knowledge.share(
                uow, id, input.expected_version, shareable=input.shareable, comment=given(input.comment)
            )
        return KnowledgeItemPayload(item=selected(info, KnowledgeItem, id))
