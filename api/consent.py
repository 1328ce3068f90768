"""Consent in the schema: decisions channel by channel, receipts, and what people said."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from api.context import Context, Info
from api.mutations import UserError, given, mutation, refusals, text
from api.reads import SHAPES, Node, by, column, expect, localized, node, selected
from api.scalars import enum
from domain import consent
from domain.accounts import Channel
from domain.consent import ConsentDecision, ConsentStatus, TrafficLight
from domain.kernel import SYSTEM, Role

if TYPE_CHECKING:
    from api.accounts import Contact

enum(
    Channel,
    "A way to reach a person.",
    EMAIL="E-mail.",
    PHONE="A telephone call.",
    WECHAT="WeChat.",
    SMS="A text message.",
    APP="A message in an app.",
    IN_PERSON="A visit.",
    MAIL="A letter.",
)
enum(
    ConsentDecision,
    "Whether a person may be contacted.",
    ALLOW="Yes, on the channel asked for.",
    ALLOW_VIA="Yes, on another channel.",
    DENY="No.",
    UNKNOWN="Nobody asked; never taken for a yes.",
)
enum(TrafficLight, "A decision at a glance.", GREEN="Go ahead.", AMBER="Look first.", RED="Stop.")
enum(
    ConsentStatus,
    "What a person said about one purpose on one channel.",
    OPT_IN="Yes.",
    OPT_OUT="No.",
    PENDING="Asked, not answered.",
    EXPIRED="A yes that has ended.",
    NOT_ASKED="Not asked.",
)


@strawberry.type(description="Whether a person may be contacted on one channel, and why.")
class ChannelDecision:
    """A decision in the reader's language."""

    channel: Channel = strawberry.field(description="The channel asked for.")
    decision: ConsentDecision = strawberry.field(description="The answer.")
    via: Channel | None = strawberry.field(description="The channel to use instead, with ALLOW_VIA.")
    reason: str = strawberry.field(description="Why, in the reader's language.")
    light: TrafficLight = strawberry.field(description="The answer at a glance.")


async def channel_decisions(context: Context, ids: list[UUID], purpose: str) -> Mapping[UUID, list[ChannelDecision]]:
    """The decisions on every channel for many people at once.

    Raises Invalid for an unknown purpose.
    """
    async with context.database.read(SYSTEM) as connection:
        found = await consent.contactability_of(connection, ids, purpose, context.now)
    return {
        id: [
            ChannelDecision(channel=one.channel, decision=one.decision, via=one.via, reason=one.reason.words(context.language), light=one.light)
            for one in decisions
        ]
        for id, decisions in found.items()
    }  # fmt: skip


@node(
    consent.ConsentReceipt,
    order=by("-at", "-id"),
    hidden=frozenset({"contact_id", "via", "light", "deciding_grant_ids"}),
)
class ConsentReceipt(Node):
    """A decision as it was made, with what it rested on."""

    decision: ConsentDecision = column("The answer.")
    channel: Channel = column("The channel.")
    purpose: str = column("The code of the purpose.")
    at: datetime = column("When it was decided.")
    reason: str = localized("reason", "Why, in the reader's language.")
    evidence: str | None = column("The proof behind it.")


@node(
    consent.ConsentGrant, order=by("-occurred_at", "-id"),
    hidden=frozenset({"contact_id", "recorded_by_kind", "recorded_by_id", "client_key", "input_fingerprint", "import_batch_id"}),
)  # fmt: skip
class ConsentGrant(Node):
    """What a person said about one purpose on one channel."""

    purpose: str = column("The code of the purpose.")
    channel: Channel = column("The channel.")
    status: ConsentStatus = column("What was said.")
    occurred_at: datetime = column("When it was said.")
    recorded_at: datetime = column("When we learned of it.")
    effective_to: datetime | None = column("When a yes ends.")
    source: str = column("Where or how it was said.")
    evidence: str | None = column("The proof: a reference or the words.")
    notice_version: str | None = column("The version of the notice that the person was shown.")


@strawberry.input(description="What a person said about one purpose on one channel.")
class RecordConsentInput:
    """What recording takes."""

    client_key: strawberry.ID | None = text("The caller's key: the same one records once.", 200)
    contact_id: strawberry.ID = strawberry.field(description="The person.")
    purpose: str = text("The code of the purpose, such as `marketing`.", 200, required=True)
    channel: Channel = strawberry.field(description="The channel.")
    status: ConsentStatus = strawberry.field(description="What was said.")
    source: str = text("Where or how it was said.", required=True)
    evidence: str | None = text("The proof: a reference or the words.", 10_000)
    notice_version: str | None = text("The version of the notice that the person was shown.", 200)
    occurred_at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="When it was said; now without it."
    )
    expires_at: datetime | None = strawberry.field(default=strawberry.UNSET, description="When a yes ends.")


@strawberry.type(description="The person whose consent was recorded, or why it was not.")
class ConsentPayload:
    """The answer to recording."""

    contact: Annotated["Contact", strawberry.lazy("api.accounts")] | None = strawberry.field(
        default=None, description="The person."
    )
    errors: list[UserError] = refusals()


@strawberry.type
class ConsentMutations:
    """The mutations of this room."""

    @mutation(
        "Record what a person said about one purpose on one channel.", Role.REP, Role.MANAGER, Role.LEGAL, Role.DPO
    )
    async def record_consent(
        self, info: Info, input: Annotated[RecordConsentInput, strawberry.argument(description="What was said.")]
    ) -> ConsentPayload | None:
        """Record it, and read the person as the caller sees them."""
        contact_id = expect("Contact", input.contact_id, "contactId")
        async with info.context.open_uow() as uow:
            await consent.record(
                uow, contact_id=contact_id, purpose=input.purpose, channel=input.channel, status=input.status, source=input.source, evidence=given(input.evidence),
                notice_version=given(input.notice_version), occurred_at=given(input.occurred_at), expires_at=given(input.expires_at), client_key=given(input.client_key),
            )  # fmt: skip
        return ConsentPayload(contact=selected(info, SHAPES["Contact"].kind, contact_id))
