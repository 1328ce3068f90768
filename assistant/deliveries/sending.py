"""Sending: a text is asked for, taken when it is due and may still leave, and what became of each attempt is kept."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from sqlalchemy import select

from assistant.context import FOLLOW_UP
from assistant.deliveries.model import SENDERS, Delivery, DeliveryRoute, DeliveryState
from assistant.deliveries.words import content_digest, customer_words, split_subject
from assistant.model import Disposition, Generation, GenerationSection
from assistant.recording import open_generation, persons_of
from domain import activities, consent, people
from domain.accounts import Channel, ContactPoint
from domain.activities import ActivityKind
from domain.consent import ConsentDecision, ConsentReceipt
from domain.kernel import SYSTEM, Conflict, Database, Event, Language, Ref, Text, UnitOfWork, load

ATTEMPTS = 8
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
"""The pause before the second attempt, and the longest: each is twice the one before, so that eight attempts take an hour."""
ABANDONED = timedelta(minutes=2)
"""Longer than any route takes: whoever was sending is not there any more."""
REPEATABLE = frozenset({DeliveryRoute.WEBHOOK})
"""The routes whose receiver knows a repeated text by its id."""
_KINDS = {
    Channel.EMAIL: ActivityKind.EMAIL, Channel.MAIL: ActivityKind.EMAIL, Channel.PHONE: ActivityKind.CALL, Channel.IN_PERSON: ActivityKind.VISIT,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeliveryWaits(Event):
    """A text waits to be sent."""

    kind: ClassVar[str] = "delivery.waits"
    delivery_id: UUID


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a route needs to send one text, once."""

    delivery_id: UUID
    attempt: int
    route: DeliveryRoute
    endpoint: str
    address: str | None
    subject: str
    words: str
    language: Language
    generation_id: UUID


@dataclass(frozen=True, slots=True)
class Sent:
    """The route took the text; `provider_id` is what it calls it."""

    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unsent:
    """The route did not take the text: why, and whether trying again may help."""

    problem: str
    again: bool


async def sections_of(uow: UnitOfWork, generation_id: UUID) -> list[GenerationSection]:
    """The sections of an answer in their order."""
    mine = select(GenerationSection).where(GenerationSection.generation_id == generation_id)
    return list((await uow.session.execute(mine.order_by(GenerationSection.position))).scalars())


async def send(
    uow: UnitOfWork, *, generation_id: UUID | None, route: DeliveryRoute, endpoint: str | None = None
) -> Delivery:  # fmt: skip
    """Let a released answer leave: by hand (COPY), which is done at once, or by a route, as soon as somebody is free to.

    Consent is asked in this very commit for a copy, and at the moment of sending for every other route. A refusal recalls
    the answer and is a stored state, not an error.

    Raises NotFound for a foreign answer, Conflict for one that is not released or has no words for its customer.
    """
    actor = uow.actor.only(*SENDERS)
    generation = await load(uow.session, actor, Generation, generation_id, path=("generationId",), lock=True)
    _check_released(generation)
    sections = await sections_of(uow, generation.id)
    words = customer_words(generation, sections)
    if not words:
        empty = Text("这份回答没有写给客户的文本", "the answer has no words for a customer")
        raise Conflict(empty, ("generationId",))
    receipt = await uow.session.get(ConsentReceipt, generation.consent_receipt_id)
    delivery = Delivery(
        id=uow.new_id(), generation_id=generation.id, route=route, endpoint=endpoint, contact_id=receipt.contact_id if receipt else None,
        channel=generation.channel, words=words, content_digest=content_digest(sections), requested_by_id=uow.actor.user_id, requested_at=uow.now,
        state=DeliveryState.WAITING, attempts=0, due_at=uow.now,
    )  # fmt: skip
    uow.session.add(delivery)
    await uow.session.flush()
    await note_of(uow, "delivery.requested", delivery, route=route.value)
    if route is not DeliveryRoute.COPY:
        uow.emit(DeliveryWaits(delivery.id))
    elif await _may_leave(uow, delivery, generation):
        await left(uow, delivery, generation, None)
    return delivery


