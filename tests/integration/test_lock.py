"""The lock with a real kubectl, and an API server that stalls or loses an answer.

The durations are the real ones.
"""

import dataclasses
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from delivery.console import Step
from delivery.deploy import follow, leases, lock
from delivery.deploy.helm import ChartFiles, Helm, Watcher
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.leases import LEASE_SECONDS, Holder
from delivery.errors import DeployError
from delivery.host import programs

pytestmark = pytest.mark.engine

NAMESPACE, NAME = "platform", "platform-deploy"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
KIND = {"group": "coordination.k8s.io", "version": "v1", "kind": "Lease"}
# What kubectl reads of an API before it asks for a Lease, or for the objects of a release.
RESOURCES = {
    "v1": {"pods": "Pod"},
    "apps/v1": {
        "deployments": "Deployment",
        "replicasets": "ReplicaSet",
        "statefulsets": "StatefulSet",
    },
    "coordination.k8s.io/v1": {"leases": "Lease"},
}
VALIDATION = {
    "openapi": "3.0.0",
    "info": {"title": "Kubernetes", "version": "v1"},
    "paths": {
        f"{LEASES}/{{name}}": {
            "patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "x-kubernetes-group-version-kind": KIND,
                "responses": {},
            }
        }
    },
}


class Api:
    """A namespace with one Lease; each client has its own port, so that it can be cut off."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.answers: list[int] = []  # the status of each PUT, in order; 0 for a lost answer
        self.changed = threading.Condition()
        self.answers_to_lose = 0
        self.stalled: set[int] = set()  # ports
        self.closing = threading.Event()

    def put(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Store a Lease, unless it was made from an old version."""
        version = given["metadata"].get("resourceVersion", "")
        if self.lease is not None and version != str(self.version):
            return status(409, "Conflict", "the object has been modified")
        self.version += 1
        self.lease = {
            **given,
            "metadata": {**given["metadata"], "resourceVersion": str(self.version)},
        }
        return 200, self.lease

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """The resource at a path."""
        if path == f"{LEASES}/{NAME}" and self.lease is not None:
            return 200, self.lease
        return (
            (200, DISCOVERY[path])
            if path in DISCOVERY
            else status(404, "NotFound", "no such resource")
        )

    def wait_for(self, met: Callable[[list[int]], bool]) -> None:
        """Wait until the answers to PUT meet a condition."""
        with self.changed:
            assert self.changed.wait_for(lambda: met(self.answers), 60), self.answers


def status(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "details": {"name": NAME, "group": KIND["group"], "kind": "leases"},
        "code": code,
    }


def discovery() -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {"/api": {"kind": "APIVersions", "versions": ["v1"]}}
    groups = []
    for version, kinds in RESOURCES.items():
        group, _, number = version.rpartition("/")
        base = f"/apis/{version}" if group else f"/api/{version}"
        resources = [
            {
                "name": name,
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": True,
                "verbs": ["get", "list"],
            }
            for name, kind in kinds.items()
        ]
        paths[base] = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
        for name, kind in kinds.items():
            paths[f"{base}/namespaces/{NAMESPACE}/{name}"] = {
                "kind": f"{kind}List",
                "apiVersion": version,
                "metadata": {},
                "items": [],
            }
        if group:
            preferred = {"groupVersion": version, "version": number}
            groups.append({"name": group, "versions": [preferred], "preferredVersion": preferred})
    paths["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    paths[f"/api/v1/namespaces/{NAMESPACE}"] = {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": NAMESPACE},
    }
    where = "apis/coordination.k8s.io/v1"
    paths["/openapi/v3"] = {"paths": {where: {"serverRelativeURL": f"/openapi/v3/{where}"}}}
    paths[f"/openapi/v3/{where}"] = VALIDATION
    return paths


DISCOVERY = discovery()


