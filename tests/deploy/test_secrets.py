"""Secrets that an orchestrator lays down as files: settings in a folder, keys that root shares with one group."""

import os
from pathlib import Path

import pytest

from api.secret_files import read_key
from domain.kernel import Unavailable
from tests.installation import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "var")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


def test_a_setting_comes_from_its_file(home: Home, secrets: Path) -> None:
    database = home.path / "数据.db"
    (secrets / "SORTIE_DATABASE_URL").write_text(f"sqlite:///{database}\n", encoding="utf-8")
    done = home.run("migrate", SORTIE_SECRETS=str(secrets))
    assert done.returncode == 0, done.stderr
    assert database.exists()
    assert not (home.path / "sortie.db").exists()


def test_the_environment_wins_over_a_file(home: Home, secrets: Path) -> None:
    (secrets / "SORTIE_DATABASE_URL").write_text(f"sqlite:///{home.path}/other.db", encoding="utf-8")
    done = home.run("migrate", SORTIE_SECRETS=str(secrets), SORTIE_DATABASE_URL=f"sqlite:///{home.path}/mine.db")
    assert done.returncode == 0, done.stderr
    assert (home.path / "mine.db").exists()
    assert not (home.path / "other.db").exists()


def test_an_empty_file_and_what_is_no_setting_are_left_alone(home: Home, secrets: Path) -> None:
    (secrets / "SORTIE_DATABASE_URL").touch()
    (secrets / "PATH").write_text("/nowhere", encoding="utf-8")
    (secrets / "ledger.key").write_bytes(b"\xff\xfe")
    (secrets / "..data").symlink_to(secrets)
    done = home.run("migrate", SORTIE_SECRETS=str(secrets))
    assert done.returncode == 0, done.stderr
    assert (home.path / "sortie.db").exists()


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["no folder", "no text"])
def test_secrets_that_cannot_be_read_are_told(home: Home, secrets: Path, content: bytes | None) -> None:
    if content is None:
        secrets.rmdir()
    else:
        (secrets / "SORTIE_DATABASE_URL").write_bytes(content)
    done = home.run("migrate", SORTIE_SECRETS=str(secrets))
    assert done.returncode == 1
    assert done.stderr.startswith("错误：SORTIE_SECRETS")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to root")
@pytest.mark.parametrize(("owner", "mode", "taken"), [(0, 0o440, True), (0, 0o444, False), (0, 0o460, False), (10001, 0o440, False), (10001, 0o400, True)])  # fmt: skip
def test_a_group_reads_a_key_of_roots_alone(secrets: Path, owner: int, mode: int, taken: bool) -> None:
    path = secrets / "ledger.key"
    path.write_text("ab" * 32, encoding="ascii")
    os.chown(path, owner, 10001)
    path.chmod(mode)
    if taken:
        assert read_key(path) == b"\xab" * 32
    else:
        with pytest.raises(Unavailable):
            read_key(path)
