"""The database's schema in steps: bring a database up to date, and write the next step."""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

import assistant
import domain
from domain.kernel import Conflict, Text, Unavailable, unavailable
from migrations import objects

ROOT = Path(__file__).parent
MIGRATION_LOCK = 0x534F5247

Progress = Callable[[str], None]
"""Told what each step has brought."""


def import_models() -> None:
    """Import every module that maps tables, so that the metadata is whole."""
    for room in pkgutil.iter_modules(domain.__path__):
        importlib.import_module(f"domain.{room.name}")
    parts = [f"assistant.{part.name}" for part in pkgutil.iter_modules(assistant.__path__) if part.ispkg]
    for storey in ("knowledge", "assistant", *parts):
        if find_spec(f"{storey}.model"):
            importlib.import_module(f"{storey}.model")


def configuration(versions: Path | None = None) -> Any:
    """Alembic's configuration; `versions` is another folder of steps than the product's."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT))
    config.set_main_option("version_locations", str(versions or ROOT / "versions"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(slug)s")
    return config


async def migrate(url: str, progress: Progress | None = None, *, to: str = "head") -> bool:
    """Bring a database to the newest schema, or to the step named (`base`: to nothing); whether that changed anything.

    All steps or none are committed; several processes may call it at once.
    Raises Conflict for a database that a newer version has migrated, Unavailable when it is locked, full or gone.
    """
    from alembic import command

    import_models()
    config = configuration()

    def applied(*, step: Any, **_rest: Any) -> None:
        if progress is not None:
            progress(step.up_revision.doc)

    def change(connection: Connection) -> bool:
        before = _checked_heads(connection, config)
        config.attributes |= {"connection": connection, "on_version_apply": applied}
        if to == "base":
            objects.remove(connection)
        elif before != newest_steps():
            objects.make_way(connection)
        (command.downgrade if to == "base" else command.upgrade)(config, to)
        changed = stored_steps(connection) != before
        if stored_steps(connection) == newest_steps():
            changed |= objects.install(connection, progress)
        if changed and connection.dialect.name == "sqlite":
            _check_foreign_keys(connection)
        return changed

    async with transaction(url) as connection:
        return await connection.run_sync(change)


async def is_current(url: str) -> bool:
    """Whether the database has the newest schema.

    Raises Conflict for a database that a newer version has migrated, Unavailable when it is locked or gone.
    """
    import_models()
    config = configuration()
    if _is_absent(url):
        return False

    def look(connection: Connection) -> bool:
        return _checked_heads(connection, config) == newest_steps() and objects.is_current(connection)

    async with transaction(url) as connection:
        return await connection.run_sync(look)


async def revise(url: str, message: str, versions: Path | None = None) -> Path | None:
    """Write the step from the schema that a migrated database has to the one that the models declare; None without any."""
    from alembic import command
    from alembic.script import Script

    config = configuration(versions)

    def write(connection: Connection) -> Path | None:
        config.attributes["connection"] = connection
        script = command.revision(config, message, autogenerate=True)
        return Path(script.path) if isinstance(script, Script) else None

    async with transaction(url) as connection:
        return await connection.run_sync(write)


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.execute(text("PRAGMA foreign_key_check")).first()
    if broken is not None:
        raise RuntimeError(f"a step left a row of {broken[0]} that points to nothing in {broken[2]}")


def _is_absent(url: str) -> bool:
    """Whether a SQLite file is not there; looking into it would make it."""
    file = make_url(url).database if url.startswith("sqlite") else None
    return file is not None and not Path(file).exists()


def _scripts(config: Any) -> Any:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(config)


def newest_steps() -> set[str]:
    """The steps to which a database of this release has come."""
    return set(_scripts(configuration()).get_heads())


def stored_steps(connection: Connection) -> set[str]:
    """The steps to which a database has come."""
    from alembic.runtime.migration import MigrationContext

    return set(MigrationContext.configure(connection).get_current_heads())


def _checked_heads(connection: Connection, config: Any) -> set[str]:
    heads = stored_steps(connection)
    known = {script.revision for script in _scripts(config).walk_revisions()}
    if unknown := sorted(heads - known):
        zh = f"数据库由更新版本的 Sortie 升级过（步骤 {unknown[0]}），请使用新版本"
        raise Conflict(
            Text(zh, f"a newer Sortie has migrated this database (step {unknown[0]}): use the newer version")
        )
    return heads


@asynccontextmanager
async def transaction(url: str) -> AsyncIterator[AsyncConnection]:
    """One transaction with the only right to change the schema; its errors are readable ones."""
    engine = create_async_engine(url, poolclass=NullPool)
    if url.startswith("sqlite"):
        _prepare_sqlite(engine)
    try:
        async with engine.begin() as connection:
            if not url.startswith("sqlite"):
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            yield connection
    except DBAPIError as error:
        raise unavailable(error) from error
    except OSError as error:
        raise Unavailable(Text(f"无法连接数据库：{error}", f"the database cannot be reached: {error}")) from error
    finally:
        await engine.dispose()


def _prepare_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        # A table is altered by copying it, which its foreign keys would take for a deletion.
        connection.execute("PRAGMA foreign_keys=OFF")

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
