"""Text formats, which are read and written: Markdown with front matter, CSV, JSON lines. What is written is read back word for word."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
import yaml

from domain.kernel import Invalid, Text
from knowledge.formats.document import FIELDS, LISTS, Defaults, Document, Found, field_name, read_document

FRONT = re.compile(r"\A---[ \t]*\r?\n(?P<front>.*?)^---[ \t]*\r?\n?", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#{1,6}[ \t]+(?P<title>.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
RISKY = ("=", "+", "-", "@", "\t", "\r", "'")
"""How a cell begins that a spreadsheet would run as a formula, or that looks as if it had been guarded against that."""
GUARD = "'"
MAX_CELL = 10_000_000


def read_markdown(text: str, file: str, defaults: Defaults) -> list[Found]:
    """The one entry of a Markdown file: front matter as YAML, and the rest, untouched, as its body; a title may be its first heading."""
    found = FRONT.match(text)
    told: dict[str, Any] = {}
    if found is not None:
        try:
            front = yaml.safe_load(found["front"])
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            line = getattr(getattr(error, "problem_mark", None), "line", 0) + 2
            zh, en = f"第 {line} 行：front matter 不是有效的 YAML", f"line {line}: the front matter is no valid YAML"
            return [Found(file, refused=Invalid(Text(zh, en), ("front matter",)))]
        if not isinstance(front, dict | None):
            words = Text("front matter 应为“名称: 值”", "the front matter should be names with values")
            return [Found(file, refused=Invalid(words, ("front matter",)))]
        told = front or {}
    body = text[found.end() :] if found else text
    heading = HEADING.search(body)
    named = {"id": file.rpartition(".")[0] or file} | ({"title": heading["title"]} if heading else {}) | told
    return [read_document(named | {"body": body}, file, defaults)]


def write_markdown(document: Document) -> str:
    """A document as Markdown with front matter."""
    told = document.told()
    body = told.pop("body", "")
    front = yaml.safe_dump(told, allow_unicode=True, sort_keys=False, width=1_000)
    return f"---\n{front}---\n{body}"


def read_jsonl(text: str, file: str, defaults: Defaults) -> list[Found]:
    """The entries of a file with one JSON object a line."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        place = f"{file}:{number}"
        if not line.strip():
            continue
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            words = Text(
                f"不是有效的 JSON（第 {error.colno} 列）", f"no valid JSON (column {error.colno}: {error.msg})"
            )
            found.append(Found(place, refused=Invalid(words)))
            continue
        if not isinstance(told, dict):
            words = Text("这一行不是 JSON 对象", "the line is no JSON object")
            found.append(Found(place, refused=Invalid(words)))
            continue
        found.append(read_document(told, place, defaults))
    return found


def write_jsonl(documents: Iterable[Document]) -> Iterator[str]:
    """Documents as JSON, one a line."""
    for document in documents:
        yield orjson.dumps(document.told()).decode() + "\n"


def read_csv(text: str, file: str, defaults: Defaults) -> list[Found]:
    """The entries of a table; the delimiter is the one of comma, semicolon and tab that the header has most often."""
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    # The limit is one of the whole process: who reads tables of records keeps the usual one.
    usual = csv.field_size_limit(MAX_CELL)
    try:
        header = next(rows, [])
        lines = [(rows.line_num, row) for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        words = Text(f"第 {rows.line_num} 行不是有效的 CSV：{error}", f"line {rows.line_num} is no valid CSV: {error}")
        return [Found(file, refused=Invalid(words))]
    finally:
        csv.field_size_limit(usual)
    return read_rows(header, lines, file, defaults, guarded=True)


def read_rows(
    header: list[str], lines: Iterable[tuple[int, list[str]]], file: str, defaults: Defaults, *, guarded: bool = False
) -> list[Found]:
    """The entries of rows under a header; each refusal names the row."""
    found = []
    for number, row in lines:
        place = f"{file}:{number}"
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            words = Text(
                f"有 {len(row)} 格，表头有 {len(header)} 格", f"{len(row)} cells where the header has {len(header)}"
            )
            found.append(Found(place, refused=Invalid(words)))
            continue
        cells = {
            name: _read(cell) if guarded else cell for name, cell in zip(header, row, strict=False) if name.strip()
        }
        told = {name: _list_of(cell) if field_name(name) in LISTS else cell for name, cell in cells.items()}
        found.append(read_document(told, place, defaults))
    return found


def write_csv(documents: Iterable[Document]) -> Iterator[str]:
    """Documents as a table that spreadsheets open, with a byte order mark; no cell can be taken for a formula."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(FIELDS)
    yield "\ufeff" + buffer.getvalue()
    for document in documents:
        buffer.seek(0)
        buffer.truncate()
        told = document.told()
        writer.writerow([_written(told.get(name)) for name in FIELDS])
        yield buffer.getvalue()


def _written(value: Any) -> str:
    if isinstance(value, list):
        value = orjson.dumps(value).decode()
    elif value is None:
        return ""
    text = "true" if value is True else str(value)
    return GUARD + text if text.startswith(RISKY) else text


def _read(cell: str) -> str:
    return cell[1:] if cell.startswith(GUARD) and cell[1:].startswith(RISKY) else cell


def _list_of(cell: str) -> Any:
    """A cell that holds a JSON list, as one; every other as it is."""
    if not (cell.startswith("[") and cell.rstrip().endswith("]")):
        return cell
    try:
        found = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
    return found if isinstance(found, list) else cell
