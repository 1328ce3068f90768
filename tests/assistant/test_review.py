"""What people make of answers: feedback, veto, and measures that agree with counting by hand."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from assistant import review
from assistant.model import Disposition, FeedbackVerdict, Generation, GenerationFeedback, GenerationSection
from assistant.review import Metrics
from domain.kernel import Conflict, Forbidden, Invalid, NotFound, SalesError, UnitOfWork, rows_visible
from tests.assistant.company import Answer, Company
from tests.factories import START, Clock

USED, EDITED, REJECTED = FeedbackVerdict


async def feedback(company: Company, answer: Answer, verdict: FeedbackVerdict, who: str = "lei", **more: Any) -> None:
    async with company.database.open_uow(company.people[who]) as uow:
        await review.give_feedback(uow, answer.row.id, verdict, **more)


async def veto(company: Company, answer: Answer, who: str = "min", reason: str = "数字不对") -> None:
    async with company.database.open_uow(company.people[who]) as uow:
        await review.veto(uow, answer.row.id, reason)


async def kept(company: Company) -> list[tuple[FeedbackVerdict, str | None, str | None, UUID]]:
    async with company.database.open_uow(company.people["ke"]) as uow:
        rows = (await uow.session.scalars(select(GenerationFeedback).order_by(GenerationFeedback.id))).all()
    return [(row.verdict, row.reason, row.corrected_text, row.by_id) for row in rows]


async def readable(company: Company, who: str, answer: Answer) -> int:
    """How many sections of an answer somebody may read."""
    async with company.database.read() as connection:
        mine = (GenerationSection.generation_id == answer.row.id) & rows_visible(GenerationSection, company.people[who])
        return len((await connection.execute(select(GenerationSection.id).where(mine))).all())


async def measure(
    company: Company, who: str = "min", since: Any = START - timedelta(days=1), until: Any = None
) -> Metrics:
    async with company.database.read() as connection:
        return await review.metrics(connection, company.people[who], since, until)


# ---- feedback --------------------------------------------------------------------------------------------------------


async def test_feedback_is_added_and_noted_and_edits_nothing(company: Company) -> None:
    brief = await company.brief()
    await feedback(company, brief, EDITED, reason="太长", corrected_text="改短了")
    await feedback(company, brief, USED, "min")
    lei, boss = company.people["lei"].user_id, company.people["min"].user_id
    assert await kept(company) == [(EDITED, "太长", "改短了", lei), (USED, None, None, boss)]
    assert await company.actions(brief.row.id) == [
        "generation.requested",
        "generation.finished",
        *["generation.feedback_given"] * 2,
    ]
    now = await company.read(brief.row.id)
    assert (now.row.disposition, now.bodies) == (brief.row.disposition, brief.bodies)


async def test_feedback_that_cannot_be_taken_is_refused_with_its_place(company: Company) -> None:
    brief = await company.brief()
    bad: list[tuple[str, dict[str, Any], type[SalesError], tuple[str, ...]]] = [
        ("lei", {"verdict": EDITED}, Invalid, ("correctedText",)),
        ("lei", {"verdict": EDITED, "corrected_text": "  \n"}, Invalid, ("correctedText",)),
        ("lei", {"verdict": USED, "reason": "长" * 50_001}, Invalid, ("reason",)),
        ("lei", {"verdict": EDITED, "corrected_text": "坏\x00字"}, Invalid, ("correctedText",)),
        ("na", {"verdict": USED}, NotFound, ("generationId",)),
        ("jun", {"verdict": USED}, Forbidden, ()),
        ("ke", {"verdict": USED}, Forbidden, ()),
    ]
    for who, more, error, path in bad:
        with pytest.raises(error) as refused:
            await feedback(company, brief, who=who, **more)
        assert refused.value.path == path
    assert await kept(company) == []
    assert "generation.feedback_given" not in await company.actions(brief.row.id)


async def test_what_nobody_was_shown_takes_no_feedback(company: Company) -> None:
    blocked = await company.script("feng", who="na")
    assert blocked.row.disposition is Disposition.BLOCKED
    brief = await company.brief()
    await veto(company, brief)
    for who, answer in (("na", blocked), ("lei", brief)):
        with pytest.raises(Conflict):
            await feedback(company, answer, USED, who)
    assert await kept(company) == []


# ---- veto ------------------------------------------------------------------------------------------------------------


async def test_a_veto_takes_the_text_from_its_requester_alone(company: Company) -> None:
    brief = await company.brief()
    before = {who: await readable(company, who, brief) for who in ("lei", "min", "ke")}
    await veto(company, brief)
    assert before == {"lei": 13, "min": 13, "ke": 13}
    assert {who: await readable(company, who, brief) for who in ("lei", "min", "ke")} == {"lei": 0, "min": 13, "ke": 13}
    now = await company.read(brief.row.id)
    assert (now.row.disposition, now.row.reason, now.bodies) == (Disposition.VETOED, "数字不对", brief.bodies)
    assert (await company.actions(brief.row.id))[-1] == "generation.vetoed"
    with pytest.raises(Conflict):
        await veto(company, brief)


async def test_legal_vetoes_what_lies_in_its_queue(company: Company) -> None:
    brief, reply = await company.brief(), await company.reply("价格太高了")
    await veto(company, brief, "jun")
    with pytest.raises(NotFound):
        await veto(company, reply, "jun")
    assert (await company.read(reply.row.id)).row.disposition is Disposition.AUTO_RELEASED


async def test_others_do_not_veto_and_a_reason_is_needed(company: Company) -> None:
    brief = await company.brief()
    for who in ("lei", "na", "fang", "ke", "boss"):
        with pytest.raises(Forbidden):
            await veto(company, brief, who)
    for reason in ("", "  ", "长" * 50_001, "坏\x00"):
        with pytest.raises(Invalid) as refused:
            await veto(company, brief, reason=reason)
        assert refused.value.path == ("reason",)
    assert (await company.read(brief.row.id)).row.disposition is Disposition.AUTO_RELEASED


# ---- measures --------------------------------------------------------------------------------------------------------


async def set_latency(company: Company, answers: list[Answer], *latencies: int) -> None:
    async with company.database.open_uow(company.people["lei"]) as uow:
        for answer, latency in zip(answers, latencies, strict=True):
            await _slow(uow, answer, latency)


async def _slow(uow: UnitOfWork, answer: Answer, latency: int) -> None:
    row = (await uow.session.execute(select(Generation).where(Generation.id == answer.row.id))).scalar_one()
    row.latency_ms = latency
    uow.note("test.latency_set", row)


async def test_measures_agree_with_counting_by_hand(company: Company, clock: Clock) -> None:
    assert await measure(company) == Metrics(0, 0, 0, 0, 0, None)
    assert (await measure(company)).adoption_rate is None
    answers = [
        await company.brief(),
        await company.brief("clinic"),
        await company.reply("价格太高了"),
        await company.script(),
        await company.brief("foreign", who="na"),
    ]
    await set_latency(company, answers, 10, 20, 30, 40, 1000)
    await company.script("feng", who="na")
    used, changed, edited, vetoed, far = answers
    await feedback(company, used, USED)
    await feedback(company, changed, USED)
    clock.advance(minutes=1)
    await feedback(company, changed, REJECTED)
    await feedback(company, edited, EDITED, corrected_text="改过的话")
    await veto(company, vetoed)
    await feedback(company, far, USED, "na")
    found = await measure(company)
    # Five were shown, one of them vetoed since; the sixth was blocked. One answer's latest feedback is a rejection.
    assert found == Metrics(shown=5, used=2, edited=1, rejected=1, vetoed=1, p95_latency_ms=1000)
    assert (found.adoption_rate, found.veto_rate) == (3 / 5, 1 / 5)
    for who in ("boss", "ke"):
        assert await measure(company, who) == found


async def test_a_window_includes_its_start_and_not_its_end(company: Company, clock: Clock) -> None:
    await company.brief()
    later = clock.advance(hours=1)
    await company.brief("clinic")
    assert (await measure(company, since=START, until=later)).shown == 1
    assert (await measure(company, since=START)).shown == 2
    assert (await measure(company, since=later, until=later + timedelta(seconds=1))).shown == 1
    with pytest.raises(Invalid) as refused:
        await measure(company, since=later, until=later)
    assert refused.value.path == ("until",)


async def test_only_some_roles_measure(company: Company) -> None:
    for who in ("lei", "yu", "jun", "fang", "dpo"):
        with pytest.raises(Forbidden):
            await measure(company, who)
