"""Retry a request whose failure may be temporary: the registry is overloaded or restarts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from delivery.errors import RegistryError

__all__ = ["BusyError", "retry_after", "with_retries"]

_ATTEMPTS = 5
_LONGEST_SECONDS = 60.0

_T = TypeVar("_T")


class BusyError(RegistryError):
    """A registry refused a request for now and said after how many seconds to come back."""

    def __init__(self, message: str, *, hint: str = "", after: float = 0.0) -> None:
        super().__init__(message, hint=hint, retriable=True)
        self.after = after


def with_retries(
    request: Callable[[], _T],
    *,
    pause: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> _T:
    """Return what the request returns, and repeat it while its error is retriable.

    Pauses double. jitter (from 0 to 1) lengthens a pause by up to a half, so that clients that were
    refused together do not come back together. No pause is shorter than a BusyError asks for.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return request()
        except RegistryError as error:
            if not error.retriable:
                raise
            shortest = error.after if isinstance(error, BusyError) else 0.0
            pause(max(shortest, 0.25 * 2**attempt) * (1 + jitter() / 2))
    return request()


def retry_after(header: str, now: datetime | None = None) -> float:
    """The seconds that a Retry-After header names, as a number or as a date.

    At most a minute; 0 for a header that is neither.
    """
    try:
        seconds = float(int(header))
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        until = until.replace(tzinfo=until.tzinfo or UTC)
        seconds = (until - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_SECONDS)
