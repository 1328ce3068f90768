"""PDF, which is read: lines in their order, and as headings those that are larger than the rest."""

import io
import re
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from domain.kernel import Invalid, Text
from knowledge.formats.document import Defaults, Found, read_document

MAX_PAGES = 500
MAX_UNPACKED_BYTES = 256 * 1024 * 1024
LARGER = 1.15
"""How much larger than most of the text a heading is, at least."""
LONGEST_HEADING, LEVELS = 120, 3
_END = re.compile(r"[。！？!?.:：；;]\s*$")
_STREAM = re.compile(rb"stream\r?\n")
_TWICE = re.compile(rb"/(?:FlateDecode|Fl)\s*/(?:FlateDecode|Fl)\b")
_HAN = re.compile("[\u3000-\u9fff\uff00-\uffef]")


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line: its words, the size of its letters, and the page on which it stands."""

    text: str
    size: float
    page: int
    gap: bool
    """Whether it stands apart from the line before."""


def read_pdf(data: bytes, file: str, defaults: Defaults) -> list[Found]:
    """The one entry of a PDF file; its title is that of the document, or its first heading.

    Refused: a damaged or protected file, one of too many pages, and one that holds pictures of words alone.
    """
    title, lines = _lines(data, file)
    if not lines:
        zh, en = "没有可提取的文字，可能是扫描件", "there are no words to be had: it may be a scan"
        return [Found(file, refused=Invalid(Text(zh, en)))]
    body, first = _markdown(lines)
    stem = file.rpartition(".")[0] or file
    told = {"id": stem, "title": title or first or stem.rpartition("/")[2], "body": body}
    return [read_document(told, file, defaults)]


def _lines(data: bytes, file: str) -> tuple[str, list[Line]]:
    from pdfminer.high_level import extract_pages
    from pdfminer.layout import LAParams, LTTextBox, LTTextLine
    from pdfminer.pdfdocument import PDFDocument, PDFEncryptionError, PDFPasswordIncorrect
    from pdfminer.pdfparser import PDFParser

    _check_unpacked(data)
    try:
        document = PDFDocument(PDFParser(io.BytesIO(data)))
        title = _title(document.info)
        lines: list[Line] = []
        for number, page in enumerate(extract_pages(io.BytesIO(data), maxpages=MAX_PAGES + 1, laparams=LAParams()), 1):
            for box in (box for box in page if isinstance(box, LTTextBox)):
                inside = [line for line in box if isinstance(line, LTTextLine) and line.get_text().strip()]
                lines += [
                    Line(" ".join(line.get_text().split()), _size(line), number, at == 0)
                    for at, line in enumerate(inside)
                ]
    except (PDFPasswordIncorrect, PDFEncryptionError) as error:
        raise Invalid(Text("文件有密码保护", "it is protected by a password")) from error
    except Exception as error:
        zh, en = f"{file} 已损坏，无法读取", f"{file} is damaged and cannot be read"
        raise Invalid(Text(f"{zh}（{type(error).__name__}）", f"{en} ({type(error).__name__})")) from error
    if lines and lines[-1].page > MAX_PAGES:
        raise Invalid(Text(f"超过 {MAX_PAGES} 页，请拆分后导入", f"it has more than {MAX_PAGES} pages: split it"))
    return title, lines


def _check_unpacked(data: bytes) -> None:
    """Unpack every stream as far as the limit before anything is read.

    Raises Invalid where they are too large together, or packed twice.
    """
    left, whole = MAX_UNPACKED_BYTES, memoryview(data)
    if _TWICE.search(data):
        raise Invalid(Text("内容被重复压缩，无法导入", "its content is packed twice"))
    for start in _STREAM.finditer(data):
        with suppress(zlib.error):
            left -= len(zlib.decompressobj().decompress(whole[start.end() :], left + 1))
        if left < 0:
            raise Invalid(Text("解压后过大", "it would be too large unpacked"))


def _title(info: list[Any]) -> str:
    value = next((one["Title"] for one in info if one.get("Title")), b"")
    if isinstance(value, bytes):
        value = value.decode("utf-16" if value[:2] in {b"\xfe\xff", b"\xff\xfe"} else "latin-1", "ignore")
    found = str(value).strip()
    return "" if found.lower() in {"untitled", "(anonymous)", "anonymous"} else found


def _size(line: Any) -> float:
    sizes = Counter(round(letter.size, 1) for letter in line if hasattr(letter, "size"))
    return max(sizes, key=lambda size: sizes[size], default=0.0)


def _markdown(lines: list[Line]) -> tuple[str, str]:
    """The lines as Markdown, and the first heading."""
    letters: Counter[float] = Counter()
    for line in lines:
        letters[line.size] += len(line.text)
    usual = letters.most_common(1)[0][0]
    larger = sorted({line.size for line in lines if _is_heading(line, usual)}, reverse=True)[:LEVELS]
    blocks: list[str] = []
    first = ""
    for line in lines:
        if line.size in larger and _is_heading(line, usual):
            blocks.append(f"{'#' * (larger.index(line.size) + 1)} {line.text}")
            first = first or line.text
        elif line.gap or not blocks or blocks[-1].startswith("#"):
            blocks.append(line.text)
        else:
            blocks[-1] = _continued(blocks[-1], line.text)
    return "\n\n".join(blocks), first


def _is_heading(line: Line, usual: float) -> bool:
    return line.size >= usual * LARGER and len(line.text) <= LONGEST_HEADING and not _END.search(line.text)


def _continued(before: str, text: str) -> str:
    """A paragraph with its next line: Chinese goes on without a space, a word that was parted is joined."""
    if before.endswith("-") and text[:1].islower():
        return before[:-1] + text
    tight = _HAN.match(before[-1:]) and _HAN.match(text[:1])
    return before + ("" if tight else " ") + text
