"""The relay in front of a registry: it changes nothing, and counts everything."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ops.bench.relay import Traffic, kind, parsing, relay
from tests.registries import Answer, serving

PUT = b"PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
PIECES = b"5\r\nGET /\r\n3;x=y\r\n\n\r\n\r\n0\r\nT: 1\r\n\r\n"
CHUNKED = b"PATCH /v2/a/uploads/1 HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n" + PIECES
GET = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
POST = f"POST /v2/a HTTP/1.1\r\nCONTENT-LENGTH: {len(GET)}\r\n\r\n".encode() + GET
STREAM = PUT + CHUNKED + GET + b"\r\n" + POST + GET
REQUESTS = ["PUT /v2/a/manifests/1", "PATCH /v2/a/uploads/1", "GET /v2/", "POST /v2/a", "GET /v2/"]


def read(*pieces: bytes) -> list[str]:
    requests: list[str] = []
    parser = parsing(lambda method, path: requests.append(f"{method} {path}"))
    next(parser)
    for piece in pieces:
        parser.send(piece)
    return requests


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_requests_are_parsed_from_pieces_of_any_size(size: int) -> None:
    assert read(*(STREAM[at : at + size] for at in range(0, len(STREAM), size))) == REQUESTS


def test_tls_is_no_request() -> None:
    assert read(b"\x16\x03\x01\x00\xa5\n", GET) == []


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "/v2/", "GET /v2/"),
        ("HEAD", "/v2/b/api-rest/manifests/1.0.0", "HEAD manifest"),
        ("POST", "/v2/a/blobs/uploads/?mount=sha256:1&from=a/b", "POST upload"),
        ("PATCH", "/v2/a/blobs/uploads/0-1?_state=x/y", "PATCH upload"),
        ("HEAD", "/v2/a/blobs/sha256:12", "HEAD blob"),
        ("GET", "/v2/a/tags/list?n=5", "GET tags"),
        ("GET", "/v2/a/referrers/sha256:12", "GET referrers"),
        ("GET", "/token?scope=x", "GET /token"),
    ],
)
def test_a_request_has_a_kind(method: str, path: str, known: str) -> None:
    assert kind(method, path) == known


def echo(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
    return 201, {}, body[::-1]


def put(port: int, count: int = 1) -> list[bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    answers = []
    for _ in range(count):
        connection.request("PUT", "/v2/a/manifests/1", body=b"0123456789" * 20_000)
        answers.append(connection.getresponse().read())
    connection.close()
    return answers


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


@contextmanager
def upstream(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server of one connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def test_concurrent_requests_are_unchanged_and_counted_once() -> None:
    answers: list[bytes] = []
    with serving(echo) as (address, seen), relay(int(address.rpartition(":")[2])) as between:
        work = [
            threading.Thread(target=lambda: answers.extend(put(between.port, 5))) for _ in range(8)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        assert between.take().requests == {"PUT manifest": 40}
        assert between.take() == Traffic()
    assert answers == [b"9876543210" * 20_000] * 40
    assert seen == ["PUT /v2/a/manifests/1"] * 40


def test_every_byte_is_counted_and_a_half_closed_client_gets_its_answer() -> None:
    def answer(connection: socket.socket) -> None:
        got = b""
        while piece := connection.recv(4096):
            got += piece
        connection.sendall(b"%d bytes" % len(got))

    answered = b"%d bytes" % len(PUT)
    with upstream(answer) as port, relay(port) as between:
        with connect(between.port) as client:
            client.sendall(PUT)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(4096) == answered
        taken = between.take()
    assert (taken.sent, taken.received) == (len(PUT), len(answered))
