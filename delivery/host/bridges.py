"""Remove the bridges of a private engine from the kernel, and the iptables rules for them."""

from __future__ import annotations

import ipaddress
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from delivery import process
from delivery.errors import CommandError

__all__ = ["Bridge", "policy", "remove", "without"]

_PROGRAMS = ("iptables", "ip6tables")
_TABLES = ("nat", "filter")
_INTERFACE = re.compile(r"-[io] (\S+)")
_SOURCE = re.compile(r"-s (\S+)")
_USERS = "DOCKER-USER"  # the chain for a user's own rules


@dataclass(frozen=True)
class Bridge:
    """A network bridge of a Docker engine."""

    interface: str
    subnets: tuple[str, ...]  # such as 172.17.0.0/16


def policy() -> str:
    """The policy of the chain FORWARD, such as ACCEPT; "" if iptables does not answer."""
    if not shutil.which("iptables"):
        return ""
    try:
        rules = process.capture(
            ["iptables", "--wait", "-S", "FORWARD"], doing="read the policy of the chain FORWARD"
        )
    except CommandError:
        return ""
    return rules.split()[2]


def remove(bridges: Sequence[Bridge], policy: str) -> None:
    """Remove the bridges, their rules, and the chains of Docker's that are empty then.

    policy becomes the policy of the chain FORWARD; "" keeps the current policy.
    """
    for program in _PROGRAMS:
        if shutil.which(f"{program}-save") and shutil.which(f"{program}-restore"):
            for table in _TABLES:
                _clear(program, table, bridges, policy)
    if shutil.which("ip"):
        listed = process.capture(
            ["ip", "-brief", "link", "show", "type", "bridge"], doing="list the bridges"
        )
        names = {line.split()[0] for line in listed.splitlines()}
        for name in sorted({bridge.interface for bridge in bridges} & names):
            process.capture(["ip", "link", "delete", name], doing=f"remove the bridge {name}")


def _clear(program: str, table: str, bridges: Sequence[Bridge], policy: str) -> None:
    doing = f"remove the engine's rules from {program}"
    saved = process.capture([f"{program}-save", "-t", table], doing=doing)
    remaining = without(saved, bridges, policy)
    if remaining != saved:
        options = process.Options(text=remaining)
        process.capture([f"{program}-restore", "--wait"], doing=doing, options=options)


def without(saved: str, bridges: Sequence[Bridge], policy: str = "") -> str:
    """The output of `iptables-save` without the rules for these bridges.

    Without Docker's chains too, unless rules of another engine or of a user remain in them; then
    policy, such as ACCEPT, becomes that of the chain FORWARD.
    """
    lines = [
        line for line in saved.splitlines() if not any(_is_for(line, bridge) for bridge in bridges)
    ]
    if not any(_needs_chains(line) for line in lines):
        lines = [line for line in lines if "DOCKER" not in line]
        if policy:
            lines = [re.sub(r"^:FORWARD \S+", f":FORWARD {policy}", line) for line in lines]
    return "".join(f"{line}\n" for line in lines)


def _is_for(rule: str, bridge: Bridge) -> bool:
    if bridge.interface in _INTERFACE.findall(rule):
        return True
    source = _SOURCE.search(rule)
    return rule.startswith("-A POSTROUTING ") and source is not None and _within(source[1], bridge)


def _within(source: str, bridge: Bridge) -> bool:
    network = ipaddress.ip_network(source, strict=False)
    return any(
        network.network_address in subnet and network.prefixlen >= subnet.prefixlen
        for subnet in map(ipaddress.ip_network, bridge.subnets)
        if subnet.version == network.version
    )


def _needs_chains(line: str) -> bool:
    """Whether a rule needs Docker's chains: a rule for an interface, or a user's own."""
    if not line.startswith("-A ") or "DOCKER" not in line:
        return False
    if line.startswith(f"-A {_USERS} "):
        return not line.endswith("-j RETURN")
    return bool(_INTERFACE.search(line))
