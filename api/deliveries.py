"""What leaves in the schema: released answers on their way out, by which route, on whose consent, and what came back."""

from datetime import datetime
from typing import Annotated

import strawberry

from api.accounts import Contact
from api.assistant import Generation
from api.consent import ConsentReceipt
from api.context import Info
from api.mutations import UserError, create_once, given, mutation, refusals, text
from api.people import Actor, person
from api.reads import (
    Connection,
    by,
    column,
    equals,
    expect,
    listing,
    many,
    names,
    node,
    roots,
    selected,
    since,
    to_one,
    until,
)
from api.records import RECORD_HIDDEN, Record
from api.scalars import enum
from assistant import deliveries
from assistant.deliveries import SENDERS, DeliveryRoute, DeliveryState, ReplyOutcome
from domain.accounts import Channel

enum(
    DeliveryRoute,
    "How a text leaves.",
    COPY="Its sender copies it into whatever they write with.",
    EMAIL="An e-mail to the customer.",
    WEBHOOK="A signed call of another system.",
    WECOM="A bot of WeCom.",
    DINGTALK="A bot of DingTalk.",
    FEISHU="A bot of Feishu.",
)
enum(
    DeliveryState,
    "How far a text has come.",
    WAITING="It waits to be sent, for the first time or again.",
    SENDING="It is being sent.",
    SENT="The route took it.",
    UNCERTAIN="Whoever was sending it is gone, and nobody knows whether it left: a person looks.",
    FAILED="It did not leave, and is not tried again by itself.",
    REFUSED="Consent did not allow it at that moment; the answer was recalled.",
    RECALLED="The answer was taken back or changed before it left, or somebody gave it up.",
)
enum(
    ReplyOutcome,
    "What a customer made of a text.",
    REPLIED="They answered.",
    DECLINED="They want no more of it: recorded as their refusal on that channel.",
    COMPLAINED="They complained: recorded as their refusal on that channel.",
    UNREACHABLE="It did not reach them.",
)


@node(
    deliveries.DeliveryReply,
    hidden=frozenset({"delivery_id", "contact_id", "recorded_by_id"}),
    order=by("occurred_at", "id"),
)
class DeliveryReply:
    """What came back on a text."""

    outcome: ReplyOutcome = column("What the customer made of it.")
    words: str | None = column("In which words.")
    occurred_at: datetime = column("When they did.")
    recorded_at: datetime = column("When it was recorded.")
    recorded_by: Actor = person("Who recorded it.", "recorded_by_id")


@node(
    deliveries.Delivery, order=by("-requested_at", "-id"),
    hidden=RECORD_HIDDEN | {"generation_id", "contact_id", "address", "requested_by_id", "claimed_at", "consent_receipt_id"},
)  # fmt: skip
class Delivery(Record):
    """One released text on its way to one person."""

    generation: Generation | None = to_one("generation_id", "The answer whose words it is.")
    contact: Contact | None = to_one("contact_id", "To whom it goes; null where the reader does not see them.")
    channel: Channel | None = column("The channel for which consent is asked.")
    route: DeliveryRoute = column("How it leaves.")
    endpoint: str | None = column("The name of the way out; null for a copy.")
    state: DeliveryState = column("How far it has come.")
    words: str = column("The words as they leave, with what tells how they came about.")
    content_digest: str = column("The SHA-256 of the answer's words: what was released is what leaves.")
    requested_by: Actor = person("Who has it sent.", "requested_by_id")
    requested_at: datetime = column("When they asked.")
    attempts: int = column("How often it was tried.")
    due_at: datetime | None = column("When it is tried next; null where nothing waits.")
    ended_at: datetime | None = column("When it left, or was given up.")
    problem: str | None = column("What went wrong at last.")
    provider_id: str | None = column("What the route calls it.")
    consent_receipt: ConsentReceipt | None = to_one("consent_receipt_id", "The decision made at the moment of sending.")
    replies: list[DeliveryReply] = many("delivery_id", "What came back, oldest first.")


@strawberry.input(description="Which deliveries; all conditions hold together.")
class DeliveryFilter:
    """Conditions on deliveries."""

    state: DeliveryState | None = equals("state", "How far they have come; FAILED and UNCERTAIN wait for a person.")
    route: DeliveryRoute | None = equals("route", "How they leave.")
    generation_id: strawberry.ID | None = names("Generation", "generation_id", "Those of an answer.")
    contact_id: strawberry.ID | None = names("Contact", "contact_id", "Those to a person.")
    requested_by_id: strawberry.ID | None = names("User", "requested_by_id", "Those of a colleague.")
    since: datetime | None = since("requested_at", "Asked for at this instant or later.")
    until: datetime | None = until("requested_at", "Asked for before this instant.")


