"""Trusted documents: manifests in the field's forms, asked for by id on every door, with a mode that takes nothing else."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.sync.client import ClientConnection

from api.documents import Documents
from api.limits import KEPT_DOCUMENTS, Limits
from api.schema import graphql_schema
from api.trusted import collect, hash_of, listed, read_manifest, write_manifest
from domain.kernel import Invalid
from tests.api.test_edge.conftest import Edge
from tests.api.test_edge.test_sockets import begin, opened, send
from tests.installation import Home, running

VIEWER = "query Who { viewer { name } }"
ACCOUNTS = "query Accounts($first: Int!) { accounts(first: $first) { totalCount } }"
STREAM = "subscription Draft($input: DraftGenerationInput!) { generationStream(input: $input) { section { key } } }"
MANIFEST = {hash_of(VIEWER): VIEWER, "客户列表": ACCOUNTS, "draft": STREAM}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("trusted") / "manifest.json"
    file.write_bytes(write_manifest(MANIFEST))
    return file


@pytest.fixture(scope="module")
def strict(edge_home: Home, edge: Edge, manifest: Path) -> Iterator[Edge]:
    """A server that takes trusted documents alone."""
    with running(edge_home, SORTIE_TRUSTED_DOCUMENTS=str(manifest), SORTIE_TRUSTED_ONLY="true") as address:
        yield Edge(address, edge.token, edge_home)


@pytest.fixture(scope="module")
def open_minded(edge_home: Home, edge: Edge, manifest: Path) -> Iterator[Edge]:
    """A server that knows trusted documents and takes others too."""
    with running(edge_home, SORTIE_TRUSTED_DOCUMENTS=str(manifest)) as address:
        yield Edge(address, edge.token, edge_home)


def post(edge: Edge, language: str = "zh", **body: Any) -> httpx2.Response:
    return httpx2.post(edge.url, json=body, headers=edge.bearer | {"accept-language": language})


def received(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=10))


def told(answer: httpx2.Response) -> tuple[int, str, str]:
    error = answer.json()["errors"][0]
    return answer.status_code, error["extensions"]["code"], error["message"]


def test_a_document_is_asked_for_by_its_id(strict: Edge, open_minded: Edge) -> None:
    apollo = {"persistedQuery": {"version": 1, "sha256Hash": hash_of(VIEWER)}}
    for edge in (strict, open_minded):
        for named in (
            {"documentId": hash_of(VIEWER)},
            {"id": hash_of(VIEWER)},
            {"extensions": apollo},
            {"query": VIEWER},
        ):
            assert post(edge, **named).json()["data"] == {"viewer": {"name": "张磊"}}, named
        assert post(edge, query=VIEWER, extensions=apollo).json()["data"] == {"viewer": {"name": "张磊"}}
        found = post(edge, documentId="客户列表", variables={"first": 3}).json()
        assert found["data"] == {"accounts": {"totalCount": 0}}
        assert found["extensions"]["cost"]["requested"] > 0
        got = httpx2.get(edge.url, params={"documentId": hash_of(VIEWER)}, headers=edge.bearer)
        assert got.json()["data"] == {"viewer": {"name": "张磊"}}
        got = httpx2.get(edge.url, params={"extensions": json.dumps(apollo)}, headers=edge.bearer)
        assert got.json()["data"] == {"viewer": {"name": "张磊"}}


def test_limits_and_sign_in_hold_for_trusted_documents_too(strict: Edge) -> None:
    assert told(post(strict, documentId="客户列表", variables={"first": 101}))[1] == "INVALID"
    assert (
        httpx2.post(strict.url, json={"documentId": "客户列表", "variables": {"first": 1}}).json()["errors"][0][
            "extensions"
        ]["code"]
        == "UNAUTHENTICATED"
    )


def test_nothing_else_is_taken_where_only_they_are(strict: Edge, open_minded: Edge) -> None:
    for text in ("{ viewer { name } }", VIEWER + " ", "{ __schema { types { name } } }", "{"):
        assert told(post(strict, query=text))[:2] == (403, "FORBIDDEN"), text
    assert "已登记" in told(post(strict, query="{ viewer { id } }"))[2]
    assert "registered" in told(post(strict, "en", query="{ viewer { id } }"))[2]
    own = "{ viewer { id } }"
    apollo = {"persistedQuery": {"version": 1, "sha256Hash": hash_of(own)}}
    assert told(post(strict, query=own, extensions=apollo))[:2] == (403, "FORBIDDEN")
    assert post(open_minded, query=own, extensions=apollo).status_code == 200
    # Registered by nobody: what was sent once with its hash is not known the next time.
    assert told(post(open_minded, extensions=apollo))[:2] == (400, "INVALID")


@pytest.mark.parametrize(
    "named",
    [
        {"documentId": "没有这一个"},
        {"id": "nobody"},
        {"documentId": 7},
        {"documentId": ["draft"]},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab"}}},
        {"extensions": {"persistedQuery": 1}},
        {"documentId": "draft", "id": "draft"},
        {"documentId": "draft", "query": STREAM},
        {"documentId": ""},
    ],
)
def test_what_names_no_document_is_refused(strict: Edge, open_minded: Edge, named: dict[str, Any]) -> None:
    for edge in (strict, open_minded):
        assert told(post(edge, **named))[:2] == (400, "INVALID")


def test_sockets_take_ids_and_nothing_else(strict: Edge) -> None:
    with opened(strict.address) as socket:
        begin(socket, strict.token)
        send(socket, type="subscribe", id="1", payload={"documentId": hash_of(VIEWER)})
        assert received(socket)["payload"]["data"] == {"viewer": {"name": "张磊"}}
        assert received(socket)["type"] == "complete"
        variables = {"input": {"kind": "VISIT_BRIEF", "subjectId": "x", "clientKey": "1"}}
        send(socket, type="subscribe", id="2", payload={"documentId": "draft", "variables": variables})
        assert received(socket)["payload"]["errors"][0]["extensions"]["code"] in {"INVALID", "NOT_FOUND"}
        send(socket, type="subscribe", id="3", payload={"query": "{ viewer { id } }"})
        while (message := received(socket))["id"] != "3":
            pass
        assert message["type"] == "error"
        assert message["payload"][0]["extensions"]["code"] == "FORBIDDEN"


def test_probes_and_the_page_stay(strict: Edge) -> None:
    assert httpx2.get(f"http://{strict.address}/livez").status_code == 200
    assert httpx2.get(strict.url, headers={"accept": "text/html"}).status_code == 200


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('{"甲": "{ viewer { 名字 } }"}', "甲"),
        ('{"b": "{ viewer { nothing } }"}', "b: Cannot query field 'nothing' on type 'User'. (1:12)"),
        (json.dumps({"0" * 64: VIEWER}), "SHA-256"),
        ('{"a": 1}', "'a'"),
        ("[]", "None"),
        ("{", "JSON"),
        (
            json.dumps({"format": "apollo-persisted-query-manifest", "operations": [{"id": "a", "body": VIEWER}] * 2}),
            "twice",
        ),
    ],
)
def test_a_manifest_that_cannot_be_served_stops_the_start(tmp_path: Path, written: str, words: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(written, encoding="utf-8")
    with pytest.raises(Invalid) as told:
        read_manifest(file, graphql_schema)
    assert words in told.value.text.en
    assert str(file) in told.value.text.zh
    home = Home(tmp_path / "var")
    ended = home.run("serve", "--port", "0", SORTIE_TRUSTED_DOCUMENTS=str(file))
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr


def test_the_mode_needs_a_manifest(tmp_path: Path) -> None:
    ended = Home(tmp_path / "var").run("serve", "--port", "0", SORTIE_TRUSTED_ONLY="true")
    assert ended.returncode != 0
    assert "SORTIE_TRUSTED_DOCUMENTS" in ended.stderr


def test_apollos_form_is_read(tmp_path: Path) -> None:
    file = tmp_path / "apollo.json"
    operation = {"id": hash_of(VIEWER), "name": "Who", "type": "query", "body": VIEWER}
    file.write_text(json.dumps({"format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation]}))
    assert read_manifest(file, graphql_schema) == {hash_of(VIEWER): VIEWER}


def test_trusted_documents_are_never_forgotten() -> None:
    documents = Documents(graphql_schema)
    documents.trust((VIEWER,))
    known = documents.find(VIEWER, None, Limits())
    for number in range(KEPT_DOCUMENTS + 10):
        documents.find(f"query Q{number} {{ viewer {{ id }} }}", None, Limits())
        documents.find(VIEWER, f"N{number}", Limits())
    assert documents.find(VIEWER, None, Limits()) is known is not None
    assert len(documents._staying) == 1


# ---- the command -----------------------------------------------------------------------------------------------------


def test_operations_are_collected_with_their_fragments(tmp_path: Path) -> None:
    folder = tmp_path / "源码"
    (folder / "inner").mkdir(parents=True)
    (folder / "who.graphql").write_text("# 谁\nquery Who { viewer { ...Name } }\nquery Twice { viewer { id ...Name } }")
    (folder / "inner" / "name.gql").write_text(
        "fragment Name on User { name ...Mail }\nfragment Mail on User { email }\nfragment Idle on User { id }"
    )
    (folder / "notes.txt").write_text("nothing")
    home, file = Home(tmp_path / "var"), tmp_path / "manifest.json"
    ended = home.run("documents", "collect", str(folder), "-o", str(file))
    assert ended.returncode == 0, ended.stderr
    found = listed(file)
    assert len(found) == 2
    assert all(id == hashlib.sha256(text.encode()).hexdigest() for id, text in found.items())
    who = next(text for text in found.values() if "query Who" in text)
    assert "fragment Mail" in who
    assert "Idle" not in who
    assert found == collect([folder / "who.graphql", folder / "inner"], graphql_schema)
    checked = home.run("documents", "check", str(file))
    assert checked.returncode == 0
    assert checked.stdout.count("ok ") == 2


def test_what_cannot_be_collected_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.graphql").write_text(
        "query A { viewer { name } }\n\n{ viewer { id } }\nquery B { viewer { nothing } }"
    )
    (tmp_path / "b.graphql").write_text("query A { viewer { id } }\nquery C { viewer { ...Gone } }\ntype T { a: Int }")
    (tmp_path / "c.graphql").write_text("query {")
    home, file = Home(tmp_path / "var"), tmp_path / "manifest.json"
    ended = home.run("documents", "collect", str(tmp_path), "-o", str(file))
    assert ended.returncode != 0
    assert not file.exists()
    for place in ("a.graphql:3", "a.graphql:4", "b.graphql:1", "b.graphql:2", "b.graphql:3", "c.graphql"):
        assert place in ended.stderr, ended.stderr
    assert home.run("documents", "collect", str(home.path), "-o", str(file)).returncode != 0


def test_a_manifest_is_checked_document_by_document(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_bytes(write_manifest({"好": VIEWER, "坏": "{ viewer { nothing } }"}))
    ended = Home(tmp_path / "var").run("documents", "check", str(file))
    assert ended.returncode == 1
    assert "ok 好" in ended.stdout
    assert "x  坏" in ended.stdout
    assert "nothing" in ended.stdout
