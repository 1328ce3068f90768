"""Backups: one file with the database and the published ledger heads, taken while the server runs, verified on the way."""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from api.notary import Notary
from api.settings import Settings
from api.storage import ensure_schema
from domain.kernel import SYSTEM, Conflict, Database, Invalid, Ref, Text, Unavailable, new_id, row_security, utc_now
from domain.ledger import HeadFile, LedgerRecorder, Verification

Progress = Callable[[int, int], None]
MANIFEST, HEADS = "manifest.json", "ledger-heads.jsonl"
FILES = {"sqlite": "sortie.db", "postgresql": "database.dump"}
FORMAT = "sortie-backup"
CHUNK = 1 << 20


class BackupUnsoundError(Conflict):
    """The ledger of what was to be backed up, or of what was restored, is not sound."""


async def back_up(settings: Settings, file: Path, progress: Progress) -> dict[str, Any]:
    """Write a backup while others go on reading and writing, verify the ledger in it, and return its manifest.

    Keys are not in it: keep them elsewhere. The file appears when it is whole.

    Raises Conflict for a file that is there already and for a ledger that is not sound, Unavailable without a database,
    enough disk, or PostgreSQL's own tools.
    """
    beside = _folder_for(file)
    kind = "sqlite" if settings.database.startswith("sqlite") else "postgresql"
    with _readable(), tempfile.TemporaryDirectory(dir=beside, prefix=".sortie-backup-") as folder:
        work = Path(folder)
        # Heads first: a published head must not be newer than the database beside it.
        heads = work / HEADS
        heads.write_bytes(settings.heads_file.read_bytes() if settings.heads_file.exists() else b"")
        copy = work / FILES[kind]
        if kind == "sqlite":
            await asyncio.to_thread(_copy_sqlite, _path_of(settings.database), copy, progress)
            found = await _verified(settings, f"sqlite+aiosqlite:///{copy}", heads)
        else:
            await asyncio.to_thread(_dump, settings.database, copy)
            found = await _verified(settings, settings.database, heads)
        identity, at = new_id(), utc_now()
        manifest = {
            "format": FORMAT, "version": 1, "id": identity.hex, "at": at.isoformat(), "release": version("sortie"), "database": kind,
            "events": found.events, "sealed": found.sealed, "head": orjson.loads(found.head.line()) if found.head else None,
            "files": {path.name: await asyncio.to_thread(_digest, path) for path in (copy, heads)},
        }  # fmt: skip
        whole = work / "whole.zip"
        await asyncio.to_thread(_pack, whole, manifest, [copy, heads])
        whole.replace(file)
    await _note(settings, identity, "installation.backed_up", {"events": found.events, "sealed": found.sealed})
    return manifest


async def restore(
    settings: Settings, file: Path, progress: Progress, *, replace: bool = False
) -> tuple[dict[str, Any], list[Path]]:
    """Bring a backup back, verify its ledger, migrate it; the manifest, and the files that were put aside for it.

    With `replace` a database that is there is put aside, never deleted. Published heads that are newer than the backup are
    put aside as well: they prove what was lost.

    Raises Conflict for a database that is there and for a ledger that is not sound, Invalid for what is no whole backup.
    """
    with _readable(), tempfile.TemporaryDirectory(dir=_workplace(settings), prefix=".sortie-restore-") as folder:
        work = Path(folder)
        manifest = await asyncio.to_thread(_unpack, file, work)
        kind = manifest["database"]
        if not settings.database.startswith(kind):
            words = Text(
                f"备份来自 {kind}，而当前设置的数据库不是", f"the backup is of {kind}, the database that is set is not"
            )
            raise Invalid(words)
        aside: list[Path] = []
        stamp = utc_now().strftime("%Y%m%dT%H%M%SZ")
        if kind == "sqlite":
            await _verified(settings, f"sqlite+aiosqlite:///{work / FILES[kind]}", work / HEADS)
            aside += _place_sqlite(_path_of(settings.database), work / FILES[kind], stamp, replace=replace)
        else:
            await _require_empty(settings.database)
            await _with_wall(settings.database, row_security.ensure_roles)
            await asyncio.to_thread(_load_dump, settings.database, work / FILES[kind])
            # Rights are not in a dump: those of the readers' roles are given anew.
            await _with_wall(settings.database, row_security.install)
            await _verified(settings, settings.database, work / HEADS)
        aside += _place_heads(settings.heads_file, work / HEADS, stamp)
    progress(1, 1)
    await ensure_schema(settings)
    detail = {"backup": manifest["id"], "taken_at": manifest["at"], "events": manifest["events"]}
    await _note(settings, UUID(manifest["id"]), "installation.restored", detail)
    return manifest, aside


def _folder_for(file: Path) -> Path:
    if file.exists():
        raise Conflict(Text(f"{file} 已存在", f"{file} exists already"))
    return file.absolute().parent


async def _note(settings: Settings, identity: UUID, action: str, detail: dict[str, Any]) -> None:
    database = Database(settings.database, LedgerRecorder())
    try:
        async with database.open_uow(SYSTEM) as uow:
            uow.note(action, Ref("Backup", identity), detail)
    finally:
        await database.close()


async def _verified(settings: Settings, url: str, heads: Path) -> Verification:
    database = Database(url, LedgerRecorder())
    try:
        found = await Notary.of(database, settings, HeadFile(heads)).audit()
    finally:
        await database.close()
    if found.problem is not None:
        raise BackupUnsoundError(
            Text(f"账本不可信：{found.problem.zh}", f"the ledger is not sound: {found.problem.en}")
        )
    return found


