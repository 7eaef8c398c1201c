"""A collector of traces: it takes OTLP over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ReceivedSpan

from tests.registries import Answer

__all__ = ["Collector", "Span"]


@dataclass(frozen=True)
class Span:
    """A received span; ids are hexadecimal, and the parent's may be empty."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str


@dataclass(frozen=True)
class Collector:
    """Keeps every request that it answers."""

    bodies: list[bytes] = field(default_factory=list)

    def __call__(self, _method: str, path: str, _headers: dict[str, str], body: bytes) -> Answer:
        """Take an ExportTraceServiceRequest, and keep no connection."""
        if path != "/v1/traces":
            return 404, {"Connection": "close"}, b""
        self.bodies.append(body)
        return 200, {"Connection": "close", "Content-Type": "application/x-protobuf"}, b""

    def spans(self, trace_id: str) -> list[Span]:
        """The spans of one trace."""
        spans = [
            _span(part, span)
            for body in list(self.bodies)
            for part in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]
        return [span for span in spans if span.trace_id == trace_id]


def _span(part: ResourceSpans, span: ReceivedSpan) -> Span:
    names = [
        attribute.value.string_value
        for attribute in part.resource.attributes
        if attribute.key == "service.name"
    ]
    kind = ReceivedSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
    ids = (ident.hex() for ident in (span.trace_id, span.span_id, span.parent_span_id))
    return Span("".join(names), span.name, kind, *ids)
