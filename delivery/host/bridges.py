"""Remove the bridges of a private engine from the kernel, and the iptables rules for them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from delivery import process
from delivery.errors import CommandError
from delivery.host.firewall import Bridge, without

__all__ = ["policy", "remove"]

_PROGRAMS = ("iptables", "ip6tables")
_TABLES = ("nat", "filter")


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
