"""Saved retrieval tests at the terminal, and run by a server after it has begun."""

import json
import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from api.settings import Settings
from domain.kernel import SYSTEM, Database, Language
from domain.ledger import LedgerRecorder
from knowledge import Content, KnowledgeItem, KnowledgeKind, service
from knowledge.retrieval_tests import save_retrieval_test
from migrations import migrate
from tests.installation import READY_SECONDS, Home, running

RUNS = "SELECT passed FROM retrieval_test_runs ORDER BY passed"


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """A home with an entry on prices, one on delivery, and a test of the first."""
    home = Home(tmp_path / "home")
    home.path.mkdir()
    settings = Settings(home=home.path)
    await migrate(settings.database)
    database = Database(settings.database, LedgerRecorder())
    async with database.open_uow(SYSTEM) as uow:
        ids = []
        for title, body in (("价格太高怎么答", "先认同，再看五年总成本。"), ("交期怎么保证", "按周给出排产计划。")):
            item = await service.draft(uow, kind=KnowledgeKind.FAQ, language=Language.ZH, content=Content(title, body))
            await service.submit(uow, item.id, None)
            await service.publish(uow, item.id, None)
            ids.append(item.id)
        await save_retrieval_test(uow, question="价格太高", language=Language.ZH, expected=ids[:1])
    await database.close()
    return home


async def add_failing(home: Home) -> None:
    database = Database(Settings(home=home.path).database, LedgerRecorder())
    async with database.open_uow(SYSTEM) as uow:
        first = select(KnowledgeItem.id).order_by(KnowledgeItem.id).limit(1)
        item_id = (await uow.session.execute(first)).scalar_one()
        await save_retrieval_test(uow, question="排产计划", language=Language.ZH, expected=[item_id], within=1)
    await database.close()


def runs(home: Home) -> list[int]:
    with sqlite3.connect(home.path / "sortie.db") as connection:
        return [row[0] for row in connection.execute(RUNS)]


def wait_for_runs(home: Home, count: int) -> None:
    ends = time.monotonic() + READY_SECONDS
    while len(runs(home)) < count and time.monotonic() < ends:
        time.sleep(0.2)


async def test_the_command_says_what_fails_and_ends_with_one(home: Home) -> None:
    good = home.run("knowledge", "test")
    assert (good.returncode, good.stdout) == (0, "检索测试 1 个，未通过 0 个\n")
    assert "BM25" in good.stderr
    await add_failing(home)
    bad = home.run("knowledge", "test")
    assert bad.returncode == 1
    lines = bad.stdout.splitlines()
    assert lines == ["✗ 排产计划", "  价格太高怎么答: 未出现，应在前 1", "检索测试 2 个，未通过 1 个"]
    english = home.run("knowledge", "test", "--json", SORTIE_LANGUAGE="en")
    found = json.loads(english.stdout)
    assert (english.returncode, found["ran"], found["failed"]) == (1, 2, 1)
    [failed] = [one for one in found["tests"] if not one["passed"]]
    assert (failed["question"], failed["methods"], failed["ranks"][0]["rank"]) == ("排产计划", ["bm25"], None)
    assert runs(home) == [0, 1]


async def test_a_server_runs_them_by_itself(home: Home) -> None:
    await add_failing(home)
    with running(home):
        wait_for_runs(home, 2)
    assert runs(home) == [0, 1]


async def test_a_reranker_that_cannot_be_loaded_ends_the_command_in_one_line(home: Home) -> None:
    refused = home.run("knowledge", "test", SORTIE_RERANKER="/nowhere/at/all")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "/nowhere/at/all 无法使用" in refused.stderr
