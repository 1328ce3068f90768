import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.embedding import HashingEmbedder
from knowledge.fusion import Ranking
from knowledge.index import (
    AllowedPassages,
    DuplicatePassageError,
    Floats,
    IndexDamagedError,
    PassageIndex,
    VectorIndex,
    WrongDimensionError,
)
from knowledge.lexical import LexicalIndex
from knowledge.text import query_tokens, tokenise

TEXTS = [
    "客户说价格太高，先算三年总成本",
    "价格异议：分期付款与续费折扣",
    "竞品对比：我们的维保响应更快",
    "医院采购流程与招标时间",
    "Too expensive: show the ROI model",
    "Already using a competitor product",
    "Renewal discount for a three year plan",
    "交付周期与安装培训",
]
QUERIES = ["价格太高了", "competitor discount", "维保 ROI", "没有这个词汇呀"]
EMBEDDER = HashingEmbedder(32)

Batch = tuple[bool, list[int]]
BATCHES = st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 15), unique=True, max_size=6)), max_size=12)


def text_of(passage_id: int) -> str:
    return f"{TEXTS[passage_id % len(TEXTS)]} {'补充' * (passage_id // len(TEXTS))}"


def tokens_of(ids: Sequence[int]) -> list[list[str]]:
    return [tokenise(text_of(each)) for each in ids]


def vectors_of(ids: Sequence[int]) -> Floats:
    return EMBEDDER.encode_documents([f"{text_of(each)} {each}" for each in ids])


def hits(found: Ranking) -> list[tuple[int, float]]:
    return list(zip(found.ids.tolist(), found.scores.tolist(), strict=True))


def play(batches: list[Batch], lexical: LexicalIndex, vectors: VectorIndex) -> list[int]:
    """Add and remove in batches, as a caller would, and return what should be there."""
    there: set[int] = set()
    for adding, ids in batches:
        if adding:
            new = [each for each in ids if each not in there]
            lexical.add(new, tokens_of(new))
            vectors.add(new, vectors_of(new))
            there |= {*new}
        else:
            assert lexical.remove(ids) == vectors.remove(ids) == len(there & {*ids})
            there -= {*ids}
    return sorted(there)


def assert_same(one: Ranking, other: Ranking) -> None:
    assert one.ids.tolist() == other.ids.tolist()
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-6)


def bm25(query: Sequence[str], documents: Mapping[int, Sequence[str]]) -> dict[int, float]:
    """Robertson and Zaragoza 2009, with Lucene's idf and without its constant factor k1 + 1."""
    mean = sum(map(len, documents.values())) / len(documents)
    scores: dict[int, float] = {}
    for each, tokens in documents.items():
        for token in query:
            times, holders = Counter(tokens)[token], sum(token in other for other in documents.values())
            idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
            score = idf * times / (times + 1.5 * (1 - 0.75 + 0.75 * len(tokens) / mean))
            scores[each] = scores.get(each, 0.0) + score
    return {each: score for each, score in scores.items() if score > 0}


@pytest.mark.parametrize("query", QUERIES)
def test_lexical_scores_are_bm25(query: str) -> None:
    documents = dict(enumerate(tokens_of(range(16))))
    found = LexicalIndex(documents).search(query_tokens(query), 100)
    expected = bm25(query_tokens(query), documents)
    assert dict(hits(found)) == pytest.approx(expected, rel=1e-4)


def test_the_passage_that_says_it_comes_first() -> None:
    ids = range(len(TEXTS))
    assert LexicalIndex(dict(enumerate(tokens_of(ids)))).search(query_tokens("嫌价格太高"), 3).ids[0] == 0
    assert LexicalIndex(dict(enumerate(tokens_of(ids)))).search(query_tokens("renewals, discounted"), 3).ids[0] == 6


@settings(deadline=None, max_examples=60)
@given(BATCHES)
def test_any_interleaving_equals_a_rebuild(batches: list[Batch]) -> None:
    lexical, vectors = LexicalIndex(), VectorIndex(32)
    there = play(batches, lexical, vectors)
    lexical.merge()
    rebuilt = LexicalIndex(dict(zip(there, tokens_of(there), strict=True)))
    rebuilt_vectors = VectorIndex(32)
    rebuilt_vectors.add(there, vectors_of(there))
    assert lexical.ids.tolist() == vectors.ids.tolist() == there
    for query, vector in zip(QUERIES, EMBEDDER.encode_queries(QUERIES), strict=True):
        for limit in (2, 50):
            assert hits(lexical.search(query_tokens(query), limit)) == hits(rebuilt.search(query_tokens(query), limit))
        assert_same(vectors.search(vector, 50), rebuilt_vectors.search(vector, 50))


