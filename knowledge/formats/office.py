"""Documents of office programs, which are read: their headings, lists and tables become Markdown."""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from domain.kernel import Invalid, Text
from knowledge.formats.document import Defaults, Found, field_name, read_document
from knowledge.formats.texts import read_rows

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
MAX_CELLS = 1_000_000
LEVELS = 6
STYLE = re.compile(r"(?:heading|标题)\s*(\d)", re.IGNORECASE)
LISTED = re.compile(r"list|列表|列出段落", re.IGNORECASE)


def _opened(data: bytes, file: str) -> None:
    """Look at what a packed file says of itself before anything is unpacked.

    Raises Invalid for what is no such file, is protected by a password, or would be too large.
    """
    if data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        zh, en = "文件有密码保护，或是旧版 Office 格式", "it is protected by a password, or of an old Office format"
        raise Invalid(Text(zh, en))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            unpacked = sum(part.file_size for part in packed.infolist())
    except (zipfile.BadZipFile, ValueError) as error:
        raise Invalid(Text(f"{file} 不是有效的 Office 文件", f"{file} is no valid Office file")) from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise Invalid(Text("解压后过大", "it would be too large unpacked"))


def read_docx(data: bytes, file: str, defaults: Defaults) -> list[Found]:
    """The one entry of a Word document; its title is that of the document, or its first heading."""
    _opened(data, file)
    from docx import Document as Word
    from docx.table import Table

    word = _guarded(lambda: Word(io.BytesIO(data)), file)
    blocks: list[str] = []
    title = word.core_properties.title or ""
    for block in word.iter_inner_content():
        if isinstance(block, Table):
            blocks.append(table([[cell.text for cell in row.cells] for row in block.rows]))
        elif text := block.text.strip():
            named = (block.style.name or "") if block.style is not None else ""
            if named in {"Title", "标题"}:
                title = title or text
            blocks.append(_paragraph(text, named, listed=_numbered(block)))
    return [_found(title, blocks, file, defaults)]


def _guarded(read: Any, file: str) -> Any:
    try:
        return read()
    except Exception as error:
        # Whatever a damaged file makes of the library, the reader is told of the file.
        zh, en = f"{file} 已损坏，无法读取", f"{file} is damaged and cannot be read"
        raise Invalid(Text(f"{zh}（{type(error).__name__}）", f"{en} ({type(error).__name__})")) from error


def _paragraph(text: str, style: str, *, listed: bool) -> str:
    if style in {"Title", "标题"}:
        return f"# {_line(text)}"
    if found := STYLE.search(style):
        return f"{'#' * min(int(found[1]) or 1, LEVELS)} {_line(text)}"
    if listed or LISTED.search(style):
        return f"- {_line(text)}"
    return text


def _line(text: str) -> str:
    return " ".join(text.split())


def _numbered(paragraph: Any) -> bool:
    properties = paragraph._p.pPr  # noqa: SLF001 - the library shows numbering nowhere else
    return properties is not None and properties.numPr is not None


def table(rows: list[list[str]]) -> str:
    """Rows as a Markdown table whose first row is its head."""
    width = max((len(row) for row in rows), default=0)
    cells = [[_line(cell).replace("|", "\\|") for cell in row] + [""] * (width - len(row)) for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]]) if lines else ""


def joined(blocks: list[str]) -> str:
    """Blocks parted by empty lines; items of one list stand together."""
    text = ""
    for block in filter(None, blocks):
        close = text.rpartition("\n")[2].startswith("- ") and block.startswith("- ")
        text += ("\n" if close else "\n\n") * bool(text) + block
    return text


def _found(title: str, blocks: list[str], file: str, defaults: Defaults) -> Found:
    body = joined(blocks)
    if not body.strip():
        return Found(file, refused=Invalid(Text("文件里没有文字", "there are no words in the file")))
    first = next((block.lstrip("# ") for block in blocks if block.startswith("#")), "")
    stem = file.rpartition(".")[0] or file
    return read_document({"id": stem, "title": title or first or stem.rpartition("/")[2], "body": body}, file, defaults)


def read_pptx(data: bytes, file: str, defaults: Defaults) -> list[Found]:
    """The one entry of a presentation: a heading a slide, its points, tables, and what its speaker is to say."""
    _opened(data, file)
    from pptx import Presentation

    shown = _guarded(lambda: Presentation(io.BytesIO(data)), file)
    blocks: list[str] = []
    titles: list[str] = []
    for number, slide in enumerate(shown.slides, 1):
        head = slide.shapes.title
        title = _line(head.text) if head is not None and head.has_text_frame else ""
        titles.append(title)
        inside = [
            block
            for shape in slide.shapes
            if head is None or shape.shape_id != head.shape_id
            for block in _shape(shape)
        ]
        notes = slide.notes_slide.notes_text_frame.text.strip() if slide.has_notes_slide else ""
        if title or inside or notes:
            blocks += [f"## {title or number}", *inside]
        if notes:
            blocks.append("\n".join(f"> {line}" if line.strip() else ">" for line in notes.splitlines()))
    title = shown.core_properties.title or next(filter(None, titles), "")
    return [_found("" if title == "PowerPoint Presentation" else title, blocks, file, defaults)]


def _shape(shape: Any) -> Iterator[str]:
    if getattr(shape, "shapes", None) is not None:
        for one in shape.shapes:
            yield from _shape(one)
    elif getattr(shape, "has_table", False):
        yield table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif shape.has_text_frame:
        for paragraph in shape.text_frame.paragraphs:
            if text := _line(paragraph.text):
                yield f"{'  ' * paragraph.level}- {text}"


def read_xlsx(data: bytes, file: str, defaults: Defaults) -> list[Found]:
    """The entries of a workbook: a sheet with titles and bodies has one a row, any other sheet is one entry with its table."""
    if data[:8] != b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        _opened(data, file)
    from python_calamine import CalamineWorkbook

    book = _guarded(lambda: CalamineWorkbook.from_filelike(io.BytesIO(data)), file)
    found: list[Found] = []
    for name in book.sheet_names:
        sheet = _guarded(lambda name=name: book.get_sheet_by_name(name), file)
        if sheet.height * sheet.width > MAX_CELLS:
            words = Text(
                f"工作表“{name}”超过 {MAX_CELLS} 个单元格", f"the sheet “{name}” has more than {MAX_CELLS} cells"
            )
            found.append(Found(f"{file}#{name}", refused=Invalid(words)))
            continue
        rows = [[_cell(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)]
        found += _sheet(rows, f"{file}#{name}", name, defaults)
    return found or [Found(file, refused=Invalid(Text("工作簿是空的", "the workbook is empty")))]


def _sheet(rows: list[list[str]], place: str, name: str, defaults: Defaults) -> list[Found]:
    lines = [(number, row) for number, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    if not lines:
        return []
    (_, header), rest = lines[0], lines[1:]
    if {"title", "body"} <= {field_name(cell) for cell in header}:
        return read_rows(header, rest, place, defaults)
    stem = place.partition("#")[0].rpartition(".")[0]
    told = {
        "id": f"{stem}#{name}",
        "title": f"{stem.rpartition('/')[2]} · {name}",
        "body": table([row for _, row in lines]),
    }
    return [read_document(told, place, defaults)]


def _cell(cell: Any) -> str:
    if cell is None or cell == "":
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)
