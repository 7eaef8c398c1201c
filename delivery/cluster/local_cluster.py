"""Have a local Kubernetes cluster: nodes of kind, with the local registry wired in and subnets that never leave the host."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from delivery import cache, console
from delivery.cluster import kind, routes
from delivery.cluster.kind import Kind, Node
from delivery.cluster.subnets import in_the_way, missing
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

_COMPLETE = "/kind/delivery-platform-complete"  # in the control plane's container once kind has done all of its work
_KEY, _SUBNETS = "delivery-platform.cluster-key", "delivery-platform.cluster-subnets"
_REGISTRIES = "/etc/containerd/certs.d"  # in a node: where each registry is
_PATIENCE_SECONDS = 240
_TO_THE_SECOND = len("2026-01-01T00:00:00")
_LEAST_MEMORY = 4_000_000_000
_REST = (
    "timeout 20 systemctl stop kubelet containerd;"
    " find /sys/fs/cgroup/freezer -name freezer.state 2>/dev/null | while read -r state; do echo THAWED >$state; done"
)
# Kernels begin with 128 inotify instances a user, and every node is root's: kube-proxy ends with "too many open files". Only a
# privileged container can raise that on any engine's host, and a node is one.
_RAISE_LIMITS = (
    "cd /proc/sys/fs/inotify; [ $(cat max_user_instances) -ge 1024 ] || echo 1024 >max_user_instances;"
    " [ $(cat max_user_watches) -ge 524288 ] || echo 524288 >max_user_watches"
)


@dataclass(frozen=True)
class Cluster:
    """The declared cluster, and the programs that it is made and asked with."""

    engine: Engine
    declaration: Declaration
    kind: Kind
    kubectl: str

    @property
    def name(self) -> str:
        """What kind calls it."""
        return self.declaration.name

    @property
    def context(self) -> str:
        """What the user's kubeconfig calls it."""
        return f"kind-{self.name}"

    @property
    def image(self) -> str:
        """The image of its nodes."""
        return self.declaration.upstream[self.declaration.cluster.node].image

    @property
    def note(self) -> str:
        """The engine's note that the cluster is ours, and how it was made."""
        return _note(self.name)

    @property
    def node_names(self) -> list[str]:
        """What kind calls its nodes, the control plane first."""
        return kind.node_names(self.name, self.declaration.cluster)

    @property
    def control_plane(self) -> str:
        """The node that runs the API server."""
        return self.node_names[0]

    @property
    def config(self) -> str:
        """The declared cluster as kind reads it."""
        return kind.config(self.name, self.declaration.cluster)

    @property
    def subnets(self) -> list[str]:
        """The subnets of its pods and Services."""
        return [self.declaration.cluster.pods, self.declaration.cluster.services]

    @property
    def key(self) -> str:
        """Changes when the cluster has to be made anew, because it is declared otherwise."""
        return hashlib.sha256(self.config.encode()).hexdigest()[:32]

    @property
    def kubeconfig(self) -> Path:
        """Where `read_kubeconfig` puts what leads to the cluster, whatever the user's own kubeconfig says."""
        return cache.folder("cluster") / f"{self.name}.kubeconfig"

    def read_kubeconfig(self) -> None:
        """Ask kind what leads to the cluster."""
        with open(self.kubeconfig, "w", encoding="utf-8", opener=_private) as sink:  # nobody else's
            sink.write(self.kind.kubeconfig(self.name))

    def kubernetes(self, namespace: str) -> Kubernetes:
        """A namespace of the cluster itself."""
        return Kubernetes(self.kubectl, self.context, namespace, self.kubeconfig)


@dataclass(frozen=True)
class NodeStatus:
    """A node: its name and role, its container's state, what Kubernetes says of it, and the labels that were declared."""

    name: str
    role: str
    state: str
    ready: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Status:
    """The cluster: its context, its nodes' image with the way it came, the nodes, and whether its subnets are kept here."""

    name: str
    context: str
    image: str
    way: str
    nodes: tuple[NodeStatus, ...]
    kept: bool

    def rows(self) -> list[tuple[str, ...]]:
        """The nodes for people."""
        labels = {
            node.name: ", ".join(f"{k}={v}" for k, v in node.labels.items()) for node in self.nodes
        }
        return [
            (node.name, node.role, node.state, node.ready, labels[node.name] or "-")
            for node in self.nodes
        ]

    def as_json(self) -> dict[str, object]:
        """The status for a machine."""
        return asdict(self)


