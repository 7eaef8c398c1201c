"""Says over HTTP whether the worker lives and works."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import structlog

from .errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HealthServer", "Vitals"]

log = structlog.stdlib.get_logger(__name__)

# Longer than everything one turn may wait for: a dead letter, a commit, and the database's own timeouts.
STUCK_AFTER = 35.0
CLIENT_TIMEOUT = 5


class Vitals:
    """What the loop last said about itself. Written by the loop, read by the health server's threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_turn = clock()
        self._joined = False
        self._delivering = True

    def turned(self, *, joined: bool, delivering: bool) -> None:
        """Note one turn of the loop."""
        self._joined = joined
        self._delivering = delivering
        self._last_turn = self._clock()

    def stuck(self) -> str | None:
        """Return why the loop counts as stuck, or None while it turns."""
        since = self._clock() - self._last_turn
        return f"the loop has not turned for {since:.0f} s" if since > STUCK_AFTER else None

    def idle(self) -> str | None:
        """Return why nothing is consumed, or None while the worker does its share."""
        if not self._joined:
            return "this worker has not joined its group"
        if not self._delivering:
            return "Kafka does not take this worker's heartbeats"
        return self.stuck()


class HealthServer:
    """GET /health and GET /ready on a thread of its own."""

    def __init__(self, port: int, vitals: Vitals, check_database: Callable[[], None]) -> None:
        """Listen, or raise OSError; `serve` begins to answer."""

        class Handler(_Handler):
            answers = {  # noqa: RUF012  a class attribute on purpose
                "/health": lambda: _health(vitals),
                "/ready": lambda: _ready(vitals, check_database),
            }

        self._server = ThreadingHTTPServer(("", port), Handler)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def serve(self) -> None:
        """Begin to answer, in the background."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _health(vitals: Vitals) -> tuple[int, dict[str, Any]]:
    reason = vitals.stuck()
    return (503, {"status": "stuck", "reasons": [reason]}) if reason else (200, {"status": "alive"})


def _ready(vitals: Vitals, check_database: Callable[[], None]) -> tuple[int, dict[str, Any]]:
    reasons = [reason] if (reason := vitals.idle()) else []
    try:
        check_database()
    except Unavailable as error:
        reasons.append(str(error))
    return (503, {"status": "not ready", "reasons": reasons}) if reasons else (200, {"status": "ready"})


class _Handler(BaseHTTPRequestHandler):
    answers: dict[str, Callable[[], tuple[int, dict[str, Any]]]]
    timeout = CLIENT_TIMEOUT

    def do_GET(self) -> None:
        answer = self.answers.get(self.path)
        status, body = answer() if answer else (404, {"status": "there is nothing at this address"})
        content = json.dumps(body).encode("utf-8")
        with suppress(ConnectionError):  # a probe may hang up as soon as it has read the status
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def version_string(self) -> str:
        return "async-worker"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  http.server's name
        log.debug("health request", line=format % arguments)
