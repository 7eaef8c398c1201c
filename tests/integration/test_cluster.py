"""A cluster of one node is created, used, stopped, repaired and removed."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery import process
from delivery.cluster import local_cluster, routes
from delivery.cluster.subnets import not_blocked
from delivery.errors import EngineError
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.project.declaration import Cluster, Declaration

pytestmark = [pytest.mark.engine, pytest.mark.cluster]


@pytest.fixture(scope="module")
def small(project: Declaration) -> Declaration:
    """The project with another cluster: one node, and other subnets."""
    name = f"delivery-test-{uuid.uuid4().hex[:8]}"
    cluster = Cluster(
        node=project.cluster.node, pods="198.19.0.0/20", services="198.19.16.0/20", workers={}
    )
    return project.model_copy(update={"name": name, "cluster": cluster})


@pytest.fixture(scope="module")
def cluster(
    engine: Engine, small: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[local_cluster.Cluster]:
    """That cluster, removed after the module's tests."""
    before = os.environ.get("KUBECONFIG")
    os.environ["KUBECONFIG"] = str(tmp_path_factory.mktemp("kube") / "config")
    try:
        yield local_cluster.up(engine, small)
    finally:
        local_cluster.down(engine, small)
        os.environ.pop("KUBECONFIG")
        if before is not None:
            os.environ["KUBECONFIG"] = before


def kubectl(cluster: local_cluster.Cluster, *arguments: str) -> str:
    """Run kubectl with the context that `up` wrote to the user's kubeconfig."""
    argv = [cluster.kubectl, "--context", cluster.context, *arguments]
    return process.capture(argv, doing=f"kubectl {arguments[0]}", timeout=180)


def test_the_node_is_ready_by_the_context_in_the_kubeconfig(cluster: local_cluster.Cluster) -> None:
    assert kubectl(cluster, "get", "nodes", "--no-headers").split()[:2] == [
        f"{cluster.name}-control-plane",
        "Ready",
    ]
    status = local_cluster.status(cluster.engine, cluster.declaration)
    assert [(node.role, node.state, node.ready) for node in status.nodes] == [
        ("control-plane", "running", "ready")
    ]
    assert status.kept


def test_a_packet_for_a_missing_pod_does_not_leave_the_host(
    cluster: local_cluster.Cluster,
) -> None:
    assert not_blocked(cluster.subnets, routes.read(cluster.engine, cluster.image)) == []
    with pytest.raises(EngineError) as caught:
        cluster.engine.execute(
            f"{cluster.name}-control-plane",
            ["curl", "--silent", "--show-error", "http://198.19.15.254:9"],
        )
    assert re.search(r"No route to host|unreachable|Couldn't connect", caught.value.details)
    with pytest.raises(EngineError, match=r"No route to host|unreachable"):
        cluster.engine.run_once(
            cluster.image,
            ["ip", "route", "get", "198.19.15.254"],
            network="host",
            capabilities=["NET_ADMIN"],
        )


def test_a_pod_runs_an_image_of_the_local_registry(cluster: local_cluster.Cluster) -> None:
    release = lifecycle.released()
    assert release, "run `inv push` before these tests"
    # The image has no shell and no sleep.
    sleep = ["/usr/bin/python3", "-c", "import time; time.sleep(3600)"]
    image = release.images["api-rest"].pinned
    kubectl(cluster, "run", "pulled", "--image", image, "--command", "--", *sleep)
    kubectl(cluster, "wait", "--for=condition=Ready", "--timeout=120s", "pod/pulled")
    pod: dict[str, Any] = json.loads(kubectl(cluster, "get", "pod", "pulled", "--output=json"))
    assert pod["status"]["containerStatuses"][0]["imageID"].endswith(
        release.images["api-rest"].digest
    )


def test_the_registry_is_known_to_be_in_use(cluster: local_cluster.Cluster) -> None:
    _, _, port = cluster.declaration.registry.address.partition("/")[0].partition(":")
    publisher = cluster.engine.publishers().get(int(port))
    assert publisher
    assert cluster.name in local_cluster.clusters_pulling_from(cluster.engine, publisher[0])


def test_a_second_up_changes_nothing(
    cluster: local_cluster.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cluster.engine.labelled(f"io.x-k8s.kind.cluster={cluster.name}")[0].id
    local_cluster.up(cluster.engine, cluster.declaration)
    assert "already up, every node ready" in capsys.readouterr().out
    assert cluster.engine.labelled(f"io.x-k8s.kind.cluster={cluster.name}")[0].id == before


def test_a_killed_node_is_started_again_with_its_pods(
    cluster: local_cluster.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    container = cluster.engine.container(f"{cluster.name}-control-plane")
    assert container
    container.kill()
    routes.unblock(cluster.engine, cluster.image, cluster.subnets)  # as a reboot does
    local_cluster.up(cluster.engine, cluster.declaration)
    assert f"{cluster.name}-control-plane started; all ready" in capsys.readouterr().out
    assert not_blocked(cluster.subnets, routes.read(cluster.engine, cluster.image)) == []
    assert "pulled" in kubectl(cluster, "get", "pods", "--output=name")


def test_down_removes_nodes_routes_note_and_context(cluster: local_cluster.Cluster) -> None:
    local_cluster.down(cluster.engine, cluster.declaration)
    assert cluster.engine.labelled(f"io.x-k8s.kind.cluster={cluster.name}") == []
    assert (
        not_blocked(cluster.subnets, routes.read(cluster.engine, cluster.image)) == cluster.subnets
    )
    assert cluster.engine.read_note(cluster.note) is None
    assert cluster.context not in Path(os.environ["KUBECONFIG"]).read_text()
