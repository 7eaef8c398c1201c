"""Knows at any time whether requests can be served: a thread asks, so that whoever wants to know never waits.

What is missing keeps an instance out only until nothing was once. Kafka and the database are the same for all of them: were each
to call itself not ready while one is away, a balancer would have nobody left, and clients a refused connection instead of what
still works and a 503 with Retry-After for the rest. Storing that is behind keeps nobody out.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from .state import Reason, State

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Readiness"]

log = structlog.stdlib.get_logger(__name__)

INTERVAL = 1.0
# While something is missing: whoever waits for this instance need not wait longer than that.
INTERVAL_NOT_READY = 0.25
# What was found is believed for so long; each backend gives up an attempt well before.
BELIEVED = 10.0


class Readiness:
    """Asks `probe` for problems again and again; `late` says why storing is behind, or nothing."""

    def __init__(self, probe: Callable[[], list[Reason]], late: Callable[[], str] = str) -> None:
        self._probe = probe
        self._late = late
        self._was_late = False
        self._found = [_plain("nothing was checked yet")]
        self._complete = False
        self._checked = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    def start(self) -> None:
        """Begin to ask; returns at once."""
        self._thread.start()

    def state(self, *, full: bool = False) -> State:
        """Return whether requests are to come here, and what is missing now. Never waits.

        full: with hosts, users and the words of drivers, which are not for everybody.
        """
        missing, age = (
            [reason.full if full else reason.plain for reason in self._found],
            time.monotonic() - self._checked,
        )
        if late := self._late():
            missing.append(late)
        if age > BELIEVED:
            missing.append(f"the last check has not ended for {age:.0f} s")
        return State(self._complete, missing)

    def close(self) -> None:
        """Stop asking."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._check()
            self._closing.wait(INTERVAL_NOT_READY if self._found else INTERVAL)

    def _check(self) -> None:
        try:
            found = self._probe()
        except Exception as error:
            log.exception("the check of the backends failed")
            found = [
                Reason(
                    "the check of the backends failed",
                    f"the check of the backends failed: {error!r}",
                )
            ]
        if found and found != self._found:
            log.warning(
                "degraded" if self._complete else "not ready",
                reasons=[reason.full for reason in found],
            )
        elif self._found and not found:
            log.info("ready")
        self._tell_late()
        self._found, self._checked = found, time.monotonic()
        self._complete = self._complete or not found

    def _tell_late(self) -> None:
        """Log when storing falls behind and when it no longer is, not each change of its figures."""
        late = self._late()
        if late and not self._was_late:
            log.warning("storing is behind", reason=late)
        elif self._was_late and not late:
            log.info("storing is no longer behind")
        self._was_late = bool(late)


def _plain(text: str) -> Reason:
    return Reason(text, text)
