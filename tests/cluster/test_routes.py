"""Routes are read as iproute2 prints them; a subnet is blocked where no other route uses it."""

from collections.abc import Callable, Sequence
from typing import cast

import pytest

from delivery.cluster import routes
from delivery.cluster.routes import Route, conflicting_route, not_blocked
from delivery.host.docker_api import Engine

# As iproute2 6.1 prints them; a unicast route has no type.
PRINTED = """[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
{"type":"unreachable","dst":"198.18.0.0/17","dev":"lo","protocol":"213","flags":[]},
{"type":"local","dst":"127.0.0.1","dev":"lo","table":"local","scope":"host","flags":[]}]"""


class Host:
    """An engine whose containers print this text, and do nothing."""

    def __init__(self, printed: str = "") -> None:
        self.printed = printed
        self.ran: list[str] = []

    def run_once(
        self, image: str, argv: Sequence[str], *, network: str, capabilities: Sequence[str]
    ) -> str:
        assert (image, network, list(capabilities)) == ("node:1", "host", ["NET_ADMIN"])
        self.ran.append(argv[-1])
        return self.printed


def test_reads_every_route() -> None:
    assert routes.read(cast("Engine", Host(PRINTED)), "node:1") == [
        Route("default", "unicast", "eth0"),
        Route("198.18.0.0/17", "unreachable", "lo"),
        Route("127.0.0.1", "local", "lo"),
    ]
    assert routes.read(cast("Engine", Host()), "node:1") == []


ADD = (
    "ip route add unreachable 10.1.0.0/16 proto 213\nip route add unreachable 10.2.0.0/16 proto 213"
)
FLUSH = "ip route flush type unreachable proto 213 exact 10.1.0.0/16"


@pytest.mark.parametrize(
    ("change", "subnets", "ran"),
    [
        (routes.block, ["10.1.0.0/16", "10.2.0.0/16"], [ADD]),
        (routes.block, [], []),
        (routes.unblock, ["10.1.0.0/16"], [FLUSH]),
    ],
    ids=["block", "nothing to block", "unblock"],
)
def test_routes_are_marked_and_only_marked_ones_are_removed(
    change: Callable[[Engine, str, list[str]], None], subnets: list[str], ran: list[str]
) -> None:
    host = Host()
    change(cast("Engine", host), "node:1", subnets)
    assert host.ran == ran


PODS, SERVICES = "198.18.0.0/17", "198.18.128.0/17"


@pytest.mark.parametrize(
    ("destination", "kind", "expected"),
    [
        ("198.18.4.0/24", "unicast", True),  # a part of it
        ("198.18.0.9", "local", True),  # an address of it
        ("198.18.0.0/15", "unicast", True),  # a larger subnet, as of a VPN
        ("198.18.128.0/17", "unicast", False),  # another subnet
        ("default", "unicast", False),
        ("128.0.0.0/1", "unicast", False),  # half of the default route, as of a VPN
        ("198.18.0.0/17", "unreachable", False),
        ("198.18.0.0/16", "blackhole", False),
    ],
)
def test_a_route_into_the_subnet_conflicts(destination: str, kind: str, *, expected: bool) -> None:
    route = Route(destination, kind, "tun0")
    conflict = conflicting_route(PODS, [Route("default", "unicast"), route])
    assert conflict == (route if expected else None)


@pytest.mark.parametrize("kind", ["unreachable", "blackhole", "prohibit"])
def test_a_blocking_route_of_the_same_subnet_counts(kind: str) -> None:
    assert not_blocked([PODS, SERVICES], [Route(PODS, kind)]) == [SERVICES]


def test_a_blocking_route_of_a_larger_subnet_does_not_count() -> None:
    """Whoever set it may remove it."""
    routes = [Route("198.18.0.0/15", "blackhole"), Route(PODS, "unicast")]
    assert not_blocked([PODS], routes) == [PODS]
