"""A cluster is created, repaired, left as it is or refused; a foreign one is never touched."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from delivery import process
from delivery.cluster import kind, local_cluster, routes
from delivery.cluster.kind import Kind, Node
from delivery.cluster.routes import Route
from delivery.deploy.kubectl import Kubernetes
from delivery.errors import ClusterError, CommandError, EngineError, ForeignError
from delivery.host import programs, upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry import client, local_registry

NAMES = ("sample-control-plane", "sample-worker", "sample-worker2")
COMPLETE = "/kind/delivery-platform-complete"


class FakeHost:
    """An engine, kind and the cluster's API in one."""

    def __init__(self) -> None:
        self.done: list[str] = []  # every change, in order
        self.nodes: dict[str, str] = {}
        self.notes: dict[str, dict[str, str]] = {}
        self.files: set[tuple[str, str]] = set()
        self.routes = [Route("default", "unicast", "eth0")]
        self.registry: tuple[str, int] | None = ("sample-registry", 5000)
        self.joined: set[str] = set()
        self.maps: dict[str, dict[str, Any]] = {}
        self.context = ""
        self.bytes = 8_000_000_000
        self.comes_back = True
        self.quiesced: set[str] = set()

    # the engine

    def read_note(self, name: str) -> dict[str, str] | None:
        return self.notes.get(name)

    def write_note(self, name: str, labels: dict[str, str]) -> None:
        self.notes[name] = labels

    def remove_volume(self, name: str) -> bool:
        return self.notes.pop(name, None) is not None

    def memory(self) -> int:
        return self.bytes

    def image_labels(self, _reference: str) -> dict[str, str]:
        return {}

    def labelled(self, label: str) -> list[SimpleNamespace]:
        labels = {"io.x-k8s.kind.cluster": "sample"}
        assert label in labels
        return [SimpleNamespace(name=name, labels=labels) for name in self.nodes]

    def read_files(self, name: str, folder: str) -> dict[str, bytes]:
        assert folder == "/etc/containerd/certs.d"
        return {text: text.encode() for node, text in self.files if node == name}

    def has_file(self, name: str, path: str) -> bool:
        return (name, path) in self.files

    def start(self, name: str) -> None:
        self.done.append(f"start {name}")
        self.nodes[name] = "running"

    def join(self, network: str, name: str) -> bool:
        new = f"{network}/{name}" not in self.joined
        self.joined.add(f"{network}/{name}")
        return new

    def publishers(self) -> dict[int, tuple[str, int]]:
        return {5001: self.registry} if self.registry else {}

    def execute(self, name: str, argv: Sequence[str]) -> str:
        if self.nodes.get(name) != "running":
            raise EngineError(f"{name} does not run")
        if "systemctl stop kubelet containerd" in argv[-1]:
            self.quiesced.add(name)
            return ""
        if argv[0] == "touch":
            self.files.add((name, argv[1]))
            return ""
        written = (name, argv[-1]) not in self.files
        self.files.add((name, argv[-1]))
        return "written\n" if written else ""

    # kind

    def create(self, name: str, file: Path, image: str, _on_line: object) -> None:
        config = json.loads(file.read_text())
        assert config["name"] == name == "sample"
        assert image == "kindest/node:v1.34.4"
        self.done.append("create")
        assert not self.nodes
        assert {route.destination for route in self.routes} >= set(config["networking"].values())
        assert "sample-cluster" in self.notes
        self.nodes = dict.fromkeys(NAMES, "running")
        self.comes_back = True
        self.context = "kind-sample"

    def delete(self, name: str, _on_line: object) -> None:
        assert name == "sample"
        assert {node for node, state in self.nodes.items() if state == "running"} <= self.quiesced
        self.done.append("delete")
        self.nodes, self.files, self.context = {}, set(), ""

    def export(self, _name: str) -> None:
        self.done.append("export")
        self.context = "kind-sample"

    # the API

    def all(self, namespace: str, kind: str) -> list[dict[str, Any]]:
        if not self.comes_back or "running" not in self.nodes.values():
            raise CommandError("ask", argv=[], returncode=1, tail="refused")
        if kind == "leases":
            assert namespace == "kube-node-lease"
            return [
                {"metadata": {"name": name}, "spec": {"renewTime": "2026-11-21T15:00:09Z"}}
                for name in NAMES
            ]
        labels = {
            "sample-worker": {"shipay.com.br/capacity-type": "spot", "kubernetes.io/os": "linux"}
        }
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        return [
            {
                "metadata": {"name": name, "labels": labels.get(name, {})},
                "spec": {},
                "status": ready,
            }
            for name in NAMES
        ]

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        return {"status": {"readyReplicas": 2}} if kind == "deployment" else self.maps.get(name)

    def put(self, resource: dict[str, Any]) -> dict[str, Any]:
        self.maps[resource["metadata"]["name"]] = resource
        return resource


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    made = FakeHost()
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(programs, "require", lambda name: name)
    monkeypatch.setattr(client, "is_reachable", lambda _address: True)
    monkeypatch.setattr(local_registry, "ensure", lambda *_: None)
    monkeypatch.setattr(
        upstreams,
        "ensure",
        lambda _engine, _declaration, names: made.done.append(f"have {', '.join(names)}"),
    )
    for name in ("create", "delete", "export"):
        monkeypatch.setattr(Kind, name, getattr(made, name))
    started = "2026-11-21T15:00:00Z"

    def nodes(*_: object) -> list[Node]:
        return [Node(name, "worker", state, started) for name, state in made.nodes.items()]

    monkeypatch.setattr(Kind, "nodes", nodes)
    monkeypatch.setattr(Kind, "kubeconfig", lambda *_: "apiVersion: v1")
    monkeypatch.setattr(
        Kubernetes, "all", lambda kubernetes, kind: made.all(kubernetes.namespace, kind)
    )
    monkeypatch.setattr(Kubernetes, "find", made.find)
    monkeypatch.setattr(Kubernetes, "create", made.put)
    monkeypatch.setattr(Kubernetes, "replace", made.put)
    monkeypatch.setattr(routes, "read", lambda *_: list(made.routes))

    def block(_engine: object, _image: str, subnets: Sequence[str]) -> None:
        made.routes += [Route(subnet, "unreachable") for subnet in subnets]

    def unblock(_engine: object, _image: str, subnets: Sequence[str]) -> None:
        made.routes = [route for route in made.routes if route.destination not in subnets]

    monkeypatch.setattr(routes, "block", block)
    monkeypatch.setattr(routes, "unblock", unblock)

    def capture(argv: Sequence[str], **_: object) -> str:
        """The own kubeconfig leads to the cluster, the user's to whatever its context says."""
        assert argv[-1] == "--context=kind-sample"
        own = any(word.startswith("--kubeconfig=") for word in argv)
        return json.dumps({"clusters": ["kind-sample" if own else made.context], "users": []})

    monkeypatch.setattr(process, "capture", capture)
    monkeypatch.setattr(local_cluster, "_READY_SECONDS", -1)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    return made


