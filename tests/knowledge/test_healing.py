"""Damage to what an index is made of: it is found, nothing damaged is searched, and the next round mends it, with nobody's help."""

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from domain.kernel import Database
from knowledge import Library, in_database, pgvector
from knowledge.embedding import HashingEmbedder
from knowledge.generations import GenerationStore
from knowledge.in_database import InDatabase, PgVectors
from knowledge.index import AllowedPassages, IndexDamagedError
from knowledge.lexical import LexicalIndex
from knowledge.retrieval import Stock
from knowledge.vectors import Dense, Standing
from tests.factories import execute
from tests.installation import ROOT
from tests.knowledge.shelf import PRICE, TRAINING, Shelf
from tests.knowledge.vectors import add_passages

EMBEDDER = HashingEmbedder(32)
QUERIES = ("医院说价格太高", "排产计划", "price over five years", "五年总成本")
FILES = ("lexical.npz", "vectors.faiss", "contents.npz", "manifest.json", "SHA256SUMS")


async def begun(shelf: Shelf, store: Path | None = None, *, seed: str = "") -> Shelf:
    """A process that has just begun, with its model; its vectors have not been looked at."""
    kept = GenerationStore(store) if store else None
    again = replace(shelf, library=Library(shelf.database, kept, in_database=False if store else None))
    await again.library.refresh()
    await again.library.use_embedder(HashingEmbedder(32, seed))
    return again


async def answers(shelf: Shelf) -> list[Any]:
    """What is found for each query, and by which methods."""
    found = [await shelf.search(query) for query in QUERIES]
    return [(each.hits, each.methods, each.degraded) for each in found]


async def words_alone(shelf: Shelf) -> None:
    """Answers go on, and say that words alone served and why."""
    for query in QUERIES:
        found = await shelf.search(query)
        assert found.methods == ("bm25",)
        assert found.degraded is not None
        assert all([line.method for line in hit.explanation] == ["bm25"] for hit in found.hits)
        assert found.hits
    status = await shelf.library.status()
    assert status.methods == ("bm25",)
    assert status.lacking == status.passages


# ---- the stored generation -------------------------------------------------------------------------------------------


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def told(directory: Path, **fields: object) -> None:
    """Change the manifest as another version of the program would have written it: with sound checksums."""
    path, sums = directory / "manifest.json", directory / "SHA256SUMS"
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    sums.write_text(sums.read_text().replace(old, hashlib.sha256(path.read_bytes()).hexdigest()))


Spoil = Callable[[Path], object]
DAMAGES: list[tuple[str, Spoil]] = [
    *((f"{what.__name__} {name}", lambda at, name=name, what=what: what(at / name)) for name in FILES for what in (flipped, cut, emptied, Path.unlink)),
    ("another tokeniser", lambda at: told(at, tokeniser_version="旧")),
    ("another format", lambda at: told(at, format=1)),
    ("fewer passages told", lambda at: told(at, passage_count=3)),
    ("more vectors told", lambda at: told(at, vector_count=9)),
    ("another model told", lambda at: told(at, model=json.loads((at / "manifest.json").read_text())["model"] | {"fingerprint": "0" * 64})),
    ("a pointer to nowhere", lambda at: (at.parent / "ACTIVE").write_text("generation-000000000009-0123456789abcdef")),
]  # fmt: skip


@pytest.fixture
async def kept(shelf: Shelf, tmp_path: Path) -> Path:
    """A stored generation of the shelf, by a process that has ended."""
    store = tmp_path / "索引"
    assert await (await begun(shelf, store)).library.embed() == 4
    return store


@pytest.mark.parametrize(("name", "spoil"), DAMAGES, ids=[name for name, _ in DAMAGES])
async def test_a_damaged_generation_is_found_and_made_anew(shelf: Shelf, kept: Path, name: str, spoil: Spoil) -> None:
    sound = await begun(shelf, kept)
    await sound.library.embed()
    wanted = await answers(sound)
    spoil(kept / GenerationStore(kept).manifest().name)
    again = await begun(shelf, kept)
    await words_alone(again)
    await again.library.embed()
    rejected = (await again.library.status()).rejected
    assert rejected is not None, name
    assert rejected.at == shelf.database.clock()
    assert await answers(again) == wanted
    after = await begun(shelf, kept)
    assert await after.library.embed() == 0
    assert (await after.library.status()).rejected is None
    assert await answers(after) == wanted


