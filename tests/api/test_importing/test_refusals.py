"""What an import does not take: rows are kept with their reasons, files stop it, and nothing is half-written."""

import csv
from pathlib import Path

import pytest

from api.importing import import_crm
from domain.kernel import Database, Invalid, Language, Unavailable
from tests.api.test_importing.export import FILES, Run, add_lines, counts, listed, sizes


async def test_rows_that_cannot_be_taken_are_kept_with_reasons(run: Run, folder: Path, tmp_path: Path) -> None:
    add_lines(
        folder,
        "商机.csv",
        "D1,张磊,杭州第一医院,监护仪 8,洽谈中,,,",
        "E1,赵六,杭州第一医院,监护仪 8,洽谈中,,,",
        "E2,张磊,上海电子,监护仪 8,洽谈中,,,",
        "E3,张磊,杭州第一医院,呼吸机,洽谈中,,,",
        "E4,张磊,杭州第一医院,监护仪 8,谈判,,,",
        "E5,张磊,杭州第一医院,监护仪 8,洽谈中,2025-02-30,,",
        "E6,张磊,杭州第一医院,监护仪 8,赢单,2025-05-02,2025-05-01,100",
        "E7,张磊,杭州第一医院,监护仪 8,赢单,2025-05-02,,100",
        "E8,张磊,杭州第一医院,监护仪 8,洽谈中,,,-5",
        "E9,张磊,杭州第一医院,监护仪 8,洽谈中,,,99999999999999999",
        "F1,张磊,杭州第一医院,监护仪 8,洽谈中,,,一百",
        "F2,张磊,杭州第一医院,监护仪 8,赢单,2026-01-01,2026-04-01,100",
        "F3,张磊,杭州第一医院",
        "F4,张磊,杭州第一医院,监护仪 8,洽谈中,,,,多余",
        ",张磊,杭州第一医院,监护仪 8,洽谈中,,,",
        "F5," + "张" * 301 + ",,,洽谈中,,,",
    )
    summary = await run(rejects_to=tmp_path / "拒收")
    assert counts(summary, "opportunities") == (22, 6, 0, 0, 16)
    assert summary.reject_files == [tmp_path / "拒收" / "商机.rejected.csv"]
    with summary.reject_files[0].open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["line", "reason_zh", "reason_en", "编号", "销售", "客户", "产品", "阶段", "开始", "关闭", "金额"]
    assert [int(row[0]) for row in rows] == list(range(8, 24))
    for row, reason in zip(rows, (
        "“D1”与第 2 行重复", "未知销售人员“赵六”", "未知客户“上海电子”", "未知产品“呼吸机”", "“阶段”列：未知阶段“谈判”；映射中有：洽谈中, 跟进, 赢单, 丢单",
        "“开始”列：“2025-02-30”不是有效日期（%Y-%m-%d / %Y年%m月%d日）", "关闭日期 2025-05-01 早于开始日期 2025-05-02", "已关闭的商机没有关闭日期", "“金额”列：-5 为负数",
        "“金额”列：金额过大", "“金额”列：“一百”不是数字", "日期在将来", "有 3 格，表头有 8 格", "有 9 格，表头有 8 格", "“编号”列：不能为空", "“销售”列：有 301 个字符，最多 300 个",
    ), strict=True):  # fmt: skip
        assert row[1] == reason
        assert row[2].isascii() or "“" in row[2]
    assert rows[13][3:] == ["F4", "张磊", "杭州第一医院", "监护仪 8", "洽谈中", "", "", "", "多余"]
    assert "拒收原因" in "\n".join(summary.lines(Language.ZH))


async def test_mended_rejects_come_in_and_the_file_goes(run: Run, folder: Path) -> None:
    add_lines(folder, "商机.csv", "E1,赵六,苏州精密,激光打标机,洽谈中,,,")
    kept = (await run()).reject_files[0]
    mended = kept.read_text(encoding="utf-8-sig").replace("赵六", "陈芳")
    (folder / "商机.csv").write_text(mended, encoding="utf-8-sig")
    summary = await run()
    assert counts(summary, "opportunities") == (1, 1, 0, 0, 0)
    assert not kept.exists()


