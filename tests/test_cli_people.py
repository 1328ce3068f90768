"""People kept at the terminal while a server runs: what the command says, and what the next request finds."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

from api.cli import app, terminal
from api.settings import Settings
from domain import accounts, people
from domain.kernel import SYSTEM, Database
from domain.ledger import LedgerRecorder
from migrations import migrate
from tests.factories import add_territories
from tests.installation import Home, running

PASSWORD = "正确的长密码 2026 年"


@pytest.fixture(scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with territories, a brand and three accounts, and nobody in it."""
    home = Home(tmp_path_factory.mktemp("people"))
    settings = Settings(home=home.path)
    await migrate(settings.database)
    database = Database(settings.database, LedgerRecorder())
    await add_territories(database)
    async with database.open_uow(SYSTEM) as uow:
        for name in ("华山医院", "同名客户", "同名客户"):
            await accounts.create_account(uow, name=name)
    await database.close()
    return home


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    with running(home) as address:
        yield address


@pytest.fixture(autouse=True)
def in_chinese(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run in this process, apart from the server's: starting one for each line takes longer than the rest."""
    monkeypatch.setattr(terminal, "CHINESE", True)
    monkeypatch.chdir(home.path)


def user(home: Home, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["user", *arguments], input=stdin, env=home.environment())


def did(home: Home, *arguments: str, stdin: str = "") -> str:
    found = user(home, *arguments, stdin=stdin)
    assert found.exit_code == 0, found.output
    return found.stdout


def refused(home: Home, *arguments: str, stdin: str = "") -> str:
    found = user(home, *arguments, stdin=stdin)
    assert (found.exit_code, found.stdout, found.stderr.count("\n")) == (1, "", 1), found.output
    assert found.stderr.startswith("错误：")
    return found.stderr


def viewer(address: str, token: str) -> tuple[int, object]:
    answer = httpx2.post(
        f"http://{address}/graphql", json={"query": "{ viewer { name roles } }"}, headers={"authorization": f"Bearer {token}"}
    )  # fmt: skip
    data = answer.json().get("data")
    return answer.status_code, data and data["viewer"]


def test_a_day_at_the_terminal_beside_a_running_server(home: Home, address: str) -> None:
    did(home, "add", "admin@example.com", "--name", "管理员", "--password-stdin", stdin=f"{PASSWORD}\n")
    did(home, "grant", "admin@example.com", "admin")
    did(home, "add", "lei.zhang@example.com", "--name", "张磊")
    did(home, "grant", "lei.zhang@example.com", "REP", "--territory", "华东")
    did(home, "grant", "lei.zhang@example.com", "CSM", "--account", "华山医院", "--until", "2099-12-31")
    rows = dict(line.split("\t", 1) for line in did(home, "list").splitlines())
    assert rows["lei.zhang@example.com"] == "张磊\tUSER\t启用\tCSM@“华山医院”<2099-12-31, REP@east-china"
    assert rows["admin@example.com"].endswith("ADMIN")

    token = home.run("token", "lei.zhang@example.com").stdout.strip()
    assert viewer(address, token) == (200, {"name": "张磊", "roles": ["CSM", "REP"]})
    did(home, "revoke", "lei.zhang@example.com", "CSM", "--account", "华山医院")
    assert viewer(address, token) == (200, {"name": "张磊", "roles": ["REP"]})
    did(home, "disable", "lei.zhang@example.com")
    assert viewer(address, token)[0] == 401
    assert "\t已停用\t" in did(home, "list")
    did(home, "enable", "lei.zhang@example.com")
    assert viewer(address, token)[0] == 200

    with httpx2.Client(base_url=f"http://{address}") as browser:
        login = {"email": "admin@example.com", "password": PASSWORD}
        signed_in = browser.post("/auth/login", json=login)
        assert viewer(address, signed_in.json()["accessToken"]) == (200, {"name": "管理员", "roles": ["ADMIN"]})
        did(home, "password", "admin@example.com", "--password-stdin", stdin="换了一个新的长密码 2027\n")
        assert browser.post("/auth/token").status_code == 401
        assert browser.post("/auth/login", json=login).status_code == 401
        page = browser.get("/auth/sign-in", headers={"accept-language": "zh"})
        assert "登录 Sortie" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]

    did(home, "add", "erp@example.com", "--name", "ERP 同步", "--service")
    did(home, "grant", "erp@example.com", "FINANCE")
    key = did(home, "key", "add", "erp@example.com", "--label", "订单", "--scope", "read").strip()
    assert key.startswith("sk_sortie_")
    assert viewer(address, key) == (200, {"name": "ERP 同步", "roles": ["FINANCE"]})
    id, label, scopes, _end, state, used = did(home, "key", "list", "erp@example.com").strip().split("\t")
    assert (label, scopes, state) == ("订单", "READ", "有效")
    assert used != "-"
    did(home, "key", "revoke", id)
    assert viewer(address, key)[0] == 401
    assert did(home, "key", "list", "erp@example.com").split("\t")[4] == "已吊销"

    assert "最后一位系统管理员" in refused(home, "disable", "admin@example.com")
    assert "最后一位系统管理员" in refused(home, "revoke", "admin@example.com", "ADMIN")


