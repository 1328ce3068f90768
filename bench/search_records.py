"""How long search over 100,000 records takes on SQLite, as the manager, as a seller and without rules: printed, not judged."""

import asyncio
import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import migrations
from domain import deals, people
from domain.accounts import Account, Contact
from domain.activities import Activity
from domain.deals import ForecastCategory, Opportunity, StagePlan
from domain.kernel import SYSTEM, Actor, ActorKind, Database, Reach, Ref, Role, Text, insert_rows, search
from domain.leads import Lead
from domain.ledger import LedgerRecorder

RECORDS = 100_000
SHARES = {"Account": 0.1, "Contact": 0.2, "Lead": 0.2, "Opportunity": 0.15, "Activity": 0.35}
ROUNDS = 400
SELLERS = 50
AT = datetime(2026, 3, 2, tzinfo=UTC)
CITIES = [
    "杭州",
    "宁波",
    "苏州",
    "无锡",
    "南京",
    "上海",
    "广州",
    "深圳",
    "佛山",
    "东莞",
    "青岛",
    "济南",
    "成都",
    "重庆",
    "武汉",
    "长沙",
    "合肥",
    "西安",
    "天津",
    "北京",
]
TRADES = [
    "精密",
    "医疗",
    "电子",
    "机械",
    "食品",
    "纺织",
    "汽车",
    "化工",
    "仪器",
    "包装",
    "建材",
    "物流",
    "软件",
    "能源",
    "环保",
    "家具",
    "印刷",
    "光学",
    "制药",
    "船舶",
]
FORMS = ["有限公司", "股份有限公司", "集团", "第一医院", "研究所", "制造厂", "科技公司", "设备厂"]
NAMES = [
    "陈芳",
    "李强",
    "王敏",
    "张磊",
    "刘洋",
    "赵静",
    "黄伟",
    "周婷",
    "吴刚",
    "徐丽",
    "孙浩",
    "胡蓉",
    "朱峰",
    "高洁",
    "林涛",
    "何欣",
    "郭亮",
    "马超",
    "罗兰",
    "梁爽",
]
TITLES = ["采购经理", "技术总监", "院长", "生产主管", "财务经理", "总经理", "设备科长", "质量工程师"]
TALK = [
    "谈了价格",
    "客户担心交期",
    "要求再降两个点",
    "约定下周拜访",
    "已发报价单",
    "竞争对手也在报价",
    "试用反馈良好",
    "售后响应太慢",
    "预算还没批",
    "等院长签字",
    "合同条款待确认",
    "想看样机",
]
CONSOLE = Console()


def pick(words: list[str], *numbers: int) -> str:
    """One of the words, always the same one for the same numbers."""
    return words[int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest()) % len(words)]


def company(number: int) -> str:
    """A company's name."""
    return f"{pick(CITIES, number, 1)}{pick(NAMES, number, 2)[-1]}{pick(NAMES, number, 3)[-1]}{pick(TRADES, number, 4)}{pick(FORMS, number, 5)}"  # fmt: skip


def rows_of(
    kind: str, count: int, owners: list[Any], ids: dict[str, list[Any]], stage: Any
) -> Iterator[dict[str, Any]]:
    """The rows of one class, without their ids."""
    for number in range(count):
        owner, account = owners[number % len(owners)], ids["Account"][number % len(ids["Account"])]
        person = f"{pick(NAMES, number, 6)}{number % 97}"
        if kind == "Account":
            yield {
                "name": company(number),
                "owner_id": owner,
                "lifecycle_stage": "PROSPECT",
                "domain": f"firm{number}.cn",
            }
        elif kind == "Contact":
            yield {"name": person, "title": pick(TITLES, number, 7), "account_id": account}
        elif kind == "Lead":
            yield {
                "source": "官网", "external_id": str(number), "name": person, "company": company(number), "interest": pick(TALK, number, 8), "status": "NEW",
                "owner_id": owner, "contact_id": ids["Contact"][number % len(ids["Contact"])], "captured_at": AT, "last_activity_at": AT, "duplicate_verdict": "NONE",
            }  # fmt: skip
        elif kind == "Opportunity":
            yield {
                "name": f"{company(number)} {number % 9 + 1}期", "account_id": account, "owner_id": owner, "pipeline_id": stage.pipeline_id, "stage_id": stage.id,
                "forecast_category": ForecastCategory.PIPELINE, "opened_at": AT, "stage_entered_at": AT,
            }  # fmt: skip
        else:
            body = "，".join(pick(TALK, number, 9, part) for part in range(1 + number % 9))
            yield {
                "kind": "CALL", "subject": f"{pick(TITLES, number, 10)}来电", "body": body, "occurred_at": AT - timedelta(minutes=number), "owner_id": owner,
                "related_kind": "Account", "related_id": account, "account_id": account,
            }  # fmt: skip


