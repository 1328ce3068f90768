"""The library's vectors, its stored generation and its level with the database, through damage and haste."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.kernel import Database, Role
from knowledge import Filter, Library, library
from knowledge.embedding import Floats, HashingEmbedder, ModelIdentity
from knowledge.generations import GenerationStore
from knowledge.retrieval import Piece
from knowledge.stock import read_entries, read_pieces
from tests.factories import add_colleague, execute
from tests.knowledge.shelf import DELIVERY, PRICE, TRAINING, Shelf

# ---- vectors ---------------------------------------------------------------------------------------------------------


class Counting(HashingEmbedder):
    """A hashing embedder that remembers the passages, not the queries, that it encoded."""

    def __init__(self, dimension: int = 64, seed: str = "") -> None:
        super().__init__(dimension, seed)
        self.encoded: list[str] = []

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        self.encoded += texts
        return super().encode_documents(texts)

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        return super().encode_documents(texts)


def own_vectors(database: Database) -> int:
    """How many passages a second process gives their vectors, of the four: pgvector has those of the first."""
    return 4 if database.embedded else 0


async def test_words_serve_alone_until_there_are_vectors_and_the_answer_says_so(shelf: Shelf) -> None:
    found = await shelf.search("价格太高")
    assert found.methods == ("bm25",)
    assert found.degraded is not None
    assert ("BM25" in found.degraded.zh, "not loaded" in found.degraded.en) == (True, True)
    await shelf.library.use_embedder(Counting())
    found = await shelf.search("价格太高")
    assert found.methods == ("bm25",)
    assert found.degraded is not None
    assert "正在计算" in found.degraded.zh
    assert await shelf.library.embed() == 4
    found = await shelf.search("价格太高")
    assert (found.methods, found.degraded) == (("bm25", "dense"), None)
    assert [each.method for each in found.hits[0].explanation] == ["bm25", "dense"]
    await shelf.publish(TRAINING, "装机后送培训。")
    degraded = (await shelf.search("培训")).degraded
    assert degraded is not None
    assert (degraded.zh[:2], degraded.en[:2]) == ("1 ", "1 ")
    assert await shelf.library.embed() == 1
    assert (await shelf.search("培训")).degraded is None


async def test_nothing_is_encoded_twice(shelf: Shelf) -> None:
    first = Counting()
    await shelf.library.use_embedder(first)
    steps: list[tuple[int, int]] = []
    task = asyncio.create_task(shelf.library.embed(lambda done, total: steps.append((done, total))))
    building = list[tuple[int, int]]()
    while not task.done():
        if (now := (await shelf.library.status()).building) is not None:
            building.append((now.done, now.total))
        await asyncio.sleep(0)
    assert await task == 4
    assert set(building) <= {(4, 4)}
    status = await shelf.library.status()
    assert (status.building, status.lacking, status.passages, status.methods) == (None, 0, 4, ("bm25", "dense"))
    assert (len(first.encoded), steps) == (4, [(4, 4)])
    assert await shelf.library.embed() == 0
    again = Counting()
    other = replace(shelf, library=Library(shelf.database))
    await other.library.use_embedder(again)
    assert await other.library.embed() == own_vectors(shelf.database)
    assert again.encoded == []
    assert (await other.search("价格太高")).methods == ("bm25", "dense")
    await shelf.library.use_embedder(Counting(seed="另一个模型"))
    assert await shelf.library.embed() == 4
    assert (await shelf.search("价格太高")).hits[0].item_id == shelf.items[PRICE].id


async def test_a_withdrawn_entry_leaves_the_vectors_too(shelf: Shelf) -> None:
    await shelf.library.use_embedder(Counting())
    await shelf.library.embed()
    await shelf.step(shelf.items[PRICE], "retire")
    found = await shelf.search("五年总成本摆出来")
    assert (shelf.items[PRICE].id in {hit.item_id for hit in found.hits}, found.degraded) == (False, None)


async def test_two_embeddings_at_once_give_each_passage_one_vector(shelf: Shelf) -> None:
    embedder = Counting()
    await shelf.library.use_embedder(embedder)
    assert sorted(await asyncio.gather(*(shelf.library.embed() for _ in range(3)))) == [0, 0, 4]
    others = [Library(shelf.database) for _ in range(2)]
    for each in others:
        await each.use_embedder(Counting(32))
    added = await asyncio.gather(*(each.embed() for each in others))
    assert sorted(added) == [own_vectors(shelf.database), 4]
    assert {each.vectors for each in others} == {"ready"}


async def test_a_model_that_comes_while_another_works_wins(shelf: Shelf) -> None:
    await shelf.library.use_embedder(Counting(64))
    slow = asyncio.create_task(shelf.library.embed())
    await asyncio.sleep(0)
    await shelf.library.use_embedder(Counting(32))
    await slow
    assert (await shelf.search("价格太高")).hits[0].item_id == shelf.items[PRICE].id
    await shelf.library.embed()
    assert (await shelf.search("价格太高")).methods == ("bm25", "dense")


# ---- the stored generation -------------------------------------------------------------------------------------------


async def stored(shelf: Shelf, path: Path) -> tuple[Shelf, Counting]:
    """Another start of the process over the same stored generation, its vectors ready."""
    embedder = Counting()
    again = replace(shelf, library=Library(shelf.database, GenerationStore(path), in_database=False))
    await again.library.use_embedder(embedder)
    await again.library.embed()
    return again, embedder


async def forget_vectors(database: Database) -> None:
    """Empty the cache, so that only the stored generation can spare encoding."""
    await execute(database, "DELETE FROM cached_vectors")


async def test_a_start_takes_the_stored_generation_and_encodes_nothing(shelf: Shelf, tmp_path: Path) -> None:
    before, embedder = await stored(shelf, tmp_path)
    assert len(embedder.encoded) == 4
    await forget_vectors(shelf.database)
    manifest = GenerationStore(tmp_path).manifest()
    again, embedder = await stored(shelf, tmp_path)
    assert (embedder.encoded, GenerationStore(tmp_path).manifest()) == ([], manifest)
    assert await again.search("价格太高") == await before.search("价格太高")


async def test_a_start_takes_in_what_happened_meanwhile(shelf: Shelf, tmp_path: Path) -> None:
    await stored(shelf, tmp_path)
    await shelf.step(shelf.items[PRICE], "retire")
    shelf.items[TRAINING] = await shelf.publish(TRAINING, "装机后送培训。")
    again, embedder = await stored(shelf, tmp_path)
    assert len(embedder.encoded) == 1
    assert (await again.titles("培训"))[0] == TRAINING
    assert PRICE not in await again.titles("医院说价格太高")
    manifest = GenerationStore(tmp_path).manifest()
    assert (manifest.publication, manifest.passage_count, manifest.vector_count) == (5, 3, 3)


def spoil(root: Path, name: str, damage: str) -> None:
    """Cut a stored file in the middle, or take it away."""
    [path] = root.rglob(name)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["lexical.npz", "vectors.faiss", "contents.npz", "manifest.json", "ACTIVE"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
async def test_a_damaged_generation_is_healed(shelf: Shelf, tmp_path: Path, name: str, damage: str) -> None:
    before, _ = await stored(shelf, tmp_path)
    spoil(tmp_path, name, damage)
    again, _ = await stored(shelf, tmp_path)
    # What is not there at all is no damage, and is made like what never was.
    assert ((await again.library.status()).rejected is None) == (name == "ACTIVE" and damage == "gone")
    assert await again.search("价格太高") == await before.search("价格太高")
    store, model = GenerationStore(tmp_path), ModelIdentity.of(Counting())
    manifest = store.manifest()
    assert len(store.load_lexical(manifest)) == len(store.load_vectors(manifest, model)) == 4
    assert len(store.load_contents(manifest)) == 4


async def test_the_index_of_another_database_is_not_believed(
    shelf: Shelf, sqlite_database: Database, tmp_path: Path
) -> None:
    await stored(shelf, tmp_path / "index")
    curator, second = [await add_colleague(sqlite_database, name, Role.CURATOR) for name in ("甲", "乙")]
    rep = await add_colleague(sqlite_database, "丙", Role.REP)
    other = Shelf(sqlite_database, curator, second, rep, Library(sqlite_database))
    for number in range(3):
        other.items[f"质保{number}"] = await other.publish(f"质保{number}", f"整机质保{number}年。")
    other.items[PRICE] = await other.publish("完全不同", "这里讲培训与装机。")
    again, _ = await stored(other, tmp_path / "index")
    fresh = Library(sqlite_database)
    await fresh.use_embedder(Counting())
    await fresh.embed()
    for query in ("质保 1 年", "五年总成本", "培训与装机", "price over five years"):
        assert await again.search(query) == await fresh.search(rep, query, Filter(), 5)


async def test_a_disk_that_takes_nothing_stops_no_search(
    shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "index").write_text("这里本该是目录")
    again, _ = await stored(shelf, tmp_path / "index")
    assert (await again.search("价格太高")).methods == ("bm25", "dense")
    assert "not stored" in caplog.text


# ---- at once ---------------------------------------------------------------------------------------------------------


async def test_searches_at_once_read_a_publication_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    take_in = Library._take_in

    def counted(self: Library, pieces: Mapping[int, Piece]) -> None:
        taken.append(len(pieces))
        take_in(self, pieces)

    monkeypatch.setattr(Library, "_take_in", counted)
    results = await asyncio.gather(*(shelf.titles("价格太高") for _ in range(12)))
    assert taken == [4]
    assert all(titles == results[0] for titles in results)


async def test_searches_while_entries_change_see_whole_versions(shelf: Shelf) -> None:
    """Each version says its number in its only passage: no search may show one version's text as another's."""
    shelf.items["计数"] = await shelf.publish("计数器", "计数器第一版")
    done = asyncio.Event()
    wrong: list[Any] = []
    seen: set[int] = set()
    rounds = 0

    async def look() -> None:
        nonlocal seen, rounds
        while not done.is_set():
            hits = [hit for hit in (await shelf.search("计数器")).hits if "版" in hit.passage]
            seen |= {hit.version for hit in hits}
            if [hit.passage for hit in hits] != [f"计数器第{'零一二三四五六'[hit.version]}版" for hit in hits[:1]]:
                wrong.append(hits)
            found = [each for each in await shelf.find("计数器", limit=9) if each.title == "计数器"]
            if [each.body for each in found] != [f"计数器第{'零一二三四五六'[each.version]}版" for each in found[:1]]:
                wrong.append(found)
            rounds += 1

    async def looked() -> None:
        """A search has ended since."""
        before = rounds
        while rounds == before:  # noqa: ASYNC110 - the searches wait for nobody
            await asyncio.sleep(0)

    searching = [asyncio.create_task(look()) for _ in range(3)]
    for number in "二三四五六":
        await looked()
        await shelf.revise("计数", body=f"计数器第{number}版")
    done.set()
    await asyncio.gather(*searching)
    assert wrong == []
    assert len(seen) > 1
    assert (await shelf.search("计数器")).hits[0].version == 6


async def test_a_slow_reader_does_not_bring_back_what_is_withdrawn(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh that began before a withdrawal ends after it; the search that comes next knows of the withdrawal."""
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*given: Any) -> Any:
        reading.set()
        await go_on.wait()
        return await read_entries(*given)

    monkeypatch.setattr(library, "read_entries", slowly)
    slow = asyncio.create_task(shelf.titles("排产计划"))
    await reading.wait()
    await shelf.step(shelf.items[DELIVERY], "retire")
    late = asyncio.create_task(shelf.titles("排产计划"))
    go_on.set()
    await slow
    assert await late == []
    assert await shelf.titles("排产计划") == []


