"""The socket's own rules: graphql-transport-ws and its closing codes, who may open one and how long it lasts."""

import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from api.context import Context
from api.sockets import SOCKET_OPERATIONS, SocketHandler, in_time
from api.trusted import NONE
from domain.kernel import Database, Language
from tests.api.test_edge.conftest import Edge
from tests.installation import Home, running

QUERY = {"query": "{viewer{name}}"}


@contextmanager
def opened(address: str, protocol: str = "graphql-transport-ws", **headers: str) -> Iterator[ClientConnection]:
    with connect(f"ws://{address}/graphql", subprotocols=[protocol], additional_headers=headers) as socket:  # type: ignore[list-item]
        yield socket


def send(socket: ClientConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def begin(socket: ClientConnection, token: str) -> None:
    send(socket, type="connection_init", payload={"authorization": f"Bearer {token}"})
    assert json.loads(socket.recv())["type"] == "connection_ack"


def closed_with(socket: ClientConnection, timeout: float = 20) -> int | None:
    """The code with which the server closes, whatever it says before."""
    try:
        while True:
            socket.recv(timeout=timeout)
    except ConnectionClosed:
        return socket.close_code


@pytest.mark.parametrize(
    "message", ["nonsense", "[]", '{"type": 1}', '{"type": "unknown"}', '{"type": "subscribe"}', b"\x00"]
)
def test_4400_for_what_is_no_message(edge: Edge, message: str | bytes) -> None:
    with opened(edge.address) as socket:
        begin(socket, edge.token)
        socket.send(message)
        assert closed_with(socket) == 4400


def test_4401_for_asking_before_the_greeting(edge: Edge) -> None:
    with opened(edge.address) as socket:
        send(socket, type="subscribe", id="1", payload=QUERY)
        assert closed_with(socket) == 4401


@pytest.mark.parametrize("token", ["nonsense", "", "a.b.c"])
def test_4403_for_a_bad_token(edge: Edge, token: str) -> None:
    with opened(edge.address) as socket:
        send(socket, type="connection_init", payload={"authorization": f"Bearer {token}"})
        assert closed_with(socket) == 4403


@pytest.mark.parametrize("protocol", ["graphql-ws", "soap"])
def test_4406_for_another_protocol_the_legacy_one_included(edge: Edge, protocol: str) -> None:
    with opened(edge.address, protocol) as socket:
        assert closed_with(socket) == 4406


def test_4408_for_who_does_not_greet_within_ten_seconds(edge: Edge) -> None:
    with opened(edge.address) as socket:
        started = time.monotonic()
        assert closed_with(socket) == 4408
        assert 9 < time.monotonic() - started < 15


def test_4409_for_an_id_that_is_in_use(edge: Edge) -> None:
    query = "subscription($i: DraftGenerationInput!){generationStream(input: $i){section{key}}}"
    variables = {"i": {"kind": "VISIT_BRIEF", "subjectId": "x", "clientKey": "1"}}
    with opened(edge.address) as socket:
        begin(socket, edge.token)
        for _ in range(2):
            send(socket, type="subscribe", id="1", payload={"query": query, "variables": variables})
        assert closed_with(socket) == 4409


def test_4429_for_greeting_twice(edge: Edge) -> None:
    with opened(edge.address) as socket:
        begin(socket, edge.token)
        send(socket, type="connection_init")
        assert closed_with(socket) == 4429


def test_a_socket_ends_with_its_token(edge_home: Home) -> None:
    """Without the timer a socket that was opened in the morning reads on in the evening."""
    with running(edge_home) as address:
        token = edge_home.run("token", "lei.zhang@example.com", "--hours", "0.0008").stdout.strip()
        with opened(address) as socket:
            begin(socket, token)
            started = time.monotonic()
            assert closed_with(socket) == 4401
            assert time.monotonic() - started < 10


def test_another_sites_page_opens_no_socket(edge: Edge) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(edge.address, Origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with opened(edge.address, Origin="https://crm.example.cn") as socket:
        begin(socket, edge.token)


def test_a_message_beyond_the_cap_ends_the_socket(edge: Edge) -> None:
    with opened(edge.address) as socket:
        begin(socket, edge.token)
        send(socket, type="subscribe", id="1", payload={"query": "#" + "x" * 300_000})
        assert closed_with(socket) == 1009


def test_what_is_sent_is_text_and_limits_hold(edge: Edge) -> None:
    """Browsers take binary messages for files: no client of the field would understand them."""
    with opened(edge.address) as socket:
        begin(socket, edge.token)
        send(
            socket,
            type="subscribe",
            id="1",
            payload={"query": "{accounts(first: 100){edges{node{contacts(first: 100){edges{node{id}}}}}}}"},
        )
        told = socket.recv()
        assert isinstance(told, str)
        assert json.loads(told)["payload"][0]["extensions"]["code"] == "TOO_COSTLY"


SUBSCRIBE = {"type": "subscribe", "id": "1", "payload": QUERY}


@pytest.mark.parametrize(
    "changed",
    [
        {"id": 1}, {"id": [1]}, {"id": {}}, {"id": None}, {"payload": None}, {"payload": "x"}, {"payload": []}, {"type": "complete", "id": []},
        {"type": "类" * 500}, {"payload": {"query": "{viewer " + "名" * 500}}, {"payload": {"query": '{viewer "' + "x" * 500 + '"}'}},
    ],
)  # fmt: skip
def test_4400_for_messages_with_parts_of_the_wrong_kind(edge: Edge, changed: dict[str, Any]) -> None:
    """Without the look at them a list for an id, or a reason longer than a frame, is a bug in our log and a 1011."""
    with opened(edge.address) as socket:
        begin(socket, edge.token)
        send(socket, **(SUBSCRIBE | changed))
        assert closed_with(socket) == 4400


@pytest.mark.parametrize(
    "payload",
    [
        {}, {"query": 1}, {"query": None}, {"query": "  "}, {**QUERY, "variables": []}, {**QUERY, "variables": "x"}, {**QUERY, "operationName": 1},
        {**QUERY, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab"}}},
    ],
)  # fmt: skip
def test_an_operation_that_is_none_is_refused_and_the_socket_goes_on(edge: Edge, payload: dict[str, Any]) -> None:
    """The library hands whatever it finds on: unknown hashes would be ignored, and a number for a query a bug."""
    with opened(edge.address) as socket:
        begin(socket, edge.token)
        send(socket, **(SUBSCRIBE | {"payload": payload}))
        told = json.loads(socket.recv())
        assert (told["type"], told["payload"][0]["extensions"]["code"]) == ("error", "INVALID")
        send(socket, **SUBSCRIBE)
        assert json.loads(socket.recv())["payload"]["data"] == {"viewer": {"name": "张磊"}}


def test_an_operation_on_a_socket_or_stream_has_a_time_too(edge_home: Home) -> None:
    """The library sets none: a query by socket would run for as long as it likes."""
    with running(edge_home, SORTIE_LIMITS='{"seconds": 0.000001}') as address:
        token = edge_home.run("token", "lei.zhang@example.com").stdout.strip()
        with opened(address) as socket:
            begin(socket, token)
            send(socket, **SUBSCRIBE)
            errors = json.loads(socket.recv())["payload"]["errors"]
            assert errors[0]["extensions"]["code"] == "UNAVAILABLE"
        headers = {"accept": "text/event-stream", "authorization": f"Bearer {token}"}
        streamed = httpx2.post(f"http://{address}/graphql", json=QUERY, headers=headers)
        assert '"code":"UNAVAILABLE"' in streamed.text


def test_a_stream_by_get_never_changes(edge: Edge) -> None:
    mutation = 'mutation{logActivity(input:{clientKey:"1",relatedToId:"x",kind:CALL,subject:"x"}){errors{code}}}'
    answer = httpx2.get(edge.url, params={"query": mutation}, headers={**edge.bearer, "accept": "text/event-stream"})
    assert '"data":null' in answer.text
    assert '"code":"INVALID"' in answer.text
    named = {"query": "query a{__typename}", "operationName": "b"}
    absent = httpx2.get(edge.url, params=named, headers={**edge.bearer, "accept": "text/event-stream"})
    assert '"code":"INVALID"' in absent.text


def test_so_many_operations_and_no_more_at_once() -> None:
    """Counted by the handler itself, since no operation here lasts long enough to fill a socket."""
    handler = object.__new__(SocketHandler)
    handler.context = {"language": Language.ZH, "trusted": NONE}
    handler.operations = {str(number): cast("Any", None) for number in range(SOCKET_OPERATIONS)}
    refused = handler._refusal(SUBSCRIBE | {"id": "new"})
    assert refused is not None
    assert refused.extensions == {"code": "RATE_LIMITED"}
    assert handler._refusal(SUBSCRIBE | {"id": "1"}) is None, "an id in use is 4409"
    handler.operations.popitem()
    assert handler._refusal(SUBSCRIBE | {"id": "new"}) is None


async def test_who_leaves_a_stream_between_two_results_closes_what_makes_them() -> None:
    """Without the closing the generator stays open until the collector finds it, with its connection."""
    closed: list[str] = []

    async def results() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("closed")

    context = Context(cast("Database", None), None, Language.ZH, datetime(2026, 3, 2, tzinfo=UTC))
    stream = in_time(results(), context)
    assert await anext(stream) == 1
    await stream.aclose()
    assert closed == ["closed"]
