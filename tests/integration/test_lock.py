"""The lock with a real kubectl, and an API server that stalls or loses an answer.

The durations are the real ones.
"""

import functools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from delivery.deploy import leases, lock
from delivery.deploy.helm import ChartFiles, Helm, Watcher
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.leases import LEASE_SECONDS, Holder
from delivery.errors import DeployError
from delivery.host import programs
from tests.registries import Answer, Break, serving

pytestmark = pytest.mark.engine

NAMESPACE, NAME = "platform", "platform-deploy"
GROUP, VERSION = "coordination.k8s.io", "v1"
LEASES = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/leases"
PREFERRED = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
LEASE = {"name": "leases", "singularName": "lease", "kind": "Lease", "namespaced": True}
# What kubectl reads of an API before it reads or writes a Lease.
DISCOVERY: dict[str, Any] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": GROUP, "versions": [PREFERRED], "preferredVersion": PREFERRED}],
    },
    f"/apis/{GROUP}/{VERSION}": {
        "kind": "APIResourceList",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": [{**LEASE, "verbs": ["get", "list"]}],
    },
    f"/api/v1/namespaces/{NAMESPACE}": {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": NAMESPACE},
    },
    "/openapi/v3": {
        "paths": {f"apis/{GROUP}/{VERSION}": {"serverRelativeURL": "/openapi/v3/leases"}}
    },
    "/openapi/v3/leases": {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1"},
        "paths": {
            f"{LEASES}/{{name}}": {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "x-kubernetes-group-version-kind": {
                        "group": GROUP,
                        "version": VERSION,
                        "kind": "Lease",
                    },
                    "responses": {},
                }
            }
        },
    },
}


class Api:
    """A namespace with one Lease."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.answers: list[int] = []  # the status of each PUT and POST, in order
        self.changed = threading.Condition()
        self.loses_next = False
        self.lost: int | None = None  # the index of the lost answer
        self.stalled: set[str] = set()  # clients that get no answer
        self.closing = threading.Event()

    def answer(
        self, client: str, method: str, path: str, _headers: dict[str, str], body: bytes
    ) -> Answer:
        """Answer a client."""
        if client in self.stalled:
            self.closing.wait()
        with self.changed:
            if method == "GET":
                code, resource = self._get(path.partition("?")[0])
            else:
                code, resource = self._put(json.loads(body))
                self.answers.append(code)
                self.changed.notify_all()
        return code, {"Content-Type": "application/json"}, json.dumps(resource).encode()

    def fault(self, method: str, _path: str) -> Break | None:
        """Lose the next answer to a PUT, if requested."""
        if method != "PUT" or not self.loses_next:
            return None
        self.loses_next, self.lost = False, len(self.answers)
        return Break("answer")

    def _put(self, lease: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Store a Lease, unless it was made from an old version."""
        metadata = lease["metadata"]
        if self.lease is not None and metadata.get("resourceVersion", "") != str(self.version):
            return status(409, "Conflict", "the object has been modified")
        self.version += 1
        self.lease = {**lease, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        return 200, self.lease

    def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == f"{LEASES}/{NAME}" and self.lease is not None:
            return 200, self.lease
        if path in DISCOVERY:
            return 200, DISCOVERY[path]
        return status(404, "NotFound", "no such resource")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the answers is met."""
        with self.changed:
            assert self.changed.wait_for(condition, 60), self.answers


def status(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "details": {"name": NAME, "group": GROUP, "kind": "leases"},
        "code": code,
    }


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.closing.set()


@pytest.fixture
def client(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Kubernetes]]:
    """Make a client of this name, with a server of its own."""
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
    kubectl = programs.ensure("kubectl")
    with ExitStack() as servers:

        def make(name: str) -> Kubernetes:
            answer = functools.partial(api.answer, name)
            address, _ = servers.enter_context(serving(answer, api.fault))
            config = tmp_path / f"{name}.json"
            kubeconfig = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": name, "cluster": {"server": f"http://{address}"}}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": ""}}],
            }
            config.write_text(json.dumps(kubeconfig))
            return Kubernetes(kubectl, name, NAMESPACE, config)

        yield make
        api.closing.set()


@dataclass(frozen=True)
class Second:
    """What the second deploy saw when it had the lock."""

    began: float
    dead_holder: Holder | None
    helm_runs: bool  # the first deploy's


def acquire(kubernetes: Kubernetes, running: Callable[[], bool]) -> Second:
    with lock.acquire(kubernetes, NAME, seconds=120) as acquired:
        return Second(time.monotonic(), acquired.dead_holder, running())


def test_a_deploy_that_cannot_renew_has_ended_helm_before_the_next_begins(
    api: Api, client: Callable[[str], Kubernetes], tmp_path: Path
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
            challenger.append(threads.submit(acquire, second, helm_runs))
            api.wait_for(lambda: len(api.answers) >= 3)  # it renews the Lease
            api.stalled.add("first")
            stalled.append(time.monotonic())

        def deploy() -> None:
            with lock.acquire(first, NAME, seconds=0) as acquired:
                watcher = Watcher(on_line=on_line, tick=acquired.check)
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
    api: Api, client: Callable[[str], Kubernetes]
) -> None:
    with lock.acquire(client("first"), NAME, seconds=0) as acquired:
        api.wait_for(lambda: len(api.answers) >= 2)
        api.loses_next = True
        api.wait_for(lambda: api.lost is not None and len(api.answers) >= api.lost + 3)
        acquired.check()
    assert api.lost is not None
    assert api.answers[api.lost : api.lost + 3] == [200, 409, 200]
    assert api.lease is not None
    assert leases.read_holder(api.lease).name == ""