def open_cluster(engine: Engine, declaration: Declaration, *, install: bool = True) -> Cluster:
    """The declared cluster, whether it is there or not, with the programs that it takes, which are installed if need be."""
    have = programs.ensure if install else programs.require
    return Cluster(engine, declaration, Kind(have("kind"), engine), have("kubectl"))


def up(engine: Engine, declaration: Declaration) -> Cluster:
    """Make the cluster, or mend what there is of it, until every node is ready and pulls from the local registry."""
    cluster = open_cluster(engine, declaration)
    local = is_local(declaration.registry.address)
    if local:
        if not client.is_reachable(declaration.registry.address):
            upstreams.ensure(engine, declaration, "registry")
        local_registry.ensure(engine, declaration)
    upstreams.ensure(engine, declaration, declaration.cluster.node)
    with cache.lock(f"cluster-{cluster.name}"):
        with console.step("subnets") as step:
            _check_ours(cluster)
            step.done(_keep_subnets(cluster))
        with console.step(f"cluster {cluster.name}") as step:
            step.done(_have_nodes(cluster, step))
        if local:
            with console.step(f"registry {declaration.registry.address} in the nodes") as step:
                step.done(_wire(cluster))
        with console.step(f"context {cluster.context}") as step:
            step.done(_have_context(cluster))
    return cluster


def down(engine: Engine, declaration: Declaration) -> None:
    """Remove the cluster, and what was set on the host for it."""
    cluster = open_cluster(engine, declaration)
    with console.step(f"cluster {cluster.name}") as step, cache.lock(f"cluster-{cluster.name}"):
        _check_ours(cluster)
        noted = engine.read_note(cluster.note)
        if noted is None:
            step.done("there is none")
            return
        _delete(cluster, step)
        if engine.image_labels(cluster.image) is not None:
            routes.allow(engine, cluster.image, json.loads(noted.get(_SUBNETS, "[]")))
        engine.remove_volume(cluster.note)
        step.done("removed, and the routes that kept its subnets here")


def status(engine: Engine, declaration: Declaration) -> Status:
    """The cluster as it is; what does not answer is said, not started."""
    cluster = open_cluster(engine, declaration, install=False)
    nodes = cluster.kind.nodes(cluster.name)
    labels = engine.image_labels(cluster.image)
    known = _ask_nodes(cluster) if any(node.state == "running" for node in nodes) else {}
    return Status(
        name=cluster.name,
        context=cluster.context,
        image=cluster.image,
        way="not there" if labels is None else upstreams.describe_source(labels),
        nodes=tuple(_node_status(cluster, node, known.get(node.name)) for node in nodes),
        kept=labels is not None
        and not missing(cluster.subnets, routes.look(engine, cluster.image)),
    )


def clusters_pulling_from(engine: Engine, container: str) -> list[str]:
    """The local clusters of ours whose nodes were told to pull from the registry in a container."""
    server = _server(container, "").encode()

    def is_told(node: str) -> bool:
        return any(server in content for content in engine.read_files(node, _REGISTRIES).values())

    return [
        cluster
        for cluster, nodes in kind.nodes_by_cluster(engine).items()
        if engine.read_note(_note(cluster)) is not None and any(is_told(node) for node in nodes)
    ]


def _note(cluster: str) -> str:
    return f"{cluster}-cluster"


def _server(container: str, port: object) -> str:
    """The address that nodes pull from, which has the container's name."""
    return f"http://{container}:{port}"


def _check_ours(cluster: Cluster) -> None:
    if cluster.kind.nodes(cluster.name) and cluster.engine.read_note(cluster.note) is None:
        raise ForeignError(
            f"use the cluster {cluster.name}: there is one of this name that this project did not make",
            hint=f"remove it (`kind delete cluster --name {cluster.name}`), or change name in delivery.toml",
        )


def _keep_subnets(cluster: Cluster) -> str:
    """Stop packets for pods and Services at the host: one that no node takes must not reach a network beyond it."""
    existing = routes.look(cluster.engine, cluster.image)
    for key, subnet in zip(("pods", "services"), cluster.subnets, strict=True):
        if route := in_the_way(subnet, existing):
            raise ClusterError(
                f"keep {subnet} on this host: it has a route to {route.destination} by {route.device or 'a gateway'}",
                hint=f"choose another subnet as cluster.{key} in delivery.toml: one that `ip route` shows no way to",
            )
    lacking = missing(cluster.subnets, existing)
    if not lacking:
        return f"{' and '.join(cluster.subnets)} already kept on the engine's host"
    routes.stop(cluster.engine, cluster.image, lacking)
    return f"{' and '.join(lacking)} kept on the engine's host"


