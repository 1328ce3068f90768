"""The upgrade from the previous release, tried on that release's own data: its demo company, ledger and an answer."""

import lzma
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, func, select, text
from sqlalchemy.ext.asyncio import create_async_engine

import migrations
from api.notary import Notary
from api.settings import Settings
from assistant import pipeline
from assistant.model import Disposition, Generation, GenerationKind
from assistant.pipeline import Desk
from assistant.skills.base import Ask
from domain import accounts, people
from domain.accounts import Account, ContactPoint
from domain.kernel import Base, Database
from domain.ledger import LedgerRecorder
from knowledge import KnowledgeVersion, Library, guarding

RELEASE = Path(__file__).parent / "releases" / "0.1.0"
REVISION = "176b2fa70c55"
"""The newest step of that release."""


@pytest.fixture(scope="module")
def old_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQLite file that the previous release left."""
    path = tmp_path_factory.mktemp("release") / "sortie.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(lzma.decompress((RELEASE / "database.sql.xz").read_bytes()).decode())
    connection.close()
    return path


@pytest.fixture
async def old_url(backend: str, old_file: Path, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A database as the previous release left it, on each backend."""
    copy = tmp_path / "sortie.db"
    shutil.copy(old_file, copy)
    url = f"sqlite+aiosqlite:///{copy}"
    if backend == "sqlite":
        yield url
        return
    server = request.getfixturevalue("postgres_url")
    admin = create_async_engine(server, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.execute(text("CREATE DATABASE upgraded"))
    target = server.replace("/postgres?", "/upgraded?")
    assert target != server
    await migrations.migrate(target, to=REVISION)
    await _copy_rows(url, target)
    yield target
    async with admin.connect() as connection:
        await connection.execute(text("DROP DATABASE upgraded WITH (FORCE)"))
    await admin.dispose()


async def _copy_rows(source: str, target: str) -> None:
    """Every row of the tables that the old release had, with the types that the models still have."""
    old, new = create_async_engine(source), create_async_engine(target)
    there = MetaData()
    async with old.connect() as reading, new.begin() as writing:
        await writing.run_sync(there.reflect)
        await writing.execute(text("SET session_replication_role = replica"))
        for name, reflected in there.tables.items():
            if name == "alembic_version":
                continue
            typed = Base.metadata.tables[name]
            columns = [typed.c[column.name] for column in reflected.columns]
            rows: list[dict[str, Any]] = [dict(row) for row in (await reading.execute(select(*columns))).mappings()]
            if rows:
                into = Table(name, MetaData(), *(column._copy() for column in columns))
                await writing.execute(into.insert(), rows)
        sequence = "SELECT setval(pg_get_serial_sequence('audit_events', 'seq'), (SELECT max(seq) FROM audit_events))"
        await writing.execute(text(sequence))
    await old.dispose()
    await new.dispose()


async def _counts(database: Database) -> dict[str, int]:
    async with database.writer.connect() as connection:
        names = await connection.run_sync(lambda found: found.dialect.get_table_names(found))
        return {
            name: (await connection.execute(text(f"SELECT count(*) FROM {name}"))).scalar_one()
            for name in names
            if name != "alembic_version"
        }


async def test_the_previous_release_upgrades_with_its_data(old_url: str, tmp_path: Path) -> None:
    """Nothing is lost, the ledger is sound under the key and heads it had, and the rep goes on working."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(RELEASE / "ledger-heads.jsonl", home)
    shutil.copy(RELEASE / "ledger.key", home)
    (home / "ledger.key").chmod(0o600)
    database = Database(old_url, LedgerRecorder())
    before = await _counts(database)

    assert await migrations.migrate(old_url)

    after = await _counts(database)
    assert {name: after[name] for name in before} == before
    async with database.read() as connection:
        versions = (await connection.execute(select(KnowledgeVersion.body, KnowledgeVersion.body_hash))).all()
    assert versions
    assert all(version.body_hash == guarding.body_hash(version.body) for version in versions)
    async with database.read() as connection:
        points = (await connection.execute(select(ContactPoint.channel, ContactPoint.value, ContactPoint.masked))).all()
    assert points
    assert all(point.masked == accounts.masked(point.channel, point.value) for point in points)
    notary = Notary.of(database, Settings(home=home, database_url=old_url))
    found = await notary.verify()
    assert found.sound, found.problem
    assert found.events == found.sealed == before["audit_events"]
    await _works_on(database)
    await notary.seal()
    assert (await notary.verify()).sound
    await database.close()


async def _works_on(database: Database) -> None:
    async with database.read() as connection:
        actor = await people.sign_in(connection, database.clock(), email="lei.zhang@example.com")
        mine = select(Account.id).where(Account.owner_id == actor.user_id).order_by(Account.id).limit(1)
        account_id = (await connection.execute(mine)).scalar_one()
        old = select(func.count()).select_from(Generation).where(Generation.client_key == "release-0.1")
        assert (await connection.execute(old)).scalar_one() == 1
    library = Library(database)
    await library.refresh()
    ask = Ask(GenerationKind.VISIT_BRIEF, account_id, "after the upgrade")
    answer = await pipeline.run(Desk(database, library), actor, ask)
    async with database.read() as connection:
        written = select(Generation.disposition).where(Generation.id == answer)
        assert (await connection.execute(written)).scalar_one() is Disposition.AUTO_RELEASED
