"""Freezes: times in which nothing is deployed to an environment."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.event_rules import FIELDS, PRINTABLE, REASON_LENGTH, check_text
from ledger.run_details import parse_time

from .errors import Problem
from .event import rfc3339

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Freeze", "parse"]


def _check_time(value: object) -> str | None:
    if parse_time(value) is None:
        return "must be RFC 3339 with its offset, like 2026-12-26T08:00:00Z"
    return None


_CHECKS = {
    "environment": FIELDS["environment"],
    "until": _check_time,
    "reason": check_text(REASON_LENGTH, *PRINTABLE),
    "responsible": FIELDS["responsible"],
}


@dataclass(frozen=True)
class Freeze:
    """One freeze; times are UTC without a zone."""

    id: str
    environment: str
    until: datetime
    reason: str
    # What the sender says, and what the server knows about who sent it.
    responsible: str
    actor: str | None
    created_at: datetime

    def document(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        times = {"until": rfc3339(self.until), "created_at": rfc3339(self.created_at)}
        return {**vars(self), **times}


def parse(payload: object, *, now: datetime) -> Freeze:
    """Return the freeze that a request's body asks for; its actor is not known yet.

    Raises a Problem that names every wrong field.
    """
    if not isinstance(payload, dict):
        raise _invalid({"body": "must be a JSON object"})
    wrong = {name: "is required" for name in _CHECKS if name not in payload}
    for name, value in payload.items():
        if name not in _CHECKS:
            wrong[name if name.isprintable() else ascii(name)] = "is not a field of a freeze"
        elif reason := _CHECKS[name](value):
            wrong[name] = reason
    until = parse_time(payload.get("until"))
    if wrong or until is None:
        raise _invalid(wrong)
    # One that has passed ends at once: the database does not hold every year.
    times = {"until": max(until, now), "created_at": now}
    return Freeze(**{**payload, **times}, id=str(uuid.uuid4()), actor=None)


def _invalid(fields: dict[str, str]) -> Problem:
    return Problem(422, "invalid-fields", "some fields are wrong", fields=fields)
