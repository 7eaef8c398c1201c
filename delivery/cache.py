"""The cache: one folder per user, as the XDG base directory specification says, shared by every clone."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from delivery import console, xdg
from delivery.errors import DeliveryError

__all__ = ["clean", "folder", "lock", "remove_unused", "seen_since", "size", "used"]

_PATIENCE_SECONDS = 1800


def folder(*parts: str) -> Path:
    """The folder of these parts inside the cache, made if need be."""
    path = xdg.cache().joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeliveryError(
            f"make the cache folder {path}: {error.strerror}", hint="set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return path


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the user's lock of this name: of two clones that want the same thing, the second waits."""
    from filelock import FileLock, Timeout  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    held = FileLock(folder("locks") / f"{name}.lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        console.say(f"… another run holds the lock {name!r}; waiting for it")
        try:
            held.acquire(timeout=_PATIENCE_SECONDS)
        except Timeout as error:
            raise DeliveryError(
                f"wait for another run to free the lock {name!r}: it has not for {_PATIENCE_SECONDS // 60} minutes",
                hint=f"end that run; `fuser {held.lock_file}` names it",
            ) from error
    try:
        yield
    finally:
        held.release()


def size() -> int:
    """How many bytes the cache takes on disk: what is mounted in it is counted where it lies."""
    return _size(folder())


def _size(root: Path) -> int:
    device = root.stat().st_dev
    found: dict[int, int] = {}  # by inode: a file with two names takes its room once
    for place, folders, names in os.walk(root):
        for name in [*names, *folders]:
            try:
                one = os.lstat(os.path.join(place, name))  # noqa: PTH118  # a hot loop
            except FileNotFoundError:  # somebody is at work in there
                continue
            if one.st_dev == device:
                found[one.st_ino] = one.st_blocks * 512
            elif name in folders:
                folders.remove(name)
    return sum(found.values())


def used(path: Path) -> None:
    """Note that something in the cache is used now, for `remove_unused`."""
    os.utime(path)


def seen_since(kind: str, names: Iterable[str]) -> dict[str, float]:
    """Since when each of these is known to be there (Unix time); those that are not named are forgotten."""
    home = folder("seen", kind)
    found = {}
    for name in names:
        if not (home / name).exists():
            (home / name).touch()
        found[name] = (home / name).stat().st_mtime
    for one in home.iterdir():
        if one.name not in found:
            one.unlink()
    return found


def remove_unused(name: str, days: int) -> int:
    """Remove what is in this folder of the cache and was not used for so many days; how many bytes."""
    limit = time.time() - days * 86_400
    old = [one for one in folder(name).iterdir() if one.stat().st_mtime < limit]
    freed = sum(_size(one) for one in old)
    for one in old:
        _remove(one)
    return freed


def clean() -> None:
    """Remove the cache with everything in it."""
    _remove(folder())


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise DeliveryError(
            f"cannot remove {path}: {error.strerror} ({error.filename})",
            hint="see what still uses it with `fuser -vm`, or remove it by hand",
        ) from error
