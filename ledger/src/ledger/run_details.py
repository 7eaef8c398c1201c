"""What an event's details say of its run: the same file in both apps, one of which checks it and one stores it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

__all__ = [
    "RUN_PROPERTIES",
    "TEXTS",
    "check_run_details",
    "happened_at",
    "parse_time",
    "run_text",
]

# What names the run and the step, and the width of its column: what is longer is stored cut.
TEXTS = {"pipeline": 500, "step": 100}
# The same as JSON Schema, for a contract.
RUN_PROPERTIES = {
    "at": {"type": ["string", "null"], "format": "date-time"},
    **{name: {"type": ["string", "null"]} for name in TEXTS},
}
# A sender's own time counts if it is as late as an outbox may be, and not later than the server's.
LATE_BY_AT_MOST = timedelta(days=7)

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def check_run_details(details: Mapping[str, object]) -> str | None:
    """Return what is wrong with what a request's details say of its run, or None. Null stands for nothing."""
    if (at := details.get("at")) is not None and parse_time(at) is None:
        return "at must be RFC 3339 with its offset, like 2026-01-31T12:00:00Z"
    wrong = [name for name in TEXTS if not isinstance(details.get(name, ""), str | None)]
    return f"{wrong[0]} must be a string" if wrong else None


def parse_time(text: object) -> datetime | None:
    """Return an RFC 3339 time as UTC without a zone, or None if it is none."""
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    try:
        return at.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        # The offset leads out of the years that there are: as far as one can go.
        return datetime.min if at.year == 1 else datetime.max  # noqa: DTZ901


def happened_at(details: Mapping[str, object], received_at: datetime) -> datetime:
    """Return when an event happened: at the time that its sender says, if that can be; else when it was received.

    An event may have waited in its sender's outbox; then the time of its arrival says nothing of the
    stage. But clocks are wrong at times: one that is ahead, or late by more than an event is kept
    for, is not believed.
    """
    at = parse_time(details.get("at"))
    return at if at and received_at - LATE_BY_AT_MOST <= at <= received_at else received_at


def run_text(details: Mapping[str, object], name: str) -> str | None:
    """Return the text that details have under one of TEXTS, as the table holds it."""
    text = details.get(name)
    return text[: TEXTS[name]] or None if isinstance(text, str) else None
