"""A subnet is kept only where nothing real is reached by it."""

import pytest

from delivery.cluster.subnets import Route, in_the_way, missing

PODS, SERVICES = "198.18.0.0/17", "198.18.128.0/17"


@pytest.mark.parametrize(
    ("destination", "kind", "expected"),
    [
        ("198.18.4.0/24", "unicast", True),  # within
        ("198.18.0.9", "local", True),  # one address
        ("198.18.0.0/15", "unicast", True),  # around, as a VPN has it
        ("198.0.0.0/8", "unicast", True),
        ("198.18.128.0/17", "unicast", False),  # beside
        ("default", "unicast", False),
        ("128.0.0.0/1", "unicast", False),  # a half of everything, instead of a default route
        ("198.18.0.0/17", "unreachable", False),
        ("198.18.0.0/16", "blackhole", False),
    ],
)
def test_what_is_in_the_way(destination: str, kind: str, expected: bool) -> None:  # noqa: FBT001  # an expectation
    route = Route(destination, kind, "tun0")
    assert in_the_way(PODS, [Route("default", "unicast"), route]) == (route if expected else None)


@pytest.mark.parametrize("kind", ["unreachable", "blackhole", "prohibit"])
def test_what_is_stopped_already_is_not_missing(kind: str) -> None:
    assert missing([PODS, SERVICES], [Route(PODS, kind)]) == [SERVICES]


def test_a_wider_stop_of_somebody_elses_may_go_and_so_does_not_count() -> None:
    assert missing([PODS], [Route("198.18.0.0/15", "blackhole"), Route(PODS, "unicast")]) == [PODS]
