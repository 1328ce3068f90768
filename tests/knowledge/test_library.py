"""What a search of the knowledge finds on real databases, and what an answer finds that wants some of it."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.kernel import SYSTEM, Database, Language, Role, utc_now
from knowledge import Filter, KnowledgeKind, Library, Situation, Wanted
from tests.factories import START, Clock, add_colleague
from tests.knowledge.shelf import COST, DELIVERY, KIND, PRICE, TRAINING, Shelf

# ---- what may be found -----------------------------------------------------------------------------------------------


async def test_the_nearest_entry_comes_with_its_best_passage(shelf: Shelf) -> None:
    found = await shelf.search("客户嫌采购价太高")
    best = found.hits[0]
    assert (best.item_id, best.version) == (shelf.items[PRICE].id, 1)
    assert "采购价只占三成" in best.passage
    assert [(each.method, each.rank, each.weight) for each in best.explanation] == [("bm25", 1, 1.0)]
    assert 0 < best.score <= 1
    assert len({hit.item_id for hit in found.hits}) == len(found.hits)
    assert await shelf.titles("price over five years") == [COST]
    assert len((await shelf.search("价格太高，排产计划", limit=1)).hits) == 1


async def test_entries_that_say_the_same_are_folded_and_others_are_not(shelf: Shelf) -> None:
    text = "发电机组的保养周期是每运行{}小时更换一次机油与机滤，并检查皮带的张紧度和冷却液的液位。"
    first = await shelf.publish("发电机组保养", text.format(250))
    twin = await shelf.publish("机组保养周期", text.format(250) + "请记录。")
    other = await shelf.publish("发电机组保养（旧机型）", text.format(500))
    found = await shelf.search("发电机组多久更换机油")
    assert [(hit.item_id, hit.folded) for hit in found.hits[:2]] == [(first.id, (twin.id,)), (other.id, ())]
    await shelf.step(first, "retire")
    found = await shelf.search("发电机组多久更换机油")
    assert {hit.item_id for hit in found.hits[:2]} == {twin.id, other.id}


@pytest.mark.parametrize("query", ["", "？！", "从没写过的量子纠缠", "a" * 2000])
async def test_a_query_that_touches_nothing_finds_nothing(shelf: Shelf, query: str) -> None:
    assert (await shelf.search(query)).hits == ()


async def test_an_empty_library_answers(database: Database) -> None:
    rep = await add_colleague(database, "张磊", Role.REP)
    found = await Library(database).search(rep, "价格", Filter(), 5)
    assert (found.hits, found.methods) == ((), ("bm25",))
    want = Wanted("价格", (KIND,), Situation(), Language.ZH, 3)
    assert await Library(database).find(rep, {"one": want, "two": want}) == {"one": [], "two": []}


async def test_drafts_and_what_is_in_review_are_not_found_even_by_their_authors(shelf: Shelf) -> None:
    item = await shelf.draft("排产的新说法", "排产看板每天更新。", Language.ZH, KIND)
    await shelf.step(await shelf.draft("排产的另一说法", "排产交给系统。", Language.ZH, KIND), "submit")
    for actor in (shelf.rep, shelf.curator, SYSTEM):
        assert await shelf.titles("排产看板", actor=actor) == [DELIVERY]
    assert item.id not in {found.item_id for found in await shelf.find("排产看板")}


async def test_a_publication_shows_at_the_next_search_and_a_withdrawal_bites(shelf: Shelf) -> None:
    assert await shelf.titles("培训") == []
    shelf.items[TRAINING] = await shelf.publish(TRAINING, "装机后送培训。")
    assert await shelf.titles("培训") == [TRAINING]
    assert TRAINING in [found.title for found in await shelf.find("培训")]
    await shelf.step(shelf.items[TRAINING], "retire")
    assert await shelf.titles("培训") == []
    assert TRAINING not in [found.title for found in await shelf.find("培训")]


async def test_a_new_version_takes_the_place_of_the_old_one(shelf: Shelf) -> None:
    assert await shelf.titles("排产计划") == [DELIVERY]
    await shelf.revise(DELIVERY, body="改由物流中心每日播报。", title="交期")
    assert await shelf.titles("排产计划") == []
    [hit] = (await shelf.search("物流中心播报")).hits
    assert (hit.item_id, hit.version, hit.passage) == (shelf.items[DELIVERY].id, 2, "改由物流中心每日播报。")
    [found] = await shelf.find("播报", must_match_competitor=True, competitors=("yuanbai",))
    assert (found.version, found.title, found.competitors) == (2, "交期", ("yuanbai",))


async def test_another_process_sees_the_same(shelf: Shelf) -> None:
    other = replace(shelf, library=Library(shelf.database))
    assert await other.titles("价格太高") == await shelf.titles("价格太高")
    await shelf.step(shelf.items[PRICE], "retire")
    assert PRICE not in await other.titles("价格太高")
    assert PRICE not in await shelf.titles("价格太高")


async def test_an_entry_is_found_from_its_first_instant_to_its_last(shelf: Shelf, clock: Clock) -> None:
    # In the time of the world: the database asks its own clock whether an entry is in date.
    clock.now = utc_now()
    turn = clock.now + timedelta(seconds=2)
    shelf.items["新"] = await shelf.publish("目录新规", "目录扩大。", effective_from=turn)
    shelf.items["旧"] = await shelf.publish("目录旧规", "目录不变。", expires_at=turn)
    for now, titles in ((clock.now, {"旧"}), (turn, {"新"}), (turn + timedelta(days=1), {"新"})):
        await asyncio.sleep(max(0.0, (now - utc_now()).total_seconds()) + 0.05 if now == turn else 0)
        clock.now = now
        assert set(await shelf.titles("目录")) == titles
        names = {found.title[-2:-1] for found in await shelf.find("目录", limit=9) if "目录" in found.title}
        assert names == titles


async def test_everybody_finds_what_their_roles_show(shelf: Shelf) -> None:
    for role in Role:
        actor = await add_colleague(shelf.database, f"某{role}", role)
        assert await shelf.titles("排产计划", actor=actor) == [DELIVERY]
    nobody = await add_colleague(shelf.database, "没有角色的人")
    for _ in range(2):
        assert await shelf.titles("排产计划", actor=nobody) == []
        assert await shelf.titles("排产计划") == [DELIVERY]
    assert await shelf.titles("排产计划", actor=replace(nobody, reaches=shelf.rep.reaches)) == [DELIVERY]
    assert await shelf.titles("排产计划", actor=SYSTEM) == [DELIVERY]


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {PRICE, DELIVERY, COST}),
    ({"kind": KIND}, {PRICE, DELIVERY, COST}),
    ({"kind": KnowledgeKind.CASE_STUDY}, set()),
    ({"language": Language.EN}, {COST}),
    ({"concern": "price_too_high"}, {PRICE, COST}),
    ({"concern": "price_too_high", "language": Language.ZH}, {PRICE}),
    ({"stage": "proposal"}, {PRICE}),
    ({"role": "REP"}, {PRICE}),
    ({"industry": "hospital"}, {PRICE}),
    ({"industry": "%"}, set()),
    ({"competitor": "yuanbai"}, {DELIVERY}),
]


@pytest.mark.parametrize(("filter", "titles"), FILTERS)
async def test_a_filter_lets_through_what_it_names(shelf: Shelf, filter: dict[str, Any], titles: set[str]) -> None:
    assert set(await shelf.titles("价格太高 排产计划 price", **filter)) == titles


# ---- what an answer wants --------------------------------------------------------------------------------------------


async def test_entries_in_the_readers_language_come_alone_where_there_are_any(shelf: Shelf) -> None:
    concern: dict[str, Any] = {"must_match_concern": True, "concerns": ("price_too_high",)}
    assert [found.title for found in await shelf.find(**concern)] == [PRICE]
    assert [found.title for found in await shelf.find(language=Language.EN, **concern)] == [COST]
    delivery: dict[str, Any] = {"must_match_concern": True, "concerns": ("delivery_time",), "competitors": ("yuanbai",)}
    assert [found.title for found in await shelf.find(language=Language.EN, **delivery)] == [DELIVERY]


FITTING: list[tuple[dict[str, Any], list[str]]] = [
    ({}, [PRICE]),
    ({"industry": "automotive_parts"}, []),
    ({"industry": "hospital", "stage": "proposal"}, [PRICE]),
    ({"stage": "negotiation"}, []),
    ({"competitors": ("yuanbai",)}, [PRICE, DELIVERY]),
    ({"competitors": ("yuanbai",), "must_match_competitor": True}, [DELIVERY]),
    ({"competitors": ("别家",), "must_match_competitor": True}, []),
    ({"concerns": ("没有这种",), "must_match_concern": True}, []),
    ({"kinds": (KnowledgeKind.POLICY,)}, []),
    ({"changes_only": True}, []),
]


@pytest.mark.parametrize(("want", "titles"), FITTING)
async def test_an_entry_fits_when_its_facets_are_empty_or_name_the_situation(
    shelf: Shelf, want: dict[str, Any], titles: list[str]
) -> None:
    assert [found.title for found in await shelf.find("价格太高", **want) if found.language is Language.ZH] == titles


async def test_of_equally_near_changes_the_newest_comes_first(shelf: Shelf, clock: Clock) -> None:
    policy = KnowledgeKind.POLICY
    for days in (30, 10, 20):
        title = f"{days}天前的变化"
        await shelf.publish(title, "医保目录调整。", kind=policy, effective_from=START - timedelta(days=days))
    await shelf.publish("没有日子的", "医保目录。", kind=policy)
    found = await shelf.find("量子", kinds=(policy,), changes_only=True, limit=2)
    assert [each.title for each in found] == ["10天前的变化", "20天前的变化"]


async def test_only_the_named_headings_are_searched_where_there_are_any(shelf: Shelf) -> None:
    under = frozenset({"证据"})
    for query, within, everywhere in (("省下四百万", 1.0, 1.0), ("总成本", 0.0, 1.0)):
        assert [found.score for found in await shelf.find(query, under=under)] == [within]
        assert [found.score for found in await shelf.find(query)] == [everywhere]
    [whole] = await shelf.find("总成本", under=frozenset({"没有这个标题"}))
    assert whole.score == 1.0
