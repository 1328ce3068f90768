"""The real exports, where SORTIE_REAL_DATA names their folder: counts, traps, the same twice; rates are printed."""

import csv
import os
import shutil
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from api.importing import import_crm, import_knowledge
from api.importing.propose import propose
from domain.accounts import Account, AccountTeamMember
from domain.commerce import Order, PriceBookEntry
from domain.deals import Opportunity, Stage
from domain.kernel import Database, Role, rows_visible
from knowledge import KnowledgeItem
from tests.api.test_importing.export import counts, sizes, warnings
from tests.factories import sign_in

FOLDER = os.environ.get("SORTIE_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SORTIE_REAL_DATA names no folder")
CRM, KNOWLEDGE = Path(FOLDER or ".") / "maven_crm", Path(FOLDER or ".") / "handbook_kb" / "kb.jsonl"


async def test_the_crm_export_comes_in_whole_and_twice_the_same(database: Database, tmp_path: Path) -> None:
    began = time.perf_counter()
    summary = await import_crm(database, CRM, rejects_to=tmp_path)
    took = time.perf_counter() - began
    print(f"{database.writer.dialect.name}: 8800 rows in {took:.2f} s, {8800 / took:.0f} rows a second")  # noqa: T201
    assert {label.en: count for label, count in summary.by_kind.items()} == {
        "Prospecting": 500, "Engaging": 1_589, "Won": 4_238, "Lost": 2_473,
    }  # fmt: skip
    assert {name: counts(summary, name)[1] for name in summary.tallies} == {
        "agents": 35, "accounts": 85, "products": 7, "opportunities": 8_800, "orders": 4_238,
    }  # fmt: skip
    assert summary.rejected == 0
    assert summary.reject_files == []
    assert warnings(summary) == {
        "没有导入的列": 1, "“technolgy”按映射改为“technology”": 12, "“Philipines”按映射改为“Philippines”": 1, "没有底价，按目录价的 85% 计": 7,
        "“GTXPro”按映射改为“GTX Pro”": 1_480, "未关闭的商机没有客户，照常导入": 1_425, "未关闭的商机没有关闭日期": 2_089, "未关闭的商机没有金额": 2_089,
        "“丢单”商机的金额为 0，按未知处理": 2_473, "未关闭的商机没有开始日期，以导入时刻为准": 500, "没有商机的销售人员": 5,
    }  # fmt: skip
    roles = [user.roles for user in summary.users]
    assert (roles.count((Role.REP,)), roles.count((Role.MANAGER,))) == (35, 6)
    assert "moses.frase@example.com" in {user.email for user in summary.users}
    before = await sizes(database)
    again = await import_crm(database, CRM, rejects_to=tmp_path)
    assert await sizes(database) == before
    assert {name: counts(again, name)[1:4] for name in again.tallies} == {
        name: (0, tally.read, 0) for name, tally in summary.tallies.items()
    }


async def test_other_dates_and_two_more_columns_come_in_by_a_proposed_mapping(
    database: Database, tmp_path: Path
) -> None:
    for name in ("accounts.csv", "products.csv", "sales_teams.csv"):
        shutil.copyfile(CRM / name, tmp_path / name)
    header, *rows = list(csv.reader((CRM / "sales_pipeline.csv").read_text(encoding="utf-8").splitlines()))
    days = [header.index("engage_date"), header.index("close_date")]
    for row in rows:
        for at in days:
            row[at] = "-".join(reversed(row[at][2:].split("-"))) if row[at] else ""
    with (tmp_path / "sales_pipeline.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[*header, "竞争对手", "备注"], *([*row, "远景", "无"] for row in rows)])
    mapping = tmp_path / "映射.yaml"
    mapping.write_text(propose(tmp_path).text, encoding="utf-8")
    summary = await import_crm(database, tmp_path, mapping=mapping)
    assert counts(summary, "opportunities") == (8_800, 8_800, 0, 0, 0)
    assert {label.en: count for label, count in summary.by_kind.items()} == {
        "Prospecting": 500, "Engaging": 1_589, "Won": 4_238, "Lost": 2_473,
    }  # fmt: skip
    async with database.read() as connection:
        last = select(func.max(Opportunity.close_date))
        assert str((await connection.execute(last)).scalar_one()) == "2017-12-31"


async def test_the_imported_figures_are_those_of_the_files(database: Database, tmp_path: Path) -> None:
    await import_crm(database, CRM, rejects_to=tmp_path)
    async with database.read() as connection:

        async def number(statement: object) -> int:
            return int((await connection.execute(statement)).scalar_one())  # type: ignore[call-overload]

        won = select(func.sum(Opportunity.amount_minor)).join(Stage, Stage.id == Opportunity.stage_id)
        assert await number(won.where(Stage.key == "won")) == 10_005_534_00
        assert await number(select(func.sum(Order.total_minor))) == 10_005_534_00
        assert await number(select(func.count()).where(Account.parent_id.is_not(None))) == 15
        assert await number(select(func.count()).where(Account.owner_id.is_(None))) == 0
        assert await number(select(func.count()).where(Account.region == "Philippines")) == 1
        assert await number(select(func.count()).where(Opportunity.account_id.is_(None))) == 1_425
        assert await number(select(func.min(PriceBookEntry.list_minor))) == 55_00
        assert await number(select(func.count()).where(Opportunity.territory_id.is_(None))) == 0


async def test_an_agent_sees_their_accounts_and_their_own_deals(database: Database, tmp_path: Path) -> None:
    await import_crm(database, CRM, rejects_to=tmp_path)
    agent = await sign_in(database, "moses.frase@example.com")
    async with database.read() as connection:
        seen = set((await connection.execute(select(Account.id).where(rows_visible(Account, agent)))).scalars())
        own = set((await connection.execute(select(Account.id).where(Account.owner_id == agent.user_id))).scalars())
        team = select(AccountTeamMember.account_id).where(AccountTeamMember.user_id == agent.user_id)
        joined = set((await connection.execute(team)).scalars())
        visible = select(Opportunity.owner_id, Opportunity.account_id).where(rows_visible(Opportunity, agent))
        deals = (await connection.execute(visible)).all()
    assert seen == own | joined
    assert joined
    assert not own & joined
    assert sum(owner == agent.user_id for owner, _ in deals) == 260
    assert all(owner == agent.user_id or account in own for owner, account in deals)


async def test_the_handbooks_come_in_with_source_and_licence(database: Database, tmp_path: Path) -> None:
    summary = await import_knowledge(database, KNOWLEDGE, rejects_to=tmp_path)
    assert counts(summary, "knowledge") == (1_638, 1_638, 0, 0, 0)
    async with database.read() as connection:
        bare = select(func.count()).where(KnowledgeItem.licence.is_(None) | KnowledgeItem.source.is_(None))
        assert (await connection.execute(bare)).scalar_one() == 0
        tongues = await connection.execute(
            select(KnowledgeItem.language, func.count()).group_by(KnowledgeItem.language)
        )
        assert {str(language): count for language, count in tongues} == {"ZH": 478, "EN": 1_160}
    assert counts(await import_knowledge(database, KNOWLEDGE, rejects_to=tmp_path), "knowledge") == (
        1_638,
        0,
        1_638,
        0,
        0,
    )
