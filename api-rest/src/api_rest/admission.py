"""Keeps work that takes much memory from being done by many at once."""

from __future__ import annotations

from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from .errors import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Admission"]


class Admission:
    """Lets few callers in at a time; the others wait for their turn, but not for long."""

    def __init__(self, at_once: int) -> None:
        self._places = BoundedSemaphore(at_once)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Run the body once there is a place, or raise Busy if there is none in time."""
        if not self._places.acquire(timeout=seconds):
            reason = "too many large answers are being made"
            raise Busy("busy", reason, plain=reason)
        try:
            yield
        finally:
            self._places.release()
