"""What every home of vectors promises, asked of faiss on SQLite and of pgvector on PostgreSQL alike."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from domain.kernel import Database
from knowledge.embedding import Floats, HashingEmbedder, SentenceTransformerEmbedder
from knowledge.in_database import InDatabase
from knowledge.in_process import FaissVectors
from knowledge.index import AllowedPassages, DuplicatePassageError, VectorIndex, WrongDimensionError
from knowledge.text import passages, searchable
from knowledge.vectors import Vectors
from tests.knowledge.vectors import add_passages

DEMO = Path(__file__).parents[2] / "demo" / "knowledge"
EMBEDDER = HashingEmbedder(32)
TEXTS = ["客户说价格太高", "分期付款与续费折扣", "竞品对比与维保", "Renewal discount", "交付周期与安装培训"]
IDS = [3, 7, 8, 20, 41]


async def opened(database: Database, embedder: HashingEmbedder, ids: Iterable[int] = IDS) -> Vectors:
    """The vectors that this database's home opens for a model; passages of these numbers are there."""
    if database.embedded:
        return FaissVectors(VectorIndex(embedder.dimension), embedder.fingerprint)
    await add_passages(database, ids)
    return await InDatabase(database).open(embedder, {})


@pytest.fixture
async def vectors(database: Database) -> Vectors:
    made = await opened(database, EMBEDDER)
    await made.add(IDS, EMBEDDER.encode_documents(TEXTS))
    return made


def brute_force(ids: list[int], vectors: Floats, query: Floats, limit: int) -> list[tuple[int, float]]:
    scored = [(number, float(np.dot(row.astype(np.float64), query))) for number, row in zip(ids, vectors, strict=True)]
    return sorted(scored, key=lambda hit: (-round(hit[1], 6), hit[0]))[:limit]


async def nearest(vectors: Vectors, text: str, limit: int = 9, allowed: list[int] | None = None) -> list[int]:
    (query,) = EMBEDDER.encode_queries([text])
    found = await vectors.search(query, limit, None if allowed is None else AllowedPassages(allowed))
    return [int(number) for number in found.ids]


async def state(vectors: Vectors) -> tuple[list[int], list[list[int]], list[list[float]]]:
    """Everything that can be asked of them."""
    found = [await vectors.search(query, 9) for query in EMBEDDER.encode_queries(TEXTS)]
    return (
        (await vectors.ids()).tolist(),
        [each.ids.tolist() for each in found],
        [each.scores.tolist() for each in found],
    )


async def test_the_nearest_come_first_with_their_cosines(vectors: Vectors) -> None:
    rows = EMBEDDER.encode_documents(TEXTS)
    for text, query in zip(TEXTS, EMBEDDER.encode_queries(TEXTS), strict=True):
        for limit in (1, 3, 9):
            found = await vectors.search(query, limit)
            expected = brute_force(IDS, rows, query, limit)
            assert found.ids.tolist() == [number for number, _ in expected]
            np.testing.assert_allclose(found.scores, [score for _, score in expected], atol=1e-5)
        assert (await nearest(vectors, text))[0] == IDS[TEXTS.index(text)]


async def test_only_the_allowed_are_found(vectors: Vectors) -> None:
    assert set(await nearest(vectors, "价格太高", allowed=[7, 8, 999])) == {7, 8}
    assert await nearest(vectors, "价格太高", allowed=[3]) == [3]
    assert await nearest(vectors, "价格太高", allowed=[]) == []
    assert await nearest(vectors, "价格太高", allowed=[4, 5]) == []
    assert await nearest(vectors, "价格太高", limit=0) == []


async def test_what_is_added_again_is_replaced(vectors: Vectors) -> None:
    await vectors.add([41, 3], EMBEDDER.encode_documents(["客户说价格太高", "安装培训"]))
    assert (await nearest(vectors, "客户说价格太高", 1), await vectors.count()) == ([41], 5)
    assert (await vectors.ids()).tolist() == IDS


async def test_what_is_removed_is_not_found(vectors: Vectors) -> None:
    assert await vectors.remove([3, 20, 999]) == 2
    assert await vectors.remove([3]) == 0
    assert await vectors.remove([]) == 0
    assert ((await vectors.ids()).tolist(), await vectors.count()) == ([7, 8, 41], 3)
    assert set(await nearest(vectors, "客户说价格太高")) == {7, 8, 41}


