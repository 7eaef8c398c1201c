"""The routes of the engine's host, by a container in its network: the host need not be this machine, nor we be root."""

from __future__ import annotations

import json
from collections.abc import Sequence

from delivery.cluster.subnets import Route
from delivery.host.docker_api import Engine

__all__ = ["allow", "look", "stop"]

# Who made a route is a number that the kernel keeps and does not read: this one says that it was us.
_PROTOCOL = "213"


def look(engine: Engine, image: str) -> list[Route]:
    """Every IPv4 route, of every table. image has `ip` in it, as the cluster's node images do."""
    printed = _ip(engine, image, ["ip", "-4", "-json", "route", "show", "table", "all"])
    return [
        Route(route["dst"], route.get("type", "unicast"), route.get("dev", ""))
        for route in json.loads(printed or "[]")
    ]


def stop(engine: Engine, image: str, subnets: Sequence[str]) -> None:
    """Stop packets to these subnets at the host. The sender is told, so that it may try again at once."""
    if subnets:
        add = [f"ip route add unreachable {subnet} proto {_PROTOCOL}" for subnet in subnets]
        _ip(engine, image, ["sh", "-ec", "\n".join(add)])


def allow(engine: Engine, image: str, subnets: Sequence[str]) -> None:
    """Take away what `stop` set; what somebody else set stays."""
    flush = [
        f"ip route flush type unreachable proto {_PROTOCOL} exact {subnet}" for subnet in subnets
    ]
    _ip(engine, image, ["sh", "-ec", "\n".join(flush)])


def _ip(engine: Engine, image: str, argv: list[str]) -> str:
    return engine.run_once(image, argv, network="host", capabilities=["NET_ADMIN"])
