"""Locks of this user's runs on this machine, as files of the cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from delivery import cache, console
from delivery.errors import DeliveryError

__all__ = ["hold"]

_SECONDS = 1800


@contextmanager
def hold(name: str) -> Iterator[None]:
    """Hold a lock of this user: of two runs that need the same thing, the second waits."""
    file = FileLock(cache.folder("locks") / f"{name}.lock")
    try:
        file.acquire(timeout=0)
    except Timeout:
        console.say(f"… another run holds the lock {name!r}; waiting for it")
        try:
            file.acquire(timeout=_SECONDS)
        except Timeout as error:
            raise DeliveryError(
                f"cannot get the lock {name!r}: another run holds it "
                f"for {_SECONDS // 60} minutes already",
                hint=f"stop that run; `fuser {file.lock_file}` names it",
            ) from error
    try:
        yield
    finally:
        file.release()
