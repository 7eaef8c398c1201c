"""Whether an environment may be deployed to now: its windows, and the ledger's freezes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from delivery.project.declaration import Windows

__all__ = ["Freeze", "obstacle", "read_freeze", "show"]


@dataclass(frozen=True)
class Freeze:
    """A time in which nothing is deployed to an environment."""

    identifier: str
    environment: str
    until: datetime
    reason: str
    responsible: str
    actor: str = ""  # the name of the token, if it was set with one

    def __str__(self) -> str:
        via = f" via {self.actor}" if self.actor else ""
        return f"until {show(self.until)} by {self.responsible}{via}: {self.reason}"


def read_freeze(document: Mapping[str, Any]) -> Freeze:
    """The freeze that a document of the ledger describes; raise for any other document."""
    return Freeze(
        identifier=str(document["id"]),
        environment=str(document["environment"]),
        until=datetime.fromisoformat(document["until"]),
        reason=str(document["reason"]),
        responsible=str(document["responsible"]),
        actor=str(document["actor"] or ""),
    )


def obstacle(
    environments: Collection[str],
    windows: Windows | None,
    freezes: Iterable[Freeze],
    now: datetime,
) -> str:
    """Why nothing may be deployed to an environment now; "" if it may.

    environments: its name, and that of the environment of previews for a preview. The freeze that
    ends last counts before the windows.
    """
    holding = [each for each in freezes if each.environment in environments and each.until > now]
    if holding:
        return f"it is frozen {max(holding, key=lambda each: each.until)}"
    opening = windows.next_opening(now) if windows else now
    if windows is None or opening == now:
        return ""
    if opening is None:
        return "none of its windows opens again"
    return f"its windows are closed until {show(opening, windows.zone)} ({windows.zone})"


def show(at: datetime, zone: str = "") -> str:
    """A time for people, in a time zone, by default that of this machine."""
    return f"{at.astimezone(ZoneInfo(zone) if zone else None):%Y-%m-%d %H:%M %z}"
