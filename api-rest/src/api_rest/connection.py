"""One client's connection: the I/O thread reads its requests, a worker thread answers each in turn.

The connection is what waitress calls a channel, and takes its place. Its own channel wakes the
I/O thread for every answer, knows only one timeout, which every byte extends, and resets a client
that is still sending when it is refused.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from .errors import Cut, Problem
from .framing import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Answer", "Connection", "Disconnected", "Host", "refusal"]

RECEIVE = 65_536
# Parts of an answer are sent together up to so many bytes: most answers are one packet, not two.
TOGETHER = 65_536
# A worker that is so far ahead of its client waits for it.
FAR_AHEAD = 1_048_576
# How long a client may take to hang up after the last answer. To close earlier would reset the
# connection, and might take the answer away, if the client is still sending.
LINGER = 2.0
# SO_LINGER on, with 0 s.
RESET = struct.pack("ii", 1, 0)

HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"
REASONS = {
    200: "OK",
    400: "Bad Request",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    422: "Unprocessable Content",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Answer:
    """What is answered without the app and its threads."""

    def __init__(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self._body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())

    def encode(self, *, close: bool, head: bool) -> bytes:
        """Return the bytes to send."""
        closing = "Connection: close\r\n" if close else ""
        lines = (
            f"HTTP/1.1 {self.status} {REASONS[self.status]}\r\n{closing}{self._headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(self._body)}\r\n"
            f"Date: {time.strftime(HTTP_DATE, time.gmtime())}\r\n\r\n"
        )
        return lines.encode() + (b"" if head else self._body)


def refusal(problem: Problem) -> Answer:
    """Return the answer to a request that is not served."""
    return Answer(problem.status, problem.body(), problem.headers)


BROKEN = refusal(
    Problem(500, "internal-error", "something went wrong here; the log has the details")
)
CUT_SHORT = refusal(Problem(400, "bad-request", "the request ended before it was whole"))
TOO_SLOW = refusal(Problem(408, "request-timeout", "the request did not arrive whole in time"))


class Host(Protocol):
    """What a connection needs of the server it belongs to."""

    application: Callable[..., Any]
    effective_port: int
    server_name: str
    adj: SimpleNamespace
    counters: dict[str, int]
    task: Callable[[Connection, Request], Any]

    @property
    def draining(self) -> bool:
        """Whether clients are to go elsewhere."""

    def new_request(self) -> Request:
        """Return an empty request."""

    def instant(self, request: Request) -> Answer | None:
        """Return the answer if no thread is needed for it."""

    def submit(self, connection: Connection, request: Request) -> None:
        """Have a worker thread for requests like this one call `serve`."""

    def resume(self, connection: Connection) -> None:
        """Have the I/O thread call `go_on`."""

    def wake(self) -> None:
        """Have the I/O thread look around now."""

    def watch(self, connection: Connection, before: int, after: int) -> None:
        """Change which events of the socket lead to `handle`."""

    def forget(self, connection: Connection) -> None:
        """It is closed."""

    def report(self, what: str) -> None:
        """Log the exception at hand."""


class Disconnected(Exception):  # noqa: N818  what it says
    """The client is gone: nobody waits for the answer."""


class Connection:
    """Belongs to the I/O thread; what `lock` guards is shared with the worker that answers."""

    adj = SimpleNamespace(log_socket_errors=True)

    def __init__(self, server: Host, client: socket.socket, addr: tuple[Any, ...]) -> None:
        self.server = server
        self.addr = addr
        self.socket = client
        # When the current phase began: idle, a request's first byte, last sent byte, or lingering.
        self.since = time.monotonic()
        self.lock = threading.Lock()
        self._progress = threading.Condition(self.lock)
        self.busy = False
        self.connected = True
        self._closing = False
        self._request: Request | None = None
        self._ahead = b""
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._begun = False
        self._cut = False
        self._unsent = bytearray()
        self._watched = 0
        self._watch(EVENT_READ)

    @property
    def stays(self) -> bool:
        """Whether the client may go on using the connection after the present answer."""
        return not (self._closing or self.server.draining)

    @property
    def lingering(self) -> bool:
        """Whether everything is answered and sent, and only the client has not hung up yet."""
        return self._closing and not self.busy and not self._unsent

    @property
    def resting(self) -> bool:
        """Whether nothing of a request has come and nothing is under way."""
        return not (self._request or self.busy or self._unsent or self._closing)

    @property
    def stalls(self) -> bool:
        """Whether it waits for the client."""
        return not self.busy or bool(self._unsent)

    @property
    def unsent(self) -> int:
        """How many bytes of an answer wait for the client."""
        return len(self._unsent)

    # In the I/O thread.

    def handle(self, events: int) -> None:
        """Go on after the socket became ready."""
        if events & EVENT_WRITE and self._unsent:
            self._flush()
        elif events & EVENT_READ and self.connected:
            if self.busy:
                with self.lock:
                    # Whatever comes now waits in the kernel, as long as the client can bear.
                    if self.busy:
                        self._watch(0)
                        return
            self._read()

    def go_on(self) -> None:
        """Take up the requests that came together with the one that is answered now."""
        if self._cut:
            self._reset()
        elif self.connected and not self.busy:
            self._parse(b"")

    def expire(self, now: float, limit: float) -> None:
        """Close it if the client takes too long."""
        waited = now - self.since
        if self._unsent:
            if waited > limit:
                self.server.counters["stalled"] += 1
                self.close()
        elif self.busy:
            return
        elif self._closing:
            if waited > LINGER:
                self.close()
        elif waited > limit:
            if self._request:
                self.server.counters["stalled"] += 1
                self._reply(TOO_SLOW, close=True)
            else:
                self.close()

    def close(self) -> None:
        """Close it now; a worker that still answers it is told when it tries to send."""
        with self.lock:
            if not self.connected:
                return
            self.connected = False
            self._watch(0)
            self._unsent.clear()
            self._progress.notify_all()
            self.socket.close()
        self.server.forget(self)

    def refuse(self, answer: Answer) -> None:
        """Answer before anything was asked, and close."""
        self._reply(answer, close=True)

    def _reset(self) -> None:
        """Close so that the client sees an error: in HTTP/1.0 an ordinary end ends an answer."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()

    def _read(self) -> None:
        if self._ahead:
            # What came before comes first; the socket stays ready.
            self.go_on()
            return
        try:
            data = self.socket.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            if not self._closing:
                self._parse(data)
        elif self._request and not self._closing:
            self.server.counters["malformed"] += 1
            self._reply(CUT_SHORT, close=True)
        else:
            self.close()

    def _parse(self, data: bytes) -> None:
        data, self._ahead = self._ahead + data, b""
        while data and self.connected and not self._closing and not self._unsent:
            request = self._request
            if request is None:
                request = self._request = self.server.new_request()
                self.since = time.monotonic()
            data = data[request.received(data) :]
            if request.completed:
                answer = self.server.instant(request)
                if answer is None:
                    self._ahead = data
                    # From here on the connection may be the worker's.
                    self.busy = True
                    self.server.submit(self, request)
                    return
                self._reply(answer, close=not request.keeps_alive, head=request.command == "HEAD")
            elif request.expect_continue and not data:
                request.expect_continue = False
                self._encourage()
        self._ahead = b"" if self._closing else data

    def _encourage(self) -> None:
        try:
            with self.lock:
                self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        except Disconnected:
            self.close()

    def _reply(self, answer: Answer, *, close: bool, head: bool = False) -> None:
        close = close or not self.stays
        try:
            with self.lock:
                self._send(answer.encode(close=close, head=head))
                self._finish(close=close)
        except Disconnected:
            self.close()

    def _flush(self) -> None:
        with self.lock:
            try:
                sent = self.socket.send(self._unsent[:RECEIVE])
            except BlockingIOError:
                return
            except OSError:
                sent = -1
            if sent > 0:
                self.since = time.monotonic()
                del self._unsent[:sent]
                if len(self._unsent) <= FAR_AHEAD:
                    self._progress.notify_all()
                if not self._unsent:
                    self._settle()
        if sent < 0:
            self.close()
        elif self._ahead:
            self.go_on()

    # In a worker thread.

    def serve(self) -> None:
        """Answer the request that is there."""
        self._begun = False
        request = self._request
        if request is None:
            raise RuntimeError("there is no request to serve")
        close = True
        try:
            task = self.server.task(self, request)
            task.service()
            self._send_parts()
            close = task.close_on_finish
        except Disconnected:
            pass
        except Cut:
            # Still busy: nothing but the I/O thread's `go_on` touches it any more.
            self._cut = True
            self.server.resume(self)
            return
        except Exception:  # noqa: BLE001  reported by the server
            self.server.report("an answer could not be made")
            self._give_up(head=request.command == "HEAD")
        self._parts, self._parts_size = [], 0
        with self.lock:
            self._finish(close=close)

    def write_soon(self, data: bytes) -> int:
        """Send it, together with what comes next if that comes soon."""
        self._parts.append(data)
        self._parts_size += len(data)
        if self._parts_size >= TOGETHER:
            self._send_parts()
        return len(data)

    def check_client_disconnected(self) -> bool:
        """Tell the app whether anybody still waits for its answer."""
        return not self.connected

    def _give_up(self, *, head: bool) -> None:
        # Once a part of the answer is out nothing else can be said.
        if not self._begun:
            self._parts = [BROKEN.encode(close=True, head=head)]
            with suppress(Disconnected):
                self._send_parts()

    def _send_parts(self) -> None:
        self._begun = True
        data, self._parts, self._parts_size = b"".join(self._parts), [], 0
        with self.lock:
            self._send(data)
            while len(self._unsent) > FAR_AHEAD and self.connected:
                self._watch(EVENT_WRITE)
                self._progress.wait()

    # With the lock held.

    def _send(self, data: bytes) -> None:
        if not self.connected:
            raise Disconnected
        if not self._unsent:
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                raise Disconnected from None
            if sent == len(data):
                return
            self.since = time.monotonic()
            data = data[sent:]
        self._unsent += data
        self._watch(EVENT_WRITE)
        if len(self._unsent) > TOGETHER:
            # All together it may be too much.
            self.server.wake()

    def _finish(self, *, close: bool) -> None:
        self._request = None
        self._closing = self._closing or close
        self.since = time.monotonic()
        self.busy = False
        if not self.connected:
            return
        if not self._unsent:
            self._settle()

    def _settle(self) -> None:
        """Everything is sent: wait for the next request, or for the client to hang up."""
        if self.busy:
            self._watch(0)
            return
        if self._closing:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        self._watch(EVENT_READ)
        if self._ahead and not self._closing:
            self.server.resume(self)

    def _watch(self, events: int) -> None:
        if events != self._watched:
            self.server.watch(self, self._watched, events)
            self._watched = events
