import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.fusion import CANDIDATE_LIMIT, DENSE, LEXICAL, MethodScore, Ranking, dense_weight, fuse
from knowledge.text import Script

ZH, EN, NEITHER = Script.ZH, Script.EN, Script.NEITHER


def ranking(**scores: float) -> Ranking:
    ids = np.array([int(name[1:]) for name in scores], np.int64)
    return Ranking.best(ids, np.array(list(scores.values()), np.float32), len(ids))


RANKINGS = st.dictionaries(st.integers(0, 40), st.floats(0, 30, width=32), max_size=20).map(
    lambda found: Ranking.best(np.array([*found], np.int64), np.array([*found.values()], np.float32), len(found))
)


@pytest.mark.parametrize(
    ("query", "document", "weight"),
    [
        (ZH, ZH, 0.55),
        (EN, EN, 0.8),
        (ZH, EN, 0.9),
        (EN, ZH, 0.9),
        (NEITHER, ZH, 0.55),
        (NEITHER, EN, 0.8),
        (ZH, NEITHER, 0.55),
        (NEITHER, NEITHER, 0.8),
    ],
)
def test_dense_weight_by_script(query: Script, document: Script, weight: float) -> None:
    assert dense_weight(query, document) == weight


def test_a_chinese_query_worked_by_hand() -> None:
    lexical = ranking(p1=10.0, p2=6.0, p3=2.0)
    dense = ranking(p2=0.9, p4=0.85, p1=0.8)
    hits = fuse(lexical, dense, ZH, {1: ZH, 2: ZH, 3: ZH, 4: EN}, limit=10)
    # 2: 0.45 · 0.5 + 0.55 · 1; 1: 0.45 · 1 + 0.55 · 0; 4, English: 0.9 · 0.5; 3: the lexical minimum.
    assert [hit.passage_id for hit in hits] == [2, 4, 1, 3]
    assert [hit.score for hit in hits] == pytest.approx([0.775, 0.45, 0.45, 0.0], abs=1e-6)
    assert [(part.method, part.rank) for part in hits[1].explanation] == [(LEXICAL, None), (DENSE, 2)]
    assert [part.weight for part in hits[1].explanation] == pytest.approx([0.1, 0.9])
    assert [part.score for part in hits[1].explanation] == pytest.approx([0.0, 0.85])
    assert hits[0].explanation[0] == MethodScore(LEXICAL, 2, 6.0, 1 - 0.55)


def test_a_document_has_the_best_of_its_passages_from_each_list() -> None:
    lexical = ranking(p1=10.0, p3=8.0, p9=0.0)
    dense = ranking(p2=0.9, p3=0.7, p9=0.5)
    found = fuse(lexical, dense, ZH, lambda _: ZH, 10, {1: "甲", 2: "甲", 3: "乙", 9: "丙"}.__getitem__)
    # 甲: 1 from passage 1 by words, 1 from passage 2 by meaning, which weighs more; 乙: 0.45 · 0.8 + 0.55 · 0.5.
    assert [hit.passage_id for hit in found] == [2, 3, 9]
    assert [hit.score for hit in found] == pytest.approx([1.0, 0.635, 0.0], abs=1e-6)
    assert [part.rank for part in found[0].explanation] == [1, 1]


def test_without_vectors_words_decide_alone() -> None:
    hits = fuse(ranking(p1=4.0, p2=3.0, p3=1.0), None, ZH, lambda _: EN, limit=2)
    assert [(hit.passage_id, hit.explanation) for hit in hits] == [
        (1, (MethodScore(LEXICAL, 1, 4.0, 1.0),)),
        (2, (MethodScore(LEXICAL, 2, 3.0, 1.0),)),
    ]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 2 / 3])


def test_found_alone_is_better_than_not_found() -> None:
    hits = fuse(ranking(p7=2.5), ranking(p1=0.8, p2=0.8), ZH, lambda _: ZH, limit=5)
    assert [(hit.passage_id, round(hit.score, 6)) for hit in hits] == [(1, 0.55), (2, 0.55), (7, 0.45)]


def test_nothing_found_is_an_empty_list() -> None:
    assert fuse(ranking(), None, ZH, {}, 5) == []
    assert fuse(ranking(), ranking(), ZH, {}, 5) == []


def test_only_the_first_candidates_of_each_list_count() -> None:
    ids = np.arange(CANDIDATE_LIMIT + 50)
    long = Ranking.best(ids, np.linspace(9, 1, len(ids), dtype=np.float32), len(ids))
    hits = fuse(long, None, ZH, lambda _: ZH, limit=1000)
    assert len(hits) == CANDIDATE_LIMIT
    assert hits[-1].score == 0


@given(RANKINGS, RANKINGS, st.sampled_from(Script), st.integers(1, 50))
def test_the_explanation_adds_up(lexical: Ranking, dense: Ranking, query: Script, limit: int) -> None:
    hits = fuse(lexical, dense, query, lambda each: [ZH, EN][each % 2], limit)
    assert len(hits) == min(limit, len({*lexical.ids.tolist(), *dense.ids.tolist()}))
    assert [(-hit.score, hit.passage_id) for hit in hits] == sorted((-hit.score, hit.passage_id) for hit in hits)
    for hit in hits:
        total = 0.0
        for part, found in zip(hit.explanation, (lexical, dense), strict=True):
            if part.rank is None:
                assert hit.passage_id not in found.ids
                continue
            assert found.ids[part.rank - 1] == hit.passage_id
            assert found.scores[part.rank - 1] == part.score
            low, high = float(found.scores.min()), float(found.scores.max())
            total += part.weight * ((part.score - low) / (high - low) if high > low else 1.0)
        assert hit.score == pytest.approx(total)
        assert sum(part.weight for part in hit.explanation) == pytest.approx(1)


@given(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from([0.5, 1.0, 2.0])), unique_by=lambda hit: hit[0]),
    st.integers(0, 20),
)
def test_a_ranking_is_the_best_in_order_whatever_came_first(hits: list[tuple[int, float]], limit: int) -> None:
    expected = sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:limit]
    for given_hits in (hits, hits[::-1]):
        ids = np.array([each for each, _ in given_hits], np.int64)
        found = Ranking.best(ids, np.array([score for _, score in given_hits], np.float32), limit)
        assert list(zip(found.ids.tolist(), found.scores.tolist(), strict=True)) == expected
