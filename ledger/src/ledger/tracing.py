"""OpenTelemetry traces: sent where an endpoint is configured, else OpenTelemetry's no-op tracer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import (
    NoOpTracerProvider,
    Span,
    SpanKind,
    TracerProvider,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Tracing", "export_to", "start"]

Attributes = dict[str, str | int]

_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans. A carrier is the headers traceparent and tracestate of W3C Trace Context."""

    def __init__(self, provider: TracerProvider | None = None, service: str = "") -> None:
        self.enabled = provider is not None
        self._provider = provider or NoOpTracerProvider()
        self._tracer = self._provider.get_tracer(service)

    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        carrier: Mapping[str, str] | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Measure the body as a child of the carrier's span, or else of the current span.

        An exception in the body marks the span as failed.
        """
        parent = None if carrier is None else _PROPAGATOR.extract(carrier)
        return self._tracer.start_as_current_span(name, parent, kind, attributes)

    def record(
        self,
        name: str,
        kind: SpanKind,
        *,
        start_ns: int,
        carrier: Mapping[str, str],
        attributes: Attributes,
    ) -> None:
        """Record finished work, from Unix time start_ns in nanoseconds until now."""
        parent = _PROPAGATOR.extract(carrier)
        span = self._tracer.start_span(name, parent, kind, attributes, start_time=start_ns)
        span.end()

    def carrier(self) -> dict[str, str]:
        """The headers that make their receiver's spans children of the current span."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        return carrier

    def trace_id(self) -> str | None:
        """The current trace's id, 32 hexadecimal digits; None outside of a trace."""
        context = get_current_span().get_span_context()
        return format_trace_id(context.trace_id) if context.is_valid else None

    def close(self) -> None:
        """Send the last spans."""
        if shutdown := getattr(self._provider, "shutdown", None):
            shutdown()


def start(endpoint: str, *, service: str, environment: str, version: str) -> Tracing:
    """Tracing to an OTLP endpoint, such as http://host:4318; without one no span is recorded.

    /v1/traces is added to the endpoint, as the OTLP specification says.
    """
    if not endpoint:
        return Tracing()
    # Slow to import, and needed only here.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    return export_to(exporter, service=service, environment=environment, version=version)


def export_to(exporter: SpanExporter, *, service: str, environment: str, version: str) -> Tracing:
    """Tracing to an exporter, in batches and in a thread; spans that cannot be sent are dropped."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider as SdkProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create(
        {
            "service.name": service,
            "service.version": version,
            "deployment.environment.name": environment,
        }
    )
    provider = SdkProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider, service)
