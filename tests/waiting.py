"""Waiting for what a test has begun, with a limit."""

import time
from collections.abc import Callable

__all__ = ["wait_for"]

PATIENCE = 180.0


def wait_for(
    what: str, met: Callable[[], bool], *, seconds: float = PATIENCE, every: float = 0.2
) -> float:
    """Wait until a condition is met and return how long that took; an error says what did not come."""
    started = time.monotonic()
    while not met():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)
    return time.monotonic() - started
