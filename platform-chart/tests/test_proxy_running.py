"""The proxy's files with a running HAProxy: connections, headers, certificates and shutdown."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import SECURED, alone, container, find, render, secret
from test_monitoring import PROXY_METRICS

pytestmark = pytest.mark.engine

IMAGE = os.environ.get("HAPROXY_IMAGE", "haproxy:3.0.11")
PYTHON_IMAGE = os.environ.get("PYTHON_IMAGE", "")
NAME = "platform-web.test.svc"
WEB = {
    **SECURED,
    "ports": {"http": 8000, "management": 8001},
    "metrics": {"port": "management"},
    "shutdown": {"linger": 1},
}
TIMEOUT = 30.0

# The app behind the proxy: returns the headers of a request, of /slow only after SIGUSR1.
APP = """
import http.server, json, signal, threading
ready = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: ready.set())
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            ready.wait()
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), App)
print("listening", flush=True)
server.serve_forever()
"""


def docker(*arguments: str) -> str:
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip() + result.stderr.strip()


def until(check: Callable[[], Any]) -> Any:
    """Return the first true result of a check; raise its last error after a timeout."""
    deadline = time.monotonic() + TIMEOUT
    problem: BaseException | None = None
    while time.monotonic() < deadline:
        try:
            if result := check():
                return result
        except (OSError, http.client.HTTPException) as error:
            problem = error
        time.sleep(0.05)
    raise AssertionError(problem or "the check stays false")


class Proxy:
    """HAProxy and an app in one network namespace, as in a pod."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.name = f"chart-proxy-{uuid.uuid4().hex[:8]}"
        self.documents = render(alone(**WEB) | {"proxy": values})
        (folder / "proxy").mkdir()
        for name, text in find(self.documents, "ConfigMap", "platform-proxy")["data"].items():
            # The script checks for a renewed certificate more often.
            faster = text.replace("local SECONDS = 5", "local SECONDS = 1")
            (folder / "proxy" / name).write_text(faster)
        (folder / "certificate").mkdir()
        self.put_certificate(self.documents)
        (folder / "ca.crt").write_text(secret(self.documents, "platform-ca")["ca.crt"])
        self.start_proxy()
        self.address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.name)
        app = [f"--name={self.name}-app", f"--network=container:{self.name}"]
        docker("run", "--detach", *app, "--entrypoint=python3", PYTHON_IMAGE, "-c", APP)
        # An earlier request would count for the limits of this address.
        until(lambda: "listening" in docker("logs", f"{self.name}-app"))
        until(lambda: self.ask()[0] == 200)

    def start_proxy(self) -> None:
        """Start HAProxy with the rights, mounts and variables of the sidecar."""
        sidecar = container(self.documents, "platform-web", "proxy")
        user = sidecar["securityContext"]["runAsUser"]
        command, *arguments = sidecar["command"]
        options = [
            f"--name={self.name}",
            f"--entrypoint={command}",
            f"--user={user}:{user}",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            *(f"--env={each['name']}={each['value']}" for each in sidecar["env"]),
            *(
                f"--volume={self.folder}/{mount['name']}:{mount['mountPath']}:ro"
                for mount in sidecar["volumeMounts"]
            ),
        ]
        docker("run", "--detach", *options, IMAGE, *arguments)

    def put_certificate(self, documents: list[dict[str, Any]]) -> None:
        """Replace both files at once, as the kubelet does."""
        data = secret(documents, "platform-tls")
        new = self.folder / "certificate" / f"..{uuid.uuid4().hex}"
        new.mkdir(mode=0o755)
        (new / "certificate.pem").write_text(data["tls.crt"])
        (new / "certificate.pem.key").write_text(data["tls.key"])
        link = self.folder / "certificate" / "..new"
        link.symlink_to(new.name)
        link.rename(self.folder / "certificate" / "..data")
        for name in ("certificate.pem", "certificate.pem.key"):
            if not (self.folder / "certificate" / name).is_symlink():
                (self.folder / "certificate" / name).symlink_to(f"..data/{name}")

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "ca.crt"))

    def connect(self, context: ssl.SSLContext | None = None) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(NAME, timeout=10)
        plain = socket.create_connection((self.address, 8443), 10)
        try:
            connection.sock = (context or self.context()).wrap_socket(plain, server_hostname=NAME)
        except OSError:
            plain.close()
            raise
        return connection

    def ask(
        self,
        path: str = "/",
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPSConnection | None = None,
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        own = connection or self.connect()
        own.request("GET", path, headers=headers or {})
        answer = own.getresponse()
        result = answer.status, answer.read(), answer.headers
        if connection is None:
            own.close()
        return result

    def certificate(self) -> str:
        connection = self.connect(unverified())
        assert isinstance(connection.sock, ssl.SSLSocket)
        text = ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(binary_form=True) or b"")
        connection.close()
        return text

    def log(self) -> str:
        return docker("logs", self.name)

    def remove(self) -> None:
        docker("rm", "--force", self.name, f"{self.name}-app")


