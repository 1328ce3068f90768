"""Bring knowledge in: one JSON object a line, published as written, with the source and licence that every citation shows."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from api.importing.rejects import RejectFiles
from api.importing.report import Findings, ImportSummary, Progress, Tally, no_progress
from api.importing.sheet import TEXT_LENGTH
from api.importing.tables import MAX_ROWS, Line, decode, read_bytes, written
from api.importing.trial import DryRunError, rehearsed
from domain import ledger
from domain.kernel import Actor, ActorKind, Database, Invalid, Language, Text, UnitOfWork
from knowledge import (
    Content,
    ImportedItem,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeVersion,
    check_body,
    imported_rows,
    index_imported,
)

BATCH_ITEMS = 500
NOWHERE = "knowledge_file"
"""The source of entries that name no repository."""
KINDS = {"case": KnowledgeKind.CASE_STUDY} | {kind.value.lower(): kind for kind in KnowledgeKind}
LABELS = {
    KnowledgeKind.TALK_TRACK: Text("话术", "talk tracks"),
    KnowledgeKind.OBJECTION_RESPONSE: Text("应答知识", "objection responses"),
    KnowledgeKind.CASE_STUDY: Text("案例", "case studies"),
    KnowledgeKind.BATTLECARD: Text("竞品卡", "battlecards"),
    KnowledgeKind.PLAYBOOK: Text("打法", "playbooks"),
    KnowledgeKind.FAQ: Text("常见问题", "FAQ"),
    KnowledgeKind.POLICY: Text("政策", "policies"),
    KnowledgeKind.PRODUCT_SHEET: Text("产品资料", "product sheets"),
    KnowledgeKind.MEDIA: Text("音像资料", "media"),
    KnowledgeKind.ROI_MODEL: Text("投入产出模型", "ROI models"),
}
LABEL = Text("知识", "knowledge items")
FIELDS = (
    "id",
    "kind",
    "title",
    "body",
    "language",
    "licence",
    "provenance",
    "source_repo",
    "source_path",
    "source_commit",
)
OPTIONAL = frozenset(FIELDS[5:])


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file that can be taken, and the repository that it comes from."""

    line: Line
    origin: str
    item: ImportedItem


async def import_knowledge(
    database: Database,
    file: Path,
    *,
    dry_run: bool = False,
    progress: Progress = no_progress,
    rejects_to: Path | None = None,
) -> ImportSummary:
    """Publish the entries of a JSONL file in one unit of work; those that are here already stay as they are.

    Lines that cannot be taken are kept with their reasons in `rejects_to`, or beside the file; a dry run writes no file.
    Raises Invalid for a file that cannot be read at all, Unavailable when the database is locked or full or the rejected
    lines cannot be kept: nothing is changed then.
    """
    rejects: list[tuple[Line, Text]] = []
    findings, files = Findings(), RejectFiles(rejects_to or file.parent)
    entries, read = await asyncio.to_thread(_read, file, rejects, findings)
    tally = Tally(LABEL, file.name, read=read, rejected=len(rejects))
    try:
        async with database.open_uow(Actor(ActorKind.IMPORT, display_name=file.name)) as uow:
            await _publish(uow, entries, tally, findings, progress)
            await uow.session.flush()
            rehearsed(dry_run)
            files.prepare([(file.name, written(("json",), rejects) if rejects else None)])
    except DryRunError:
        pass
    except BaseException:
        files.discard()
        raise
    kept = files.publish()
    reasons, by_kind = Findings(), dict.fromkeys((LABELS[entry.item.kind] for entry in entries), 0)
    for line, reason in rejects:
        reasons.add(reason, f"{file.name}:{line.number}")
    for entry in entries:
        by_kind[LABELS[entry.item.kind]] += 1
    return ImportSummary(file.name, dry_run, {"knowledge": tally}, by_kind, findings.all(), reasons.all(), [], kept)


