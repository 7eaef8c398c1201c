"""Kubernetes clusters of containers, by `kind`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from delivery import process
from delivery.errors import ClusterError, CommandError
from delivery.host.docker_api import Engine
from delivery.project.declaration import Cluster

__all__ = ["Kind", "Node", "config", "hint_for", "node_names", "nodes_by_cluster"]

_CLUSTER = "io.x-k8s.kind.cluster"  # the labels of a node's container
_ROLE = "io.x-k8s.kind.role"


@dataclass(frozen=True)
class Node:
    """A node's container: its name, role, state, and when it was started last, as RFC 3339 has it."""

    name: str
    role: str
    state: str
    started: str


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
        """Make a cluster as the file says, and its context in the user's kubeconfig; what fails is taken away again."""
        argv = ["create", "cluster", "--name", cluster, "--config", str(file), "--image", image]
        try:
            self._stream(argv, f"make the cluster {cluster}", on_line)
        except CommandError as error:
            raise ClusterError(
                error.message, details=error.tail, hint=hint_for(error.tail)
            ) from error

    def delete(self, cluster: str, on_line: Callable[[str], None]) -> None:
        """Remove a cluster's nodes, and its context from the user's kubeconfig."""
        self._stream(
            ["delete", "cluster", "--name", cluster], f"remove the cluster {cluster}", on_line
        )

    def kubeconfig(self, cluster: str) -> str:
        """A kubeconfig of its own for a cluster."""
        return self._capture(
            ["get", "kubeconfig", "--name", cluster], f"read how {cluster} is reached"
        )

    def export(self, cluster: str) -> None:
        """Write the cluster's context to the user's kubeconfig, and make it the current one."""
        self._capture(
            ["export", "kubeconfig", "--name", cluster], f"write the context kind-{cluster}"
        )

    def _stream(self, argv: list[str], doing: str, on_line: Callable[[str], None]) -> None:
        process.stream(
            [self.program, *argv],
            doing=doing,
            on_line=on_line,
            options=process.Options(env=self.environment),
        )

    def _capture(self, argv: list[str], doing: str) -> str:
        return process.capture(
            [self.program, *argv], doing=doing, options=process.Options(env=self.environment)
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes kind talk to this engine, whatever else is on this machine."""
        return {**self.engine.environment, "KIND_EXPERIMENTAL_PROVIDER": "docker"}


def config(name: str, cluster: Cluster) -> str:
    """A cluster as kind reads it: YAML, of which JSON is a part."""
    workers = [{"role": "worker", "labels": dict(labels)} for labels in cluster.workers.values()]
    declared = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": name,
        "networking": {"podSubnet": cluster.pods, "serviceSubnet": cluster.services},
        "nodes": [{"role": "control-plane"}, *workers],
    }
    return json.dumps(declared, indent=2)


def node_names(name: str, cluster: Cluster) -> list[str]:
    """What kind calls the nodes, in the order of `config`."""
    workers = [
        f"{name}-worker{number if number > 1 else ''}"
        for number in range(1, len(cluster.workers) + 1)
    ]
    return [f"{name}-control-plane", *workers]


def nodes_by_cluster(engine: Engine) -> dict[str, list[str]]:
    """The names of the nodes of every cluster on an engine, running or not."""
    found: dict[str, list[str]] = {}
    for node in engine.labelled(_CLUSTER):
        found.setdefault(node.labels[_CLUSTER], []).append(node.name or "")
    return found


def hint_for(output: str) -> str:
    """What to do about a cluster that could not be made, from what kind printed last."""
    printed = output.lower()
    hints = (hint for words, hint in _HINTS if any(word in printed for word in words))
    return next(hints, "the lines above are kind's own; mend it and run the same command again")


_HINTS = (
    (
        ("no space left on device",),
        "free disk space: `docker system df` shows what takes it; then run the same command again",
    ),
    (
        ("too many open files", "inotify"),
        "as root: sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288; then run it again",
    ),
    (
        ("could not find a log line", "privileged", "operation not permitted"),
        (
            "nodes are privileged containers, which this engine does not run: use one that does (Docker "
            "23 or newer, not rootless without cgroup delegation, not inside an unprivileged container)"
        ),
    ),
    (
        ("all predefined address pools", "pool overlaps"),
        "the engine has no subnet left for the network `kind`: `docker network prune` frees those not in use",
    ),
)
