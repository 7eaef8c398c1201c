"""The fields of an event's details that identify its run: api-rest checks, async-worker stores."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

__all__ = [
    "TEXT_LENGTHS",
    "check_run_details",
    "happened_at",
    "parse_time",
    "run_text",
]

# The width of each text's column. Longer texts are truncated.
TEXT_LENGTHS = {"pipeline": 500, "step": 100}
# A sender's outbox may keep an event for this long.
MAX_DELAY = timedelta(days=7)

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def check_run_details(details: Mapping[str, object]) -> str | None:
    """Return the problem of these fields in a request, or None. A field may be null."""
    if (at := details.get("at")) is not None and parse_time(at) is None:
        return "at must be RFC 3339 with its offset, like 2026-01-31T12:00:00Z"
    wrong = [name for name in TEXT_LENGTHS if not isinstance(details.get(name, ""), str | None)]
    return f"{wrong[0]} must be a string" if wrong else None


def parse_time(text: object) -> datetime | None:
    """Return an RFC 3339 time in UTC without a zone, or None if it is not valid."""
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    try:
        return at.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        # The offset leads beyond the years of datetime: use the first or last time.
        return datetime.min if at.year == 1 else datetime.max  # noqa: DTZ901  UTC


def happened_at(details: Mapping[str, object], received_at: datetime) -> datetime:
    """Return when an event happened: the time of its sender if it is plausible, else the receipt.

    An event may wait in its sender's outbox for up to MAX_DELAY. A time in the future, or before
    that, comes from a wrong clock.
    """
    at = parse_time(details.get("at"))
    return at if at and received_at - MAX_DELAY <= at <= received_at else received_at


def run_text(details: Mapping[str, object], name: str) -> str | None:
    """Return a text of the details, truncated to its column; None when it is missing."""
    text = details.get(name)
    return text[: TEXT_LENGTHS[name]] or None if isinstance(text, str) else None
