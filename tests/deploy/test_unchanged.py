"""A deploy that changes nothing is found without the lock; anything else is left to the lock."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from delivery.deploy.helm import ChartFiles
from delivery.deploy.manifests import Manifest
from delivery.deploy.unchanged import Reading, read
from delivery.errors import DeployError
from delivery.project.declaration import Declaration
from tests.deploy.cluster import NEW, OLD, Cluster, failed, lease, target, with_small_claim

FILES = ChartFiles(Path("chart"), ())


@pytest.fixture(autouse=True)
def _same(cluster: Cluster) -> None:
    """A chart that renders what is deployed."""
    cluster.rendered = OLD


def look(cluster: Cluster, declaration: Declaration) -> Reading:
    reading = read(declaration, target(cluster), FILES)
    assert cluster.done == []
    return reading


def test_the_same_revision_is_unchanged(cluster: Cluster, declaration: Declaration) -> None:
    reading = look(cluster, declaration)
    deployed = reading.deployed()
    assert reading.unchanged == 1
    assert cluster.previews == [True]
    assert deployed is not None
    assert deployed.images["api-rest"] == ("localhost:5001/api-rest", "sha256:a")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("pending-upgrade", "revision 2 is pending-upgrade"),
        ("failed", "revision 2 is failed"),
    ],
)
def test_another_last_revision_is_left_to_the_lock(
    cluster: Cluster,
    declaration: Declaration,
    capsys: pytest.CaptureFixture[str],
    status: str,
    reason: str,
) -> None:
    cluster.add(status, OLD, datetime.now(UTC))
    cluster.fails["preview"] = failed("another operation is in progress")
    assert look(cluster, declaration).unchanged == 0
    assert f"compare: {reason} (" in capsys.readouterr().out


def test_a_first_install_is_left_to_the_lock(cluster: Cluster, declaration: Declaration) -> None:
    cluster.revisions = []
    assert look(cluster, declaration).unchanged == 0


def test_another_deploy_is_waited_for(cluster: Cluster, declaration: Declaration) -> None:
    cluster.lease = lease("another")
    assert look(cluster, declaration).unchanged == 0
    cluster.lease = lease("")
    assert look(cluster, declaration).unchanged == 1


@pytest.mark.parametrize("rendered", [NEW, Manifest(OLD.objects, "kind: Job\nmetadata: {name: j}")])
def test_another_manifest_or_hook_is_a_change(
    cluster: Cluster, declaration: Declaration, rendered: Manifest
) -> None:
    cluster.rendered = rendered
    assert look(cluster, declaration).unchanged == 0


def test_a_change_in_the_cluster_is_a_change(cluster: Cluster, declaration: Declaration) -> None:
    cluster.live_objects = []
    assert look(cluster, declaration).unchanged == 0


def test_a_claim_that_is_too_small_is_a_change(
    cluster: Cluster, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pod that was added since the deploy has a claim of the StatefulSet's old size."""
    with_small_claim(cluster)
    cluster.manifests[1] = cluster.rendered
    assert look(cluster, declaration).unchanged == 0
    assert "compare: claims to enlarge: data-platform-kafka-0 (" in capsys.readouterr().out
    cluster.claims[0]["spec"]["resources"]["requests"]["storage"] = "10Gi"
    assert look(cluster, declaration).unchanged == 1


def test_pods_that_are_not_ready_are_waited_for(cluster: Cluster, declaration: Declaration) -> None:
    status = {"updatedReplicas": 2, "replicas": 2, "readyReplicas": 1}
    web = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}}
    cluster.live_objects.append({**web, "status": status})
    assert look(cluster, declaration).unchanged == 0
    status["readyReplicas"] = 2
    assert look(cluster, declaration).unchanged == 1


def test_values_that_the_chart_refuses_are_an_error_before_the_lock(
    cluster: Cluster, declaration: Declaration
) -> None:
    cluster.fails["preview"] = failed("Error: execution error at validate.yaml: tls takes …")
    with pytest.raises(DeployError, match="the chart refuses the values"):
        look(cluster, declaration)
