"""Every GraphQL operation observed: a span and its measures, by type and error code, without its text or values."""

import time
from collections.abc import Awaitable, Iterator, Sequence
from typing import Protocol

from graphql import GraphQLError
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode
from prometheus_client import Counter, Histogram
from strawberry.extensions import SchemaExtension
from strawberry.types.execution import ExecutionResult

from api.operations.later import later
from api.operations.tracing import SECONDS

tracer = trace.get_tracer("sortie.api")
duration = Histogram(
    "graphql_operation_duration_seconds",
    "How long GraphQL operations took.",
    ["graphql_operation_type", "error"],
    buckets=SECONDS,
)
errors = Counter("graphql_errors", "Errors in GraphQL answers, by their code.", ["code"])
_known: dict[tuple[str, bool], Histogram] = {}


class Told(Protocol):
    """What an operation says of itself when it is answered."""

    changes: bool
    codes: list[str]


async def observe(answer: Awaitable[bytes | None], operation: Told, *, spans: bool) -> bytes | None:
    """An answer that the resolvers have no part in, observed like theirs; what comes to nothing is theirs to observe."""
    started = time.perf_counter()
    if not spans:
        body = await answer
    else:
        span = tracer.start_span("graphql")
        # A span that nobody ends is never sent.
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            body = await answer
        if body is not None:
            _tell(span, _kind(operation), operation.codes)
            span.end()
    if body is not None:
        later.add(_measure, _kind(operation), time.perf_counter() - started, operation.codes)
    return body


def _kind(operation: Told) -> str:
    return "mutation" if operation.changes else "query"


def _tell(span: trace.Span, kind: str, codes: Sequence[str]) -> None:
    span.update_name(f"graphql {kind}")
    span.set_attribute("graphql.operation.type", kind)
    if codes:
        span.set_status(Status(StatusCode.ERROR, ", ".join(sorted(set(codes)))))


def _measure(kind: str, seconds: float, codes: Sequence[str]) -> None:
    key = (kind, bool(codes))
    known = _known.get(key)
    if known is None:
        known = _known[key] = duration.labels(*key)
    known.observe(seconds)
    for code in codes:
        errors.labels(code).inc()


class Observed(SchemaExtension):
    """Tells how long each operation took and which error codes it had."""

    def on_operation(self) -> Iterator[None]:
        """Observe one operation; what a client calls it is not told, since names can hold anything."""
        started = time.perf_counter()
        with tracer.start_as_current_span("graphql", record_exception=False) as span:
            yield
            kind = self._kind()
            codes = self._codes()
            _tell(span, kind, codes)
        _measure(kind, time.perf_counter() - started, codes)

    def _kind(self) -> str:
        try:
            return self.execution_context.operation_type.value.lower()
        except (RuntimeError, GraphQLError):
            return "unknown"

    def _codes(self) -> list[str]:
        found: list[GraphQLError] = list(self.execution_context.pre_execution_errors or ())
        result = self.execution_context.result
        if isinstance(result, ExecutionResult):
            found += result.errors or ()
        return [str((error.extensions or {}).get("code", "INVALID")) for error in found]
