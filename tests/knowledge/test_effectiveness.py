"""Rates with denominators: shrunk towards the mean of their kind, with intervals that are what they say."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from knowledge import KnowledgeKind, Retrieval
from knowledge.effectiveness import (
    STRONGEST,
    USUAL,
    WEAKEST,
    Counts,
    Prior,
    Segment,
    estimated,
    estimates,
    fitted,
    leaning,
    with_totals,
)
from knowledge.fusion import DENSE, LEXICAL, MethodScore
from knowledge.retrieval import EFFECTIVENESS, PRIOR_WEIGHT
from knowledge.usage import Occasion, Offer, covered, logged, normalised, remove_old
from tests.factories import START, Clock
from tests.knowledge.shelf import PRICE, Shelf


def area(a: float, b: float, upto: float, steps: int = 20_000) -> float:
    """How much of Beta(a, b) lies below a point, by Simpson's rule over its density: nothing of a library."""
    width = 1.0 / steps

    def density(x: float) -> float:
        return float(x ** (a - 1) * (1 - x) ** (b - 1)) if 0 < x < 1 else 0.0

    points = [
        density(place * width) * (1 if place in (0, steps) else 4 if place % 2 else 2) for place in range(steps + 1)
    ]
    return sum(points[: round(upto * steps)]) / sum(points)


@pytest.mark.parametrize(("x", "n", "mean", "weight"), [(7, 10, 0.4, 20.0), (0, 12, 0.3, 10.0), (130, 400, 0.5, 40.0)])
def test_the_interval_holds_95_of_100_of_the_posterior(x: int, n: int, mean: float, weight: float) -> None:
    found = estimated(x, n, Prior(mean, weight))
    a, b = x + mean * weight, n - x + (1 - mean) * weight
    assert found.rate == pytest.approx(a / (a + b))
    assert area(a, b, found.low) == pytest.approx(0.025, abs=0.001)
    assert area(a, b, found.high) == pytest.approx(0.975, abs=0.001)


def test_published_jeffreys_interval() -> None:
    """Five of ten under Beta(1/2, 1/2): 0.2235 to 0.7765 (Brown, Cai, DasGupta 2001, table 5: .224 and .776)."""
    found = estimated(5, 10, Prior(0.5, 1.0))
    assert (round(found.low, 3), round(found.high, 3)) == (0.224, 0.776)


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.02, 0.98), st.floats(WEAKEST, STRONGEST))
def test_a_rate_lies_between_what_was_counted_and_the_mean(x: int, more: int, mean: float, weight: float) -> None:
    n = x + more
    found = estimated(x, n, Prior(mean, weight))
    raw = x / n if n else mean
    assert min(raw, mean) - 1e-9 <= found.rate <= max(raw, mean) + 1e-9
    assert 0 <= found.low <= found.rate <= found.high <= 1


def test_a_small_sample_is_shrunk_more_than_a_large_one() -> None:
    prior = Prior(0.3, 20.0)
    small, large = estimated(2, 2, prior), estimated(200, 200, prior)
    assert small.rate == pytest.approx((2 + 6) / 22)
    assert large.rate == pytest.approx(206 / 220)
    assert small.high - small.low > large.high - large.low


def test_the_weight_of_a_prior_is_that_of_the_moments() -> None:
    """Six entries of 20 each, by hand: p = 0.5, S = 20*(2*.09+2*.04+2*0) = 5.2, r = (5.2-1.25)/(0.25*(120-20-5)) = 3.95/23.75."""
    counts = [(4, 20), (16, 20), (6, 20), (14, 20), (10, 20), (10, 20)]
    assert fitted(counts).weight == pytest.approx(23.75 / 3.95 - 1)
    assert fitted(counts).mean == pytest.approx(60.5 / 121)
    assert fitted([(10, 20)] * 6).weight == STRONGEST
    assert fitted(counts[:4]).weight == USUAL
    assert fitted([]) == Prior(0.5, USUAL)
    assert fitted([(0, 50), (50, 50)] * 4).weight == WEAKEST


def row(item: int, used: int, offered: int, version: int = 1, kind: KnowledgeKind = KnowledgeKind.TALK_TRACK) -> Counts:
    return Counts(UUID(int=item), version, kind, Segment.ALL, None, offered, used, used, 0, 0, 0, 0)


def test_versions_add_up_to_their_entry() -> None:
    rows = with_totals([row(1, 3, 10), row(1, 5, 20, version=2), row(2, 1, 4)])
    found = {(one.item_id.int, one.version_number): (one.used, one.offered) for one in rows}
    assert found == {(1, None): (8, 30), (1, 1): (3, 10), (1, 2): (5, 20), (2, None): (1, 4), (2, 1): (1, 4)}
    segment = [
        replace(one, segment=Segment.STAGE, segment_key="proposal")
        for one in (row(1, 3, 10), row(2, 1, 4), row(2, 1, 1, version=2))
    ]
    assert {(one.item_id.int, one.version_number) for one in with_totals(segment)} == {
        (1, None),
        (2, None),
        (2, 1),
        (2, 2),
    }


