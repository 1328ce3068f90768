"""What comes in over HTTP: taken strictly, under a cap, from nobody else's page; refused in words with a code, never with a 500."""

import hashlib
import json
import socket
import time
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from api.bodies import EVENTS, JSON, RESPONSE_JSON, Refused, media_type
from tests.api.test_edge.conftest import Edge
from tests.installation import Home, running

TYPED = {"content-type": JSON}
QUERY = {"query": "{__typename}"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"null", 400), (b"1", 400), (b'"x"', 400), (b"true", 400), (b"[]", 400), (b"", 400), (b"{", 400), (b"\x00", 400), (b"\xff\xfe\x00", 400),
        (b'{"query": "{__typename}", "variables": {"a": ' + b"9" * 20_000 + b"}}", 400), (b"[" * 30_000, 400),
        (b'{"query": "{__typename}", "variables": ' + b'{"a":' * 30_000 + b"1" + b"}" * 30_000 + b"}", 400), (b'{"query": "\\ud800"}', 400),
        (b'{"query": null}', 400), (b'{"query": 1}', 400), (b'{"query": "  "}', 400), (b'{"query": "{__typename}", "variables": []}', 400),
        (b'{"query": "{__typename}", "variables": "x"}', 400), (b'{"query": "{__typename}", "operationName": 1}', 400),
        (b'{"query": "{__typename}", "extensions": 1}', 400), (b'[{"query": "{__typename}"}]', 400), (b'{"query": "{__typename}", "x": NaN}', 400),
        (b" " * 300_000, 413),
    ],
)  # fmt: skip
def test_malformed_bodies_are_refused_with_a_code(edge: Edge, body: bytes, status: int) -> None:
    """Stock handling answers 500 to many of these."""
    answer = httpx2.post(edge.url, content=body, headers={**TYPED, **edge.bearer, "accept-language": "zh-CN"})
    assert answer.status_code == status, answer.text
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] == "INVALID"
    assert any("\u4e00" <= character <= "\u9fff" for character in error["message"])
    assert "data" not in answer.json()


def test_a_body_in_pieces_is_capped_before_it_is_parsed(edge: Edge) -> None:
    """Without the cap the server reads on as long as somebody sends."""
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(10_000):
            sent += 4_096
            yield b" " * 4_096

    try:
        answer = httpx2.post(edge.url, content=endless(), headers=TYPED)
        assert answer.status_code == 413
    except httpx2.TransportError:
        pass  # the server has closed while we were still sending
    assert sent < 10_000 * 4_096


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "x"])
def test_unknown_encodings_are_415(edge: Edge, encoding: str) -> None:
    answer = httpx2.post(edge.url, content=b"{}", headers={**TYPED, "content-encoding": encoding})
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (415, "INVALID")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=gbk", "x", None]
)  # fmt: skip
def test_a_page_elsewhere_cannot_ask_by_a_form(edge: Edge, kind: str | None) -> None:
    """These are the types that a browser sends without asking first: taken, they would let any page ask."""
    headers = {} if kind is None else {"content-type": kind}
    request = httpx2.Request("POST", edge.url, content=json.dumps(QUERY).encode(), headers=headers)
    with httpx2.Client() as client:
        assert client.send(request).status_code == 415


def test_get_reads_and_never_changes(edge: Edge) -> None:
    mutation = 'mutation{logActivity(input:{clientKey:"1",relatedToId:"x",kind:CALL,subject:"x"}){errors{code}}}'
    refused = httpx2.get(edge.url, params={"query": mutation}, headers=edge.bearer)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert httpx2.get(edge.url, params=QUERY, headers=edge.bearer).json()["data"] == {"__typename": "Query"}
    twice = httpx2.get(f"{edge.url}?query=%7B__typename%7D&query=%7Bviewer%7D")
    assert twice.status_code == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_405(edge: Edge, method: str) -> None:
    answer = httpx2.request(method, edge.url)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, OPTIONS")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_sites_page_is_refused_unless_it_is_on_the_list(edge: Edge, method: str) -> None:
    def asked(origin: str) -> int:
        headers = {"origin": origin, **edge.bearer}
        if method == "GET":
            return httpx2.get(edge.url, params=QUERY, headers=headers).status_code
        return httpx2.post(edge.url, json=QUERY, headers=headers).status_code

    assert asked("https://evil.example") == asked("null") == asked("http://127.0.0.1:1") == 403
    assert asked("https://crm.example.cn") == asked(f"http://{edge.address}") == 200


def test_a_site_on_the_list_is_told_so_and_no_other(edge: Edge) -> None:
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}
    known = httpx2.options(edge.url, headers={"origin": "https://crm.example.cn", **wanted})
    assert known.status_code == 200
    assert known.headers["access-control-allow-origin"] == "https://crm.example.cn"
    assert "authorization" in known.headers["access-control-allow-headers"].lower()
    named = known.headers["access-control-allow-origin"]
    assert named != "*", "the session's cookie goes along where a site is named, never to everybody"
    other = httpx2.options(edge.url, headers={"origin": "https://evil.example", **wanted})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


