"""A collector of traces: takes OTLP over HTTP, and reads as much of its protobuf as tells who is whose child."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Collector", "Span", "collecting", "fields", "read"]

PATH = "/v1/traces"
# opentelemetry/proto/trace/v1/trace.proto, enum SpanKind
KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True)
class Span:
    """A span as it was received: the ids in hexadecimal, no parent as an empty one."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message in their order: each one's number, and its number or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _LENGTH:
            size, at = _varint(message, at)
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise ValueError(f"field {number} has wire type {wire}, which OTLP does not use")
        if at + size > len(message):
            raise ValueError(f"field {number} ends {at + size - len(message)} bytes after the message")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where the next field begins."""
    value = shift = 0
    while at < len(message):
        value |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("the message ends within a number")


def read(request: bytes) -> list[Span]:
    """The spans of an ExportTraceServiceRequest."""
    spans = []
    for resource_spans in _inner(request, 1):
        attributes = {
            _text(attribute, 1): _text(value, 1)
            for resource in _inner(resource_spans, 1)
            for attribute in _inner(resource, 1)
            for value in _inner(attribute, 2)
        }
        for scope_spans in _inner(resource_spans, 2):
            spans += [_span(attributes.get("service.name", ""), span) for span in _inner(scope_spans, 2)]
    return spans


def _span(service: str, message: bytes) -> Span:
    kind = next((value for number, value in fields(message) if number == 6 and isinstance(value, int)), 0)
    trace_id, span_id, parent_id = (b"".join(_inner(message, number)).hex() for number in (1, 2, 4))
    return Span(service, _text(message, 5), KINDS[kind], trace_id, span_id, parent_id)


def _inner(message: bytes, wanted: int) -> list[bytes]:
    return [value for number, value in fields(message) if number == wanted and isinstance(value, bytes)]


def _text(message: bytes, wanted: int) -> str:
    return b"".join(_inner(message, wanted)).decode("utf-8")


class Collector:
    """What was sent to it so far."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), _handler(self.bodies))  # noqa: S104  containers send to it
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens, at every address of this machine."""
        return self._server.server_port

    def spans(self, trace_id: str) -> list[Span]:
        """The spans of one trace."""
        return [span for body in list(self.bodies) for span in read(body) if span.trace_id == trace_id]

    def stop(self) -> None:
        """Be away: nobody listens at the port any more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector; it may be stopped before the end."""
    collector = Collector()
    try:
        yield collector
    finally:
        collector.stop()


def _handler(bodies: list[bytes]) -> type[BaseHTTPRequestHandler]:
    # HTTP/1.0, which it speaks unless told otherwise, keeps no connection: a collector that has stopped answers nobody.
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
            """Say nothing."""

    return Handler
