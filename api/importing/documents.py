"""Knowledge as files: what people wrote elsewhere comes in as drafts in review, and what is kept here goes out and loses nothing."""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

import knowledge
from api.importing.rejects import RejectFiles
from api.importing.report import Findings, ImportSummary, Progress, Tally, no_progress
from api.importing.tables import MAX_ROWS, Line, decode, read_bytes, written
from api.importing.trial import DryRunError, rehearsed
from domain import people
from domain.kernel import SYSTEM, Actor, Conflict, Database, Invalid, Ref, Text, Unavailable, UnitOfWork, rows_visible
from domain.people import Brand, Territory, User
from knowledge import KnowledgeAudience, KnowledgeItem, KnowledgeState, KnowledgeVersion, formats
from knowledge.formats import ENDINGS, Audience, Defaults, Document, Found

LABEL = Text("知识", "knowledge items")
TOLD_LENGTH = 100_000
FILES, OURS = "files", "sortie"
"""The origin of what names none, and of what an installation exported that was made there."""
HERE = (KnowledgeItem.id, KnowledgeItem.external_source, KnowledgeItem.external_id)


class DocumentFormat(StrEnum):
    """How knowledge is written."""

    MARKDOWN = "markdown"
    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class _Places:
    """The territories, brands and colleagues by the keys and addresses that files name."""

    territories: dict[str, UUID]
    brands: dict[str, UUID]
    users: dict[str, UUID]


# ---- coming in -------------------------------------------------------------------------------------------------------


async def import_documents(
    database: Database, email: str, paths: Sequence[Path], *, defaults: Defaults | None = None, dry_run: bool = False, progress: Progress = no_progress,
    rejects_to: Path | None = None,
) -> ImportSummary:  # fmt: skip
    """Bring the entries of files and folders in as drafts in review, by a person and in one unit of work; none is published by it.

    Who comes again is known by origin and id: equal content changes nothing, other content becomes a revision, and the
    published version stays in use until somebody publishes another. What cannot be taken is kept with its place and reason
    in `rejects_to`; a dry run writes no file.

    Raises Unauthenticated for an unknown person, Forbidden for one who does not curate, Invalid where there is no file that
    can be read, Unavailable when the database is locked or the rejected ones cannot be kept: nothing is changed then.
    """
    async with database.read(SYSTEM) as connection:
        actor = await people.sign_in(connection, database.clock(), email=email)
        places = await _places(connection)
    findings, rejects = Findings(), list[Found]()
    found = await asyncio.to_thread(_read_all, list(_files(paths)), defaults or Defaults(), progress)
    documents = _distinct(found, findings, rejects)
    tally = Tally(LABEL, "knowledge", read=len(found))
    files = RejectFiles(rejects_to or Path())
    try:
        async with database.open_uow(actor) as uow:
            knowledge.may_curate(uow)
            for done, (place, document) in enumerate(documents, 1):
                try:
                    await _take(uow, document, places, tally, findings, place)
                except (Conflict, Invalid) as error:
                    told = document.told()
                    rejects.append(Found(place, refused=Invalid(error.text, error.path), told=told))
                progress(tally.file, done, len(documents))
            await uow.session.flush()
            rehearsed(dry_run)
            files.prepare([("knowledge", _rejected(rejects) if rejects else None)])
    except DryRunError:
        pass
    except BaseException:
        files.discard()
        raise
    kept, reasons = files.publish(), Findings()
    tally.rejected = len(rejects)
    for one in rejects:
        if one.refused is not None:
            reasons.add(one.refused.text, one.place)
    return ImportSummary("knowledge", dry_run, {"knowledge": tally}, {}, findings.all(), reasons.all(), [], kept)


def _files(paths: Sequence[Path]) -> Iterable[tuple[str, Path]]:
    """The files that are meant, each under the name by which it is known again: a folder's by their paths in it."""
    found = []
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in ENDINGS)
            found += [
                (file.relative_to(path).as_posix(), file)
                for file in sorted(inside)
                if not any(part.startswith((".", "~$")) for part in file.relative_to(path).parts)
            ]
        else:
            found.append((path.name, path))
    if not found:
        known = " ".join(ENDINGS)
        raise Invalid(Text(f"没有可导入的文件；支持：{known}", f"there is no file to import; these are read: {known}"))
    return found


