"""Every request observed: a correlation id, a log line, a span, its measures."""

import logging
import re
import time
from contextvars import ContextVar
from typing import Any

import structlog
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.kernel import new_id

log = logging.getLogger("sortie.requests")
tracer = trace.get_tracer("sortie.api")
meter = metrics.get_meter("sortie.api")
duration = meter.create_histogram("http.server.request.duration", "s", "How long requests took.")
active = meter.create_up_down_counter("http.server.active_requests", "{request}", "Requests under way.")
sockets = meter.create_up_down_counter("sortie.sockets", "{socket}", "Open WebSockets.")

HEADER = "X-Request-ID"
_FIT = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_ROUTES = ("/graphql", "/livez", "/readyz", "/metrics", "/auth")
QUIET = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that machines ask every few seconds: measured, not logged while they succeed."""
_correlation: ContextVar[str | None] = ContextVar("correlation", default=None)
FAILED = 500


def correlation_id() -> str:
    """The id of the request under way, or a fresh one outside of any."""
    return _correlation.get() or new_id().hex


class Observed:
    """The outermost layer: takes a request's id in or gives it one, and tells what became of the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Observe one request or socket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(HEADER, "")
        name = given if _FIT.fullmatch(given) else new_id().hex
        token = _correlation.set(name)
        parent = propagate.extract(dict(headers.items()))
        with structlog.contextvars.bound_contextvars(correlation_id=name):
            try:
                if scope["type"] == "websocket":
                    await self._socket(scope, receive, send)
                else:
                    with tracer.start_as_current_span(
                        f"{scope['method']} {_route(scope['path'])}",
                        context=parent,
                        kind=SpanKind.SERVER,
                        record_exception=False,
                    ):
                        await self._request(scope, receive, send, name)
            finally:
                _correlation.reset(token)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        sockets.add(1)
        try:
            await self._app(scope, receive, send)
        finally:
            sockets.add(-1)

    async def _request(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        status, started = FAILED, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        active.add(1)
        try:
            await self._app(scope, receive, answer)
        finally:
            active.add(-1)
            self._tell(scope, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope["path"])
        said: dict[str, Any] = {
            "http.request.method": _method(scope["method"]),
            "http.route": route,
            "http.response.status_code": status,
        }
        duration.record(seconds, said)
        span = trace.get_current_span()
        span.set_attributes(said)
        if status >= FAILED:
            span.set_status(Status(StatusCode.ERROR))
        if route not in QUIET or status >= FAILED:
            level = logging.WARNING if status >= FAILED else logging.INFO
            extra = {
                "method": _method(scope["method"]),
                "path": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
            }
            log.log(level, "request", extra=extra)


def _route(path: str) -> str:
    """The route that a path belongs to: what strangers put into paths makes no labels."""
    return next(
        (route for route in _ROUTES if path == route or path.startswith(f"{route}/")), "/" if path == "/" else "other"
    )


def _method(method: str) -> str:
    return method if method in {"GET", "POST", "HEAD", "OPTIONS"} else "_OTHER"
