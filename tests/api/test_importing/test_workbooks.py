"""Excel workbooks: read like the CSV export of the same sheet, refused clearly where they cannot be."""

import datetime as dt
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from api.importing.tables import read_table
from api.importing.workbooks import as_text, is_workbook
from domain.kernel import Invalid


def book(path: Path, **sheets: list[list[object]]) -> Path:
    """A workbook with these sheets."""
    made = Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


CUSTOMERS: list[list[object]] = [
    ["客户名称", "员工数", "成立日期", "上次拜访", "启用", "备注"],
    ["申桥汽车零部件有限公司", 920, dt.date(2011, 5, 3), dt.datetime(2026, 11, 14, 9, 30), True, "=1+1"],  # noqa: DTZ001 - Excel knows no zones
    [None, None, None, None, None, None],
    ["岚溪医院", 1234.5, None, None, False, "“引号”\n换行"],
]


def test_a_sheet_reads_like_its_csv_export(tmp_path: Path) -> None:
    table = read_table(book(tmp_path / "客户.xlsx", 客户=CUSTOMERS))
    assert table.header == ("客户名称", "员工数", "成立日期", "上次拜访", "启用", "备注")
    assert [line.number for line in table.lines] == [2, 4]
    assert table.lines[0].cells[:5] == ["申桥汽车零部件有限公司", "920", "2011-05-03", "2026-11-14 09:30:00", "TRUE"]
    assert table.lines[1].cells == ["岚溪医院", "1234.5", "", "", "FALSE", "“引号”\n换行"]


def test_of_several_sheets_one_is_named(tmp_path: Path) -> None:
    book(tmp_path / "导出.xlsx", 客户=CUSTOMERS, 商机=[["商机名称"], ["伺服压装 5 台"]])
    with pytest.raises(Invalid) as unclear:
        read_table(tmp_path / "导出.xlsx")
    assert "客户、商机" in unclear.value.text.zh
    assert read_table(tmp_path / "导出.xlsx#商机").lines[0].cells == ["伺服压装 5 台"]
    with pytest.raises(Invalid, match="only"):
        read_table(tmp_path / "导出.xlsx#订单")


def test_what_is_no_workbook_is_told(tmp_path: Path) -> None:
    (tmp_path / "假.xlsx").write_text("客户名称,行业\n岚溪医院,医疗\n", encoding="utf-8")
    with pytest.raises(Invalid) as refused:
        read_table(tmp_path / "假.xlsx")
    assert "假.xlsx" in refused.value.text.zh
    with pytest.raises(Invalid):
        read_table(tmp_path / "没有.xlsx")


def test_a_file_that_would_be_huge_unpacked_is_refused_before_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.importing.workbooks.MAX_UNPACKED_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/worksheets/sheet1.xml", b"0" * 2_000_000)
    assert (tmp_path / "bomb.xlsx").stat().st_size < 10_000
    with pytest.raises(Invalid) as refused:
        read_table(tmp_path / "bomb.xlsx")
    assert "解压" in refused.value.text.zh


def test_too_many_cells_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.importing.workbooks.MAX_CELLS", 10)
    with pytest.raises(Invalid, match="10 cells"):
        read_table(book(tmp_path / "大.xlsx", 表=CUSTOMERS))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""), (12.0, "12"), (-0.5, "-0.5"), (1e20, "1e+20"), (True, "TRUE"), (dt.datetime(2026, 3, 2, tzinfo=None), "2026-03-02"),  # noqa: DTZ001
        (dt.time(9, 30), "09:30:00"), ("  文本 ", "  文本 "),
    ],
)  # fmt: skip
def test_cells_become_the_text_that_csv_would_hold(cell: object, text: str) -> None:
    assert as_text(cell) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "found"), [("a.xlsx", True), ("a.XLSX#表", True), ("a.ods", True), ("a.csv", False), ("a.csv#x", False)]
)
def test_workbooks_are_known_by_their_ending(name: str, found: bool) -> None:
    assert is_workbook(name) is found