def _read_all(files: list[tuple[str, Path]], defaults: Defaults, progress: Progress) -> list[Found]:
    found: list[Found] = []
    for done, (name, path) in enumerate(files, 1):
        try:
            found += formats.read_file(name, read_bytes(path), decode, defaults)
        except Invalid as error:
            found.append(Found(name, refused=error))
        progress("files", done, len(files))
        if len(found) > MAX_ROWS:
            raise Invalid(Text(f"超过 {MAX_ROWS} 条，请分批导入", f"more than {MAX_ROWS} entries: bring them in parts"))
    return found


def _distinct(found: list[Found], findings: Findings, rejects: list[Found]) -> list[tuple[str, Document]]:
    """The documents with their places; refusals and second ones of an id are among the rejects."""
    first: dict[tuple[str, str], str] = {}
    documents: list[tuple[str, Document]] = []
    for one in found:
        for name in one.unused:
            findings.add(Text("没有导入的字段", "fields that feed nothing"), f"{one.place}:{name}")
        document = one.document
        if document is None:
            rejects.append(one)
            continue
        before = first.setdefault((document.origin or FILES, document.id), one.place)
        if before != one.place:
            words = Text(f"id：“{document.id}”已在 {before} 出现", f"id: “{document.id}” stands in {before} already")
            rejects.append(Found(one.place, refused=Invalid(words, ("id",)), told=document.told()))
            continue
        if not document.licence:
            findings.add(Text("条目没有许可说明", "entries without a licence"), one.place)
        documents.append((one.place, document))
    return documents


async def _places(connection: AsyncConnection) -> _Places:
    territories = (await connection.execute(select(Territory.key, Territory.id))).all()
    brands = (await connection.execute(select(Brand.key, Brand.id))).all()
    users = (await connection.execute(select(User.email, User.id))).all()
    return _Places(
        {row.key: row.id for row in territories},
        {row.key: row.id for row in brands},
        {row.email: row.id for row in users if row.email},
    )


async def _take(
    uow: UnitOfWork, document: Document, places: _Places, tally: Tally, findings: Findings, place: str
) -> None:
    """Bring one entry in, or tell that it is here."""
    audience = [_addressed(one, places) for one in document.audience]
    item = await _known(uow.session, document)
    if document.shareable and (item is None or not item.shareable):
        words = Text("“可对外”须在发布后重新标记", "“shareable” is to be marked again once the entry is published")
        findings.add(words, place)
    if item is None:
        owner = places.users.get((document.owner or "").lower())
        if document.owner and owner is None:
            findings.add(
                Text("负责人不在系统中，由导入者负责", "owners who are not here: whoever imports keeps the entry"),
                place,
            )
        made = await knowledge.draft(
            uow, kind=document.kind, language=document.language, content=document.content, source=document.source, licence=document.licence,
            owner_id=owner, origin=(document.origin or FILES, document.id),
        )  # fmt: skip
        if audience:
            await knowledge.address(uow, made.id, None, audience)
        await knowledge.submit(uow, made.id, None)
        tally.new += 1
        return
    changed = await knowledge.credit(uow, item.id, None, source=document.source, licence=document.licence)
    if changed:
        findings.add(Text("来源或许可已更新", "source or licence brought up to date"), place)
    if document.kind is not item.kind or document.language is not item.language:
        words = Text("种类或语言与现有条目不同，保留现有", "another kind or language than the entry's, which stays")
        findings.add(words, place)
    if audience and set(audience) != await knowledge.audience_of(uow, item.id):
        words = Text(
            "受众与现有条目不同，保留现有", "another audience than the entry's, which stays until somebody changes it"
        )
        findings.add(words, place)
    if not await _same(uow.session, item, document):
        await _revise(uow, item, document)
        findings.add(Text("内容有变，作为修订送审", "other content: handed in as revisions"), place)
        changed = True
    tally.different += changed
    tally.unchanged += not changed


