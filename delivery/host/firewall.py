"""Rules of iptables: which of them are left when a Docker engine is taken off a machine."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bridge", "without"]

_INTERFACE = re.compile(r"-[io] (\S+)")
_SOURCE = re.compile(r"-s (\S+)")
_USERS = "DOCKER-USER"  # a user's own rules are in this one


@dataclass(frozen=True)
class Bridge:
    """A bridge of a Docker engine: its interface, and the subnets behind it, as in 172.17.0.0/16."""

    interface: str
    subnets: tuple[str, ...]


def without(saved: str, bridges: Sequence[Bridge], policy: str = "") -> str:
    """What `iptables-save` printed, without the rules for these bridges.

    Docker's chains go too, where no rule of another engine or of a user is left in them. policy is
    what becomes of the chain FORWARD then, as in ACCEPT.
    """
    left = [line for line in saved.splitlines() if not any(_is_for(line, one) for one in bridges)]
    if any(_keeps_chains(line) for line in left):
        return _text(left)
    kept = [line for line in left if "DOCKER" not in line]
    if policy:
        kept = [re.sub(r"^:FORWARD \S+", f":FORWARD {policy}", line) for line in kept]
    return _text(kept)


def _is_for(rule: str, bridge: Bridge) -> bool:
    if bridge.interface in _INTERFACE.findall(rule):
        return True
    source = _SOURCE.search(rule)
    return rule.startswith("-A POSTROUTING ") and source is not None and _within(source[1], bridge)


def _within(source: str, bridge: Bridge) -> bool:
    inner = ipaddress.ip_network(source, strict=False)
    outer = [ipaddress.ip_network(subnet) for subnet in bridge.subnets]
    return any(
        inner.version == one.version
        and inner.network_address in one
        and inner.prefixlen >= one.prefixlen
        for one in outer
    )


def _keeps_chains(line: str) -> bool:
    """Whether a rule needs Docker's chains: one for an interface in them, or a user's own."""
    if not line.startswith("-A ") or "DOCKER" not in line:
        return False
    if line.startswith(f"-A {_USERS} "):
        return not line.endswith("-j RETURN")
    return bool(_INTERFACE.search(line))


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
