"""The API's pods prefer spot nodes and spread; the worker's need an on-demand node."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import Pod
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


def remove(platform: Platform, pods: list[Pod]) -> None:
    """Delete pods, and wait for their replacements; no client needs a graceful end."""
    assert pods
    platform.cluster.kubectl("delete", "pod", "--grace-period=1", *(pod.name for pod in pods))
    platform.cluster.settle()