async def _known(session: AsyncSession, document: Document) -> KnowledgeItem | None:
    """The entry that a document is about, where it is here."""
    same = (KnowledgeItem.external_source == (document.origin or FILES)) & (KnowledgeItem.external_id == document.id)
    found = (await session.execute(select(KnowledgeItem).where(same))).scalar_one_or_none()
    if found is None and document.origin == OURS:
        with suppress(ValueError):
            return await session.get(KnowledgeItem, UUID(document.id))
    return found


async def _same(session: AsyncSession, item: KnowledgeItem, document: Document) -> bool:
    number = item.draft_number or item.published_number or 1
    where = (KnowledgeVersion.item_id == item.id) & (KnowledgeVersion.number == number)
    version = (await session.execute(select(KnowledgeVersion).where(where))).scalar_one()
    return knowledge.stored_content(version) == document.content


async def _revise(uow: UnitOfWork, item: KnowledgeItem, document: Document) -> None:
    if item.draft_number is not None:
        zh, en = "该条目有未完成的草稿，请先处理", "the entry has a draft that is not decided: decide it first"
        raise Conflict(Text(zh, en), ("id",))
    content = document.content
    change: dict[str, Any] = {"title": content.title, "body": content.body} | content.facets.lists() | content.dates
    await knowledge.revise(uow, item.id, None, change)
    await knowledge.submit(uow, item.id, None)


def _addressed(one: Audience, places: _Places) -> knowledge.Audience:
    for name, known, key in (("territory", places.territories, one.territory), ("brand", places.brands, one.brand)):
        if key is not None and key not in known:
            raise Invalid(Text(f"audience：没有 {name}“{key}”", f"audience: there is no {name} “{key}”"), ("audience",))
    territory, brand = places.territories.get(one.territory or ""), places.brands.get(one.brand or "")
    return knowledge.Audience(one.role, territory, brand)


def _rejected(rejects: list[Found]) -> str:
    """What was not taken, as a table: the place and what stood there, with the reason."""
    rows = []
    for one in rejects:
        told = _told(one.told)
        field = ".".join(one.refused.path) if one.refused is not None else ""
        reason = one.refused.text if one.refused is not None else Text("", "")
        rows.append((Line(0, [one.place, field, told]), reason))
    return written(("place", "field", "told"), rows)


def _told(values: Mapping[str, Any]) -> str:
    """What stood at a place, as far as it can be kept."""
    try:
        return orjson.dumps(dict(values), default=str, option=orjson.OPT_NON_STR_KEYS).decode() if values else ""
    except (TypeError, ValueError, RecursionError):
        shown = {str(name)[:100]: str(value)[:TOLD_LENGTH] for name, value in values.items() if isinstance(value, str)}
        return json.dumps(shown)[:TOLD_LENGTH]


# ---- going out -------------------------------------------------------------------------------------------------------


async def export_documents(
    database: Database, email: str, target: Path, form: DocumentFormat, *, drafts: bool = False, progress: Progress = no_progress
) -> tuple[int, str]:  # fmt: skip
    """Write the entries that a person sees, in use or (with `drafts`) as they are to be, and return how many and the SHA-256 of all.

    Markdown is a folder with a file each, the other formats are one file; either appears whole or not at all. One ledger
    event tells of it. Raises Unauthenticated, Unavailable where the target cannot be written.
    """
    async with database.read(SYSTEM) as connection:
        actor = await people.sign_in(connection, database.clock(), email=email)
    async with database.read(actor) as connection:
        documents = await _documents(connection, actor, drafts=drafts)
    contents = _contents(documents, form)
    digest = hashlib.sha256()
    for name, data in contents:
        digest.update(name.encode() + b"\0" + data)
    folder = target if form is DocumentFormat.MARKDOWN else None
    parts = [(target / name if folder else target, data) for name, data in contents]
    try:
        await asyncio.to_thread(_write, folder, parts, progress)
        assert actor.user_id is not None  # noqa: S101 - whoever signs in is a user
        async with database.open_uow(actor) as uow:
            detail = {"format": form.value, "count": len(documents), "sha256": digest.hexdigest()}
            uow.note("knowledge.exported", Ref("User", actor.user_id), detail)
        for file, _ in parts:
            file.with_name(f".{file.name}.part").replace(file)
    except OSError as error:
        words = Text(f"无法写入 {target}：{error.strerror}", f"cannot write {target}: {error.strerror}")
        raise Unavailable(words) from error
    return len(documents), digest.hexdigest()


