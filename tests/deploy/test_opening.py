"""A component at a local port: TLS is verified, and Ctrl-C leaves nothing behind."""

import base64
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import trustme

from delivery import console
from delivery.deploy import opening
from delivery.deploy.target import Target
from delivery.errors import DeclarationError, DeployError, PortTakenError
from delivery.project.declaration import Declaration
from tests.deploy.cluster import Cluster, target

HOST = "platform-api-rest.platform.svc"
AUTHORITY = trustme.CA()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Ends some of its connections before their handshake: the second is 1."""

    def __init__(self, drops: Collection[int]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.drops, self.connections = drops, itertools.count()

    def get_request(self) -> tuple[socket.socket, Any]:
        if next(self.connections) in self.drops:
            plain, _ = socket.socket.accept(self.socket)
            plain.close()
            raise OSError("dropped")
        return super().get_request()


@contextmanager
def pod(
    host: str = HOST, authority: trustme.CA = AUTHORITY, drops: Collection[int] = ()
) -> Iterator[int]:
    """An HTTPS server with a certificate for this host; its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    with Server(drops) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Forwarding(Cluster):
    """A cluster whose Service leads to a local port."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.opened: list[str] = []
        self.closed = 0
        self.service: dict[str, Any] | None = {"spec": {"ports": [{"name": "https"}]}}
        self.secrets = {"platform-tls": AUTHORITY.cert_pem.bytes()}

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "service":
            return self.service
        text = self.secrets.get(name)
        return {"data": {"ca.crt": base64.b64encode(text).decode()}} if text else None

    @contextmanager
    def forwarded(self, name: str, port: str) -> Iterator[int]:
        self.opened.append(f"{name} {port}")
        try:
            yield self.port
        finally:
            self.closed += 1


@pytest.fixture
def open_at(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Forwarding, Callable[[str], None]], None]:
    """Open api-rest; once it is announced, a function gets the address and Ctrl-C is pressed."""

    def run(
        cluster: Forwarding, use: Callable[[str], None], port: int = 0, *, interrupts: bool = True
    ) -> None:
        def announced(text: str) -> None:
            if "http://" in text:
                address = text.split(": ")[1].split(maxsplit=1)[0]
                use(address)
                if interrupts:
                    raise KeyboardInterrupt

        def connect(*_: object) -> Target:
            return target(cluster)

        monkeypatch.setattr(opening, "connect", connect)
        monkeypatch.setattr(console, "say", announced)
        opening.open_component(declaration, "local", "", "api-rest", port)

    return run


def get(address: str) -> bytes:
    return requests.get(address, timeout=10).content


def test_a_browser_needs_no_certificate(open_at: Any) -> None:
    bodies: list[bytes] = []
    before = threading.active_count()
    with pod() as port:
        cluster = Forwarding(port)
        open_at(cluster, lambda address: bodies.append(get(address)))
    assert (bodies, cluster.closed) == ([b"hello"], 1)
    assert cluster.opened == ["service/platform-api-rest https"]
    assert threading.active_count() == before


@pytest.mark.parametrize("served", [{"authority": trustme.CA()}, {"host": "other.platform.svc"}])
def test_another_certificate_is_refused(open_at: Any, served: dict[str, Any]) -> None:
    with pod(**served) as port:
        cluster = Forwarding(port)
        with pytest.raises(DeployError, match=f"cannot open {HOST}: its certificate is not valid"):
            open_at(cluster, pytest.fail)
    assert cluster.closed == 1


def test_a_connection_that_fails_is_made_once_more(open_at: Any) -> None:
    bodies: list[bytes] = []
    with pod(drops={1}) as port:  # the first is to verify it
        open_at(Forwarding(port), lambda address: bodies.append(get(address)))
    assert bodies == [b"hello"]


def test_a_pod_that_has_ended_is_said(open_at: Any) -> None:
    with ExitStack() as running:
        cluster = Forwarding(running.enter_context(pod()))

        def use(address: str) -> None:
            running.close()
            with pytest.raises(requests.ConnectionError):
                get(address)

        with pytest.raises(DeployError, match="its pod no longer takes a connection") as error:
            open_at(cluster, use, interrupts=False)
    assert "run the same command again" in error.value.hint
    assert cluster.closed == 1


def test_a_pod_without_a_connection_is_an_error(open_at: Any) -> None:
    with pod() as port:
        pass
    with pytest.raises(DeployError, match=f"cannot open {HOST}: .*refused"):
        open_at(Forwarding(port), pytest.fail)


@pytest.mark.parametrize(
    ("service", "reason"),
    [(None, "is not deployed"), ({"spec": {"ports": [{"name": "http"}]}}, "has no port https")],
)
def test_a_component_without_tls_cannot_be_opened(
    open_at: Any, service: dict[str, Any] | None, reason: str
) -> None:
    cluster = Forwarding(1)
    cluster.service = service
    with pytest.raises(DeclarationError, match=f"its Service platform-api-rest {reason}"):
        open_at(cluster, pytest.fail)
    assert cluster.opened == []


def test_a_taken_port_is_an_error(open_at: Any) -> None:
    with pod() as port, pytest.raises(PortTakenError, match=f"cannot listen at port {port}"):
        open_at(Forwarding(port), pytest.fail, port)