async def test_what_is_read_is_of_one_instant(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that comes out between reading entries and reading passages is not half taken in."""

    async def late(*given: Any) -> Any:
        monkeypatch.setattr(library, "read_pieces", read_pieces)
        await shelf.revise(DELIVERY, body="排产计划改由物流中心播报。")
        return await read_pieces(*given)

    monkeypatch.setattr(library, "read_pieces", late)
    stock = await shelf.library.refresh()
    item_id = shelf.items[DELIVERY].id
    texts = [piece.text for piece in stock.pieces.values() if piece.item_id == item_id]
    assert (stock.entries[item_id].version, texts) == (1, ["按周给出排产计划，晚一天赔一天。"])
    [hit] = (await shelf.search("排产计划")).hits
    assert (hit.version, hit.passage) == (2, "排产计划改由物流中心播报。")


async def test_a_search_overtaken_by_a_publication_looks_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    hybrid = Library._hybrid

    async def overtake() -> None:
        await shelf.revise(DELIVERY, body="排产计划改由物流中心播报。")
        await shelf.library.refresh()

    async def overtaken(self: Library, *given: Any) -> Any:
        monkeypatch.setattr(Library, "_hybrid", hybrid)
        await overtake()
        return await hybrid(self, *given)

    monkeypatch.setattr(Library, "_hybrid", overtaken)
    [hit] = (await shelf.search("排产计划")).hits
    assert (hit.version, hit.passage) == (2, "排产计划改由物流中心播报。")


async def test_what_is_remembered_of_searches_is_bounded(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "ALLOWED_KEPT", 4)
    for number in range(20):
        assert await shelf.titles("排产计划", concern=f"任意{number}") == []
        assert await shelf.titles("排产计划") == [DELIVERY]
    assert len(shelf.library._allowed) == 4
