"""The job that reports drift, with Kubernetes' API and a ledger over real HTTPS."""

import base64
import gzip
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from api_rest.drift_check import main

MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app.kubernetes.io/component: web}}
spec: {type: ClusterIP}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gone}
---
apiVersion: v1
kind: Secret
metadata: {name: forbidden}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: of-the-cluster}
---
"""
ROOT = "/api/v1/namespaces/shop"


def revision(number: int, manifest: str) -> dict[str, Any]:
    """A Secret of Helm's."""
    packed = gzip.compress(json.dumps({"manifest": manifest}).encode())
    twice = base64.b64encode(base64.b64encode(packed)).decode()
    return {"metadata": {"labels": {"version": str(number)}}, "data": {"release": twice}}


def kinds(**resources: str) -> dict[str, Any]:
    listed = [{"kind": k, "name": v, "namespaced": True} for k, v in resources.items()]
    status = {"kind": "Service", "name": "services/status", "namespaced": True}
    return {"resources": [{"kind": "X", "name": "x", "namespaced": False}, status, *listed]}


FIELDS: dict[str, Any] = {"f:spec": {"f:type": {}}}
LIVE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "name": "web",
        "labels": {"app.kubernetes.io/component": "web"},
        "managedFields": [{"manager": "kubectl-edit", "time": "then", "fieldsV1": FIELDS}],
    },
    "spec": {"type": "NodePort"},
}
ANSWERS: dict[str, Any] = {
    f"{ROOT}/secrets?labelSelector=owner%3Dhelm%2Cname%3Dshop%2Cstatus%3Ddeployed": {
        "items": [revision(9, "{}"), revision(10, MANIFEST)]
    },
    "/api/v1": kinds(Service="services", Secret="secrets"),
    "/apis/apps/v1": kinds(Deployment="deployments"),
    "/apis/scheduling.k8s.io/v1": kinds(),
    f"{ROOT}/services/web": LIVE,
}


class Servers(ThreadingHTTPServer):
    """Kubernetes' API and a ledger in one."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.reports: list[Any] = []
        self.tokens: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    server: Servers

    def do_GET(self) -> None:
        self.server.tokens.add(f"GET {self.headers['Authorization']}")
        forbidden = self.path == f"{ROOT}/secrets/forbidden"
        found = ANSWERS.get(self.path)
        self._answer(403 if forbidden else 404 if found is None else 200, found or {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(f"POST {self.path} {self.headers['Authorization']}")
        self.server.reports.append(json.loads(body))
        self._answer(200, {})

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    made = Servers(ca.issue_cert("127.0.0.1"))
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_the_newest_revision_is_compared_and_reported(
    servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "namespace").write_text("shop")
    (tmp_path / "token").write_text("of-the-account")
    port = str(servers.server_port)
    environ = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": port,
        "LEDGER": f"https://127.0.0.1:{port}",
        "CA_FILE": str(tmp_path / "ca.crt"),
        "TOKEN": "of-the-ledger",
        "RELEASE": "shop",
        "ENVIRONMENT": "staging",
    }
    assert main(environ, tmp_path) == 0
    (report,) = servers.reports
    assert report["environment"] == "staging"
    assert [(each["object"], each["change"], each["live"]) for each in report["found"]] == [
        ("Deployment/gone", "deleted", ""),
        ("Service/web", "changed", "NodePort"),
    ]
    assert report["found"][1]["component"] == "web"
    assert servers.tokens == {"GET Bearer of-the-account", "POST /drift Bearer of-the-ledger"}
    printed = capsys.readouterr().out
    assert f"not compared: {ROOT}/secrets/forbidden: 403" in printed
    assert "reported: 2 differences in 2 objects" in printed