def test_every_answer_says_how_it_may_be_kept_and_read(edge: Edge) -> None:
    for answer in (
        edge.ask("{__typename}"),
        edge.ask("{"),
        httpx2.get(edge.url, headers={"accept": "text/html"}),
        httpx2.post(edge.url),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
    page = httpx2.get(edge.url, headers={"accept": "text/html"})
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace(edge.url, "").split("<script", 1)[-1].split(">", 1)[0]
    absent = httpx2.get(f"http://{edge.address}/no/such/page")
    assert (absent.status_code, absent.json()["errors"][0]["extensions"]["code"]) == (404, "NOT_FOUND")


def test_an_unknown_persisted_query_is_refused(edge: Edge) -> None:
    def asked(digest: str, **query: str) -> httpx2.Response:
        return httpx2.post(
            edge.url, json={**query, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}}
        )

    own = hashlib.sha256(b"{__typename}").hexdigest()
    assert asked(own).status_code == asked("ab", **QUERY).status_code == 400
    assert "PersistedQueryNotFound" in asked(own).json()["errors"][0]["message"]
    assert asked(own, **QUERY).status_code == 200


def test_errors_do_not_help_to_guess_names_and_five_at_most_are_told(edge: Edge) -> None:
    guessed = edge.ask("{account{edges}}").json()["errors"]
    assert "mean" not in guessed[0]["message"]
    many = edge.ask("{" + " ".join(f"f{number}" for number in range(50)) + "}").json()["errors"]
    assert len(many) == 5


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON), ("", JSON), ("*/*", JSON), ("application/*", JSON), (JSON, JSON), (RESPONSE_JSON, RESPONSE_JSON),
        (f"{JSON};q=0.5, {RESPONSE_JSON};q=0.9", RESPONSE_JSON), (f"{RESPONSE_JSON}, {JSON}", RESPONSE_JSON), (f"text/html, {JSON}", JSON),
        (EVENTS, EVENTS), (f"{RESPONSE_JSON}, {JSON}, {EVENTS}", RESPONSE_JSON), (f"{EVENTS}, {JSON}", EVENTS), (f"{JSON};q=x, */*;q=0.1", JSON),
    ],
)  # fmt: skip
def test_the_media_type_is_the_one_that_the_client_likes_best(accept: str | None, chosen: str) -> None:
    assert media_type(accept) == chosen


@pytest.mark.parametrize("accept", ["text/html", "image/png, text/plain", f"{JSON};q=0", f"text/plain, {EVENTS}"])
def test_a_client_that_takes_nothing_of_ours_is_told(accept: str) -> None:
    with pytest.raises(Refused) as refused:
        media_type(accept)
    assert refused.value.status == 406


def test_a_document_error_is_400_without_data_in_the_new_media_type_alone(edge: Edge) -> None:
    for query in ("{", "{nothing}", "query($a: Int!){__typename}"):
        new = httpx2.post(edge.url, json={"query": query}, headers={"accept": RESPONSE_JSON, **edge.bearer})
        assert (new.status_code, "data" in new.json()) == (400, False), query
        assert new.headers["content-type"].startswith(RESPONSE_JSON)
        old = httpx2.post(edge.url, json={"query": query}, headers={"accept": JSON, **edge.bearer})
        assert (old.status_code, old.json()["data"]) == (200, None), query


# ---- those who take their time -----------------------------------------------------------------------------------------


def _until_closed(connection: socket.socket) -> bytes:
    found = b""
    while part := connection.recv(65_536):
        found += part
    return found


def test_a_head_or_body_that_does_not_come_is_cut(edge_home: Home) -> None:
    """uvicorn alone waits for both as long as the other side likes: a few thousand such connections are an outage."""
    with running(edge_home, SORTIE_HEADER_SECONDS="0.5", SORTIE_BODY_SECONDS="0.5") as address:
        host, port = address.split(":")
        head = f"POST /graphql HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 40\r\n"
        for begun in ("", "POST /gra", head, f"GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\nGET /li"):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(begun.encode())
                started = time.monotonic()
                with suppress(ConnectionResetError):
                    _until_closed(connection)
                assert time.monotonic() - started < 8
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(f'{head}\r\n{{"query":'.encode())
            assert _until_closed(connection).startswith(b"HTTP/1.1 408 ")
        assert httpx2.post(f"http://{address}/graphql", json=QUERY).status_code == 200


def _endless_head(connection: socket.socket, address: str) -> None:
    connection.sendall(f"GET /graphql HTTP/1.1\r\nHost: {address}\r\n".encode())
    for number in range(20_000):
        connection.sendall(f"X-{number}: {'x' * 900}\r\n".encode())
    connection.recv(1)


def test_a_head_without_end_is_cut(edge: Edge) -> None:
    host, port = edge.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, pytest.raises(ConnectionError):
        _endless_head(connection, edge.address)


@pytest.mark.parametrize(
    ("head", "body", "cut"), [(1_000, 200_000, False), (20_000, 1_000, False), (40_000, 1_000, True)]
)
def test_a_head_has_its_size_however_much_comes_in_one_piece(edge: Edge, head: int, body: int, *, cut: bool) -> None:
    host, port = edge.address.split(":")
    said = json.dumps({"query": "{__typename}", "variables": {"x": "甲" * (body // 6)}}).encode()
    lines = (
        f"Host: {edge.address}\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\nX-Long: {'x' * head}"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"POST /graphql HTTP/1.1\r\n{lines}\r\n\r\n".encode() + said)
        found = b""
        with suppress(ConnectionError):
            found = connection.recv(65_536)
        assert found.startswith(b"HTTP/1.1 200 ") is not cut