@settings(deadline=None, max_examples=60)
@given(BATCHES)
def test_an_unmerged_index_finds_the_same_passages_and_equals_a_rebuild_once_merged(batches: list[Batch]) -> None:
    old = range(100, 300)
    lexical = LexicalIndex(dict(zip(old, tokens_of(old), strict=True)), always_merged=0)
    there = [*play(batches, lexical, VectorIndex(32)), *old]
    rebuilt = LexicalIndex(dict(zip(there, tokens_of(there), strict=True)))
    for query in QUERIES:
        found, expected = (index.search(query_tokens(query), 999) for index in (lexical, rebuilt))
        assert {*found.ids.tolist()} == {*expected.ids.tolist()}
        assert dict(hits(found)) == pytest.approx(dict(hits(expected)), rel=0.2)
    lexical.merge()
    for query in QUERIES:
        assert hits(lexical.search(query_tokens(query), 99)) == hits(rebuilt.search(query_tokens(query), 99))


def test_a_small_index_is_exact_after_each_write() -> None:
    lexical = LexicalIndex()
    for each in range(16):
        lexical.add([each], tokens_of([each]))
        rebuilt = LexicalIndex(dict(enumerate(tokens_of(range(each + 1)))))
        for query in QUERIES:
            assert hits(lexical.search(query_tokens(query), 9)) == hits(rebuilt.search(query_tokens(query), 9))


def test_a_new_passage_ranks_as_its_twin_in_the_main_segment() -> None:
    lexical = LexicalIndex(dict(enumerate(tokens_of(range(200)))), always_merged=0)
    lexical.add([1000], tokens_of([8]))
    for query in ("价格太高了", "三年 总成本"):
        scores = dict(hits(lexical.search(query_tokens(query), 500)))
        assert scores[1000] == pytest.approx(scores[8], rel=1e-5)


def test_a_new_word_can_be_found_at_once() -> None:
    lexical = LexicalIndex(dict(enumerate(tokens_of(range(200)))), always_merged=0)
    lexical.add([1000], [tokenise("量子计算")])
    assert lexical.search(query_tokens("量子"), 5).ids.tolist() == [1000]


def test_changes_beyond_a_tenth_are_merged_by_the_write_itself() -> None:
    lexical = LexicalIndex(dict(enumerate(tokens_of(range(100)))), always_merged=0)
    lexical.add(range(100, 105), tokens_of(range(100, 105)))
    unmerged = hits(lexical.search(query_tokens("价格太高"), 200))
    assert unmerged != hits(LexicalIndex(dict(enumerate(tokens_of(range(105))))).search(query_tokens("价格太高"), 200))
    lexical.add(range(105, 115), tokens_of(range(105, 115)))
    rebuilt = LexicalIndex(dict(enumerate(tokens_of(range(115)))))
    assert hits(lexical.search(query_tokens("价格太高"), 200)) == hits(rebuilt.search(query_tokens("价格太高"), 200))


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 60)), st.integers(1, 30), st.lists(st.integers(0, 39), unique=True, max_size=4))
def test_a_search_among_allowed_passages_is_the_whole_ranking_without_the_others(
    ids: set[int], limit: int, gone: list[int]
) -> None:
    lexical, vectors = LexicalIndex(dict(enumerate(tokens_of(range(40)))), always_merged=0), VectorIndex(32)
    vectors.add(range(40), vectors_of(range(40)))
    allowed = AllowedPassages([*ids])
    (vector,) = EMBEDDER.encode_queries(["价格太高了"])
    for _ in range(2):  # the second time with masks remembered from before the change
        whole, near = lexical.search(query_tokens("价格太高了"), 999), vectors.search(vector, 999)
        kept = [hit for hit in hits(whole) if hit[0] in ids][:limit]
        assert hits(lexical.search(query_tokens("价格太高了"), limit, allowed)) == kept
        expected = [each for each in near.ids.tolist() if each in ids][:limit]
        assert vectors.search(vector, limit, allowed).ids.tolist() == expected
        lexical.remove(gone)
        vectors.remove(gone)
        if 50 not in lexical.ids:
            lexical.add([50], tokens_of([0]))


def test_nothing_allowed_and_nothing_asked() -> None:
    lexical, vectors = LexicalIndex({1: ["价"]}), VectorIndex(32)
    vectors.add([1], vectors_of([1]))
    assert hits(lexical.search(["价"], 5, AllowedPassages([]))) == []
    assert hits(lexical.search([], 5)) == hits(lexical.search(["价"], 0)) == []
    assert hits(vectors.search(vectors_of([1])[0], 5, AllowedPassages([]))) == []
    assert hits(VectorIndex(32).search(vectors_of([1])[0], 5)) == []
    assert hits(LexicalIndex({1: []}).search(["价"], 5)) == []


