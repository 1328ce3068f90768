"""From one laptop to many machines: an embedded installation taken along to PostgreSQL, its ledger, keys and waiting jobs included."""

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from api.jobs.board import Board
from api.jobs.engine import ensure_tables
from api.jobs.kinds import KINDS
from api.notary import Notary
from api.operations.backup import require_idle
from api.secret_files import read_key
from api.settings import Settings
from domain import ledger
from domain.kernel import SYSTEM, Conflict, Database, Invalid, OutboxEvent, Ref, Text, new_id
from domain.ledger import HeadFile, LedgerRecorder, Signer
from migrations import migrate
from migrations.copying import FROM_SQLITE, Copied, Progress, copy

PAGE = 500
MAPPINGS = "mappings"


async def move(settings: Settings, source: str, progress: Progress) -> list[Copied]:
    """Take the installation of a SQLite file along to the database that is set, which is migrated first and must be empty.

    Its files beside the database (the ledger's key and published heads, the key of access tokens, kept mappings) come along to the
    home that is set, where there are none. The source stays as it is.

    Raises Invalid, Conflict and Unavailable as `migrations.copying.copy` does, and Conflict for a ledger that is not sound there or
    whose key is missing; then nothing was copied.
    """
    file = _file_of(source)
    if settings.embedded:
        raise Invalid(FROM_SQLITE, ("SORTIE_DATABASE_URL",))
    require_idle(file)
    url = f"sqlite+aiosqlite:///{file}"
    settings.home.mkdir(parents=True, exist_ok=True)
    await migrate(settings.database)
    await ensure_tables(settings)
    unfinished = await _unfinished(settings, file.parent)
    brought = _bring_files(settings, file.parent)
    try:

        async def check(connection: AsyncConnection) -> None:
            await _check_ledger(settings, connection)
            await _hand_over_again(connection, unfinished)

        copied = await copy(url, settings.database, check, progress)
    except BaseException:
        for path in brought:
            _remove(path)
        raise
    await _finish(settings, copied)
    return copied


def _file_of(source: str) -> Path:
    url = make_url(source) if source.startswith("sqlite") else None
    if url is None or not url.database:
        raise Invalid(FROM_SQLITE, ("--copy-from",))
    file = Path(url.database)
    if not file.is_file():
        raise Invalid(Text(f"没有数据库 {file}", f"there is no database {file}"), ("--copy-from",))
    return file.absolute()


def _bring_files(settings: Settings, old: Path) -> list[Path]:
    """What was brought to the home that is set: what has no place there yet."""
    places = {
        old / "ledger.key": settings.ledger_key,
        old / "ledger-heads.jsonl": settings.heads_file,
        old / "token.key": settings.token_key,
        old / MAPPINGS: settings.home / MAPPINGS,
    }
    brought = []
    for source, target in places.items():
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            brought.append(target)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
    return brought


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


async def _check_ledger(settings: Settings, connection: AsyncConnection) -> None:
    """Have the ledger verified where it is now, by the key that signed it and the heads that were published.

    Raises Conflict.
    """
    heads = await ledger.stored_heads(connection)
    if heads and not settings.ledger_key.exists():
        zh = f"找不到账本密钥：请把原安装的 ledger.key 放到 {settings.ledger_key}"
        en = f"the ledger's key is missing: put ledger.key of the installation at {settings.ledger_key}"
        raise Conflict(Text(zh, en), ("SORTIE_LEDGER_KEY_FILE",))
    if not heads:
        return
    signer = Signer(read_key(settings.ledger_key))
    found = await ledger.verify(connection, signer.public_key, heads=HeadFile(settings.heads_file).read())
    if found.problem is not None:
        raise Conflict(Text(f"账本不可信：{found.problem.zh}", f"the ledger is not sound: {found.problem.en}"))


async def _unfinished(settings: Settings, home: Path) -> dict[UUID, dict[str, Any]]:
    """The events that began jobs which have not ended, by id; a job is named after its event."""
    events: dict[UUID, dict[str, Any]] = {}
    if not (home / "jobs.db").exists():
        return events
    kinds = {kind.name: kind for kind in KINDS}
    board = Board(Settings(home=home, database_url=""))
    try:
        for job, body in await board.unfinished():
            for event, delay in kinds[job.kind].events.items() if job.kind in kinds else ():
                emitted_at = (job.due_at or job.created_at) - (delay(settings) if job.due_at else timedelta())
                id = UUID(job.id.rpartition(":")[2])
                events[id] = {"id": id, "kind": event, "body": body, "emitted_at": emitted_at, "handled_at": None}
    finally:
        await board.close()
    return events


async def _hand_over_again(connection: AsyncConnection, events: Mapping[UUID, Mapping[str, Any]]) -> None:
    """Have jobs that were not done begun again there, due when they were due here; handled events do not stay for long."""
    ids = list(events)
    for at in range(0, len(ids), PAGE):
        chosen = OutboxEvent.id.in_(ids[at : at + PAGE])
        await connection.execute(delete(OutboxEvent).where(chosen))
        await connection.execute(insert(OutboxEvent), [events[id] for id in ids[at : at + PAGE]])


async def _finish(settings: Settings, copied: list[Copied]) -> None:
    """Have the database know how much it holds, and the ledger that it was moved."""
    engine = create_async_engine(settings.database, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.exec_driver_sql("ANALYZE")
    await engine.dispose()
    database = Database(settings.database, LedgerRecorder())
    try:
        async with database.open_uow(SYSTEM) as uow:
            total = sum(int(one.digest, 16) for one in copied) % (1 << 256)
            detail = {"tables": len(copied), "rows": sum(one.rows for one in copied), "digest": f"{total:064x}"}
            uow.note("installation.moved", Ref("Backup", new_id()), detail)
        await Notary.of(database, settings).seal()
    finally:
        await database.close()
