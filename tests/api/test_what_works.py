"""What works, through the schema: searches that are kept, figures of effectiveness, and who sees them."""

import asyncio
import sqlite3
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import delete, insert, select

from api.context import Context
from api.jobs import Upkeep
from api.knowledge.log import CAPACITY, SearchLog
from api.schema import schema
from api.settings import Settings
from assistant import outcomes
from assistant.model import FeedbackVerdict
from assistant.pipeline import Desk
from assistant.review import give_feedback
from domain.kernel import Language, Role
from domain.ledger import AuditEvent
from knowledge import Filter, Library, LoggedSearch, Retrieval
from knowledge.effectiveness import KnowledgeEffectiveness
from knowledge.retrieval import EFFECTIVENESS
from tests.api.conftest import Ask, Company
from tests.api.test_knowledge import SEARCH, published
from tests.installation import Home, running

REPLY = """mutation($input: DraftObjectionReplyInput!) { draftObjectionReply(input: $input) { generation { id } errors { code message } } }"""
EFFECTS = """query($filter: KnowledgeEffectivenessFilter, $orderBy: EffectOrder) {
  knowledgeEffectiveness(filter: $filter, orderBy: $orderBy) { totalCount edges { node {
    item { title } versionNumber kind segment segmentKey offered cited used edited rejected followed advanced rate low high mean advanceRate } } } }"""


@pytest.fixture
def searches(company: Company) -> SearchLog:
    return SearchLog(company.database)


async def search(company: Company, searches: SearchLog, query: str, who: str = "lei", **filter: str) -> list[str]:
    context = Context(
        company.database, company.people[who], Language.ZH, company.database.clock(), library=Library(company.database), searches=searches,
    )  # fmt: skip
    answer = await schema.execute(SEARCH, variable_values={"query": query, "filter": filter}, context_value=context)
    assert answer.errors is None
    return [hit["item"]["title"] for hit in answer.data["searchKnowledge"]["hits"]]  # type: ignore[index]


async def kept(company: Company) -> list[LoggedSearch]:
    async with company.database.read() as connection:
        return list((await connection.execute(select(LoggedSearch.__table__).order_by(LoggedSearch.at))).all())  # type: ignore[arg-type]


async def test_what_people_search_is_kept_later_with_what_they_were_offered(
    company: Company, ask: Ask, searches: SearchLog
) -> None:
    await published(ask)
    titles = await search(company, searches, "　价格 太高 怎么办", concern="price_too_high")
    assert titles == ["医院说价格太高"]
    assert await kept(company) == []
    assert await searches.flush() == 1
    (row,) = await kept(company)
    assert (row.query, row.concern, row.role, row.user_id) == (
        "价格 太高 怎么办", "price_too_high", Role.REP, company.people["lei"].user_id,
    )  # fmt: skip
    assert (row.found, row.generation_id, row.wanted_as) == (1, None, "search")
    assert row.territory_id is not None
    async with company.database.read() as connection:
        (offer,) = (await connection.execute(select(Retrieval.__table__))).all()
    assert (offer.search_id, offer.rank, offer.version_number, offer.generation_id) == (row.id, 1, 1, None)
    assert offer.methods[0]["method"] == "bm25"


async def test_personal_data_in_a_search_is_masked(company: Company, searches: SearchLog) -> None:
    name = company.contacts["hospital"].name
    await search(company, searches, f"{name} 嫌贵，电话 13800001234，邮箱 fang@example.cn")
    await searches.flush()
    (row,) = await kept(company)
    assert name not in row.query
    assert "13800001234" not in row.query
    assert "fang@example.cn" not in row.query
    assert "嫌贵" in row.query


async def test_an_orderly_end_loses_none(company: Company, searches: SearchLog) -> None:
    await searches.start()
    for number in range(7):
        await search(company, searches, f"问题{number}")
    await searches.stop()
    assert len(await kept(company)) == 7