def test_each_kind_has_its_own_mean() -> None:
    rows = with_totals([row(1, 9, 10), row(2, 1, 10, kind=KnowledgeKind.POLICY)])
    talk, _, policy, _ = estimates(rows)
    assert talk["mean"] == pytest.approx(9.5 / 11)
    assert policy["mean"] == pytest.approx(1.5 / 11)


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_a_leaning_is_bounded(rate: float, mean: float) -> None:
    found = leaning(rate, mean)
    assert -1 <= found <= 1
    assert (found > 0) == (rate > mean)


# ---- rankings --------------------------------------------------------------------------------------------------------


async def test_a_track_record_decides_between_near_entries_and_is_shown(shelf: Shelf) -> None:
    other = await shelf.publish("医院嫌价格太高了", "把五年总成本摆出来。", concerns=["price_too_high"])
    before = await shelf.search("医院 价格 太高")
    assert all(line.method in {LEXICAL, DENSE} for hit in before.hits for line in hit.explanation)
    first, second = before.hits[0], before.hits[1]
    shelf.library.weigh({first.item_id: -5.0, second.item_id: 5.0})
    after = {hit.item_id: hit for hit in (await shelf.search("医院 价格 太高")).hits}
    lines = [line for line in after[second.item_id].explanation if line.method == EFFECTIVENESS]
    assert lines == [MethodScore(EFFECTIVENESS, None, 1.0, PRIOR_WEIGHT)]
    for hit, change in ((first, -PRIOR_WEIGHT), (second, PRIOR_WEIGHT)):
        assert after[hit.item_id].score == pytest.approx(min(hit.score + change, 1.0))
    assert other.id in after
    shelf.library.weigh({})
    assert await shelf.search("医院 价格 太高") == before


async def test_the_worst_record_never_outweighs_a_facet(shelf: Shelf) -> None:
    other = await shelf.publish(PRICE, "先认同，再把五年总成本摆出来：采购价只占三成。")
    found = [one.item_id for one in await shelf.find("价格太高", concerns=("price_too_high",), limit=9)]
    shelf.library.weigh({shelf.items[PRICE].id: -1.0, other.id: 1.0})
    weighed = await shelf.find("价格太高", concerns=("price_too_high",), limit=9)
    assert weighed[0].item_id == found[0] == shelf.items[PRICE].id
    assert weighed[0].explanation[-1] == MethodScore(EFFECTIVENESS, None, -1.0, PRIOR_WEIGHT)


# ---- the log ---------------------------------------------------------------------------------------------------------


async def test_each_search_is_kept_with_what_it_offered(shelf: Shelf) -> None:
    found = await shelf.find("价格太高", concerns=("price_too_high",))
    offers = [Offer(one.item_id, one.version, one.body, one.score, one.explanation) for one in found]
    async with shelf.database.open_uow(shelf.rep) as uow:
        uow.session.add_all(
            logged(uow.new_id, Occasion(START, concern="price_too_high"), "　价格 太高 ", offers, wanted_as="responses")
        )
    async with shelf.database.read() as connection:
        rows = (await connection.execute(select(Retrieval.__table__).order_by(Retrieval.rank))).all()
    assert [(row.rank, row.item_id, row.version_number) for row in rows] == [
        (rank, one.item_id, one.version) for rank, one in enumerate(found, 1)
    ]
    assert rows[0].methods[0]["method"] == LEXICAL
    assert rows[0].methods[0]["rank"] == 1


def test_a_query_is_kept_in_one_form() -> None:
    assert normalised("　ＡＢ  价格\n太高 ") == "AB 价格 太高"
    assert len(normalised("价" * 600)) == 500
    assert covered("价格太高", ["价格太高怎么办"]) == 1.0
    assert covered("价格太高", ["交期"]) == 0.0
    assert covered("", ["交期"]) == 0.0


async def test_searches_are_kept_for_400_days(shelf: Shelf, clock: Clock) -> None:
    offers = [Offer(item.id, 1, "", 1.0, ()) for item in shelf.items.values()]
    for _ in range(2):
        async with shelf.database.open_uow(shelf.rep) as uow:
            uow.session.add_all(logged(uow.new_id, Occasion(uow.now), "价格", offers, wanted_as="search"))
        clock.advance(days=300)
    assert await remove_old(shelf.database) == 1 + len(offers)
    async with shelf.database.read() as connection:
        left = (await connection.execute(select(Retrieval.at).distinct())).scalars().all()
    assert left == [START + timedelta(days=300)]
    assert await remove_old(shelf.database) == 0
