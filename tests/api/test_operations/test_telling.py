"""Logs, measures and traces of a real server: complete, connected by one id, and without personal data."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from api.operations.logs import impersonal, told_without_values
from tests.installation import Home, running

PHONE, NAME, WORDS = "13912345678", "诸葛清商", "价格太高了，我们老板不同意"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An installation with the demo company."""
    home = Home(tmp_path_factory.mktemp("told") / "var")
    assert home.run("demo").returncode == 0
    return home


class Collector:
    """A receiver of traces that speaks the protocol."""

    def __init__(self, server: HTTPServer) -> None:
        self.spans: list[Any] = []
        self.bytes = b""
        server.expect_request("/v1/traces").respond_with_handler(self._take)

    def _take(self, request: Request) -> Response:
        self.bytes += request.get_data()
        told = ExportTraceServiceRequest.FromString(request.get_data())
        self.spans += [span for one in told.resource_spans for scope in one.scope_spans for span in scope.spans]
        return Response(b"", content_type="application/x-protobuf")

    def named(self, start: str) -> list[Any]:
        return [span for span in self.spans if span.name.startswith(start)]


def _model(request: Request) -> Response:
    """A model that answers in the composer's own words, and tells its tokens."""
    asked = json.loads(request.get_data())
    sections = asked["response_format"]["json_schema"]["schema"]["properties"]["sections"]
    keys = sections["items"]["properties"]["key"]["enum"]
    content = json.dumps({"sections": [{"key": key, "body": "好的。"} for key in keys]}, ensure_ascii=False)
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 321, "completion_tokens": 45, "total_tokens": 366}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "told-model-1",
        "choices": [choice],
        "usage": usage,
    }
    return Response(json.dumps(body), content_type="application/json")


@pytest.fixture(scope="module")
def told(company: Home) -> Iterator[dict[str, Any]]:
    """What a server told while a lead was captured and an objection answered by a model."""
    with HTTPServer(host="127.0.0.1") as outside:
        collector = Collector(outside)
        outside.expect_request("/llm/chat/completions").respond_with_handler(_model)
        server = running(
            company, SORTIE_LOGS="json", OTEL_EXPORTER_OTLP_ENDPOINT=outside.url_for("").rstrip("/"), OTEL_BSP_SCHEDULE_DELAY="100",
            SORTIE_MODEL="told-model", OPENAI_API_KEY="sk-none", OPENAI_BASE_URL=outside.url_for("/llm"),
        )  # fmt: skip
        with server as address:
            bearer = f"Bearer {company.run('token', 'lei.zhang@example.com').stdout.strip()}"
            with httpx2.Client(base_url=f"http://{address}", headers={"authorization": bearer}, timeout=60) as client:
                answers = [_capture(client), _reply(client)]
                measures = client.get("/metrics").text
        yield {"collector": collector, "lines": server.said, "answers": answers, "metrics": measures, "token": bearer}


def _capture(client: httpx2.Client) -> httpx2.Response:
    query = "mutation($input: CaptureLeadInput!){captureLead(input: $input){lead{id} errors{message}}}"
    given = {"source": "官网", "externalId": "told-1", "name": NAME, "phone": PHONE, "interest": WORDS}
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-request-id": "told-1"}
    return client.post("/graphql", json={"query": query, "variables": {"input": given}}, headers=trace)


def _reply(client: httpx2.Client) -> httpx2.Response:
    deals = client.post("/graphql", json={"query": "{opportunities(first: 1){edges{node{id}}}}"}).json()
    given = {
        "opportunityId": deals["data"]["opportunities"]["edges"][0]["node"]["id"],
        "concern": WORDS,
        "clientKey": "told-2",
    }
    query = "mutation($input: DraftObjectionReplyInput!){draftObjectionReply(input: $input){generation{mode model} errors{message}}}"
    return client.post("/graphql", json={"query": query, "variables": {"input": given}})


