"""A collector of traces: it takes OTLP over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ReceivedSpan

__all__ = ["Collector", "Span", "collecting", "read"]

PATH = "/v1/traces"


@dataclass(frozen=True)
class Span:
    """A received span; ids are hexadecimal, and the parent's may be empty."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str


def read(request: bytes) -> list[Span]:
    """The spans of an ExportTraceServiceRequest."""
    return [
        _span(part, span)
        for part in ExportTraceServiceRequest.FromString(request).resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]


def _span(part: ResourceSpans, span: ReceivedSpan) -> Span:
    names = [
        attribute.value.string_value
        for attribute in part.resource.attributes
        if attribute.key == "service.name"
    ]
    kind = ReceivedSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
    ids = (ident.hex() for ident in (span.trace_id, span.span_id, span.parent_span_id))
    return Span("".join(names), span.name, kind, *ids)


class Collector:
    """Keeps every request."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        address = ("0.0.0.0", 0)  # noqa: S104  containers send to it
        self._server = ThreadingHTTPServer(address, _handler(self.bodies))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Its port, at every address of this machine."""
        return self._server.server_port

    def spans(self, trace_id: str) -> list[Span]:
        """The spans of one trace."""
        return [
            span for body in list(self.bodies) for span in read(body) if span.trace_id == trace_id
        ]

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector; the body may stop it."""
    collector = Collector()
    try:
        yield collector
    finally:
        collector.stop()


def _handler(bodies: list[bytes]) -> type[BaseHTTPRequestHandler]:
    # HTTP/1.0, the default, keeps no connection: a stopped collector answers no request.
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == PATH:
                bodies.append(body)
            self.send_response(200 if self.path == PATH else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler
