"""What people do about what left or did not: try it again, say what became of it, keep what came back."""

from datetime import datetime
from uuid import UUID

from assistant.context import FOLLOW_UP
from assistant.deliveries.model import SENDERS, Delivery, DeliveryReply, DeliveryState, ReplyOutcome
from assistant.deliveries.sending import DeliveryWaits, end, left, note_of
from assistant.recording import open_generation
from domain import consent, signals
from domain.consent import ConsentStatus
from domain.kernel import Conflict, Invalid, Ref, Text, UnitOfWork, load

WORDS_LENGTH, REASON_LENGTH = 4_000, 1_000


async def retry(uow: UnitOfWork, delivery_id: UUID | None, expected_version: int) -> Delivery:
    """Have a text that did not leave, or of which nobody knows, sent again; consent is asked anew.

    Raises NotFound, StaleVersion, Conflict for one that is not given up.
    """
    delivery = await _dead(uow, delivery_id, expected_version)
    delivery.state, delivery.due_at, delivery.ended_at, delivery.attempts = DeliveryState.WAITING, uow.now, None, 0
    await note_of(uow, "delivery.retried", delivery)
    uow.emit(DeliveryWaits(delivery.id))
    return delivery


async def close(
    uow: UnitOfWork, delivery_id: UUID | None, expected_version: int, *, sent: bool, reason: str
) -> Delivery:
    """Say what became of a text of which nobody knew, or that a failed one is given up.

    Raises NotFound, StaleVersion, Conflict for one that has not failed, Invalid for an empty or overlong reason.
    """
    _check_words("reason", reason, REASON_LENGTH, needed=True)
    delivery = await _dead(uow, delivery_id, expected_version)
    delivery.problem = reason.strip()
    if sent:
        await left(uow, delivery, await open_generation(uow, delivery.generation_id), None)
    else:
        await end(uow, delivery, DeliveryState.RECALLED, reason.strip())
    return delivery


async def _dead(uow: UnitOfWork, delivery_id: UUID | None, expected_version: int) -> Delivery:
    actor = uow.actor.only(*SENDERS)
    delivery = await load(uow.session, actor, Delivery, delivery_id, expected_version=expected_version, lock=True)
    if delivery.state not in {DeliveryState.FAILED, DeliveryState.UNCERTAIN}:
        words = Text(f"该发送处于 {delivery.state.value}", f"the delivery is {delivery.state.value}")
        raise Conflict(words, ("id",))
    return delivery


async def record_reply(
    uow: UnitOfWork, *, delivery_id: UUID | None, outcome: ReplyOutcome, words: str | None = None, occurred_at: datetime | None = None,
) -> Delivery:  # fmt: skip
    """Keep what a customer made of a text that was sent.

    It is a signal about whom the answer was about. Who declines or complains has said no to being followed up on that
    channel: that is recorded as their refusal in the same commit.

    Raises NotFound, Conflict for a text that did not leave, Invalid for overlong words or an instant ahead of now.
    """
    _check_words("words", words, WORDS_LENGTH)
    if occurred_at is not None and occurred_at > uow.now:
        raise Invalid(Text("发生时间不能晚于现在", "occurredAt is ahead of now"), ("occurredAt",))
    actor = uow.actor.only(*SENDERS)
    delivery = await load(uow.session, actor, Delivery, delivery_id, path=("deliveryId",), lock=True)
    if delivery.state not in {DeliveryState.SENT, DeliveryState.UNCERTAIN}:
        said = Text(
            f"该发送处于 {delivery.state.value}，没有可回复的内容",
            f"the delivery is {delivery.state.value}: nothing left",
        )
        raise Conflict(said, ("deliveryId",))
    at = occurred_at or uow.now
    reply = DeliveryReply(
        id=uow.new_id(), delivery_id=delivery.id, contact_id=delivery.contact_id, outcome=outcome, words=words, occurred_at=at, recorded_at=uow.now, recorded_by_id=uow.actor.user_id,
    )  # fmt: skip
    uow.session.add(reply)
    await note_of(uow, "delivery.answered", delivery, outcome=outcome.value)
    await _tell(uow, delivery, reply)
    if outcome in {ReplyOutcome.DECLINED, ReplyOutcome.COMPLAINED} and delivery.contact_id and delivery.channel:
        await consent.record(
            uow, contact_id=delivery.contact_id, purpose=FOLLOW_UP, channel=delivery.channel, status=ConsentStatus.OPT_OUT,
            source="delivery_reply", evidence=f"{delivery.id.hex}: {words or outcome.value}", occurred_at=at,
        )  # fmt: skip
    await uow.session.flush()
    return delivery


async def _tell(uow: UnitOfWork, delivery: Delivery, reply: DeliveryReply) -> None:
    generation = await open_generation(uow, delivery.generation_id)
    if generation.subject_kind in signals.SUBJECTS:
        payload = {"outcome": reply.outcome.value} | ({"words": reply.words} if reply.words else {})
        await signals.record(
            uow, type="outreach_answered", subject=Ref(generation.subject_kind, generation.subject_id), source="delivery", dedupe_key=reply.id.hex,
            occurred_at=reply.occurred_at, payload=payload, contact_id=delivery.contact_id, consent_receipt_id=delivery.consent_receipt_id,
        )  # fmt: skip


def _check_words(name: str, value: str | None, longest: int, *, needed: bool = False) -> None:
    if needed and not (value or "").strip():
        raise Invalid(Text(f"{name} 不能为空", f"{name} cannot be empty"), (name,))
    if value is not None and len(value) > longest:
        raise Invalid(Text(f"{name} 最多 {longest} 个字符", f"{name} is longer than {longest} characters"), (name,))
