"""OpenTelemetry traces, when an endpoint for them is configured; else nothing of it is imported and nothing is measured."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["OtlpTracing", "Tracing", "start"]

Attributes = dict[str, str | int]


class Span:
    """What the work inside a span may add to it; this one keeps nothing."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def fail(self, reason: str) -> None:
        """Mark the work as failed."""


_NO_SPAN = nullcontext(Span())


class Tracing:
    """Makes no spans: what the app uses while no endpoint is configured."""

    enabled = False

    def span(
        self,
        name: str,
        kind: str,
        *,
        carrier: Mapping[str, str] | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Measure the body as a span (kind: server, producer, consumer, client), below the carrier's or the current one."""
        del name, kind, carrier, attributes
        return _NO_SPAN

    def record(
        self,
        name: str,
        kind: str,
        *,
        start_ns: int,
        carrier: Mapping[str, str],
        attributes: Attributes,
    ) -> None:
        """Note work that is done: from Unix time start_ns, in nanoseconds, until now, as a child of the carrier's span."""

    def carrier(self) -> dict[str, str]:
        """Return the headers that make what receives them a child of the current span (W3C traceparent)."""
        return {}

    def trace_id(self) -> str | None:
        """Return the current trace's id, 32 hexadecimal digits, or None outside of one."""
        return None

    def close(self) -> None:
        """Send what is left."""


class OtlpTracing(Tracing):
    """Sends spans by OTLP over HTTP, in batches and from a thread of its own; what cannot be sent in time is dropped."""

    enabled = True

    def __init__(
        self, exporter: SpanExporter, *, service: str, environment: str, version: str
    ) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  only where traces are wanted
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        resource = Resource.create(
            {
                "service.name": service,
                "service.version": version,
                "deployment.environment.name": environment,
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(service)
        self._propagator = TraceContextTextMapPropagator()

    def span(
        self,
        name: str,
        kind: str,
        *,
        carrier: Mapping[str, str] | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Measure the body; what it raises marks the span as failed."""
        return self._span(name, kind, carrier, attributes)

    @contextmanager
    def _span(
        self, name: str, kind: str, carrier: Mapping[str, str] | None, attributes: Attributes | None
    ) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        # None means the current span's context, whatever the thread is in the middle of.
        parent = None if carrier is None else self._propagator.extract(carrier)
        with self._tracer.start_as_current_span(
            name, context=parent, kind=SpanKind[kind.upper()], attributes=attributes
        ) as span:
            yield _OtelSpan(span)

    def record(
        self,
        name: str,
        kind: str,
        *,
        start_ns: int,
        carrier: Mapping[str, str],
        attributes: Attributes,
    ) -> None:
        """Note work that is done as one span."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        parent = self._propagator.extract(carrier)
        self._tracer.start_span(
            name,
            context=parent,
            kind=SpanKind[kind.upper()],
            attributes=attributes,
            start_time=start_ns,
        ).end()

    def carrier(self) -> dict[str, str]:
        """Return traceparent (and tracestate) of the current span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier

    def trace_id(self) -> str | None:
        """Return the current trace's id."""
        from opentelemetry.trace import format_trace_id, get_current_span  # noqa: PLC0415

        context = get_current_span().get_span_context()
        return format_trace_id(context.trace_id) if context.is_valid else None

    def close(self) -> None:
        """Send what is left, and stop."""
        self._provider.shutdown()


class _OtelSpan(Span):
    def __init__(self, span: object) -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)  # type: ignore[attr-defined]

    def fail(self, reason: str) -> None:
        """Mark the work as failed."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        self._span.set_status(Status(StatusCode.ERROR, reason))  # type: ignore[attr-defined]


def start(endpoint: str, *, service: str, environment: str, version: str) -> Tracing:
    """Return tracing to the endpoint (http://host:4318; /v1/traces is added, as the standard says), or none if it is empty."""
    if not endpoint:
        return Tracing()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    return OtlpTracing(exporter, service=service, environment=environment, version=version)
