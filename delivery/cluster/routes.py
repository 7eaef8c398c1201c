"""Read and change the routes of the engine's host, by a container in its network.

The host need not be this machine, and this process need not be root.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from delivery.cluster.subnets import Route
from delivery.host.docker_api import Engine

__all__ = ["block", "read", "unblock"]

# The kernel keeps a route's protocol and does not use it: this number marks this project's routes.
_PROTOCOL = "213"


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
