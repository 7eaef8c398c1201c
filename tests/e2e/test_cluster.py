"""The cluster is used again, and repaired after a stop; conftest.py removes it at the end."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

import pytest

from delivery.cluster import local_cluster, routes
from delivery.cluster.routes import not_blocked
from delivery.errors import EngineError
from delivery.host import engines
from delivery.project import files
from tests.e2e.platform import DATABASE, Platform, output_of

pytestmark = [pytest.mark.engine, pytest.mark.cluster]


@pytest.fixture(scope="module")
def cluster(platform: Platform) -> local_cluster.Cluster:
    declaration = files.load_declaration(platform.checkout.folder)
    return local_cluster.open_cluster(engines.require(), declaration)


def test_a_packet_for_a_missing_pod_does_not_leave_the_host(
    cluster: local_cluster.Cluster,
) -> None:
    assert not_blocked(cluster.subnets, routes.read(cluster.engine, cluster.image)) == []
    address = "198.19.127.254"  # of the pods' subnet, but of no node's
    with pytest.raises(EngineError) as caught:
        cluster.engine.execute(
            cluster.control_plane, ["curl", "--silent", "--show-error", f"http://{address}:9"]
        )
    assert re.search(r"No route to host|unreachable|Couldn't connect", caught.value.details)
    with pytest.raises(EngineError, match=r"No route to host|unreachable"):
        cluster.engine.run_once(
            cluster.image,
            ["ip", "route", "get", address],
            network="host",
            capabilities=["NET_ADMIN"],
        )


def test_the_registry_is_known_to_be_in_use(cluster: local_cluster.Cluster) -> None:
    _, _, port = cluster.declaration.registry.address.partition("/")[0].partition(":")
    publisher = cluster.engine.publishers().get(int(port))
    assert publisher
    assert cluster.name in local_cluster.clusters_pulling_from(cluster.engine, publisher[0])


def test_a_second_up_changes_nothing(platform: Platform, cluster: local_cluster.Cluster) -> None:
    label = f"io.x-k8s.kind.cluster={cluster.name}"
    before = {container.id for container in cluster.engine.labelled(label)}
    assert "already up, every node ready" in output_of(platform.checkout.inv("cluster.up"))
    assert {container.id for container in cluster.engine.labelled(label)} == before


def address(cluster: local_cluster.Cluster, name: str) -> IPv4Address:
    container = cluster.engine.client.containers.get(name)
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return IPv4Address(network["IPAddress"])


def test_killed_nodes_are_started_again_with_their_pods_though_addresses_change(
    platform: Platform, cluster: local_cluster.Cluster
) -> None:
    pods = platform.cluster.uids()
    first, worker = cluster.control_plane, platform.cluster.pod(DATABASE).node
    before = address(cluster, first)
    worker_first = before < address(cluster, worker)  # a node gets the lowest free address
    for name in (first, worker):
        cluster.engine.client.containers.get(name).kill()
    routes.unblock(cluster.engine, cluster.image, cluster.subnets)  # as a reboot does
    if worker_first:
        cluster.engine.start(worker)
    output = output_of(platform.checkout.inv("cluster.up"))
    assert "started; all ready" in output
    assert address(cluster, first) != before
    assert not_blocked(cluster.subnets, routes.read(cluster.engine, cluster.image)) == []
    assert platform.cluster.uids() == pods
    status = local_cluster.status(cluster.engine, cluster.declaration)
    assert [node.name for node in status.nodes] == cluster.node_names
    assert {(node.state, node.ready) for node in status.nodes} == {("running", "ready")}
    assert status.kept
