"""Every GraphQL operation observed: a span and its measures, by type and error code, without its text or values."""

import time
from collections.abc import Iterator

from graphql import GraphQLError
from opentelemetry import metrics, trace
from opentelemetry.trace import Status, StatusCode
from strawberry.extensions import SchemaExtension
from strawberry.types.execution import ExecutionResult

tracer = trace.get_tracer("sortie.api")
meter = metrics.get_meter("sortie.api")
duration = meter.create_histogram("graphql.operation.duration", "s", "How long GraphQL operations took.")
errors = meter.create_counter("graphql.errors", "{error}", "Errors in GraphQL answers, by their code.")


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
        duration.record(time.perf_counter() - started, {"graphql.operation.type": kind, "error": bool(codes)})
        for code in codes:
            errors.add(1, {"code": code})

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
