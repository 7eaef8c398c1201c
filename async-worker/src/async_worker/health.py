"""Says over HTTP whether the worker lives and works, and what it has measured."""

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

    from .metrics import Metrics

__all__ = ["HealthServer", "Vitals"]

log = structlog.stdlib.get_logger(__name__)

# Longer than everything one turn may wait for: a dead letter, a commit, and the database's own timeouts.
STUCK_AFTER = 35.0
# How long a partition may have messages without one of them being read.
STALLED_AFTER = 30.0
CLIENT_TIMEOUT = 5
# How often the server looks whether it is to stop: how much longer the process may live for it.
STOP_LOOK = 0.05

Answer = tuple[int, str, bytes]


class Vitals:
    """What the loop last said about itself. Written by the loop, read by the health server's threads."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, heartbeat_interval: float = 10
    ) -> None:
        self._clock = clock
        # Two heartbeats may get lost, and one may be late.
        self._quiet_after = 3 * heartbeat_interval + STALLED_AFTER
        self._last_turn = clock()
        self._last_read = clock()
        self._joined = False
        self._delivering = True
        self._owned = 0
        self._moved: dict[int, tuple[int, float]] = {}
        self._lags: Mapping[int, int] = {}

    def turned(self, *, joined: bool, delivering: bool) -> None:
        """Note one turn of the loop."""
        self._joined = joined
        self._delivering = delivering
        self._last_turn = self._clock()

    def read(
        self, positions: Mapping[int, int], lags: Mapping[int, int], owned: int, messages: int
    ) -> None:
        """Note how far each partition is read, how much is left there, and what the last look brought."""
        now = self._clock()
        if messages or owned > self._owned:
            self._last_read = now
        self._owned = owned
        # Assigned as a whole: other threads read it meanwhile.
        self._moved = {
            partition: self._moved[partition]
            if self._moved.get(partition, (None, 0))[0] == position
            else (position, now)
            for partition, position in positions.items()
        }
        self._lags = dict(lags)

    @property
    def lags(self) -> Mapping[int, int]:
        """How many messages each partition has that are not read yet."""
        return self._lags

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
        return self.stuck() or self._stalled()

    def _stalled(self) -> str | None:
        now, moved, lags = self._clock(), self._moved, self._lags
        for partition, (_, since) in moved.items():
            if lags.get(partition) and now - since > STALLED_AFTER:
                return f"partition {partition} has {lags[partition]} messages, and none was read for {now - since:.0f} s"
        # Each worker sends its heartbeats to a partition that it reads itself, so silence is a fault.
        if self._owned and now - self._last_read > self._quiet_after:
            return f"nothing was read for {now - self._last_read:.0f} s, not even this worker's own heartbeats"
        return None


class HealthServer:
    """GET /health, GET /ready and GET /metrics on a thread of its own."""

    def __init__(
        self,
        port: int,
        vitals: Vitals,
        check_database: Callable[[], None],
        metrics: Metrics,
        topic: str,
    ) -> None:
        """Listen, or raise OSError; `serve` begins to answer."""

        def measured() -> Answer:
            metrics.ready.set(0 if vitals.idle() else 1)
            metrics.show_lag(topic, vitals.lags)
            return 200, CONTENT_TYPE, metrics.page()

        ready = _Readiness(vitals, check_database)

        class Handler(_Handler):
            answers = {  # noqa: RUF012  a class attribute on purpose
                "/health": lambda: _health(vitals),
                "/ready": ready.answer,
                "/metrics": measured,
            }

        self._server = ThreadingHTTPServer(("", port), Handler)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def serve(self) -> None:
        """Begin to answer, in the background."""
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(STOP_LOOK,), name="health", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _health(vitals: Vitals) -> Answer:
    reason = vitals.stuck()
    return (
        _json(503, {"status": "stuck", "reasons": [reason]})
        if reason
        else _json(200, {"status": "alive"})
    )


class _Readiness:
    """Answers /ready in words for anybody; hosts, users and the driver's words go to the log."""

    def __init__(self, vitals: Vitals, check_database: Callable[[], None]) -> None:
        self._vitals = vitals
        self._check_database = check_database
        self._logged = ""

    def answer(self) -> Answer:
        reasons = [reason] if (reason := self._vitals.idle()) else []
        found = ""
        try:
            self._check_database()
        except Unavailable as error:
            found = str(error)
            reasons.append("the database does not answer, or its table is not there yet")
        if found and found != self._logged:  # it is asked every few seconds
            log.warning("not ready", reason=found)
        self._logged = found
        return (
            _json(503, {"status": "not ready", "reasons": reasons})
            if reasons
            else _json(200, {"status": "ready"})
        )


def _json(status: int, body: dict[str, Any]) -> Answer:
    return status, "application/json", json.dumps(body).encode("utf-8")


class _Handler(BaseHTTPRequestHandler):
    answers: dict[str, Callable[[], Answer]]
    timeout = CLIENT_TIMEOUT

    def do_GET(self) -> None:
        answer = self.answers.get(self.path)
        status, kind, content = (
            answer() if answer else _json(404, {"status": "there is nothing at this address"})
        )
        with suppress(ConnectionError):  # a probe may hang up as soon as it has read the status
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def version_string(self) -> str:
        return "async-worker"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  http.server's name
        log.debug("health request", line=format % arguments)
