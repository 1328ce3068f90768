"""A table under its mapping: cells asked for by the field that they feed, checked, with the place of what is wrong."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from api.importing.mapping import Column, FilePart, Mapping
from api.importing.report import Findings
from api.importing.tables import Line, Table, read_table, written
from domain.kernel import Invalid, Money, SalesError, Text, money

T = TypeVar("T")

TEXT_LENGTH = 300
MAX_COUNT = 100_000_000
EARLIEST, LATEST = date(1970, 1, 1), date(2100, 1, 1)
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
CHINESE = re.compile("[\u2e80-\ufaff]+")
FORMULA = ("=", "+", "-", "@")
SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "万": 10**4, "亿": 10**8}
BOOLEANS = dict.fromkeys(("true", "yes", "1", "是", "y"), True) | dict.fromkeys(("false", "no", "0", "否", "n"), False)


@lru_cache(maxsize=100_000)
def read_moment(raw: str, forms: tuple[str, ...], pivot: int) -> datetime | None:
    """What a cell says by the first format that fits, without a zone where it names none; None where none fits.

    Two-digit years from `pivot` on are of the last century.
    """
    for form in forms:
        try:
            found = datetime.strptime(raw, form)  # noqa: DTZ007 - the caller knows the zone
        except ValueError:
            continue
        if "%y" in form:
            found = found.replace(year=(1900 if found.year % 100 >= pivot else 2000) + found.year % 100)
        if EARLIEST <= found.date() < LATEST:
            return found
    return None


def joined_name(first: str | None, last: str | None) -> str | None:
    """A person's whole name in their own order: Chinese names family first and without a space."""
    if first and last and CHINESE.fullmatch(first + last):
        return last + first
    return " ".join(filter(None, (first, last))) or None


def read_number(raw: str) -> Decimal | None:
    """The number that people write: with thousands, a currency's sign, and K, M, B, 万 or 亿; None for anything else."""
    text = unicodedata.normalize("NFKC", raw).strip("¥$€£元 ")
    factor = SUFFIXES.get(text[-1:].upper(), 1)
    text = text[:-1].rstrip() if factor != 1 else text
    return Decimal(text.replace(",", "")) * factor if NUMBER.fullmatch(text) else None


@dataclass(slots=True)
class Sheet:
    """One file of an export: its rows by field, and those that could not be taken."""

    table: Table
    columns: dict[str, tuple[Column, tuple[int, ...]]]
    mapping: Mapping
    findings: Findings
    rejects: list[tuple[Line, Text]] = field(default_factory=list)

    @property
    def file(self) -> str:
        """The file's name."""
        return self.table.file

    def taken(self, read: Callable[["Cells"], T]) -> Iterator[tuple["Cells", T]]:
        """Each row as `read` takes it; what it refuses with an error that a caller may read is kept as rejected."""
        for line in self.table.lines:
            cells = Cells(self, line)
            try:
                cells.check_width()
                yield cells, read(cells)
            except SalesError as error:
                self.reject(line, error.text)

    def reject(self, line: Line, reason: Text) -> None:
        """Keep a row as not taken."""
        self.rejects.append((line, reason))

    def rejected_csv(self) -> str:
        """The rejected rows as CSV, by line."""
        return written(self.table.header, sorted(self.rejects, key=lambda pair: pair[0].number))


def open_sheet(directory: Path, part: FilePart, fields: BaseModel, mapping: Mapping, findings: Findings) -> Sheet:
    """Read a file and find the columns that its fields need; custom fields go by `custom.` and their key.

    Raises Invalid for a file that cannot be read and for a column that it does not have, or has twice.
    """
    file = part.file
    table = read_table(directory / file, delimiter=mapping.delimiter, encoding=mapping.encoding)
    wanted: dict[str, Column] = {name: column for name, column in fields if column is not None}
    wanted |= {f"custom.{key}": column for key, column in part.custom.items()}
    missing = sorted({name for column in wanted.values() for name in column.names if name not in table.header})
    if missing:
        present, absent = ", ".join(table.header)[:TEXT_LENGTH], ", ".join(missing)
        zh = f"{file} 第 1 行（表头）缺少列：{absent}；现有：{present}"
        raise Invalid(Text(zh, f"{file}, line 1 (header): no column {absent}; there are: {present}"))
    columns = {name: (column, tuple(_position(table, one) for one in column.names)) for name, column in wanted.items()}
    used = {position for _, positions in columns.values() for position in positions}
    for position, name in enumerate(table.header):
        if position not in used and name and name not in part.ignore:
            findings.add(Text("没有导入的列", "columns that feed nothing"), f"{file}:{name}")
    return Sheet(table, columns, mapping, findings)


def _position(table: Table, column: str) -> int:
    found = [position for position, name in enumerate(table.header) if name == column]
    if len(found) > 1:
        zh = f"{table.file} 的表头有 {len(found)} 个“{column}”列"
        raise Invalid(Text(zh, f"{table.file}: the header has “{column}” {len(found)} times"))
    return found[0]


