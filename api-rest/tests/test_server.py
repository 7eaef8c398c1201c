"""The real server on a free port."""

import json
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import waitress.channel
import waitress.server
from api_rest import server as server_module
from api_rest.errors import Cut
from api_rest.server import Server
from api_rest.settings import Settings

Served = tuple[int, threading.Event, threading.Thread]
LIMIT = 20
# More than the kernel takes for a client that does not read.
BIG = 16 * 1024 * 1024


class App:
    """Answers at once, or at /slow when told to."""

    def __init__(self) -> None:
        self.server: Server
        self._counting = threading.Lock()
        self.calls = 0
        self.entered = threading.Event()
        self.release = threading.Event()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        with self._counting:
            self.calls += 1
        if environ["PATH_INFO"] == "/slow":
            self.entered.set()
            self.release.wait(LIMIT)
        if environ["PATH_INFO"] == "/big":
            start_response("200 OK", [("Content-Length", str(BIG))])
            return [bytes(BIG)]
        if environ["PATH_INFO"] == "/stream":
            start_response("200 OK", [("Content-Length", str(BIG))])
            return (bytes(65_536) for _ in range(BIG // 65_536))
        if environ["PATH_INFO"] in {"/whole", "/cut"}:
            start_response("200 OK", [])
            head = environ["REQUEST_METHOD"] == "HEAD"
            return [] if head else self.parts(cut=environ["PATH_INFO"] == "/cut")
        if environ["PATH_INFO"] == "/broken":
            raise ValueError("a bug")
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def parts(self, *, cut: bool) -> Iterator[bytes]:
        """Yield an answer whose length is not known before."""
        yield b"x" * 65_536
        if cut:
            raise Cut
        yield b"y"


class Clock:
    """Time as the server sees it: it passes by itself, and by leaps as a test says."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def time(self) -> float:
        return time.time() + self._ahead

    def leap(self, seconds: float) -> None:
        self._ahead += seconds

    def passes(self, seconds: float, server: Server) -> None:
        """Leap, and wait until the server has looked its connections over."""
        self.leap(seconds)
        for _ in range(2):
            turned = threading.Event()
            server._waitress.trigger.pull_trigger(turned.set)
            assert turned.wait(LIMIT)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (server_module, waitress.server, waitress.channel):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TURN", 0.02)


@pytest.fixture
def short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REST_WHILE_DRAINING", 0.1)


@pytest.fixture
def long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REST_WHILE_DRAINING", LIMIT)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def serve(
    app: App, make_settings: Callable[..., Settings], clock: Clock
) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def serve(**changes: str) -> Served:
        stopping = threading.Event()
        threads = {"HTTP_THREADS": "2", "READ_THREADS": "2"}
        settings = make_settings(
            HTTP_HOST="127.0.0.1", HTTP_PORT=str(free_port()), **threads, **changes
        )
        app.server = server = Server(app, settings, stopping)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server.port, stopping, thread))
        return running[-1]

    yield serve
    app.release.set()
    for _, stopping, thread in running:
        stopping.set()
        end(thread, clock)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def end(thread: threading.Thread, clock: Clock) -> None:
    """Let the server wait for nothing more, and end."""

    def ended() -> bool:
        clock.leap(1)
        thread.join(0.01)
        return not thread.is_alive()

    eventually(ended)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), LIMIT)


def answer(connection: socket.socket) -> bytes:
    """Return everything until the server closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def read(connection: socket.socket, size: int) -> int:
    """Read so many bytes, or to the end; return how many there were."""
    left = size
    while left and (part := connection.recv(left)):
        left -= len(part)
    return size - left


def ask(port: int, request: bytes) -> bytes:
    with connect(port) as connection:
        connection.sendall(request)
        return answer(connection)


GET = b"GET / HTTP/1.0\r\n\r\n"


def test_requests_are_answered(serve: Callable[..., Served]) -> None:
    port, _, _ = serve()
    assert ask(port, GET).startswith(b"HTTP/1.0 200")


def test_a_turn_is_followed_by_twice_as_long_a_rest(
    serve: Callable[..., Served], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, stopping, thread = serve()
    stopping.set()
    thread.join(LIMIT)
    worked, rests = iter([1.0, 1.25]), list[float]()
    clock = SimpleNamespace(
        thread_time=lambda: next(worked), monotonic=time.monotonic, sleep=rests.append
    )
    monkeypatch.setattr(server_module, "time", clock)
    app.server._turn()
    assert rests == [0.5]


def test_stop_ends_an_idle_server(serve: Callable[..., Served]) -> None:
    _, stopping, thread = serve()
    stopping.set()
    thread.join(12)
    assert not thread.is_alive()


@pytest.mark.usefixtures("short_rest")
def test_an_idle_kept_connection_does_not_hold_up_the_end(serve: Callable[..., Served]) -> None:
    port, stopping, thread = serve()
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
        stopping.set()
        thread.join(12)
        assert not thread.is_alive()


def test_a_request_under_way_is_answered_before_the_end(
    serve: Callable[..., Served], app: App
) -> None:
    port, stopping, thread = serve()
    with connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert app.entered.wait(LIMIT)
        stopping.set()
        thread.join(0.3)
        assert thread.is_alive()
        app.release.set()
        assert answer(connection).startswith(b"HTTP/1.0 200")


@pytest.mark.usefixtures("short_rest")
def test_an_idle_kept_connection_is_closed_while_another_request_is_under_way(
    serve: Callable[..., Served], app: App
) -> None:
    port, stopping, thread = serve()
    with connect(port) as busy, connect(port) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        busy.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert app.entered.wait(LIMIT)
        stopping.set()
        assert answer(idle).endswith(b"ok")
        assert thread.is_alive()


def test_a_request_that_never_ends_is_cut_after_the_limit(
    serve: Callable[..., Served], app: App, clock: Clock
) -> None:
    port, stopping, thread = serve(SHUTDOWN_TIMEOUT="10")
    with connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert app.entered.wait(LIMIT)
        stopping.set()
        end(thread, clock)
        assert answer(connection) == b""


def test_new_connections_are_taken_during_the_delay_and_refused_after(
    serve: Callable[..., Served], app: App, clock: Clock
) -> None:
    port, stopping, _ = serve(SHUTDOWN_DELAY="10")

    def closed_later() -> bool:
        clock.leap(1)
        return closed(app.server)

    with connect(port) as busy:
        busy.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert app.entered.wait(LIMIT)
        stopping.set()
        for _ in range(4):
            clock.passes(2, app.server)
            assert ask(port, GET).startswith(b"HTTP/1.0 200")
        eventually(closed_later)
        assert refused(port)
        app.release.set()
        assert answer(busy).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n", 413, "too-large"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not-implemented"),
    ],
)
def test_what_waitress_refuses_is_json_too(
    serve: Callable[..., Served], request_: bytes, status: int, code: str
) -> None:
    port, _, _ = serve()
    head, _, body = ask(port, request_).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == str(status).encode()
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["error"]["code"] == code


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2001\r\n\r\n",
            "body has more than 2000 bytes",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"b" * 3000, "headers have more than 2000 bytes"),
    ],
)
def test_what_is_too_large_names_its_limit(
    serve: Callable[..., Served], request_: bytes, text: str
) -> None:
    port, _, _ = serve(MAX_BODY_BYTES="2000", MAX_HEADER_BYTES="2000")
    assert text in json.loads(ask(port, request_).partition(b"\r\n\r\n")[2])["error"]["message"]


