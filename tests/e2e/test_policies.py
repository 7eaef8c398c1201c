"""The chart's network policies, enforced by kube-network-policies.

It decides about the first packet of each connection, which the kernel passes to it by a queue. Its
own nftables rules need CONFIG_NFT_QUEUE, which some kernels lack; rules of iptables do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.addons import NETWORK_POLICIES, installed
from tests.e2e.cluster import wait_for
from tests.e2e.platform import API, DATABASE, KAFKA, WORKER, Client, Platform

pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.compiled]

# Connects to each HOST:PORT; prints whether it could.
CONNECT = """
import socket, sys
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        print("open")
    except TimeoutError:
        print("blocked")
"""
TABLE = ["iptables", "--wait", "--table", "mangle"]
CHAIN = "E2E-POLICIES"
RULES = [
    ["--match", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "--jump", "RETURN"],
    # The kubelet's probes, as in kube-network-policies.
    ["--match", "owner", "--uid-owner", "0", "--jump", "RETURN"],
    ["--jump", "NFQUEUE", "--queue-num", "100", "--queue-bypass"],
]


@contextmanager
def queued(platform: Platform) -> Iterator[None]:
    """Pass the first packet of each connection on each node to queue 100."""
    cluster = platform.cluster
    nodes = [node["metadata"]["name"] for node in cluster.get("nodes")]
    for node in nodes:
        cluster.shell(node, *TABLE, "--new-chain", CHAIN)
        for rule in RULES:
            cluster.shell(node, *TABLE, "--append", CHAIN, *rule)
        cluster.shell(node, *TABLE, "--append", "POSTROUTING", "--jump", CHAIN)
    try:
        yield
    finally:
        for node in nodes:
            cluster.shell(node, *TABLE, "--delete", "POSTROUTING", "--jump", CHAIN)
            cluster.shell(node, *TABLE, "--flush", CHAIN)
            cluster.shell(node, *TABLE, "--delete-chain", CHAIN)


def backends(platform: Platform) -> dict[str, str]:
    return {
        DATABASE: f"{platform.name(DATABASE)}:3306",
        KAFKA: f"{platform.name(KAFKA)}:9092",
        API: f"{platform.name(API)}:443",
    }


@pytest.fixture(scope="module", autouse=True)
def unenforced(
    platform: Platform, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """Enforces the policies; what any pod of the namespace could reach before."""
    targets = backends(platform)
    before = client.python(CONNECT, *targets.values()).split()
    if "blocked" in before:  # kindnet of the published nodes enforces policies itself
        yield before
        return
    folder = tmp_path_factory.mktemp("network-policies")
    with installed(platform, NETWORK_POLICIES, folder), queued(platform):
        wait_for("a policy to act", lambda: "blocked" in client.python(CONNECT, targets[DATABASE]))
        yield before


def reach(platform: Platform, component: str, *targets: str) -> list[str]:
    """Whether a component's pod can connect to each target."""
    pod = platform.cluster.pods(component)[0].name
    command = ["/usr/bin/python3", "-c", CONNECT, *targets]
    return platform.cluster.kubectl("exec", pod, "--container", component, "--", *command).split()


def test_without_enforcement_any_pod_reaches_everything(unenforced: list[str]) -> None:
    if "blocked" in unenforced:
        pytest.skip("the nodes enforce policies themselves")
    assert unenforced == ["open"] * 3


def test_a_pod_that_uses_no_backend_reaches_the_api_only(
    platform: Platform, client: Client
) -> None:
    answers = client.python(CONNECT, *backends(platform).values()).split()
    assert answers == ["blocked", "blocked", "open"]


@pytest.mark.parametrize("component", [API, WORKER])
def test_a_component_reaches_the_backends_that_it_uses(platform: Platform, component: str) -> None:
    targets = [backends(platform)[name] for name in (DATABASE, KAFKA)]
    assert reach(platform, component, *targets) == ["open", "open"]


def test_the_worker_reaches_nothing_else(platform: Platform) -> None:
    assert reach(platform, WORKER, backends(platform)[API]) == ["blocked"]


def test_only_brokers_reach_the_brokers_controllers(platform: Platform) -> None:
    broker = platform.cluster.pods(KAFKA)[0].manifest["status"]["podIP"]
    assert reach(platform, API, f"{broker}:9093") == ["blocked"]


def test_an_event_still_reaches_the_database(platform: Platform) -> None:
    """`helm test` sends one and waits until it is stored."""
    output = platform.cluster.helm("test", platform.cluster.release, "--timeout", "150s")
    assert "Phase:          Succeeded" in output