@dataclass(frozen=True, slots=True)
class Cells:
    """One row, whose cells are asked for by field."""

    sheet: Sheet
    line: Line

    @property
    def place(self) -> str:
        """Where the row stands."""
        return f"{self.sheet.file}:{self.line.number}"

    def check_width(self) -> None:
        """Raise Invalid for a row with more or fewer cells than the header; empty ones at the end do no harm."""
        have, need = len(self.line.cells), len(self.sheet.table.header)
        if have < need or any(cell.strip() for cell in self.line.cells[need:]):
            raise Invalid(Text(f"有 {have} 格，表头有 {need} 格", f"{have} cells where the header has {need}"))

    def text(self, name: str) -> str | None:
        """The text of a field, with the mapping's replacements; None for an empty cell or a field that nothing feeds.

        Raises Invalid for more than 300 characters, or control characters.
        """
        if name not in self.sheet.columns:
            return None
        column, positions = self.sheet.columns[name]
        cells = [self.line.cells[at].strip() for at in positions]
        joined = joined_name(*cells) if column.person and len(cells) > 1 else " · ".join(filter(None, cells))
        raw = (column.constant or joined or "")[: column.cut]
        if raw[:1] == "'" and raw[1:].startswith(FORMULA):
            # So our exports, and those of other careful systems, keep spreadsheets from running a cell.
            raw = raw[1:]
        if not raw or raw in self.sheet.mapping.empty or raw in column.empty:
            return None
        if len(raw) > TEXT_LENGTH:
            raise self.wrong(
                name,
                Text(
                    f"有 {len(raw)} 个字符，最多 {TEXT_LENGTH} 个",
                    f"{len(raw)} characters, at most {TEXT_LENGTH} are taken",
                ),
            )
        if any(unicodedata.category(char) == "Cc" for char in raw):
            raise self.wrong(name, Text("含有换行或控制字符", "holds a line break or control character"))
        if raw in column.values:
            better = column.values[raw]
            self.sheet.findings.add(
                Text(f"“{raw}”按映射改为“{better}”", f"“{raw}” taken as “{better}”, as mapped"), self.place
            )
            return better or None
        return raw

    def needed(self, name: str) -> str:
        """The text of a field that may not be empty.

        Raises Invalid when it is.
        """
        value = self.text(name)
        if value is None:
            raise self.wrong(name, Text("不能为空", "must not be empty"))
        return value

    def number(self, name: str) -> Decimal | None:
        """The number in a field, times the mapping's unit; None for an empty cell.

        Raises Invalid for what is no plain number, or a negative one.
        """
        raw = self.text(name)
        if raw is None:
            return None
        value = read_number(raw)
        if value is None:
            raise self.wrong(name, Text(f"“{raw}”不是数字", f"“{raw}” is no number"))
        value *= self.sheet.columns[name][0].unit
        if value < 0:
            raise self.wrong(name, Text(f"{raw} 为负数", f"{raw} is negative"))
        return value

    def whole(self, name: str) -> int | None:
        """The count in a field; None for an empty cell.

        Raises Invalid for a fraction or a count beyond belief.
        """
        value = self.number(name)
        if value is None:
            return None
        if value != value.to_integral_value() or value > MAX_COUNT:
            raise self.wrong(name, Text(f"{value} 不是可信的整数", f"{value} is no credible whole number"))
        return int(value)

    def amount(self, name: str) -> Money | None:
        """The money in a field, in the mapping's currency; None for an empty cell.

        Raises Invalid for a negative amount, one that is too large, or one finer than a minor unit.
        """
        value = self.number(name)
        try:
            return None if value is None else money(value, self.sheet.mapping.currency)
        except Invalid as error:
            raise self.wrong(name, error.text) from error

    def day(self, name: str) -> date | None:
        """The day in a field, by the first of the mapping's formats that fits; None for an empty cell.

        Raises Invalid for a day that does not exist, or before 1970 or after 2100.
        """
        at = self.moment(name)
        return None if at is None else at.date()

    def moment(self, name: str) -> datetime | None:
        """The day and time of day in a field, by the first of its formats that fits; None for an empty cell.

        Raises Invalid for a day that does not exist, or before 1970 or after 2100.
        """
        raw = self.text(name)
        if raw is None:
            return None
        formats = self.sheet.columns[name][0].dates or self.sheet.mapping.dates
        found = read_moment(raw, formats, self.sheet.mapping.pivot)
        if found is None:
            forms = " / ".join(formats)
            raise self.wrong(name, Text(f"“{raw}”不是有效日期（{forms}）", f"“{raw}” is no valid date ({forms})"))
        return found

    def instant(self, name: str) -> datetime | None:
        """The instant in a field, in the zone of the export's people where it names none; noon UTC for a day alone."""
        at = self.moment(name)
        if at is None or at.tzinfo is not None:
            return at and at.astimezone(UTC)
        if at.time() == time():
            return at.replace(hour=12, tzinfo=UTC)
        return at.replace(tzinfo=ZoneInfo(self.sheet.mapping.users.time_zone)).astimezone(UTC)

    def flag(self, name: str) -> bool | None:
        """The yes or no in a field; None for an empty cell.

        Raises Invalid for other words.
        """
        raw = self.text(name)
        if raw is not None and raw.lower() not in BOOLEANS:
            raise self.wrong(name, Text(f"“{raw}”不是是或否", f"“{raw}” is neither yes nor no"))
        return None if raw is None else BOOLEANS[raw.lower()]

    def wrong(self, name: str, what: Text) -> Invalid:
        """The error for a field, which names its column."""
        column = " · ".join(self.sheet.columns[name][0].names) or name
        return Invalid(Text(f"“{column}”列：{what.zh}", f"column “{column}”: {what.en}"), (column,))
