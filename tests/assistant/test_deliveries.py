"""Released texts on their way out: only with consent at that moment, each word as it was released, and never after a withdrawal."""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sqlalchemy import select

from assistant import deliveries, review
from assistant.deliveries import (
    ATTEMPTS,
    Delivery,
    DeliveryReply,
    DeliveryRoute,
    DeliveryState,
    Parcel,
    ReplyOutcome,
    Sent,
    Unsent,
    pause_after,
    split_subject,
)
from assistant.deliveries.sending import ABANDONED
from assistant.model import Disposition, Generation, GenerationSection
from domain import people
from domain.accounts import Channel
from domain.activities import Activity, ActivityKind
from domain.consent import ConsentReceipt, ConsentStatus
from domain.erasure import erase_person
from domain.kernel import SYSTEM, Actor, Conflict, Invalid, NotFound, StaleVersion
from domain.ledger import AuditEvent
from domain.signals import Signal
from tests.assistant.company import Answer, Company, allow
from tests.factories import Clock

HISTORIES, FIRST = int(os.environ.get("SORTIE_HISTORIES", "60")), int(os.environ.get("SORTIE_SEED", "1"))
EMAIL, WECHAT = Channel.EMAIL, Channel.WECHAT


async def release(company: Company, generation_id: UUID) -> None:
    """A person lets the answer out."""
    async with company.database.open_uow(company.people["min"]) as uow:
        generation = await uow.session.get(Generation, generation_id)
        assert generation is not None
        generation.disposition = Disposition.APPROVED
        uow.note("generation.approved", generation)


async def released(company: Company, channel: Channel = EMAIL) -> Answer:
    answer = await company.script(channel=channel)
    assert answer.row.disposition is Disposition.NEEDS_APPROVAL
    await release(company, answer.row.id)
    return answer


async def send(
    company: Company, answer: Answer, route: DeliveryRoute = DeliveryRoute.EMAIL, who: str = "lei"
) -> Delivery:
    async with company.database.open_uow(company.people[who]) as uow:
        return await deliveries.send(
            uow, generation_id=answer.row.id, route=route, endpoint=None if route is DeliveryRoute.COPY else "出口"
        )


async def read(company: Company, id: UUID) -> Delivery:
    async with company.database.open_uow(SYSTEM) as uow:
        return (await uow.session.execute(select(Delivery).where(Delivery.id == id))).scalar_one()


async def say(company: Company, channel: Channel, status: ConsentStatus) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await allow(uow, company.leads["zhou"].contact_id, channel, status)


async def claimed(company: Company, delivery: Delivery) -> Parcel:
    parcel = await deliveries.claim(company.database, delivery.id)
    assert parcel is not None
    return parcel


async def actions(company: Company, id: UUID) -> list[str]:
    mine = select(AuditEvent.action).where(AuditEvent.subject_id == id).order_by(AuditEvent.seq)
    async with company.database.read() as connection:
        return list(await connection.scalars(mine))


async def one(company: Company, statement: Any) -> Any:
    async with company.database.read() as connection:
        return (await connection.execute(statement)).one()


# ---- the way of one text ---------------------------------------------------------------------------------------------


async def test_a_released_text_leaves_with_a_receipt_and_stands_in_the_timeline(company: Company) -> None:
    answer = await released(company)
    delivery = await send(company, answer)
    assert (delivery.state, delivery.attempts) == (DeliveryState.WAITING, 0)
    assert await deliveries.due(company.database) == [delivery.id]

    parcel = await claimed(company, delivery)
    assert parcel.address == "zhou@example.cn"
    assert parcel.subject.startswith("关于「便携彩超 US6 规格书」")
    assert "周敏您好" in parcel.words
    assert "[1]" not in parcel.words
    assert parcel.words.endswith("（本消息由 AI 辅助起草，经人工审核后发送）")
    assert await deliveries.claim(company.database, delivery.id) is None, "two do not send one text"
    assert await deliveries.settle(company.database, parcel, Sent("<42@example.cn>")) is DeliveryState.SENT

    sent = await read(company, delivery.id)
    assert (sent.state, sent.attempts, sent.provider_id, sent.due_at) == (
        DeliveryState.SENT,
        1,
        "<42@example.cn>",
        None,
    )
    receipt = await one(company, select(ConsentReceipt.__table__).where(ConsentReceipt.id == sent.consent_receipt_id))
    assert (receipt.channel, receipt.decision) == (EMAIL, "ALLOW")
    assert receipt.id != answer.row.consent_receipt_id, "consent was decided anew"
    logged = await one(company, select(Activity.__table__).where(Activity.kind == ActivityKind.EMAIL))
    assert (logged.related_id, logged.owner_id) == (company.leads["zhou"].id, company.people["lei"].user_id)
    assert "周敏您好" in logged.body
    assert await actions(company, delivery.id) == ["delivery.requested", "delivery.claimed", "delivery.sent"]


