"""The real server on a free port."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from api_rest.server import Server
from api_rest.settings import Settings

Served = tuple[int, threading.Event, threading.Thread]
LIMIT = 10


class App:
    """Answers at once, or at /slow when told to."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.entered.set()
            self.release.wait(LIMIT)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def serve(app: App, make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def serve(**changes: str) -> Served:
        stopping = threading.Event()
        settings = make_settings(HTTP_HOST="127.0.0.1", HTTP_PORT=str(free_port()), HTTP_THREADS="2", **changes)
        server = Server(app, settings, stopping)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server.port, stopping, thread))
        return running[-1]

    yield serve
    app.release.set()
    for _, stopping, thread in running:
        stopping.set()
        thread.join(LIMIT)
        assert not thread.is_alive()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), LIMIT)


def answer(connection: socket.socket) -> bytes:
    """Return everything until the server closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def ask(port: int, request: bytes) -> bytes:
    with connect(port) as connection:
        connection.sendall(request)
        return answer(connection)


GET = b"GET / HTTP/1.0\r\n\r\n"


def test_requests_are_answered(serve: Callable[..., Served]) -> None:
    port, _, _ = serve()
    assert ask(port, GET).startswith(b"HTTP/1.0 200")


def test_stop_ends_an_idle_server(serve: Callable[..., Served]) -> None:
    _, stopping, thread = serve()
    stopping.set()
    thread.join(3)
    assert not thread.is_alive()


def test_an_idle_kept_connection_does_not_hold_up_the_end(serve: Callable[..., Served]) -> None:
    port, stopping, thread = serve()
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
        stopping.set()
        thread.join(3)
        assert not thread.is_alive()


def test_a_request_under_way_is_answered_before_the_end(serve: Callable[..., Served], app: App) -> None:
    port, stopping, thread = serve()
    with connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert app.entered.wait(LIMIT)
        stopping.set()
        thread.join(1.5)
        assert thread.is_alive()
        app.release.set()
        assert answer(connection).startswith(b"HTTP/1.0 200")


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


def test_a_request_that_never_ends_is_cut_after_the_limit(serve: Callable[..., Served], app: App) -> None:
    port, stopping, thread = serve(SHUTDOWN_TIMEOUT="1")
    with connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert app.entered.wait(LIMIT)
        stopping.set()
        thread.join(5)
        assert not thread.is_alive()
        assert answer(connection) == b""


def test_new_connections_are_taken_during_the_delay_and_refused_after(serve: Callable[..., Served], app: App) -> None:
    port, stopping, _ = serve(SHUTDOWN_DELAY="1")
    with connect(port) as busy:
        busy.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert app.entered.wait(LIMIT)
        stopping.set()
        assert ask(port, GET).startswith(b"HTTP/1.0 200")
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            try:
                connect(port).close()
            except ConnectionRefusedError:
                break
            time.sleep(0.05)
        else:
            pytest.fail("it still takes connections")
        app.release.set()
        assert answer(busy).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n", 413, "request-entity-too-large"),
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


def test_a_hundred_stalled_clients_shut_nobody_out(serve: Callable[..., Served]) -> None:
    port, _, _ = serve(SHUTDOWN_TIMEOUT="0")
    stalled = [connect(port) for _ in range(120)]
    try:
        for connection in stalled:
            connection.sendall(b"GET / HT")
        assert ask(port, GET).startswith(b"HTTP/1.0 200")
    finally:
        for connection in stalled:
            connection.close()