def _check_released(generation: Generation) -> None:
    if not _released(generation):
        words = Text(
            f"该回答处于 {generation.disposition.value}，尚未获准发出",
            f"the answer is {generation.disposition.value} and not released to leave",
        )
        raise Conflict(words, ("generationId",))


def _released(generation: Generation) -> bool:
    return generation.disposition in {Disposition.APPROVED, Disposition.EDITED}


async def claim(database: Database, delivery_id: UUID) -> Parcel | None:
    """Take a delivery that is due, if it may still leave: the answer is released, unchanged and its sender still here, and consent holds.

    Whoever takes it sends it at once: from this commit on a withdrawal comes after it. None where there is nothing to send.
    """
    async with database.open_uow(SYSTEM) as uow:
        found = select(Delivery).where(Delivery.id == delivery_id).with_for_update()
        delivery = (await uow.session.execute(found)).scalar_one_or_none()
        if delivery is None or delivery.state is not DeliveryState.WAITING or (delivery.due_at or uow.now) > uow.now:
            return None
        generation = await open_generation(uow, delivery.generation_id)
        if not await _may_leave(uow, delivery, generation):
            return None
        delivery.address = await _address(uow, delivery)
        if delivery.route is DeliveryRoute.EMAIL and delivery.address is None:
            await end(uow, delivery, DeliveryState.FAILED, "the person has no e-mail address")
            return None
        delivery.state, delivery.attempts, delivery.claimed_at = DeliveryState.SENDING, delivery.attempts + 1, uow.now
        delivery.due_at = None
        await note_of(uow, "delivery.claimed", delivery, attempt=delivery.attempts)
        subject, words = split_subject(delivery.words)
        return Parcel(
            delivery.id, delivery.attempts, delivery.route, delivery.endpoint or "", delivery.address, subject or generation.subject_label, words,
            generation.language, generation.id,
        )  # fmt: skip


async def _may_leave(uow: UnitOfWork, delivery: Delivery, generation: Generation) -> bool:
    """Whether a text may leave at this instant; what forbids it ends the delivery, and a refused consent the answer too."""
    sections = await sections_of(uow, generation.id)
    if not _released(generation) or content_digest(sections) != delivery.content_digest:
        await end(uow, delivery, DeliveryState.RECALLED, f"the answer is {generation.disposition.value} or was changed")
        return False
    if await people.standing(await uow.session.connection(), delivery.requested_by_id) is None:
        await end(uow, delivery, DeliveryState.RECALLED, "whoever asked for it is not here any more")
        return False
    if delivery.contact_id is None:
        return True
    receipt = await consent.receipt(uow, delivery.contact_id, FOLLOW_UP, delivery.channel)
    delivery.consent_receipt_id = receipt.id
    if receipt.decision is ConsentDecision.ALLOW:
        return True
    await end(uow, delivery, DeliveryState.REFUSED, receipt.reason.words(generation.language))
    generation.disposition, generation.reason = Disposition.RECALLED, receipt.reason.words(generation.language)
    uow.note(
        "generation.recalled", generation, {"receipt": receipt.id.hex}, persons=await persons_of(uow, generation.id)
    )
    return False


async def _address(uow: UnitOfWork, delivery: Delivery) -> str | None:
    """The person's address on the channel, one that was verified before others, the newest first."""
    mine = (ContactPoint.contact_id == delivery.contact_id) & (ContactPoint.channel == delivery.channel)
    newest = (ContactPoint.verified_at.is_(None), ContactPoint.verified_at.desc(), ContactPoint.id.desc())
    address: str | None = await uow.session.scalar(select(ContactPoint.value).where(mine).order_by(*newest).limit(1))
    return address


