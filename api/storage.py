"""The database of an installation: opened, and brought to the newest schema or checked for it."""

from collections.abc import Callable

from api.settings import Settings
from domain.kernel import Conflict, Database, Text
from domain.ledger import LedgerRecorder
from migrations import is_current, migrate

OUTDATED = Text(
    "数据库结构不是最新的：请先运行 sortie migrate", "the database has an older schema: run `sortie migrate` first"
)


def open_database(settings: Settings) -> Database:
    """The database of an installation, its folder made."""
    settings.home.mkdir(parents=True, exist_ok=True)
    return Database(settings.database, LedgerRecorder())


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

    Raises Conflict for a database with data, what `ensure_schema` raises, and Unavailable when it is locked or full.
    """
    import demo

    await ensure_schema(settings)
    database = open_database(settings)
    try:
        if not if_empty or await demo.is_empty(database):
            await demo.load(database, progress=progress)
    finally:
        await database.close()