async def test_a_model_of_the_same_dimension_never_searches_the_others_vectors(shelf: Shelf, kept: Path) -> None:
    other = await begun(shelf, kept, seed="另一个模型")
    await words_alone(other)
    assert await other.library.embed() == 4
    fresh = replace(shelf, library=Library(shelf.database, in_database=False))
    await fresh.library.use_embedder(HashingEmbedder(32, "另一个模型"))
    await fresh.library.embed()
    assert await answers(other) == await answers(fresh)
    rejected = (await other.library.status()).rejected
    assert rejected is not None
    assert "was built by" in rejected.reason


DYING = """
import os, signal, sys
from pathlib import Path
from knowledge.embedding import HashingEmbedder, ModelIdentity
from knowledge.generations import GenerationStore
from knowledge.index import VectorIndex
from knowledge.lexical import LexicalIndex
from knowledge.text import tokenise

root, last = Path(sys.argv[1]), int(sys.argv[2])
done, fsync, rename, replace = 0, os.fsync, Path.rename, Path.replace

def counted(real):
    def act(*given):
        global done
        done += 1
        if done == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given)
    return act

os.fsync, Path.rename, Path.replace = counted(fsync), counted(rename), counted(replace)
texts = ["客户说价格太高", "排产计划每周更新"]
embedder, vectors = HashingEmbedder(32), VectorIndex(32)
vectors.add([1, 2], embedder.encode_documents(texts))
lexical = LexicalIndex({1: tokenise(texts[0]), 2: tokenise(texts[1])})
GenerationStore(root).save(99, {1: "11" * 32, 2: "22" * 32}, lexical, vectors, ModelIdentity.of(embedder))
"""


async def test_a_process_killed_while_it_stores_leaves_a_whole_generation(shelf: Shelf, kept: Path) -> None:
    """At each of the steps at which it writes; the last run comes to its end."""
    if not shelf.database.embedded:
        pytest.skip("the files are the same")
    store, before = GenerationStore(kept), GenerationStore(kept).manifest()
    seen = set()
    for last in range(1, 20):
        own = os.environ | {"PYTHONPATH": str(ROOT)}
        died = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING, str(kept), str(last), env=own)
        await died.wait()
        manifest = store.manifest()
        seen.add(manifest.publication)
        assert manifest.name == before.name or manifest.publication == 99
        assert len(store.load_lexical(manifest)) == manifest.passage_count
        assert manifest.model is not None
        assert len(store.load_vectors(manifest, manifest.model)) == manifest.vector_count
        if died.returncode == 0:
            break
        assert died.returncode == -signal.SIGKILL
    assert seen == {before.publication, 99}
    again = await begun(shelf, kept)
    await again.library.embed()
    fresh = await begun(shelf)
    await fresh.library.embed()
    assert await answers(again) == await answers(fresh)


# ---- kept vectors ----------------------------------------------------------------------------------------------------

CACHED: list[tuple[str, dict[str, str]]] = [
    ("emptied", {"sqlite": "UPDATE cached_vectors SET vector = x''", "postgresql": "UPDATE cached_vectors SET vector = ''"}),
    ("cut", {"sqlite": "UPDATE cached_vectors SET vector = substr(vector, 1, 50)", "postgresql": "UPDATE cached_vectors SET vector = substr(vector, 1, 50)"}),
    ("of the other texts", dict.fromkeys(("sqlite", "postgresql"), "UPDATE cached_vectors AS one SET vector = (SELECT other.vector FROM cached_vectors other WHERE other.content_hash <> one.content_hash ORDER BY other.content_hash LIMIT 1)")),
    ("cut, from before there were checksums", dict.fromkeys(("sqlite", "postgresql"), "UPDATE cached_vectors SET vector = substr(vector, 1, 50), checksum = NULL")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "statements"), CACHED, ids=[name for name, _ in CACHED])
