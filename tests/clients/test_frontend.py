"""The clients that frontend teams use, against a real server: Apollo, urql, graphql-ws, Relay and its compiler, GraphQL Code Generator."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.installation import ROOT, Home, running

FRONTEND = Path(__file__).parent / "frontend"
NPM = shutil.which("npm")
pytestmark = [
    pytest.mark.skipif(NPM is None, reason="there is no Node.js on this machine"),
    pytest.mark.xdist_group("frontend"),
]


@dataclass(frozen=True)
class Live:
    """A server with the demo company, and a rep's token."""

    url: str
    token: str


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    home = Home(tmp_path_factory.mktemp("frontend") / "var")
    assert home.run("demo").returncode == 0
    with running(home) as address:
        yield Live(f"http://{address}/graphql", home.run("token", "lei.zhang@example.com").stdout.strip())


@pytest.fixture(scope="module")
def modules() -> Path:
    """The clients' packages, installed as the lock file says, once."""
    lock, there = FRONTEND / "package-lock.json", FRONTEND / "node_modules" / ".package-lock.json"
    with (FRONTEND / ".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not there.exists() or there.stat().st_mtime < lock.stat().st_mtime:
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=FRONTEND)
            there.touch()
    return FRONTEND / "node_modules"


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command to a good end; its stdout."""
    program = shutil.which(command[0]) or command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=cwd, capture_output=True, text=True, check=False, timeout=300, encoding="utf-8", env=os.environ | environment
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def workshop(name: str, folder: Path, modules: Path) -> Path:
    """A copy of a folder of the frontend's sources in which compilers may write."""
    made = folder / name
    shutil.copytree(FRONTEND / name, made)
    (folder / "node_modules").symlink_to(modules)
    return made


def test_apollo_urql_and_graphql_ws_work_with_the_server(live: Live, modules: Path) -> None:
    out = run("node", "check.mjs", live.url, live.token, cwd=modules.parent)
    checks = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert len(checks) == 8
    assert all(check["ok"] for check in checks)


def test_relay_compiles_against_the_schema_and_runs(live: Live, modules: Path, tmp_path: Path) -> None:
    folder = workshop("relay", tmp_path, modules)
    shutil.copy(ROOT / "api" / "schema.graphql", folder / "schema.graphql")
    wanted = {"src": "./", "schema": "./schema.graphql", "language": "javascript", "eagerEsModules": True}
    (folder / "relay.config.json").write_text(json.dumps(wanted))
    run("node", str(modules / "relay-compiler" / "cli.js"), "relay.config.json", cwd=folder)
    assert json.loads(run("node", "run.mjs", live.url, live.token, cwd=folder))["ok"]


def test_generated_types_compile(live: Live, modules: Path, tmp_path: Path) -> None:
    folder = workshop("codegen", tmp_path, modules)
    tool = modules / "@graphql-codegen" / "cli" / "cjs" / "bin.js"
    run("node", str(tool), "--config", "codegen.mjs", cwd=folder, URL=live.url, TOKEN=live.token)
    run("node", str(modules / "typescript" / "bin" / "tsc"), "--project", "tsconfig.json", cwd=folder)


LEVELS = {"MUST": 13, "SHOULD": 23, "MAY": 20}
"""How many audits of each level have to hold at least; there are 13, 23 and 25."""


def test_the_audits_of_graphql_over_http_hold(live: Live, modules: Path) -> None:
    """Without the negotiation of media types 8 of 23 SHOULD fail, without the strict reading of bodies some MAY as well."""
    out = run("node", "audits.mjs", live.url, live.token, cwd=modules.parent)
    audits = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    failed = [f"{audit['id']} {audit['name']}: {audit['reason']}" for audit in audits if audit["status"] != "ok"]
    for level, wanted in LEVELS.items():
        held = sum(audit["status"] == "ok" for audit in audits if audit["name"].startswith(level))
        assert held >= wanted, "\n".join(failed)
