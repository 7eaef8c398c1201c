"""When an environment may be deployed to: rules of RFC 5545 in a time zone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from dateutil.rrule import rrule

__all__ = ["check_rule", "next_opening", "parse_duration"]

_RULE = re.compile(r"(RRULE:)?FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;[A-Z]+=[A-Z0-9,+-]+)*")
_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_EPOCH = datetime(2000, 1, 3)  # noqa: DTZ001  # a Monday, in the rule's own time zone
_OFFSETS = timedelta(days=1)  # more than two offsets of a time zone differ


def check_rule(text: str) -> str:
    """The rule; raise ValueError with what is wrong with it."""
    if not _RULE.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a rule: write FREQ=DAILY, WEEKLY, MONTHLY or YEARLY, then BYDAY, "
            "BYHOUR and others of RFC 5545, as in FREQ=WEEKLY;BYDAY=MO,TU;BYHOUR=9"
        )
    if "COUNT=" in text:
        raise ValueError(f"{text!r} cannot be used: COUNT has no beginning here; write UNTIL")
    try:
        first = next(iter(_parse(text)), None)
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{text!r} is not a rule: {error}") from None
    if first is None:
        raise ValueError(f"{text!r} is not a rule: it names no day")
    return text


def parse_duration(text: str) -> timedelta:
    """How long a text such as 90m, 8h or 2d means; raise ValueError for any other."""
    if match := _DURATION.fullmatch(text):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    raise ValueError(f"{text!r} is not a duration such as 90m, 8h or 2d")


def next_opening(rules: Mapping[str, str], zone: str, now: datetime) -> datetime | None:
    """When one of the windows opens next; `now` if one is open; None if none opens again.

    A rule says when a window opens, and its value for how long.
    """
    place, openings = ZoneInfo(zone), []
    local = now.astimezone(place).replace(tzinfo=None)
    for text, duration in rules.items():
        length = parse_duration(duration)
        for opening in _parse(text).xafter(local - length - _OFFSETS):
            # In UTC: a window across a change of the clocks is as long as any other.
            begins = opening.replace(tzinfo=place).astimezone(UTC)
            if begins <= now < begins + length:
                return now
            if begins > now:
                openings.append(begins)
                break
    return min(openings, default=None)


def _parse(text: str) -> rrule:
    from dateutil.rrule import rrulestr

    return rrulestr(text, dtstart=_EPOCH)
