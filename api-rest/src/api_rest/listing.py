"""The query of a listing: filters, a time range, a limit, and where the page before ended."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from ledger.event_rules import FIELDS, check_actor
from ledger.run_details import parse_time

from .errors import Problem

__all__ = [
    "AFTER",
    "FILTERS",
    "Batch",
    "Listing",
    "Parameter",
    "Position",
    "next_link",
    "parameters",
    "parse",
    "read",
    "text_parser",
]

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  the database holds UTC without a zone
MICROSECOND = timedelta(microseconds=1)
FILTERS = {
    **{name: check for name, check in FIELDS.items() if name != "details"},
    "actor": check_actor,
}
# Of the column, a signed integer of 8 bytes.
SEQUENCE_MAX = 2**63 - 1
# 24 bytes: 8 of microseconds since 1970, whose upper 7 bits the pattern keeps 0 (until the year
# 6536), and 16 of the id.
CURSOR_PATTERN = "^A[A-Za-f][A-Za-z0-9_-]{30}$"
CURSOR = re.compile(CURSOR_PATTERN)


class Position(NamedTuple):
    """The time and the id of the last event of a page."""

    received_at: datetime
    id: str

    def cursor(self) -> str:
        """Return the position as opaque text for clients."""
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
    """A listing of events; times are UTC without a zone."""

    filters: Mapping[str, str] = field(default_factory=dict)
    # The first time that it includes.
    since: datetime | None = None
    # The first time that it excludes.
    until: datetime | None = None
    limit: int = 50
    # Begin after this `sequence`, and go on in its order; without it, the newest come first.
    after: int | None = None
    # Of the newest first: the position after which it begins,
    cursor: Position | None = None
    # and the last position that it includes.
    last: Position | None = None


@dataclass(frozen=True)
class Batch:
    """The encoded events of a listing that fit into a size."""

    lines: list[bytes]
    # The position of the last of them.
    last: Position | None
    # Whether more events follow.
    more: bool


class Parameter(NamedTuple):
    """One parameter of a query."""

    name: str
    # Returns the value of a text, or raises ValueError.
    parse: Callable[[str], Any]


def parameters(*, limit_max: int) -> tuple[Parameter, ...]:
    """Return the parameters of a listing."""
    return (
        *(Parameter(name, text_parser(check)) for name, check in FILTERS.items()),
        Parameter("since", _time),
        Parameter("until", _time),
        Parameter("limit", _whole(1, limit_max)),
        Parameter("cursor", Position.parse),
    )


def parse(values: Mapping[str, Any], *, limit_default: int) -> Listing:
    """Return the listing of a query's parameters."""
    return Listing(
        filters={name: values[name] for name in FILTERS if name in values},
        since=values.get("since"),
        until=values.get("until"),
        limit=values.get("limit", limit_default),
        after=values.get("after"),
        cursor=values.get("cursor"),
    )


def read(query: str, known: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return the values of a query, or raise a Problem that names every wrong parameter."""
    by_name = {parameter.name: parameter for parameter in known}
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, value in _pairs(query):
        if name in values:
            wrong[name] = "is given more than once"
        elif name not in by_name:
            known_names = f"there are {', '.join(by_name)}" if by_name else "there are none here"
            reason = f"is not a parameter; {known_names}"
            wrong[name if name.isprintable() else ascii(name)] = reason
        else:
            values[name] = value
            try:
                values[name] = by_name[name].parse(value)
            except ValueError as error:
                wrong[name] = str(error)
    if wrong:
        raise Problem(422, "invalid-query", "some parameters are wrong", fields=wrong)
    return values


def next_link(path: str, query: str, cursor: str) -> str:
    """Return the Link header that leads to the next page of the same listing."""
    pairs = [(name, value) for name, value in _pairs(query) if name != "cursor"]
    return f'<{path}?{urlencode([*pairs, ("cursor", cursor)])}>; rel="next"'


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise Problem(422, "invalid-query", "the query is not name=value pairs in UTF-8") from None


def text_parser(check: Callable[[object], str | None]) -> Callable[[str], str]:
    """Return a function that returns a text which passes the check, or raises ValueError."""

    def parse_text(value: str) -> str:
        if reason := check(value):
            raise ValueError(reason)
        return value

    return parse_text


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse_whole(value: str) -> int:
        # Few digits only: int() raises a ValueError with its own message for thousands.
        if not (
            value.isascii()
            and value.isdigit()
            and len(value) <= len(str(high))
            and low <= int(value) <= high
        ):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse_whole


def _time(value: str) -> datetime:
    if (at := parse_time(value)) is None:
        raise ValueError("must be RFC 3339, like 2026-01-31T12:00:00Z; a + in it is sent as %2B")
    return at


# Only of a page: a table ends where the newest first do.
AFTER = Parameter("after", _whole(0, SEQUENCE_MAX))
