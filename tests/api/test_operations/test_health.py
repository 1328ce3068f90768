"""What a load balancer asks, before, while and after something is wrong."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from starlette.applications import Starlette

from api.notary import Notary
from api.operations.health import Health
from api.settings import Settings
from domain.kernel import Database
from knowledge import Library
from tests.factories import note
from tests.installation import Home, running


class Second:
    """A timer that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


async def asked(health: Health, path: str, **headers: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=Starlette(routes=health.routes()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://sortie") as client:
        return await client.get(path, headers=headers)


async def _health(database: Database, folder: Path, **settings: object) -> Health:
    own = Settings(home=folder, **settings)  # type: ignore[arg-type]
    library = Library(database)
    await library.refresh()
    return Health(database, Notary.of(database, own), library, own, Second())


async def test_ready_says_what_was_found_and_vectors_do_not_hold_it_up(database: Database, tmp_path: Path) -> None:
    health = await _health(database, tmp_path)
    found = await asked(health, "/readyz")
    assert found.status_code == 200
    checks = found.json()["checks"]
    assert checks["search"]["found"] == {
        "words": "ready",
        "vectors": "off",
        "engine": "faiss" if database.embedded else "pgvector",
    }
    assert all(check["ok"] for check in checks.values())
    assert (await asked(health, "/livez")).json() == {"status": "live"}


async def test_another_schema_is_not_ready(sqlite_database: Database, tmp_path: Path) -> None:
    health = await _health(sqlite_database, tmp_path)
    async with sqlite_database.writer.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'f00dfeed0000'"))
    found = await asked(health, "/readyz")
    assert found.status_code == 503
    assert found.json()["checks"]["database"] == {"ok": False, "found": "the database has another schema"}
    assert (await asked(health, "/livez")).status_code == 200


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE ledger_heads SET signature = '00'",
        "DELETE FROM ledger_heads",
        "UPDATE ledger_heads SET root_hash = substr(root_hash, 2) || '0'",
    ],
)
async def test_a_ledger_without_its_head_is_not_ready(sqlite_database: Database, tmp_path: Path, harm: str) -> None:
    health = await _health(sqlite_database, tmp_path)
    await note(sqlite_database)
    await Notary.of(sqlite_database, Settings(home=tmp_path)).seal()
    assert (await asked(health, "/readyz")).status_code == 200
    async with sqlite_database.writer.begin() as connection:
        await connection.execute(text(harm))
    found = await asked(health, "/readyz")
    assert (found.status_code, found.json()["checks"]["ledger"]["ok"]) == (503, False)


async def test_a_database_that_is_gone_is_told_without_its_address(database: Database, tmp_path: Path) -> None:
    gone = Database(f"sqlite+aiosqlite:///{tmp_path}/nowhere/sortie.db", database.recorder)
    health = Health(gone, Notary.of(database, Settings(home=tmp_path)), Library(database), Settings(home=tmp_path))
    found = await asked(health, "/readyz")
    assert found.status_code == 503
    assert "nowhere" not in found.text
    await gone.close()


async def test_measures_are_for_who_holds_the_token(database: Database, tmp_path: Path) -> None:
    guarded = await _health(database, tmp_path, metrics_token="测量".encode().hex())
    assert (await asked(guarded, "/metrics")).status_code == 401
    assert (await asked(guarded, "/metrics", authorization="Bearer x")).status_code == 401
    known = await asked(guarded, "/metrics", authorization=f"Bearer {'测量'.encode().hex()}")
    assert known.status_code == 200
    closed = await _health(database, tmp_path, env="production")
    assert (await asked(closed, "/metrics")).status_code == 404


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("home") / "var")
    assert home.run("migrate").returncode == 0
    return home


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_that_was_told_to_stop_says_so_serves_on_and_then_ends(home: Home) -> None:
    """Without the drain the balancer goes on sending requests to a socket that is closed."""
    server = running(home, SORTIE_DRAIN_SECONDS="1.5")
    with server as address:
        assert httpx2.get(f"http://{address}/readyz").status_code == 200
        server.process.terminate()
        _until(lambda: httpx2.get(f"http://{address}/readyz").status_code == 503)
        assert httpx2.get(f"http://{address}/readyz").json()["state"] == "draining"
        asked = {"query": "{__typename}"}
        assert httpx2.post(f"http://{address}/graphql", json=asked).json()["data"] == {"__typename": "Query"}
        server.process.wait(30)


def test_a_request_under_way_is_finished_after_sigterm(home: Home) -> None:
    server = running(home)
    with server as address, httpx2.Client() as client:

        def body() -> object:
            yield b'{"query": '
            server.process.terminate()
            time.sleep(0.5)
            yield b'"{__typename}"}'

        answer = client.post(f"http://{address}/graphql", content=body(), headers={"content-type": "application/json"})  # type: ignore[arg-type]
        assert answer.json()["data"] == {"__typename": "Query"}
    with sqlite3.connect(home.path / "sortie.db") as database:
        assert database.execute("SELECT count(*) FROM audit_events WHERE sealed_at IS NULL").fetchone() == (0,)
    database.close()