def _have_nodes(cluster: Cluster, step: console.Step) -> str:
    """Have every node ready; say what it took."""
    nodes = cluster.kind.nodes(cluster.name)
    stopped = [node.name for node in nodes if node.state != "running"]
    why = _why_anew(cluster, nodes)
    if nodes and not why:
        for name in stopped:
            step.line(f"start {name}")
            cluster.engine.start(name)
        try:
            _wait(cluster, step)
        except ClusterError as error:
            if not stopped:
                raise
            why = f"what was stopped did not come back: {error.message.rpartition(': ')[2]}"
        else:
            return (
                f"{', '.join(stopped)} started; all ready"
                if stopped
                else "already up, every node ready"
            )
    if nodes:
        _delete(cluster, step)
    _create(cluster, step)
    return f"made anew, since {why}" if nodes else f"{len(cluster.node_names)} nodes ready"


def _why_anew(cluster: Cluster, nodes: list[Node]) -> str:
    """Why the nodes that are there cannot go on; "" if they can."""
    noted = cluster.engine.read_note(cluster.note) or {}
    if noted.get(_KEY) != cluster.key:
        return "delivery.toml declares it otherwise now"
    if sorted(node.name for node in nodes) != sorted(cluster.node_names):
        return "nodes are missing"
    if not cluster.engine.has_file(cluster.control_plane, _COMPLETE):
        return "it was interrupted while it was made"
    return ""


def _delete(cluster: Cluster, step: console.Step) -> None:
    """Remove the nodes, at rest first.

    On cgroup v1 a container is frozen for a moment while it is made or changed; one whose node is killed just then stays frozen,
    and no engine can end the node any more.
    """
    for node in cluster.kind.nodes(cluster.name):
        if node.state == "running":
            step.line(f"stop what {node.name} runs")
            with suppress(EngineError):  # one that does not even do that is removed all the same
                cluster.engine.execute(node.name, ["sh", "-c", _REST])
    cluster.kind.delete(cluster.name, step.line)


def _create(cluster: Cluster, step: console.Step) -> None:
    engine = cluster.engine
    if engine.memory() < _LEAST_MEMORY:
        raise ClusterError(
            f"make the cluster {cluster.name}: the engine has {engine.memory() / 1e9:.1f} GB of memory",
            hint=f"give it {_LEAST_MEMORY / 1e9:.0f} GB or more (Docker Desktop: Settings, Resources)",
        )
    if noted := engine.read_note(cluster.note):
        gone = [subnet for subnet in json.loads(noted[_SUBNETS]) if subnet not in cluster.subnets]
        routes.allow(engine, cluster.image, gone)
        engine.remove_volume(cluster.note)
    # Before the first node: whatever is interrupted from here on is known to be ours.
    engine.write_note(cluster.note, {_KEY: cluster.key, _SUBNETS: json.dumps(cluster.subnets)})
    file = cache.folder("cluster") / f"{cluster.name}.json"
    file.write_text(cluster.config, encoding="utf-8")
    cluster.kind.create(cluster.name, file, cluster.image, step.line)
    engine.execute(cluster.control_plane, ["touch", _COMPLETE])
    _wait(cluster, step)


def _wait(cluster: Cluster, step: console.Step) -> None:
    """Wait until every node and the cluster's DNS are ready."""
    cluster.engine.execute(cluster.control_plane, ["sh", "-c", _RAISE_LIMITS])
    deadline = time.monotonic() + _PATIENCE_SECONDS
    cluster.read_kubeconfig()
    while lacking := _not_ready(cluster):
        step.line(lacking)
        if time.monotonic() > deadline:
            raise ClusterError(
                f"wait for the cluster {cluster.name}: {lacking} after {_PATIENCE_SECONDS} s",
                hint=f"`kind export logs --name {cluster.name}` collects why; "
                "`./run inv cluster.down`, then `./run inv cluster.up`, makes it anew",
            )
        time.sleep(1)


