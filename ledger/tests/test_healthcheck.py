import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from ledger import healthcheck


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
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
def test_only_status_200_is_ready(
    listener: socket.socket,
    response: bytes,
    expected: bool,
) -> None:
    requests: list[bytes] = []

    def respond() -> None:
        connection, _ = listener.accept()
        with connection:
            requests.append(connection.recv(1024))
            connection.sendall(response)

    thread = threading.Thread(target=respond)
    thread.start()
    assert healthcheck.is_ready(port_of(listener)) is expected
    thread.join()
    assert requests[0].startswith(b"GET /ready ")


def test_a_closed_port_is_not_ready(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    assert not healthcheck.is_ready(port)


def test_the_port_comes_from_the_environment(listener: socket.socket) -> None:
    environ = {**os.environ, "MANAGEMENT_PORT": str(port_of(listener))}
    command = [sys.executable, "-I", "-S", healthcheck.__file__]
    with subprocess.Popen(command, env=environ) as process:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    assert process.returncode == 0