def exchange(
    connection: socket.socket, path: bytes = b"/", method: bytes = b"GET"
) -> tuple[int, bytes, bytes]:
    """Send a request on a connection that stays open; return the status, head and body."""
    connection.sendall(method + b" " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    return one_answer(connection, has_body=method != b"HEAD")


def one_answer(connection: socket.socket, *, has_body: bool = True) -> tuple[int, bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(1)
        assert part, f"closed after {received!r}"
        received += part
    length = int(received.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = b""
    while has_body and len(body) < length:
        part = connection.recv(length - len(body))
        assert part, f"closed after {body!r}"
        body += part
    return int(received[9:12]), received, body


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_a_bug_in_the_app_is_500_in_json_without_a_traceback(serve: Callable[..., Served]) -> None:
    port, _, _ = serve()
    head, _, body = ask(port, b"GET /broken HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"500"
    assert json.loads(body)["error"]["code"] == "internal-error"


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_an_answer_that_is_cut_is_an_error_to_the_client_and_none_in_the_log(
    serve: Callable[..., Served], version: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    port, _, _ = serve()
    with connect(port) as connection:
        connection.sendall(b"GET /cut %b\r\nHost: a\r\n\r\n" % version)
        with pytest.raises(ConnectionResetError):
            answer(connection)
    assert caplog.records == []
    assert ask(port, b"GET /whole HTTP/1.0\r\n\r\n").endswith(b"xy")


def test_head_of_an_answer_without_a_length_has_no_body(serve: Callable[..., Served]) -> None:
    port, _, _ = serve()
    head, _, body = ask(port, b"HEAD /whole HTTP/1.1\r\nHost: a\r\n\r\n").partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b""


# Overload


@pytest.fixture(params=[b"GET", b"POST"])
def kind(request: pytest.FixtureRequest) -> bytes:
    """The method of the requests of which there are too many."""
    return bytes(request.param)


@pytest.fixture
def busy(serve: Callable[..., Served], app: App, kind: bytes) -> Iterator[int]:
    """A server whose two threads for one kind of request hang, while two more wait for them."""
    port, _, _ = serve(SHUTDOWN_TIMEOUT="5")
    waiting = []
    for _ in range(4):
        waiting.append(connect(port))
        waiting[-1].sendall(kind + b" /slow HTTP/1.0\r\n\r\n")
        eventually(lambda: app.calls + app.server.queued == len(waiting))
    assert app.server.queued == 2
    yield port
    app.release.set()
    for connection in waiting:
        assert answer(connection).startswith(b"HTTP/1.0 200")
        connection.close()


def test_too_many_readers_keep_nobody_from_recording_nor_the_other_way_round(
    busy: int, kind: bytes
) -> None:
    other = b"POST" if kind == b"GET" else b"GET"
    with connect(busy) as connection:
        assert [exchange(connection, method=other)[0] for _ in range(3)] == [200] * 3


# Slow clients


def as_time_passes(condition: Callable[[], bool], clock: Clock, server: Server) -> None:
    """Let more time pass than a client may take, as often as it needs until this is true."""

    def later() -> bool:
        clock.passes(11, server)
        return condition()

    eventually(later)


def answered(connection: socket.socket) -> bool:
    """Whether something came, or the end."""
    return bool(select.select([connection], [], [], 0)[0])


@pytest.mark.parametrize("requests", [0, 1])
def test_a_connection_that_rests_is_closed(
    serve: Callable[..., Served], app: App, clock: Clock, requests: int
) -> None:
    port, _, _ = serve(REQUEST_TIMEOUT="10")
    with connect(port) as connection:
        for _ in range(requests):
            assert exchange(connection)[0] == 200
        as_time_passes(lambda: answered(connection), clock, app.server)
        assert connection.recv(1) == b""


def test_a_slow_app_is_not_taken_for_a_slow_client(
    serve: Callable[..., Served], app: App, clock: Clock
) -> None:
    port, _, _ = serve(REQUEST_TIMEOUT="10")
    with connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert app.entered.wait(LIMIT)
        clock.passes(20, app.server)
        app.release.set()
        assert answer(connection).startswith(b"HTTP/1.0 200")


def test_clients_that_do_not_read_their_answers_are_cut_and_hold_no_thread(
    serve: Callable[..., Served], app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "UNSENT_LIMIT", 4 * BIG)
    port, _, _ = serve(REQUEST_TIMEOUT="10")
    greedy = [connect(port) for _ in range(3)]
    for connection in greedy:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
    # Before its request arrives, a connection only rests.
    eventually(lambda: app.calls + app.server.queued == 3)
    as_time_passes(lambda: app.server.counters["stalled"] == 3, clock, app.server)
    assert ask(port, GET).startswith(b"HTTP/1.0 200")
    for connection in greedy:
        with suppress(ConnectionResetError):
            assert read(connection, BIG) < BIG
        connection.close()


def test_clients_that_do_not_read_free_their_threads(
    serve: Callable[..., Served], app: App, clock: Clock
) -> None:
    port, _, _ = serve(REQUEST_TIMEOUT="10")
    greedy = [connect(port) for _ in range(2)]
    for connection in greedy:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    with connect(port) as waiting:
        waiting.sendall(GET)
        eventually(lambda: app.server.queued == 1)
        as_time_passes(lambda: app.server.counters["stalled"] == 2, clock, app.server)
        assert answer(waiting).startswith(b"HTTP/1.0 200")
    for connection in greedy:
        connection.close()


def test_while_too_much_is_unsent_those_that_stall_longest_are_cut(
    serve: Callable[..., Served], app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "UNSENT_LIMIT", BIG)
    port, _, _ = serve()
    with connect(port) as first, connect(port) as second:
        for connection in (first, second):
            connection.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(1)
            eventually(lambda: all(pool.active_count == 0 for pool in app.server._waitress.pools))
            clock.leap(1)
        eventually(lambda: app.server.counters["evicted"] == 1)
        with suppress(ConnectionResetError):
            assert read(first, BIG) < BIG
        assert read(second, BIG) == BIG
    assert app.server.counters["evicted"] == 1


def test_a_thread_makes_no_more_answers_while_too_much_is_unsent(
    serve: Callable[..., Served], app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "UNSENT_LIMIT", BIG // 16)
    monkeypatch.setattr(server_module._Waitress, "close_unread", lambda _: None)
    port, _, _ = serve()
    with connect(port) as greedy, connect(port) as next_:
        greedy.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: app.server._waitress.unsent() > BIG // 16)
        next_.sendall(GET)
        for _ in range(3):
            clock.passes(1, app.server)
            assert not answered(next_)
        assert read(greedy, BIG) == BIG
        assert answer(next_).startswith(b"HTTP/1.0 200")


def test_a_client_that_reads_slowly_gets_all_of_it(
    serve: Callable[..., Served], app: App, clock: Clock
) -> None:
    port, _, _ = serve(REQUEST_TIMEOUT="10")
    with socket.socket() as connection:
        # So that each look of the client's makes the server send more: the kernel holds little.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        app.server._waitress.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        connection.settimeout(LIMIT)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        for _ in range(4):
            assert read(connection, BIG // 5) == BIG // 5
            clock.passes(6, app.server)
        assert len(answer(connection)) > BIG // 5


def test_at_the_connection_limit_others_wait(serve: Callable[..., Served], app: App) -> None:
    port, _, _ = serve(CONNECTION_LIMIT="16")
    others = [connect(port) for _ in range(20)]
    # The limit counts the listening socket, and the pipe by which threads wake the server.
    eventually(lambda: app.server.connections == 14)
    others.append(connect(port))
    others[-1].sendall(GET)
    for connection in others[:14]:
        assert exchange(connection)[0] == 200
        connection.close()
    assert answer(others[-1]).startswith(b"HTTP/1.0 200")
    for connection in others:
        connection.close()


def test_without_free_files_it_pauses_and_serves_on(
    serve: Callable[..., Served], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    port, _, _ = serve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connect(port) as open_before, socket.socket() as client:
        assert exchange(open_before)[0] == 200
        # The next file is the one that the server needs for the connection.
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
        try:
            client.settimeout(LIMIT)
            client.connect(("127.0.0.1", port))
            eventually(lambda: len(caplog.records) == 1)
            for _ in range(20):
                assert exchange(open_before)[0] == 200
            assert len(caplog.records) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        clock.leap(server_module.ACCEPT_PAUSE)
        client.sendall(GET)
        assert answer(client).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n"]
)
def test_a_thousand_slow_clients_shut_nobody_out(
    serve: Callable[..., Served], app: App, sent: bytes
) -> None:
    port, _, _ = serve(SHUTDOWN_TIMEOUT="0")
    slow = [connect(port) for _ in range(1000)]
    try:
        for connection in slow:
            connection.sendall(sent)
        eventually(lambda: app.server.connections == 1000)
        with connect(port) as connection:
            for turn in range(100):
                slow[turn].sendall(b"x" if sent.startswith(b"POST") else b"")
                assert exchange(connection)[0] == 200
        assert app.server.counters["evicted"] == 0
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("more", [True, False])
def test_requests_that_come_together_are_answered_in_order(
    serve: Callable[..., Served],
    app: App,
    more: bool,
) -> None:
    port, _, _ = serve()
    with connect(port) as connection:
        connection.sendall(
            b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in (b"/1", b"/3", b"/2"))
        )
        if not more:
            connection.shutdown(socket.SHUT_WR)
        assert [one_answer(connection)[2] for _ in range(3)] == [b"ok"] * 3
        if not more:
            assert connection.recv(1) == b""
    assert app.calls == 3


# Draining


def test_while_draining_answers_tell_clients_to_connect_anew(
    serve: Callable[..., Served],
) -> None:
    port, stopping, _ = serve(SHUTDOWN_DELAY="5")
    with connect(port) as connection:
        assert b"Connection: close" not in exchange(connection)[1]
        stopping.set()
        status, head, _ = exchange(connection)
        assert status == 200
        assert b"\r\nConnection: close\r\n" in head
        assert connection.recv(1) == b""


def test_requests_in_the_queues_are_answered_before_the_end(
    serve: Callable[..., Served], app: App
) -> None:
    port, stopping, thread = serve()
    waiting = [connect(port) for _ in range(12)]
    for number, connection in enumerate(waiting):
        connection.sendall((b"GET", b"POST")[number % 2] + b" /slow HTTP/1.0\r\n\r\n")
    eventually(lambda: app.calls == 4 and app.server.queued == 8)
    stopping.set()
    app.release.set()
    for connection in waiting:
        assert answer(connection).startswith(b"HTTP/1.0 200")
        connection.close()
    thread.join(LIMIT)
    assert not thread.is_alive()


@pytest.mark.usefixtures("long_rest")
def test_a_connection_that_was_made_before_the_end_may_still_ask(
    serve: Callable[..., Served], app: App
) -> None:
    port, stopping, _ = serve()
    with connect(port) as resting:
        eventually(lambda: app.server.connections == 1)
        stopping.set()
        eventually(lambda: closed(app.server))
        assert refused(port)
        assert exchange(resting)[0] == 200


@pytest.mark.usefixtures("long_rest")
def test_connections_that_the_kernel_took_before_the_end_are_served(
    make_settings: Callable[..., Settings], app: App
) -> None:
    stopping = threading.Event()
    settings = make_settings(HTTP_HOST="127.0.0.1", HTTP_PORT=str(free_port()))
    server = Server(app, settings, stopping)
    waiting = [connect(server.port) for _ in range(200)]
    stopping.set()
    thread = threading.Thread(target=server.run)
    thread.start()
    for connection in waiting:
        connection.sendall(GET)
        assert answer(connection).startswith(b"HTTP/1.0 200")
        connection.close()
    thread.join(LIMIT)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("soft", "hard", "expected"), [(256, 20_000, 2128), (256, 1024, 1024), (20_000, 20_000, None)]
)
def test_as_many_open_files_as_the_connection_limit_needs_are_asked_for(
    serve: Callable[..., Served],
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    expected: int | None,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: asked.append(limits))
    serve(CONNECTION_LIMIT="2000")
    assert asked == ([(expected, hard)] if expected else [])


def closed(server: Server) -> bool:
    """Whether it has stopped listening; a connection just before is dropped, and waits a second."""
    return server._waitress.socket is None


def refused(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False
