"""A cluster is made, mended, left alone or refused, as it is found; what is there is never somebody else's."""

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
from delivery.cluster.subnets import Route
from delivery.deploy.kubectl import Kubernetes
from delivery.errors import ClusterError, CommandError, EngineError, ForeignError
from delivery.host import programs, upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry import client, local_registry

NAMES = ("sample-control-plane", "sample-worker", "sample-worker2")
COMPLETE = "/kind/delivery-platform-complete"


class World:
    """An engine, its kind and the cluster's API, as far as they are asked here; did is what was done to them."""

    def __init__(self) -> None:
        self.did: list[str] = []
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
        self.at_rest: set[str] = set()

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
        self.did.append(f"start {name}")
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
            self.at_rest.add(name)
            return ""
        if argv[0] == "touch":
            self.files.add((name, argv[1]))
            return ""
        written = (name, argv[-1]) not in self.files
        self.files.add((name, argv[-1]))
        return "written\n" if written else ""

    # kind

    def create(self, name: str, file: Path, image: str, _on_line: object) -> None:
        told = json.loads(file.read_text())
        assert told["name"] == name == "sample"
        assert image == "kindest/node:v1.34.4"
        self.did.append("create")
        assert not self.nodes
        assert {route.destination for route in self.routes} >= set(told["networking"].values())
        assert "sample-cluster" in self.notes
        self.nodes = dict.fromkeys(NAMES, "running")
        self.comes_back = True
        self.context = "kind-sample"

    def delete(self, name: str, _on_line: object) -> None:
        assert name == "sample"
        assert {node for node, state in self.nodes.items() if state == "running"} <= self.at_rest
        self.did.append("delete")
        self.nodes, self.files, self.context = {}, set(), ""

    def export(self, _name: str) -> None:
        self.did.append("export")
        self.context = "kind-sample"

    # the API

    def all(self, namespace: str, what: str) -> list[dict[str, Any]]:
        if not self.comes_back or "running" not in self.nodes.values():
            raise CommandError("ask", argv=[], returncode=1, tail="refused")
        if what == "leases":
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

    def find(self, what: str, name: str) -> dict[str, Any] | None:
        return {"status": {"readyReplicas": 2}} if what == "deployment" else self.maps.get(name)

    def put(self, thing: dict[str, Any]) -> dict[str, Any]:
        self.maps[thing["metadata"]["name"]] = thing
        return thing


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(programs, "require", lambda name: name)
    monkeypatch.setattr(client, "is_reachable", lambda _address: True)
    monkeypatch.setattr(local_registry, "ensure", lambda *_: None)
    monkeypatch.setattr(
        upstreams, "ensure", lambda _engine, _declaration, name: made.did.append(f"have {name}")
    )
    for name in ("create", "delete", "export"):
        monkeypatch.setattr(Kind, name, getattr(made, name))
    nodes: Callable[..., list[Node]] = lambda *_: [  # noqa: E731
        Node(name, "worker", state, "2026-11-21T15:00:00Z") for name, state in made.nodes.items()
    ]
    monkeypatch.setattr(Kind, "nodes", nodes)
    monkeypatch.setattr(Kind, "kubeconfig", lambda *_: "apiVersion: v1")
    monkeypatch.setattr(Kubernetes, "all", lambda asked, what: made.all(asked.namespace, what))
    monkeypatch.setattr(Kubernetes, "find", made.find)
    monkeypatch.setattr(Kubernetes, "create", made.put)
    monkeypatch.setattr(Kubernetes, "replace", made.put)
    monkeypatch.setattr(routes, "look", lambda *_: list(made.routes))
    monkeypatch.setattr(
        routes,
        "stop",
        lambda _e, _i, subnets: made.routes.extend(Route(one, "unreachable") for one in subnets),
    )

    def allow(_engine: object, _image: str, subnets: Sequence[str]) -> None:
        made.routes = [one for one in made.routes if one.destination not in subnets]

    monkeypatch.setattr(routes, "allow", allow)

    def capture(argv: Sequence[str], **_: object) -> str:
        """The kubeconfigs: ours leads to the cluster, the user's to whatever its context says."""
        assert argv[-1] == "--context=kind-sample"
        ours = any(word.startswith("--kubeconfig=") for word in argv)
        return json.dumps({"clusters": ["kind-sample" if ours else made.context], "users": []})

    monkeypatch.setattr(process, "capture", capture)
    monkeypatch.setattr(local_cluster, "_PATIENCE_SECONDS", -1)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    return made


