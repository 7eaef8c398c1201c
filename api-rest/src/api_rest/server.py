"""Serves the app by waitress, and stops as a container needs it: no request is lost.

docs/hostile-http.md says what waitress leaves to a proxy in front of it.
"""

from __future__ import annotations

import json
import logging
import resource
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import structlog
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from .errors import Cut, Problem

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from .settings import Settings

__all__ = ["Server"]

log = structlog.stdlib.get_logger(__name__)

BACKLOG = 1024
# How long one look at the sockets may take, and so how late a stop is noticed.
TURN = 0.1
# For so many times as long as a turn worked, the next one is waited for.
REST = 2
# How often connections with unread answers are looked over: a turn may take a fraction of that.
UNREAD_INTERVAL = 0.05
# How often connections without a request are looked over for those that rest too long.
CLEANUP_INTERVAL = 5
# Without free file descriptors, accepting fails at once, again and again.
ACCEPT_PAUSE = 0.1
# Files that are open besides the connections.
OTHER_FILES = 128
# A thread that is so far ahead of its client waits for it.
FAR_AHEAD = 1_048_576
# No answer waits in a file.
IN_MEMORY = 4 * FAR_AHEAD
# How many bytes of answers may wait for slow clients, all together; the process may have 256 MB.
UNSENT_LIMIT = 32 * 1_048_576
# How long a thread waits for that to become less, before it makes one more.
UNSENT_PAUSE = 0.005
# While draining, a connection is closed once it rests for so long: a client may be about to use it.
REST_WHILE_DRAINING = 1.0
# SO_LINGER on, with 0 s: close by a reset.
RESET = struct.pack("ii", 1, 0)
CODES = {
    400: "bad-request",
    413: "too-large",
    431: "request-header-fields-too-large",
    500: "internal-error",
    501: "not-implemented",
}


