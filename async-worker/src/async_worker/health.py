"""GET /health, /ready and /metrics."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import structlog

from .errors import Unavailable
from .metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .event import Progress
    from .metrics import Metrics

__all__ = ["HealthServer", "Vitals"]

log = structlog.stdlib.get_logger(__name__)

# Longer than all timeouts of one iteration: dead letters, the commit and the database.
STUCK_AFTER = 35.0
# How long a partition may have messages of which none is read.
STALLED_AFTER = 30.0
CLIENT_TIMEOUT = 5
# How often the server checks whether it has to stop, and so how long `close` takes.
SHUTDOWN_POLL = 0.05

# Status, content type, body.
Response = tuple[int, str, bytes]


class Vitals:
    """The state of the loop. The loop writes it, the health server's threads read it."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, heartbeat_interval: float = 10
    ) -> None:
        self._clock = clock
        # Two heartbeats may be lost, and one may be late.
        self._silent_after = 3 * heartbeat_interval + STALLED_AFTER
        self._last_iteration = clock()
        self._last_read = clock()
        self._joined = False
        self._delivering = True
        self._assigned = 0
        # By partition: its position, and since when it is there.
        self._positions: dict[int, tuple[int, float]] = {}
        self._lags: Mapping[int, int] = {}

    def record_iteration(self, *, joined: bool, delivering: bool) -> None:
        """Record that the loop runs: whether it is in its group, and its heartbeats reach Kafka."""
        self._joined = joined
        self._delivering = delivering
        self._last_iteration = self._clock()

    def record_read(self, progress: Progress, messages: int) -> None:
        """Record the progress after a poll that returned so many messages."""
        now = self._clock()
        if messages or progress.assigned > self._assigned:
            self._last_read = now
        self._assigned = progress.assigned
        # A new dictionary each time: other threads may read the previous one.
        self._positions = {
            partition: self._positions[partition]
            if self._positions.get(partition, (None, 0))[0] == position
            else (position, now)
            for partition, position in progress.positions.items()
        }
        self._lags = progress.lags

    @property
    def lags(self) -> Mapping[int, int]:
        """By partition: how many messages are not read yet."""
        return self._lags

    def stuck_reason(self) -> str | None:
        """Return why the loop counts as stuck, or None."""
        since = self._clock() - self._last_iteration
        return f"the loop has not turned for {since:.0f} s" if since > STUCK_AFTER else None

    def idle_reason(self) -> str | None:
        """Return why this worker does not consume, or None."""
        if not self._joined:
            return "this worker has not joined its group"
        if not self._delivering:
            return "Kafka does not take this worker's heartbeats"
        return self.stuck_reason() or self._stalled_reason()

    def _stalled_reason(self) -> str | None:
        now, positions, lags = self._clock(), self._positions, self._lags
        for partition, (_, since) in positions.items():
            if lags.get(partition) and now - since > STALLED_AFTER:
                return (
                    f"partition {partition} has {lags[partition]} messages, "
                    f"and none was read for {now - since:.0f} s"
                )
        # A worker sends its heartbeats to partitions that it reads, so silence is a fault.
        silence = now - self._last_read
        if self._assigned and silence > self._silent_after:
            return f"nothing was read for {silence:.0f} s, not even this worker's own heartbeats"
        return None


class HealthServer:
    """The HTTP server, in threads of its own."""

    def __init__(
        self,
        port: int,
        vitals: Vitals,
        check_database: Callable[[], None],
        metrics: Metrics,
        topic: str,
    ) -> None:
        """Listen, or raise OSError. `serve` handles the requests."""

        def render_metrics() -> Response:
            metrics.ready.set(0 if vitals.idle_reason() else 1)
            metrics.set_lags(topic, vitals.lags)
            return 200, CONTENT_TYPE, metrics.render()

        class Handler(_Handler):
            routes = {  # noqa: RUF012  http.server makes an instance for each request
                "/health": lambda: _health(vitals),
                "/ready": _Readiness(vitals, check_database).respond,
                "/metrics": render_metrics,
            }

        self._server = ThreadingHTTPServer(("", port), Handler)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def serve(self) -> None:
        """Handle requests in the background."""
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(SHUTDOWN_POLL,), name="health", daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def _health(vitals: Vitals) -> Response:
    if reason := vitals.stuck_reason():
        return _json(503, {"status": "stuck", "reasons": [reason]})
    return _json(200, {"status": "alive"})


class _Readiness:
    """Handles /ready. The driver's message may name hosts and users, so only the log has it."""

    def __init__(self, vitals: Vitals, check_database: Callable[[], None]) -> None:
        self._vitals = vitals
        self._check_database = check_database
        self._logged = ""

    def respond(self) -> Response:
        reasons = [reason] if (reason := self._vitals.idle_reason()) else []
        problem = ""
        try:
            self._check_database()
        except Unavailable as error:
            problem = str(error)
            reasons.append("the database does not answer, or its table is not there yet")
        # Requests come every few seconds: log each problem once.
        if problem and problem != self._logged:
            log.warning("not ready", reason=problem)
        self._logged = problem
        if reasons:
            return _json(503, {"status": "not ready", "reasons": reasons})
        return _json(200, {"status": "ready"})


def _json(status: int, body: dict[str, Any]) -> Response:
    return status, "application/json", json.dumps(body).encode("utf-8")


class _Handler(BaseHTTPRequestHandler):
    routes: dict[str, Callable[[], Response]]
    timeout = CLIENT_TIMEOUT

    def do_GET(self) -> None:
        respond = self.routes.get(self.path)
        status, content_type, content = (
            respond() if respond else _json(404, {"status": "there is nothing at this address"})
        )
        with suppress(ConnectionError):  # a probe may disconnect once it has read the status
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def version_string(self) -> str:
        return "async-worker"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  its name
        log.debug("health request", line=format % arguments)
