"""The API's pods prefer spot nodes and spread; the worker's need an on-demand node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.cluster import CAPACITY, Pod, wait_for
from tests.e2e.platform import API, WORKER, Platform

pytestmark = [pytest.mark.engine, pytest.mark.cluster]


@pytest.fixture(autouse=True)
def _settled(platform: Platform) -> None:
    platform.cluster.settle()


def test_the_api_uses_the_spot_node_and_spreads(platform: Platform) -> None:
    cluster = platform.cluster
    (spot,) = cluster.nodes("spot")
    nodes = [pod.node for pod in cluster.pods(API)]
    assert spot in nodes
    assert len(set(nodes)) == len(nodes) == 2


def test_the_api_leaves_a_cordoned_spot_node_and_returns_later(platform: Platform) -> None:
    cluster = platform.cluster
    (spot,) = cluster.nodes("spot")
    with cluster.cordoned(spot):
        remove(platform, [pod for pod in cluster.pods(API) if pod.node == spot])
        pods = cluster.pods(API)
        assert len(pods) == 2
        assert spot not in {pod.node for pod in pods}
    # Two nodes have no pod of the API, spot and another: the preference decides.
    remove(platform, cluster.pods(API)[:1])
    assert spot in {pod.node for pod in cluster.pods(API)}


def test_the_worker_runs_on_demand_only(platform: Platform) -> None:
    assert [pod.node for pod in platform.cluster.pods(WORKER)] == platform.cluster.nodes("ondemand")


def test_without_an_ondemand_node_the_worker_is_pending_and_the_notes_have_the_remedy(
    platform: Platform,
) -> None:
    cluster = platform.cluster
    (node,) = cluster.nodes("ondemand")
    with unlabelled(platform, node):
        cluster.kubectl("delete", "pod", cluster.pod(WORKER).name)
        waiting = cluster.pod(WORKER)
        wait_for(
            "the scheduler to refuse the new worker",
            lambda: "FailedScheduling" in events(platform, waiting),
            seconds=60,
        )
        assert cluster.pod(WORKER).phase == "Pending"
        chart = str(platform.checkout.folder / "platform-chart")
        output = cluster.helm(
            "upgrade", cluster.release, chart, "--reuse-values", "--dry-run=server"
        )
        notes = output.partition("NOTES:")[2]
        assert "label node" in notes, notes
        assert f"{CAPACITY}=ondemand" in notes, notes
    cluster.settle()
    assert [pod.node for pod in cluster.pods(WORKER)] == [node]


def remove(platform: Platform, pods: list[Pod]) -> None:
    """Delete pods, and wait for their replacements; no client needs a graceful end."""
    assert pods
    platform.cluster.kubectl("delete", "pod", "--grace-period=1", *(pod.name for pod in pods))
    platform.cluster.settle()


def events(platform: Platform, pod: Pod) -> str:
    return platform.cluster.kubectl(
        "get", "events", "--field-selector", f"involvedObject.uid={pod.uid}"
    )


@contextmanager
def unlabelled(platform: Platform, node: str) -> Iterator[None]:
    """Remove a node's capacity type while the body runs."""
    platform.cluster.kubectl("label", "node", node, f"{CAPACITY}-")
    try:
        yield
    finally:
        platform.cluster.kubectl("label", "node", node, f"{CAPACITY}=ondemand")
