"""Every GraphQL operation observed: a span and its measures, by type and error code, without its text or values."""

import time
from collections.abc import Iterator

from graphql import GraphQLError
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode
from prometheus_client import Counter, Histogram
from strawberry.extensions import SchemaExtension
from strawberry.types.execution import ExecutionResult

from api.operations.later import later
from api.operations.tracing import SECONDS, traced

tracer = trace.get_tracer("sortie.api")
duration = Histogram(
    "graphql_operation_duration_seconds",
    "How long GraphQL operations took.",
    ["graphql_operation_type", "error"],
    buckets=SECONDS,
)
errors = Counter("graphql_errors", "Errors in GraphQL answers, by their code.", ["code"])
_queries = duration.labels("query", False)


def tell_query(seconds: float) -> None:
    """Tell of a query that one statement has answered."""
    later.add(_queries.observe, seconds)
    if traced():
        ended = time.time_ns()
        kind = {"graphql.operation.type": "query"}
        span = tracer.start_span("graphql query", start_time=ended - int(seconds * 1e9), attributes=kind)
        span.end(ended)


class Observed(SchemaExtension):
    """Tells how long each operation took and which error codes it had."""

    def on_operation(self) -> Iterator[None]:
        """Observe one operation; what a client calls it is not told, since names can hold anything."""
        started = time.perf_counter()
        with tracer.start_as_current_span("graphql", record_exception=False) as span:
            yield
            kind = self._kind()
            codes = self._codes()
            span.update_name(f"graphql {kind}")
            span.set_attribute("graphql.operation.type", kind)
            if codes:
                span.set_status(Status(StatusCode.ERROR, ", ".join(sorted(set(codes)))))
        duration.labels(kind, bool(codes)).observe(time.perf_counter() - started)
        for code in codes:
            errors.labels(code).inc()

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
