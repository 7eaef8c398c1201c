"""Whether the worker is alive and consumes, for the management port."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from ledger.management import Probes

from .errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .event import Progress
    from .metrics import Metrics

__all__ = ["Vitals", "probes"]

log = structlog.stdlib.get_logger(__name__)

# Longer than all timeouts of one iteration: dead letters, the commit and the database.
STUCK_AFTER = 35.0
# How long a partition may have messages of which none is read.
STALLED_AFTER = 30.0


class Vitals:
    """The state of the loop. The loop writes it, the management port's threads read it."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, heartbeat_interval: float = 10
    ) -> None:
        self._clock = clock
        # Two heartbeats may be lost, and one may be late.
        self._silent_after = 3 * heartbeat_interval + STALLED_AFTER
        self._last_iteration = clock()
        self._last_read = clock()
        self._joined = False
        self._delivering = True
        self._assigned = 0
        # By partition: its position, and since when it is there.
        self._positions: dict[int, tuple[int, float]] = {}
        self._lags: Mapping[int, int] = {}

    def record_iteration(self, *, joined: bool, delivering: bool) -> None:
        """Record that the loop runs: whether it is in its group, and its heartbeats reach Kafka."""
        self._joined = joined
        self._delivering = delivering
        self._last_iteration = self._clock()

    def record_read(self, progress: Progress, messages: int) -> None:
        """Record the progress after a poll that returned so many messages."""
        now = self._clock()
        if messages or progress.assigned > self._assigned:
            self._last_read = now
        self._assigned = progress.assigned
        # A new dictionary each time: other threads may read the previous one.
        self._positions = {
            partition: self._positions[partition]
            if self._positions.get(partition, (None, 0))[0] == position
            else (position, now)
            for partition, position in progress.positions.items()
        }
        self._lags = progress.lags

    @property
    def lags(self) -> Mapping[int, int]:
        """By partition: how many messages are not read yet."""
        return self._lags

    def stuck_reason(self) -> str | None:
        """Return why the loop counts as stuck, or None."""
        since = self._clock() - self._last_iteration
        return f"the loop has not turned for {since:.0f} s" if since > STUCK_AFTER else None

    def idle_reason(self) -> str | None:
        """Return why this worker does not consume, or None."""
        if not self._joined:
            return "this worker has not joined its group"
        if not self._delivering:
            return "Kafka does not take this worker's heartbeats"
        return self.stuck_reason() or self._stalled_reason()

    def _stalled_reason(self) -> str | None:
        now, positions, lags = self._clock(), self._positions, self._lags
        for partition, (_, since) in positions.items():
            if lags.get(partition) and now - since > STALLED_AFTER:
                return (
                    f"partition {partition} has {lags[partition]} messages, "
                    f"and none was read for {now - since:.0f} s"
                )
        # A worker sends its heartbeats to partitions that it reads, so silence is a fault.
        silence = now - self._last_read
        if self._assigned and silence > self._silent_after:
            return f"nothing was read for {silence:.0f} s, not even this worker's own heartbeats"
        return None


def probes(
    vitals: Vitals, check_database: Callable[[], None], metrics: Metrics, topic: str
) -> Probes:
    """Return what the management port responds."""

    def render(accept: str) -> tuple[str, bytes]:
        metrics.ready.set(0 if vitals.idle_reason() else 1)
        metrics.set_lags(topic, vitals.lags)
        return metrics.render(accept)

    return Probes(
        health=lambda: _response("alive", "stuck", vitals.stuck_reason()),
        ready=_Readiness(vitals, check_database).respond,
        metrics=render,
    )


class _Readiness:
    """Handles /ready. The driver's message may name hosts and users, so only the log has it."""

    def __init__(self, vitals: Vitals, check_database: Callable[[], None]) -> None:
        self._vitals = vitals
        self._check_database = check_database
        self._logged = ""

    def respond(self) -> tuple[int, Mapping[str, object]]:
        reasons = [self._vitals.idle_reason()]
        problem = ""
        try:
            self._check_database()
        except Unavailable as error:
            problem = str(error)
            reasons.append("the database does not answer, or its table is not there yet")
        # Requests come every few seconds: log each problem once.
        if problem and problem != self._logged:
            log.warning("not ready", reason=problem)
        self._logged = problem
        return _response("ready", "not ready", *reasons)


def _response(good: str, bad: str, *reasons: str | None) -> tuple[int, Mapping[str, object]]:
    """Return the status and the body for the reasons that are not None."""
    if problems := [reason for reason in reasons if reason]:
        return 503, {"status": bad, "reasons": problems}
    return 200, {"status": good}
