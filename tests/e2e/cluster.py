"""A cluster and the platform's namespace in it, as the tests see them: kubectl, helm, and the nodes' own shell."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import waiting

__all__ = ["CAPACITY", "Cluster", "Pod", "wait_for"]

CAPACITY = "shipay.com.br/capacity-type"
PATIENCE = 180.0


# A look at the cluster is a program that is started: no oftener than once a second.
wait_for = functools.partial(waiting.wait_for, every=1.0)


@dataclass(frozen=True)
class Pod:
    """What the tests want to know of a pod."""

    name: str
    part: str
    uid: str
    node: str
    phase: str
    ready: bool
    leaving: bool
    manifest: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Pod:
        """Read the API server's answer."""
        meta, status = manifest["metadata"], manifest["status"]
        conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
        return cls(
            name=meta["name"],
            part=meta.get("labels", {}).get("app.kubernetes.io/name", ""),
            uid=meta["uid"],
            node=manifest["spec"].get("nodeName", ""),
            phase=status["phase"],
            ready=conditions.get("Ready") == "True",
            leaving="deletionTimestamp" in meta,
            manifest=manifest,
        )

    @property
    def restarts(self) -> dict[str, int]:
        """How often each container was started again."""
        status = self.manifest["status"]
        found = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
        return {one["name"]: int(one["restartCount"]) for one in found}


@dataclass(frozen=True)
class Cluster:
    """Where the platform is deployed, and what is asked of it."""

    kubeconfig: Path
    namespace: str
    release: str = "platform"
    programs: Mapping[str, str] = field(
        default_factory=lambda: {"kubectl": "kubectl", "helm": "helm"}
    )
    environment: Mapping[str, str] = field(default_factory=dict)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = PATIENCE) -> str:
        """Run kubectl in the namespace."""
        return self._run([*self._kubectl(), *arguments], stdin=stdin, timeout=timeout)

    def helm(self, *arguments: str, timeout: float = PATIENCE) -> str:
        """Run helm in the namespace."""
        where = ["--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace]
        return self._run([self.programs["helm"], *arguments, *where], timeout=timeout)

    def shell(self, node: str, *command: str) -> str:
        """Run a command on a node, as root, outside any pod."""
        return self._run(["docker", "exec", node, *command])

    def get(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """The objects of a kind."""
        return list(json.loads(self.kubectl("get", kind, *arguments, "--output", "json"))["items"])

    def get_one(self, kind: str, name: str) -> dict[str, Any]:
        """One object."""
        return dict(json.loads(self.kubectl("get", kind, name, "--output", "json")))

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Create or change objects."""
        objects = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(objects))

    def pods(self, part: str | None = None) -> list[Pod]:
        """The release's pods, or those of one part; not those that are done."""
        labels = f"app.kubernetes.io/instance={self.release}" + (
            f",app.kubernetes.io/name={part}" if part else ""
        )
        found = [Pod.of(one) for one in self.get("pods", "--selector", labels)]
        return [pod for pod in found if pod.phase not in {"Succeeded", "Failed"}]

    def pod(self, part: str) -> Pod:
        """The only pod of a part that is not leaving."""
        (found,) = (pod for pod in self.pods(part) if not pod.leaving)
        return found

    def nodes(self, capacity: str | None = None) -> list[str]:
        """The workers of a capacity type; without one, those that have none."""
        label = f"{CAPACITY}={capacity}" if capacity else f"!{CAPACITY}"
        found = self.get("nodes", "--selector", f"{label},!node-role.kubernetes.io/control-plane")
        return [one["metadata"]["name"] for one in found]

    def is_settled(self) -> bool:
        """Whether every pod of the release is ready, none is leaving, and every controller has what it wants."""
        pods = self.pods()
        if not pods or any(pod.leaving or not pod.ready for pod in pods):
            return False
        return all(
            _is_settled(one) for kind in ("deployments", "statefulsets") for one in self.get(kind)
        )

    def settle(self, *, seconds: float = PATIENCE) -> float:
        """Wait until the platform rests; return how long that took."""
        return wait_for("every pod to be ready and none to leave", self.is_settled, seconds=seconds)

    def uids(self) -> dict[str, str]:
        """Which pods there are; a pod that was replaced has another UID."""
        return {pod.name: pod.uid for pod in self.pods()}

    def revisions(self) -> list[dict[str, Any]]:
        """What `helm history` says."""
        return list(json.loads(self.helm("history", self.release, "--output", "json")))

    @contextmanager
    def cordoned(self, node: str) -> Iterator[None]:
        """No new pod on a node for as long as the body runs."""
        self.kubectl("cordon", node)
        try:
            yield
        finally:
            self.kubectl("uncordon", node)

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to a pod or Service."""
        argv = [*self._kubectl(), "port-forward", target, f":{port}"]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, text=True, env=self._environment()
        ) as process:
            try:
                assert process.stdout is not None
                told = process.stdout.readline()
                if "->" not in told:
                    raise AssertionError(f"kubectl forwards no port to {target}")
                yield int(told.split("->", 1)[0].rsplit(":", 1)[1])
            finally:
                process.terminate()

    def table(self) -> str:
        """The nodes and pods for people."""
        nodes = self._run([*self._kubectl(), "get", "nodes", "--label-columns", CAPACITY])
        return f"{nodes}\n{self.kubectl('get', 'pods', '--output', 'wide')}"

    def describe(self) -> str:
        """What went on, for when a test fails: pods, events, last lines of each container."""
        parts = [self.table(), self.kubectl("get", "events", "--sort-by", ".lastTimestamp")[-6000:]]
        labels = f"app.kubernetes.io/instance={self.release}"
        parts.append(
            self.kubectl(
                "logs",
                "--selector",
                labels,
                "--all-containers",
                "--prefix",
                "--tail",
                "15",
                "--ignore-errors",
            )
        )
        return "\n".join(parts)

    def _kubectl(self) -> list[str]:
        return [
            self.programs["kubectl"],
            "--kubeconfig",
            str(self.kubeconfig),
            "--namespace",
            self.namespace,
        ]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = PATIENCE
    ) -> str:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self._environment(),
        )
        if done.returncode:
            raise AssertionError(
                f"{' '.join(argv)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout


def _is_settled(workload: Mapping[str, Any]) -> bool:
    wanted, status = workload["spec"].get("replicas", 1), workload["status"]
    counted = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
    return bool(
        status.get("observedGeneration") == workload["metadata"]["generation"]
        and counted == {wanted}
    )
