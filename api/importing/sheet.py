"""A table under its mapping: cells asked for by the field that they feed, checked, with the place of what is wrong."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from api.importing.mapping import Column, Mapping
from api.importing.report import Findings
from api.importing.tables import Line, Table, read_table, written
from domain.kernel import Invalid, Money, SalesError, Text, money

T = TypeVar("T")

TEXT_LENGTH = 300
MAX_COUNT = 100_000_000
EARLIEST, LATEST = date(1970, 1, 1), date(2100, 1, 1)
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


@dataclass(slots=True)
class Sheet:
    """One file of an export: its rows by field, and those that could not be taken."""

    table: Table
    columns: dict[str, tuple[Column, int | None]]
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


def open_sheet(directory: Path, file: str, fields: BaseModel, mapping: Mapping, findings: Findings) -> Sheet:
    """Read a file and find the columns that its fields need.

    Raises Invalid for a file that cannot be read and for a column that it does not have, or has twice.
    """
    table = read_table(directory / file, delimiter=mapping.delimiter, encoding=mapping.encoding)
    wanted: dict[str, Column] = {name: column for name, column in fields if column is not None}
    missing = sorted(
        {column.column for column in wanted.values() if column.column and column.column not in table.header}
    )
    if missing:
        present, absent = ", ".join(table.header)[:TEXT_LENGTH], ", ".join(missing)
        zh = f"{file} 第 1 行（表头）缺少列：{absent}；现有：{present}"
        raise Invalid(Text(zh, f"{file}, line 1 (header): no column {absent}; there are: {present}"))
    columns = {name: (column, _position(table, column)) for name, column in wanted.items()}
    used = {position for _, position in columns.values()}
    for position, name in enumerate(table.header):
        if position not in used and name:
            findings.add(Text("没有导入的列", "columns that feed nothing"), f"{file}:{name}")
    return Sheet(table, columns, mapping, findings)


def _position(table: Table, column: Column) -> int | None:
    if column.column is None:
        return None
    found = [position for position, name in enumerate(table.header) if name == column.column]
    if len(found) > 1:
        zh = f"{table.file} 的表头有 {len(found)} 个“{column.column}”列"
        raise Invalid(Text(zh, f"{table.file}: the header has “{column.column}” {len(found)} times"))
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
        column, position = self.sheet.columns[name]
        raw = (column.constant or "") if position is None else self.line.cells[position].strip()
        if not raw or raw in self.sheet.mapping.empty:
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
        text = unicodedata.normalize("NFKC", raw).strip("¥$€£元 ")
        if not NUMBER.fullmatch(text):
            raise self.wrong(name, Text(f"“{raw}”不是数字", f"“{raw}” is no number"))
        value = Decimal(text.replace(",", "")) * self.sheet.columns[name][0].unit
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
        raw = self.text(name)
        if raw is None:
            return None
        for form in self.sheet.mapping.dates:
            try:
                day = datetime.strptime(raw, form).date()  # noqa: DTZ007 - a day has no zone
            except ValueError:
                continue
            if EARLIEST <= day < LATEST:
                return day
        forms = " / ".join(self.sheet.mapping.dates)
        raise self.wrong(name, Text(f"“{raw}”不是有效日期（{forms}）", f"“{raw}” is no valid date ({forms})"))

    def wrong(self, name: str, what: Text) -> Invalid:
        """The error for a field, which names its column."""
        column = self.sheet.columns[name][0].column or name
        return Invalid(Text(f"“{column}”列：{what.zh}", f"column “{column}”: {what.en}"), (column,))
