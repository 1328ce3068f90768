"""Knowledge as files: what other programs write is read with its headings kept, and three formats are written that lose nothing."""

from collections.abc import Callable
from pathlib import PurePath

from domain.kernel import Invalid, Text
from knowledge.formats.document import Audience, Defaults, Document, Found, read_document
from knowledge.formats.office import read_docx, read_pptx, read_xlsx
from knowledge.formats.pdf import read_pdf
from knowledge.formats.texts import read_csv, read_jsonl, read_markdown, write_csv, write_jsonl, write_markdown

TEXTS: dict[str, Callable[[str, str, Defaults], list[Found]]] = {
    ".md": read_markdown, ".markdown": read_markdown, ".txt": read_markdown, ".csv": read_csv, ".tsv": read_csv, ".jsonl": read_jsonl, ".ndjson": read_jsonl,
}  # fmt: skip
"""Who reads the text of a file, by the ending of its name."""
BINARIES: dict[str, Callable[[bytes, str, Defaults], list[Found]]] = {
    ".docx": read_docx, ".pptx": read_pptx, ".xlsx": read_xlsx, ".xlsm": read_xlsx, ".xls": read_xlsx, ".ods": read_xlsx, ".pdf": read_pdf,
}  # fmt: skip
"""Who reads the bytes of a file, by the ending of its name."""
ENDINGS = (*TEXTS, *BINARIES)


def read_file(name: str, data: bytes, decode: Callable[[str, bytes], str], defaults: Defaults) -> list[Found]:
    """The entries of a file: a document or a refusal for each place; a file that cannot be read at all is one refusal."""
    ending = PurePath(name).suffix.lower()
    try:
        if ending in TEXTS:
            return TEXTS[ending](decode(name, data), name, defaults)
        if ending in BINARIES:
            return BINARIES[ending](data, name, defaults)
    except Invalid as error:
        return [Found(name, refused=error)]
    except (ValueError, OverflowError, RecursionError) as error:
        words = Text(f"无法读取（{type(error).__name__}）", f"cannot be read ({type(error).__name__})")
        return [Found(name, refused=Invalid(words))]
    known = " ".join(ENDINGS)
    return [
        Found(
            name, refused=Invalid(Text(f"不支持的格式；可用：{known}", f"no format that is read; there are: {known}"))
        )
    ]


__all__ = [
    "BINARIES", "ENDINGS", "TEXTS", "Audience", "Defaults", "Document", "Found", "read_csv", "read_document", "read_docx", "read_file", "read_jsonl", "read_markdown",
    "read_pdf", "read_pptx", "read_xlsx", "write_csv", "write_jsonl", "write_markdown",
]  # fmt: skip