# ---- SQLite ----------------------------------------------------------------------------------------------------------


def _path_of(url: str) -> Path:
    return Path(make_url(url).database or "")


def _copy_sqlite(source: Path, target: Path, progress: Progress) -> None:
    """A whole copy of one instant, without the pages that were freed: what was erased does not come along."""
    if not source.exists():
        raise Unavailable(Text(f"没有数据库 {source}", f"there is no database {source}"))
    connection = sqlite3.connect(source, isolation_level=None)
    try:
        pages, page_size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))

        def tick() -> int:
            progress(min(target.stat().st_size if target.exists() else 0, pages * page_size), pages * page_size)
            return 0

        connection.set_progress_handler(tick, 1_000_000)
        connection.execute("VACUUM INTO ?", (str(target),))
    finally:
        connection.close()
    progress(1, 1)


def _place_sqlite(target: Path, copy: Path, stamp: str, *, replace: bool) -> list[Path]:
    aside = []
    if target.exists():
        if not replace:
            raise Conflict(
                Text(
                    f"{target} 已有数据库；确认要替换请加 --replace（旧库会保留）",
                    f"there is a database at {target}; --replace puts it aside",
                )
            )
        require_idle(target)
        kept = target.with_name(f"{target.name}.before-restore-{stamp}")
        target.replace(kept)
        aside.append(kept)
    copy.replace(target)
    return aside


def require_idle(path: Path) -> None:
    """Refuse while somebody has the database open, and take in what lies in its log."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=0)
        try:
            # Leaving WAL needs the only connection, and brings everything into the file itself.
            mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise _in_use(path) from error
    if mode != "delete":
        raise _in_use(path)


def _in_use(path: Path) -> Unavailable:
    return Unavailable(Text(f"{path} 正在使用中：请先停止服务", f"{path} is in use: stop the server first"))


def _place_heads(target: Path, heads: Path, stamp: str) -> list[Path]:
    aside = []
    if target.exists() and target.read_bytes() != heads.read_bytes():
        kept = target.with_name(f"{target.name}.before-restore-{stamp}")
        target.replace(kept)
        aside.append(kept)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(heads, target)
    return aside


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


def _postgres(program: str, url: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs; the password goes through the environment, not the command line."""
    found = shutil.which(program, path=os.environ.get("SORTIE_PG_BIN") or os.environ.get("PATH"))
    if found is None:
        words = Text(
            f"找不到 {program}：请安装 PostgreSQL 客户端，或用 SORTIE_PG_BIN 指定其目录",
            f"{program} is not there: install PostgreSQL's client, or name its folder by SORTIE_PG_BIN",
        )
        raise Unavailable(words)
    parsed = make_url(url).set(drivername="postgresql")
    password = {"PGPASSWORD": str(parsed.password)} if parsed.password else {}
    plain = parsed.set(password=None).render_as_string(hide_password=False)
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own program, its arguments are ours
        [found, *arguments, f"--dbname={plain}"], env=os.environ | password, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise Unavailable(Text(f"{program} 失败：{last}", f"{program} failed: {last}"))


def _dump(url: str, target: Path) -> None:
    _postgres("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={target}")


def _load_dump(url: str, source: Path) -> None:
    _postgres(
        "pg_restore", url, "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", str(source)
    )


async def _with_wall(url: str, work: Callable[[Connection], None]) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(work)
    finally:
        await engine.dispose()


async def _require_empty(url: str) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            tables = await connection.run_sync(lambda found: inspect(found).get_table_names())
    except OSError as error:
        raise Unavailable(Text(f"无法连接数据库：{error}", f"the database cannot be reached: {error}")) from error
    finally:
        await engine.dispose()
    if tables:
        raise Conflict(Text("目标数据库不是空的", "the database that is set is not empty"))


# ---- the file --------------------------------------------------------------------------------------------------------


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _pack(target: Path, manifest: dict[str, Any], files: list[Path]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as whole:
        whole.writestr(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        for file in files:
            whole.write(file, file.name)
    with target.open("rb") as written:
        os.fsync(written.fileno())


def _unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Take a backup apart and compare every file with the manifest."""
    try:
        with zipfile.ZipFile(file) as whole:
            manifest = _manifest(whole.read(MANIFEST))
            names = [FILES[manifest["database"]], HEADS]
            for name in names:
                with whole.open(name) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target, CHUNK)
    except (zipfile.BadZipFile, KeyError, ValueError, AttributeError) as error:
        raise Invalid(Text(f"{file} 不是完整的备份：{error}", f"{file} is no whole backup: {error}")) from error
    for name in names:
        if _digest(folder / name) != manifest.get("files", {}).get(name):
            raise Invalid(Text(f"备份 {file} 中的 {name} 已损坏", f"{name} in the backup {file} is damaged"))
    return manifest


def _manifest(words: bytes) -> dict[str, Any]:
    manifest: dict[str, Any] = orjson.loads(words)
    if manifest.get("format") != FORMAT or manifest.get("database") not in FILES:
        raise ValueError(MANIFEST)
    datetime.fromisoformat(manifest["at"])
    return manifest


def _workplace(settings: Settings) -> Path:
    settings.home.mkdir(parents=True, exist_ok=True)
    return settings.home if not settings.database.startswith("sqlite") else _path_of(settings.database).parent


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(Text(f"数据库无法读取：{error}", f"the database cannot be read: {error}")) from error
