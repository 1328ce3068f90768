"""Reading files that other systems wrote, and mappings that people write."""

from pathlib import Path

import pytest

from api.importing.mapping import MAVEN, load_mapping
from api.importing.tables import decode, read_table
from domain.kernel import Invalid

CHINESE = "客户,行业\n杭州第一医院,医疗\n苏州精密,机械\n"


def refused(path: Path, **options: str) -> Invalid:
    with pytest.raises(Invalid) as error:
        read_table(path, **options)
    return error.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_chinese_files_are_read_in_every_usual_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "客户.csv").write_bytes(CHINESE.encode(encoding))
    table = read_table(tmp_path / "客户.csv")
    assert table.header == ("客户", "行业")
    assert [(line.number, line.cells) for line in table.lines] == [
        (2, ["杭州第一医院", "医疗"]),
        (3, ["苏州精密", "机械"]),
    ]


def test_a_named_encoding_is_taken_at_its_word(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("Kunde,Ort\nMüller,Köln\n".encode("cp1252"))
    assert read_table(tmp_path / "a.csv", encoding="cp1252").lines[0].cells == ["Müller", "Köln"]


@pytest.mark.parametrize(
    ("data", "line", "byte"),
    [
        (("客户,行业\n杭州,医疗\n").encode() + b"\xe6\x9d,\xe8\n", 3, "0xE6"),
        ("Kunde,Ort\nMüller,Köln\n".encode("cp1252"), 2, "0xFC"),
        (CHINESE.encode("gb18030") + b"\xff\n", 2, "0xBA"),
    ],
    ids=["damaged UTF-8 is not taken for GB18030", "western text is not taken for Chinese", "damaged GB18030"],
)
def test_bytes_that_are_no_text_are_named(tmp_path: Path, data: bytes, line: int, byte: str) -> None:
    (tmp_path / "客户.csv").write_bytes(data)
    error = refused(tmp_path / "客户.csv")
    where = line if byte != "0xBA" else 1
    assert f"客户.csv 第 {where} 行" in error.text.zh
    assert "byte " in error.text.en
    assert "UTF-8" in error.text.en


def test_a_nul_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "客户.csv").write_bytes("客户,行业\n杭州第一医院,医\0疗\n".encode())
    error = refused(tmp_path / "客户.csv")
    assert "客户.csv 第 2 行" in error.text.zh
    assert "NUL" in error.text.en


@pytest.mark.parametrize(
    ("text", "zh", "en"),
    [
        ("", "空文件", "is empty"),
        ("\ufeff  \n", "没有表头", "has no header"),
        ('客户,行业\n杭州,医疗\n"苏州,机械\n宁波,电子\n', "第 3 行起有一个引号一直没有闭合", "line 3: a quote that opens here is never closed"),
        ('客户,行业\n"杭州"第一,医疗\n', "第 2 行起的引号不配对", "line 2: the quotes in this row do not match"),
        ("客户,行业\n杭州,医疗\n苏州," + "长" * 140_000 + "\n", "第 3 行有过大的单元格", "line 3: a cell is too large"),
    ],
)  # fmt: skip
def test_broken_files_are_refused_with_their_line(tmp_path: Path, text: str, zh: str, en: str) -> None:
    (tmp_path / "客户.csv").write_text(text, encoding="utf-8")
    error = refused(tmp_path / "客户.csv")
    assert "客户.csv" in error.text.zh
    assert zh in error.text.zh
    assert en in error.text.en


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "客户.csv").write_text(CHINESE, encoding="utf-8")
    monkeypatch.setattr("api.importing.tables.MAX_ROWS", 1)
    assert "超过 1 行" in refused(tmp_path / "客户.csv").text.zh
    monkeypatch.setattr("api.importing.tables.MAX_BYTES", 10)
    assert "MiB" in refused(tmp_path / "客户.csv").text.en


def test_rows_know_their_lines_through_blank_lines_and_breaks_in_cells(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('客户,备注\r\n"杭州","两行\r\n备注"\r\n,\r\n\r\n苏州,无\r\n', encoding="utf-8")
    assert [(line.number, line.cells[0]) for line in read_table(tmp_path / "a.csv").lines] == [(2, "杭州"), (6, "苏州")]


def test_the_shipped_mapping_is_sound() -> None:
    mapping = load_mapping(MAVEN)
    assert mapping.pipeline is not None
    assert [(stage.key, stage.zh) for stage in mapping.pipeline.stages] == [
        ("prospecting", "客户开发"),
        ("engaging", "商务接洽"),
        ("won", "赢单"),
        ("lost", "丢单"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "zh"),
    [
        ("source: maven_crm\n", "", "source：缺少这一项"),
        ("currency: USD", "currency: 元宝", "未知币种"),
        ("    account: account\n", "    账户: account\n", "opportunities.fields.账户：没有这个字段名"),
        ("worked_stage: engaging", "worked_stage: 洽谈", "worked_stage"),
        ('dates: ["%Y-%m-%d"]', 'dates: ["%d.%m."]', "dates"),
        ("currency: USD", "currency: USD\nencoding: 火星文", "encoding"),
        ("  floor_share: 0.85\n", "", "floor_share"),
        ("currency: USD", "currency: [USD", "line "),
        ("values: [Won]", "values: [Lost]", "same key or value"),
        ("    id: opportunity_id", "    id: {column: a, constant: b}", "`column` or `constant`"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_refused_with_the_place(tmp_path: Path, old: str, new: str, zh: str) -> None:
    text = MAVEN.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "映射.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(Invalid) as error:
        load_mapping(tmp_path / "映射.yaml")
    assert "映射.yaml" in error.value.text.zh
    assert zh in error.value.text.zh


def test_values_in_a_mapping_stay_text(tmp_path: Path) -> None:
    text = MAVEN.read_text(encoding="utf-8").replace("{GTXPro: GTX Pro}", "{no: 2016, yes: 是}")
    (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
    mapping = load_mapping(tmp_path / "m.yaml")
    assert mapping.opportunities is not None
    assert mapping.opportunities.fields.product is not None
    assert mapping.opportunities.fields.product.values == {"no": "2016", "yes": "是"}


def test_damaged_text_never_passes_for_other_text() -> None:
    assert decode("a.csv", "中".encode("gb18030") * 3) == "中中中"
    with pytest.raises(Invalid):
        decode("a.csv", "客户名称，行业".encode() + b"\x80")
