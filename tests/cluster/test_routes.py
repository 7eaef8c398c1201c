"""Routes are read as iproute2 prints them, and only ours are taken away."""

from collections.abc import Sequence
from typing import cast

from delivery.cluster import routes
from delivery.cluster.subnets import Route
from delivery.host.docker_api import Engine

# As iproute2 6.1 prints them; a usual route has no type.
PRINTED = """[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
{"type":"unreachable","dst":"198.18.0.0/17","dev":"lo","protocol":"213","flags":[]},
{"type":"local","dst":"127.0.0.1","dev":"lo","table":"local","protocol":"kernel","scope":"host","flags":[]}]"""


class Host:
    """An engine whose containers print what they are told to, and do nothing."""

    def __init__(self, printed: str = "") -> None:
        self.printed = printed
        self.ran: list[str] = []

    def once(self, image: str, argv: Sequence[str], *, network: str, capabilities: Sequence[str]) -> str:
        assert (image, network, list(capabilities)) == ("node:1", "host", ["NET_ADMIN"])
        self.ran.append(argv[-1])
        return self.printed


def test_reads_every_route() -> None:
    assert routes.look(cast("Engine", Host(PRINTED)), "node:1") == [
        Route("default", "unicast", "eth0"),
        Route("198.18.0.0/17", "unreachable", "lo"),
        Route("127.0.0.1", "local", "lo"),
    ]


def test_a_host_without_routes_has_none() -> None:
    assert routes.look(cast("Engine", Host("")), "node:1") == []


def test_stops_each_subnet_and_marks_the_route_as_ours() -> None:
    host = Host()
    routes.stop(cast("Engine", host), "node:1", ["10.1.0.0/16", "10.2.0.0/16"])
    assert host.ran == [
        "ip route add unreachable 10.1.0.0/16 proto 213\nip route add unreachable 10.2.0.0/16 proto 213"
    ]


def test_nothing_to_stop_starts_no_container() -> None:
    host = Host()
    routes.stop(cast("Engine", host), "node:1", [])
    assert host.ran == []


def test_takes_away_only_what_bears_our_mark() -> None:
    host = Host()
    routes.allow(cast("Engine", host), "node:1", ["10.1.0.0/16"])
    assert host.ran == ["ip route flush type unreachable proto 213 exact 10.1.0.0/16"]
