"""The second look of a cross-encoder: what it does to an order, what is said of it, and that no search waits for it too long."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.kernel import Unavailable
from knowledge.embedding import Floats, HashingEmbedder
from knowledge.evaluation import RERANKED, JudgedSet, Question, evaluate
from knowledge.fusion import FusedHit, MethodScore
from knowledge.reranking import (
    LOADING,
    RERANK,
    SLOW,
    UNUSABLE,
    WEIGHT,
    CrossEncoderReranker,
    Reranker,
    RerankerUnusableError,
    Reranking,
    ordered,
)
from tests.knowledge.shelf import COST, DELIVERY, PRICE, Shelf
from tests.tiny_model import write_cross_encoder

QUERY = "价格太高，排产计划"
WORDS = QUERY + PRICE + DELIVERY + "先认同再把五年总成本摆出来采购价只占三成按周给出晚一天赔"


class Shortest(Reranker):
    """A reranker that holds the shorter passage for the better one, and remembers what it was asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.seen = seconds, list[str]()

    def scores(self, query: str, passages: Sequence[str]) -> Floats:
        time.sleep(self.seconds)
        self.seen += passages
        return np.array([-len(passage) for passage in passages], np.float32)


class Broken(Reranker):
    """A reranker whose scores are no numbers."""

    def scores(self, query: str, passages: Sequence[str]) -> Floats:
        return np.full(len(passages), np.nan, np.float32)


def hit(number: int, score: float) -> FusedHit:
    return FusedHit(number, score, (MethodScore("bm25", number, 10 * score, 1.0),))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.data())
def test_those_that_were_read_come_in_their_order_and_scores_add_up(fused: list[float], data: st.DataObject) -> None:
    hits = [hit(number, score) for number, score in enumerate(sorted(fused, reverse=True), 1)]
    said = np.array(data.draw(st.lists(st.floats(-5, 5, width=32), min_size=len(hits), max_size=len(hits))), np.float32)
    told = ordered(hits, said)
    assert sorted(one.passage_id for one in told) == [one.passage_id for one in hits]
    low, high = said.min(), said.max()
    for one in told:
        assert 0 <= one.score <= 1 + 1e-6
        line = one.explanation[-1]
        assert (line.method, line.weight) == (RERANK, WEIGHT)
        assert line.score == pytest.approx(float(said[one.passage_id - 1]))
        share = (line.score - low) / (high - low) if high > low else 1.0
        before = hits[one.passage_id - 1]
        assert one.score == pytest.approx(WEIGHT * share + (1 - WEIGHT) * before.score, abs=1e-5)
        assert sum(part.weight for part in one.explanation) == pytest.approx(1.0)
    assert sorted(one.explanation[-1].rank or 0 for one in told) == list(range(1, len(hits) + 1))
    best = max(hits, key=lambda one: (said[one.passage_id - 1], one.score))
    ties = [one for one in hits if said[one.passage_id - 1] == said[best.passage_id - 1]]
    assert len(ties) > 1 or next(one for one in told if one.explanation[-1].rank == 1).passage_id == best.passage_id


async def test_what_was_not_read_stays_behind_what_was() -> None:
    hits = [hit(number, 1 - number / 10) for number in range(1, 8)]
    done = await Reranking(Shortest(), count=3).apply("价格", hits, lambda one: "长" * (10 - one.passage_id))
    assert [one.passage_id for one in done.hits] == [3, 2, 1, 4, 5, 6, 7]
    assert (done.methods, done.degraded) == ((RERANK,), None)
    assert [len(one.explanation) for one in done.hits] == [2, 2, 2, 1, 1, 1, 1]
    assert all(first.score >= second.score for first, second in zip(done.hits, done.hits[1:], strict=False))


async def test_a_search_shows_the_reranker_and_goes_by_it(shelf: Shelf) -> None:
    before = await shelf.search(QUERY)
    assert before.methods == ("bm25",)
    reranker = Shortest()
    shelf.library.rerank_by(Reranking(reranker))
    found = await shelf.search(QUERY)
    assert found.methods == ("bm25", RERANK)
    assert {one.item_id for one in found.hits} == {one.item_id for one in before.hits}
    assert found.hits[0].item_id == shelf.items[DELIVERY].id
    line = found.hits[0].explanation[-1]
    assert (line.method, line.rank, line.weight) == (RERANK, 1, WEIGHT)
    assert any(seen.startswith(DELIVERY) for seen in reranker.seen)
    assert [
        one.title
        for one in await shelf.find(
            QUERY, must_match_concern=True, concerns=("delivery_time",), competitors=("yuanbai",)
        )
    ] == [DELIVERY]
    shelf.library.rerank_by(None)
    assert (await shelf.search(QUERY)).methods == ("bm25",)


