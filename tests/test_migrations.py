"""The steps of the schema lead up, down and up again on both databases, and declare what the models do."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

import migrations
from domain.kernel import Base, Conflict, Unavailable

NAME = "migrated"


async def _on_server(url: str, statement: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


@pytest.fixture
async def empty_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A database that nothing has touched yet."""
    if backend == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/sortie.db"
        return
    server = str(request.getfixturevalue("postgres_url"))
    await _on_server(server, f"CREATE DATABASE {NAME}")
    yield make_url(server).set(database=NAME).render_as_string(hide_password=False)
    await _on_server(server, f"DROP DATABASE {NAME} WITH (FORCE)")


async def tables(url: str) -> set[str]:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    await engine.dispose()
    return names - {"alembic_version"} - migrations.objects.TABLES


async def test_up_down_and_up_again(empty_url: str) -> None:
    migrations.import_models()
    steps: list[str] = []
    assert not await migrations.is_current(empty_url)
    assert await migrations.migrate(empty_url, steps.append)
    assert steps
    assert await tables(empty_url) == set(Base.metadata.tables)
    assert await migrations.is_current(empty_url)
    assert not await migrations.migrate(empty_url, steps.append)
    assert await migrations.migrate(empty_url, to="base")
    assert await tables(empty_url) == set()
    assert await migrations.migrate(empty_url)
    assert await tables(empty_url) == set(Base.metadata.tables)


async def test_the_models_declare_nothing_that_no_step_brings(empty_url: str, tmp_path: Path) -> None:
    await migrations.migrate(empty_url)
    written = await migrations.revise(empty_url, "difference")
    difference = written.read_text() if written else ""
    if written:
        written.unlink()
    assert difference == ""


async def test_a_database_of_a_newer_version_is_left_alone(empty_url: str) -> None:
    await migrations.migrate(empty_url)
    engine = create_async_engine(empty_url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'f00dfeed0000'"))
    await engine.dispose()
    for look in (migrations.migrate, migrations.is_current):
        with pytest.raises(Conflict) as refused:
            await look(empty_url)
        assert "更新版本" in refused.value.text.zh
        assert "f00dfeed0000" in refused.value.text.en
    assert await tables(empty_url) == set(Base.metadata.tables)


async def test_a_locked_database_is_told(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/sortie.db"
    with sqlite3.connect(tmp_path / "sortie.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as refused:
            await migrations.migrate(f"{url}?timeout=0.1")
        other.execute("ROLLBACK")
    other.close()
    assert "占用" in refused.value.text.zh
    assert await tables(url) == set()