async def load(database: Database) -> list[Any]:
    """Put the records in, and return the sellers' ids."""
    models = {"Account": Account, "Contact": Contact, "Lead": Lead, "Opportunity": Opportunity, "Activity": Activity}
    ids: dict[str, list[Any]] = {"Account": [None], "Contact": [None]}
    async with database.open_uow(SYSTEM) as uow:
        users = [await people.add_user(uow, name=f"销售{n}", email=f"s{n}@example.com") for n in range(SELLERS)]
        stages = await deals.ensure_pipeline(uow, "new", Text("新签", "New"), [StagePlan("a", Text("一", "One"))])
        await uow.session.flush()
    owners = [user.id for user in users]
    for kind, model in models.items():
        async with database.open_uow(SYSTEM) as uow:
            rows = [{"id": uow.new_id()} | row for row in rows_of(kind, int(RECORDS * SHARES[kind]), owners, ids, stages["a"])]  # fmt: skip
            ids[kind] = [row["id"] for row in rows]
            await insert_rows(uow, model, rows)
            uow.note("bench.loaded", Ref("Bench", uow.new_id()), covers=[model])
    return owners


async def measure(database: Database, actor: Actor, queries: list[str]) -> list[tuple[float, str, int]]:
    """Milliseconds, query and hits of one search each, the fastest first."""
    found = []
    async with database.read() as connection:
        for query in queries:
            began = time.perf_counter()
            hits = await search.search(connection, actor, query, search.searched(), 20)
            found.append(((time.perf_counter() - began) * 1000, query, len(hits)))
    return sorted(found)


def queries_of(count: int) -> list[str]:
    """Two-character queries: pairs of neighbours in what stands in the records, in their own frequency."""
    texts = [text for n in range(count) for text in (company(n), pick(TALK, n, 8), pick(TITLES, n, 7))]
    pairs = [text[at : at + 2] for n, text in enumerate(texts) if len(text) > 2 for at in [n % (len(text) - 1)]]
    return pairs[:count]


async def main() -> None:
    """Load, measure, print."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "search.db"
        database = Database(f"sqlite+aiosqlite:///{file}", LedgerRecorder())
        await migrations.migrate(database.url)
        began = time.perf_counter()
        owners = await load(database)
        CONSOLE.print(f"{RECORDS:,} records in {time.perf_counter() - began:.1f} s, {file.stat().st_size / 1e6:.0f} MB")
        seller = Actor(ActorKind.USER, owners[0], "销售", (Reach(Role.REP),))
        ops = replace(seller, reaches=(Reach(Role.SALES_OPS),))
        table = Table("reader", "query", "n", "p50 ms", "p95 ms", "max ms", "slowest")
        kinds = {"two characters": queries_of(ROUNDS), "two words": [f"{a} {b}" for a, b in zip(CITIES, TRADES, strict=True)], "number half typed": [f"firm{n}" for n in range(100, 140)]}  # fmt: skip
        for who, actor in (("seller (1/50)", seller), ("sales operations", ops), ("no rules", SYSTEM)):
            for kind, queries in kinds.items():
                await measure(database, actor, queries[:3])
                took = await measure(database, actor, queries)
                times = [one[0] for one in took]
                cuts = statistics.quantiles(times, n=20)
                table.add_row(who, kind, str(len(took)), f"{statistics.median(times):.1f}", f"{cuts[-1]:.1f}", f"{times[-1]:.1f}", f"{took[-1][1]}")  # fmt: skip
        CONSOLE.print(table)
        began = time.perf_counter()
        async with database.open_uow(SYSTEM) as uow:
            await search.forget(uow.session)
        CONSOLE.print(f"what an erasure adds: {time.perf_counter() - began:.2f} s")
        await database.close()


if __name__ == "__main__":
    asyncio.run(main())