async def test_a_slow_reranker_leaves_the_fused_order_and_it_is_said(shelf: Shelf) -> None:
    before = await shelf.search(QUERY)
    shelf.library.rerank_by(Reranking(Shortest(seconds=0.5), seconds=0.05))
    began = time.monotonic()
    found = await shelf.search(QUERY)
    assert time.monotonic() - began < 0.5
    assert (found.hits, found.methods) == (before.hits, before.methods)
    assert found.degraded is not None
    assert SLOW.zh in found.degraded.zh
    assert SLOW.en in found.degraded.en


@pytest.mark.parametrize(
    ("reranking", "why"),
    [(Reranking(Broken()), UNUSABLE), (Reranking(None), LOADING), (Reranking(None, UNUSABLE), UNUSABLE)],
)
async def test_without_a_reranker_that_works_the_fused_order_stands(
    shelf: Shelf, reranking: Reranking, why: object
) -> None:
    before = await shelf.search(QUERY)
    shelf.library.rerank_by(reranking)
    found = await shelf.search(QUERY)
    assert (found.hits, found.methods) == (before.hits, before.methods)
    assert getattr(why, "zh") in (found.degraded.zh if found.degraded else "")  # noqa: B009 - of either text


async def test_a_real_cross_encoder_judges_the_first_hits(shelf: Shelf, tmp_path: Path) -> None:
    reranker = CrossEncoderReranker(str(write_cross_encoder(tmp_path, WORDS)))
    shelf.library.rerank_by(Reranking(reranker, seconds=60))
    found = await shelf.search(QUERY)
    assert found.methods == ("bm25", RERANK)
    texts = {piece.item_id: piece.searchable for piece in (await shelf.library.refresh()).pieces.values()}
    for one in found.hits:
        line = one.explanation[-1]
        if one.item_id == shelf.items[DELIVERY].id:
            assert line.score == pytest.approx(float(reranker.scores(QUERY, [texts[one.item_id]])[0]), abs=1e-5)
    long = reranker.scores("价格" * 2000, ["很长" * 5000, "短"])
    assert np.isfinite(long).all()
    assert COST in shelf.items


@pytest.mark.parametrize("name", ["/nowhere/at/all", "{tmp}"])
def test_a_reranker_that_cannot_be_loaded_says_so(tmp_path: Path, name: str) -> None:
    named = name.format(tmp=tmp_path)
    with pytest.raises(RerankerUnusableError) as raised:
        CrossEncoderReranker(named)
    assert named in raised.value.text.zh
    assert "无法使用" in raised.value.text.zh


def test_a_classifier_of_several_outputs_is_no_reranker(tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    folder = write_cross_encoder(tmp_path, WORDS)
    config = BertForSequenceClassification.from_pretrained(folder).config
    config.num_labels = 3
    BertForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(RerankerUnusableError, match="3 outputs"):
        CrossEncoderReranker(str(folder))


DOCUMENTS = {
    "短": "价格太高怎么答",
    "长": "价格太高时先认同，再把五年总成本摆出来，采购价只占三成。",
    "别": "按周给出排产计划。",
}


async def test_an_evaluation_measures_the_reranker_besides() -> None:
    judged = JudgedSet(DOCUMENTS, [Question("1", "价格太高怎么答先认同", {"短": 1.0})])
    plain = await evaluate(judged, [HashingEmbedder()])
    assert RERANKED not in plain.ndcg
    assert set(plain.latency_ms) == {"without_embedding", "with_embedding"}
    both = await evaluate(judged, [HashingEmbedder()], reranking=Reranking(Shortest()))
    assert {name: both.ndcg[name] for name in plain.ndcg} == plain.ndcg
    assert both.mrr[RERANKED] == 1.0
    assert both.latency_ms["with_reranking"]["p50"] >= both.latency_ms["with_embedding"]["p50"]
    with pytest.raises(Unavailable):
        await evaluate(judged, [HashingEmbedder()], reranking=Reranking(Broken()))
