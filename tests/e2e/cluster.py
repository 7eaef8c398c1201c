"""A cluster and the platform's namespace: kubectl, helm and the shell of the nodes."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests import waiting
from tests.commands import output

__all__ = ["CAPACITY", "Cluster", "Pod", "wait_for"]

CAPACITY = "shipay.com.br/capacity-type"
TIMEOUT = 180.0


# A check starts a program: at most one a second.
wait_for = functools.partial(waiting.wait_for, every=1.0)


@dataclass(frozen=True)
class Pod:
    """A pod of the release."""

    name: str
    component: str
    uid: str
    node: str
    phase: str
    ready: bool
    terminating: bool
    manifest: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Pod:
        """Read a manifest of the API server."""
        meta, status = manifest["metadata"], manifest["status"]
        conditions = {entry["type"]: entry["status"] for entry in status.get("conditions", ())}
        return cls(
            name=meta["name"],
            component=meta.get("labels", {}).get("app.kubernetes.io/name", ""),
            uid=meta["uid"],
            node=manifest["spec"].get("nodeName", ""),
            phase=status["phase"],
            ready=conditions.get("Ready") == "True",
            terminating="deletionTimestamp" in meta,
            manifest=manifest,
        )

    @property
    def restarts(self) -> dict[str, int]:
        """How many times each container restarted."""
        status = self.manifest["status"]
        containers = status.get("containerStatuses", []) + status.get("initContainerStatuses", [])
        return {container["name"]: int(container["restartCount"]) for container in containers}


@dataclass(frozen=True)
class Cluster:
    """The namespace of a release in a cluster."""

    kubeconfig: Path
    namespace: str
    release: str = "platform"
    programs: Mapping[str, str] = field(
        default_factory=lambda: {"kubectl": "kubectl", "helm": "helm"}
    )
    environment: Mapping[str, str] = field(default_factory=dict)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = TIMEOUT) -> str:
        """Run kubectl in the namespace."""
        return self._run([*self._kubectl(), *arguments], stdin=stdin, timeout=timeout)

    def helm(self, *arguments: str, timeout: float = TIMEOUT) -> str:
        """Run helm in the namespace."""
        options = ["--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace]
        return self._run([self.programs["helm"], *arguments, *options], timeout=timeout)

    def shell(self, node: str, *command: str) -> str:
        """Run a command on a node, as root, outside the pods."""
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

    def pods(self, component: str | None = None) -> list[Pod]:
        """The release's pods, or those of one component, without completed ones."""
        labels = f"app.kubernetes.io/instance={self.release}"
        if component:
            labels += f",app.kubernetes.io/name={component}"
        pods = [Pod.of(manifest) for manifest in self.get("pods", "--selector", labels)]
        return [pod for pod in pods if pod.phase not in {"Succeeded", "Failed"}]

    def pod(self, component: str) -> Pod:
        """The only pod of a component that is not terminating."""
        (pod,) = (pod for pod in self.pods(component) if not pod.terminating)
        return pod

    def nodes(self, capacity: str | None = None) -> list[str]:
        """The workers of a capacity type; by default those without one."""
        label = f"{CAPACITY}={capacity}" if capacity else f"!{CAPACITY}"
        nodes = self.get("nodes", "--selector", f"{label},!node-role.kubernetes.io/control-plane")
        return [node["metadata"]["name"] for node in nodes]

    def is_settled(self) -> bool:
        """Whether all pods are ready, none terminates, and all controllers have their replicas."""
        pods = self.pods()
        if not pods or any(pod.terminating or not pod.ready for pod in pods):
            return False
        return all(
            _has_its_replicas(workload)
            for kind in ("deployments", "statefulsets")
            for workload in self.get(kind)
        )

    def settle(self, *, seconds: float = TIMEOUT) -> float:
        """Wait until the platform is settled; return how long that took."""
        return wait_for(
            "every pod to be ready and none to terminate", self.is_settled, seconds=seconds
        )

    def uids(self) -> dict[str, str]:
        """The UIDs of the pods: a replaced pod has another one."""
        return {pod.name: pod.uid for pod in self.pods()}

    def revisions(self) -> list[dict[str, Any]]:
        """The revisions of `helm history`."""
        return list(json.loads(self.helm("history", self.release, "--output", "json")))

    @contextmanager
    def elsewhere(self, namespace: str, release: str) -> Iterator[Cluster]:
        """Another release's new namespace, which admits restricted pods only; deleted later."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": namespace, "labels": labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        try:
            yield replace(self, namespace=namespace, release=release)
        finally:
            self.kubectl("delete", "namespace", namespace, "--wait=false")

    @contextmanager
    def cordoned(self, node: str) -> Iterator[None]:
        """Keep new pods off a node while the body runs."""
        self.kubectl("cordon", node)
        try:
            yield
        finally:
            self.kubectl("uncordon", node)

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[int]:
        """Forward a port of this machine to a pod or Service."""
        argv = [*self._kubectl(), "port-forward", target, f":{port}"]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, text=True, env=self._environment()
        ) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if "->" not in line:
                    raise AssertionError(f"kubectl forwards no port to {target}")
                yield int(line.split("->", 1)[0].rsplit(":", 1)[1])
            finally:
                process.terminate()

    def table(self) -> str:
        """The nodes and pods for people."""
        nodes = self._run([*self._kubectl(), "get", "nodes", "--label-columns", CAPACITY])
        return f"{nodes}\n{self.kubectl('get', 'pods', '--output', 'wide')}"

    def describe(self) -> str:
        """Pods, events and the last lines of each container, for the report of a failed test."""
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
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = TIMEOUT
    ) -> str:
        environment = self._environment()
        return output(argv, environment=environment, stdin=stdin, timeout=timeout)


def _has_its_replicas(workload: Mapping[str, Any]) -> bool:
    replicas, status = workload["spec"].get("replicas", 1), workload["status"]
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
    return bool(
        status.get("observedGeneration") == workload["metadata"]["generation"]
        and counts == {replicas}
    )
