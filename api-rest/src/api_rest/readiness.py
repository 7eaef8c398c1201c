"""Knows at any time whether requests can be served: a thread asks, so that whoever wants to know never waits."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

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
    """Asks `probe` for problems again and again."""

    def __init__(self, probe: Callable[[], list[str]]) -> None:
        self._probe = probe
        self._found = ["nothing was checked yet"]
        self._checked = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    def start(self) -> None:
        """Begin to ask; returns at once."""
        self._thread.start()

    def problems(self) -> list[str]:
        """Return why requests cannot be served; nothing when they can. Never waits."""
        age = time.monotonic() - self._checked
        if age > BELIEVED:
            return [*self._found, f"the last check has not ended for {age:.0f} s"]
        return self._found

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
            found = [f"the check of the backends failed: {error!r}"]
        if found and found != self._found:
            log.warning("not ready", reasons=found)
        elif self._found and not found:
            log.info("ready")
        self._found, self._checked = found, time.monotonic()