async def test_twins_are_found_in_the_order_of_their_numbers(vectors: Vectors) -> None:
    await vectors.add(IDS, EMBEDDER.encode_documents(["同一段话"] * 5))
    assert await nearest(vectors, "同一段话") == IDS
    assert await nearest(vectors, "同一段话", 2) == IDS[:2]


async def test_a_bad_batch_changes_nothing(vectors: Vectors) -> None:
    before = await state(vectors)
    good = EMBEDDER.encode_documents(["甲", "乙"])
    broken = good.copy()
    broken[1, 0] = np.nan
    for ids, batch, error, said in (
        ([7, 7], good, DuplicatePassageError, "7"),
        ([7, -8], good, ValueError, "-8"),
        ([7], good, ValueError, "1 ids for 2 vectors"),
        ([7, 8], good[:, :16], WrongDimensionError, "dimension 32"),
        ([7, 8], good * 2, ValueError, "length 1"),
        ([7, 8], broken, ValueError, "finite"),
    ):
        with pytest.raises(error, match=said):
            await vectors.add(ids, batch)
        assert await state(vectors) == before


async def test_a_query_of_another_dimension_is_refused(vectors: Vectors) -> None:
    (query,) = HashingEmbedder(64).encode_queries(["价格"])
    with pytest.raises(WrongDimensionError, match="dimension 32"):
        await vectors.search(query, 3)
    with pytest.raises(ValueError, match="length 1"):
        await vectors.search(np.zeros(32, np.float32), 3)


async def test_nothing_is_found_among_nothing(database: Database) -> None:
    vectors = await opened(database, EMBEDDER)
    assert (await vectors.count(), (await vectors.ids()).tolist()) == (0, [])
    assert await nearest(vectors, "价格") == []
    assert await nearest(vectors, "价格", allowed=[3]) == []
    await vectors.add([], np.zeros((0, 32), np.float32))
    assert await vectors.remove([3]) == 0


async def test_vectors_of_another_model_are_never_found(database: Database, vectors: Vectors) -> None:
    """Even one of the same dimension; each has its own of the same passages."""
    other = HashingEmbedder(32, seed="另一个模型")
    others = await opened(database, other, ids=[])
    assert (await others.count(), vectors.fingerprint == others.fingerprint) == (0, False)
    (query,) = other.encode_queries(["客户说价格太高"])
    assert (await others.search(query, 9)).ids.tolist() == []
    await others.add([3, 8], other.encode_documents(TEXTS[:2]))
    assert (await others.search(query, 9)).ids.tolist() == [3, 8]
    assert await others.remove([8]) == 1
    assert (await vectors.ids()).tolist() == IDS


@pytest.mark.parametrize("seed", range(3))
async def test_demo_passages_are_ranked_as_by_brute_force(
    database: Database, embedder: SentenceTransformerEmbedder, seed: int
) -> None:
    """Chinese passages with their real vectors, through any additions, replacements and removals."""
    rng = np.random.default_rng(seed)
    files = sorted(DEMO.rglob("*.md"))
    texts = [
        searchable(" / ".join(piece.title_path), piece.text)
        for file in rng.permutation(len(files))[:6]
        for piece in passages(files[file].stem, files[file].read_text(encoding="utf-8"))
    ][:16]
    real = embedder.encode_documents(texts)
    ids = sorted(rng.choice(500, len(texts), replace=False).tolist())
    if database.embedded:
        vectors: Vectors = FaissVectors(VectorIndex(embedder.dimension), embedder.fingerprint)
    else:
        await add_passages(database, ids)
        vectors = await InDatabase(database).open(embedder, {})
    there: dict[int, Floats] = {}
    for _ in range(6):
        batch = rng.choice(len(ids), 6, replace=False)
        rows = real[rng.permutation(len(ids))[:6]]
        await vectors.add([ids[at] for at in batch], rows)
        there |= {ids[at]: row for at, row in zip(batch, rows, strict=True)}
        gone = [int(each) for each in rng.choice(list(there), 2, replace=False)]
        assert await vectors.remove(gone) == 2
        for each in gone:
            del there[each]
        allowed = sorted(int(each) for each in rng.choice(ids, 8, replace=False))
        inside = [each for each in allowed if each in there]
        (query,) = embedder.encode_queries(["客户觉得价格太高怎么办"])
        found = await vectors.search(query, 8, AllowedPassages(allowed))
        expected = brute_force(inside, np.array([there[each] for each in inside]).reshape(-1, 384), query, 8)
        np.testing.assert_allclose(found.scores, [score for _, score in expected], atol=1e-5)
        assert sorted(found.ids.tolist()) == inside
        assert (await vectors.ids()).tolist() == sorted(there)
