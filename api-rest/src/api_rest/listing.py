"""What a listing may be asked for: filters, a span of time, a limit, and where the page before it ended."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from ledger.run_details import parse_time

from .errors import Problem
from .event import FIELDS, FILTERS

__all__ = [
    "Batch",
    "Listing",
    "Parameter",
    "Position",
    "checked",
    "next_link",
    "parameters",
    "parse",
    "read",
]

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  the database holds UTC without a zone
MICROSECOND = timedelta(microseconds=1)
# 24 bytes: microseconds since 1970 in 8, of which the pattern keeps the upper 7 bits 0 (until the year 6536); the id in 16.
CURSOR_PATTERN = "^A[A-Za-f][A-Za-z0-9_-]{30}$"
CURSOR = re.compile(CURSOR_PATTERN)


class Position(NamedTuple):
    """Where a page ended: the time and the id of its last event."""

    received_at: datetime
    id: str

    def cursor(self) -> str:
        """Return what leads back here; opaque to those who use it."""
        micros = (self.received_at - EPOCH) // MICROSECOND
        return base64.urlsafe_b64encode(
            micros.to_bytes(8, "big") + uuid.UUID(self.id).bytes
        ).decode("ascii")

    @classmethod
    def parse(cls, cursor: str) -> Position:
        """Read a cursor, or raise ValueError."""
        if not CURSOR.fullmatch(cursor):
            raise ValueError("must be the `next` of an earlier answer")
        raw = base64.urlsafe_b64decode(cursor)
        return cls(
            EPOCH + int.from_bytes(raw[:8], "big") * MICROSECOND, str(uuid.UUID(bytes=raw[8:]))
        )


@dataclass(frozen=True)
class Listing:
    """A listing that was asked for, the newest first; times are UTC without a zone, since <= received_at < until."""

    filters: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    after: Position | None = None
    # Where it ends at the latest.
    last: Position | None = None


@dataclass(frozen=True)
class Batch:
    """Events of a listing, each encoded: as many as fit."""

    lines: list[bytes]
    # The position of the last of them.
    last: Position | None
    # Whether the listing goes on, or more events than its limit are there.
    more: bool


@dataclass(frozen=True)
class Parameter:
    """One parameter of the query: what it is for, what it may hold, and what reads it or raises ValueError."""

    name: str
    help: str
    schema: Mapping[str, Any]
    parse: Callable[[str], Any]
    example: object


def parameters(*, limit_default: int, limit_max: int) -> tuple[Parameter, ...]:
    """Return what a listing takes."""
    return (
        *(
            Parameter(
                entry.name,
                f"only events whose {entry.name} is exactly this",
                entry.schema,
                checked(entry.check),
                entry.example,
            )
            for entry in FIELDS
            if entry.name in FILTERS
        ),
        Parameter(
            "since",
            "only events received at this time or later",
            _TIME,
            _time,
            "2026-01-31T12:00:00Z",
        ),
        Parameter(
            "until",
            "only events received before this time",
            _TIME,
            _time,
            "2026-02-01T00:00:00+01:00",
        ),
        Parameter(
            "limit",
            "how many at most",
            {"type": "integer", "minimum": 1, "maximum": limit_max, "default": limit_default},
            _whole(1, limit_max),
            min(100, limit_max),
        ),
        Parameter(
            "cursor",
            "go on where the page ended whose `next` this is",
            {"type": "string", "pattern": CURSOR_PATTERN},
            Position.parse,
            Position(datetime(2026, 1, 31, 12), "0b1e1a5c-6f0d-4f6e-9f57-3f6d1f2f7a11").cursor(),  # noqa: DTZ001
        ),
    )


def parse(found: Mapping[str, Any], *, limit_default: int) -> Listing:
    """Return the listing that the parameters of a query ask for."""
    return Listing(
        filters={name: found[name] for name in FILTERS if name in found},
        since=found.get("since"),
        until=found.get("until"),
        limit=found.get("limit", limit_default),
        after=found.get("cursor"),
    )


def read(query: str, known: tuple[Parameter, ...]) -> dict[str, Any]:
    """Read a query, or raise a Problem that names every wrong parameter."""
    by_name = {parameter.name: parameter for parameter in known}
    found: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, value in _pairs(query):
        if name in found:
            wrong[name] = "is given more than once"
        elif name not in by_name:
            known_names = f"there are {', '.join(by_name)}" if by_name else "there are none here"
            reason = f"is not a parameter; {known_names}"
            wrong[name if name.isprintable() else ascii(name)] = reason
        else:
            found[name] = value
            try:
                found[name] = by_name[name].parse(value)
            except ValueError as error:
                wrong[name] = str(error)
    if wrong:
        raise Problem(422, "invalid-query", "some parameters are wrong", fields=wrong)
    return found


def next_link(path: str, query: str, cursor: str) -> str:
    """Return the Link header that leads to the next page of the same listing."""
    pairs = [(name, value) for name, value in _pairs(query) if name != "cursor"]
    return f'<{path}?{urlencode([*pairs, ("cursor", cursor)])}>; rel="next"'


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise Problem(422, "invalid-query", "the query is not name=value pairs in UTF-8") from None


def checked(check: Callable[[object], str | None]) -> Callable[[str], str]:
    """Return what reads a text of which there is a check."""

    def parse_text(value: str) -> str:
        if reason := check(value):
            raise ValueError(reason)
        return value

    return parse_text


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse_whole(value: str) -> int:
        # Few digits only: int() refuses thousands of them with a ValueError of its own words.
        if not (
            value.isascii()
            and value.isdigit()
            and len(value) <= len(str(high))
            and low <= int(value) <= high
        ):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse_whole


_TIME = {"type": "string", "format": "date-time"}


def _time(value: str) -> datetime:
    if (at := parse_time(value)) is None:
        raise ValueError("must be RFC 3339, like 2026-01-31T12:00:00Z; a + in it is sent as %2B")
    return at
