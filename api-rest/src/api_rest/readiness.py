"""Whether requests can be served. A thread checks it, so /ready answers without waiting.

An instance becomes ready once all checks have passed, and stays ready when a backend fails later.
All instances share Kafka and the database. If each called itself unready, the load balancer would
have no instance left, and clients would get a refused connection instead of the reads that still
work and a 503 with Retry-After. A storage lag does not make an instance unready.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from bottle import request
from ledger.management import alive

from .answers import answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from bottle import Bottle

__all__ = ["STOPPING", "Readiness", "Reason", "State", "mount"]

log = structlog.stdlib.get_logger(__name__)

INTERVAL = 1.0
# Shorter while there are problems, so that an instance becomes ready soon.
INTERVAL_WITH_PROBLEMS = 0.25
# How many seconds a check stays valid. Each backend gives up an attempt well before.
CHECK_VALID_SECONDS = 10.0


@dataclass(frozen=True)
class Reason:
    """Why a backend cannot be used."""

    # For everybody.
    plain: str
    # For the log and for clients with a token.
    full: str


@dataclass(frozen=True)
class State:
    """Whether this instance is ready, and what is wrong with it."""

    ready: bool
    missing: list[str] = field(default_factory=list)

    def response(self) -> tuple[int, dict[str, object]]:
        """Return the status, which is all that load balancers read, and the JSON body."""
        if self.ready and not self.missing:
            return 200, {"status": "ready"}
        status = "degraded" if self.ready else "not ready"
        return 200 if self.ready else 503, {"status": status, "reasons": self.missing}


STOPPING = State(ready=False, missing=["this instance is shutting down"])


class Readiness:
    """Runs a check again and again.

    probe: returns the problems of the backends
    late: returns a sentence about a storage lag, or nothing
    """

    def __init__(self, probe: Callable[[], list[Reason]], late: Callable[[], str] = str) -> None:
        self._probe = probe
        self._late = late
        self._was_late = False
        self._problems = [Reason("nothing was checked yet", "nothing was checked yet")]
        self._ready = False
        self._checked = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def state(self, *, full: bool = False) -> State:
        """Return whether this instance is ready, and its problems, without waiting.

        full: include hosts, users and errors of drivers, which are not for everybody
        """
        missing = [reason.full if full else reason.plain for reason in self._problems]
        age = time.monotonic() - self._checked
        if late := self._late():
            missing.append(late)
        if age > CHECK_VALID_SECONDS:
            missing.append(f"the last check has not ended for {age:.0f} s")
        return State(self._ready, missing)

    def close(self) -> None:
        """Stop the thread."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._check()
            self._closing.wait(INTERVAL_WITH_PROBLEMS if self._problems else INTERVAL)

    def _check(self) -> None:
        try:
            problems = self._probe()
        except Exception as error:
            failed = "the check of the backends failed"
            log.exception(failed)
            problems = [Reason(failed, f"{failed}: {error!r}")]
        if problems and problems != self._problems:
            log.warning(
                "degraded" if self._ready else "not ready",
                reasons=[reason.full for reason in problems],
            )
        elif self._problems and not problems:
            log.info("ready")
        self._log_lag()
        self._problems, self._checked = problems, time.monotonic()
        self._ready = self._ready or not problems

    def _log_lag(self) -> None:
        """Log when a storage lag begins and ends, not each change of its length."""
        late = self._late()
        if late and not self._was_late:
            log.warning("storing is behind", reason=late)
        elif self._was_late and not late:
            log.info("storing is no longer behind")
        self._was_late = bool(late)


def mount(app: Bottle, state: Callable[[str], State]) -> None:
    """Add /health and /ready to an app. `state` takes the request's Authorization."""
    app.route("/health", "GET", lambda: answer(*alive()), skip=["access"])
    app.route(
        "/ready",
        "GET",
        lambda: answer(*state(request.environ.get("HTTP_AUTHORIZATION", "")).response()),
        skip=["access"],
    )