async def test_what_nobody_has_released_stays_here(company: Company) -> None:
    answer = await company.script(channel=EMAIL)
    with pytest.raises(Conflict) as refused:
        await send(company, answer)
    assert "尚未获准发出" in refused.value.text.zh
    with pytest.raises(NotFound):
        await send(company, answer, who="na")
    brief = await company.brief()
    await release(company, brief.row.id)
    with pytest.raises(Conflict) as refused:
        await send(company, brief)
    assert "没有写给客户的文本" in refused.value.text.zh


async def test_a_copy_is_decided_and_done_at_once(company: Company) -> None:
    answer = await released(company, WECHAT)
    delivery = await send(company, answer, DeliveryRoute.COPY)
    assert (delivery.state, delivery.channel, delivery.due_at) == (DeliveryState.SENT, WECHAT, None)

    other = await released(company, WECHAT)
    await say(company, WECHAT, ConsentStatus.OPT_OUT)
    refused = await send(company, other, DeliveryRoute.COPY)
    assert refused.state is DeliveryState.REFUSED
    assert refused.problem
    assert (await company.read(other.row.id)).row.disposition is Disposition.RECALLED


async def test_consent_is_asked_again_at_the_moment_of_sending(company: Company) -> None:
    answer = await released(company)
    delivery = await send(company, answer)
    await say(company, EMAIL, ConsentStatus.OPT_OUT)
    assert await deliveries.claim(company.database, delivery.id) is None
    refused = await read(company, delivery.id)
    assert (refused.state, refused.attempts) == (DeliveryState.REFUSED, 0)
    row = (await company.read(answer.row.id)).row
    assert row.disposition is Disposition.RECALLED
    assert row.reason == refused.problem
    assert (await company.actions(answer.row.id))[-1] == "generation.recalled"
    with pytest.raises(Conflict):
        await send(company, answer)


async def test_a_changed_or_vetoed_answer_and_one_whose_sender_has_left_is_not_sent(company: Company) -> None:
    changed, vetoed, left = [await released(company) for _ in range(3)]
    waiting = [await send(company, answer) for answer in (changed, vetoed, left)]
    async with company.database.open_uow(SYSTEM) as uow:
        words = select(GenerationSection).where(
            GenerationSection.generation_id == changed.row.id, GenerationSection.key == "script"
        )
        section = (await uow.session.execute(words)).scalar_one()
        section.body += "另送一台。"
        uow.note("generation.section_written", changed.row)
    async with company.database.open_uow(company.people["min"]) as uow:
        await review.veto(uow, vetoed.row.id, "语气不合适")
    for delivery in waiting[:2]:
        assert await deliveries.claim(company.database, delivery.id) is None
        assert (await read(company, delivery.id)).state is DeliveryState.RECALLED
    async with company.database.open_uow(SYSTEM) as uow:
        user = company.people["lei"].user_id
        assert user is not None
        await people.disable_user(uow, user)
    assert await deliveries.claim(company.database, waiting[2].id) is None
    assert (await read(company, waiting[2].id)).state is DeliveryState.RECALLED


