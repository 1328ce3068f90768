"""What became of the entries that answers were offered: every number against the story that made it."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from assistant import outcomes, review
from assistant.model import FeedbackVerdict, GenerationKind
from domain import deals
from domain.kernel import SYSTEM, Language
from knowledge import KnowledgeEffectiveness, LoggedSearch, Retrieval
from knowledge.effectiveness import NUMBERS, Segment, priors
from tests.assistant.company import Answer, Company
from tests.factories import Clock

PRICE = "院长说你们的监护仪价格太高了，13800001234 打给我"


async def judged(company: Company, answer: Answer, verdict: FeedbackVerdict) -> None:
    async with company.database.open_uow(company.people["lei"]) as uow:
        edited = "改过的话" if verdict is FeedbackVerdict.EDITED else None
        await review.give_feedback(uow, answer.row.id, verdict, corrected_text=edited)


async def moved(company: Company, deal: str, stage: str) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        opportunity = await uow.session.get(deals.Opportunity, company.deals[deal].id)
        assert opportunity is not None
        await deals.move_opportunity(uow, opportunity, company.stages[stage])


async def effects(company: Company, segment: Segment = Segment.ALL, *, version: int | None = 1) -> dict[UUID, Any]:
    """The figures of one segment by entry."""
    await outcomes.refresh(company.database)
    effect = KnowledgeEffectiveness
    number = effect.version_number.is_(None) if version is None else effect.version_number == version
    async with company.database.read() as connection:
        rows = await connection.execute(select(effect.__table__).where(effect.segment == segment, number))
        return {row.item_id: row for row in rows}


def numbers(row: Any) -> dict[str, int]:
    return {name: getattr(row, name) for name in NUMBERS}


def cited(answer: Answer) -> set[UUID]:
    return {citation.item_id for citation in answer.citations if citation.item_id is not None}


async def test_each_search_for_an_answer_is_kept_with_its_segment_and_without_personal_data(company: Company) -> None:
    answer = await company.reply(PRICE, category="price_too_high")
    async with company.database.read() as connection:
        searches = (await connection.execute(select(LoggedSearch.__table__))).all()
        retrieved = (await connection.execute(select(Retrieval.__table__))).all()
    assert {search.wanted_as for search in searches} == {"responses", "proofs"}
    for search in searches:
        assert (search.generation_id, search.user_id) == (answer.row.id, company.people["lei"].user_id)
        assert (search.concern, search.language, search.industry) == ("price_too_high", Language.ZH, "hospital")
        assert (search.opportunity_id, search.stage) == (company.deals["hospital"].id, "proposal")
        assert "13800001234" not in search.query
        assert "监护仪价格太高" in search.query
    by_search = {search.id: search for search in searches}
    assert all(row.methods is not None and by_search[row.search_id].wanted_as == row.wanted_as for row in retrieved)
    for search in searches:
        ranks = sorted(row.rank for row in retrieved if row.search_id == search.id)
        assert ranks == list(range(1, search.found + 1))
    assert cited(answer) <= {row.item_id for row in retrieved}


async def test_offered_used_edited_and_rejected_are_counted_by_answer(company: Company, clock: Clock) -> None:
    answers = [await company.reply("价格太高了", category="price_too_high") for _ in range(4)]
    for answer, verdict in zip(
        answers, (FeedbackVerdict.USED, FeedbackVerdict.EDITED, FeedbackVerdict.REJECTED), strict=False
    ):
        await judged(company, answer, verdict)
    # The latest word of a person counts.
    await judged(company, answers[2], FeedbackVerdict.USED)
    clock.advance(minutes=1)
    await judged(company, answers[2], FeedbackVerdict.REJECTED)
    found = await effects(company)
    one = next(iter(cited(answers[0])))
    expected = {"offered": 4, "cited": 4, "used": 2, "edited": 1, "rejected": 1, "followed": 0, "advanced": 0}
    assert numbers(found[one]) == expected
    assert found[one].low < found[one].rate < found[one].high
    assert numbers((await effects(company, version=None))[one]) == expected


async def test_what_was_offered_and_not_cited_has_its_denominator(company: Company) -> None:
    answer = await company.brief()
    await judged(company, answer, FeedbackVerdict.USED)
    found = await effects(company)
    assert {item for item, row in found.items() if row.used} == cited(answer)
    uncited = found.keys() - cited(answer)
    assert uncited
    assert all(numbers(found[item]) == dict.fromkeys(NUMBERS, 0) | {"offered": 1} for item in uncited)


@pytest.mark.parametrize(
    ("days", "stage", "advanced"), [(3, "won", 1), (13.9, "won", 1), (15, "won", 0), (3, "qualify", 0)]
)
async def test_a_use_counts_as_advanced_where_the_deal_moves_on_within_14_days(
    company: Company, clock: Clock, days: float, stage: str, advanced: int
) -> None:
    answer = await company.reply("价格太高了", category="price_too_high")
    await judged(company, answer, FeedbackVerdict.USED)
    one = next(iter(cited(answer)))
    before = numbers((await effects(company))[one])
    assert (before["followed"], before["advanced"]) == (0, 0)
    clock.advance(days=days)
    await moved(company, "hospital", stage)
    clock.advance(days=15)
    after = numbers((await effects(company))[one])
    assert (after["used"], after["followed"], after["advanced"]) == (1, 1, advanced)


async def test_segments_are_counted_apart(company: Company, clock: Clock) -> None:
    price = await company.reply("价格太高了", category="price_too_high")
    delivery = await company.reply("交期来不及", category="delivery_time")
    await judged(company, price, FeedbackVerdict.USED)
    concerns = await effects(company, Segment.CONCERN, version=None)
    keys = {row.segment_key for row in concerns.values()}
    assert keys == {"price_too_high", "delivery_time"}
    clock.advance(days=1)
    industries = await effects(company, Segment.INDUSTRY, version=None)
    shared = cited(price) & industries.keys()
    assert {industries[item].segment_key for item in shared} == {"hospital"}
    assert sum(row.used for row in industries.values()) == len(cited(price))
    assert cited(delivery)


async def test_what_nobody_was_shown_or_is_over_a_year_old_is_no_offer(company: Company, clock: Clock) -> None:
    answer = await company.reply("价格太高了", category="price_too_high")
    async with company.database.open_uow(company.people["min"]) as uow:
        await review.veto(uow, answer.row.id, "说法不妥")
    one = next(iter(cited(answer)))
    found = numbers((await effects(company))[one])
    assert (found["offered"], found["used"], found["rejected"]) == (1, 0, 1)
    clock.advance(days=366)
    assert await effects(company) == {}


async def test_it_is_counted_every_six_hours(company: Company, clock: Clock) -> None:
    await company.reply("价格太高了", category="price_too_high")
    count = await outcomes.refresh(company.database)
    assert count > 0
    assert await outcomes.refresh(company.database) == 0
    clock.advance(hours=6)
    assert await outcomes.refresh(company.database) == count


async def test_a_small_sample_does_not_count_in_rankings(company: Company, clock: Clock) -> None:
    await company.reply("价格太高了", category="price_too_high")
    await outcomes.refresh(company.database)
    assert await priors(company.database) == {}
    async with company.database.writer.begin() as connection:
        await connection.execute(KnowledgeEffectiveness.__table__.update().values(offered=30))  # type: ignore[attr-defined]
    found = await priors(company.database)
    assert found
    assert all(-1 <= leaning <= 1 for leaning in found.values())


async def test_a_brief_is_counted_by_the_deal_that_it_spoke_of(company: Company, clock: Clock) -> None:
    answer = await company.run(
        company.ask(
            GenerationKind.VISIT_BRIEF, company.accounts["hospital"].id, opportunity_id=company.deals["hospital"].id
        )
    )
    await judged(company, answer, FeedbackVerdict.USED)
    clock.now += timedelta(days=15)
    found = await effects(company)
    assert {found[item].followed for item in cited(answer)} == {1}


async def test_two_that_count_at_once_keep_one_set_of_figures(company: Company) -> None:
    await company.reply("价格太高了", category="price_too_high")
    counts = await asyncio.gather(outcomes.refresh(company.database), outcomes.refresh(company.database))
    async with company.database.read() as connection:
        rows = (await connection.execute(select(KnowledgeEffectiveness.id))).all()
    assert len(rows) == max(counts) > 0
