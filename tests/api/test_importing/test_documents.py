"""Files become drafts in review, once; what is exported comes back the same into an empty installation."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

import knowledge
from api.importing.documents import DocumentFormat, export_documents, import_documents
from api.importing.report import ImportSummary
from domain import people
from domain.kernel import SYSTEM, Database, Forbidden, Invalid, Language, Role, Text, Unauthenticated
from domain.ledger import AuditEvent
from knowledge import Content, Facets, KnowledgeAudience, KnowledgeItem, KnowledgeKind, KnowledgeState, KnowledgeVersion
from knowledge.formats import Defaults
from tests.conftest import remove_data
from tests.factories import add_colleague

YU, LAN = "yu.zhao@example.com", "lan.xu@example.com"
FAQ = Defaults(KnowledgeKind.FAQ)


@pytest.fixture
async def curators(database: Database) -> dict[str, Any]:
    return await staff(database)


async def staff(database: Database) -> dict[str, Any]:
    async with database.open_uow(SYSTEM) as uow:
        await people.add_territory(uow, key="east_china", label=Text("华东", "East China"))
    return {
        "yu": await add_colleague(database, "赵宇", Role.CURATOR, email=YU),
        "lan": await add_colleague(database, "徐岚", Role.CURATOR, email=LAN),
        "lei": await add_colleague(database, "张磊", Role.REP, email="lei.zhang@example.com"),
    }


async def bring(database: Database, *paths: Path, **more: Any) -> ImportSummary:
    given: dict[str, Any] = {"defaults": FAQ, "rejects_to": paths[0].parent / "rejects"} | more
    return await import_documents(database, YU, paths, **given)


async def entries(database: Database) -> dict[str, Any]:
    async with database.read() as connection:
        return {row.external_id: row for row in await connection.execute(select(KnowledgeItem.__table__))}


async def versions(database: Database) -> list[Any]:
    order = select(KnowledgeVersion.__table__).order_by(KnowledgeVersion.item_id, KnowledgeVersion.number)
    async with database.read() as connection:
        return list((await connection.execute(order)).all())


async def test_a_folder_becomes_drafts_in_review_with_their_author(
    database: Database, curators: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "话术"
    (folder / "门诊").mkdir(parents=True)
    (folder / "价格.md").write_text(
        "---\nkind: TALK_TRACK\nlicence: CC-BY-4.0\n---\n# 价格太高\n\n先问预算。\n", encoding="gb18030"
    )
    (folder / "门诊" / "交期.md").write_text("# 交期\n\n两周。", encoding="utf-8-sig")
    (folder / ".draft.md").write_text("# 不要", encoding="utf-8")
    (folder / "坏.md").write_text("没有标题", encoding="utf-8")
    (folder / "图.png").write_bytes(b"\x89PNG")
    summary = await bring(database, folder)
    tally = summary.tallies["knowledge"]
    assert (tally.read, tally.new, tally.rejected) == (3, 2, 1)
    found = await entries(database)
    assert set(found) == {"价格", "门诊/交期"}
    assert {row.state for row in found.values()} == {KnowledgeState.IN_REVIEW}
    assert (found["价格"].kind, found["价格"].licence, found["价格"].external_source) == (
        KnowledgeKind.TALK_TRACK,
        "CC-BY-4.0",
        "files",
    )
    assert {row.author_id for row in await versions(database)} == {curators["yu"].user_id}
    (rejected,) = summary.reject_files
    table = rejected.read_text(encoding="utf-8-sig")
    assert "坏.md" in table
    assert "title：缺少标题" in table
    assert any("没有许可说明" in one.text.zh and one.count == 1 for one in summary.warnings)
    with pytest.raises(Exception, match="second person"):
        async with database.open_uow(curators["yu"]) as uow:
            await knowledge.publish(uow, found["价格"].id, None)


async def test_the_same_files_change_nothing_and_others_become_revisions(
    database: Database, curators: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "价格.md"
    file.write_text("# 价格\n\n先问预算。", encoding="utf-8")
    await bring(database, file)
    assert (await bring(database, file)).tallies["knowledge"].unchanged == 1
    item = (await entries(database))["价格"]
    file.write_text("# 价格\n\n先问预算，再问比谁。", encoding="utf-8")
    refused = await bring(database, file)
    assert refused.tallies["knowledge"].rejected == 1
    assert "未完成的草稿" in refused.rejections[0].text.zh
    async with database.open_uow(curators["lan"]) as uow:
        await knowledge.publish(uow, item.id, None)
    assert (await bring(database, file)).tallies["knowledge"].different == 1
    item = (await entries(database))["价格"]
    assert (item.state, item.published_number, item.draft_number) == (KnowledgeState.PUBLISHED, 1, 2)
    bodies = [(row.number, row.state, row.body) for row in await versions(database)]
    assert bodies == [
        (1, KnowledgeState.PUBLISHED, "# 价格\n\n先问预算。"),
        (2, KnowledgeState.IN_REVIEW, "# 价格\n\n先问预算，再问比谁。"),
    ]


async def test_a_dry_run_and_a_stranger_leave_nothing(
    database: Database, curators: dict[str, Any], tmp_path: Path
) -> None:
    assert curators
    file = tmp_path / "a.md"
    file.write_text("# 题\n\n正文", encoding="utf-8")
    summary = await bring(database, file, dry_run=True)
    assert (summary.dry_run, summary.tallies["knowledge"].new) == (True, 1)
    with pytest.raises(Forbidden):
        await import_documents(database, "lei.zhang@example.com", [file], defaults=FAQ)
    with pytest.raises(Unauthenticated):
        await import_documents(database, "nobody@example.com", [file], defaults=FAQ)
    (tmp_path / "空").mkdir()
    with pytest.raises(Invalid):
        await bring(database, tmp_path / "空")
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(KnowledgeItem))).scalar_one() == 0
    assert not (tmp_path / "rejects").exists()


async def test_two_of_one_id_and_unknown_places_are_told_with_theirs(
    database: Database, curators: dict[str, Any], tmp_path: Path
) -> None:
    assert curators
    file = tmp_path / "表.csv"
    file.write_text(
        "id,title,body,kind,audience,owner\n1,甲,正文,FAQ,,\n1,乙,正文,FAQ,,\n2,丙,正文,FAQ,territory=mars,\n3,丁,正文,FAQ,territory=east_china,who@example.com\n",
        encoding="utf-8",
    )
    summary = await bring(database, file)
    assert summary.tallies["knowledge"].new == 2
    assert sorted(one.text.zh for one in summary.rejections) == [
        "audience：没有 territory“mars”",
        "id：“1”已在 表.csv:2 出现",
    ]
    assert any("负责人不在系统中" in one.text.zh for one in summary.warnings)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(KnowledgeAudience))).scalar_one() == 1


async def test_a_file_that_breaks_its_reader_or_the_list_of_rejects_keeps_no_other_out(
    database: Database, curators: dict[str, Any], tmp_path: Path
) -> None:
    assert curators
    folder = tmp_path / "库"
    folder.mkdir()
    (folder / "好.md").write_text("# 好\n\n正文", encoding="utf-8")
    (folder / "日期.md").write_text("---\nreview_at: 2026-13-45\n---\n# 题", encoding="utf-8")
    (folder / "自指.md").write_text(
        "---\nkind: &a [*a]\n1: {2: 3}\nowner: 18446744073709551999\n---\n# 题", encoding="utf-8"
    )
    (folder / "半字.md").write_text('---\nlicence: "\\ud800"\n---\n# 题', encoding="utf-8")
    summary = await bring(database, folder)
    assert (summary.tallies["knowledge"].new, summary.tallies["knowledge"].rejected) == (1, 3)
    assert len(summary.reject_files) == 1


async def test_another_licence_is_taken_and_another_audience_told(
    database: Database, curators: dict[str, Any], tmp_path: Path
) -> None:
    assert curators
    file = tmp_path / "a.md"
    file.write_text("---\nlicence: MIT\naudience: role=REP\n---\n# 题\n\n正文", encoding="utf-8")
    await bring(database, file)
    file.write_text("---\nlicence: 专有\naudience: role=FINANCE\n---\n# 题\n\n正文", encoding="utf-8")
    summary = await bring(database, file)
    assert (summary.tallies["knowledge"].different, summary.tallies["knowledge"].unchanged) == (1, 0)
    assert (await entries(database))["a"].licence == "专有"
    assert {one.text.zh for one in summary.warnings} >= {"来源或许可已更新", "受众与现有条目不同，保留现有"}
    again = await bring(database, file)
    assert again.tallies["knowledge"].unchanged == 1


def entry(number: int) -> Content:
    facets = Facets(concerns=("price_too_high",), industries=("医院", "门诊;体检"), regions=("华东",))
    body = f"## 客户怎么说\n\n第 {number} 条：“太贵”。\r\n\n---\n\n- a|b\n\n=1+1\n"
    return Content(
        f'第 {number} 条："价格"',
        body,
        facets,
        datetime(2027, 3, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        None,
    )


@pytest.mark.parametrize("form", DocumentFormat)
async def test_what_is_exported_comes_back_the_same(database: Database, form: DocumentFormat, tmp_path: Path) -> None:
    curators = await staff(database)
    async with database.open_uow(curators["yu"]) as uow:
        for number in range(3):
            item = await knowledge.draft(
                uow, kind=KnowledgeKind.CASE_STUDY, language=Language.ZH, content=entry(number), source="内部", licence="专有",
                origin=("handbook", f"h-{number}") if number else None,
            )  # fmt: skip
            if number == 1:
                await knowledge.address(uow, item.id, None, [knowledge.Audience(Role.REP)])
            await knowledge.submit(uow, item.id, None)
    before = [replace(knowledge.stored_content(row)) for row in await versions(database)]
    items = sorted((await entries(database)).items(), key=lambda pair: pair[0] or "")
    target = tmp_path / ("out" if form is DocumentFormat.MARKDOWN else f"out.{form.value}")
    count, digest = await export_documents(database, LAN, target, form, drafts=True)
    assert count == 3
    async with database.read() as connection:
        noted = select(AuditEvent.detail).where(AuditEvent.action == "knowledge.exported")
        assert (await connection.execute(noted)).scalar_one()["detail"]["sha256"] == digest
    again = await bring(database, target, defaults=Defaults())
    assert again.tallies["knowledge"].unchanged == 3, "the same installation knows its own"
    assert (await export_documents(database, "lei.zhang@example.com", tmp_path / "none.csv", DocumentFormat.CSV))[
        0
    ] == 0

    await remove_data(database)
    await staff(database)
    summary = await bring(database, target, defaults=Defaults())
    assert (summary.tallies["knowledge"].new, summary.tallies["knowledge"].rejected) == (3, 0)
    after = [knowledge.stored_content(row) for row in await versions(database)]
    assert sorted(after, key=lambda one: one.title) == sorted(before, key=lambda one: one.title)
    now = await entries(database)
    assert {row.state for row in now.values()} == {KnowledgeState.IN_REVIEW}
    assert {row.licence for row in now.values()} == {"专有"}
    assert {row.external_source for row in now.values()} == {"handbook", "sortie"}
    assert len(items) == len(now)
    async with database.read() as connection:
        assert [row.role for row in await connection.execute(select(KnowledgeAudience.__table__))] == [Role.REP]
