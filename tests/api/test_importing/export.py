"""A small Chinese CRM export, and what its tests ask of the database."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from api.importing import ImportSummary
from domain.accounts import Account, AccountTeamMember
from domain.commerce import Order, OrderLine, PriceBookEntry, Product
from domain.deals import Opportunity, StageTransition
from domain.kernel import Database
from domain.ledger import AuditEvent, ImportBatch
from domain.people import RoleGrant, Territory, User

Run = Callable[..., Awaitable[ImportSummary]]

MAPPING = """
source: old_crm
currency: CNY
dates: ["%Y-%m-%d", "%Y年%m月%d日"]
empty: ["无"]
users: {domain: example.com, language: ZH, time_zone: Asia/Shanghai}
territories:
  华东区: {key: east_china, zh: 华东, en: East China}
  华南区: {key: south_china, zh: 华南, en: South China}
pipeline:
  key: old_crm
  zh: 旧系统漏斗
  en: Old pipeline
  worked_stage: talk
  stages:
    - {key: talk, zh: 洽谈, en: In talks, values: [洽谈中, 跟进], forecast: BEST_CASE}
    - {key: won, zh: 赢单, en: Won, values: [赢单], closed: true, won: true, forecast: CLOSED}
    - {key: lost, zh: 丢单, en: Lost, values: [丢单], closed: true, forecast: OMITTED, zero_is_unknown: true}
agents: {file: 销售.csv, fields: {name: 姓名, territory: 大区, manager: 经理, email: 邮箱}}
accounts:
  file: 客户.csv
  fields:
    name: 客户名称
    industry: {column: 行业, values: {医療: 医疗}}
    region: 地区
    employees: 人数
    annual_revenue: {column: 营收万元, unit: 10000}
    parent: 上级
products: {file: 产品.csv, floor_share: 0.8, fields: {name: 产品, list_price: 目录价}}
opportunities:
  file: 商机.csv
  fields: {id: 编号, agent: 销售, account: 客户, product: {column: 产品, values: {监护仪8: 监护仪 8}}, stage: 阶段, opened_on: 开始, close_date: 关闭, amount: 金额}
"""

FILES = {
    "销售.csv": """姓名,大区,经理,邮箱
张磊,华东区,王敏,lei.zhang@example.com
李娜,华东区,王敏,
陈芳,华南区,王敏,无
""",
    "客户.csv": """客户名称,行业,地区,人数,营收万元,上级,备注
杭州第一医院,医療,浙江,"1,200",¥850.5,,重点
杭州第一医院滨江院区,医疗,浙江,300,,杭州第一医院,
苏州精密,机械,江苏,80,120,不存在的集团,
""",
    "产品.csv": """产品,目录价
监护仪 8,38000
激光打标机,118000
""",
    "商机.csv": """编号,销售,客户,产品,阶段,开始,关闭,金额
D1,张磊,杭州第一医院,监护仪8,赢单,2025-03-01,2025年04月20日,"36,000"
D2,张磊,杭州第一医院,监护仪 8,赢单,2025-05-01,2025-07-20,37000
D3,李娜,杭州第一医院,激光打标机,丢单,2025-06-01,2025-08-01,0
D4,李娜,苏州精密,激光打标机,洽谈中,2025-09-01,,
D5,陈芳,苏州精密,激光打标机,跟进,,,
D6,陈芳,,监护仪 8,洽谈中,2025-10-01,,
""",
}


def add_lines(folder: Path, name: str, *lines: str) -> None:
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def every(database: Database, *columns: Any) -> list[tuple[Any, ...]]:
    async with database.read() as connection:
        return [tuple(row) for row in await connection.execute(select(*columns).order_by(*columns))]


async def sizes(database: Database) -> dict[str, int]:
    tables = (User, RoleGrant, Territory, Account, AccountTeamMember, Product, PriceBookEntry, Opportunity, StageTransition, Order, OrderLine, ImportBatch, AuditEvent)  # fmt: skip
    async with database.read() as connection:
        return {
            table.__name__: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in tables
        }


def counts(summary: ImportSummary, name: str) -> tuple[int, int, int, int, int]:
    tally = summary.tallies[name]
    return tally.read, tally.new, tally.unchanged, tally.different, tally.rejected


def warnings(summary: ImportSummary) -> dict[str, int]:
    return {warned.text.zh: warned.count for warned in summary.warnings}
