"""How far storing is behind, from what Kafka says of the topic and of async-worker's group.

It keeps no instance from serving: events are accepted all the same, and wait in Kafka.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LATE_AFTER", "Lag", "Storing"]

# A worker that was killed is replaced in its group within 8 s; what takes longer is worth telling.
LATE_AFTER = 15.0
# A sample says how it is for so long.
BELIEVED = 10.0
# A delay is right to one part in so many of the longest; a week of it needs a thousand samples.
PARTS = 100


@dataclass(frozen=True)
class Lag:
    """How many accepted events are not stored, and for about how many seconds the oldest waits."""

    waiting: int
    delay: float


@dataclass(frozen=True)
class _Sample:
    """Where each partition of the topic ended when it was last seen to end there."""

    seen: float
    ends: Mapping[int, int]


class Storing:
    """Makes of samples how far storing is behind. One thread samples, any may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The samples that are not stored as a whole, the oldest first.
        self._open: deque[_Sample] = deque()
        # What was accepted until then is stored, as far as is known.
        self._stored_until = clock()
        self._sampled: float | None = None
        self._lag: Lag | None = None

    def sample(self, ends: Mapping[int, int], stored: Mapping[int, int]) -> None:
        """Note where each partition of the topic ends, and up to where the group has stored it."""
        now = self._clock()
        if not self._open and (self._sampled is None or now - self._sampled > BELIEVED):
            # What waits now came while nobody looked: nothing says that it waits for long.
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
        """Tell whether the last sample is too close to the one before it to be worth keeping."""
        apart = (now - self._stored_until) / PARTS
        return len(self._open) > 1 and self._open[-1].seen - self._open[-2].seen < apart

    def lag(self) -> Lag | None:
        """Return how far storing is behind; None while that is not known."""
        sampled, lag = self._sampled, self._lag
        return lag if sampled is not None and self._clock() - sampled <= BELIEVED else None

    def late(self) -> Lag | None:
        """Return how far storing is behind if that is too far, else None."""
        lag = self.lag()
        return lag if lag and lag.delay > LATE_AFTER else None

    def reason(self) -> str:
        """Say that storing is too far behind; empty while it is not."""
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
