"""waitress, started and stopped the way a container needs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import structlog
from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from .errors import Problem

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from .settings import Settings

__all__ = ["Server"]

log = structlog.stdlib.get_logger(__name__)

# waitress' own default of 100 open connections lets a hundred stalled clients shut everybody else out.
CONNECTION_LIMIT = 1000
# A connection that sends nothing for so long is closed.
CHANNEL_TIMEOUT = 30
# How long one look at the sockets may take: also how late it notices that it was told to stop.
TURN = 0.5


class Server:
    """Listens from the moment it is made; serves while `run` runs; drains and returns once `stopping` is set."""

    def __init__(self, app: Callable[..., Any], settings: Settings, stopping: threading.Event) -> None:
        self._settings = settings
        self._stopping = stopping
        self._sockets: dict[int, Any] = {}
        self._server = create_server(
            app,
            map=self._sockets,
            host=settings.http_host,
            port=settings.http_port,
            threads=settings.http_threads,
            connection_limit=CONNECTION_LIMIT,
            channel_timeout=CHANNEL_TIMEOUT,
            # select() cannot watch file descriptors above 1023.
            asyncore_use_poll=True,
            # The app answers 413 itself, in JSON; waitress only stops what is far beyond.
            max_request_body_size=settings.max_body_bytes * 2,
            ident=None,
        )
        self._server.channel_class = _JsonChannel

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.effective_port)

    def run(self) -> None:
        """Serve until told to stop, then be unready for a while, finish what is under way, and return."""
        while not self._stopping.is_set():
            self._turn(TURN)
        log.info("draining", delay=self._settings.shutdown_delay, timeout=self._settings.shutdown_timeout)
        self._turn_until(time.monotonic() + self._settings.shutdown_delay)
        # Only the listening socket: the trigger must live on, since the worker threads pull it when they are done.
        wasyncore.dispatcher.close(self._server)
        deadline = time.monotonic() + self._settings.shutdown_timeout
        self._turn_until(deadline, done=self._all_answered)
        if busy := self._close_idle():
            log.warning("cutting requests that did not finish in time", requests=busy)
        self._server.task_dispatcher.shutdown(timeout=max(0, deadline - time.monotonic()))
        wasyncore.close_all(self._sockets)

    def _turn_until(self, deadline: float, done: Callable[[], bool] = lambda: False) -> None:
        while (left := deadline - time.monotonic()) > 0 and not done():
            self._turn(min(left, TURN))

    def _turn(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._sockets, count=1)

    def _all_answered(self) -> bool:
        return self._close_idle() == 0

    def _close_idle(self) -> int:
        """Close connections that wait for nothing and return how many still have a request under way."""
        busy = 0
        for channel in list(self._server.active_channels.values()):
            if channel.requests or channel.request or channel.total_outbufs_len:
                busy += 1
            else:
                channel.will_close = True
        return busy


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]  # waitress is untyped
    """Answers what waitress itself refuses, a malformed request for one, in the shape of the app's errors."""

    def __init__(self, channel: Any, request: Any) -> None:  # noqa: ANN401  waitress' own signature
        request.error = _JsonError(request.error)
        super().__init__(channel, request)


class _JsonError:
    """Stands in for a waitress.utilities.Error."""

    def __init__(self, error: Any) -> None:  # noqa: ANN401
        self._error = error

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body."""
        del ident
        code = self._error.reason.lower().replace(" ", "-")
        problem = Problem(self._error.code, code, str(self._error.body))
        body = json.dumps(problem.body()).encode("utf-8")
        return f"{self._error.code} {self._error.reason}", [("Content-Type", "application/json")], body


class _JsonChannel(HTTPChannel):  # type: ignore[misc]  # waitress is untyped
    error_task_class = _JsonErrorTask
