"""Limits on how many threads do the same work at the same time."""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import Busy, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Admission", "Gate", "SharedValue"]

ValueT = TypeVar("ValueT")


class Admission:
    """Bounds memory: lets `limit` callers run at the same time, and the others wait briefly."""

    def __init__(self, limit: int) -> None:
        self._semaphore = BoundedSemaphore(limit)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Run the body once fewer callers than the limit run, or raise Busy after some seconds."""
        if not self._semaphore.acquire(timeout=seconds):
            reason = "too many large answers are being made"
            raise Busy("busy", reason, plain=reason)
        try:
            yield
        finally:
            self._semaphore.release()


class Gate:
    """After a failure, lets one caller at a time try the dependency and refuses the others.

    Without it, requests that each wait for their timeout would occupy all threads.
    """

    def __init__(self) -> None:
        self._failure: Unavailable | None = None
        self._trial = Lock()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Run the body, or raise Unavailable if another caller tries after a failure."""
        failure = self._failure
        trying = failure is not None
        if failure is not None and not self._trial.acquire(blocking=False):
            raise Unavailable(*failure.args, plain=failure.plain)
        try:
            with self.checking():
                yield
        finally:
            if trying:
                self._trial.release()

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Run the body in any case; its result opens or closes the gate.

        Busy and Problem change nothing: they say something about one request, not about the
        dependency.
        """
        try:
            yield
        except Unavailable as error:
            self._failure = error
            raise
        else:
            self._failure = None


class SharedValue(Generic[ValueT]):
    """A value that one caller at a time computes, once it is older than some seconds.

    Callers that ask during a computation wait for it and get its result or its error.
    An error is not kept: the next caller computes.
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
        self._started = 0.0

    def get(self) -> ValueT:
        """Return the value, or raise the error of its computation."""
        with self._lock:
            latest = self._latest
            # The age counts from the start: the data may be as old as that.
            is_fresh = latest is not None and (
                not latest.done() or self._clock() - self._started < self._seconds
            )
            if latest is None or not is_fresh:
                self._started = self._clock()
                self._latest = latest = Future()
        if not is_fresh:
            self._fill(latest)
        return latest.result()

    def _fill(self, future: Future[ValueT]) -> None:
        try:
            value = self._compute()
        except BaseException as error:  # noqa: BLE001  each waiting caller raises it
            with self._lock:
                self._latest = None
            future.set_exception(error)
        else:
            future.set_result(value)
