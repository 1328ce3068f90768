"""The database of an installation: opened, and brought to the newest schema or checked for it."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url

from api.settings import Settings
from domain.kernel import Conflict, Database, Text
from domain.ledger import LedgerRecorder
from migrations import is_current, migrate

OUTDATED = Text(
    "数据库结构不是最新的：请先运行 sortie migrate", "the database has an older schema: run `sortie migrate` first"
)

HALF_LOADED = Text(
    "上次加载演示公司时中断了：请清空数据库，删除 SORTIE_HOME 中的 demo.unfinished，再重新加载",
    "the last load of the demo company was interrupted: empty the database, remove demo.unfinished from SORTIE_HOME, load again",
)


def open_database(settings: Settings) -> Database:
    """The database of an installation, its folder made."""
    settings.home.mkdir(parents=True, exist_ok=True)
    return Database(
        settings.database,
        LedgerRecorder(),
        connections=settings.database_connections,
        read_seconds=settings.longest_seconds,
        replica_url=settings.replica_url,
        replica_lag_seconds=settings.replica_lag_seconds,
    )


async def ensure_schema(settings: Settings) -> None:
    """Have the newest schema: brought up to date in development, demanded in production.

    Raises Conflict for an older schema in production, and for one that a newer version has migrated.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    if await is_current(settings.database):
        return
    if settings.production:
        raise Conflict(OUTDATED)
    await migrate(settings.database)


async def load_demo(settings: Settings, progress: Callable[[int, int], None], *, if_empty: bool = False) -> None:
    """Load the demo company; with `if_empty` a database with data is left as it is.

    A load that was interrupted is begun anew: what it left of a SQLite database is put aside. Raises Conflict for a database
    with data, and for what an interrupted load left in PostgreSQL, what `ensure_schema` raises, and Unavailable when the
    database is locked or full.
    """
    import demo

    unfinished = settings.home / "demo.unfinished"
    if unfinished.exists():
        _put_aside(settings)
        unfinished.unlink()
    await ensure_schema(settings)
    database = open_database(settings)
    try:
        empty = await demo.is_empty(database)
        if empty or not if_empty:
            if empty:
                unfinished.touch()
            await demo.load(database, progress=progress)
            unfinished.unlink(missing_ok=True)
    finally:
        await database.close()


def _put_aside(settings: Settings) -> None:
    path = Path(make_url(settings.database).database or "")
    if not settings.database.startswith("sqlite"):
        raise Conflict(HALF_LOADED)
    for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if part.exists():
            part.replace(part.with_name(f"half-loaded-{part.name}"))
