"""kind is told what is declared, on the engine that is meant; what it says is understood."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pytest_subprocess import FakeProcess

from delivery.cluster import kind
from delivery.cluster.kind import Kind, Node
from delivery.errors import ClusterError
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration


class Machine:
    """An engine with one node, of whatever cluster is asked for."""

    environment = {"DOCKER_HOST": "unix:///engine.sock"}  # noqa: RUF012  # as the engine's own

    def labelled(self, label: str) -> list[SimpleNamespace]:
        assert label == "io.x-k8s.kind.cluster=sample"
        attrs = {"State": {"StartedAt": "2026-11-21T15:00:00.5Z"}}
        return [
            SimpleNamespace(
                name="sample-worker",
                labels={"io.x-k8s.kind.role": "worker"},
                status="exited",
                attrs=attrs,
            )
        ]


@pytest.fixture
def program() -> Kind:
    return Kind("kind", cast("Engine", Machine()))


def test_the_declaration_becomes_kinds_own_file(declaration: Declaration) -> None:
    told = json.loads(kind.config("sample", declaration.cluster))
    assert told["networking"] == {"podSubnet": "198.18.0.0/17", "serviceSubnet": "198.18.128.0/17"}
    assert told["nodes"] == [
        {"role": "control-plane"},
        {"role": "worker", "labels": {"shipay.com.br/capacity-type": "spot"}},
        {"role": "worker", "labels": {}},
    ]


def test_knows_what_kind_calls_the_nodes(declaration: Declaration) -> None:
    assert kind.node_names("sample", declaration.cluster) == [
        "sample-control-plane",
        "sample-worker",
        "sample-worker2",
    ]


def test_nodes_are_found_running_or_not(program: Kind) -> None:
    assert program.nodes("sample") == [
        Node("sample-worker", "worker", "exited", "2026-11-21T15:00:00.5Z")
    ]


def test_talks_to_the_engine_that_is_meant(program: Kind, fp: FakeProcess) -> None:
    fp.register(["kind", "get", "kubeconfig", "--name", "sample"], stdout="apiVersion: v1")
    assert program.kubeconfig("sample") == "apiVersion: v1"
    assert program.environment["DOCKER_HOST"] == "unix:///engine.sock"
    assert program.environment["KIND_EXPERIMENTAL_PROVIDER"] == "docker"


def test_a_cluster_that_cannot_be_made_says_what_to_do(program: Kind, fp: FakeProcess) -> None:
    argv = [
        "kind",
        "create",
        "cluster",
        "--name",
        "sample",
        "--config",
        "sample.json",
        "--image",
        "node:1",
    ]
    fp.register(argv, stdout=" ✗ Preparing nodes\nwrite: no space left on device", returncode=1)
    with pytest.raises(ClusterError, match="make the cluster sample") as caught:
        program.create("sample", Path("sample.json"), "node:1", print)
    assert "no space left" in caught.value.details
    assert caught.value.hint.startswith("free disk space")


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("could not find a log line that matches", "nodes are privileged containers"),
        ("failed to create fsnotify watcher: too many open files", "as root: sysctl fs.inotify"),
        (
            "could not find an available, non-overlapping IPv4 address pool: all predefined address pools",
            "the engine has",
        ),
        ("who knows", "the lines above are kind's own"),
    ],
)
def test_what_kind_prints_is_understood(output: str, hint: str) -> None:
    assert kind.hint_for(output).startswith(hint)
