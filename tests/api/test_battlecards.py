"""The battlecards of each competitor: the cards and deals that one sees, and why they are to be refreshed."""

from datetime import timedelta
from typing import Any

import pytest

from assistant.battlecards import Card, RefreshReason, refresh_reasons
from domain import deals
from domain.deals import ForecastCategory
from domain.kernel import SYSTEM, Language, Text, new_id
from knowledge import Content, Facets, ImportedItem, KnowledgeItem, KnowledgeKind, imported_rows
from tests.api.conftest import Ask, Company
from tests.api.test_knowledge import published
from tests.factories import START

SETS = """query($competitor: String) { battlecardSets(competitor: $competitor) { competitor label cards { title } reviewAt overdue
  openDeals openAmounts { amount currency } won lost needsRefresh reasons } }"""
CARD = "## 他们怎么说\n首价低。\n\n## 这样说\n先把五年附件费加进去再比。"


async def sets(ask: Ask, who: str = "lei", **more: Any) -> dict[str, dict[str, Any]]:
    answer = await ask(SETS, who, **more)
    assert answer.errors == []
    return {one["competitor"]: one for one in answer.data["battlecardSets"]}


@pytest.fixture
async def rivals(company: Company, ask: Ask) -> Company:
    """Two competitors: one with a card and two open deals and a won one, one without anything."""
    async with company.database.open_uow(SYSTEM) as uow:
        await deals.ensure_competitor(uow, "yuanbai", Text("远柏医疗", "Yuanbai Medical"))
        await deals.ensure_competitor(uow, "saiheng", Text("赛衡仪器", "Saiheng Instruments"))
        await uow.session.flush()
        for key in ("hospital-1", "hospital-3", "device-2"):
            found = await uow.session.get(deals.Opportunity, company.deals[key].id)
            assert found is not None
            await deals.update_opportunity(
                uow, found.id, expected_version=None, changes={"primary_competitor": "yuanbai"}
            )
    await published(ask, kind="BATTLECARD", title="远柏：首价低，附件贵", body=CARD, competitors=["yuanbai"])
    return company


async def test_a_set_shows_the_cards_and_the_readers_deals(rivals: Company, ask: Ask) -> None:
    found = await sets(ask)
    yuanbai = found["yuanbai"]
    assert (yuanbai["label"], [card["title"] for card in yuanbai["cards"]]) == ("远柏医疗", ["远柏：首价低，附件贵"])
    assert (yuanbai["openDeals"], yuanbai["won"], yuanbai["lost"]) == (1, 1, 0)
    assert yuanbai["openAmounts"] == [{"amount": "100000.00", "currency": "CNY"}]
    assert (yuanbai["needsRefresh"], yuanbai["reasons"]) == (False, [])
    assert (found["saiheng"]["needsRefresh"], found["saiheng"]["reasons"]) == (True, ["NO_CARD"])
    assert (await sets(ask, "min"))["yuanbai"]["openDeals"] == 2
    assert (await sets(ask, "FINANCE"))["yuanbai"]["openDeals"] == 0
    assert list(await sets(ask, competitor="saiheng")) == ["saiheng"]
    assert (await sets(ask, language=Language.EN))["yuanbai"]["label"] == "Yuanbai Medical"
    assert await sets(ask, competitor="nobody") == {}


async def test_the_review_is_for_those_who_keep_the_knowledge(rivals: Company, ask: Ask) -> None:
    assert (await sets(ask))["yuanbai"]["reviewAt"] is None
    kept = (await sets(ask, "CURATOR"))["yuanbai"]
    assert kept["reviewAt"] == "2026-05-31T01:30:00.000000Z"
    assert (kept["overdue"], kept["openDeals"]) == (False, 0)
    assert (await sets(ask))["yuanbai"]["overdue"] is None


async def test_a_card_is_refreshed_when_its_day_comes_and_when_a_deal_is_lost(rivals: Company, ask: Ask) -> None:
    clock: Any = rivals.database.clock
    clock.now += timedelta(days=1)
    async with rivals.database.open_uow(SYSTEM) as uow:
        deal = await uow.session.get(deals.Opportunity, rivals.deals["device-2"].id)
        assert deal is not None
        plan = deals.StagePlan("lost", Text("丢单", "Lost"), is_closed=True, category=ForecastCategory.CLOSED)
        stage = await deals.add_stage(uow, deal.pipeline_id, plan)
        await deals.move_opportunity(uow, deal, stage, at=clock.now, loss_reason="价格")
    # The deal is one of the south: what it says of the card is said in the east as well, and no more.
    mine = (await sets(ask))["yuanbai"]
    assert (mine["lost"], mine["reasons"]) == (0, ["LOST_SINCE"])
    assert (await sets(ask, "na"))["yuanbai"]["lost"] == 1
    clock.now += timedelta(days=90)
    assert (await sets(ask))["yuanbai"]["reasons"] == ["OVERDUE", "LOST_SINCE"]
    assert (await sets(ask, "CURATOR"))["yuanbai"]["overdue"] is True


async def test_what_came_in_from_elsewhere_was_never_reviewed(rivals: Company, ask: Ask) -> None:
    async with rivals.database.open_uow(SYSTEM) as uow:
        content = Content("赛衡：省里标多，县里服务慢", CARD, Facets(competitors=("saiheng",)))
        item = ImportedItem("b-1", KnowledgeKind.BATTLECARD, Language.ZH, content, None, None)
        for model, rows in (await imported_rows(uow, "旧系统", [item])).items():
            uow.session.add_all(model(**row) for row in rows)
            await uow.session.flush()
        uow.note("knowledge.imported", await uow.session.get_one(KnowledgeItem, rows[0]["item_id"]))
    assert (await sets(ask))["saiheng"]["reasons"] == ["NEVER_REVIEWED"]


def test_a_loss_before_the_newest_card_is_no_reason() -> None:
    card = Card(new_id(), ("yuanbai",), START, START + timedelta(days=90), reviewed=True)
    old = Card(new_id(), ("yuanbai",), START - timedelta(days=9), None, reviewed=True)
    assert refresh_reasons([card, old], START - timedelta(days=1), START) == ()
    assert refresh_reasons([old], START - timedelta(days=1), START) == (RefreshReason.LOST_SINCE,)