def _read(file: Path, rejects: list[tuple[Line, Text]], findings: Findings) -> tuple[list[Entry], int]:
    text = decode(file.name, read_bytes(file))
    lines = [Line(number, [raw.strip()]) for number, raw in enumerate(text.split("\n"), 1) if raw.strip()]
    if len(lines) > MAX_ROWS:
        raise Invalid(
            Text(
                f"{file.name} 超过 {MAX_ROWS} 行，请拆分后导入", f"{file.name} has more than {MAX_ROWS} lines: split it"
            )
        )
    entries: dict[tuple[str, str], Entry] = {}
    for line in lines:
        try:
            entry = _entry(line)
        except Invalid as error:
            rejects.append((line, error.text))
            continue
        first = entries.setdefault((entry.origin, entry.item.external_id), entry)
        if first is not entry:
            id, number = entry.item.external_id, first.line.number
            rejects.append((line, Text(f"“{id}”与第 {number} 行重复", f"“{id}” stands in line {number} already")))
        elif not entry.item.licence:
            findings.add(Text("条目没有许可说明", "entries without a licence"), f"{file.name}:{line.number}")
    return list(entries.values()), len(lines)


def _entry(line: Line) -> Entry:
    try:
        told = orjson.loads(line.cells[0])
    except orjson.JSONDecodeError as error:
        zh = f"不是有效的 JSON（第 {error.colno} 列）"
        raise Invalid(Text(zh, f"no valid JSON (column {error.colno}: {error.msg})")) from error
    if not isinstance(told, dict):
        raise Invalid(Text("这一行不是 JSON 对象", "the line is no JSON object"))
    words = {name: _words(told, name) for name in FIELDS}
    kind, language = words["kind"].lower(), words["language"].lower()
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise Invalid(Text(f"kind：未知种类“{kind}”；可用：{known}", f"kind: unknown “{kind}”; there are: {known}"))
    if language[:2] not in {"zh", "en"}:
        raise Invalid(Text(f"language：“{language}”不是 zh 或 en", f"language: “{language}” is neither zh nor en"))
    content = Content(words["title"], words["body"]).checked()
    check_body(KINDS[kind], content.body)
    tongue = Language.ZH if language.startswith("zh") else Language.EN
    item = ImportedItem(words["id"], KINDS[kind], tongue, content, _source(words), words["licence"] or None)
    return Entry(line, words["source_repo"] or NOWHERE, item)


def _words(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    if value is None and name in OPTIONAL:
        return ""
    if not isinstance(value, str) or (not value.strip() and name not in OPTIONAL):
        raise Invalid(Text(f"{name}：缺少或不是文本", f"{name}: absent, empty or no text"))
    if name not in {"title", "body"} and len(value) > TEXT_LENGTH:
        raise Invalid(Text(f"{name}：超过 {TEXT_LENGTH} 个字符", f"{name}: more than {TEXT_LENGTH} characters"))
    if "\0" in value:
        raise Invalid(Text(f"{name}：含有空字符（NUL）", f"{name}: holds a NUL"))
    return value


def _source(words: dict[str, str]) -> str | None:
    """Where an entry comes from, as a citation shows it: repository, path, commit, and what it is."""
    commit = f"@{words['source_commit']}" if words["source_commit"] else ""
    place = " ".join(filter(None, (words["source_repo"], words["source_path"]))) + commit
    return (f"{place} ({words['provenance']})" if words["provenance"] else place) or None


async def _publish(uow: UnitOfWork, entries: list[Entry], tally: Tally, findings: Findings, progress: Progress) -> None:
    by_origin: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_origin[entry.origin].append(entry)
    done = 0
    for origin, mine in by_origin.items():
        for start in range(0, len(mine), BATCH_ITEMS):
            some = mine[start : start + BATCH_ITEMS]
            await _publish_batch(uow, origin, some, tally, findings)
            done += len(some)
            progress(tally.file, done, len(entries))


async def _publish_batch(uow: UnitOfWork, origin: str, some: list[Entry], tally: Tally, findings: Findings) -> None:
    published = (KnowledgeVersion.item_id == KnowledgeItem.id) & (
        KnowledgeVersion.number == KnowledgeItem.published_number
    )
    stored = select(KnowledgeItem.external_id, KnowledgeVersion.title, KnowledgeVersion.body).outerjoin(
        KnowledgeVersion, published
    )
    stored = stored.where(
        KnowledgeItem.external_source == origin, KnowledgeItem.external_id.in_([one.item.external_id for one in some])
    )
    here = {row.external_id: (row.title, row.body) for row in await uow.session.execute(stored)}
    for entry in some:
        content, id = entry.item.content, entry.item.external_id
        tally.count(findings, known=id in here, same=here.get(id) == (content.title, content.body), example=id)
    tables = await imported_rows(uow, origin, [one.item for one in some])
    if tables[KnowledgeItem]:
        await ledger.import_rows(uow, origin, tables, {"file": tally.file})
        await index_imported(uow, tables[KnowledgeVersion])