def test_the_answers_were_real(told: dict[str, Any]) -> None:
    captured, replied = (answer.json()["data"] for answer in told["answers"])
    assert captured["captureLead"]["errors"] == []
    assert replied["draftObjectionReply"]["generation"] is not None
    assert told["answers"][0].headers["x-request-id"] == "told-1"


def test_every_request_is_one_line_of_json_with_its_id(told: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in told["lines"] if line.startswith("{")]
    requests = [line for line in lines if line["event"] == "request"]
    assert requests[0]["correlation_id"] == "told-1"
    assert {line["status"] for line in requests} == {200}
    assert all(line["ms"] > 0 and line["path"] == "/graphql" for line in requests)


def test_spans_lead_from_the_caller_to_the_model(told: dict[str, Any]) -> None:
    collector: Collector = told["collector"]
    outer = collector.named("POST /graphql")[0]
    assert outer.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c", "the caller's trace goes on"
    (chat,) = collector.named("chat told-model")
    said = {one.key: one.value for one in chat.attributes}
    assert said["gen_ai.operation.name"].string_value == "chat"
    assert said["gen_ai.response.model"].string_value == "told-model-1"
    assert said["gen_ai.usage.input_tokens"].int_value == 321
    assert said["gen_ai.usage.output_tokens"].int_value == 45
    by_id = {span.span_id: span for span in collector.spans}
    path = [chat.name]
    span = chat
    while span.parent_span_id in by_id:
        span = by_id[span.parent_span_id]
        path.append(span.name)
    assert path == ["chat told-model", "write", "graphql mutation", "POST /graphql"]


def test_nothing_personal_leaves_in_logs_traces_or_measures(told: dict[str, Any]) -> None:
    collector: Collector = told["collector"]
    logged = [line for line in told["lines"] if line.startswith("{")]
    everything = "".join(logged) + collector.bytes.decode("utf-8", "replace") + told["metrics"]
    secret = told["token"].removeprefix("Bearer ")
    for value in (PHONE, NAME, WORDS, WORDS[:5], secret, "lei.zhang", "张磊", "sk-none"):
        assert value not in everything


def test_measures_count_what_was_done(told: dict[str, Any]) -> None:
    lines = [line for line in told["metrics"].splitlines() if not line.startswith("#")]
    for name, label in (
        ("http_server_request_duration_seconds_count", 'http_route="/graphql"'),
        ("graphql_operation_duration_seconds_count", 'graphql_operation_type="mutation"'),
        ("sortie_answer_duration_seconds_count", 'kind="OBJECTION_REPLY"'),
        ("gen_ai_client_operation_duration_seconds_count", 'gen_ai_request_model="told-model"'),
        ("sortie_model_tokens_total", 'gen_ai_token_type="input"'),
        ("sortie_ledger_waiting", ""),
    ):
        assert any(line.startswith(name) and label in line for line in lines), name


def _refuse(message: str) -> None:
    raise ValueError(message)


def _raised(message: str) -> tuple[Any, ...]:
    try:
        _refuse(message)
    except ValueError:
        return sys.exc_info()
    raise AssertionError


def test_an_exception_is_told_without_the_values_of_rows() -> None:
    message = f"duplicate key\nDETAIL:  Key (email)=({NAME}) already exists.\n[parameters: ('{PHONE}',)]"
    event = told_without_values(logging.getLogger(), "error", {"event": "bug", "exc_info": _raised(message)})
    assert event["error"] == "ValueError: duplicate key"
    assert event["at"][-1].startswith("test_operations/test_telling.py:")
    assert str(Path.home()) not in str(event)


def test_numbers_and_addresses_are_masked_wherever_they_stand() -> None:
    words = f"call {PHONE} or mail zhuge@example.cn, id 11010519491231002X"
    event = impersonal(
        logging.getLogger(), "info", {"event": words, "detail": words, "correlation_id": PHONE, "ms": 3.5}
    )
    assert event["event"] == event["detail"] == "call ⟦PHONE_1⟧ or mail ⟦EMAIL_1⟧, id ⟦RESIDENT_ID_1⟧"
    assert event["ms"] == 3.5
