"""Has what many ask for computed once."""

from __future__ import annotations

import time
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Fresh"]

ValueT = TypeVar("ValueT")


class Fresh(Generic[ValueT]):
    """A value that is computed by one caller at a time, and again only when it is older than so many seconds.

    Whoever asks while it is computed waits for that and gets the same, a failure too.
    A failure is not kept: the next caller computes.
    """

    def __init__(
        self,
        compute: Callable[[], ValueT],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._compute = compute
        self._seconds = seconds
        self._clock = clock
        self._lock = Lock()
        self._latest: Future[ValueT] | None = None
        self._began = 0.0

    def get(self) -> ValueT:
        """Return the value, or raise what kept it from being computed."""
        with self._lock:
            latest = self._latest
            # Its age counts from the beginning: what it was made of may be as old as that.
            is_known = latest is not None and (
                not latest.done() or self._clock() - self._began < self._seconds
            )
            if latest is None or not is_known:
                self._began = self._clock()
                self._latest = latest = Future()
        if not is_known:
            self._fill(latest)
        return latest.result()

    def _fill(self, future: Future[ValueT]) -> None:
        try:
            value = self._compute()
        except BaseException as error:  # noqa: BLE001  each caller raises it; none may wait for ever
            with self._lock:
                self._latest = None
            future.set_exception(error)
        else:
            future.set_result(value)
