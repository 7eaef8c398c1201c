"""What stands in front of the API's instances: sends to those that say they are ready, and never tries anything twice."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.ledger.client import Address, get_status

__all__ = ["Balancer", "is_ready"]

INTERVAL = 0.1
PROBE_TIMEOUT = 2.0
# With nobody ready a request waits, as in a proxy's queue; after so long it counts as failed.
QUEUE_SECONDS = 5.0


def is_ready(address: Address) -> bool:
    """Ask an instance whether requests may be sent to it."""
    return get_status(address, "/ready", PROBE_TIMEOUT) == 200


class Balancer:
    """Takes turns among the instances that were ready when last asked."""

    def __init__(
        self, addresses: Sequence[Address], ready: Callable[[Address], bool] = is_ready
    ) -> None:
        self._addresses = addresses
        self._ask = ready
        self._ready = dict.fromkeys(addresses, False)
        self._turns = itertools.count()
        self._stop = threading.Event()
        self.longest_wait = 0.0

    @contextmanager
    def looking(self) -> Iterator[Balancer]:
        """Ask every instance again and again, each from a thread of its own, so that a slow one delays no other."""
        threads = [
            threading.Thread(target=self._look, args=(address,)) for address in self._addresses
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def pick(self) -> Address | None:
        """The next instance that is ready; None when none becomes so in time."""
        started = time.monotonic()
        while not (ready := [address for address in self._addresses if self._ready[address]]):
            if time.monotonic() - started > QUEUE_SECONDS or self._stop.wait(INTERVAL / 10):
                return None
            self.longest_wait = max(self.longest_wait, time.monotonic() - started)
        return ready[next(self._turns) % len(ready)]

    def sends_to(self, address: Address) -> bool:
        """Whether an instance gets requests now."""
        return self._ready[address]

    def _look(self, address: Address) -> None:
        while not self._stop.is_set():
            self._ready[address] = self._ask(address)
            self._stop.wait(INTERVAL)