def test_both_parts_keep_the_same_promise() -> None:
    lexical: PassageIndex[Sequence[str], Sequence[Sequence[str]]] = LexicalIndex()
    vectors: PassageIndex[Floats, Floats] = VectorIndex(32)
    lexical.add([3, 2**62], tokens_of([3, 4]))
    vectors.add([3, 2**62], vectors_of([3, 4]))
    for ids in ([5, 3], [6, 6]):
        with pytest.raises(DuplicatePassageError, match=str(ids[1])):
            lexical.add(ids, tokens_of(ids))
        with pytest.raises(DuplicatePassageError, match=str(ids[1])):
            vectors.add(ids, vectors_of(ids))
    with pytest.raises(ValueError, match="-1"):
        lexical.add([-1], [["价"]])
    with pytest.raises(ValueError, match="-1"):
        vectors.add([-1], vectors_of([1]))
    with pytest.raises(ValueError, match="2 ids for 1"):
        lexical.add([7, 8], [["价"]])
    with pytest.raises(ValueError, match="2 ids for 1"):
        vectors.add([7, 8], vectors_of([7]))
    assert len(lexical) == len(vectors) == 2
    assert lexical.ids.tolist() == vectors.ids.tolist() == [3, 2**62]


@pytest.mark.parametrize("vectors", [np.ones((1, 31)), np.ones((1, 33)), np.ones(32), np.zeros((0, 384))])
def test_a_wrong_dimension_is_named(vectors: Floats) -> None:
    index = VectorIndex(32)
    with pytest.raises(WrongDimensionError, match="32"):
        index.add([1], vectors)
    assert len(index) == 0
    with pytest.raises(WrongDimensionError, match="384"):
        index.search(np.ones(384, np.float32), 5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 2.0])
def test_vectors_that_are_no_directions_are_refused(value: float) -> None:
    vectors = vectors_of([1, 2])
    vectors[1] = 0
    vectors[1, 0] = value
    index = VectorIndex(32)
    with pytest.raises(ValueError, match="length 1"):
        index.add([1, 2], vectors)
    assert len(index) == 0


def test_beyond_the_limit_a_byte_a_component_stays_close_to_exact() -> None:
    generator = np.random.default_rng(7)
    vectors = generator.standard_normal((600, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact, small = VectorIndex(64), VectorIndex(64, exact_limit=200)
    for start in range(0, 600, 100):
        for index in (exact, small):
            index.add(range(start, start + 100), vectors[start : start + 100])
        assert small.exact is (start < 200)
    assert small.remove(range(50)) == exact.remove(range(50)) == 50
    found = [{*exact.search(query, 20).ids} & {*small.search(query, 20).ids} for query in vectors[:50]]
    assert sum(map(len, found)) / 1000 > 0.95
    assert len(small.to_bytes()) < len(exact.to_bytes()) / 2
    again = VectorIndex.from_bytes(small.to_bytes())
    assert not again.exact
    assert hits(again.search(vectors[99], 9)) == hits(small.search(vectors[99], 9))


def test_bytes_give_the_same_index_back() -> None:
    lexical, vectors = LexicalIndex(dict(enumerate(tokens_of(range(16))))), VectorIndex(32)
    vectors.add(range(16), vectors_of(range(16)))
    lexical.remove([3])
    read = LexicalIndex.from_bytes(lexical.to_bytes())
    assert read.ids.tolist() == lexical.ids.tolist()
    assert hits(read.search(query_tokens("价格太高了"), 9)) == hits(lexical.search(query_tokens("价格太高了"), 9))
    read_vectors = VectorIndex.from_bytes(vectors.to_bytes())
    read_vectors.remove([2])
    assert 2 not in read_vectors.search(vectors_of([2])[0], 16).ids
    assert len(LexicalIndex.from_bytes(LexicalIndex().to_bytes())) == 0


@pytest.mark.parametrize("data", [b"", b"no index", b"IxFI" + b"\0" * 40])
def test_bytes_that_are_no_index_are_found(data: bytes) -> None:
    with pytest.raises(IndexDamagedError):
        LexicalIndex.from_bytes(data)
    with pytest.raises(IndexDamagedError):
        VectorIndex.from_bytes(data)


def test_searches_go_on_while_another_thread_writes() -> None:
    lexical, vectors = LexicalIndex(dict(enumerate(tokens_of(range(64)))), always_merged=0), VectorIndex(32)
    vectors.add(range(64), vectors_of(range(64)))
    allowed = AllowedPassages(range(64))
    (vector,) = EMBEDDER.encode_queries(["价格太高了"])
    before = hits(lexical.search(query_tokens("价格太高了"), 5, allowed)), hits(vectors.search(vector, 5, allowed))
    finished = threading.Event()

    def write() -> None:
        for start in range(1000, 1400, 8):
            ids = range(start, start + 8)
            lexical.add(ids, tokens_of(ids))
            vectors.add(ids, vectors_of(ids))
            lexical.remove(ids)
            vectors.remove(ids)
        lexical.merge()
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not finished.is_set():
        assert [each for each, _ in hits(lexical.search(query_tokens("价格太高了"), 5, allowed))] == [
            each for each, _ in before[0]
        ]
        assert hits(vectors.search(vector, 5, allowed)) == before[1]
    writer.join()
    assert hits(lexical.search(query_tokens("价格太高了"), 5, allowed)) == before[0]
