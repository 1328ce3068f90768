"""Knowledge from a JSONL file: published with source and licence, the same twice, rejects kept."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from api.importing import import_knowledge
from domain.kernel import SYSTEM, Database, Invalid, Language, Unavailable
from domain.ledger import AuditEvent, ImportBatch, rows_digest
from knowledge import KnowledgeItem, KnowledgeKind, KnowledgeState, KnowledgeVersion, Passage
from tests.api.test_importing.export import counts, listed

ENTRY = {
    "id": "kb-1", "kind": "objection_response", "title": "价格太高 — 怎么回应", "body": "## 承接\n理解预算压力。\n\n## 回应\n看五年总成本。", "language": "zh",
    "licence": "MIT", "provenance": "公司手册", "source_repo": "acme/handbook", "source_path": "销售/异议.md", "source_commit": "ab12" * 10,
}  # fmt: skip
CASE = {"id": "kb-2", "kind": "case", "title": "A clinic saves", "body": "They saved a day a week.", "language": "en"}


def jsonl(folder: Path, *entries: dict[str, Any] | str, name: str = "知识.jsonl") -> Path:
    lines = [entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False) for entry in entries]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


async def test_entries_are_published_with_source_and_licence(database: Database, tmp_path: Path) -> None:
    summary = await import_knowledge(database, jsonl(tmp_path, ENTRY, CASE))
    assert counts(summary, "knowledge") == (2, 2, 0, 0, 0)
    assert {label.zh: count for label, count in summary.by_kind.items()} == {"应答知识": 1, "案例": 1}
    assert [(warned.text.zh, warned.examples) for warned in summary.warnings] == [
        ("条目没有许可说明", ["知识.jsonl:2"])
    ]
    async with database.open_uow(SYSTEM) as uow:
        items = (await uow.session.execute(select(KnowledgeItem).order_by(KnowledgeItem.external_id))).scalars().all()
        assert [(item.kind, item.language, item.state, item.licence) for item in items] == [
            (KnowledgeKind.OBJECTION_RESPONSE, Language.ZH, KnowledgeState.PUBLISHED, "MIT"),
            (KnowledgeKind.CASE_STUDY, Language.EN, KnowledgeState.PUBLISHED, None),
        ]
        assert items[0].source == f"acme/handbook 销售/异议.md@{'ab12' * 10} (公司手册)"
        assert (items[0].external_source, items[1].external_source, items[1].source) == (
            "acme/handbook",
            "knowledge_file",
            None,
        )
        texts = (
            await uow.session.execute(select(Passage.title_path, Passage.text).where(Passage.item_id == items[0].id))
        ).all()
        assert [text for _, text in texts] == ["理解预算压力。", "看五年总成本。"]


async def test_the_ledger_holds_the_digest_of_every_batch(database: Database, tmp_path: Path) -> None:
    await import_knowledge(database, jsonl(tmp_path, ENTRY))
    async with database.open_uow(SYSTEM) as uow:
        event = (
            await uow.session.execute(select(AuditEvent).where(AuditEvent.action == "import.batch_recorded"))
        ).scalar_one()
        batch = await uow.session.get_one(ImportBatch, event.subject_id)
        version = (await uow.session.execute(select(KnowledgeVersion))).scalar_one()
        names = ("id", "item_id", "number", "state", "title", "body", "facets", "author_id", "submitted_at", "published_at", "published_by_id", "created_at", "import_batch_id")  # fmt: skip
        row = {name: getattr(version, name) for name in names}
    noted = event.detail["detail"]["tables"]["KnowledgeVersion"]
    assert noted == {"rows": 1, "digest": rows_digest(batch.salt, [row])}
    assert rows_digest(batch.salt, [row | {"body": "改过"}]) != noted["digest"]
    assert batch.source == "acme/handbook"


async def test_a_second_run_changes_nothing_and_a_revised_entry_stays(database: Database, tmp_path: Path) -> None:
    file = jsonl(tmp_path, ENTRY, CASE)
    await import_knowledge(database, file)
    assert counts(await import_knowledge(database, file), "knowledge") == (2, 0, 2, 0, 0)
    again = await import_knowledge(
        database, jsonl(tmp_path, ENTRY | {"body": "另一种说法"}, CASE, CASE | {"id": "kb-3"})
    )
    assert counts(again, "knowledge") == (3, 1, 1, 1, 0)
    async with database.read() as connection:
        bodies = (await connection.execute(select(KnowledgeVersion.body))).scalars().all()
    assert sorted(bodies) == sorted([ENTRY["body"], CASE["body"], CASE["body"]])


async def test_a_dry_run_says_the_same_and_keeps_nothing(database: Database, tmp_path: Path) -> None:
    file = jsonl(tmp_path, ENTRY, "{坏的")
    files = listed(tmp_path)
    rehearsal = await import_knowledge(database, file, dry_run=True)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(KnowledgeItem))).scalar_one() == 0
    assert listed(tmp_path) == files
    assert rehearsal.tallies == (await import_knowledge(database, file)).tallies


async def test_lines_that_cannot_be_taken_are_kept_with_reasons(database: Database, tmp_path: Path) -> None:
    bad: list[tuple[dict[str, Any] | str, str]] = [
        ("{坏的", "不是有效的 JSON（第 2 列）"),
        ('["列表"]', "这一行不是 JSON 对象"),
        (ENTRY, "“kb-1”与第 1 行重复"),
        (ENTRY | {"id": "a", "kind": "歌曲"}, "kind：未知种类“歌曲”；可用：case, talk_track"),
        (ENTRY | {"id": "b", "language": "fr"}, "language：“fr”不是 zh 或 en"),
        (ENTRY | {"id": "c", "body": "  "}, "body：缺少或不是文本"),
        (ENTRY | {"id": 7}, "id：缺少或不是文本"),
        (ENTRY | {"id": "d", "title": "长" * 301}, "title 有 301 个字符，最多 300 个"),
        (ENTRY | {"id": "长" * 301}, "id：超过 300 个字符"),
        (ENTRY | {"id": "e", "body": "空\0字符"}, "body：含有空字符（NUL）"),
        (ENTRY | {"id": "f", "kind": "roi_model"}, "ROI 模型须有且只有一个"),
        (ENTRY | {"id": "g", "kind": "media"}, "音像资料的正文须以两行 --- 之间的字段开头"),
    ]
    summary = await import_knowledge(database, jsonl(tmp_path, ENTRY, *(entry for entry, _ in bad)))
    assert counts(summary, "knowledge") == (13, 1, 0, 0, 12)
    with summary.reject_files[0].open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["line", "reason_zh", "reason_en", "json"]
    assert sorted(int(row[0]) for row in rows) == list(range(2, 14))
    for row, (_, reason) in zip(sorted(rows, key=lambda row: int(row[0])), bad, strict=True):
        assert row[1].startswith(reason)
        assert row[2]


async def test_a_full_disk_leaves_nothing_half_written(sqlite_database: Database, tmp_path: Path) -> None:
    file = jsonl(tmp_path, *(ENTRY | {"id": f"kb-{number}"} for number in range(2_000)))
    async with sqlite_database.writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 100}")
    with pytest.raises(Unavailable):
        await import_knowledge(sqlite_database, file)
    async with sqlite_database.read() as connection:
        for model in (KnowledgeItem, KnowledgeVersion, Passage, ImportBatch, AuditEvent):
            assert (await connection.execute(select(func.count()).select_from(model))).scalar_one() == 0


@pytest.mark.parametrize(
    ("data", "zh"), [(None, "无法读取文件"), (b"", "空文件"), ("知识".encode() + b"\xff", "第 1 行")]
)
async def test_a_file_that_cannot_be_read_is_refused(
    database: Database, tmp_path: Path, data: bytes | None, zh: str
) -> None:
    if data is not None:
        (tmp_path / "知识.jsonl").write_bytes(data)
    with pytest.raises(Invalid) as error:
        await import_knowledge(database, tmp_path / "知识.jsonl")
    assert zh in error.value.text.zh
    assert "知识.jsonl" in error.value.text.en