async def test_what_cannot_be_written_waits(
    company: Company, searches: SearchLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await search(company, searches, "价格太高")
    with monkeypatch.context() as patch:
        patch.setattr(type(company.database), "open_uow", lambda *_args, **_more: asyncio.Lock().missing)  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            await searches.flush()
    assert await searches.flush() == 1
    assert len(await kept(company)) == 1


async def test_a_database_that_is_away_for_long_costs_the_oldest(company: Company, searches: SearchLog) -> None:
    for number in range(CAPACITY + 3):
        searches.note(company.people["lei"], f"问题{number}", Filter(), ())
    assert len(searches._waiting) == CAPACITY
    assert searches._waiting[0].query == "问题3"


async def test_figures_are_shown_to_those_who_keep_the_knowledge_and_managers(company: Company, ask: Ask) -> None:
    await published(ask)
    deal = company.id(company.deals["hospital-2"])
    given = {"opportunityId": deal, "concern": "价格太高", "category": "price_too_high", "clientKey": "k"}
    answer = await ask(REPLY, "lei", input=given)
    assert answer.errors == []
    assert answer.data["draftObjectionReply"]["errors"] == []
    async with company.database.read() as connection:
        generation = (await connection.execute(select(Retrieval.generation_id).limit(1))).scalar_one()
    async with company.database.open_uow(company.people["lei"]) as uow:
        await give_feedback(uow, generation, FeedbackVerdict.USED)
    assert await outcomes.refresh(company.database) > 0
    for who in ("CURATOR", "LEGAL", "ADMIN", "min"):
        found = await ask(EFFECTS, who, filter={"segment": "CONCERN", "allVersions": True}, orderBy="RATE")
        assert found.errors == []
        (edge,) = found.data["knowledgeEffectiveness"]["edges"]
        row = edge["node"]
        assert (row["item"]["title"], row["segmentKey"]) == ("医院说价格太高", "price_too_high")
        assert (row["offered"], row["used"], row["rejected"]) == (1, 1, 0)
        # One of one, the mean of the kind being (1 + 1/2) / (1 + 1) = 0.75 with a weight of 20.
        assert row["rate"] == pytest.approx((1 + 15) / 21)
        assert row["low"] < row["rate"] < row["high"]
    for who in ("lei", "FINANCE"):
        assert (await ask(EFFECTS, who)).data == {"knowledgeEffectiveness": {"totalCount": 0, "edges": []}}


async def test_the_log_is_no_matter_of_the_ledger(company: Company, searches: SearchLog) -> None:
    async with company.database.writer.begin() as connection:
        await connection.execute(delete(AuditEvent.__table__))  # type: ignore[arg-type]
    await search(company, searches, "价格太高")
    await searches.flush()
    async with company.database.read() as connection:
        assert (await connection.execute(select(AuditEvent.__table__))).all() == []
    assert KnowledgeEffectiveness.__unledgered__


def test_a_server_that_is_stopped_has_kept_every_search(tmp_path: Path) -> None:
    """A real process, and SIGTERM before its five seconds are over; the demo company answers."""
    home = Home(tmp_path / "home")
    assert home.run("demo").returncode == 0
    with running(home) as address:
        token = home.run("token", "lei.zhang@example.com").stdout.strip()
        for number in range(5):
            body = {"query": SEARCH, "variables": {"query": f"价格太高怎么办 {number}", "first": 3}}
            answer = httpx2.post(f"http://{address}/graphql", json=body, headers={"authorization": f"Bearer {token}"})
            assert len(answer.json()["data"]["searchKnowledge"]["hits"]) == 3
    with sqlite3.connect(home.path / "sortie.db") as database:
        kept = database.execute("SELECT query, found, role FROM knowledge_searches ORDER BY query").fetchall()
        offered = database.execute("SELECT count(*) FROM retrievals WHERE search_id IS NOT NULL").fetchone()
    database.close()
    assert kept == [(f"价格太高怎么办 {number}", 3, "REP") for number in range(5)]
    assert offered == (15,)


@pytest.mark.parametrize("switched_on", [True, False])
async def test_a_setting_switches_the_track_record_off(
    company: Company, ask: Ask, tmp_path: Path, switched_on: bool
) -> None:
    item = await published(ask)
    library = Library(company.database)
    before = (await library.search(company.people["lei"], "价格太高", Filter(), 5)).hits[0]
    async with company.database.writer.begin() as connection:
        figures = dict.fromkeys(("cited", "used", "edited", "rejected", "followed", "advanced"), 0) | {"offered": 40}
        rates = dict.fromkeys(("low", "high", "advance_rate", "advance_low", "advance_high", "advance_mean"), 0.1)
        row = {
            "id": company.database.new_id(),
            "item_id": before.item_id,
            "kind": "OBJECTION_RESPONSE",
            "segment": "ALL",
            "rate": 0.6,
            "mean": 0.2,
        }
        computed = {"computed_at": company.database.clock()}
        await connection.execute(insert(KnowledgeEffectiveness.__table__).values(**figures, **rates, **row, **computed))  # type: ignore[arg-type]
    settings = Settings(home=tmp_path, embedding_model="off", effectiveness_prior=switched_on)
    upkeep = Upkeep(Desk(company.database, library), settings)
    await upkeep.start()
    await asyncio.sleep(0.2)
    await upkeep.stop()
    after = (await library.search(company.people["lei"], "价格太高", Filter(), 5)).hits[0]
    lines = [line for line in after.explanation if line.method == EFFECTIVENESS]
    # (0.6 - 0.2) / sqrt(0.2 * 0.8) is one deviation above the mean.
    assert [(round(line.score, 9), line.weight) for line in lines] == ([(1.0, 0.03)] if switched_on else [])
    assert item["title"] == "医院说价格太高"
