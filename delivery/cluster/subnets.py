"""Subnets that must not leave a host: which routes conflict, and which subnets are not blocked."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Route", "conflicting_route", "not_blocked"]

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
