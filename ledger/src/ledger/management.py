"""The management port: GET /health, /ready and /metrics, for probes and monitors.

Its threads are its own, so it answers while every thread of the app is busy.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

__all__ = ["ManagementServer", "Probes", "alive"]

CLIENT_TIMEOUT = 5
# How often the server checks whether it has to stop, and so how long `close` takes.
SHUTDOWN_POLL = 0.05
# Without free file descriptors, accepting fails at once, again and again.
ACCEPT_PAUSE = 0.1

# The status and the JSON body of a probe's response.
Probe = Callable[[], tuple[int, Mapping[str, object]]]


def alive() -> tuple[int, Mapping[str, object]]:
    """Return the response to /health of an app that is alive whenever it responds."""
    return 200, {"status": "alive"}


@dataclass(frozen=True)
class Probes:
    """What the management port responds. Its threads call these."""

    # /ready
    ready: Probe
    # /metrics: the content type and the body for an Accept header.
    metrics: Callable[[str], tuple[str, bytes]]
    # /health
    health: Probe = alive


STARTING = Probes(
    ready=lambda: (503, {"status": "not ready", "reasons": ["the app is being loaded"]}),
    metrics=lambda _: ("text/plain", b""),
)


class ManagementServer:
    """The HTTP server, in threads of its own."""

    def __init__(self, port: int, probes: Probes = STARTING) -> None:
        """Listen, or raise OSError. `serve` handles the requests."""
        self._server = _Server(("", port), _Handler)
        self.show(probes)

    def show(self, probes: Probes) -> None:
        """Respond by these from now on."""
        self._server.probes = probes

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def serve(self) -> None:
        """Handle requests in the background."""
        serve = self._server.serve_forever
        thread = threading.Thread(target=serve, args=(SHUTDOWN_POLL,), name="management")
        thread.daemon = True
        thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    probes: Probes
    # http.server's own class looks up the name of this machine when it starts.
    allow_reuse_address = True
    daemon_threads = True
    # Every address of this machine, of both kinds: a cluster may have one kind alone.
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    request_queue_size = 64

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(ACCEPT_PAUSE)
            raise

    def handle_error(self, *_: object) -> None:
        import structlog  # noqa: PLC0415  its import takes longer than all of a start until here

        log = structlog.stdlib.get_logger(__name__)
        log.exception("a request to the management port failed")  # noqa: LOG004  called in one


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_TIMEOUT

    def do_GET(self) -> None:
        status, content_type, content = self._response()
        with suppress(ConnectionError):  # a probe may disconnect once it has read the status
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _response(self) -> tuple[int, str, bytes]:
        """Return the status, the content type and the body."""
        probes = self.server.probes
        if self.path == "/metrics":
            return 200, *probes.metrics(self.headers.get("Accept", ""))
        probe = {"/health": probes.health, "/ready": probes.ready}.get(self.path)
        status, body = probe() if probe else (404, {"status": "there is nothing at this address"})
        return status, "application/json", json.dumps(body).encode("utf-8")

    def version_string(self) -> str:
        return "management"

    def log_message(self, *_: object) -> None:
        """Log nothing: probes come every few seconds."""