def _write(folder: Path | None, parts: list[tuple[Path, bytes]], progress: Progress) -> None:
    """Write every file beside its place."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    for done, (file, data) in enumerate(parts, 1):
        with file.with_name(f".{file.name}.part").open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        progress(file.name, done, len(parts))


def _contents(documents: list[Document], form: DocumentFormat) -> list[tuple[str, bytes]]:
    if form is DocumentFormat.MARKDOWN:
        names = [
            f"{hashlib.sha256(f'{one.origin}:{one.id}'.encode()).hexdigest()[:8]}-{_slug(one)}.md" for one in documents
        ]
        return [(name, formats.write_markdown(one).encode()) for name, one in zip(names, documents, strict=True)]
    lines = (formats.write_csv if form is DocumentFormat.CSV else formats.write_jsonl)(documents)
    return [("", "".join(lines).encode())]


def _slug(document: Document) -> str:
    words = "".join(letter if letter.isalnum() else "-" for letter in document.content.title.lower())
    return "-".join(filter(None, words.split("-")))[:60] or "entry"


async def _documents(connection: AsyncConnection, actor: Actor, *, drafts: bool) -> list[Document]:
    item, version = KnowledgeItem.__table__, KnowledgeVersion.__table__
    seen = select(item).where(rows_visible(KnowledgeItem, actor), item.c.state != KnowledgeState.RETIRED)
    items = (await connection.execute(seen.order_by(item.c.id))).all()
    shown = [one for one in items if drafts or one.state is KnowledgeState.PUBLISHED]
    numbers = {one.id: (one.draft_number if drafts else None) or one.published_number for one in shown}
    ids = [id for id, number in numbers.items() if number is not None]
    chosen = select(version).where(version.c.item_id.in_(ids), rows_visible(KnowledgeVersion, actor))
    versions = {row.item_id: row for row in await connection.execute(chosen) if row.number == numbers[row.item_id]}
    audience = await _audiences(connection, actor, ids)
    owners = {row.id: row.email for row in await connection.execute(select(User.id, User.email))}
    return [
        _document(one, versions[one.id], owners.get(one.owner_id), audience.get(one.id, ()))
        for one in items
        if one.id in versions
    ]


async def _audiences(connection: AsyncConnection, actor: Actor, ids: list[UUID]) -> dict[UUID, tuple[Audience, ...]]:
    mine = select(KnowledgeAudience.__table__).where(
        KnowledgeAudience.item_id.in_(ids), rows_visible(KnowledgeAudience, actor)
    )
    territories = {row.id: row.key for row in await connection.execute(select(Territory.id, Territory.key))}
    brands = {row.id: row.key for row in await connection.execute(select(Brand.id, Brand.key))}
    found: dict[UUID, tuple[Audience, ...]] = {}
    for row in await connection.execute(mine.order_by(KnowledgeAudience.id)):
        one = Audience(row.role, territories.get(row.territory_id), brands.get(row.brand_id))
        found[row.item_id] = (*found.get(row.item_id, ()), one)
    return found


def _document(item: Any, version: Any, owner: str | None, audience: tuple[Audience, ...]) -> Document:
    id, origin = (item.external_id, item.external_source) if item.external_id else (item.id.hex, OURS)
    return Document(
        id, item.kind, item.language, knowledge.stored_content(version), origin, item.source, item.licence, owner, audience, item.shareable,
    )  # fmt: skip