async def test_what_the_route_refuses_is_tried_again_and_given_up_at_last(company: Company, clock: Clock) -> None:
    delivery = await send(company, await released(company))
    for attempt in range(1, ATTEMPTS + 1):
        parcel = await claimed(company, delivery)
        assert parcel.attempt == attempt
        state = await deliveries.settle(company.database, parcel, Unsent("SMTP 451", again=True))
        assert state is (DeliveryState.WAITING if attempt < ATTEMPTS else DeliveryState.FAILED)
        assert await deliveries.claim(company.database, delivery.id) is None, "its time has not come"
        clock.advance(seconds=pause_after(attempt).total_seconds())
    dead = await read(company, delivery.id)
    assert (dead.problem, dead.due_at) == ("SMTP 451", None)

    async with company.database.open_uow(company.people["lei"]) as uow:
        await deliveries.retry(uow, dead.id, dead.version)
    parcel = await claimed(company, delivery)
    assert await deliveries.settle(company.database, parcel, Unsent("SMTP 550", again=False)) is DeliveryState.FAILED
    dead = await read(company, delivery.id)
    with pytest.raises(StaleVersion):
        await close(company, dead, dead.version - 1, sent=False)
    await close(company, dead, dead.version, sent=False)
    assert (await read(company, delivery.id)).state is DeliveryState.RECALLED
    with pytest.raises(Conflict):
        await close(company, dead, dead.version + 1, sent=True)


async def close(company: Company, delivery: Delivery, version: int, *, sent: bool) -> None:
    async with company.database.open_uow(company.people["lei"]) as uow:
        await deliveries.close(uow, delivery.id, version, sent=sent, reason="客户说没有收到")


async def test_what_a_lost_process_was_sending_is_repeated_only_where_that_is_known(
    company: Company, clock: Clock
) -> None:
    mail = await send(company, await released(company), DeliveryRoute.EMAIL)
    hook = await send(company, await released(company), DeliveryRoute.WEBHOOK)
    parcels = [await claimed(company, each) for each in (mail, hook)]
    assert await deliveries.take_back(company.database) == 0, "it may still be under way"
    clock.advance(seconds=ABANDONED.total_seconds() + 1)
    assert await deliveries.take_back(company.database) == 2
    assert [(await read(company, each.id)).state for each in (mail, hook)] == [
        DeliveryState.UNCERTAIN,
        DeliveryState.WAITING,
    ]
    # Whoever comes back late with the first attempt changes nothing.
    assert await deliveries.settle(company.database, parcels[1], Sent("late")) is DeliveryState.WAITING
    again = await claimed(company, hook)
    assert (again.delivery_id, again.attempt) == (hook.id, 2)
    lost = await read(company, mail.id)
    await close(company, lost, lost.version, sent=True)
    assert (await read(company, mail.id)).state is DeliveryState.SENT


async def test_two_who_are_free_send_one_text_once(company: Company) -> None:
    delivery = await send(company, await released(company))
    found = await asyncio.gather(*(deliveries.claim(company.database, delivery.id) for _ in range(6)))
    assert len([parcel for parcel in found if parcel is not None]) == 1


# ---- what comes back -------------------------------------------------------------------------------------------------


async def test_who_declines_has_said_no_and_is_not_written_to_again(company: Company, clock: Clock) -> None:
    first, second = await released(company), await released(company)
    delivery, waiting = await send(company, first), await send(company, second)
    with pytest.raises(Conflict):
        await answer(company, delivery, ReplyOutcome.DECLINED, "不用")
    await deliveries.settle(company.database, await claimed(company, delivery), Sent())
    clock.advance(minutes=5)
    await answer(company, delivery, ReplyOutcome.DECLINED, "不用，谢谢")
    reply = await one(company, select(DeliveryReply.__table__))
    assert (reply.outcome, reply.words) == ("DECLINED", "不用，谢谢")
    signal = await one(company, select(Signal.type, Signal.payload).where(Signal.source == "delivery"))
    assert (signal.type, signal.payload) == ("outreach_answered", {"outcome": "DECLINED", "words": "不用，谢谢"})
    assert await deliveries.claim(company.database, waiting.id) is None
    assert (await read(company, waiting.id)).state is DeliveryState.REFUSED