def _not_ready(cluster: Cluster) -> str:
    """What is not ready yet; "" when all is."""
    try:
        nodes = {
            node["metadata"]["name"]: node
            for node in cluster.kubernetes("kube-system").all("nodes")
        }
        leases = cluster.kubernetes("kube-node-lease").all("leases")
        dns = cluster.kubernetes("kube-system").find("deployment", "coredns")
    except CommandError:
        return "the API server does not answer"
    renewed = {lease["metadata"]["name"]: lease["spec"].get("renewTime", "") for lease in leases}
    for node in cluster.kind.nodes(cluster.name):
        # What Kubernetes says of a node was true before it stopped: a lease from after its start says that it is back.
        stale = renewed.get(node.name, "")[:_TO_THE_SECOND] <= node.started[:_TO_THE_SECOND]
        if stale or node.name not in nodes or not _ready(nodes[node.name]).startswith("ready"):
            return f"{node.name} is not ready"
    if dns is None or dns.get("status", {}).get("readyReplicas", 0) < 1:
        return "CoreDNS is not ready"
    return ""


def _ready(node: Mapping[str, Any]) -> str:
    conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", ())}
    cordoned = ", cordoned" if node["spec"].get("unschedulable") else ""
    return ("ready" if conditions.get("Ready") == "True" else "not ready") + cordoned


def _wire(cluster: Cluster) -> str:
    """Let the nodes pull from the local registry by the name that it has on this machine."""
    host = cluster.declaration.registry.address.partition("/")[0]
    port = int(host.partition(":")[2] or "80")
    publisher = cluster.engine.publishers().get(port)
    if publisher is None:
        raise ClusterError(
            f"wire the registry {host} into the nodes: no container of this engine publishes port {port}",
            hint="stop what listens there, then run this again: the registry is started as a container; "
            "or set DELIVERY_REGISTRY to one that the nodes reach by themselves",
        )
    container, inside = publisher
    joined = cluster.engine.join(
        os.environ.get("KIND_EXPERIMENTAL_DOCKER_NETWORK") or "kind", container
    )
    server = _server(container, inside)
    hosts = f'server = "{server}"\n\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n'
    written = [
        name for name in cluster.node_names if _write_hosts(cluster.engine, name, host, hosts)
    ]
    _publish(cluster, host)
    if written or joined:
        return f"{', '.join(written)} told of {container}"
    return f"already wired to {container}"


def _write_hosts(engine: Engine, node: str, host: str, hosts: str) -> bool:
    """Write where a registry is into a node, if it is not there already."""
    script = (
        f'file="{_REGISTRIES}/$1/hosts.toml";'
        ' [ "$(cat "$file" 2>/dev/null)" = "$(printf %s "$2")" ] && exit;'
        ' mkdir -p "${file%/*}" && printf %s "$2" >"$file" && echo written'
    )
    return "written" in engine.execute(node, ["sh", "-c", script, "sh", host, hosts])


def _publish(cluster: Cluster, host: str) -> None:
    """Say in the cluster which registry it has, as KEP-1755 lets other tools look it up."""
    kubernetes = cluster.kubernetes("kube-public")
    data = {
        "localRegistryHosting.v1": f'host: "{host}"\nhelp: "https://kind.sigs.k8s.io/docs/user/local-registry/"\n'
    }
    existing = kubernetes.find("configmap", "local-registry-hosting")
    if existing is None:
        metadata = {"name": "local-registry-hosting", "namespace": "kube-public"}
        kubernetes.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )
    elif existing.get("data") != data:
        kubernetes.replace({**existing, "data": data})


def _have_context(cluster: Cluster) -> str:
    """Have the cluster in the user's kubeconfig; one that leads elsewhere is written anew."""
    if _cluster_of(cluster, cluster.kubeconfig) == _cluster_of(cluster, None):
        return "in the kubeconfig"
    cluster.kind.export(cluster.name)
    return "written to the kubeconfig, and the current one"


def _cluster_of(cluster: Cluster, file: Path | None) -> object:
    """Where the context leads to, in a kubeconfig."""
    try:
        found = view_context(cluster.kubectl, cluster.context, file)
    except CommandError:
        return None
    return [found.get("clusters"), found.get("users")]


def _ask_nodes(cluster: Cluster) -> dict[str, Mapping[str, Any]]:
    """The nodes as Kubernetes knows them; none when it does not answer."""
    try:
        cluster.read_kubeconfig()
        return {
            node["metadata"]["name"]: node for node in cluster.kubernetes("default").all("nodes")
        }
    except CommandError:
        return {}


def _node_status(cluster: Cluster, node: Node, known: Mapping[str, Any] | None) -> NodeStatus:
    declared = {
        label for labels in cluster.declaration.cluster.workers.values() for label in labels
    }
    labels = known["metadata"]["labels"] if known else {}
    return NodeStatus(
        node.name,
        node.role,
        node.state,
        _ready(known) if known else "does not answer",
        {name: value for name, value in labels.items() if name in declared},
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