async def settle(database: Database, parcel: Parcel, outcome: Sent | Unsent) -> DeliveryState:
    """Keep what became of an attempt, and return where the delivery stands; what was settled before stays."""
    async with database.open_uow(SYSTEM) as uow:
        found = select(Delivery).where(Delivery.id == parcel.delivery_id).with_for_update()
        delivery = (await uow.session.execute(found)).scalar_one()
        if delivery.state is not DeliveryState.SENDING or delivery.attempts != parcel.attempt:
            return delivery.state
        if isinstance(outcome, Sent):
            await left(uow, delivery, await open_generation(uow, delivery.generation_id), outcome.provider_id)
        elif outcome.again and delivery.attempts < ATTEMPTS:
            await _wait(uow, delivery, uow.now + pause_after(delivery.attempts), outcome.problem)
        else:
            await end(uow, delivery, DeliveryState.FAILED, outcome.problem)
        return delivery.state


def pause_after(attempts: int) -> timedelta:
    """How long is waited after so many attempts."""
    pause: timedelta = min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)
    return pause


async def left(uow: UnitOfWork, delivery: Delivery, generation: Generation, provider_id: str | None) -> None:
    """Keep that a text has left: it stands in the customer's timeline as what it is, a message of the colleague who sent it."""
    delivery.state, delivery.ended_at, delivery.due_at = DeliveryState.SENT, uow.now, None
    delivery.provider_id, delivery.problem = provider_id, None
    await note_of(uow, "delivery.sent", delivery, receipt=delivery.consent_receipt_id)
    kind = ActivityKind.MESSAGE if delivery.channel is None else _KINDS.get(delivery.channel, ActivityKind.MESSAGE)
    subject, words = split_subject(delivery.words)
    if generation.subject_kind in activities.RELATED:
        await activities.log(
            uow, related_to=Ref(generation.subject_kind, generation.subject_id), kind=kind, subject=subject or generation.subject_label,
            body=words, occurred_at=uow.now, owner_id=delivery.requested_by_id,
        )  # fmt: skip


async def _wait(uow: UnitOfWork, delivery: Delivery, due_at: datetime, problem: str | None) -> None:
    delivery.state, delivery.due_at, delivery.problem = DeliveryState.WAITING, due_at, problem
    await note_of(uow, "delivery.postponed", delivery, due=due_at.isoformat())


async def end(uow: UnitOfWork, delivery: Delivery, state: DeliveryState, problem: str) -> None:
    """Keep that nothing more happens by itself, and why."""
    delivery.state, delivery.ended_at, delivery.due_at, delivery.problem = state, uow.now, None, problem
    await note_of(uow, f"delivery.{state.value.lower()}", delivery, problem=problem)


async def note_of(uow: UnitOfWork, action: str, delivery: Delivery, **detail: object) -> None:
    """Note a step of a delivery, with the answer and the digest of its words."""
    said = {key: value.hex if isinstance(value, UUID) else value for key, value in detail.items()}
    said |= {
        "generation": delivery.generation_id.hex,
        "content": delivery.content_digest,
        "state": delivery.state.value,
    }
    uow.note(action, delivery, said)


async def due(database: Database, limit: int = 100) -> list[UUID]:
    """What waits and is due, the oldest first."""
    now = database.clock()
    waiting = (Delivery.state == DeliveryState.WAITING) & (Delivery.due_at <= now)
    async with database.read(SYSTEM) as connection:
        return list(await connection.scalars(select(Delivery.id).where(waiting).order_by(Delivery.due_at).limit(limit)))


async def take_back(database: Database) -> int:
    """See to what a process that is gone was sending, and return how much that was.

    Where the receiver knows a repeated text it is sent again; elsewhere nobody knows whether it went, and a person looks.
    """
    before = database.clock() - ABANDONED
    async with database.open_uow(SYSTEM) as uow:
        lost = (Delivery.state == DeliveryState.SENDING) & (Delivery.claimed_at < before)
        found = select(Delivery).where(lost).order_by(Delivery.id).with_for_update(skip_locked=True)
        deliveries = (await uow.session.execute(found)).scalars().all()
        for delivery in deliveries:
            problem = "the process that was sending it is gone"
            if delivery.route in REPEATABLE:
                await _wait(uow, delivery, uow.now, problem)
            else:
                await end(uow, delivery, DeliveryState.UNCERTAIN, problem)
        return len(deliveries)