REFUSED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("add", "张磊", "--name", "张磊"), "不是邮箱地址"),
    (("add", "a@example.com", "--name", "张磊", "--language", "fr"), "zh 或 en"),
    (("add", "a@example.com", "--name", "张磊", "--password-stdin"), "12 到 200"),
    (("grant", "nobody@example.com", "REP"), "没有邮箱为"),
    (("grant", "x@example.com", "BOSS"), "没有角色"),
    (("grant", "x@example.com", "REP", "--territory", "华北"), "没有“华北”"),
    (("grant", "x@example.com", "REP", "--account", "无此客户"), "没有客户"),
    (("grant", "x@example.com", "REP", "--account", "同名客户"), "多个客户"),
    (("grant", "x@example.com", "REP", "--until", "31.12.2026"), "2026-12-31"),
    (("grant", "x@example.com", "REP", "--until", "2020-01-01"), "已过"),
    (("grant", "x@example.com", "REP", "--from", "2020-01-01"), "已过"),
    (("revoke", "x@example.com", "REP"), "没有这样的授权"),
    (("disable", "nobody@example.com"), "没有邮箱为"),
    (("password", "x@example.com", "--password-stdin"), "12 到 200"),
    (("key", "add", "x@example.com", "--label", "x"), "服务账号"),
    (("key", "add", "x@example.com", "--label", "x", "--scope", "all"), "read、write"),
    (("key", "revoke", "nonsense"), "找不到"),
)


def test_what_cannot_be_is_told_in_one_line_and_changes_nothing(home: Home) -> None:
    did(home, "add", "x@example.com", "--name", "某人")
    before = did(home, "list")
    for arguments, words in REFUSED:
        assert words in refused(home, *arguments, stdin="短\n"), arguments
    assert did(home, "list") == before


def test_help_is_in_the_readers_language(home: Home) -> None:
    assert "授予角色" in home.run("user", "--help").stdout
    english = home.run("user", "--help", SORTIE_LANGUAGE="en").stdout
    assert "Give a role" in english
    for command in ("add", "list", "grant", "revoke", "disable", "enable", "password", "key"):
        assert command in english


def test_passwords_enter_no_file_of_the_home(home: Home, tmp_path: Path) -> None:
    did(home, "add", "li@example.com", "--name", "李", "--password-stdin", stdin="这个密码不能落在磁盘上 88\n")
    held = b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    assert "这个密码不能落在磁盘上".encode() not in held
    assert json.dumps("这个密码不能落在磁盘上").strip('"').encode() not in held
    assert people.PREFIX.encode() not in held
