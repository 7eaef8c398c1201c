"""The local Kubernetes cluster: nodes of kind that pull from the local registry.

Packets to its pods and Services never leave the engine's host.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from delivery import cache, console, locks
from delivery.cluster import kind, node_registry, routes
from delivery.cluster.kind import Kind, Node
from delivery.cluster.routes import conflicting_route, not_blocked
from delivery.deploy.kubectl import Kubernetes, view_context
from delivery.errors import ClusterError, CommandError, EngineError, ForeignError
from delivery.host import programs, upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, is_local
from delivery.registry import client, local_registry

__all__ = [
    "Cluster",
    "NodeStatus",
    "Status",
    "clusters_pulling_from",
    "down",
    "open_cluster",
    "status",
    "up",
]

# A file in the control plane's container, written after kind has created the whole cluster.
_COMPLETE = "/kind/delivery-platform-complete"
_KEY, _SUBNETS = "delivery-platform.cluster-key", "delivery-platform.cluster-subnets"
_READY_SECONDS = 240
_TO_THE_SECOND = len("2026-01-01T00:00:00")
_LEAST_MEMORY = 4_000_000_000
_STOP_CONTAINERS = (
    "timeout 20 systemctl stop kubelet containerd;"
    " find /sys/fs/cgroup/freezer -name freezer.state 2>/dev/null |"
    " while read -r state; do echo THAWED >$state; done"
)
# Kernels start with 128 inotify instances a user, and every node is root's: kube-proxy ends with
# "too many open files". On any engine's host, only a privileged container can raise the limit.
_RAISE_LIMITS = (
    "cd /proc/sys/fs/inotify;"
    " [ $(cat max_user_instances) -ge 1024 ] || echo 1024 >max_user_instances;"
    " [ $(cat max_user_watches) -ge 524288 ] || echo 524288 >max_user_watches"
)


@dataclass(frozen=True)
class Cluster:
    """The declared cluster, existing or not, and the programs that manage it."""

    engine: Engine
    declaration: Declaration
    kind: Kind
    kubectl: str

    @property
    def name(self) -> str:
        """The name that kind knows it by."""
        return self.declaration.name

    @property
    def context(self) -> str:
        """Its context in the user's kubeconfig."""
        return f"kind-{self.name}"

    @property
    def image(self) -> str:
        """The image of its nodes."""
        return self.declaration.upstream[self.declaration.cluster.node].image

    @property
    def note(self) -> str:
        """The engine's note that this project made the cluster, and how."""
        return _note(self.name)

    @property
    def node_names(self) -> list[str]:
        """The names of its nodes, the control plane first."""
        return kind.node_names(self.name, self.declaration.cluster)

    @property
    def control_plane(self) -> str:
        """The node that runs the API server."""
        return self.node_names[0]

    @property
    def config(self) -> str:
        """Its configuration for kind."""
        return kind.config(self.name, self.declaration.cluster)

    @property
    def subnets(self) -> list[str]:
        """The subnets of its pods and Services."""
        return [self.declaration.cluster.pods, self.declaration.cluster.services]

    @property
    def key(self) -> str:
        """Changes when the declaration changes so that the cluster has to be created again."""
        return hashlib.sha256(self.config.encode()).hexdigest()[:32]

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that `save_kubeconfig` writes, independent of the user's own."""
        return cache.folder("cluster") / f"{self.name}.kubeconfig"

    def save_kubeconfig(self) -> None:
        """Write kind's kubeconfig of the cluster, readable by this user only."""
        private = partial(os.open, mode=0o600)
        with open(self.kubeconfig, "w", encoding="utf-8", opener=private) as sink:
            sink.write(self.kind.kubeconfig(self.name))

    def kubernetes(self, namespace: str) -> Kubernetes:
        """A namespace of the cluster."""
        return Kubernetes(self.kubectl, self.context, namespace, self.kubeconfig)


@dataclass(frozen=True)
class NodeStatus:
    """A node for `inv cluster.status`."""

    name: str
    role: str
    state: str  # its container's
    ready: str  # Kubernetes' view of it
    labels: Mapping[str, str]  # those that delivery.toml declares


