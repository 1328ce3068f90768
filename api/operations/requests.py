"""Every request observed: a correlation id, a log line, a span, its measures."""

import itertools
import logging
import re
import time
from datetime import datetime
from typing import Any, ClassVar

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from prometheus_client import Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.operations.later import later
from api.operations.logs import correlation, tell_request
from api.operations.tracing import SECONDS, traced
from domain.kernel import new_id, utc_now

tracer = trace.get_tracer("sortie.api")
# Of these there are some for every request: the clients of OpenTelemetry's own measures would cost as much as an answer.
duration = Histogram(
    "http_server_request_duration_seconds",
    "How long requests took.",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=SECONDS,
)
active = Gauge("http_server_active_requests", "Requests under way.")
active.set_function(lambda: Observed.under_way)
sockets = Gauge("sortie_sockets", "Open WebSockets.")

HEADER = b"x-request-id"
_FIT = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_ROUTES = ("/graphql", "/livez", "/readyz", "/metrics", "/auth")
QUIET = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that machines ask every few seconds: measured, not logged while they succeed."""
FAILED = 500

_OURS = f"{new_id().hex}-"
_numbers = itertools.count(1)
_durations: dict[tuple[str, str, int], Histogram] = {}
"""The histogram of each method, route and status that was there."""


def correlation_id() -> str:
    """The id of the request under way, or a fresh one outside of any."""
    return correlation.get() or _fresh()


class Observed:
    """The outermost layer: takes a request's id in or gives it one, and tells what became of the request."""

    under_way: ClassVar[int] = 0

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._traced = traced()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Observe one request or socket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        name = _name(scope)
        token = correlation.set(name)
        try:
            if scope["type"] == "websocket":
                await self._socket(scope, receive, send)
            elif self._traced:
                await self._traced_request(scope, receive, send, name)
            else:
                await self._request(scope, receive, send, name)
        finally:
            correlation.reset(token)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        sockets.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            sockets.dec()

    async def _traced_request(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        parent = propagate.extract({key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]})
        called = f"{scope['method']} {_route(scope['path'])}"
        with tracer.start_as_current_span(called, context=parent, kind=SpanKind.SERVER, record_exception=False) as span:
            status = FAILED
            try:
                status = await self._request(scope, receive, send, name)
            finally:
                span.set_attributes(_labels(scope, status))
                if status >= FAILED:
                    span.set_status(Status(StatusCode.ERROR))

    async def _request(self, scope: Scope, receive: Receive, send: Send, name: str) -> int:
        """Have one request answered and tell of it; its status."""
        status, started = FAILED, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, name.encode())]
            await send(message)

        Observed.under_way += 1
        try:
            await self._app(scope, receive, answer)
        finally:
            Observed.under_way -= 1
            later.add(_tell, name, scope["method"], scope["path"], status, time.perf_counter() - started, utc_now())
        return status


def _name(scope: Scope) -> str:
    for key, value in scope["headers"]:
        if key == HEADER:
            given: str = value.decode("latin-1")
            return given if _FIT.fullmatch(given) else _fresh()
    return _fresh()


def _fresh() -> str:
    """An id that no other request of any process has."""
    return f"{_OURS}{next(_numbers)}"


def _tell(name: str, method: str, path: str, status: int, seconds: float, at: datetime) -> None:
    method, route = _method(method), _route(path)
    known = _durations.get((method, route, status))
    if known is None:
        known = _durations[method, route, status] = duration.labels(method, route, status)
    known.observe(seconds)
    if route not in QUIET or status >= FAILED:
        level = logging.WARNING if status >= FAILED else logging.INFO
        tell_request(
            level, name, at, {"method": method, "path": route, "status": status, "ms": round(seconds * 1000, 2)}
        )


def _labels(scope: Scope, status: int) -> dict[str, Any]:
    return {
        "http.request.method": _method(scope["method"]),
        "http.route": _route(scope["path"]),
        "http.response.status_code": status,
    }


def _route(path: str) -> str:
    """The route that a path belongs to: what strangers put into paths makes no labels."""
    if path in _ROUTES:
        return path
    return next((route for route in _ROUTES if path.startswith(f"{route}/")), "/" if path == "/" else "other")


def _method(method: str) -> str:
    return method if method in {"GET", "POST", "HEAD", "OPTIONS"} else "_OTHER"
