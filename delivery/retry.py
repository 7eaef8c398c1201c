"""Ask again when a failure may be temporary: a registry is overloaded, restarts, or is behind a bad line."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from delivery.errors import RegistryError

__all__ = ["BusyError", "patiently", "retry_after"]

_ATTEMPTS = 5
_LONGEST_SECONDS = 60.0

_T = TypeVar("_T")


class BusyError(RegistryError):
    """A registry that said how long it wants to be left alone: after, in seconds."""

    def __init__(self, message: str, *, hint: str = "", after: float = 0.0) -> None:
        super().__init__(message, hint=hint, retriable=True)
        self.after = after


def patiently(
    ask: Callable[[], _T],
    *,
    pause: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> _T:
    """Ask again, later each time, while the error is retriable; raise the last one.

    The pauses double. chance (from 0 to 1) lengthens each by up to a half, so that many clients that
    were refused together do not come back together. A pause is never shorter than a BusyError asks for.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return ask()
        except RegistryError as error:
            if not error.retriable:
                raise
            requested = error.after if isinstance(error, BusyError) else 0.0
            pause(max(requested, 0.25 * 2**attempt) * (1 + chance() / 2))
    return ask()


def retry_after(header: str, now: datetime | None = None) -> float:
    """The seconds that a Retry-After header asks for, as seconds or as a date.

    At most a minute; 0 for a header that is neither.
    """
    try:
        seconds = float(int(header))
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        seconds = (
            until.replace(tzinfo=until.tzinfo or UTC) - (now or datetime.now(UTC))
        ).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_SECONDS)
