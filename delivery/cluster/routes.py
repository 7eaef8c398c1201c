"""Read and change the routes of the engine's host, by a container in its network.

The host need not be this machine, and this process need not be root.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass

from delivery.host.docker_api import Engine

__all__ = ["Route", "block", "conflicting_route", "not_blocked", "read", "unblock"]

# The kernel keeps a route's protocol and does not use it: this number marks this project's routes.
_PROTOCOL = "213"
_BLOCKING = {"blackhole", "prohibit", "unreachable"}


@dataclass(frozen=True)
class Route:
    """One route of a host."""

    destination: str  # "default", an address or a subnet
    kind: str  # the type, as iproute2 has it
    device: str = ""

    @property
    def is_blocking(self) -> bool:
        """Whether it stops packets instead of forwarding them."""
        return self.kind in _BLOCKING

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The addresses that it is for."""
        return ipaddress.IPv4Network(
            "0.0.0.0/0" if self.destination == "default" else self.destination
        )


def read(engine: Engine, image: str) -> list[Route]:
    """Every IPv4 route, of every table. The image needs `ip`, as the cluster's node images do."""
    printed = _ip(engine, image, ["ip", "-4", "-json", "route", "show", "table", "all"])
    return [
        Route(route["dst"], route.get("type", "unicast"), route.get("dev", ""))
        for route in json.loads(printed or "[]")
    ]


def block(engine: Engine, image: str, subnets: Sequence[str]) -> None:
    """Stop packets to these subnets at the host; it tells the sender, who may retry at once."""
    if subnets:
        add = [f"ip route add unreachable {subnet} proto {_PROTOCOL}" for subnet in subnets]
        _ip(engine, image, ["sh", "-ec", "\n".join(add)])


def unblock(engine: Engine, image: str, subnets: Sequence[str]) -> None:
    """Remove the routes that `block` set; another program's routes stay."""
    flush = [
        f"ip route flush type unreachable proto {_PROTOCOL} exact {subnet}" for subnet in subnets
    ]
    _ip(engine, image, ["sh", "-ec", "\n".join(flush)])


def _ip(engine: Engine, image: str, argv: list[str]) -> str:
    return engine.run_once(image, argv, network="host", capabilities=["NET_ADMIN"])


def conflicting_route(subnet: str, routes: Sequence[Route]) -> Route | None:
    """The route by which this host reaches something in the subnet, or None.

    The default route does not count, nor do the two halves of it that some VPNs set instead.
    """
    requested = ipaddress.IPv4Network(subnet)
    forwarding = (
        route for route in routes if not route.is_blocking and route.network.prefixlen > 1
    )
    return next((route for route in forwarding if route.network.overlaps(requested)), None)


def not_blocked(subnets: Sequence[str], routes: Sequence[Route]) -> list[str]:
    """The subnets without a blocking route of exactly the same addresses."""
    blocked = {str(route.network) for route in routes if route.is_blocking}
    return [subnet for subnet in subnets if subnet not in blocked]
