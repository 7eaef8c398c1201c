"""Kubernetes clusters in containers, by `kind`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from delivery import process
from delivery.errors import ClusterError, CommandError
from delivery.host.docker_api import FREE_DISK_SPACE, Engine
from delivery.project.declaration import Cluster

__all__ = ["Kind", "Node", "config", "hint_for", "node_names", "nodes_by_cluster"]

_CLUSTER = "io.x-k8s.kind.cluster"  # labels of a node's container
_ROLE = "io.x-k8s.kind.role"


@dataclass(frozen=True)
class Node:
    """A node's container."""

    name: str
    role: str
    state: str
    started: str  # when it was started last, in RFC 3339


@dataclass(frozen=True)
class Kind:
    """The program kind, and the engine that it runs clusters on."""

    program: str
    engine: Engine

    def nodes(self, cluster: str) -> list[Node]:
        """The nodes of a cluster, running or not."""
        return [
            Node(
                container.name or "",
                container.labels.get(_ROLE, ""),
                container.status,
                str(container.attrs["State"]["StartedAt"]),
            )
            for container in self.engine.labelled(f"{_CLUSTER}={cluster}")
        ]

    def create(self, cluster: str, file: Path, image: str, on_line: Callable[[str], None]) -> None:
        """Create a cluster from a `config` file, and its context in the user's kubeconfig.

        kind removes a cluster that it could not create.
        """
        argv = ["create", "cluster", "--name", cluster, "--config", str(file), "--image", image]
        try:
            self._stream(argv, f"create the cluster {cluster}", on_line)
        except CommandError as error:
            hint = hint_for(error.tail)
            raise ClusterError(error.message, details=error.tail, hint=hint) from error

    def delete(self, cluster: str, on_line: Callable[[str], None]) -> None:
        """Remove a cluster's nodes, and its context from the user's kubeconfig."""
        argv = ["delete", "cluster", "--name", cluster]
        self._stream(argv, f"remove the cluster {cluster}", on_line)

    def kubeconfig(self, cluster: str) -> str:
        """A kubeconfig for this cluster only."""
        argv = ["get", "kubeconfig", "--name", cluster]
        return self._capture(argv, f"read the kubeconfig of {cluster}")

    def export(self, cluster: str) -> None:
        """Write the cluster's context to the user's kubeconfig, and make it the current context."""
        argv = ["export", "kubeconfig", "--name", cluster]
        self._capture(argv, f"write the context kind-{cluster}")

    def _stream(self, argv: list[str], doing: str, on_line: Callable[[str], None]) -> None:
        options = process.Options(env=self.environment)
        process.stream([self.program, *argv], doing=doing, on_line=on_line, options=options)

    def _capture(self, argv: list[str], doing: str) -> str:
        options = process.Options(env=self.environment)
        return process.capture([self.program, *argv], doing=doing, options=options)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that make kind use this engine."""
        return {**self.engine.environment, "KIND_EXPERIMENTAL_PROVIDER": "docker"}


# Else the control plane's kubelet asks the API server by its IP address, which changes when the
# nodes are started in another order, and which the certificate does not name:
# https://github.com/kubernetes/kubernetes/pull/129956
_KUBEADM = {"kind": "ClusterConfiguration", "featureGates": {"ControlPlaneKubeletLocalMode": False}}


def config(name: str, cluster: Cluster) -> str:
    """A cluster's configuration for kind: JSON, which is also YAML."""
    workers = [{"role": "worker", "labels": dict(labels)} for labels in cluster.workers.values()]
    declared = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": name,
        "networking": {"podSubnet": cluster.pods, "serviceSubnet": cluster.services},
        "nodes": [{"role": "control-plane"}, *workers],
        "kubeadmConfigPatches": [json.dumps(_KUBEADM)],
    }
    return json.dumps(declared, indent=2)


def node_names(name: str, cluster: Cluster) -> list[str]:
    """The names that kind gives the nodes, in the order of `config`."""
    workers = [
        f"{name}-worker{number if number > 1 else ''}"
        for number in range(1, len(cluster.workers) + 1)
    ]
    return [f"{name}-control-plane", *workers]


def nodes_by_cluster(engine: Engine) -> dict[str, list[str]]:
    """The names of the nodes of every cluster on an engine, running or not."""
    nodes: dict[str, list[str]] = {}
    for container in engine.labelled(_CLUSTER):
        nodes.setdefault(container.labels[_CLUSTER], []).append(container.name or "")
    return nodes


def hint_for(output: str) -> str:
    """The hint for a cluster that could not be created, from kind's last output."""
    printed = output.lower()
    hints = (hint for texts, hint in _HINTS if any(text in printed for text in texts))
    return next(hints, "fix what kind's lines above say, then run the same command again")


_HINTS = (
    (("no space left on device",), FREE_DISK_SPACE),
    (
        ("too many open files", "inotify"),
        (
            "run as root: sysctl fs.inotify.max_user_instances=512 "
            "fs.inotify.max_user_watches=524288; then run the same command again"
        ),
    ),
    (
        ("could not find a log line", "privileged", "operation not permitted"),
        (
            "use another engine: nodes are privileged containers, which this engine does not run "
            "(Docker 23 or newer, not rootless without cgroup delegation, not in a container)"
        ),
    ),
    (
        ("all predefined address pools", "pool overlaps"),
        "free a subnet for the network `kind`: `docker network prune` removes unused networks",
    ),
)
