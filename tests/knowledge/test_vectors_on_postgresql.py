"""Vectors in the database as several processes share them, and PostgreSQL without the extension."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

import migrations
from domain.kernel import Database
from domain.kernel.reader import SETTINGS
from domain.ledger import LedgerRecorder
from knowledge import Library, in_database, pgvector
from knowledge.embedding import Floats, HashingEmbedder
from knowledge.in_database import InDatabase, PgVectors
from knowledge.index import AllowedPassages, IndexMismatchError
from knowledge.lexical import LexicalIndex
from knowledge.retrieval import Stock
from knowledge.vector_cache import turn
from knowledge.vectors import Dense, Standing, Vectors
from tests.factories import Clock, execute
from tests.knowledge.shelf import PRICE, TRAINING, Shelf
from tests.knowledge.vectors import add_passages

EMBEDDER = HashingEmbedder(32)


@pytest.fixture(autouse=True)
def postgresql(database: Database) -> None:
    if database.embedded:
        pytest.skip("SQLite has its vectors in the process")


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Database]:
    """The same database as another process has it."""
    made = Database(database.url, LedgerRecorder(), clock=database.clock)
    yield made
    await made.close()


async def opened(database: Database) -> Vectors:
    return await InDatabase(database).open(EMBEDDER, {})


async def test_another_process_sees_every_change_at_once(database: Database, other: Database) -> None:
    await add_passages(database, [3, 7])
    here, there = await opened(database), await opened(other)
    rows = EMBEDDER.encode_documents(["客户说价格太高", "安装培训"])
    await here.add([3, 7], rows)
    assert (await there.search(rows[0], 1)).ids.tolist() == [3]
    await there.add([3, 7], rows[::-1])
    assert (await here.search(rows[0], 1)).ids.tolist() == [7]
    await here.remove([7])
    assert (await there.count(), (await there.search(rows[0], 9)).ids.tolist()) == (1, [3])


async def test_a_deleted_passage_takes_its_vector_along_and_gets_none_afterwards(database: Database) -> None:
    await add_passages(database, [3, 7])
    vectors = await opened(database)
    rows = EMBEDDER.encode_documents(["甲", "乙", "丙"])
    await vectors.add([3, 7], rows[:2])
    await execute(database, "DELETE FROM passages WHERE number = 3")
    assert (await vectors.ids()).tolist() == [7]
    await vectors.add([3, 7, 9], rows)
    assert (await vectors.ids()).tolist() == [7]


async def test_a_model_that_has_changed_its_dimension_is_refused(database: Database) -> None:
    await opened(database)
    changed = HashingEmbedder(64)
    changed.fingerprint = EMBEDDER.fingerprint
    with pytest.raises(IndexMismatchError, match="dimension 64"):
        await InDatabase(database).open(changed, {})


# ---- many vectors ----------------------------------------------------------------------------------------------------


async def test_the_index_finds_what_brute_force_finds(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all, half and a tenth of four thousand; the statement is answered from the model's own index."""
    monkeypatch.setattr(in_database, "EXACT_LIMIT", 100)
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(4_000, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = np.arange(100, 4_100)
    await add_passages(database, ids.tolist())
    vectors = await opened(database)
    await vectors.add(ids, rows)
    dense, stock = Dense(EMBEDDER, vectors), Stock(1)
    await InDatabase(database).keep(dense, stock, LexicalIndex(), changed=True)
    await InDatabase(database).keep(dense, stock, LexicalIndex(), changed=False)
    found = []
    for step in (1, 2, 10):
        allowed = AllowedPassages(ids[::step])
        for query in rows[rng.choice(4_000, 20)]:
            ranking = await vectors.search(query, 10, allowed)
            best = ids[::step][np.argsort(-(rows[::step] @ query))[:10]]
            assert len(ranking) == 10
            assert set(ranking.ids.tolist()) <= set(allowed.ids.tolist())
            np.testing.assert_allclose(ranking.scores, rows[ranking.ids - 100] @ query, atol=1e-5)
            assert np.all(np.diff(ranking.scores) <= 0)
            found.append(len(set(best.tolist()) & set(ranking.ids.tolist())) / 10)
    assert np.mean(found) >= 0.95
    assert isinstance(vectors, PgVectors)
    async with database.read() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        asked = {"query": rows[0].tolist(), "wanted": 20} | AllowedPassages(ids).bits
        explained = text("EXPLAIN " + pgvector.nearest(EMBEDDER.fingerprint, 32)).bindparams(
            *vectors._nearest._bindparams.values()
        )
        plan = "\n".join((await connection.execute(explained, asked)).scalars())
    assert pgvector.index_name(EMBEDDER.fingerprint) in plan


async def test_sparse_or_far_apart_passages_are_compared_one_by_one() -> None:
    assert in_database._by_index(AllowedPassages(range(10_000)), 200)
    assert not in_database._by_index(AllowedPassages(range(3_000)), 200)
    assert not in_database._by_index(AllowedPassages(range(0, 10_000_000, 1_000)), 200)
    assert not in_database._by_index(AllowedPassages(range(0, 5_000_000, 250)), 200)


async def test_an_unused_model_is_forgotten_with_its_vectors(database: Database, clock: Clock) -> None:
    await add_passages(database, [3])
    old = HashingEmbedder(32, seed="旧模型")
    vectors = await InDatabase(database).open(old, {})
    await vectors.add([3], old.encode_documents(["甲"]))
    clock.advance(days=6)
    dense = Dense(EMBEDDER, await opened(database))
    home = InDatabase(database)
    await home.keep(dense, Stock(1), LexicalIndex(), changed=False)
    assert await vectors.count() == 1
    clock.now += timedelta(days=2)
    await home.keep(dense, Stock(1), LexicalIndex(), changed=False)
    assert await vectors.count() == 0
    assert await home.standing(dense.vectors, Stock(1)) is Standing.WHOLE
    assert await home.standing(vectors, Stock(1)) is Standing.UNKNOWN


# ---- processes -------------------------------------------------------------------------------------------------------


async def test_one_process_encodes_and_all_search(shelf: Shelf, other: Database) -> None:
    class Counting(HashingEmbedder):
        encoded = 0

        def encode_documents(self, texts: Sequence[str]) -> Floats:
            Counting.encoded += len(texts)
            return super().encode_documents(texts)

        def encode_queries(self, texts: Sequence[str]) -> Floats:
            return super().encode_documents(texts)

    second = replace(shelf, library=Library(other))
    for each in (shelf, second):
        await each.library.use_embedder(Counting())
    assert sorted(await asyncio.gather(shelf.library.embed(), second.library.embed())) == [0, 4]
    assert Counting.encoded == 4
    assert (shelf.library.engine, second.library.engine) == ("pgvector", "pgvector")
    shelf.items[TRAINING] = second.items[TRAINING] = await shelf.publish(TRAINING, "装机后送培训。")
    assert await shelf.library.embed() == 1
    assert (await second.search("培训")).degraded is None
    assert await second.search("培训") == await shelf.search("培训")
    await shelf.step(shelf.items[PRICE], "retire")
    assert PRICE not in await second.titles("医院说价格太高")


async def test_who_waits_takes_over_when_the_other_has_ended(shelf: Shelf, other: Database) -> None:
    await shelf.library.use_embedder(EMBEDDER)
    async with turn(other) as theirs:
        assert theirs
        waiting = asyncio.create_task(shelf.library.embed())
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert shelf.library.vectors == "computing"
    assert await waiting == 4
    assert shelf.library.vectors == "ready"


async def test_vectors_that_somebody_removed_are_given_again(shelf: Shelf) -> None:
    await shelf.library.use_embedder(EMBEDDER)
    assert await shelf.library.embed() == 4
    await execute(shelf.database, "TRUNCATE passage_vectors")
    assert await shelf.library.embed() == 4
    assert (await shelf.search("价格太高")).degraded is None


# ---- without the extension -------------------------------------------------------------------------------------------


@pytest.fixture
async def plain(database: Database) -> AsyncIterator[str]:
    """A database whose owner may not make the extension; its roles of readers are there."""
    url = make_url(database.url)
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for statement in ("CREATE ROLE plain LOGIN CREATEROLE PASSWORD 'plain'", "CREATE DATABASE plain OWNER plain"):
            await connection.execute(text(statement))
        roles = (
            await connection.execute(text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'sortie\\_%'"))
        ).scalars()
        for role in roles.all():
            await connection.execute(text(f'GRANT "{role}" TO plain'))
        for name in SETTINGS:
            await connection.execute(text(f'GRANT SET ON PARAMETER "{name}" TO plain'))
        yield url.set(username="plain", password="plain", database="plain").render_as_string(hide_password=False)
        await connection.execute(text("DROP DATABASE plain WITH (FORCE)"))
        await connection.execute(text("DROP OWNED BY plain"))
        await connection.execute(text("DROP ROLE plain"))
    await engine.dispose()


async def test_without_the_extension_each_process_searches_by_itself(
    plain: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    await migrations.migrate(plain, told.append)
    [warning] = [each for each in told if "pgvector" in each]
    assert "请让数据库管理员执行 CREATE EXTENSION vector" in warning
    assert "run CREATE EXTENSION vector" in caplog.text
    assert await migrations.is_current(plain)
    database = Database(plain, LedgerRecorder())
    library = Library(database)
    await library.refresh()
    assert library.engine is None or library.engine == "faiss"
    await database.close()


async def test_the_table_comes_once_the_administrator_has_made_the_extension(plain: str, database: Database) -> None:
    await migrations.migrate(plain)
    admin = make_url(database.url).set(database="plain").render_as_string(hide_password=False)
    engine = create_async_engine(admin)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE EXTENSION vector"))
    await engine.dispose()
    assert not await migrations.is_current(plain)
    assert await migrations.migrate(plain)
    assert await migrations.is_current(plain)
    found = Database(plain, LedgerRecorder())
    async with found.read() as connection:
        assert await connection.run_sync(pgvector.serves)
    await found.close()