@dataclass(frozen=True)
class Status:
    """The cluster for `inv cluster.status`."""

    name: str
    context: str
    image: str  # of its nodes
    way: str  # how the engine got that image
    nodes: tuple[NodeStatus, ...]
    kept: bool  # whether packets to its subnets stay on the engine's host

    def rows(self) -> list[tuple[str, ...]]:
        """The nodes for people."""
        return [
            (
                node.name,
                node.role,
                node.state,
                node.ready,
                ", ".join(f"{name}={value}" for name, value in node.labels.items()) or "-",
            )
            for node in self.nodes
        ]

    def to_json(self) -> dict[str, object]:
        """The status for programs."""
        return asdict(self)


def open_cluster(engine: Engine, declaration: Declaration, *, install: bool = True) -> Cluster:
    """The declared cluster with its programs, which are installed if install is true."""
    find = programs.ensure if install else programs.require
    return Cluster(engine, declaration, Kind(find("kind"), engine), find("kubectl"))


def up(engine: Engine, declaration: Declaration) -> Cluster:
    """Create or repair the cluster; return when it is ready and pulls from the local registry."""
    cluster = open_cluster(engine, declaration)
    local = is_local(declaration.registry.address)
    if local:
        if not client.is_reachable(declaration.registry.address):
            upstreams.ensure(engine, declaration, ["registry"])
        local_registry.ensure(engine, declaration)
    upstreams.ensure(engine, declaration, [declaration.cluster.node])
    with locks.hold(f"cluster-{cluster.name}"):
        with console.step("subnets") as step:
            _check_ownership(cluster)
            step.done(_block_subnets(cluster))
        with console.step(f"cluster {cluster.name}") as step:
            step.done(_ensure_nodes(cluster, step))
        if local:
            with console.step(f"registry {declaration.registry.address} in the nodes") as step:
                host = declaration.registry.address.partition("/")[0]
                done = node_registry.configure(engine, cluster.node_names, host)
                node_registry.announce(cluster.kubernetes("kube-public"), host)
                step.done(done)
        with console.step(f"context {cluster.context}") as step:
            step.done(_ensure_context(cluster))
    return cluster


def down(engine: Engine, declaration: Declaration) -> None:
    """Remove the cluster, and its routes on the host."""
    cluster = open_cluster(engine, declaration)
    with console.step(f"cluster {cluster.name}") as step, locks.hold(f"cluster-{cluster.name}"):
        _check_ownership(cluster)
        note = engine.read_note(cluster.note)
        if note is None:
            step.done("no cluster")
            return
        _delete(cluster, step)
        if engine.image_labels(cluster.image) is not None:
            routes.unblock(engine, cluster.image, json.loads(note.get(_SUBNETS, "[]")))
        engine.remove_volume(cluster.note)
        step.done("removed, with its routes on the engine's host")


def status(engine: Engine, declaration: Declaration) -> Status:
    """The cluster as it is; nothing is started or installed."""
    cluster = open_cluster(engine, declaration, install=False)
    nodes = cluster.kind.nodes(cluster.name)
    labels = engine.image_labels(cluster.image)
    known: dict[str, Mapping[str, Any]] = {}
    if any(node.state == "running" for node in nodes):
        with suppress(CommandError):  # it does not answer
            cluster.save_kubeconfig()
            known = _nodes_by_name(cluster)
    return Status(
        name=cluster.name,
        context=cluster.context,
        image=cluster.image,
        way="not there" if labels is None else upstreams.describe_source(labels),
        nodes=tuple(_node_status(cluster, node, known.get(node.name)) for node in nodes),
        kept=labels is not None
        and not not_blocked(cluster.subnets, routes.read(engine, cluster.image)),
    )


def clusters_pulling_from(engine: Engine, container: str) -> list[str]:
    """The local clusters of this project whose nodes pull from the registry in a container."""
    return [
        cluster
        for cluster, nodes in kind.nodes_by_cluster(engine).items()
        if engine.read_note(_note(cluster)) is not None
        and any(node_registry.pulls_from(engine, node, container) for node in nodes)
    ]