async def answer(company: Company, delivery: Delivery, outcome: ReplyOutcome, words: str | None = None) -> None:
    async with company.database.open_uow(company.people["lei"]) as uow:
        await deliveries.record_reply(uow, delivery_id=delivery.id, outcome=outcome, words=words)


async def test_a_reply_of_tomorrow_or_of_a_foreign_text_is_refused(company: Company, clock: Clock) -> None:
    delivery = await send(company, await released(company))
    await deliveries.settle(company.database, await claimed(company, delivery), Sent())
    later = clock.now.replace(year=clock.now.year + 1)

    async def reply(who: Actor, **more: Any) -> None:
        async with company.database.open_uow(who) as uow:
            await deliveries.record_reply(uow, delivery_id=delivery.id, outcome=ReplyOutcome.REPLIED, **more)

    with pytest.raises(Invalid):
        await reply(company.people["lei"], occurred_at=later)
    with pytest.raises(Invalid):
        await reply(company.people["lei"], words="好" * 4_001)
    with pytest.raises(NotFound):
        await reply(company.people["na"])


async def test_erasing_a_person_blanks_what_was_sent_and_said(company: Company) -> None:
    delivery = await send(company, await released(company))
    await deliveries.settle(company.database, await claimed(company, delivery), Sent())
    await answer(company, delivery, ReplyOutcome.REPLIED, "周五下午可以")
    async with company.database.open_uow(company.people["dpo"]) as uow:
        await erase_person(uow, company.leads["zhou"].contact_id)
    left = await read(company, delivery.id)
    assert "周敏" not in left.words
    assert left.address is None
    assert (await one(company, select(DeliveryReply.words))).words is None


def test_the_subject_of_an_email_is_its_first_line() -> None:
    assert split_subject("主题：关于「彩超」\n\n您好") == ("关于「彩超」", "您好")
    assert split_subject("Subject: about it\n\nHello") == ("about it", "Hello")
    assert split_subject("您好") == ("", "您好")


# ---- any order of events ---------------------------------------------------------------------------------------------

STEPS = st.sampled_from((
    "ready email", "ready wechat", "ready email", "send", "copy", "work", "send", "work", "yes email", "yes wechat",
    "draft email", "draft wechat", "release", "change", "veto", "work badly", "die", "wait", "no email", "no wechat", "pending email",
))  # fmt: skip


