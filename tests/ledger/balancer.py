"""A load balancer for the API's instances: it picks a ready one, and never retries."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.ledger.stack import get
from tests.load.generator import Target

__all__ = ["Balancer", "accepts_requests"]

INTERVAL = 0.1
PROBE_TIMEOUT = 2.0
# Without a ready instance a request waits, as in a proxy's queue; after this time it fails.
QUEUE_SECONDS = 5.0


def accepts_requests(target: Target) -> bool:
    """Whether an instance accepts requests; a degraded one does."""
    answer = get((target.host, target.port), "/ready", PROBE_TIMEOUT)
    return answer is not None and answer.status_code == 200


class Balancer:
    """Alternates among the instances that were ready at the last check."""

    def __init__(
        self, targets: Sequence[Target], accepts: Callable[[Target], bool] = accepts_requests
    ) -> None:
        self._targets = targets
        self._accepts = accepts
        self._ready = dict.fromkeys(targets, False)
        self._turns = itertools.count()
        self._stop = threading.Event()
        self.longest_wait = 0.0

    @contextmanager
    def checking(self) -> Iterator[Balancer]:
        """Check every instance again and again, each in its own thread: none delays another."""
        threads = [threading.Thread(target=self._check, args=(target,)) for target in self._targets]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    async def pick(self, _attempt: int = 0) -> Target:
        """The next instance that is ready; ConnectionError if none becomes ready in time."""
        started = time.monotonic()
        while not (ready := [target for target in self._targets if self._ready[target]]):
            if time.monotonic() - started > QUEUE_SECONDS:
                raise ConnectionError("no instance is ready")
            await asyncio.sleep(INTERVAL / 10)
            self.longest_wait = max(self.longest_wait, time.monotonic() - started)
        return ready[next(self._turns) % len(ready)]

    def sends_to(self, target: Target) -> bool:
        """Whether an instance gets requests."""
        return self._ready[target]

    def _check(self, target: Target) -> None:
        while not self._stop.is_set():
            self._ready[target] = self._accepts(target)
            self._stop.wait(INTERVAL)
