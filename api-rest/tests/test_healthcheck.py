import socket
import threading
from collections.abc import Iterator

import pytest
from api_rest.healthcheck import ready


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"", False),
    ],
)
def test_only_200_is_ready(listener: socket.socket, response: bytes, expected: bool) -> None:  # noqa: FBT001
    asked: list[bytes] = []

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(1024))
            connection.sendall(response)

    thread = threading.Thread(target=answer)
    thread.start()
    assert ready(port_of(listener)) is expected
    thread.join()
    assert asked[0].startswith(b"GET /ready ")


def test_nobody_listening_is_not_ready(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    assert not ready(port)