async def test_bad_rows_in_the_other_files_are_refused_one_by_one(run: Run, folder: Path) -> None:
    add_lines(folder, "客户.csv", "宁波电子,电子,浙江,半打,,,", "温州机械,机械,浙江,80,-1,,", "苏州精密,机械,,,,,")
    add_lines(folder, "产品.csv", "配件,0", "耗材,免费")
    add_lines(folder, "销售.csv", "周平,,王敏,", "吴刚,华东区,王敏,不是邮箱")
    summary = await run()
    reasons = {warned.text.zh for warned in summary.rejections}
    assert reasons == {
        "“人数”列：“半打”不是数字", "“营收万元”列：-1 为负数", "“苏州精密”与第 4 行重复", "“目录价”列：目录价须为正数",
        "“目录价”列：“免费”不是数字", "“大区”列：不能为空", "“邮箱”列：“不是邮箱”不是邮箱地址",
    }  # fmt: skip
    assert summary.rejected == 7
    assert len(summary.reject_files) == 3


@pytest.mark.parametrize(
    ("name", "text", "zh"),
    [
        ("商机.csv", None, "无法读取文件"),
        ("商机.csv", "编号,销售\nD1,张磊\n", "商机.csv 第 1 行（表头）缺少列：产品, 关闭, 客户, 开始, 金额, 阶段；现有：编号, 销售"),
        ("客户.csv", FILES["客户.csv"].replace("备注", "行业"), "有 2 个“行业”列"),
        ("产品.csv", '产品,目录价\n"监护仪,1\n', "产品.csv 第 2 行起有一个引号一直没有闭合"),
        ("销售.csv", "", "销售.csv 是空文件"),
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_read_changes_nothing(
    database: Database, run: Run, folder: Path, name: str, text: str | None, zh: str
) -> None:
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text, encoding="utf-8")
    before = await sizes(database)
    with pytest.raises(Invalid) as error:
        await run()
    assert zh in error.value.text.zh
    assert name in error.value.text.en
    assert await sizes(database) == before


async def test_a_folder_that_is_none_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as error:
        await import_crm(database, tmp_path / "没有")
    assert "不是文件夹" in error.value.text.zh


async def test_a_full_disk_leaves_nothing_half_written(sqlite_database: Database, folder: Path) -> None:
    add_lines(
        folder,
        "商机.csv",
        *(f"G{number},张磊,杭州第一医院,监护仪 8,洽谈中,2025-10-01,,9" for number in range(4_000)),
        "H,谁,,,跟进,,,",
    )
    async with sqlite_database.writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 200}")
    files = listed(folder)
    with pytest.raises(Unavailable) as refused:
        await import_crm(sqlite_database, folder, mapping=folder / "映射.yaml")
    assert "空间已满" in refused.value.text.zh
    assert set((await sizes(sqlite_database)).values()) == {0}
    assert listed(folder) == files
    async with sqlite_database.writer.connect() as connection:
        await connection.exec_driver_sql("PRAGMA max_page_count=1073741823")
    summary = await import_crm(sqlite_database, folder, mapping=folder / "映射.yaml")
    assert counts(summary, "opportunities") == (4_007, 4_006, 0, 0, 1)


async def test_rejects_that_cannot_be_kept_stop_the_import(database: Database, run: Run, folder: Path) -> None:
    add_lines(folder, "商机.csv", "E1,赵六,苏州精密,激光打标机,洽谈中,,,")
    (folder / "文件").write_text("不是文件夹", encoding="utf-8")
    before = await sizes(database)
    with pytest.raises(Unavailable) as refused:
        await run(rejects_to=folder / "文件")
    assert "没有导入任何内容" in refused.value.text.zh
    assert await sizes(database) == before