def _note(cluster: str) -> str:
    return f"{cluster}-cluster"


def _check_ownership(cluster: Cluster) -> None:
    if cluster.kind.nodes(cluster.name) and cluster.engine.read_note(cluster.note) is None:
        raise ForeignError(
            f"cannot use the cluster {cluster.name}: this project did not create it",
            hint=f"remove it with `kind delete cluster --name {cluster.name}`, "
            "or change name in delivery.toml",
        )


def _block_subnets(cluster: Cluster) -> str:
    """Stop packets to pods and Services at the host, unless a node takes them."""
    existing = routes.read(cluster.engine, cluster.image)
    for key, subnet in zip(("pods", "services"), cluster.subnets, strict=True):
        if route := conflicting_route(subnet, existing):
            raise ClusterError(
                f"cannot use the subnet {subnet}: the engine's host has a route to "
                f"{route.destination} by {route.device or 'a gateway'}",
                hint=f"set cluster.{key} in delivery.toml to a subnet that no `ip route` leads to",
            )
    missing = not_blocked(cluster.subnets, existing)
    if not missing:
        return f"{' and '.join(cluster.subnets)} already stay on the engine's host"
    routes.block(cluster.engine, cluster.image, missing)
    return f"{' and '.join(missing)} stay on the engine's host"


def _ensure_nodes(cluster: Cluster, step: console.Step) -> str:
    """Start, wait for or create the nodes; return what was done."""
    nodes = cluster.kind.nodes(cluster.name)
    stopped = [node.name for node in nodes if node.state != "running"]
    reason = _reason_to_recreate(cluster, nodes)
    if nodes and not reason:
        for name in stopped:
            step.line(f"start {name}")
            cluster.engine.start(name)
        try:
            _wait_until_ready(cluster, step)
        except ClusterError as error:
            if not stopped:
                raise
            reason = f"stopped nodes did not come back: {error.reason}"
        else:
            if stopped:
                return f"{', '.join(stopped)} started; all ready"
            return "already up, every node ready"
    if nodes:
        _delete(cluster, step)
    _create(cluster, step)
    return f"created again: {reason}" if nodes else f"{len(cluster.node_names)} nodes ready"


def _reason_to_recreate(cluster: Cluster, nodes: list[Node]) -> str:
    """Why the existing nodes cannot be used; "" if they can."""
    note = cluster.engine.read_note(cluster.note) or {}
    if note.get(_KEY) != cluster.key:
        return "delivery.toml has changed"
    if sorted(node.name for node in nodes) != sorted(cluster.node_names):
        return "nodes are missing"
    if not cluster.engine.has_file(cluster.control_plane, _COMPLETE):
        return "its creation was interrupted"
    return ""


def _delete(cluster: Cluster, step: console.Step) -> None:
    """Remove the nodes, after stopping their containers.

    On cgroup v1 a container is frozen for a moment when it is created or changed. If its node is
    killed at that moment, it stays frozen, and no engine can end the node any more.
    """
    for node in cluster.kind.nodes(cluster.name):
        if node.state == "running":
            step.line(f"stop the containers of {node.name}")
            with suppress(EngineError):  # a node that cannot even do that is removed too
                cluster.engine.execute(node.name, ["sh", "-c", _STOP_CONTAINERS])
    cluster.kind.delete(cluster.name, step.line)