async def test_a_damaged_cache_of_vectors_is_computed_again(
    shelf: Shelf, backend: str, name: str, statements: dict[str, str]
) -> None:
    first = await begun(shelf)
    await first.library.embed()
    wanted = await answers(first)
    await execute(shelf.database, statements[backend])
    again = replace(shelf, library=Library(shelf.database, in_database=False))
    await again.library.use_embedder(EMBEDDER)
    assert await again.library.embed() == 4
    assert await answers(again) == wanted, name
    third = replace(shelf, library=Library(shelf.database, in_database=False))
    counted = HashingEmbedder(32)
    counted.encode_documents = None  # type: ignore[assignment,method-assign]
    await third.library.use_embedder(counted)
    assert await third.library.embed() == 4


# ---- vectors in the database -----------------------------------------------------------------------------------------


NO_INDEX = """DO $$ DECLARE one record; BEGIN
FOR one IN SELECT indexname FROM pg_indexes WHERE tablename = 'passage_vectors' AND indexdef LIKE '%hnsw%'
LOOP EXECUTE format('DROP INDEX %I', one.indexname); END LOOP; END $$"""


@pytest.fixture
async def postgresql(database: Database) -> None:
    if database.embedded:
        pytest.skip("SQLite has its vectors in the process")
    # An index that another test has left knows the dimension, and the damage could not be done.
    await execute(database, NO_INDEX)


GONE = "DROP TABLE passage_vectors"
ROWS = {
    "one vector deleted": "DELETE FROM passage_vectors WHERE passage_number = (SELECT min(passage_number) FROM passage_vectors)",
    "all vectors deleted": "TRUNCATE passage_vectors",
    "vectors of another model": "UPDATE passage_vectors SET embedding = (SELECT array_agg(-one)::vector FROM unnest(embedding::real[]) AS one)",
    "vectors of another dimension": "UPDATE passage_vectors SET embedding = '[1,0,0]'",
    "a component changed": "UPDATE passage_vectors SET embedding = (SELECT array_agg(CASE WHEN at = 5 THEN one + 0.001 ELSE one END ORDER BY at)::vector FROM unnest(embedding::real[]) WITH ORDINALITY AS part (one, at))",
    "vectors from before there were checksums": "UPDATE passage_vectors SET checksum = NULL",
}  # fmt: skip


@pytest.mark.parametrize("damage", ROWS.values(), ids=ROWS)
async def test_damaged_rows_are_found_at_the_start_and_made_anew(shelf: Shelf, postgresql: None, damage: str) -> None:
    first = await begun(shelf)
    await first.library.embed()
    wanted = await answers(first)
    await execute(shelf.database, damage)
    again = await begun(shelf)
    await words_alone(again)
    await again.library.embed()
    status = await again.library.status()
    assert (status.rejected is None) == ("DELETE" in damage or "TRUNCATE" in damage)
    assert await answers(again) == wanted
    third = await begun(shelf)
    assert await third.library.embed() == 0
    assert (await third.library.status()).rejected is None


STOPPING = {"vectors of another dimension": ROWS["vectors of another dimension"], "the table gone": GONE}


@pytest.mark.parametrize("damage", STOPPING.values(), ids=STOPPING)
async def test_damage_that_stops_a_search_is_searched_by_words_until_it_is_mended(
    shelf: Shelf, postgresql: None, damage: str
) -> None:
    running = await begun(shelf)
    await running.library.embed()
    wanted = await answers(running)
    await execute(shelf.database, damage)
    found = await running.search("医院说价格太高")
    assert (found.methods, found.hits[0].item_id) == (("bm25",), shelf.items[PRICE].id)
    assert found.degraded is not None
    assert "正在修复" in found.degraded.zh
    assert (await running.find("医院说价格太高"))[0].title == PRICE
    await running.library.embed()
    assert await answers(running) == wanted


