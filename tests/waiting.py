"""Wait for a condition in a test, with a timeout."""

import time
from collections.abc import Callable

__all__ = ["wait_for"]

TIMEOUT_SECONDS = 180.0


def wait_for(
    name: str,
    condition: Callable[[], bool],
    *,
    seconds: float = TIMEOUT_SECONDS,
    every: float = 0.2,
) -> float:
    """Wait until a condition is true; return the seconds; raise AssertionError with its name."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"waited {seconds:.0f} s for {name}")
        time.sleep(every)
    return time.monotonic() - started
