"""Backups, restores and the ledger as a file, by the command, with the server running beside."""

import json
import shutil
import sqlite3
from pathlib import Path
from zipfile import ZipFile

import httpx2
import pytest

from tests.installation import Home, running


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An installation with the demo company, its ledger sealed."""
    home = Home(tmp_path_factory.mktemp("company") / "var")
    assert home.run("demo").returncode == 0
    with running(home):
        pass
    return home


@pytest.fixture
def home(company: Home, tmp_path: Path) -> Home:
    """A copy of it for one test."""
    shutil.copytree(company.path, tmp_path / "var")
    return Home(tmp_path / "var")


def write(address: str, home: Home, key: str) -> str:
    """Log an activity on the rep's first account; the account's name."""
    bearer = {"authorization": f"Bearer {home.run('token', 'lei.zhang@example.com').stdout.strip()}"}
    url = f"http://{address}/graphql"
    found = httpx2.post(url, json={"query": "{accounts(first: 1){edges{node{id name}}}}"}, headers=bearer).json()
    account = found["data"]["accounts"]["edges"][0]["node"]
    given = {"clientKey": key, "relatedToId": account["id"], "kind": "VISIT", "subject": "备份前的拜访"}
    query = "mutation($input: LogActivityInput!){logActivity(input: $input){activity{id} errors{message}}}"
    answer = httpx2.post(url, json={"query": query, "variables": {"input": given}}, headers=bearer).json()
    assert answer["data"]["logActivity"]["errors"] == []
    return str(account["name"])


def activities(home: Home) -> int:
    with sqlite3.connect(home.path / "sortie.db") as database:
        count = database.execute("SELECT count(*) FROM activities WHERE client_key LIKE 'backup%'").fetchone()[0]
    database.close()
    return int(count)


def test_a_backup_of_a_running_server_comes_back_with_a_sound_ledger(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "晚间.zip"
    with running(home) as address:
        write(address, home, "backup-1")
        made = home.run("backup", str(file))
        assert made.returncode == 0, made.stderr
        assert "账本可信" in made.stderr
        write(address, home, "backup-2")
    with ZipFile(file) as whole:
        assert sorted(whole.namelist()) == ["ledger-heads.jsonl", "manifest.json", "sortie.db"]
        assert json.loads(whole.read("manifest.json"))["events"] > 1000
    refused = home.run("restore", str(file))
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    assert activities(home) == 2

    restored = home.run("restore", str(file), "--replace")

    assert restored.returncode == 0, restored.stderr
    assert activities(home) == 1
    kept = [path.name for path in home.path.glob("*.before-restore-*")]
    assert len(kept) == 2, "the database and the heads that were newer are put aside, not deleted"
    with running(home):
        pass
    verified = home.run("audit", "verify")
    assert verified.returncode == 0, verified.stderr


def test_a_restore_into_an_open_database_is_refused(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    assert home.run("backup", str(file)).returncode == 0
    assert "已存在" in home.run("backup", str(file)).stderr
    with running(home):
        refused = home.run("restore", str(file), "--replace")
    assert refused.returncode == 1
    assert "正在使用中" in refused.stderr


def test_a_damaged_backup_changes_nothing(home: Home, tmp_path: Path) -> None:
    file, bent = tmp_path / "backup.zip", tmp_path / "bent.zip"
    assert home.run("backup", str(file)).returncode == 0
    with ZipFile(file) as whole, ZipFile(bent, "w") as other:
        for name in whole.namelist():
            other.writestr(name, whole.read(name) + (b"x" if name == "sortie.db" else b""))
    before = (home.path / "sortie.db").read_bytes()
    for broken in (bent, home.path / "ledger.key"):
        refused = home.run("restore", str(broken), "--replace")
        assert refused.returncode == 1
        assert refused.stderr.startswith("错误：")
    assert (home.path / "sortie.db").read_bytes() == before


def test_nobody_backs_up_a_ledger_that_is_not_sound(home: Home, tmp_path: Path) -> None:
    with sqlite3.connect(home.path / "sortie.db") as database:
        database.execute("UPDATE audit_events SET action = 'user.promoted' WHERE seq = 5")
    database.close()
    refused = home.run("backup", str(tmp_path / "backup.zip"))
    assert refused.returncode == 1
    assert "账本不可信" in refused.stderr
    assert not (tmp_path / "backup.zip").exists()


def test_the_ledger_as_a_file_is_verified_without_the_installation(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "账本.jsonl"
    assert home.run("audit", "export", str(file)).returncode == 0
    elsewhere = Home(tmp_path / "auditor")
    sound = elsewhere.run("audit", "verify", "--file", str(file))
    assert sound.returncode == 0, sound.stderr
    assert not list(elsewhere.path.iterdir()), "nothing is made on the auditor's machine"
    head = sound.stdout.strip()
    assert elsewhere.run("audit", "verify", "--file", str(file), "--head", head).returncode == 0
    other_key = elsewhere.run("audit", "verify", "--file", str(file), "--public-key", "00" * 32)
    assert other_key.returncode == 1


@pytest.mark.parametrize("kind", ["edit", "delete", "swap", "insert", "cut tail", "forge key"])
def test_every_tampering_with_the_file_is_found(kind: str, exported: Path, tmp_path: Path) -> None:
    lines = exported.read_text(encoding="utf-8").splitlines()
    first = next(at for at, line in enumerate(lines) if '"event"' in line)
    if kind == "edit":
        lines[first + 3] = lines[first + 3].replace('"action":"', '"action":"x')
    elif kind == "delete":
        del lines[first + 3]
    elif kind == "swap":
        one, two = (json.loads(lines[first + at]) for at in (3, 4))
        one["event"], two["event"], one["digest"], two["digest"] = (
            two["event"],
            one["event"],
            two["digest"],
            one["digest"],
        )
        lines[first + 3], lines[first + 4] = json.dumps(one), json.dumps(two)
    elif kind == "insert":
        lines.insert(first + 3, lines[first + 3])
    elif kind == "cut tail":
        del lines[-2:]
    else:
        lines[0] = lines[0].replace(json.loads(lines[0])["public_key"], "11" * 32)
    bent = tmp_path / "bent.jsonl"
    bent.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = Home(tmp_path / "auditor").run("audit", "verify", "--file", str(bent))
    assert found.returncode == 1
    assert "错误" in found.stderr


@pytest.fixture(scope="module")
def exported(company: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed ledger as a file."""
    file = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    assert company.run("audit", "export", str(file)).returncode == 0
    return file