class Server(ThreadingHTTPServer):
    """One port of the API."""

    daemon_threads = True

    def __init__(self, api: Api) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.api = api


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def api(self) -> Api:
        return cast("Server", self.server).api

    def do_GET(self) -> None:
        self.stall()
        with self.api.changed:
            code, body = self.api.get(self.path.partition("?")[0])
        self.answer(code, body)

    def do_PUT(self) -> None:
        api = self.api
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.stall()
        with api.changed:
            code, body = api.put(given)
            lost = code == 200 and api.answers_to_lose > 0
            api.answers_to_lose -= lost
            if not lost:
                self.answer(code, body)
            api.answers.append(0 if lost else code)
            api.changed.notify_all()
        if lost:
            self.reset()

    def do_POST(self) -> None:
        self.do_PUT()

    def stall(self) -> None:
        if cast("Server", self.server).server_port in self.api.stalled:
            self.api.closing.wait()

    def reset(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client has closed the connection, or reset() has
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Client:
    """A client of the API: its kubectl and its own port."""

    kubernetes: Kubernetes
    port: int


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.closing.set()


@pytest.fixture
def client(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Client]]:
    """Make a client of this name."""
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
    kubectl = programs.ensure("kubectl")
    with ExitStack() as servers:

        def make(name: str) -> Client:
            port = servers.enter_context(serving(api))
            config = tmp_path / f"{name}.json"
            cluster = {"server": f"http://127.0.0.1:{port}"}
            kubeconfig = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": name, "cluster": cluster}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": ""}}],
            }
            config.write_text(json.dumps(kubeconfig))
            return Client(Kubernetes(kubectl, name, NAMESPACE, config), port)

        yield make
        api.closing.set()


@contextmanager
def serving(api: Api) -> Iterator[int]:
    server = Server(api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclasses.dataclass(frozen=True)
class Second:
    """What the second deploy saw when it had the lock."""

    began: float
    dead_holder: Holder | None
    helm_runs: bool  # the first deploy's


def acquire(kubernetes: Kubernetes, running: Callable[[], bool]) -> Second:
    with lock.acquire(kubernetes, NAME, seconds=120) as acquired:
        return Second(time.monotonic(), acquired.dead_holder, running())


def test_a_deploy_that_cannot_renew_has_ended_helm_before_the_next_begins(
    api: Api, client: Callable[[str], Client], tmp_path: Path
) -> None:
    first, second = client("first"), client("second")
    program, number = tmp_path / "helm", tmp_path / "pid"
    # The worst case: it ignores SIGTERM.
    program.write_text(
        "#!/bin/sh\ntrap '' TERM\necho $$ > \"${0%helm}pid\"\necho started\nexec sleep 300\n"
    )
    program.chmod(0o755)
    stalled: list[float] = []
    challenger: list[Future[Second]] = []

    def helm_runs() -> bool:
        try:
            os.kill(int(number.read_text()), 0)
        except ProcessLookupError:
            return False
        return True

    with ThreadPoolExecutor() as threads:

        def on_line(_line: str) -> None:
            challenger.append(threads.submit(acquire, second.kubernetes, helm_runs))
            api.wait_for(lambda answers: len(answers) >= 3)  # it renews the Lease
            api.stalled.add(first.port)
            stalled.append(time.monotonic())

        def deploy() -> None:
            with lock.acquire(first.kubernetes, NAME, seconds=0) as acquired:
                watch = follow.Watch(first.kubernetes, Step("upgrade"), acquired)
                watcher = Watcher(on_line=on_line, tick=watch.tick)
                helm = Helm(str(program), (4, 0), "first", NAMESPACE)
                inputs = ChartFiles(tmp_path, ())
                helm.upgrade(inputs, description="", seconds=300, watcher=watcher)

        with pytest.raises(DeployError, match=f"cannot keep the lease {NAME}"):
            deploy()
        seen = challenger[0].result()
    assert not seen.helm_runs
    assert seen.dead_holder is not None  # so that it repairs what was cut off
    waited = seen.began - stalled[0]
    assert waited >= LEASE_SECONDS - leases.RETRY_SECONDS - leases.REQUEST_SECONDS
    assert api.lease is not None
    assert leases.read_holder(api.lease).name == ""


def test_a_renewal_whose_answer_is_lost_does_not_lose_the_lock(
    api: Api, client: Callable[[str], Client]
) -> None:
    with lock.acquire(client("first").kubernetes, NAME, seconds=0) as acquired:
        api.wait_for(lambda answers: len(answers) >= 2)
        api.answers_to_lose = 1
        api.wait_for(lambda answers: 0 in answers and 200 in answers[answers.index(0) :])
        acquired.check()
    lost = api.answers.index(0)
    assert api.answers[lost : lost + 3] == [0, 409, 200]
    assert api.lease is not None
    assert leases.read_holder(api.lease).name == ""
