"""Serves a WSGI app as a container needs it: waitress runs the app, this module the sockets.

waitress' own server is not used. It looks at every connection in every turn, lets its queue grow
without end, counts only silence as a stall, stops accepting once enough connections stall, and
drops its queue when it is stopped.
"""

from __future__ import annotations

import array
import heapq
import resource
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from selectors import EVENT_READ, DefaultSelector
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .connection import Answer, Connection, refusal
from .errors import Problem
from .framing import Request
from .state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Settings

    # A WSGI app, and what tells, without waiting, whether requests are to come here: as much as the
    # one who asks, with this Authorization, may know.
    Loaded = tuple[Callable[..., Any], Callable[[str], State]]

__all__ = ["PROBES", "Server"]

BACKLOG = 1024
# How long one look at the sockets may take, and so how late a stop by another thread is noticed.
TURN = 0.5
# How often connections are looked over for those that take too long.
SWEEP = 1.0
# At the connection limit so many make room at once, so that the search for them is worth its time.
EVICTED_AT_ONCE = 16
# How many bytes of answers may wait for slow clients, all together; the process may have 256 MB.
UNSENT_LIMIT = 32 * 1024 * 1024
# How often that is looked at: answers come faster than connections are looked over.
UNSENT_SWEEP = 0.05
# Connections taken in one turn; the others wait for the next.
ACCEPTED_AT_ONCE = 128
# While draining, an idle connection is closed only after so long: a client may be about to use it.
REST_WHILE_DRAINING = 1.0
# How long handshakes that have begun may take to end before the listening socket is closed.
HANDSHAKE = 0.1
# Files that are open besides the connections.
OTHER_FILES = 128

ALIVE = Answer(200, {"status": "alive"})
WRONG_METHOD = refusal(
    Problem(
        405,
        "method-not-allowed",
        "this address does not take this method",
        headers={"Allow": "GET,HEAD"},
    )
)
DRAINING = refusal(Problem(503, "draining", "this instance is shutting down"))
OVERLOADED = refusal(
    Problem(
        503, "overloaded", "too many requests are waiting; try again", headers={"Retry-After": "1"}
    )
)
PROBES = frozenset({"/health", "/ready"})

_SO_ATTACH_FILTER = 26
# A packet filter: drop what has TCP's SYN flag set.
_NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x54, 0, 0, 0x02),  # of which only SYN
    (0x15, 0, 1, 0),  # is it 0?
    (0x06, 0, 0, 0xFFFFFFFF),  # yes: keep the packet
    (0x06, 0, 0, 0),  # no: drop it
)


def _logger() -> Any:  # noqa: ANN401  structlog's own type
    import structlog  # noqa: PLC0415

    return structlog.stdlib.get_logger(__name__)


