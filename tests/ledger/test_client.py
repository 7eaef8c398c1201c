"""The client: one request each time, and never surer of what came of it than it can be."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.integration.conftest import free_port
from tests.ledger.client import Address, Client, classify, says_ready

PAYLOAD = {"component": "é"}
GOOD = (
    b'HTTP/1.1 202 Accepted\r\nContent-Length: 32\r\n\r\n{"id": "one", "received_at": "t"}'.replace(
        b"32", b"33"
    )
)


hung_up = threading.Semaphore(0)


class Last(bytes):
    """An answer after which the server hangs up, though it did not say so."""


@contextmanager
def server(*answers: bytes | None) -> Iterator[tuple[Address, list[bytes]]]:
    """Answers each request as told, on one connection as long as it can: None hangs up instead."""
    while hung_up.acquire(blocking=False):
        pass
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        left = list(answers)
        while left:
            with listener.accept()[0] as connection:
                while left and (request := receive(connection)):
                    seen.append(request)
                    answer = left.pop(0)
                    if answer is None:
                        break
                    connection.sendall(answer)
                    if isinstance(answer, Last):
                        break
            hung_up.release()

    thread = threading.Thread(target=serve)
    thread.start()
    with closing(listener):
        yield listener.getsockname(), seen
        thread.join(10)
    assert not thread.is_alive()


def receive(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        if not (more := connection.recv(65536)):
            return b""
        received += more
    return received


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(timeout=5)
    yield made
    made.close()


def test_an_accepted_event_has_its_id_and_time(client: Client) -> None:
    with server(GOOD) as (address, seen):
        answer = client.record(address, PAYLOAD, "key-1")
    assert (answer.outcome, answer.status, answer.id, answer.received_at) == (
        "accepted",
        202,
        "one",
        "t",
    )
    assert b"POST /deployments HTTP/1.1" in seen[0]
    assert b"Idempotency-Key: key-1\r\n" in seen[0]
    assert seen[0].endswith('{"component": "é"}'.encode())


def test_nobody_listening_is_a_certain_refusal(client: Client) -> None:
    answer = client.record(("127.0.0.1", free_port()), PAYLOAD, None)
    assert (answer.outcome, answer.status) == ("refused", None)


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 202 Acc", GOOD[:-5], b"nonsense\r\n\r\n"])
def test_half_an_answer_is_unknown_and_not_tried_again(
    answer: bytes | None, client: Client
) -> None:
    with server(*([answer] if answer is None else [answer, None])) as (address, seen):
        if answer is not None:
            short = Client(timeout=0.5)
            found = short.record(address, PAYLOAD, None)
            short.record(address, PAYLOAD, None)
            short.close()
        else:
            found = client.record(address, PAYLOAD, None)
    assert (found.outcome, found.status) == ("unknown", None)
    assert len(seen) == (1 if answer is None else 2)


def test_a_connection_that_was_closed_while_it_rested_fails_no_request(client: Client) -> None:
    with server(Last(GOOD), GOOD) as (address, seen):
        assert client.record(address, PAYLOAD, None).outcome == "accepted"
        assert hung_up.acquire(timeout=10)
        assert client.record(address, PAYLOAD, None).outcome == "accepted"
        client.close()
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "unknown"),
        (302, "unknown"),
        (400, "refused"),
        (499, "refused"),
        (500, "unknown"),
        (503, "unknown"),
    ],
)
def test_only_a_4xx_is_a_certain_refusal(status: int, outcome: str) -> None:
    assert classify(status, b'{"id": "one", "received_at": "t"}').outcome == outcome


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"id": "one"}', b"null"])
def test_a_202_without_id_and_time_is_no_acceptance(body: bytes) -> None:
    assert classify(202, body).outcome == "unknown"


@pytest.mark.parametrize(
    ("status", "body", "ready"),
    [
        (200, b'{"status": "ready"}', True),
        (200, b'{"status": "degraded", "reasons": ["Kafka is away"]}', False),
        (503, b'{"status": "ready"}', False),
    ],
)
def test_ready_is_what_misses_nothing(status: int, body: bytes, ready: bool) -> None:  # noqa: FBT001
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.handle_request).start()
        assert says_ready(("127.0.0.1", served.server_port), 5) is ready
