"""Keeps one dead dependency from holding every thread of the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from .errors import Unavailable

__all__ = ["Gate"]


class Gate:
    """After a failure lets one caller at a time try the dependency; the others are refused at once.

    Without it, requests that each wait out their timeout would take all threads.
    """

    def __init__(self) -> None:
        self._failure: str | None = None
        self._trial = Lock()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Run the body if the dependency is well or it is this caller's turn to try, else raise Unavailable."""
        trying = self._failure is not None
        if trying and not self._trial.acquire(blocking=False):
            raise Unavailable(self._failure)
        try:
            with self.checking():
                yield
        finally:
            if trying:
                self._trial.release()

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Run the body in any case, and let it decide for the callers that come after.

        Busy decides nothing: it is about one request, and does not say how the dependency is.
        """
        try:
            yield
        except Unavailable as error:
            self._failure = str(error)
            raise
        else:
            self._failure = None
