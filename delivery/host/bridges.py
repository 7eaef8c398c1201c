"""What a private engine leaves in the kernel's network: its bridges, and the rules of iptables for them."""

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
    """What becomes of packets that this machine forwards, as in ACCEPT; "" where that cannot be asked."""
    if not shutil.which("iptables"):
        return ""
    try:
        told = process.capture(
            ["iptables", "--wait", "-S", "FORWARD"], doing="read the rules for forwarding"
        )
    except CommandError:
        return ""
    return told.split()[2]


def remove(bridges: Sequence[Bridge], policy: str) -> None:
    """Remove the bridges and their rules, and Docker's chains that are empty then.

    policy is that of the chain FORWARD before there was an engine; "" leaves it.
    """
    for program in _PROGRAMS:
        if shutil.which(f"{program}-save") and shutil.which(f"{program}-restore"):
            for table in _TABLES:
                _clear(program, table, bridges, policy)
    if shutil.which("ip"):
        there = process.capture(
            ["ip", "-brief", "link", "show", "type", "bridge"], doing="list the bridges"
        )
        names = {line.split()[0] for line in there.splitlines()}
        for name in sorted({one.interface for one in bridges} & names):
            process.capture(["ip", "link", "delete", name], doing=f"remove the bridge {name}")


def _clear(program: str, table: str, bridges: Sequence[Bridge], policy: str) -> None:
    doing = f"remove the engine's rules from {program}"
    saved = process.capture([f"{program}-save", "-t", table], doing=doing)
    left = without(saved, bridges, policy)
    if left != saved:
        process.capture([f"{program}-restore", "--wait"], doing=doing, text=left)
