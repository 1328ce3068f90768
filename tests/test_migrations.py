"""The steps of the schema lead up, down and up again on both databases, and declare what the models do."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.exc import IntegrityError
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


BEFORE_MONTHS, MONTHS = "4b948f958ef8", "7c1e5a90d2b4"


async def _lead_to(url: str, step: str, *, down: bool = False) -> None:
    from alembic import command

    def lead(connection: Connection) -> None:
        config = migrations.configuration()
        config.attributes["connection"] = connection
        migrations.objects.make_way(connection)
        (command.downgrade if down else command.upgrade)(config, step)

    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(lead)
    await engine.dispose()


async def _rows(url: str, table: str) -> list[tuple[Any, ...]]:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        rows = [tuple(row) for row in await connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))]
    await engine.dispose()
    return rows


async def test_signals_go_by_the_month_and_back_with_every_row(empty_url: str) -> None:
    """Those of the turn of a year, of one long ago, and of one to come."""
    migrations.import_models()
    await _lead_to(empty_url, BEFORE_MONTHS)
    instants = ["1999-12-31 23:59:59.999999", "2000-01-01 00:00:00", "2026-02-28 12:00:00", "2031-07-01 00:00:00"]
    zone = "" if empty_url.startswith("sqlite") else "+00"
    engine = create_async_engine(empty_url)
    async with engine.begin() as connection:
        for number, at in enumerate(instants):
            id = f"0000000000000000000000000000000{number}"
            await connection.execute(
                text(
                    "INSERT INTO signals (id, type, subject_kind, subject_id, actor_kind, occurred_at, recorded_at, source, dedupe_key, "
                    f"payload, evidence_grade) VALUES ('{id}', 'page_viewed', 'Lead', '{id}', 'SYSTEM', '{at}{zone}', '{at}{zone}', '官网', "
                    f"'访问-{number}', '{{}}', 'CLAIMED')"
                )
            )
    await engine.dispose()
    before = await _rows(empty_url, "signals")
    assert len(before) == len(instants)
    await _lead_to(empty_url, MONTHS)
    assert await _rows(empty_url, "signals") == before
    keys = await _rows(empty_url, "signal_keys")
    assert [key[1] for key in keys] == [f"访问-{number}" for number in range(len(instants))]
    await _lead_to(empty_url, BEFORE_MONTHS, down=True)
    assert await _rows(empty_url, "signals") == before
    engine = create_async_engine(empty_url)
    with pytest.raises(IntegrityError):
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE signals SET dedupe_key = '访问-0'"))
    await engine.dispose()
    await _lead_to(empty_url, MONTHS)
    assert (await _rows(empty_url, "signals"), await _rows(empty_url, "signal_keys")) == (before, keys)
