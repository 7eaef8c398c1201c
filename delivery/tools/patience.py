"""Waiting out what may pass: a registry that is overloaded, restarting, or behind a bad line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from delivery.core.errors import RegistryError

__all__ = ["patiently"]

_ATTEMPTS = 5

_T = TypeVar("_T")


def patiently(ask: Callable[[], _T], *, pause: Callable[[float], None] = time.sleep) -> _T:
    """Ask again, later each time, while what went wrong is an error that says it may pass; the last one is raised."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return ask()
        except RegistryError as error:
            if not error.retriable:
                raise
            pause(0.25 * 2**attempt)
    return ask()