def up(host: FakeHost, declaration: Declaration) -> list[str]:
    """What `up` changes."""
    host.done.clear()
    local_cluster.up(cast("Engine", host), declaration)
    return [change for change in host.done if not change.startswith("have ")]


def test_a_missing_cluster_is_created_with_its_routes_registry_and_note(
    host: FakeHost, declaration: Declaration
) -> None:
    assert up(host, declaration) == ["create"]
    assert (NAMES[0], COMPLETE) in host.files
    assert host.joined == {"kind/sample-registry"}
    address = "http://sample-registry:5000"
    hosts = f'server = "{address}"\n\n[host."{address}"]\n  capabilities = '
    for name in NAMES:
        assert any(node == name and text.startswith(hosts) for node, text in host.files)
    assert (
        'host: "localhost:5001"'
        in host.maps["local-registry-hosting"]["data"]["localRegistryHosting.v1"]
    )


def test_a_second_up_changes_only_the_context_and_the_network_of_the_registry(
    host: FakeHost, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    up(host, declaration)
    before = (dict(host.nodes), set(host.files), list(host.routes), dict(host.maps))
    capsys.readouterr()
    assert up(host, declaration) == []
    assert (host.nodes, host.files, host.routes, host.maps) == before
    printed = capsys.readouterr().out
    for text in ("already stay on", "already up, every node", "already pull from sample-registry"):
        assert text in printed
    host.joined.clear()  # as after the registry was created again
    host.context = "another engine's"
    assert up(host, declaration) == ["export"]
    assert host.joined == {"kind/sample-registry"}


@pytest.mark.parametrize("comes_back", [True, False])
def test_stopped_nodes_are_started_and_created_again_if_that_does_not_help(
    host: FakeHost, declaration: Declaration, *, comes_back: bool
) -> None:
    up(host, declaration)
    host.nodes, host.comes_back = dict.fromkeys(NAMES, "exited"), comes_back
    del host.routes[1:]  # as after a reboot
    again = [] if comes_back else ["delete", "create"]
    assert up(host, declaration) == [*(f"start {name}" for name in NAMES), *again]
    assert len(host.routes) == 3


def test_a_running_cluster_that_is_not_ready_is_not_deleted(
    host: FakeHost, declaration: Declaration
) -> None:
    up(host, declaration)
    host.comes_back = False
    with pytest.raises(ClusterError, match="the API server does not answer"):
        up(host, declaration)
    assert "delete" not in host.done


@pytest.mark.parametrize("change", ["interrupted", "a node is missing", "another declaration"])
def test_a_cluster_that_cannot_be_used_is_created_again(
    host: FakeHost, declaration: Declaration, change: str
) -> None:
    up(host, declaration)
    if change == "interrupted":
        host.files.remove((NAMES[0], COMPLETE))
    elif change == "a node is missing":
        del host.nodes[NAMES[2]]
    else:
        host.notes["sample-cluster"]["delivery-platform.cluster-key"] = "another"
    assert up(host, declaration) == ["delete", "create"]


def test_the_subnets_of_an_old_declaration_are_unblocked(
    host: FakeHost, declaration: Declaration
) -> None:
    up(host, declaration)
    changed = declaration.cluster.model_copy(update={"pods": "198.19.0.0/17"})
    host.routes.append(Route("198.19.0.0/17", "unreachable"))
    assert up(host, declaration.model_copy(update={"cluster": changed})) == ["delete", "create"]
    assert {route.destination for route in host.routes} == {
        "default",
        "198.18.128.0/17",
        "198.19.0.0/17",
    }


def test_a_remote_registry_is_not_configured(host: FakeHost, declaration: Declaration) -> None:
    up(host, declaration.with_registry("registry.example.com/team"))
    assert host.joined == set()
    assert host.maps == {}


def refused(host: FakeHost, declaration: Declaration, message: str) -> str:
    """The hint of an up that is refused."""
    with pytest.raises(ClusterError, match=message) as caught:
        up(host, declaration)
    return caught.value.hint


def test_a_local_registry_has_to_be_a_container(host: FakeHost, declaration: Declaration) -> None:
    host.registry = None
    refused(host, declaration, "no container of this engine publishes port 5001")


def test_a_conflicting_subnet_is_refused_with_its_key(
    host: FakeHost, declaration: Declaration
) -> None:
    host.routes.append(Route("198.18.128.0/24", "unicast", "tun0"))
    message = r"cannot use the subnet 198\.18\.128\.0/17: .* 198\.18\.128\.0/24 by tun0"
    assert "cluster.services in delivery.toml" in refused(host, declaration, message)
    assert "create" not in host.done


def test_too_little_memory_is_refused_before_anything_is_created(
    host: FakeHost, declaration: Declaration
) -> None:
    host.bytes = 2_000_000_000
    refused(host, declaration, r"the engine has 2\.0 GB of memory")
    assert host.notes == {}


@pytest.mark.parametrize("task", [local_cluster.up, local_cluster.down])
def test_a_foreign_cluster_of_the_same_name_is_not_touched(
    host: FakeHost, declaration: Declaration, task: Callable[[Engine, Declaration], object]
) -> None:
    host.nodes = {"sample-control-plane": "running"}
    with pytest.raises(ForeignError, match="this project did not create it"):
        task(cast("Engine", host), declaration)
    assert [change for change in host.done if not change.startswith("have ")] == []
    assert len(host.routes) == 1


def test_down_removes_nodes_routes_and_note(host: FakeHost, declaration: Declaration) -> None:
    up(host, declaration)
    local_cluster.down(cast("Engine", host), declaration)
    assert (host.nodes, host.notes, len(host.routes)) == ({}, {}, 1)
    host.done.clear()
    local_cluster.down(cast("Engine", host), declaration)
    assert host.done == []


def test_the_status_has_nodes_labels_and_the_source_of_the_image(
    host: FakeHost, declaration: Declaration
) -> None:
    up(host, declaration)
    host.nodes["sample-worker2"] = "exited"
    status = local_cluster.status(cast("Engine", host), declaration)
    assert (status.context, status.way, status.kept) == ("kind-sample", "as published", True)
    assert [(node.name, node.state, node.ready, node.labels) for node in status.nodes[1:]] == [
        ("sample-worker", "running", "ready", {"shipay.com.br/capacity-type": "spot"}),
        ("sample-worker2", "exited", "ready", {}),
    ]
    assert json.loads(json.dumps(status.to_json()))["nodes"][1]["labels"] == {
        "shipay.com.br/capacity-type": "spot"
    }


def test_a_node_is_ready_only_after_it_renewed_its_lease(
    host: FakeHost, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(host, declaration)
    stale = [Node(name, "worker", "running", "2026-11-21T15:00:30Z") for name in NAMES]
    monkeypatch.setattr(Kind, "nodes", lambda *_: stale)
    with pytest.raises(ClusterError, match="sample-control-plane is not ready"):
        up(host, declaration)


def test_the_key_depends_on_the_declaration(declaration: Declaration) -> None:
    def key(**changes: object) -> str:
        name = changes.pop("name", declaration.name)
        cluster = declaration.cluster.model_copy(update=changes)
        changed = declaration.model_copy(update={"name": name, "cluster": cluster})
        return local_cluster.Cluster(
            cast("Engine", None), changed, Kind("kind", cast("Engine", None)), "kubectl"
        ).key

    assert key() == key()
    assert len({key(), key(pods="198.19.0.0/17"), key(workers={}), key(name="other")}) == 4
    assert kind.config("sample", declaration.cluster).count('"role"') == 3


def test_the_nodes_say_which_registry_their_cluster_pulls_from(
    host: FakeHost, declaration: Declaration
) -> None:
    engine = cast("Engine", host)
    assert local_cluster.clusters_pulling_from(engine, "sample-registry") == []
    up(host, declaration)
    host.nodes = dict.fromkeys(NAMES, "exited")
    assert local_cluster.clusters_pulling_from(engine, "sample-registry") == ["sample"]
    assert local_cluster.clusters_pulling_from(engine, "another-registry") == []
    host.notes.clear()  # a foreign cluster
    assert local_cluster.clusters_pulling_from(engine, "sample-registry") == []
