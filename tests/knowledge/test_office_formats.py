"""Real files of office programs: headings, lists, tables and notes are kept, and what cannot be read is told."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docx import Document as Word
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from domain.kernel import Language
from knowledge import KnowledgeKind
from knowledge.formats import Defaults, Document, office, pdf, read_file

FAQ = Defaults(KnowledgeKind.FAQ)


def read(name: str, data: bytes) -> list[Any]:
    return read_file(name, data, lambda _name, raw: raw.decode(), FAQ)


def the_one(name: str, data: bytes) -> Document:
    (found,) = read(name, data)
    assert found.refused is None, found.refused and found.refused.text
    document: Document = found.document
    return document


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word() -> bytes:
    document = Word()
    document.add_heading("监护仪价格应答", 0)
    document.add_heading("客户怎么说", 1)
    document.add_paragraph("院长说贵了三成。")
    document.add_heading("先问什么", 2)
    document.add_paragraph("预算从哪个科室出", style="List Bullet")
    document.add_paragraph("和谁比的", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for place, text in enumerate(("型号", "五年总成本", "PM8", "38 万|含税")):
        table.cell(place // 2, place % 2).text = text
    document.add_paragraph("最后约时间。")
    return saved(document)


def test_a_word_document_keeps_its_headings_lists_and_tables() -> None:
    document = the_one("话术/价格.docx", word())
    assert (document.id, document.content.title, document.language) == ("话术/价格", "监护仪价格应答", Language.ZH)
    assert document.content.body == (
        "# 监护仪价格应答\n\n# 客户怎么说\n\n院长说贵了三成。\n\n## 先问什么\n\n- 预算从哪个科室出\n- 和谁比的\n\n"
        "| 型号 | 五年总成本 |\n| --- | --- |\n| PM8 | 38 万\\|含税 |\n\n最后约时间。"
    )


def test_headings_by_their_chinese_names_are_headings() -> None:
    document = Word()
    document.styles["Heading 2"].name = "标题 2"
    document.add_paragraph("客户怎么说", style="标题 2")
    document.add_paragraph("贵。")
    assert the_one("a.docx", saved(document)).content.body == "## 客户怎么说\n\n贵。"


def slides() -> bytes:
    shown = Presentation()
    slide = shown.slides.add_slide(shown.slide_layouts[1])
    slide.shapes.title.text = "为什么选云衡"
    body = slide.placeholders[1].text_frame
    body.text = "两小时到场"
    point = body.add_paragraph()
    point.text, point.level = "苏州和深圳备件", 1
    slide.notes_slide.notes_text_frame.text = "先停一下，\n等客户说。"
    second = shown.slides.add_slide(shown.slide_layouts[5])
    second.shapes.title.text = "数字"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for place, text in enumerate(("项", "值", "故障率", "0.3%")):
        table.cell(place // 2, place % 2).text = text
    return saved(shown)


def test_a_presentation_keeps_its_slides_points_tables_and_notes() -> None:
    document = the_one("云衡.pptx", slides())
    assert document.content.title == "为什么选云衡"
    assert document.content.body == (
        "## 为什么选云衡\n\n- 两小时到场\n\n  - 苏州和深圳备件\n\n> 先停一下，\n> 等客户说。\n\n## 数字\n\n| 项 | 值 |\n| --- | --- |\n| 故障率 | 0.3% |"
    )


def book() -> bytes:
    made = Workbook()
    entries = made.active
    assert entries is not None
    entries.title = "条目"
    for row in (
        ("编号", "标题", "正文", "类型", "行业"),
        ("A-1", "价格太高", "先问预算。", "应答知识", "医院;门诊"),
        ("A-2", "", "没有标题。", "FAQ", ""),
    ):
        entries.append(row)
    prices = made.create_sheet("价目")
    for line in (("型号", "价格"), ("PM8", 38000), ("US6", 285000.5)):
        prices.append(line)
    return saved(made)


def test_a_workbook_has_entries_in_rows_or_a_table_in_an_entry() -> None:
    first, second, third = read("知识.xlsx", book())
    assert first.document.kind is KnowledgeKind.OBJECTION_RESPONSE
    assert first.document.content.facets.industries == ("医院", "门诊")
    assert (second.place, second.refused.path) == ("知识.xlsx#条目:3", ("title",))
    assert (third.document.id, third.document.content.title) == ("知识#价目", "知识 · 价目")
    assert third.document.content.body == "| 型号 | 价格 |\n| --- | --- |\n| PM8 | 38000 |\n| US6 | 285000.5 |"


def printed(draw: Callable[[Canvas], None], **more: Any) -> bytes:
    out = io.BytesIO()
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    canvas = Canvas(out, pagesize=A4, **more)
    draw(canvas)
    canvas.save()
    return out.getvalue()


def page(canvas: Canvas) -> None:
    canvas.setFont("STSong-Light", 22)
    canvas.drawString(72, 760, "监护仪选型白皮书")
    canvas.setFont("STSong-Light", 15)
    canvas.drawString(72, 700, "一、科室怎么选")
    canvas.setFont("STSong-Light", 10)
    canvas.drawString(72, 670, "急诊先看开机时间，重症先看参数模块，")
    canvas.drawString(72, 656, "普通病房先看联网。")
    canvas.drawString(72, 610, "Alarm limits can be copied between bed-")
    canvas.drawString(72, 596, "sides in one step.")
    canvas.showPage()
    canvas.setFont("STSong-Light", 15)
    canvas.drawString(72, 760, "二、总成本")
    canvas.setFont("STSong-Light", 10)
    canvas.drawString(72, 730, "五年总成本包括耗材与校准。")
    canvas.showPage()


def test_a_pdf_has_its_larger_lines_as_headings_and_its_paragraphs_whole() -> None:
    document = the_one("白皮书.pdf", printed(page))
    assert document.content.title == "监护仪选型白皮书"
    assert document.content.body.split("\n\n") == [
        "# 监护仪选型白皮书", "## 一、科室怎么选", "急诊先看开机时间，重症先看参数模块，普通病房先看联网。",
        "Alarm limits can be copied between bedsides in one step.", "## 二、总成本", "五年总成本包括耗材与校准。",
    ]  # fmt: skip


def scan(canvas: Canvas) -> None:
    canvas.rect(72, 72, 300, 300, fill=1)
    canvas.showPage()


def bomb() -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("word/document.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(300):
            part.write(b"\0" * 1024 * 1024)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("扫描.pdf", lambda: printed(scan), "可能是扫描件"),
        ("锁.pdf", lambda: printed(page, encrypt="secret"), "密码保护"),
        ("坏.pdf", lambda: printed(page)[:400], "已损坏"),
        ("假.pdf", lambda: b"MZ\x90\x00" * 200, "已损坏"),
        ("坏.docx", lambda: word()[:2000], "不是有效的 Office 文件"),
        ("空.docx", lambda: saved(Word()), "没有文字"),
        ("锁.docx", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2000, "密码保护"),
        ("假.docx", book, "已损坏"),
        ("炸弹.docx", bomb, "解压后过大"),
        ("假.pptx", word, "已损坏"),
        ("空.pptx", lambda: saved(Presentation()), "没有文字"),
        ("空.xlsx", lambda: saved(Workbook()), "工作簿是空的"),
        ("坏.xlsx", lambda: book()[:1500], "不是有效的 Office 文件"),
        ("假.xlsx", word, "已损坏"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(name: str, make: Callable[[], bytes], says: str) -> None:
    (found,) = read(name, make())
    assert found.document is None
    assert says in found.refused.text.zh
    assert found.place == name


def test_a_pdf_that_unpacks_to_too_much_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_UNPACKED_BYTES", 100)
    (found,) = read("炸弹.pdf", pdf_of_packed_pages())
    assert "解压后过大" in found.refused.text.zh
    (twice,) = read("两次.pdf", b"%PDF-1.4 /Filter [/FlateDecode /FlateDecode]")
    assert "重复压缩" in twice.refused.text.zh


def pdf_of_packed_pages() -> bytes:
    import zlib

    return b"%PDF-1.4\n1 0 obj\n<< /Filter /FlateDecode >>\nstream\n" + zlib.compress(b" " * 10_000) + b"\nendstream\n"


def test_too_many_pages_and_cells_are_refused_before_they_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 1)
    (found,) = read("长.pdf", printed(page))
    assert "超过 1 页" in found.refused.text.zh
    monkeypatch.setattr(office, "MAX_CELLS", 3)
    assert all("个单元格" in one.refused.text.zh for one in read("大.xlsx", book()))


def test_help_and_domain_pay_for_no_office_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, knowledge, knowledge.formats; print([n for n in ('docx','pptx','pdfminer') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"
