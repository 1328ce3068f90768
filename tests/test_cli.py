"""The command as people and scripts run it: a process of its own, its streams and its exit status."""

import json
import re
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from api.cli.terminal import reader_is_chinese
from api.settings import Settings
from domain import people
from domain.kernel import SYSTEM, Database, Role
from domain.ledger import LedgerRecorder
from migrations import migrate
from tests.installation import COMMAND, READY_SECONDS, ROOT, Home, running


@pytest.fixture(scope="module")
async def seeded(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose database has one person in it."""
    home = Home(tmp_path_factory.mktemp("home"))
    settings = Settings(home=home.path)
    await migrate(settings.database)
    database = Database(settings.database, LedgerRecorder())
    async with database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name="孙可", email="ke.sun@example.com")
        await uow.session.flush()
        await people.grant_role(uow, user, Role.AUDITOR)
    await database.close()
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "var")


def test_help_is_quick_and_loads_nothing_heavy(home: Home) -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from api.cli import app; print(CliRunner().invoke(app, ['--help']).output); "
        "print(sorted({'torch', 'faiss', 'sqlalchemy', 'strawberry', 'openai', 'numpy'} & sys.modules.keys()))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    told = subprocess.run(
        [sys.executable, "-c", script],
        env=home.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert told.stdout.strip().endswith("[]")
    assert all(name in told.stdout for name in ("serve", "migrate", "token", "import", "audit", "schema"))
    assert "启动服务" in told.stdout
    assert used < 0.5


@pytest.mark.parametrize(
    ("environment", "chinese"),
    [
        ({"SORTIE_LANGUAGE": "zh", "LANG": "en_US.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LC_ALL": "en_GB.UTF-8", "LANG": "zh_CN.UTF-8"}, False),
        ({"SORTIE_LANGUAGE": "en", "LANG": "zh_CN.UTF-8"}, False),
        ({}, False),
    ],
)
def test_the_reader_is_spoken_to_in_their_language(environment: dict[str, str], chinese: bool) -> None:
    assert reader_is_chinese(environment) is chinese


def test_migrating_twice_is_told(home: Home) -> None:
    first, second = home.run("migrate"), home.run("migrate")
    assert (first.returncode, second.returncode) == (0, 0)
    assert (first.stdout, second.stdout) == ("", "")
    assert "已应用" in first.stderr
    assert "已是最新" in second.stderr


def test_stdout_is_the_token_alone(seeded: Home) -> None:
    found = seeded.run("token", "ke.sun@example.com")
    assert found.returncode == 0
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", found.stdout)
    assert stat.S_IMODE((seeded.path / "token.key").stat().st_mode) == 0o600


def test_refusals_are_one_line_in_the_readers_language(seeded: Home, home: Home) -> None:
    unknown = seeded.run("token", "nobody@example.com")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "错误：用户不存在或已停用\n"
    assert (
        seeded.run("token", "nobody@example.com", SORTIE_LANGUAGE="en").stderr == "error: no such user, or disabled\n"
    )
    outdated = home.run("token", "ke.sun@example.com")
    assert outdated.returncode == 1
    assert "sortie migrate" in outdated.stderr
    assert list(home.path.iterdir()) == []
    assert "SORTIE_PORT" in home.run("serve", SORTIE_PORT="99999").stderr


def test_the_demo_company_goes_into_an_empty_database_only(seeded: Home) -> None:
    found = seeded.run("demo")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "错误：数据库中已有数据，演示公司只加载到空库\n"


def test_imports_say_what_came_in_and_what_cannot_be_read(home: Home) -> None:
    entry = {
        "id": "kb-1",
        "kind": "faq",
        "language": "zh",
        "title": "设备多久保养一次",
        "body": "每季度保养一次。",
        "licence": "MIT",
    }
    home.path.mkdir()
    (home.path / "kb.jsonl").write_text(json.dumps(entry, ensure_ascii=False), encoding="utf-8")
    taken = home.run("import", "knowledge", "kb.jsonl")
    assert taken.returncode == 0, taken.stderr
    assert "读取 1" in taken.stdout
    for what in ("crm", "knowledge"):
        missing = home.run("import", what, "nowhere")
        assert (missing.returncode, missing.stdout) == (1, "")
        assert missing.stderr.startswith("错误：")
        assert "nowhere" in missing.stderr


def test_a_model_directory_that_is_not_there_is_told(seeded: Home) -> None:
    found = seeded.run("serve", "--port", "0", SORTIE_EMBEDDING_DIRECTORY="/nowhere/model")
    assert found.returncode == 1
    assert found.stderr == "错误：模型目录不存在：/nowhere/model\n"


def test_a_locked_database_is_told(home: Home) -> None:
    assert home.run("migrate").returncode == 0
    with sqlite3.connect(home.path / "sortie.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        found = home.run("migrate", SORTIE_DATABASE_URL=f"sqlite:///{home.path}/sortie.db?timeout=0.1")
        other.execute("ROLLBACK")
    other.close()
    assert found.returncode == 1
    assert found.stderr == "错误：数据库正被其他进程占用，请稍后重试\n"


def test_production_does_not_serve_with_a_generated_key_or_an_old_schema(home: Home, seeded: Home) -> None:
    assert "sortie migrate" in home.run("serve", "--port", "0", SORTIE_ENV="production").stderr
    found = seeded.run("serve", "--port", "0", SORTIE_ENV="production")
    assert found.returncode == 1
    assert "SORTIE_TOKEN_KEY_FILE" in found.stderr


def test_the_schema_is_printed(home: Home) -> None:
    found = home.run("schema")
    assert found.returncode == 0
    assert found.stdout == (ROOT / "api" / "schema.graphql").read_text(encoding="utf-8")


def test_an_audit_ends_with_0_for_a_sound_ledger_and_1_for_another(seeded: Home, home: Home) -> None:
    with running(seeded):
        pass
    shutil.copytree(seeded.path, home.path)
    sound = home.run("audit", "verify")
    assert sound.returncode == 0
    assert "可信" in sound.stderr
    head = json.loads(sound.stdout)
    assert head["size"] >= 2
    assert home.run("audit", "verify", "--head", sound.stdout.strip()).returncode == 0
    (home.path / "head").write_text(sound.stdout)
    assert home.run("audit", "verify", "--head", f"@{home.path}/head").returncode == 0
    assert "不是账本头" in home.run("audit", "verify", "--head", "{}").stderr
    with sqlite3.connect(home.path / "sortie.db") as database:
        database.execute("UPDATE audit_events SET action = 'user.promoted' WHERE seq = 2")
    database.close()
    forged = home.run("audit", "verify")
    assert forged.returncode == 1
    assert "错误" in forged.stderr


# ---- a running server --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(seeded: Home) -> Iterator[str]:
    """The address of a running server."""
    with running(seeded) as address:
        yield address


@pytest.fixture(scope="module")
def token(seeded: Home) -> str:
    return seeded.run("token", "ke.sun@example.com").stdout.strip()


def post(address: str, query: str, **headers: str) -> httpx2.Response:
    return httpx2.post(f"http://{address}/graphql", json={"query": query}, headers=headers)


def test_ready_means_that_anybody_gets_an_answer(address: str) -> None:
    answer = post(address, "{__typename}")
    assert (answer.status_code, answer.json()["data"]) == (200, {"__typename": "Query"})
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


def test_a_bearer_is_known_and_a_bad_token_is_refused_in_words(address: str, token: str) -> None:
    known = post(address, "{viewer{name roles}}", authorization=f"Bearer {token}")
    assert known.json()["data"] == {"viewer": {"name": "孙可", "roles": ["AUDITOR"]}}
    assert post(address, "{viewer{name}}").json()["data"] == {"viewer": None}
    bad = post(address, "{__typename}", authorization=f"Bearer {token}x", **{"accept-language": "zh-CN"})
    assert bad.status_code == 401
    assert bad.json()["errors"] == [{"message": "访问令牌无效", "extensions": {"code": "UNAUTHENTICATED"}}]


def test_the_ledger_is_sealed_while_the_server_runs(address: str, token: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        query = "{verifyLedger{sound events sealed}}"
        found = post(address, query, authorization=f"Bearer {token}").json()["data"]["verifyLedger"]
        if found["sealed"] == found["events"] or time.monotonic() > deadline:
            break
    assert found == {"sound": True, "events": found["sealed"], "sealed": found["sealed"]}
    assert found["sealed"] >= 2


@pytest.mark.parametrize(
    "body", ["null", "1", '"x"', "[]", "{", '{"query": 1}', "\x00", '{"query":"\\ud800"}', "[" * 5000]
)
def test_what_is_no_request_is_refused_as_such(address: str, body: str) -> None:
    answer = httpx2.post(f"http://{address}/graphql", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"]["code"] == "INVALID"


def test_the_page_and_its_files_come_from_here_alone(address: str) -> None:
    page = httpx2.get(f"http://{address}/graphql", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"graphql/ide/graphiql.js", "graphql/ide/graphiql.css"} <= set(addresses)
    assert not [one for one in addresses if "//" in one]
    for one in addresses:
        if one != "data:,":
            assert httpx2.get(f"http://{address}/{one}").status_code == 200
    assert httpx2.get(f"http://{address}/graphql/ide/package.json").status_code == 404


def test_an_event_stream_is_for_those_who_ask_for_it_first(address: str) -> None:
    streamed = post(address, "{__typename}", accept="text/event-stream, application/json")
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert 'data: {"data":{"__typename":"Query"},' in streamed.text
    plain = post(address, "{__typename}", accept="application/json, text/event-stream")
    assert plain.headers["content-type"] == "application/json"


def socket(address: str, protocol: str = "graphql-transport-ws", **headers: str) -> ClientConnection:
    return connect(f"ws://{address}/graphql", subprotocols=[protocol], additional_headers=headers)  # type: ignore[list-item]


COST = {"cost": {"requested": 1, "limit": 10_000}}


def ask(open_socket: ClientConnection, **payload: str) -> list[dict[str, object]]:
    """Open the conversation, ask who is asking, and return what comes back."""
    open_socket.send(json.dumps({"type": "connection_init", "payload": payload}))
    told = [json.loads(open_socket.recv())]
    open_socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": "{viewer{name}}"}}))
    return told + [json.loads(open_socket.recv()) for _ in range(2)]


def test_a_socket_is_admitted_by_its_first_message_or_its_handshake(address: str, token: str) -> None:
    def expected(name: str | None) -> list[dict[str, object]]:
        viewer = {"name": name} if name else None
        return [
            {"type": "connection_ack"},
            {"id": "1", "type": "next", "payload": {"data": {"viewer": viewer}, "extensions": COST}},
            {"id": "1", "type": "complete"},
        ]

    with socket(address) as one, socket(address, Authorization=f"Bearer {token}") as two, socket(address) as three:
        assert ask(one, Authorization=f"Bearer {token}") == expected("孙可")
        assert ask(two) == expected("孙可")
        assert ask(three) == expected(None)


def closing_code(open_socket: ClientConnection) -> int | None:
    """The code with which the server closes."""
    with pytest.raises(ConnectionClosedError):
        open_socket.recv()
    return open_socket.close_code


def test_a_socket_with_a_bad_token_or_of_another_kind_is_closed(address: str) -> None:
    with socket(address) as bad:
        bad.send(json.dumps({"type": "connection_init", "payload": {"authorization": "Bearer nonsense"}}))
        assert closing_code(bad) == 4403
    with socket(address, "graphql-ws") as old:
        assert closing_code(old) == 4406


def test_a_demo_load_that_was_killed_is_begun_anew(home: Home) -> None:
    """Without the mark the half company that is left counts as a database with data, and stays."""
    home.path.mkdir()
    loading = subprocess.Popen([*COMMAND, "demo"], env=home.environment(), cwd=home.path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + READY_SECONDS
    while not _accounts(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    loading.kill()
    loading.wait()
    half = _accounts(home)
    assert half
    again = home.run("demo")
    assert again.returncode == 0, again.stderr
    assert _accounts(home) == 16 > half
    assert (home.path / "half-loaded-sortie.db").exists()


def _accounts(home: Home) -> int:
    if not (home.path / "sortie.db").exists():
        return 0
    with sqlite3.connect(home.path / "sortie.db") as database:
        try:
            count = database.execute("SELECT count(*) FROM accounts").fetchone()[0]
        except sqlite3.OperationalError:
            count = 0
    database.close()
    return int(count)