def unverified() -> ssl.SSLContext:
    """Return the context of a client that accepts a certificate of any CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Proxy]]:
    """Starts a proxy with these values and an app behind it."""
    if not PYTHON_IMAGE:
        pytest.skip("PYTHON_IMAGE names no image with Python")
    assert shutil.which("docker")
    with contextlib.ExitStack() as stack:

        def start(**values: object) -> Proxy:
            proxy = Proxy(tmp_path_factory.mktemp("proxy"), values)
            stack.callback(proxy.remove)
            return proxy

        yield start


@pytest.fixture(name="proxy", scope="module")
def _proxy(started: Callable[..., Proxy]) -> Proxy:
    """A proxy with short timeouts."""
    return started(timeouts={"request": 1, "response": 1})


@pytest.fixture(scope="module")
def strict(started: Callable[..., Proxy]) -> Proxy:
    """A proxy with low limits."""
    return started(limits={"connections": 6, "requestsPerSecond": 1})


@pytest.fixture(scope="module")
def narrow(started: Callable[..., Proxy]) -> Proxy:
    """A proxy that gives the app one request at a time."""
    return started(maxRequests=1, timeouts={"queue": 1})


@pytest.fixture
def own(started: Callable[..., Proxy]) -> Proxy:
    """A proxy that a test may change or stop."""
    return started()


def test_the_app_gets_the_proxys_headers_about_the_client(proxy: Proxy) -> None:
    lies = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "http",
        "Forwarded": "for=1.2.3.4",
        "X-Real-IP": "1.2.3.4",
        "X-Forwarded-User": "admin",
        "X-Auth-Request-User": "admin",
        "Remote-User": "admin",
        "X_Other": "admin",
    }
    status, body, _ = proxy.ask(headers=lies | {"X-Other": "kept"})
    assert status == 200
    seen = json.loads(body)
    assert [name for name, value in seen if value in {"for=1.2.3.4", "admin"}] == []
    assert [name for name, _ in seen if name == "x-real-ip"] == []
    assert [value for name, value in seen if name == "x-forwarded-proto"] == ["https"]
    assert [value for name, value in seen if name == "x-other"] == ["kept"]
    (client,) = [value for name, value in seen if name == "x-forwarded-for"]
    assert client != "1.2.3.4"


def test_tls_1_2_and_http_1_1_are_accepted(proxy: Proxy) -> None:
    old = proxy.context()
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    connection = proxy.connect(old)
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.version() == "TLSv1.2"
    connection.close()
    newer = proxy.context()
    newer.set_alpn_protocols(["h2", "http/1.1"])
    connection = proxy.connect(newer)
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.selected_alpn_protocol() == "http/1.1"
    connection.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(proxy: Proxy) -> None:
    older = proxy.context()
    older.set_ciphers("ALL:@SECLEVEL=0")
    older.minimum_version = older.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        proxy.connect(older)


def test_a_new_certificate_is_loaded_and_an_invalid_one_refused_without_a_reconnect(
    own: Proxy,
) -> None:
    kept = own.connect()
    assert own.ask(connection=kept)[0] == 200
    first = own.certificate()
    own.put_certificate(render(alone(**WEB) | {"tls": {"extraNames": ["second.example"]}}))
    second = until(lambda: (now := own.certificate()) != first and now)
    # With the key of another certificate, which HAProxy must refuse without stopping.
    broken, other = (
        render(alone(**WEB) | {"tls": {"extraNames": [name]}})
        for name in ("third.example", "fourth.example")
    )
    key = find(other, "Secret", "platform-tls")["data"]["tls.key"]
    find(broken, "Secret", "platform-tls")["data"]["tls.key"] = key
    own.put_certificate(broken)
    until(lambda: "the new certificate is unusable, the old one stays in use" in own.log())
    assert own.certificate() == second
    own.put_certificate(render(alone(**WEB) | {"tls": {"extraNames": ["fifth.example"]}}))
    until(lambda: own.certificate() != second)
    assert own.ask(connection=kept)[0] == 200
    kept.close()
    assert own.log().count("the new certificate is in use") == 2
    assert own.log().count("the new certificate is unusable") == 1


def test_a_shutdown_closes_idle_connections_and_finishes_requests(own: Proxy) -> None:
    idle, asking, slow = own.connect(), own.connect(), own.connect()
    assert own.ask(connection=idle)[2]["Connection"] is None
    sidecar = container(own.documents, "platform-web", "proxy")
    hook = sidecar["lifecycle"]["preStop"]["exec"]["command"]
    hook_process = subprocess.Popen(["docker", "exec", own.name, *hook], stderr=subprocess.DEVNULL)
    until(lambda: own.ask()[2]["Connection"] == "close")
    assert own.ask(connection=asking)[2]["Connection"] == "close"
    slow.request("GET", "/slow")
    assert idle.sock.recv(1) == b""  # closed, in order
    with pytest.raises(OSError, match=r".+"):
        own.connect()
    docker("kill", "--signal", "USR1", f"{own.name}-app")
    answer = slow.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert answer.read()
    for connection in (idle, asking, slow):
        connection.close()
    hook_process.wait()
    assert docker("wait", own.name) == "0"


# Python 3.11 leaves a socket open that was reset before its handshake began.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_limit_of_connections_of_an_address(strict: Proxy) -> None:
    connections = [strict.connect() for _ in range(6)]
    with pytest.raises(OSError, match=r".+"):
        strict.connect()
    for connection in connections:
        connection.close()
    until(lambda: strict.ask()[0] == 200)


def test_the_limit_of_requests_of_an_address(strict: Proxy) -> None:
    statuses = []
    connection = strict.connect()
    for _ in range(15):
        status, body, headers = strict.ask(connection=connection)
        statuses.append(status)
    connection.close()
    assert statuses[0] == 200
    assert (statuses[-1], headers["Retry-After"]) == (429, "1")
    assert json.loads(body)["error"]["code"] == "too-many-requests"


def test_requests_beyond_the_limit_wait_and_then_get_503_but_readers_block_no_writer(
    narrow: Proxy,
) -> None:
    slow = narrow.connect()
    slow.request("GET", "/slow")
    until(lambda: narrow.ask()[0] == 503)
    status, body, headers = narrow.ask()
    assert (status, headers["Retry-After"]) == (503, "1")
    assert json.loads(body)["error"]["code"] == "unavailable"
    assert '"termination": "sQ' in narrow.log()  # tests on a cluster look for it
    writer = narrow.connect()
    writer.request("POST", "/", b"event")
    assert writer.getresponse().status == 200
    writer.close()
    docker("kill", "--signal", "USR1", f"{narrow.name}-app")
    assert slow.getresponse().status == 200
    slow.close()
    assert narrow.ask()[0] == 200


def test_the_app_gets_whole_requests_only(proxy: Proxy) -> None:
    dripping = proxy.connect()
    dripping.sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
    dripping.sock.settimeout(0.1)
    received = b""
    for _ in range(100):
        with contextlib.suppress(TimeoutError):
            received += dripping.sock.recv(100)
        if received:
            break
        dripping.sock.sendall(b"x")
    assert b" 408 " in received
    dripping.close()


@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/%6detrics", "/metrics?x", "http://a/metrics"]
)
def test_the_components_metrics_are_hidden(proxy: Proxy, path: str) -> None:
    status, body, _ = proxy.ask(path)
    assert (status, json.loads(body)["error"]["code"]) == (404, "not-found")


def test_incomplete_requests_and_missing_responses_time_out(
    proxy: Proxy,
) -> None:
    stalled = proxy.connect()
    stalled.sock.sendall(b"GET / HTTP/1.1\r\n")
    assert proxy.ask("/slow")[0] == 504
    assert b" 408 " in stalled.sock.recv(100)
    stalled.close()


def test_the_error_for_a_stopped_app_is_json(proxy: Proxy) -> None:
    docker("kill", f"{proxy.name}-app")
    status, body, headers = proxy.ask()
    docker("start", f"{proxy.name}-app")
    assert (status, headers["Content-Type"], headers["Retry-After"]) == (
        503,
        "application/json",
        "1",
    )
    assert json.loads(body)["error"]["code"] == "unavailable"
    assert '"status": 503' in proxy.log()


def test_the_metrics_of_alerts_and_dashboard_exist(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection(proxy.address, 8404, timeout=10)
    connection.request("GET", "/metrics")
    metrics = set(
        re.findall(r"^# TYPE (\S+)", connection.getresponse().read().decode(), re.MULTILINE)
    )
    assert PROXY_METRICS - metrics == set()
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()
