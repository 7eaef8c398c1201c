"""api-rest's server behind the chart's HAProxy, with an app that records what reaches it."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.host import programs
from delivery.project.files import ROOT
from tests import yaml_strict
from tests.commands import output
from tests.waiting import wait_for

__all__ = ["Proxied", "proxied"]

_PORT = 8443
_LIMIT = 20
_REQUEST_SECONDS = 2
# Without its health check, a container asks nothing by itself.
_APP = """
import json, threading
from api_rest.proxies import ProxyHeaders
from api_rest.server import Server
from api_rest.settings import Settings
from bottle import BaseRequest
from ledger import config
paths = []
def app(environ, start_response):
    body = b"ok"
    if environ["PATH_INFO"] == "/recorded":
        body = json.dumps(paths).encode()
        paths.clear()
    elif environ["PATH_INFO"] == "/client":
        body = json.dumps([environ["REMOTE_ADDR"], BaseRequest(environ).url]).encode()
    else:
        paths.append(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
names = ("BROKER_URL", "DB_HOST", "DB_DATABASE", "DB_USERNAME", "DB_PASSWORD")
own = {"TRUSTED_PROXIES": "127.0.0.1"}
settings = config.load(Settings, {**dict.fromkeys(names, "unused"), **own})
Server(ProxyHeaders(app, settings.trusted_proxies), settings, threading.Event()).run()
"""


@dataclass(frozen=True)
class Proxied:
    """Both in one network namespace, as in a pod."""

    address: str

    @contextmanager
    def connected(self) -> Iterator[ssl.SSLSocket]:
        """A connection to the proxy, whose certificate is not checked."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection((self.address, _PORT), _LIMIT)
        with context.wrap_socket(plain) as connection:
            yield connection

    def send(self, *parts: bytes, ends: bool = False) -> bytes:
        """Send each part once there is an answer to the one before; return all that came back."""
        received = b""
        with self.connected() as connection, suppress(OSError):
            for part in parts:
                if part is not parts[0]:
                    received += connection.recv(65_536)
                connection.sendall(part)
            if ends:
                # TLS has no half-closed connections: the client is gone.
                return received
            while data := connection.recv(65_536):
                received += data
        return received

    def recorded(self) -> list[str]:
        """The paths of the requests that have reached the app since the last call."""
        return list(self._ask("/recorded"))

    def client(self, *headers: str) -> tuple[str, str]:
        """Who the client is, and the address of the request, as the app sees it."""
        address, url = self._ask("/client", *headers)
        return address, url

    def _ask(self, path: str, *headers: str) -> Any:
        lines = [f"GET {path} HTTP/1.1", "Host: ledger.example", "Connection: close", *headers]
        answer = self.send("\r\n".join([*lines, "", ""]).encode())
        return json.loads(answer.partition(b"\r\n\r\n")[2])


@contextmanager
def proxied(folder: Path, *, haproxy: str, api_rest: str) -> Iterator[Proxied]:
    """Start HAProxy with the chart's files, and the recording app behind it."""
    _write(folder, _rendered())
    name = f"hostile-{uuid.uuid4().hex[:8]}"
    mounts = [
        f"--volume={folder}/proxy:/usr/local/etc/haproxy:ro",
        f"--volume={folder}/certificate:/certificate:ro",
    ]
    environment = ["--env=BACKEND_PORT=8000", "--env=PRIVATE_PATH=none"]
    command = ["haproxy", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
    app = [f"--name={name}-app", f"--network=container:{name}", "--no-healthcheck"]
    try:
        _docker("run", "--detach", f"--name={name}", *mounts, *environment, haproxy, *command)
        _docker("run", "--detach", *app, "--entrypoint=python3", api_rest, "-c", _APP)
        address = _docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)
        made = Proxied(address)
        wait_for("the app to answer through the proxy", lambda: _answers(made))
        yield made
    finally:
        _docker("rm", "--force", f"{name}-app", name)


def _answers(made: Proxied) -> bool:
    try:
        return made.recorded() == []
    except (OSError, ValueError):
        return False


def _rendered() -> dict[tuple[str, str], dict[str, Any]]:
    """The chart's objects by kind and name."""
    options = ["--set", f"proxy.timeouts.request={_REQUEST_SECONDS}"]
    command = [programs.ensure("helm"), "template", "platform", "platform-chart", *options]
    documents = yaml_strict.load_all(output(command, folder=ROOT))
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def _write(folder: Path, objects: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Write the proxy's files so that its user may read them."""
    secret = objects["Secret", "platform-tls"]["data"]
    files = {
        **{f"proxy/{k}": v for k, v in objects["ConfigMap", "platform-proxy"]["data"].items()},
        "certificate/certificate.pem": base64.b64decode(secret["tls.crt"]).decode(),
        "certificate/certificate.pem.key": base64.b64decode(secret["tls.key"]).decode(),
    }
    folder.chmod(0o755)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _docker(*arguments: str) -> str:
    return output(["docker", *arguments]).strip()
