"""Routes are read as iproute2 prints them, and only this project's are removed."""

from collections.abc import Callable, Sequence
from typing import cast

import pytest

from delivery.cluster import routes
from delivery.cluster.subnets import Route
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