def _create(cluster: Cluster, step: console.Step) -> None:
    engine = cluster.engine
    if engine.memory() < _LEAST_MEMORY:
        raise ClusterError(
            f"cannot create the cluster {cluster.name}: "
            f"the engine has {engine.memory() / 1e9:.1f} GB of memory",
            hint=f"give it {_LEAST_MEMORY / 1e9:.0f} GB or more "
            "(Docker Desktop: Settings, Resources)",
        )
    if note := engine.read_note(cluster.note):
        old = [subnet for subnet in json.loads(note[_SUBNETS]) if subnet not in cluster.subnets]
        routes.unblock(engine, cluster.image, old)
        engine.remove_volume(cluster.note)
    # Before the first node, so that an interrupted cluster is known to be this project's.
    engine.write_note(cluster.note, {_KEY: cluster.key, _SUBNETS: json.dumps(cluster.subnets)})
    file = cache.folder("cluster") / f"{cluster.name}.json"
    file.write_text(cluster.config, encoding="utf-8")
    cluster.kind.create(cluster.name, file, cluster.image, step.line)
    engine.execute(cluster.control_plane, ["touch", _COMPLETE])
    _wait_until_ready(cluster, step)


def _wait_until_ready(cluster: Cluster, step: console.Step) -> None:
    """Wait until every node and the cluster's DNS are ready."""
    cluster.engine.execute(cluster.control_plane, ["sh", "-c", _RAISE_LIMITS])
    deadline = time.monotonic() + _READY_SECONDS
    cluster.save_kubeconfig()
    while problem := _not_ready(cluster):
        step.line(problem)
        if time.monotonic() > deadline:
            raise ClusterError(
                f"cannot start the cluster {cluster.name}: {problem} after {_READY_SECONDS} s",
                hint=f"collect the logs with `kind export logs --name {cluster.name}`; "
                "`./run inv cluster.down` and `./run inv cluster.up` create it again",
            )
        time.sleep(1)


def _not_ready(cluster: Cluster) -> str:
    """What is not ready yet; "" when all is."""
    try:
        nodes = _nodes_by_name(cluster)
        leases = cluster.kubernetes("kube-node-lease").all("leases")
        dns = cluster.kubernetes("kube-system").find("deployment", "coredns")
    except CommandError:
        return "the API server does not answer"
    renewed = {lease["metadata"]["name"]: lease["spec"].get("renewTime", "") for lease in leases}
    for node in cluster.kind.nodes(cluster.name):
        # Kubernetes' view of a node may be from before it stopped: only a lease that was renewed
        # after its start says that it is back.
        stale = renewed.get(node.name, "")[:_TO_THE_SECOND] <= node.started[:_TO_THE_SECOND]
        if stale or node.name not in nodes or not _readiness(nodes[node.name]).startswith("ready"):
            return f"{node.name} is not ready"
    if dns is None or dns.get("status", {}).get("readyReplicas", 0) < 1:
        return "CoreDNS is not ready"
    return ""


def _nodes_by_name(cluster: Cluster) -> dict[str, Mapping[str, Any]]:
    """The nodes as Kubernetes has them."""
    nodes = cluster.kubernetes("kube-system").all("nodes")
    return {node["metadata"]["name"]: node for node in nodes}


def _readiness(node: Mapping[str, Any]) -> str:
    conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", ())}
    cordoned = ", cordoned" if node["spec"].get("unschedulable") else ""
    return ("ready" if conditions.get("Ready") == "True" else "not ready") + cordoned


def _ensure_context(cluster: Cluster) -> str:
    """Have the context in the user's kubeconfig; a context of another cluster is overwritten."""
    if _context(cluster, cluster.kubeconfig) == _context(cluster, None):
        return "in the kubeconfig"
    cluster.kind.export(cluster.name)
    return "written to the kubeconfig; it is the current context"


def _context(cluster: Cluster, file: Path | None) -> object:
    """The cluster and user of the context in a kubeconfig (None: the user's own)."""
    try:
        view = view_context(cluster.kubectl, cluster.context, file)
    except CommandError:
        return None
    return [view.get("clusters"), view.get("users")]


def _node_status(cluster: Cluster, node: Node, known: Mapping[str, Any] | None) -> NodeStatus:
    declared = {
        label for labels in cluster.declaration.cluster.workers.values() for label in labels
    }
    labels = known["metadata"]["labels"] if known else {}
    return NodeStatus(
        node.name,
        node.role,
        node.state,
        _readiness(known) if known else "does not answer",
        {name: value for name, value in labels.items() if name in declared},
    )
