"""What was recorded: the events that wait in the outbox."""

from typing import Any

from delivery.records import outbox

__all__ = ["recorded"]


def recorded(*names: str) -> list[tuple[Any, ...]]:
    """These fields of each event, or else of its details, the oldest first."""
    return [
        tuple(entry.event.get(name, entry.event["details"].get(name)) for name in names)
        for entry in outbox.waiting()
    ]