class Server:
    """Listens once it is made; serves while `run` runs, which drains once `stopping` is set."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        settings: Settings,
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._stopping = stopping
        self._waitress = _Waitress(app, settings, stopping)
        self._looks_at = 0.0
        # Waitress warns of every request that waits for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._waitress.effective_port)

    @property
    def queued(self) -> int:
        """Requests that wait for a thread."""
        return sum(len(pool.queue) for pool in self._waitress.pools)

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._waitress.active_channels)

    @property
    def counters(self) -> dict[str, int]:
        """Requests and connections that never reached the app or got no answer, by reason."""
        return self._waitress.counters

    def run(self) -> None:
        """Serve until told to stop, be unready for a while, finish open requests, and return."""
        while not self._stopping.is_set():
            self._turn()
        delay, timeout = self._settings.shutdown_delay, self._settings.shutdown_timeout
        log.info("draining", delay=delay, timeout=timeout)
        end = time.monotonic() + delay
        while time.monotonic() < end:
            self._turn()
        self._waitress.stop_listening()
        began, end = time.time(), time.monotonic() + timeout
        while self._waitress.active_channels and time.monotonic() < end:
            self._waitress.close_idle(began)
            self._turn()
        if unanswered := self.connections:
            log.warning("cutting requests that did not finish in time", requests=unanswered)
        for pool in self._waitress.pools:
            pool.shutdown(timeout=max(TURN, end - time.monotonic()))
        wasyncore.close_all(self._waitress.sockets)

    def _turn(self) -> None:
        """Look at every connection once, then rest.

        A turn takes a millisecond with 250 connections, in which no thread goes on. Without a rest
        every event has a turn of its own, and requests take ten times as long.
        """
        began = time.thread_time()
        wasyncore.loop(timeout=TURN, use_poll=True, map=self._waitress.sockets, count=1)
        if (now := time.monotonic()) >= self._looks_at:
            self._looks_at = now + UNREAD_INTERVAL
            self._waitress.close_unread()
        time.sleep(REST * (time.thread_time() - began))


class _Waitress(TcpWSGIServer):  # type: ignore[misc]  # waitress is untyped
    """Waitress' server; other threads record than read, so that readers never block recording."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        settings: Settings,
        stopping: threading.Event,
    ) -> None:
        limit = _allow_files(settings.connection_limit + OTHER_FILES) - OTHER_FILES
        listener = _listen(settings.http_host, settings.http_port)
        adjustments = Adjustments(
            sockets=[listener],
            backlog=BACKLOG,
            connection_limit=limit,
            channel_timeout=settings.request_timeout,
            cleanup_interval=CLEANUP_INTERVAL,
            max_request_header_size=settings.max_header_bytes,
            # Waitress refuses what has as many bytes; the app refuses what has more.
            max_request_body_size=settings.max_body_bytes + 1,
            inbuf_overflow=settings.max_body_bytes + 1,
            outbuf_high_watermark=FAR_AHEAD,
            outbuf_overflow=IN_MEMORY,
            log_socket_errors=False,
            # ProxyHeaders decides about them.
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        self.draining = stopping.is_set
        self.counters = {"malformed": 0, "stalled": 0, "evicted": 0}
        self.sockets: dict[int, Any] = {}
        self.pools = self._posts, self._others = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
        self._posts.set_thread_count(settings.http_threads)
        self._others.set_thread_count(settings.read_threads)
        self._unsent_timeout = settings.request_timeout
        self._accepts_from = 0.0
        super().__init__(
            app,
            self.sockets,
            _sock=listener,
            dispatcher=self._posts,
            adj=adjustments,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )
        self.channel_class = _Channel

    def add_task(self, channel: HTTPChannel) -> None:
        """Have a thread answer the channel's request."""
        is_post = getattr(channel.requests[0], "command", "") == "POST"
        (self._posts if is_post else self._others).add_task(channel)

    def readable(self) -> bool:
        """Whether to wait for connections."""
        return bool(super().readable()) and time.monotonic() >= self._accepts_from

    def handle_accept(self) -> None:
        """Accept every connection that waits, where waitress accepts one."""
        while len(self.sockets) < self.adj.connection_limit:
            try:
                client, address = self.socket.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                log.warning("cannot accept a connection", reason=error.strerror or str(error))
                self._accepts_from = time.monotonic() + ACCEPT_PAUSE
                return
            self.set_socket_options(client)
            self.channel_class(self, client, address, self.adj, map=self.sockets)

    def stop_listening(self) -> None:
        """Refuse new connections, and lose none that the kernel has accepted for this process."""
        self.handle_accept()
        # Not the server's own close: threads use its trigger.
        wasyncore.dispatcher.close(self)

    def close_idle(self, since: float) -> None:
        """Close the connections that have been idle since then for REST_WHILE_DRAINING."""
        now = time.time()
        for channel in list(self.active_channels.values()):
            is_idle = not (channel.requests or channel.request or channel.total_outbufs_len)
            if is_idle and now - max(channel.last_activity, since) > REST_WHILE_DRAINING:
                channel.will_close = True

    def unsent(self) -> int:
        """Return how many bytes of answers wait for clients; any thread may ask."""
        return sum(channel.total_outbufs_len for channel in list(self.active_channels.values()))

    def close_unread(self) -> None:
        """Close connections whose clients read nothing for too long, or while it is too much.

        Waitress waits for them for ever.
        """
        unread = [each for each in self.active_channels.values() if each.total_outbufs_len]
        excess = self.unsent() - UNSENT_LIMIT
        silent_since = time.time() - self._unsent_timeout
        for channel in sorted(unread, key=lambda channel: channel.last_activity):
            if excess > 0:
                self.counters["evicted"] += 1
            elif channel.last_activity < silent_since:
                self.counters["stalled"] += 1
            else:
                return
            excess -= channel.total_outbufs_len
            channel.handle_close()


class _Task(WSGITask):  # type: ignore[misc]  # waitress is untyped
    """A request of the app's."""

    def service(self) -> None:
        """Answer; where the app ends its answer early, let the client see an error."""
        while self.channel.server.unsent() > UNSENT_LIMIT:
            time.sleep(UNSENT_PAUSE)
        try:
            super().service()
        except Cut:
            # In HTTP/1.0 an ordinary end would end the answer.
            self.channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.close_on_finish = True

    def build_response_header(self) -> bytes:
        """Return the head, which tells the client to connect anew when this server will stop."""
        if self.channel.server.draining():
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        if self.request.command == "HEAD":
            # Waitress would send the end of the body that GET has.
            self.chunked_response = False
        return head


class _ErrorTask(ErrorTask):  # type: ignore[misc]  # waitress is untyped
    """What waitress answers itself, in the form of the app's errors."""

    def execute(self) -> None:
        """Answer."""
        error = self.request.error
        if error.code < 500:  # noqa: PLR2004  HTTP's
            self.channel.server.counters["malformed"] += 1
        limits = self.channel.adj
        text = {
            413: f"the body has more than {limits.max_request_body_size - 1} bytes",
            431: f"the headers have more than {limits.max_request_header_size} bytes",
        }.get(error.code, str(error.body))
        body = json.dumps(Problem(error.code, CODES[error.code], text).body()).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", "application/json")]
        self.content_length = len(body)
        self.set_close_on_finish()
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress is untyped
    """A client's connection."""

    task_class = _Task
    error_task_class = _ErrorTask


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual)


def _allow_files(wanted: int) -> int:
    """Raise the limit of open files to `wanted`, as far as allowed, and return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "fewer open files are allowed than CONNECTION_LIMIT needs",
            allowed=allowed,
            needed=wanted,
        )
    return allowed
