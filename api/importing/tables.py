"""Files as other systems write them: bytes into text, text or sheets into rows that know their line."""

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.importing.workbooks import Row, is_workbook, read_workbook
from domain.kernel import Invalid, Text

MAX_BYTES = 100 * 1024 * 1024
MAX_ROWS = 200_000
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
SAMPLE_BYTES = 65_536
NUL_SHARE = 100
"""At least one byte in so many is zero in UTF-16, where every separator has one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a file: the number of the line on which it begins, and its cells as written."""

    number: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """One file: its header and its rows, empty ones left out."""

    file: str
    header: tuple[str, ...]
    lines: list[Line]


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises Invalid when it is absent, no file, unreadable, empty, or larger than an import takes.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            mib = MAX_BYTES // 1024**2
            raise Invalid(Text(f"{path} 超过 {mib} MiB，请拆分后导入", f"{path} is larger than {mib} MiB: split it"))
        data = path.read_bytes()
    except OSError as error:
        zh = f"无法读取文件 {path}：{error.strerror}"
        raise Invalid(Text(zh, f"cannot read the file {path}: {error.strerror}")) from error
    if not data.strip():
        raise Invalid(Text(f"{path.name} 是空文件", f"{path.name} is empty"))
    return data


def decode(file: str, data: bytes, encoding: str | None = None) -> str:
    """The text of a file: in the encoding given, else by its byte order mark, else UTF-16, UTF-8 or GB18030 as it proves.

    Raises Invalid that names the line and byte which are no such text, or hold a NUL.
    """
    chosen = encoding or _marked(data) or _unmarked_utf16(data)
    try:
        text: str | None = data.decode(chosen or "utf-8")
    except UnicodeDecodeError as error:
        text = _chinese(data) if chosen is None else None
        if text is None:
            raise _bad_byte(file, data, error.start, chosen or "UTF-8 / UTF-16 / GB18030") from error
    if text is not None and "\0" in text:
        at = text.index("\0")
        line = text.count("\n", 0, at) + 1
        raise Invalid(Text(
            f"{file} 第 {line} 行有空字符（NUL，文件的第 {at + 1} 个字符），文件可能已损坏",
            f"{file}, line {line}: a NUL (character {at + 1} of the file); the file may be damaged",
        ))  # fmt: skip
    return text or ""


def _marked(data: bytes) -> str | None:
    return next((name for mark, name in BOMS if data.startswith(mark)), None)


def _unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: enough zero bytes, and line breaks but no other control character in one byte order."""
    if data.count(0, 0, SAMPLE_BYTES) * NUL_SHARE < min(len(data), SAMPLE_BYTES) or len(data) % 2:
        return None
    for name in ("utf-16-le", "utf-16-be"):
        text = data.decode(name, "replace")
        if "\n" in text and not any(char < " " and char not in "\t\r\n" for char in text):
            return name
    return None


def _chinese(data: bytes) -> str | None:
    """The text as GB18030, unless it is damaged UTF-8 or some western encoding, which GB18030 would read as nonsense."""
    tried = data.decode("utf-8", "replace")
    damaged = tried.count("\ufffd")
    if sum(not char.isascii() for char in tried) - damaged > damaged:
        return None
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    # A western accent swallows the letter behind it: a single Chinese character between two Latin letters.
    lonely = sum(
        not here.isascii() and before.isascii() and before.isalpha() and after.isascii() and after.isalpha()
        for before, here, after in zip(text, text[1:], text[2:], strict=False)
    )
    foreign = sum(not char.isascii() for char in text)
    return None if lonely * 4 > foreign else text


def _bad_byte(file: str, data: bytes, at: int, encoding: str) -> Invalid:
    line, byte = data.count(b"\n", 0, at) + 1, data[at]
    return Invalid(Text(
        f"{file} 第 {line} 行（第 {at + 1} 个字节 0x{byte:02X}）不是有效的 {encoding} 文本；可在映射文件的 encoding 中指明编码",
        f"{file}, line {line} (byte {at + 1}, 0x{byte:02X}): no valid {encoding} text; the mapping's `encoding` can name another",
    ))  # fmt: skip


def read_table(path: Path, *, delimiter: str = ",", encoding: str | None = None) -> Table:
    """The rows of a CSV file, or of a workbook's sheet.

    Raises Invalid for a file that is no text, has a quote that is never closed, or too much in it; see `read_workbook`.
    """
    if is_workbook(path.name):
        lines = _filled(path.name, read_workbook(path))
    else:
        lines = _lines(path.name, decode(path.name, read_bytes(path), encoding), delimiter)
    if not lines:
        raise Invalid(Text(f"{path.name} 没有表头", f"{path.name} has no header"))
    header = tuple(cell.strip().removeprefix("\ufeff") for cell in lines[0].cells)
    return Table(path.name, header, lines[1:])


def _filled(file: str, rows: Sequence[Row]) -> list[Line]:
    lines = [Line(number, cells) for number, cells in rows if any(cell.strip() for cell in cells)]
    if len(lines) > MAX_ROWS + 1:
        raise Invalid(
            Text(f"{file} 超过 {MAX_ROWS} 行，请拆分后导入", f"{file} has more than {MAX_ROWS} rows: split it")
        )
    return lines


def _lines(file: str, text: str, delimiter: str) -> list[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[Line] = []
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return lines
        except csv.Error as error:
            raise _broken(file, number, str(error)) from error
        if any(cell.strip() for cell in cells):
            lines.append(Line(number, cells))
        if len(lines) > MAX_ROWS + 1:
            raise Invalid(
                Text(f"{file} 超过 {MAX_ROWS} 行，请拆分后导入", f"{file} has more than {MAX_ROWS} rows: split it")
            )


def _broken(file: str, number: int, reason: str) -> Invalid:
    what = Text("有过大的单元格", "a cell is too large")
    if "end of data" in reason:
        what = Text("起有一个引号一直没有闭合", "a quote that opens here is never closed")
    elif "limit" not in reason:
        what = Text("起的引号不配对", "the quotes in this row do not match")
    return Invalid(Text(f"{file} 第 {number} 行{what.zh}", f"{file}, line {number}: {what.en}"))


def written(header: Sequence[str], rows: Sequence[tuple[Line, Text]]) -> str:
    """Rows as CSV for people and spreadsheets: line and reasons, then the cells as they were, surplus ones at the end."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["line", "reason_zh", "reason_en", *header])
    for line, reason in rows:
        writer.writerow([line.number, reason.zh, reason.en, *line.cells])
    return out.getvalue()