@dataclass
class History:
    """One customer's story, with what a person who watches from outside would know of it."""

    company: Company
    clock: Clock
    answers: list[UUID] = field(default_factory=list)
    said: dict[Channel, ConsentStatus] = field(default_factory=dict)
    let_out: dict[UUID, set[str]] = field(default_factory=dict)
    sent: Counter[UUID] = field(default_factory=Counter)
    channels: dict[UUID, Channel] = field(default_factory=dict)

    async def take(self, step: str, pick: int) -> None:
        """Take one step, at an instant of its own."""
        self.clock.advance(seconds=1)
        verb, _, rest = step.partition(" ")
        if verb in {"draft", "ready"}:
            await self._draft(Channel[rest.upper()])
            if verb == "ready" and self.answers:
                await self._release(self.answers[-1])
        elif verb in {"yes", "no", "pending"}:
            await self._say(
                Channel[rest.upper()],
                {"yes": ConsentStatus.OPT_IN, "no": ConsentStatus.OPT_OUT, "pending": ConsentStatus.PENDING}[verb],
            )
        elif verb == "wait":
            self.clock.advance(hours=1)
            await deliveries.take_back(self.company.database)
        elif verb in {"work", "die"}:
            await self._work(dies=verb == "die", fails=rest == "badly")
        elif self.answers:
            await getattr(self, f"_{verb}")(self.answers[pick % len(self.answers)])

    async def _draft(self, channel: Channel) -> None:
        answer = await self.company.script(channel=channel)
        if answer.row.disposition is Disposition.NEEDS_APPROVAL:
            self.answers.append(answer.row.id)
            assert answer.row.channel is not None
            self.channels[answer.row.id] = answer.row.channel

    async def _say(self, channel: Channel, status: ConsentStatus) -> None:
        await say(self.company, channel, status)
        self.said[channel] = status

    async def _words(self, id: UUID) -> str:
        found = await self.company.read(id)
        return deliveries.customer_words(found.row, found.sections)

    async def _release(self, id: UUID) -> None:
        if (await self.company.read(id)).row.disposition is Disposition.NEEDS_APPROVAL:
            await release(self.company, id)
            self.let_out.setdefault(id, set()).add(await self._words(id))

    async def _change(self, id: UUID) -> None:
        async with self.company.database.open_uow(SYSTEM) as uow:
            words = (GenerationSection.generation_id == id) & (GenerationSection.key == "script")
            section = (await uow.session.execute(select(GenerationSection).where(words))).scalar_one()
            section.body += "再送一台。"
            generation = await uow.session.get(Generation, id)
            assert generation is not None
            if generation.disposition is Disposition.APPROVED:
                generation.disposition = Disposition.NEEDS_APPROVAL
            uow.note("generation.changed", generation)

    async def _veto(self, id: UUID) -> None:
        if (await self.company.read(id)).row.disposition in {Disposition.NEEDS_APPROVAL, Disposition.APPROVED}:
            async with self.company.database.open_uow(self.company.people["min"]) as uow:
                await review.veto(uow, id, "不合适")

    async def _send(self, id: UUID, route: DeliveryRoute = DeliveryRoute.WEBHOOK) -> None:
        async with self.company.database.open_uow(self.company.people["lei"]) as uow:
            try:
                delivery = await deliveries.send(uow, generation_id=id, route=route, endpoint="出口")
            except Conflict:
                return
        if delivery.state is DeliveryState.SENT:
            self._leaves(delivery.words, id)

    async def _copy(self, id: UUID) -> None:
        await self._send(id, DeliveryRoute.COPY)

    async def _work(self, *, dies: bool, fails: bool) -> None:
        for delivery_id in await deliveries.due(self.company.database):
            parcel = await deliveries.claim(self.company.database, delivery_id)
            if parcel is None:
                continue
            if not fails:
                delivery = await read(self.company, delivery_id)
                self._leaves(delivery.words, parcel.generation_id)
            if not dies:
                await deliveries.settle(self.company.database, parcel, Unsent("503", again=True) if fails else Sent())

    def _leaves(self, words: str, id: UUID) -> None:
        """What the customer's side sees; it must be allowed now, by what was last said, and word for word as released."""
        assert self.said.get(self.channels[id]) is ConsentStatus.OPT_IN, "sent without a yes"
        assert words in self.let_out.get(id, set()), "other words than those that were released"
        self.sent[id] += 1


def histories(number: int, count: int) -> list[list[tuple[str, int]]]:
    """Drawn histories; the same number gives the same ones."""
    drawn: list[list[tuple[str, int]]] = []

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(STEPS, st.integers(0, 7)), min_size=10, max_size=30))
    def collect(history: list[tuple[str, int]]) -> None:
        drawn.append(history)

    collect()
    return drawn


@pytest.mark.parametrize("part", range(4))
async def test_nothing_is_sent_after_a_withdrawal_whatever_the_order(company: Company, clock: Clock, part: int) -> None:
    sent = 0
    for steps in histories(FIRST + part, max(1, HISTORIES // 4)):
        history = History(company, clock, said={EMAIL: ConsentStatus.OPT_IN, WECHAT: ConsentStatus.OPT_IN})
        for channel, status in history.said.items():
            await say(company, channel, status)
        for step, pick in steps:
            await history.take(step, pick)
        sent += history.sent.total()
        await finish(company)
    assert sent, "the histories come as far as sending"


async def finish(company: Company) -> None:
    """The next history begins with nothing under way."""
    async with company.database.open_uow(SYSTEM) as uow:
        under_way = Delivery.state.in_((DeliveryState.WAITING, DeliveryState.SENDING))
        for delivery in (await uow.session.execute(select(Delivery).where(under_way))).scalars():
            delivery.state = DeliveryState.RECALLED
            uow.note("delivery.recalled", delivery)
