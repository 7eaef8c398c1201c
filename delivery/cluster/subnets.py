"""Subnets that are kept from leaving a host: which routes are in their way, and which are still missing."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Route", "in_the_way", "missing"]

_STOPPING = {"blackhole", "prohibit", "unreachable"}


@dataclass(frozen=True)
class Route:
    """One route of a host: where to ("default", an address or a subnet), its type, and by which device."""

    destination: str
    kind: str
    device: str = ""

    @property
    def stops(self) -> bool:
        """Whether it stops packets instead of sending them on."""
        return self.kind in _STOPPING

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The addresses that it is for."""
        return ipaddress.IPv4Network(
            "0.0.0.0/0" if self.destination == "default" else self.destination
        )


def in_the_way(subnet: str, routes: Sequence[Route]) -> Route | None:
    """The route by which this host reaches something in the subnet, or None.

    Ways to everywhere do not count: the default route, and the two halves of everything that some VPNs set instead.
    """
    wanted = ipaddress.IPv4Network(subnet)
    found = [route for route in routes if not route.stops and route.network.prefixlen > 1]
    return next((route for route in found if route.network.overlaps(wanted)), None)


def missing(subnets: Sequence[str], routes: Sequence[Route]) -> list[str]:
    """The subnets whose packets no route of exactly them stops."""
    stopped = {str(route.network) for route in routes if route.stops}
    return [subnet for subnet in subnets if subnet not in stopped]