@roots
class DeliveryQueries:
    """The roots of this room."""

    deliveries: Connection[Delivery] | None = listing(
        "The texts that left or are to leave, newest first.", filter=DeliveryFilter
    )


@strawberry.input(description="A released answer to let leave.")
class SendGenerationInput:
    """What sending takes."""

    client_key: strawberry.ID = text("The caller's key: the same one sends once.", 200, required=True)
    generation_id: strawberry.ID = strawberry.field(description="The answer: APPROVED or EDITED.")
    route: DeliveryRoute = strawberry.field(description="How it is to leave.")
    endpoint: str | None = text("The name of the way out, where there are several of the route.", 100)


@strawberry.input(description="A delivery that failed, or of which nobody knows.")
class DeliveryActionInput:
    """What trying again takes."""

    id: strawberry.ID = strawberry.field(description="The delivery.")
    expected_version: int = strawberry.field(description="The `version` that the caller has seen.")


@strawberry.input(description="What became of a delivery that failed, or of which nobody knew.")
class CloseDeliveryInput:
    """What closing takes."""

    id: strawberry.ID = strawberry.field(description="The delivery.")
    expected_version: int = strawberry.field(description="The `version` that the caller has seen.")
    sent: bool = strawberry.field(description="Whether it did leave.")
    reason: str = text("How that is known, or why it is given up.", deliveries.REASON_LENGTH, required=True)


@strawberry.input(description="What a customer made of a text.")
class RecordReplyInput:
    """What recording takes."""

    delivery_id: strawberry.ID = strawberry.field(description="The delivery.")
    outcome: ReplyOutcome = strawberry.field(description="What they made of it.")
    words: str | None = text("In which words.", deliveries.WORDS_LENGTH)
    occurred_at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="When they did; now without it."
    )


@strawberry.type(description="The delivery as it stands now, or why nothing was done.")
class DeliveryPayload:
    """The answer to what is done about a delivery."""

    delivery: Delivery | None = strawberry.field(default=None, description="The delivery.")
    errors: list[UserError] = refusals()


@strawberry.type
class DeliveryMutations:
    """The mutations of this room."""

    @mutation("Let a released answer leave; consent is decided anew when it does.", *SENDERS)
    async def send_generation(
        self, info: Info, input: Annotated[SendGenerationInput, strawberry.argument(description="What is to leave.")]
    ) -> DeliveryPayload | None:
        """Have it sent once."""
        generation_id = expect("Generation", input.generation_id, "generationId")
        endpoint = info.context.outbound.named(given(input.endpoint), input.route)
        words = {"generation_id": generation_id, "route": input.route, "endpoint": endpoint}
        id = await create_once(info, input, deliveries.Delivery, deliveries.send, words)
        return DeliveryPayload(delivery=selected(info, Delivery, id))

    @mutation("Have a text that failed, or of which nobody knows, sent again.", *SENDERS)
    async def retry_delivery(
        self, info: Info, input: Annotated[DeliveryActionInput, strawberry.argument(description="Which one.")]
    ) -> DeliveryPayload | None:
        """Have it tried again."""
        id = expect("Delivery", input.id, "id")
        async with info.context.open_uow() as uow:
            await deliveries.retry(uow, id, input.expected_version)
        return DeliveryPayload(delivery=selected(info, Delivery, id))

    @mutation("Say what became of a text that failed, or of which nobody knew.", *SENDERS)
    async def close_delivery(
        self, info: Info, input: Annotated[CloseDeliveryInput, strawberry.argument(description="What became of it.")]
    ) -> DeliveryPayload | None:
        """Keep it."""
        id = expect("Delivery", input.id, "id")
        async with info.context.open_uow() as uow:
            await deliveries.close(uow, id, input.expected_version, sent=input.sent, reason=input.reason)
        return DeliveryPayload(delivery=selected(info, Delivery, id))

    @mutation("Record what a customer made of a text that was sent.", *SENDERS)
    async def record_reply(
        self, info: Info, input: Annotated[RecordReplyInput, strawberry.argument(description="What came back.")]
    ) -> DeliveryPayload | None:
        """Record it."""
        id = expect("Delivery", input.delivery_id, "deliveryId")
        async with info.context.open_uow() as uow:
            await deliveries.record_reply(
                uow,
                delivery_id=id,
                outcome=input.outcome,
                words=given(input.words),
                occurred_at=given(input.occurred_at),
            )
        return DeliveryPayload(delivery=selected(info, Delivery, id))