class Server:
    """Listens once it is made; serves while `run` runs; drains and returns once `stopping` is set.

    The first thread calls `load` with this server, so that /health is answered before the app is
    imported.
    """

    server_name = "api-rest"

    def __init__(
        self,
        load: Callable[[Server], Loaded],
        settings: Settings,
        stopping: threading.Event,
        log: Callable[[], Any] = _logger,
    ) -> None:
        self._load = load
        # A function: importing structlog takes longer than listening and answering /health.
        self._log = log
        self._settings = settings
        self._stopping = stopping
        self._state: Callable[[str], State] = lambda _: State(
            ready=False, missing=["the app is being loaded"]
        )
        self.application: Callable[..., Any] = _not_loaded
        self.task: Callable[..., Any] = _not_loaded
        self.failed = False
        self.adj = SimpleNamespace(ident=None, url_prefix="")
        self.counters = {"overloaded": 0, "stalled": 0, "evicted": 0, "malformed": 0}
        # One for recording, one for everything else: however many read, a thread is left to record.
        self._posts: SimpleQueue[Connection | None] = SimpleQueue()
        self._others: SimpleQueue[Connection | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._connections: set[Connection] = set()
        self._resumed: deque[Connection] = deque()
        self._next_sweep = 0.0
        self._next_limit = 0.0
        self._listener = _listen(settings.http_host, settings.http_port)
        self.effective_port = int(self._listener.getsockname()[1])
        self._selector = DefaultSelector()
        self._selector.register(self._listener, EVENT_READ, self._accept)
        self._woken, self._waker = socket.socketpair()
        self._woken.settimeout(0)
        self._waker.settimeout(0)
        self._selector.register(self._woken, EVENT_READ, self._wake_up)
        wanted = settings.connection_limit + OTHER_FILES
        allowed = _allow_files(wanted)
        if allowed < wanted:
            self._log().warning(
                "fewer open files are allowed than CONNECTION_LIMIT needs",
                allowed=allowed,
                needed=wanted,
            )
        self._connection_limit = allowed - OTHER_FILES

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.effective_port

    @property
    def queued(self) -> int:
        """Requests that wait for a thread."""
        return self._posts.qsize() + self._others.qsize()

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    @property
    def draining(self) -> bool:
        """Whether clients are to go elsewhere."""
        return self._stopping.is_set()

    def wake(self) -> None:
        """Have the I/O thread look around now: safe in a signal handler."""
        with suppress(OSError):
            self._waker.send(b"w")

    def run(self) -> None:
        """Serve until told to stop, be unready for a while, finish open requests, and return."""
        self._start_thread(self._load_and_work)
        while not self._stopping.is_set():
            self._turn(TURN)
        settings = self._settings
        self._log().info(
            "draining", delay=settings.shutdown_delay, timeout=settings.shutdown_timeout
        )
        self._turn_until(time.monotonic() + settings.shutdown_delay)
        deadline = time.monotonic() + settings.shutdown_timeout
        self._stop_listening()
        began = time.monotonic()
        self._turn_until(deadline, done=lambda: self._all_answered(began))
        if unanswered := [
            connection for connection in self._connections if not _may_go(connection)
        ]:
            self._log().warning(
                "cutting requests that did not finish in time", requests=len(unanswered)
            )
        self._posts.put(None)
        self._others.put(None)
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))
        for connection in list(self._connections):
            connection.close()
        for closing in (self._selector, self._woken, self._waker):
            closing.close()

    # What connections need.

    def new_request(self) -> Request:
        """Return an empty request."""
        return Request(
            max_header_bytes=self._settings.max_header_bytes,
            max_body_bytes=self._settings.max_body_bytes,
        )

    def instant(self, request: Request) -> Answer | None:
        """Return the answer if no thread is needed for it: refusals, and what probes ask."""
        if request.error:
            self.counters["malformed"] += 1
            return refusal(request.error)
        if request.path in PROBES:
            return self._probed(request)
        if self._queue(request).qsize() >= self._settings.queue_limit:
            self.counters["overloaded"] += 1
            return OVERLOADED
        return None

    def submit(self, connection: Connection, request: Request) -> None:
        """Have a worker thread answer."""
        self._queue(request).put(connection)

    def resume(self, connection: Connection) -> None:
        """Have the I/O thread go on with a connection."""
        self._resumed.append(connection)
        self.wake()

    def watch(self, connection: Connection, before: int, after: int) -> None:
        """Change which events of a connection's socket are waited for; any thread may."""
        if not after:
            self._selector.unregister(connection.socket)
        elif before:
            self._selector.modify(connection.socket, after, connection.handle)
        else:
            self._selector.register(connection.socket, after, connection.handle)

    def forget(self, connection: Connection) -> None:
        """Drop a closed connection."""
        self._connections.discard(connection)

    def report(self, what: str) -> None:
        """Log the exception at hand."""
        self._log().exception(what)

    # The I/O thread.

    def _turn(self, timeout: float) -> None:
        for key, events in self._selector.select(timeout):
            try:
                key.data(events)
            except Exception:  # noqa: BLE001  logged
                self._log().exception("a connection failed")
                owner = getattr(key.data, "__self__", None)
                if isinstance(owner, Connection):
                    owner.close()
        while self._resumed:
            self._resumed.popleft().go_on()
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP
            for connection in list(self._connections):
                connection.expire(now, self._settings.request_timeout)
        if now >= self._next_limit:
            self._next_limit = now + UNSENT_SWEEP
            self._limit_unsent()

    def _turn_until(self, deadline: float, done: Callable[[], bool] = lambda: False) -> None:
        while (left := deadline - time.monotonic()) > 0 and not done():
            self._turn(min(left, TURN / 10))

    def _wake_up(self, _: int) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)

    def _accept(self, _: int) -> None:
        for _turn in range(ACCEPTED_AT_ONCE):
            try:
                client, addr = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._log().warning("cannot accept a connection", reason=str(error))
                return
            client.settimeout(0)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            full = len(self._connections) >= self._connection_limit and not self._evict()
            connection = Connection(self, client, addr)
            self._connections.add(connection)
            if full:
                self.counters["overloaded"] += 1
                connection.refuse(OVERLOADED)

    def _evict(self) -> int:
        stalled = (connection for connection in self._connections if connection.stalls)
        longest = heapq.nsmallest(EVICTED_AT_ONCE, stalled, key=lambda connection: connection.since)
        for connection in longest:
            connection.close()
        self.counters["evicted"] += len(longest)
        return len(longest)

    def _limit_unsent(self) -> None:
        """Close connections whose clients do not read their answers, while these are too much."""
        unread = [connection for connection in self._connections if connection.unsent]
        excess = sum(connection.unsent for connection in unread) - UNSENT_LIMIT
        if excess <= 0:
            return
        for connection in sorted(unread, key=lambda connection: connection.since):
            excess -= connection.unsent
            connection.close()
            self.counters["evicted"] += 1
            if excess <= 0:
                return

    def _probed(self, request: Request) -> Answer:
        """Return the answer at an address of PROBES, which the app knows nothing of."""
        if request.command not in {"GET", "HEAD"}:
            return WRONG_METHOD
        if request.query:
            from .listing import read  # noqa: PLC0415  only for who is wrong

            try:
                read(request.query, ())
            except Problem as problem:
                return refusal(problem)
        return ALIVE if request.path == "/health" else self._readiness(request)

    def _readiness(self, request: Request) -> Answer:
        if self.draining:
            return DRAINING
        state = self._state(request.headers.get("AUTHORIZATION", ""))
        return Answer(state.status, state.body())

    def _stop_listening(self) -> None:
        """Refuse new connections, and lose none that the kernel has taken for this process."""
        with suppress(OSError):
            _attach_filter(self._listener, _NO_NEW_CONNECTIONS)
            self._turn_until(time.monotonic() + HANDSHAKE)
        for _ in range(0, BACKLOG, ACCEPTED_AT_ONCE):
            self._accept(0)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _all_answered(self, began: float) -> bool:
        now = time.monotonic()
        for connection in list(self._connections):
            if connection.resting and now - max(connection.since, began) > REST_WHILE_DRAINING:
                connection.close()
        return all(map(_may_go, self._connections))

    # The worker threads.

    def _queue(self, request: Request) -> SimpleQueue[Connection | None]:
        return self._posts if request.command == "POST" else self._others

    def _start_thread(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"worker-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _load_and_work(self) -> None:
        try:
            from .wsgi import Task  # noqa: PLC0415  so that listening does not wait for waitress

            self.application, self._state = self._load(self)
            self.task = Task
        except Exception:  # noqa: BLE001  logged
            self._log().exception("the app cannot be loaded")
            self.failed = True
            self._stopping.set()
            self.wake()
            return
        for _ in range(self._settings.read_threads):
            self._start_thread(partial(self._work, self._others))
        for _ in range(self._settings.http_threads - 1):
            self._start_thread(partial(self._work, self._posts))
        self._work(self._posts)

    def _work(self, queue: SimpleQueue[Connection | None]) -> None:
        while connection := queue.get():
            try:
                connection.serve()
            except Exception:  # noqa: BLE001  logged
                self._log().exception("a thread failed")
        # Each thread tells the next one that this is the end.
        queue.put(None)


def _may_go(connection: Connection) -> bool:
    return connection.lingering


def _not_loaded(*_: object) -> Any:  # noqa: ANN401
    raise RuntimeError("the app is not loaded yet")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    listener = socket.create_server(
        (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual
    )
    listener.settimeout(0)
    return listener


def _attach_filter(
    listener: socket.socket, instructions: tuple[tuple[int, int, int, int], ...]
) -> None:
    """Filter the packets of a socket (Linux: classic BPF); OSError where that is not possible."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    held = array.array("B", code)
    option = struct.pack("HP", len(instructions), held.buffer_info()[0])
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)


def _allow_files(wanted: int) -> int:
    """Raise the limit of open files to `wanted`, as far as allowed, and return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit
