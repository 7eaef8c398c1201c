"""How far async-worker is behind in storing events, from the offsets of its consumer group.

A lag does not make an instance unready: events are accepted, and wait in Kafka.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LATE_AFTER", "Lag", "LagMonitor"]

# In seconds. Its group replaces a killed worker within 8 s: a longer lag is worth reporting.
LATE_AFTER = 15.0
# How many seconds a sample stays valid.
SAMPLE_VALID_SECONDS = 10.0
# A delay is exact to one part in PRECISION of the longest; a week of lag needs 1,000 samples.
PRECISION = 100


@dataclass(frozen=True)
class Lag:
    """How far storing is behind."""

    # How many accepted events are not stored.
    waiting: int
    # For about how many seconds the oldest of them has waited.
    delay: float


@dataclass(frozen=True)
class _Sample:
    """The end of each partition, and when it was last seen there."""

    seen: float
    ends: Mapping[int, int]


class LagMonitor:
    """Computes the lag from samples of offsets. One thread samples, any thread may read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The samples whose events are not all stored, the oldest first.
        self._open: deque[_Sample] = deque()
        # Every event accepted before this time is stored, as far as is known.
        self._stored_until = clock()
        self._sampled: float | None = None
        self._lag: Lag | None = None

    def sample(self, ends: Mapping[int, int], stored: Mapping[int, int]) -> None:
        """Add a sample: the end of each partition, and the offset up to which it is stored."""
        now = self._clock()
        is_outdated = self._sampled is None or now - self._sampled > SAMPLE_VALID_SECONDS
        if not self._open and is_outdated:
            # Events that wait came after the last sample: assume that they are new.
            self._stored_until = now
        self._sampled = now
        if self._open and (self._open[-1].ends == ends or self._is_crowded(now)):
            self._open.pop()
        self._open.append(_Sample(now, dict(ends)))
        while self._open and _is_stored(self._open[0], stored):
            self._stored_until = self._open.popleft().seen
        waiting = sum(max(0, end - stored.get(partition, 0)) for partition, end in ends.items())
        self._lag = Lag(waiting, now - self._stored_until)

    def _is_crowded(self, now: float) -> bool:
        """Return whether the last sample is too close to the one before it to be kept."""
        distance = (now - self._stored_until) / PRECISION
        return len(self._open) > 1 and self._open[-1].seen - self._open[-2].seen < distance

    def lag(self) -> Lag | None:
        """Return the lag, or None without a valid sample."""
        sampled, lag = self._sampled, self._lag
        is_valid = sampled is not None and self._clock() - sampled <= SAMPLE_VALID_SECONDS
        return lag if is_valid else None

    def late(self) -> Lag | None:
        """Return the lag if it is longer than LATE_AFTER, else None."""
        lag = self.lag()
        return lag if lag and lag.delay > LATE_AFTER else None

    def reason(self) -> str:
        """Return a sentence for people about a lag longer than LATE_AFTER, else nothing."""
        if (late := self.late()) is None:
            return ""
        events = (
            "1 accepted event waits"
            if late.waiting == 1
            else f"{late.waiting} accepted events wait"
        )
        return (
            f"{events} to be stored, the oldest for about {late.delay:.0f} s: "
            "async-worker does not run, or cannot keep up"
        )


def _is_stored(sample: _Sample, stored: Mapping[int, int]) -> bool:
    return all(stored.get(partition, 0) >= end for partition, end in sample.ends.items())
