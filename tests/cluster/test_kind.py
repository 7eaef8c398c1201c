"""kind gets the declared cluster and the right engine; its output becomes a hint."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_subprocess import FakeProcess

from delivery.cluster import kind
from delivery.cluster.kind import Kind, Node
from delivery.errors import ClusterError
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from tests.engines import fake_engine


@pytest.fixture
def program() -> Kind:
    return Kind("kind", fake_engine())


def test_the_declared_cluster_becomes_kinds_configuration(declaration: Declaration) -> None:
    config = json.loads(kind.config("sample", declaration.cluster))
    assert config["networking"] == {
        "podSubnet": "198.18.0.0/17",
        "serviceSubnet": "198.18.128.0/17",
    }
    assert config["nodes"] == [
        {"role": "control-plane"},
        {"role": "worker", "labels": {"shipay.com.br/capacity-type": "spot"}},
        {"role": "worker", "labels": {}},
    ]
    (patch,) = map(json.loads, config["kubeadmConfigPatches"])
    assert patch["featureGates"] == {"ControlPlaneKubeletLocalMode": False}


def test_node_names_are_kinds(declaration: Declaration) -> None:
    assert kind.node_names("sample", declaration.cluster) == [
        "sample-control-plane",
        "sample-worker",
        "sample-worker2",
    ]


def test_stopped_nodes_are_listed(program: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    container = SimpleNamespace(
        name="sample-worker",
        labels={"io.x-k8s.kind.role": "worker"},
        status="exited",
        attrs={"State": {"StartedAt": "2026-11-21T15:00:00.5Z"}},
    )
    labelled = {"io.x-k8s.kind.cluster=sample": [container]}
    monkeypatch.setattr(Engine, "labelled", lambda _engine, label: labelled[label])
    assert program.nodes("sample") == [
        Node("sample-worker", "worker", "exited", "2026-11-21T15:00:00.5Z")
    ]


def test_kind_uses_the_given_engine(program: Kind, fp: FakeProcess) -> None:
    fp.register(["kind", "get", "kubeconfig", "--name", "sample"], stdout="apiVersion: v1")
    assert program.kubeconfig("sample") == "apiVersion: v1"
    assert program.environment["DOCKER_HOST"] == "unix:///x"
    assert program.environment["KIND_EXPERIMENTAL_PROVIDER"] == "docker"


def test_a_cluster_that_cannot_be_created_is_an_error_with_a_hint(
    program: Kind, fp: FakeProcess
) -> None:
    argv = ["kind", "create", "cluster", "--name", "sample"]
    argv += ["--config", "sample.json", "--image", "node:1"]
    fp.register(argv, stdout=" ✗ Preparing nodes\nwrite: no space left on device", returncode=1)
    with pytest.raises(ClusterError, match="cannot create the cluster sample") as caught:
        program.create("sample", Path("sample.json"), "node:1", print)
    assert "no space left" in caught.value.details
    assert caught.value.hint.startswith("free disk space")


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("could not find a log line that matches", "use another engine: nodes are"),
        (
            "failed to create fsnotify watcher: too many open files",
            "run as root: sysctl fs.inotify",
        ),
        ("could not find a pool: all predefined address pools", "free a subnet"),
        ("something else", "fix what kind's lines above say"),
    ],
)
def test_the_hint_follows_from_kinds_output(output: str, hint: str) -> None:
    assert kind.hint_for(output).startswith(hint)