async def test_vectors_that_vanish_are_missed_while_it_runs(
    shelf: Shelf, postgresql: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge.library.RECOUNT_SECONDS", 0.0)
    running = await begun(shelf)
    await running.library.embed()
    assert (await running.search("排产计划")).degraded is None
    await execute(shelf.database, "TRUNCATE passage_vectors")
    degraded = (await running.search("排产计划")).degraded
    assert degraded is not None
    assert degraded.zh == "4 个段落还没有向量"
    await running.library.embed()
    assert (await running.search("排产计划")).degraded is None


async def many(database: Database, monkeypatch: pytest.MonkeyPatch) -> tuple[InDatabase, Dense, Any]:
    """A home with more vectors than are compared one by one, with the model's index."""
    monkeypatch.setattr(in_database, "EXACT_LIMIT", 100)
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(1_000, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    await add_passages(database, range(100, 1_100))
    home = InDatabase(database)
    dense = Dense(EMBEDDER, await home.open(EMBEDDER, {}))
    await dense.vectors.add(range(100, 1_100), rows)
    await home.keep(dense, Stock(1), LexicalIndex(), changed=True)
    return home, dense, rows


async def validity(database: Database) -> bool | None:
    name = pgvector.index_name(EMBEDDER.fingerprint)
    async with database.read() as connection:
        return await in_database._index_validity(connection, name)


INDEXES = {
    "gone": f'DROP INDEX "{pgvector.index_name(EMBEDDER.fingerprint)}"',
    "cut off while it was built": f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('{pgvector.index_name(EMBEDDER.fingerprint)}')",
}


@pytest.mark.parametrize("damage", INDEXES.values(), ids=INDEXES)
async def test_an_index_that_is_not_there_is_made_anew(
    database: Database, postgresql: None, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    home, dense, _ = await many(database, monkeypatch)
    assert await home.standing(dense.vectors, Stock(1)) is Standing.WHOLE
    await execute(database, damage)
    assert await home.standing(dense.vectors, Stock(1)) is Standing.SERVING
    await home.keep(dense, Stock(1), LexicalIndex(), changed=False)
    assert await validity(database)
    assert await home.standing(dense.vectors, Stock(1)) is Standing.WHOLE


async def test_an_index_that_cannot_be_read_is_passed_over_and_made_anew(
    database: Database, postgresql: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, dense, rows = await many(database, monkeypatch)
    vectors, allowed = dense.vectors, AllowedPassages(range(100, 1_100))
    assert isinstance(vectors, PgVectors)
    sound = vectors._nearest
    monkeypatch.setattr(vectors, "_nearest", text("SELECT 1 / 0 AS passage_number WHERE :wanted > 0"))
    found = await vectors.search(rows[3], 5, allowed)
    assert found.ids.tolist() == (np.argsort(-(rows @ rows[3]))[:5] + 100).tolist()
    assert vectors.index_damage is not None
    assert await home.standing(vectors, Stock(1)) is Standing.SERVING
    assert home.rejected is not None
    monkeypatch.setattr(vectors, "_nearest", sound)
    await home.keep(dense, Stock(1), LexicalIndex(), changed=False)
    assert vectors.index_damage is None
    assert await home.standing(vectors, Stock(1)) is Standing.WHOLE
    assert (await vectors.search(rows[3], 5, allowed)).ids[0] == 103


async def test_a_table_that_is_gone_is_damage(database: Database, postgresql: None) -> None:
    vectors = await InDatabase(database).open(EMBEDDER, {})
    await execute(database, GONE)
    for look in (vectors.count(), vectors.ids(), vectors.search(EMBEDDER.encode_queries(["价格"])[0], 3)):
        with pytest.raises(IndexDamagedError, match="passage_vectors"):
            await look
    await InDatabase(database).open(EMBEDDER, {})
    assert await vectors.count() == 0


async def test_a_publication_amid_damage_is_found(shelf: Shelf, postgresql: None) -> None:
    running = await begun(shelf)
    await running.library.embed()
    await execute(shelf.database, ROWS["vectors of another dimension"])
    shelf.items[TRAINING] = await shelf.publish(TRAINING, "装机后送培训。")
    assert await running.titles("培训") == [TRAINING]
    assert await running.library.embed() == 5
    assert (await running.titles("培训"))[0] == TRAINING
