"""Hostile requests, byte by byte, on real sockets; hostile.py has the table."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from api_rest.framing import Request
from api_rest.server import Server
from api_rest.settings import Settings
from api_rest.state import State
from hostile import AFTER, CASES, SMUGGLED, STATUS, Case

from ledger import config

LIMIT = 20


class Recorder:
    """Remembers which requests reach it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        self.paths.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


@pytest.fixture(scope="module")
def app() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def port(app: Recorder) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = str(probe.getsockname()[1])
    stopping = threading.Event()
    needed = dict.fromkeys(
        ("BROKER_URL", "DB_HOST", "DB_DATABASE", "DB_USERNAME", "DB_PASSWORD"), "unused"
    )
    settings = config.load(Settings, {**needed, "HTTP_HOST": "127.0.0.1", "HTTP_PORT": free})
    server = Server(lambda _: (app, lambda _: State(ready=True)), settings, stopping)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server.port
    stopping.set()
    server.wake()
    thread.join(LIMIT)
    assert not thread.is_alive()


def everything(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionResetError:
        received += b"RESET"
    return received


def exchange(port: int, case: Case) -> bytes:
    """Send the case, and a good request if it is served; return all until the server closes."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
        connection.sendall(case.sent)
        if case.ends:
            connection.shutdown(socket.SHUT_WR)
        elif 100 in case.statuses:
            assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"hello" + AFTER)
            return b"HTTP/1.1 100 Continue\r\n\r\n" + everything(connection)
        else:
            connection.sendall(SMUGGLED if case.refused else AFTER)
        return everything(connection)


def test_there_are_at_least_a_hundred_cases_with_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile(port: int, app: Recorder, case: Case) -> None:
    app.paths.clear()
    received = exchange(port, case)
    extra = () if case.refused else (200,)
    assert tuple(map(int, STATUS.findall(received))) == (*case.statuses, *extra)
    assert app.paths == [*case.paths, *(() if case.refused else ("/after",))]
    if case.refused:
        head, _, body = received.rpartition(b"\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in head
        assert set(json.loads(body)["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /x HTTP/1.1\nHost: a\n\n",
        b"GET /x HTTP/1.1\rHost: a\r\r",
        b"GET /x\x00",
        b"\x16\x03\x01\x00\xc0",
        b"\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy",
    ],
)
def test_what_cannot_become_a_request_is_refused_without_waiting_for_more(
    port: int, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
        connection.sendall(sent)
        assert STATUS.findall(everything(connection)) == [b"400"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_does_not_matter_how_the_bytes_are_cut_into_packets(case: Case) -> None:
    def read(size: int) -> list[tuple[str, bytes, int | None]]:
        found: list[tuple[str, bytes, int | None]] = []
        rest = case.sent
        while rest:
            request = Request(max_header_bytes=16_384, max_body_bytes=65_536)
            while rest and not request.completed:
                taken = request.received(rest[:size])
                rest = rest[taken:]
            if request.error:
                return [*found, (request.path, b"", request.error.status)]
            found.append((request.path, request.get_body_stream().read(), None))
        return found

    whole = read(len(case.sent))
    assert [error for *_, error in whole] == [error for *_, error in read(1)]
    if not case.refused:
        assert whole == read(1) == read(7)
