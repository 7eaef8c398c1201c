import json
import logging
import resource
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any

import pytest
from captured_logs import plain_structlog, structured
from ledger.management import ManagementServer, Probes

from ledger import management

__all__ = ["plain_structlog", "structured"]

READY: tuple[int, Mapping[str, object]] = (503, {"status": "not ready", "reasons": ["no Kafka"]})


class App:
    """An app whose readiness a test replaces."""

    ready: Callable[[], tuple[int, Mapping[str, object]]] = staticmethod(lambda: READY)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def server(app: App) -> Iterator[ManagementServer]:
    ready = lambda: app.ready()  # noqa: E731, PLW0108  a test replaces it
    probes = Probes(ready=ready, metrics=lambda accept: ("text/x", accept.encode()))
    server = ManagementServer(0, probes)
    server.serve()
    yield server
    server.close()


@pytest.fixture
def url(server: ManagementServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def get(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  our server
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "response"),
    [
        ("/health", (200, {"status": "alive"})),
        ("/ready", READY),
        ("/nowhere", (404, {"status": "there is nothing at this address"})),
    ],
)
def test_each_path_has_its_response(
    url: str, path: str, response: tuple[int, dict[str, Any]]
) -> None:
    assert get(url + path) == response


def test_until_the_app_is_loaded_it_is_alive_and_not_ready() -> None:
    server = ManagementServer(0)
    server.serve()
    url = f"http://127.0.0.1:{server.port}"
    try:
        assert get(f"{url}/health")[0] == 200
        assert get(f"{url}/ready")[0] == 503
        server.show(Probes(ready=lambda: (200, {}), metrics=lambda _: ("", b"")))
        assert get(f"{url}/ready")[0] == 200
    finally:
        server.close()


def test_the_client_chooses_the_format_of_the_metrics(url: str) -> None:
    request = urllib.request.Request(f"{url}/metrics", headers={"Accept": "text/y"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310  our server
        assert (response.headers["Content-Type"], response.read()) == ("text/x", b"text/y")


def test_a_slow_check_delays_no_other_probe(url: str, app: App) -> None:
    started, ended = threading.Event(), threading.Event()

    def slow() -> tuple[int, Mapping[str, object]]:
        started.set()
        ended.wait(5)
        return READY

    app.ready = slow
    waiting = threading.Thread(target=get, args=(f"{url}/ready",))
    waiting.start()
    assert started.wait(5)
    assert get(f"{url}/health")[0] == 200
    assert waiting.is_alive()
    ended.set()
    waiting.join(5)


def test_a_probe_may_disconnect_early(
    server: ManagementServer, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    disconnected = threading.Event()
    threads: SimpleQueue[threading.Thread] = SimpleQueue()

    def slow() -> tuple[int, Mapping[str, object]]:
        threads.put(threading.current_thread())
        disconnected.wait(5)
        return READY

    app.ready = slow
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )  # close with a reset
    disconnected.set()
    threads.get(timeout=5).join(5)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_check_that_raises_is_logged(
    server: ManagementServer,
    app: App,
    caplog: pytest.LogCaptureFixture,
    structured: Callable[..., Any],
) -> None:
    def fail() -> tuple[int, Mapping[str, object]]:
        raise LookupError("a bug")

    app.ready = fail
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        assert connection.recv(100) == b""
    assert [line["event"] for line in structured(caplog)] == [
        "a request to the management port failed"
    ]


def test_it_pauses_without_free_file_descriptors(
    server: ManagementServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    paused = threading.Event()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        paused.set()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        # The next descriptor is the one that the server needs to accept the connection.
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
        monkeypatch.setattr(time, "sleep", pause)
        try:
            client.connect(("127.0.0.1", server.port))
            assert paused.wait(5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            monkeypatch.undo()
    assert pauses[0] == management.ACCEPT_PAUSE
    assert get(f"http://127.0.0.1:{server.port}/health")[0] == 200


def test_the_port_is_free_again_at_once(server: ManagementServer, url: str) -> None:
    get(f"{url}/health")
    port = server.port
    server.close()
    probes = Probes(ready=lambda: READY, metrics=lambda _: ("", b""))
    again = ManagementServer(port, probes)
    again.serve()
    again.close()


def test_a_port_in_use_is_an_error(server: ManagementServer) -> None:
    with pytest.raises(OSError, match="in use"):
        ManagementServer(server.port, Probes(ready=lambda: READY, metrics=lambda _: ("", b"")))


def test_a_silent_client_is_disconnected(
    server: ManagementServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management._Handler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", server.port), timeout=4) as connection:
        assert connection.recv(1) == b""


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return socket.has_dualstack_ipv6()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_probes_may_come_by_ipv6(server: ManagementServer) -> None:
    assert get(f"http://[::1]:{server.port}/health") == (200, {"status": "alive"})
