"""Traces and measures by OpenTelemetry: sent where its own OTEL_ variables say, and shown at /metrics."""

import os

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of the buckets in which durations are counted."""


def traced() -> bool:
    """Whether spans go anywhere: without that none is made."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


class Telemetry:
    """What a process tells of itself while it runs; closing it sends what is left."""

    def __init__(self) -> None:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader

        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "sortie")})
        readers: list[MetricReader] = [PrometheusMetricReader()]
        self._tracing: TracerProvider | None = None
        if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._tracing = TracerProvider(resource=resource)
            self._tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            trace.set_tracer_provider(self._tracing)
        durations = View(instrument_name="*.duration", aggregation=ExplicitBucketHistogramAggregation(SECONDS))
        self._metering = MeterProvider(metric_readers=readers, resource=resource, views=[durations])
        metrics.set_meter_provider(self._metering)

    def close(self) -> None:
        """Send the spans that wait, and stop."""
        if self._tracing is not None:
            self._tracing.shutdown()
        self._metering.shutdown()
