"""Load on the platform from inside its cluster: the generator in a pod, and the phases that it runs through."""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from delivery.project.files import ROOT
from tests.e2e.cluster import Cluster, Pod, wait_for
from tests.load.recording import OVERLOADED, Phase, Recording, parse

__all__ = ["Traffic", "client_pod", "traffic"]

GENERATOR = ROOT / "tests" / "load" / "generator.py"
_RESULTS = "/results/requests.jsonl"
# What the image has is Python without a shell: files are read and processes are told to end in Python.
_READ = (
    "import base64, zlib; print(base64.b64encode(zlib.compress(open('{}', 'rb').read())).decode())"
)
_STOP = "import os, signal; os.kill(1, signal.SIGUSR1)"
_ENDED = "import os; f = open('{}', 'rb'); f.seek(-min(200, os.path.getsize(f.name)), 2); print(b'\"end\"' in f.read())"
_HOLDS = "print({!r} in open('{}').read())"
_PULL = 120.0


@dataclass
class Traffic:
    """A generator that runs in the cluster."""

    cluster: Cluster
    pod: str
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What the body does to the platform has a name; whatever it does not end with is not part of it."""
        since = time.time()
        try:
            yield
        finally:
            self.phases.append(Phase(name, since, time.time()))

    def finish(self, seconds: float = 60.0) -> Recording:
        """End the schedule, wait for the requests under way, and read what was written."""
        self._python(_STOP)
        wait_for(
            "the generator's last requests",
            lambda: "True" in self._python(_ENDED.format(_RESULTS)),
            seconds=seconds,
        )
        return parse(self.read())

    def read(self) -> str:
        """What was written so far."""
        return zlib.decompress(base64.b64decode(self._python(_READ.format(_RESULTS)))).decode()

    def overloaded(self) -> bool:
        """Whether a request was turned away so far because too many waited before it."""
        return "True" in self._python(_HOLDS.format(OVERLOADED, _RESULTS))

    def _python(self, code: str) -> str:
        return self.cluster.kubectl("exec", self.pod, "--", "/usr/bin/python3", "-c", code)


@contextmanager
def traffic(
    cluster: Cluster, name: str, image: str, node: str, authority: str, options: Sequence[str]
) -> Iterator[Traffic]:
    """Load for as long as the body runs; the pod is gone afterwards."""
    command = [
        "/usr/bin/python3",
        "/e2e/generator.py",
        "--ca",
        "/e2e/ca.crt",
        "--out",
        _RESULTS,
        *options,
    ]
    files = {"generator.py": GENERATOR.read_text(encoding="utf-8"), "ca.crt": authority}
    with client_pod(cluster, name, image, command, files, node):
        made = Traffic(cluster, name)
        wait_for(
            "the generator's first requests",
            lambda: "requests" in cluster.kubectl("logs", name),
            seconds=60,
        )
        yield made


@contextmanager
def client_pod(
    cluster: Cluster,
    name: str,
    image: str,
    command: Sequence[str],
    files: Mapping[str, str],
    node: str,
) -> Iterator[str]:
    """A pod of the tests' own, with files under /e2e."""
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files},
        _manifest(name, image, command, node),
    )
    try:
        wait_for(
            f"the pod {name}",
            lambda: Pod.of(cluster.one("pod", name)).ready,
            seconds=_PULL,
            every=0.5,
        )
        yield name
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
                    # It must not starve, or it measures itself: requests are a share of the processor, not a limit.
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
