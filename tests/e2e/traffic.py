"""Load on the platform from a pod in its cluster, and the phases of a test."""

from __future__ import annotations

import base64
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from delivery.project.files import ROOT
from tests.e2e.cluster import Cluster, Pod, wait_for
from tests.e2e.platform import API, Authority, Platform
from tests.load.recording import Phase, Recording, parse

__all__ = ["Traffic", "client_pod", "traffic"]

GENERATOR = ROOT / "tests" / "load" / "generator.py"
_RESULTS = "/results/requests.jsonl"
# The image has Python and no shell.
_READ = (
    "import base64, zlib; print(base64.b64encode(zlib.compress(open('{}', 'rb').read())).decode())"
)
_STOP = "import os, signal; os.kill(1, signal.SIGUSR1)"
_ENDED = "print(b'\"end\"' in open('{}', 'rb').read()[-200:])"
# HAProxy's termination state of a request that it had no place for in time.
_QUEUED_TOO_LONG = '"termination": "sQ'
_PULL_SECONDS = 120.0


@dataclass
class Traffic:
    """A generator in a pod."""

    cluster: Cluster
    pod: str
    # The prefix of its components: a kept ledger has events of earlier runs.
    run: str
    started: float = field(default_factory=time.time)
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name what the body does to the platform."""
        since = time.time()
        try:
            yield
        finally:
            self.phases.append(Phase(name, since, time.time()))

    def finish(self, seconds: float = 60.0) -> Recording:
        """End the schedule, wait for the open requests, and return the recording."""
        self._python(_STOP)
        wait_for(
            "the generator's last requests",
            lambda: "True" in self._python(_ENDED.format(_RESULTS)),
            seconds=seconds,
        )
        content = base64.b64decode(self._python(_READ.format(_RESULTS)))
        return parse(zlib.decompress(content).decode())

    def overloaded(self) -> bool:
        """Whether a proxy of the API has refused a request because too many were waiting."""
        pods = [pod for pod in self.cluster.pods(API) if not pod.terminating]
        since = f"--since={time.time() - self.started:.0f}s"
        options = ("--container", "proxy", since)
        logs = [self.cluster.kubectl("logs", pod.name, *options) for pod in pods]
        return any(_QUEUED_TOO_LONG in log for log in logs)

    def _python(self, code: str) -> str:
        return self.cluster.kubectl("exec", self.pod, "--", "/usr/bin/python3", "-c", code)


@contextmanager
def traffic(
    platform: Platform, authority: Authority, name: str, *options: str
) -> Iterator[Traffic]:
    """Send a load while the body runs; delete the pod after it."""
    command = ["/usr/bin/python3", "/e2e/generator.py", "--name", platform.host]
    run = f"{name}-{uuid.uuid4().hex[:8]}"
    command += ["--ca", "/e2e/ca.crt", "--token", platform.token, "--out", _RESULTS, "--run", run]
    command += options
    files = {"generator.py": GENERATOR.read_text(encoding="utf-8"), "ca.crt": authority.certificate}
    cluster = platform.cluster
    with client_pod(platform, name, command, files):
        wait_for(
            "the generator's first requests",
            lambda: "requests" in cluster.kubectl("logs", name),
            seconds=60,
        )
        yield Traffic(cluster, name, run)


@contextmanager
def client_pod(
    platform: Platform,
    name: str,
    command: Sequence[str],
    files: Mapping[str, str],
    cluster: Cluster | None = None,
) -> Iterator[None]:
    """A pod of the API's image with files in /e2e, on the node that no test changes.

    It runs in the platform's namespace, or in that of another release's `cluster`.
    """
    cluster = cluster or platform.cluster
    (node,) = cluster.nodes()
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files},
        _manifest(name, platform.image(API), command, node),
    )
    try:
        wait_for(
            f"the pod {name}",
            lambda: Pod.of(cluster.get_one("pod", name)).ready,
            seconds=_PULL_SECONDS,
            every=0.5,
        )
        yield
    finally:
        cluster.kubectl("delete", "pod,configmap", name, "--grace-period=1", "--wait=false")


def _manifest(name: str, image: str, command: Sequence[str], node: str) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "e2e"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {"kubernetes.io/hostname": node},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "command": list(command),
                    # A starved client measures itself: requests are a share, not a limit.
                    "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "e2e", "mountPath": "/e2e", "readOnly": True},
                        {"name": "results", "mountPath": "/results"},
                    ],
                }
            ],
            "volumes": [
                {"name": "e2e", "configMap": {"name": name}},
                {"name": "results", "emptyDir": {}},
            ],
        },
    }
