"""A subnet is blocked only where no other route uses it."""

import pytest

from delivery.cluster.subnets import Route, conflicting_route, not_blocked

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
