"""Saved questions: what passes, and that retrieval as it would be is what it becomes."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from domain.kernel import Actor, Conflict, Forbidden, Language
from knowledge import CachedVector, Filter, KnowledgeItem, Passage, Publication, keeping, retrieval_tests, service
from knowledge.embedding import HashingEmbedder
from knowledge.retrieval import SearchResult
from knowledge.retrieval_tests import DEEPEST, Question, run, save_retrieval_test
from knowledge.supposing import Change, Supposed, preview, publication_of, suppose, withdrawal_of
from tests.factories import START
from tests.knowledge.shelf import COST, DELIVERY, KIND, PRICE, TRAINING, Shelf

QUERIES = (
    "客户嫌采购价太高",
    "排产计划晚了怎么办",
    "物流中心每日播报",
    "price over five years",
    "华山医院省了多少",
    "培训课程怎么安排",
)


def question(shelf: Shelf, words: str, within: int = 5, **named: bool) -> Question:
    ids = {shelf.items[title].id: comes for title, comes in named.items()}
    return Question(UUID(int=1), 1, words, shelf.rep, Filter(), within, ids)


async def pending(shelf: Shelf, key: str, **change: Any) -> tuple[KnowledgeItem, Change]:
    """A revision that waits for its reviewer, and what publishing it would do."""
    item = shelf.items[key]
    async with shelf.database.open_uow(shelf.curator) as uow:
        item = await service.revise(uow, item.id, item.version, change)
    item = await shelf.step(item, "submit")
    async with shelf.database.open_uow(shelf.second) as uow:
        return item, await publication_of(uow, item.id)


async def asked(library: Any, actor: Actor, filter: Filter) -> list[SearchResult]:
    return [await library.search(actor, query, filter, DEEPEST) for query in QUERIES]


def told(results: list[SearchResult]) -> list[Any]:
    """All that a search says, scores to six places."""
    return [
        (
            result.methods,
            [
                (hit.item_id, hit.version, hit.passage, hit.folded, round(hit.score, 6), [(line.method, line.rank, round(line.score, 4)) for line in hit.explanation])
                for hit in result.hits
            ],
        )
        for result in results
    ]  # fmt: skip


async def stored(shelf: Shelf) -> list[int]:
    """What the stored index consists of, counted."""
    async with shelf.database.read() as connection:
        number = (await connection.execute(select(Publication.number))).scalar_one()
        counts = [
            (await connection.execute(select(func.count()).select_from(model.__table__))).scalar_one()
            for model in (Passage, CachedVector)
        ]
    return [number, *counts]


async def test_a_test_passes_when_what_should_come_does_and_what_should_not_does_not(shelf: Shelf) -> None:
    kinds = {PRICE: True, DELIVERY: False}
    [good] = await run(shelf.library, [question(shelf, "客户嫌采购价太高", **kinds)])
    assert (good.passed, good.amiss, good.ranks[shelf.items[PRICE].id]) == (True, [], 1)
    [bad] = await run(shelf.library, [question(shelf, "价格太高，排产计划", within=2, **kinds)])
    assert (bad.passed, bad.amiss) == (False, [shelf.items[DELIVERY].id])
    both = {PRICE: True, DELIVERY: True}
    [near] = await run(shelf.library, [question(shelf, "价格太高，排产计划", within=1, **both)])
    assert sorted(rank for rank in near.ranks.values() if rank) == [1, 2]
    assert len(near.amiss) == 1
    seen: list[tuple[int, int]] = []
    await run(shelf.library, [question(shelf, "价格", **kinds)] * 2, lambda *at: seen.append(at))
    assert seen == [(1, 2), (2, 2)]


async def test_an_entry_that_is_folded_has_come_at_its_place(shelf: Shelf) -> None:
    text = "发电机组的保养周期是每运行250小时更换一次机油与机滤，并检查皮带的张紧度和冷却液的液位。"
    shelf.items["甲"] = await shelf.publish("发电机组保养", text)
    shelf.items["乙"] = await shelf.publish("机组保养周期", text + "请记录。")
    [outcome] = await run(shelf.library, [question(shelf, "发电机组多久更换机油", within=1, 甲=True, 乙=True)])
    assert (outcome.passed, set(outcome.ranks.values())) == (True, {1})


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "another body": (DELIVERY, {"title": "交期", "body": "改由物流中心每日播报。\n## 培训\n每周一次培训课程。"}),
    "another facet": (PRICE, {"concerns": ("delivery_time",), "body": "华山医院省了四百万，价格另说。"}),
    "from tomorrow on": (PRICE, {"effective_from": START + timedelta(days=1)}),
    "over already": (COST, {"expires_at": START - timedelta(days=1)}),
    "the same as another": (DELIVERY, {"body": "## 回应\n先认同，再把五年总成本摆出来：采购价只占三成。\n## 证据\n华山医院三年省下四百万。"}),
}  # fmt: skip
FILTERS = (Filter(), Filter(concern="delivery_time"), Filter(language=Language.EN))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("dense", [False, True])
async def test_retrieval_as_it_would_be_is_what_it_becomes(shelf: Shelf, change: str, dense: bool) -> None:
    if dense:
        await shelf.library.use_embedder(HashingEmbedder())
        await shelf.library.embed()
    before, kept = [told(await asked(shelf.library, shelf.rep, one)) for one in FILTERS], await stored(shelf)
    key, words = CHANGES[change]
    item, supposed = await pending(shelf, key, **words)
    serving = await shelf.library.serving()
    as_is = Supposed(shelf.database, serving)
    would = await suppose(shelf.database, serving, supposed)
    expected = [told(await asked(would, shelf.rep, one)) for one in FILTERS]
    assert [told(await asked(as_is, shelf.rep, one)) for one in FILTERS] == before
    assert [told(await asked(shelf.library, shelf.rep, one)) for one in FILTERS] == before
    assert await stored(shelf) == kept
    await shelf.step(item, "publish", shelf.second)
    await shelf.library.embed()
    assert [told(await asked(shelf.library, shelf.rep, one)) for one in FILTERS] == expected
    assert expected != before


@pytest.mark.parametrize("dense", [False, True])
async def test_withdrawing_and_a_first_publication_are_supposed_as_they_become(shelf: Shelf, dense: bool) -> None:
    if dense:
        await shelf.library.use_embedder(HashingEmbedder())
        await shelf.library.embed()
    item = await shelf.step(await shelf.draft(TRAINING, "装机后送培训课程，每周一次。", Language.ZH, KIND), "submit")
    async with shelf.database.open_uow(shelf.second) as uow:
        coming, going = await publication_of(uow, item.id), await withdrawal_of(uow, shelf.items[PRICE].id)
    serving = await shelf.library.serving()
    with_it = told(await asked(await suppose(shelf.database, serving, coming), shelf.rep, Filter()))
    without = told(await asked(await suppose(shelf.database, serving, going), shelf.rep, Filter()))
    await shelf.step(item, "publish", shelf.second)
    await shelf.library.embed()
    assert told(await asked(shelf.library, shelf.rep, Filter())) == with_it
    async with shelf.database.open_uow(shelf.curator) as uow:
        await service.retire(uow, item.id, None)
        await keeping.suspend(uow, shelf.items[PRICE].id, None, "暂停")
    assert told(await asked(shelf.library, shelf.rep, Filter())) == without


async def test_a_preview_says_what_breaks_what_is_mended_and_what_moves(shelf: Shelf) -> None:
    await shelf.library.use_embedder(HashingEmbedder())
    await shelf.library.embed()
    _, change = await pending(shelf, DELIVERY, title="交期", body="改由物流中心每日播报。")
    questions = [
        question(shelf, "排产计划晚一天赔一天", within=1, **{DELIVERY: True}), question(shelf, "改由物流中心每日播报", within=1, **{DELIVERY: True}),
        question(shelf, "采购价只占三成", within=1, **{PRICE: True}),
    ]  # fmt: skip
    lost, gained, same = await preview(shelf.database, shelf.library, change, questions)
    assert (same.breaks, same.mends, same.before.ranks) == (False, False, same.after.ranks)
    assert (gained.before.result.methods, lost.after.result.methods) == (("bm25", "dense"),) * 2
    assert (lost.before.passed, lost.before.ranks) == (True, {shelf.items[DELIVERY].id: 1})
    assert gained.after.ranks == {shelf.items[DELIVERY].id: 1}
    assert not any(one.breaks and one.mends for one in (lost, gained, same))
    assert await preview(shelf.database, shelf.library, change, []) == []


async def test_no_more_tests_are_kept_than_can_be_run(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval_tests, "MOST", 1)
    price = shelf.items[PRICE].id
    async with shelf.database.open_uow(shelf.curator) as uow:
        await save_retrieval_test(uow, question="太贵", language=Language.ZH, expected=[price])
    async with shelf.database.open_uow(shelf.curator) as uow:
        with pytest.raises(Conflict, match="1 retrieval tests"):
            await save_retrieval_test(uow, question="价格高", language=Language.ZH, expected=[price])
    async with shelf.database.open_uow(shelf.rep) as uow:
        with pytest.raises(Forbidden):
            await save_retrieval_test(uow, question="价格高", language=Language.ZH, expected=[price])
