"""Excel workbooks as tables: every cell as the text that a CSV export of it would hold."""

import datetime as dt
import zipfile
from pathlib import Path

from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

from domain.kernel import Invalid, Text

MAX_BYTES = 100 * 1024 * 1024
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
MAX_CELLS = 10_000_000
ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
Row = tuple[int, list[str]]
Cell = str | float | bool | dt.datetime | dt.date | dt.time | dt.timedelta | None


def is_workbook(name: str) -> bool:
    """Whether a file's name, with or without `#Sheet`, is that of a workbook."""
    return name.partition("#")[0].lower().endswith(ENDINGS)


def read_workbook(path: Path) -> list[Row]:
    """The rows of a sheet (`book.xlsx#Sheet`, or the only visible one) with their numbers.

    Raises Invalid for what is no workbook, an unknown or unclear sheet, and more than an import takes, unpacked included.
    """
    file, _, wanted = str(path).partition("#")
    _check_size(Path(file))
    try:
        book = CalamineWorkbook.from_path(file)
        sheet = book.get_sheet_by_name(_sheet_name(book, path.name, wanted))
        if sheet.total_height * sheet.total_width > MAX_CELLS:
            raise _refused(
                path,
                f"工作表超过 {MAX_CELLS} 个单元格，请拆分后导入",
                f"the sheet has more than {MAX_CELLS} cells: split it",
            )
        rows = sheet.to_python(skip_empty_area=False)
    except (CalamineError, OSError) as error:
        raise _refused(path, f"无法读取工作簿：{error}", f"the workbook cannot be read: {error}") from error
    return [(number, [as_text(cell) for cell in row]) for number, row in enumerate(rows, 1)]


def sheet_names(path: Path) -> list[Path]:
    """The visible sheets of a workbook, each as `book.xlsx#Sheet`.

    Raises Invalid for what is no workbook, or too large.
    """
    _check_size(path)
    try:
        found = CalamineWorkbook.from_path(str(path)).sheets_metadata
    except (CalamineError, OSError) as error:
        raise _refused(path, f"无法读取工作簿：{error}", f"the workbook cannot be read: {error}") from error
    return [path.with_name(f"{path.name}#{one.name}") for one in found if one.visible == SheetVisibleEnum.Visible]


def _check_size(path: Path) -> None:
    """Look at what the file says of itself before anything is unpacked."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _refused(path, f"超过 {MAX_BYTES // 1024**2} MiB", f"larger than {MAX_BYTES // 1024**2} MiB")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                unpacked = sum(part.file_size for part in packed.infolist())
            if unpacked > MAX_UNPACKED_BYTES:
                raise _refused(path, "解压后过大", "it would be too large unpacked")
    except (OSError, zipfile.BadZipFile) as error:
        raise _refused(path, f"无法读取：{error}", f"cannot be read: {error}") from error


def _sheet_name(book: CalamineWorkbook, file: str, wanted: str) -> str:
    names = [
        sheet.name for sheet in book.sheets_metadata if sheet.visible == SheetVisibleEnum.Visible
    ] or book.sheet_names
    if not wanted and len(names) == 1:
        return names[0]
    if wanted in book.sheet_names:
        return wanted
    listed = "、".join(names)
    zh = f"没有工作表“{wanted}”；现有：{listed}" if wanted else f"有多个工作表，请写明 {file}#工作表：{listed}"
    en = (
        f"there is no sheet “{wanted}”, only: {listed}"
        if wanted
        else f"it has several sheets, name one as {file}#Sheet: {listed}"
    )
    raise _refused(Path(file), zh, en)


def as_text(cell: Cell) -> str:
    """A typed cell as CSV would write it: whole numbers without a point, dates as 2026-03-02, times of day after them."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    if isinstance(cell, dt.datetime):
        return cell.date().isoformat() if cell.time() == dt.time() else cell.isoformat(sep=" ", timespec="seconds")
    if isinstance(cell, dt.date | dt.time):
        return cell.isoformat()
    return str(cell)


def _refused(path: Path, zh: str, en: str) -> Invalid:
    return Invalid(Text(f"{path.name}：{zh}", f"{path.name}: {en}"))
