"""Reports of drift: how an environment differs from what was deployed to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ledger.event_rules import FIELDS, details_json

from .drift import Drift
from .errors import Problem

__all__ = ["MAX_AGE", "Drifted", "Report", "parse"]

# An older report says nothing about now: what reported has stopped.
MAX_AGE = timedelta(days=1)
FOUND_MAX = 100
TEXT_MAX = 500
_NAMES = frozenset(Drift.__dataclass_fields__)


@dataclass(frozen=True)
class Report:
    """What was found in an environment; the time is UTC without a zone."""

    environment: str
    checked_at: datetime
    found: tuple[Drift, ...]

    def rows(self) -> list[dict[str, str]]:
        """Return what was found as the table has it."""
        return [asdict(each) for each in self.found]


@dataclass
class Drifted:
    """How many differences each environment has, for the metrics."""

    by_environment: Mapping[str, int] = field(default_factory=dict)


def parse(payload: object, *, now: datetime) -> Report:
    """Return the report in a request's body, or raise a Problem that names every wrong field."""
    if not isinstance(payload, dict):
        raise _invalid({"body": "must be a JSON object"})
    wrong = {name: "is required" for name in ("environment", "found") if name not in payload}
    for name in payload.keys() - {"environment", "found"}:
        wrong[name if name.isprintable() else ascii(name)] = "is not a field of a report"
    if "environment" in payload and (reason := FIELDS["environment"](payload["environment"])):
        wrong["environment"] = reason
    if "found" in payload and (reason := _check_found(payload["found"])):
        wrong["found"] = reason
    if wrong:
        raise _invalid(wrong)
    return Report(payload["environment"], now, tuple(Drift(**each) for each in payload["found"]))


def _check_found(found: object) -> str | None:
    if not isinstance(found, list) or len(found) > FOUND_MAX:
        return f"must be an array of at most {FOUND_MAX} differences"
    for each in found:
        if (
            not isinstance(each, dict)
            or each.keys() != _NAMES
            or not all(map(_is_text, each.values()))
        ):
            return f"must have {', '.join(sorted(_NAMES))}: texts of at most {TEXT_MAX} characters"
    try:
        details_json({"found": found})
    except ValueError as error:
        return str(error)
    return None


def _is_text(value: Any) -> bool:  # noqa: ANN401  any JSON
    return isinstance(value, str) and len(value) <= TEXT_MAX


def _invalid(fields: dict[str, str]) -> Problem:
    return Problem(422, "invalid-fields", "some fields are wrong", fields=fields)