def up(world: World, declaration: Declaration) -> list[str]:
    """What `up` does to the world."""
    world.did.clear()
    local_cluster.up(cast("Engine", world), declaration)
    return [one for one in world.did if not one.startswith("have ")]


def test_where_there_is_none_one_is_made_with_its_routes_registry_and_note(
    world: World, declaration: Declaration
) -> None:
    assert up(world, declaration) == ["create"]
    assert (NAMES[0], COMPLETE) in world.files
    assert world.joined == {"kind/sample-registry"}
    hosts = 'server = "http://sample-registry:5000"\n\n[host."http://sample-registry:5000"]\n  capabilities = '
    for name in NAMES:
        assert any(node == name and text.startswith(hosts) for node, text in world.files)
    assert (
        'host: "localhost:5001"'
        in world.maps["local-registry-hosting"]["data"]["localRegistryHosting.v1"]
    )


def test_a_second_up_changes_nothing_but_what_leads_elsewhere(
    world: World, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    up(world, declaration)
    before = (dict(world.nodes), set(world.files), list(world.routes), dict(world.maps))
    capsys.readouterr()
    assert up(world, declaration) == []
    assert (world.nodes, world.files, world.routes, world.maps) == before
    said = capsys.readouterr().out
    assert "already kept" in said
    assert "already up, every node ready" in said
    assert "already wired to sample-registry" in said
    world.joined.clear()  # as a registry that was made anew
    world.context = "another engine's"
    assert up(world, declaration) == ["export"]
    assert world.joined == {"kind/sample-registry"}


@pytest.mark.parametrize("comes_back", [True, False])
def test_nodes_that_stopped_are_started_behind_their_routes_and_made_anew_where_that_does_not_help(
    world: World, declaration: Declaration, *, comes_back: bool
) -> None:
    up(world, declaration)
    world.nodes, world.comes_back = dict.fromkeys(NAMES, "exited"), comes_back
    del world.routes[1:]  # as after a reboot
    anew = [] if comes_back else ["delete", "create"]
    assert up(world, declaration) == [*(f"start {name}" for name in NAMES), *anew]
    assert len(world.routes) == 3


def test_one_that_runs_and_is_not_ready_is_not_taken_away(
    world: World, declaration: Declaration
) -> None:
    up(world, declaration)
    world.comes_back = False
    with pytest.raises(ClusterError, match="the API server does not answer"):
        up(world, declaration)
    assert "delete" not in world.did


@pytest.mark.parametrize("change", ["interrupted", "a node is gone", "declared otherwise"])
def test_one_that_cannot_go_on_is_made_anew(
    world: World, declaration: Declaration, change: str
) -> None:
    up(world, declaration)
    if change == "interrupted":
        world.files.remove((NAMES[0], COMPLETE))
    elif change == "a node is gone":
        del world.nodes[NAMES[2]]
    else:
        world.notes["sample-cluster"]["delivery-platform.cluster-key"] = "another"
    assert up(world, declaration) == ["delete", "create"]


def test_the_subnets_of_one_that_was_declared_otherwise_are_let_go(
    world: World, declaration: Declaration
) -> None:
    up(world, declaration)
    changed = declaration.cluster.model_copy(update={"pods": "198.19.0.0/17"})
    world.routes.append(Route("198.19.0.0/17", "unreachable"))
    assert up(world, declaration.model_copy(update={"cluster": changed})) == ["delete", "create"]
    assert {route.destination for route in world.routes} == {
        "default",
        "198.18.128.0/17",
        "198.19.0.0/17",
    }


def test_a_registry_elsewhere_is_not_wired(world: World, declaration: Declaration) -> None:
    up(world, declaration.with_registry("registry.example.com/team"))
    assert world.joined == set()
    assert world.maps == {}


def refused(world: World, declaration: Declaration, message: str) -> str:
    """The hint of an up that is refused."""
    with pytest.raises(ClusterError, match=message) as caught:
        up(world, declaration)
    return caught.value.hint


def test_a_registry_that_is_no_container_cannot_be_wired(
    world: World, declaration: Declaration
) -> None:
    world.registry = None
    refused(world, declaration, "no container of this engine publishes port 5001")


def test_a_subnet_that_something_is_reached_by_is_refused_with_its_key(
    world: World, declaration: Declaration
) -> None:
    world.routes.append(Route("198.18.128.0/24", "unicast", "tun0"))
    message = r"keep 198\.18\.128\.0/17 on this host: .* 198\.18\.128\.0/24 by tun0"
    assert "cluster.services in delivery.toml" in refused(world, declaration, message)
    assert "create" not in world.did


def test_too_little_memory_is_said_before_anything_is_made(
    world: World, declaration: Declaration
) -> None:
    world.bytes = 2_000_000_000
    refused(world, declaration, r"the engine has 2\.0 GB of memory")
    assert world.notes == {}


@pytest.mark.parametrize("task", [local_cluster.up, local_cluster.down])
def test_one_of_this_name_that_is_somebody_elses_is_left_alone(
    world: World, declaration: Declaration, task: Callable[[Engine, Declaration], object]
) -> None:
    world.nodes = {"sample-control-plane": "running"}
    with pytest.raises(ForeignError, match="this project did not make"):
        task(cast("Engine", world), declaration)
    assert [one for one in world.did if not one.startswith("have ")] == []
    assert len(world.routes) == 1


def test_down_leaves_nothing(world: World, declaration: Declaration) -> None:
    up(world, declaration)
    local_cluster.down(cast("Engine", world), declaration)
    assert (world.nodes, world.notes, len(world.routes)) == ({}, {}, 1)
    world.did.clear()
    local_cluster.down(cast("Engine", world), declaration)
    assert world.did == []


def test_status_shows_nodes_labels_and_where_the_image_came_from(
    world: World, declaration: Declaration
) -> None:
    up(world, declaration)
    world.nodes["sample-worker2"] = "exited"
    found = local_cluster.status(cast("Engine", world), declaration)
    assert (found.context, found.way, found.kept) == ("kind-sample", "as published", True)
    assert [(one.name, one.state, one.ready, one.labels) for one in found.nodes[1:]] == [
        ("sample-worker", "running", "ready", {"shipay.com.br/capacity-type": "spot"}),
        ("sample-worker2", "exited", "ready", {}),
    ]
    assert json.loads(json.dumps(found.as_json()))["nodes"][1]["labels"] == {
        "shipay.com.br/capacity-type": "spot"
    }


def test_a_node_that_was_ready_before_it_stopped_is_waited_for(
    world: World, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(world, declaration)
    stale = [Node(name, "worker", "running", "2026-11-21T15:00:30Z") for name in NAMES]
    monkeypatch.setattr(Kind, "nodes", lambda *_: stale)
    with pytest.raises(ClusterError, match="sample-control-plane is not ready"):
        up(world, declaration)


def test_the_key_follows_the_declaration(declaration: Declaration) -> None:
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


def test_who_pulls_from_a_registry_is_read_in_nodes(world: World, declaration: Declaration) -> None:
    engine = cast("Engine", world)
    assert local_cluster.clusters_pulling_from(engine, "sample-registry") == []
    up(world, declaration)
    world.nodes = dict.fromkeys(NAMES, "exited")
    assert local_cluster.clusters_pulling_from(engine, "sample-registry") == ["sample"]
    assert local_cluster.clusters_pulling_from(engine, "another-registry") == []
    world.notes.clear()  # somebody else's
    assert local_cluster.clusters_pulling_from(engine, "sample-registry") == []
