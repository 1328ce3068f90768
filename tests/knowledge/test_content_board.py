"""The content board over real rows: coverage, gaps, what is stale or never found, look-alikes, retirement."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, true, update

from domain.kernel import Actor, Conflict, Forbidden, Invalid, Language
from knowledge import (
    KnowledgeEffectiveness,
    KnowledgeItem,
    KnowledgeKind,
    LoggedSearch,
    RetirementProposal,
    Retrieval,
    board,
    gaps,
    likeness,
    retirement,
)
from knowledge.effectiveness import Segment
from knowledge.likeness import KnowledgeLikeness, LikenessMethod, Said, disagreement, figures, near_pairs
from knowledge.retirement import SEARCHES, RetirementGround, RetirementState
from knowledge.usage import Occasion, Offer, logged
from tests.factories import START, Clock
from tests.knowledge.shelf import COST, DELIVERY, PRICE, Shelf


async def rows_of(shelf: Shelf, statement: Any) -> list[Any]:
    async with shelf.database.read() as connection:
        return list((await connection.execute(statement)).all())


async def searched(shelf: Shelf, query: str, times: int = 1, offers: tuple[Offer, ...] = (), **more: Any) -> None:
    occasion = Occasion(shelf.database.clock(), **more)
    async with shelf.database.open_uow(shelf.rep) as uow:
        for _ in range(times):
            uow.session.add_all(logged(uow.new_id, occasion, query, offers, wanted_as="search"))


def offer(shelf: Shelf, key: str) -> Offer:
    return Offer(shelf.items[key].id, 1, key, 1.0, ())


# ---- coverage --------------------------------------------------------------------------------------------------------


async def test_coverage_counts_entries_that_fit_each_cell(shelf: Shelf) -> None:
    axes = (["price_too_high", "delivery_time", "not_now"], ["qualify", "proposal"], ["hospital", "electronics"])

    async def cells(**more: Any) -> dict[tuple[str, str, str], tuple[int, int]]:
        rows = await rows_of(shelf, board.facets(START, more.get("kind"), more.get("language")))
        return {
            (one.concern, one.stage, one.industry): (one.entries, one.made_for) for one in board.coverage(rows, *axes)
        }

    found = await cells()
    assert len(found) == 12
    # The Chinese entry on price is made for hospitals in the proposal stage; the English one leaves both open.
    assert found["price_too_high", "proposal", "hospital"] == (2, 1)
    assert found["price_too_high", "qualify", "hospital"] == (1, 0)
    assert found["delivery_time", "qualify", "electronics"] == (1, 0)
    assert found["not_now", "qualify", "hospital"] == (0, 0)
    assert (await cells(language=Language.EN))["price_too_high", "proposal", "hospital"] == (1, 0)
    assert set((await cells(kind=KnowledgeKind.POLICY)).values()) == {(0, 0)}
    await shelf.step(shelf.items[PRICE], "retire")
    assert (await cells())["price_too_high", "proposal", "hospital"] == (1, 0)


async def test_what_is_not_in_date_covers_nothing(shelf: Shelf) -> None:
    await shelf.publish("过期的", "内容", concerns=["not_now"], expires_at=START + timedelta(days=1))
    await shelf.publish("还没生效的", "内容", concerns=["not_now"], effective_from=START + timedelta(days=9))
    count = {}
    for days in (0, 2, 10):
        rows = await rows_of(shelf, board.facets(START + timedelta(days=days), None, None))
        (count[days],) = (one.entries for one in board.coverage(rows, ["not_now"], ["any"], ["any"]))
    assert count == {0: 1, 2: 0, 10: 1}


# ---- stale and unused ------------------------------------------------------------------------------------------------


async def test_stale_says_why_and_since_when(shelf: Shelf, clock: Clock) -> None:
    assert await rows_of(shelf, board.stale(clock())) == []
    expiring = await shelf.publish("短期政策", "内容", expires_at=START + timedelta(days=5))
    clock.advance(days=10)
    assert [(row.id, row.reason) for row in await rows_of(shelf, board.stale(clock()))] == [(expiring.id, "EXPIRED")]
    clock.advance(days=180)
    reasons = {row.id: row.reason for row in await rows_of(shelf, board.stale(clock()))}
    assert reasons == {expiring.id: "EXPIRED"} | {item.id: "REVIEW_DUE" for item in shelf.items.values()}
    async with shelf.database.writer.begin() as connection:
        await connection.execute(update(KnowledgeItem.__table__).values(review_at=None))  # type: ignore[arg-type]
    assert len(await rows_of(shelf, board.stale(clock()))) == 1
    clock.advance(days=200)
    forgotten = [row for row in await rows_of(shelf, board.stale(clock())) if row.reason == "NOT_LOOKED_AT"]
    assert {row.since for row in forgotten} == {START}


async def test_unused_is_what_no_search_has_brought_up(shelf: Shelf, clock: Clock) -> None:
    await searched(shelf, "价格太高", offers=(offer(shelf, PRICE),))
    clock.advance(days=60)
    await searched(shelf, "交期", offers=(offer(shelf, DELIVERY),))
    young = await shelf.publish("新条目", "内容")
    since = clock() - timedelta(days=30)
    found = [(row.id, row.last_at) for row in await rows_of(shelf, board.unused(since))]
    assert found == [(shelf.items[COST].id, None), (shelf.items[PRICE].id, START)]
    assert young.id not in {id for id, _ in found}
    (total,) = await rows_of(shelf, board.counted(board.unused(since)))
    assert total[0] == 2


# ---- gaps ------------------------------------------------------------------------------------------------------------


class Directions:
    """An embedder whose vectors point where the test says."""

    def encode_queries(self, texts: Any) -> Any:
        kinds = ["分期" in text or "instalment" in text for text in texts]
        return np.array([[1.0, 0.0] if kind else [0.0, 1.0] for kind in kinds], np.float32)


async def test_questions_without_a_good_hit_are_gathered_and_counted(shelf: Shelf) -> None:
    await searched(shelf, "能不能分期付款三年", times=3, concern="payment_terms")
    await searched(shelf, "分期付款三年可以吗")
    await searched(shelf, "有没有红外热像仪", times=2)
    await searched(shelf, PRICE, offers=(offer(shelf, PRICE),), times=5)
    old = START - timedelta(days=1)
    assert tuple((await rows_of(shelf, gaps.totals(old, true())))[0]) == (11, 6)
    asked = [gaps.Question(**row._mapping) for row in await rows_of(shelf, gaps.questions(old, true()))]
    assert [(one.words, one.asked, one.empty) for one in asked[:2]] == [
        ("能不能分期付款三年", 3, 3),
        ("有没有红外热像仪", 2, 2),
    ]
    for embedder in (None, Directions()):
        found = gaps.clustered(asked, embedder)
        assert [(gap.asked, gap.examples, gap.concern) for gap in found] == [
            (4, ("能不能分期付款三年", "分期付款三年可以吗"), "payment_terms"), (2, ("有没有红外热像仪",), None),
        ]  # fmt: skip
    assert await rows_of(shelf, gaps.questions(START + timedelta(days=1), true())) == []


@given(st.lists(st.text(max_size=12), min_size=1, max_size=30, unique=True))
def test_every_question_is_in_one_gap(words: list[str]) -> None:
    asked = [gaps.Question(one, place + 1, START, None, 0) for place, one in enumerate(words)]
    found = gaps.clustered(asked, None)
    assert sorted(one.words for gap in found for one in gap.questions) == sorted(words)
    assert [gap.asked for gap in found] == sorted((gap.asked for gap in found), reverse=True)


@pytest.mark.parametrize(
    ("dense", "share", "found", "poor"),
    [(0.95, 0.0, 3, False), (0.88, 0.5, 3, False), (0.88, 0.3, 3, True), (0.86, 0.2, 3, True), (None, 0.5, 3, False), (None, 0.2, 3, True), (0.99, 1.0, 0, True)],
)  # fmt: skip
async def test_what_counts_as_a_good_hit(
    shelf: Shelf, dense: float | None, share: float, found: int, poor: bool
) -> None:
    await searched(shelf, "问题")
    values = {"dense": dense, "covered": share, "found": found}
    async with shelf.database.writer.begin() as connection:
        await connection.execute(update(LoggedSearch.__table__).values(**values))  # type: ignore[arg-type]
    assert len(await rows_of(shelf, gaps.questions(START, true()))) == int(poor)


# ---- look-alikes -----------------------------------------------------------------------------------------------------


def test_figures_are_read_with_their_units() -> None:
    assert set(figures("采购价只占三成，停机占70%，交期六周，满3台打9.5折，预算1,200 万元")) == {
        ("%", 30.0), ("%", 70.0), ("week", 6.0), ("piece", 3.0), ("discount", 9.5), ("e4 yuan", 1200.0),
    }  # fmt: skip
    assert set(figures("Delivery takes 6 weeks; 15 percent discount; 45 days to pay")) == {
        ("week", 6.0),
        ("%", 15.0),
        ("day", 45.0),
    }
    assert disagreement("账期最长60天", "账期最长 60 天") == ([], [])
    assert disagreement("账期60天，首付三成", "账期90天，首付30%") == (["60天"], ["90天"])
    assert disagreement("交期6周", "账期90天") == ([], [])


FACETS = dict.fromkeys(("concerns", "stages", "roles", "industries", "competitors", "regions"), frozenset[str]())


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(list(Language)), st.integers(0, 6)), max_size=12))
def test_pairs_are_those_that_comparing_each_with_each_finds(passages: list[tuple[int, Language, int]]) -> None:
    said = [Said(UUID(int=item), language, "", "", FACETS) for item, language, _ in passages]
    angles = np.array([angle / 4 for *_, angle in passages])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) if passages else np.zeros((0, 2))
    found = {(id(pair.one), id(pair.other)) for pair in near_pairs(said, vectors, 0.96)}
    expected = {
        (id(one), id(other))
        for i, one in enumerate(said)
        for j, other in enumerate(said)
        if i < j
        and one.item_id != other.item_id
        and one.language is other.language
        and np.cos(angles[i] - angles[j]) >= 0.96
    }
    assert found == expected


async def test_look_alikes_and_differing_figures_are_found(shelf: Shelf, clock: Clock) -> None:
    text = "采购付款的账期最长{}天，超过的须由财务书面批准，每季度复核一次。"
    one = await shelf.publish("账期政策", text.format(60), concerns=["payment_terms"], industries=["hospital"])
    other = await shelf.publish("医院账期", text.format(90), concerns=["payment_terms"])
    elsewhere = await shelf.publish(
        "电子行业账期", text.format(30), concerns=["payment_terms"], industries=["electronics"]
    )
    assert await likeness.refresh(shelf.database) == 3
    found = {
        frozenset((row.item_id, row.other_item_id)): row
        for row in await rows_of(shelf, select(KnowledgeLikeness.__table__))
    }
    pair = found[frozenset((one.id, other.id))]
    assert (pair.contradicts, pair.method) == (True, LikenessMethod.WORDS)
    assert sorted([*pair.figures, *pair.other_figures]) == ["60天", "90天"]
    assert {"账期最长60天" in pair.passage, "账期最长60天" in pair.other_passage} == {True, False}
    # Hospitals and electronics are different situations: other figures are no contradiction there.
    apart = found[frozenset((one.id, elsewhere.id))]
    assert (apart.contradicts, apart.figures) == (False, [])
    assert await likeness.refresh(shelf.database) == 0
    await shelf.step(other, "retire")
    clock.advance(days=1)
    assert await likeness.refresh(shelf.database) == 1


# ---- retirement ------------------------------------------------------------------------------------------------------


async def proposals(shelf: Shelf) -> dict[Any, Any]:
    rows = await rows_of(shelf, select(RetirementProposal.__table__).order_by(RetirementProposal.created_at))
    return {row.item_id: row for row in rows}


async def poor_effect(shelf: Shelf, key: str, **more: Any) -> None:
    figures = {
        "id": shelf.database.new_id(), "item_id": shelf.items[key].id, "version_number": 1, "kind": KnowledgeKind.OBJECTION_RESPONSE, "segment": Segment.ALL,
        "segment_key": None, "offered": 40, "cited": 20, "used": 1, "edited": 0, "rejected": 12, "followed": 0, "advanced": 0, "rate": 0.05, "low": 0.01,
        "high": 0.12, "mean": 0.3, "advance_rate": 0.1, "advance_low": 0.0, "advance_high": 0.5, "advance_mean": 0.1, "computed_at": START,
    }  # fmt: skip
    async with shelf.database.writer.begin() as connection:
        await connection.execute(insert(KnowledgeEffectiveness.__table__).values(**figures | more))  # type: ignore[arg-type]


async def decide(shelf: Shelf, step: Any, proposal: Any, words: str | None, actor: Actor | None = None) -> Any:
    async with shelf.database.open_uow(actor or shelf.curator) as uow:
        return await step(uow, proposal.id, proposal.version, words)


async def test_what_has_expired_works_poorly_or_is_never_found_is_proposed_with_its_evidence(
    shelf: Shelf, clock: Clock
) -> None:
    expired = await shelf.publish("旧政策", "内容", expires_at=START + timedelta(days=60))
    await poor_effect(shelf, PRICE)
    await poor_effect(shelf, COST, high=0.31)
    clock.advance(days=91)
    for key in (PRICE, COST):
        await searched(shelf, "价格太高", offers=(offer(shelf, key),))
    await searched(shelf, "别的", times=SEARCHES - 3)
    assert await retirement.propose(shelf.database) == 2
    clock.advance(seconds=1)
    await searched(shelf, "别的")
    assert await retirement.propose(shelf.database) == 1
    found = await proposals(shelf)
    assert {item: row.ground for item, row in found.items()} == {
        expired.id: RetirementGround.EXPIRED, shelf.items[PRICE].id: RetirementGround.INEFFECTIVE, shelf.items[DELIVERY].id: RetirementGround.UNUSED,
    }  # fmt: skip
    evidence = found[shelf.items[PRICE].id].evidence
    assert (evidence["offered"], evidence["used"], evidence["high"], evidence["mean"]) == (40, 1, 0.12, 0.3)
    assert found[shelf.items[DELIVERY].id].evidence == {"days": 90, "searches": SEARCHES}
    assert await retirement.propose(shelf.database) == 0


async def test_a_curator_retires_what_is_proposed(shelf: Shelf, clock: Clock) -> None:
    await poor_effect(shelf, PRICE)
    await retirement.propose(shelf.database)
    proposal = (await proposals(shelf))[shelf.items[PRICE].id]
    with pytest.raises(Forbidden):
        await decide(shelf, retirement.accept, proposal, "停用", shelf.rep)
    assert PRICE in await shelf.titles("价格太高")
    await decide(shelf, retirement.accept, proposal, "改用新话术")
    assert PRICE not in await shelf.titles("价格太高")
    decided = (await proposals(shelf))[shelf.items[PRICE].id]
    assert (decided.state, decided.decision, decided.decided_by_id) == (
        RetirementState.ACCEPTED,
        "改用新话术",
        shelf.curator.user_id,
    )
    with pytest.raises(Conflict):
        await decide(shelf, retirement.reject, decided, "再想想")


async def test_what_a_curator_keeps_is_spared_for_90_days(shelf: Shelf, clock: Clock) -> None:
    await poor_effect(shelf, PRICE)
    await retirement.propose(shelf.database)
    proposal = (await proposals(shelf))[shelf.items[PRICE].id]
    with pytest.raises(Invalid):
        await decide(shelf, retirement.reject, proposal, " ")
    await decide(shelf, retirement.reject, proposal, "新客户还在用")
    clock.advance(days=89)
    assert await retirement.propose(shelf.database) == 0
    clock.advance(days=2)
    assert await retirement.propose(shelf.database) == 1
    assert PRICE in await shelf.titles("价格太高")


async def test_a_proposal_whose_ground_is_gone_is_withdrawn(shelf: Shelf, clock: Clock) -> None:
    await poor_effect(shelf, PRICE)
    await retirement.propose(shelf.database)
    await shelf.revise(PRICE, body="换了一种说法：先听客户说完，再算五年。")
    await retirement.propose(shelf.database)
    assert (await proposals(shelf))[shelf.items[PRICE].id].state is RetirementState.WITHDRAWN
    assert Retrieval.__unledgered__
