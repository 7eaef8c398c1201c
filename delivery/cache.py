"""The user's folders, as the XDG base directory specification says, shared by every clone.

The cache holds what can be made anew; the state folder holds what has to outlive the cache.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from delivery import console
from delivery.errors import DeliveryError

__all__ = [
    "cache_home",
    "clean",
    "folder",
    "lock",
    "remove_unused",
    "seen_since",
    "size",
    "state_home",
    "used",
]

_NAME = "delivery-platform"
_LOCK_SECONDS = 1800


def cache_home() -> Path:
    """The folder for what can be made anew, which need not exist yet."""
    return _home("XDG_CACHE_HOME", ".cache")


def state_home() -> Path:
    """The folder for what has to outlive the cache, which need not exist yet."""
    return _home("XDG_STATE_HOME", ".local/state")


def _home(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification: a relative path is invalid and to be ignored.
    return (Path(value) if value.startswith("/") else Path.home() / default) / _NAME


def folder(*parts: str) -> Path:
    """The folder of these parts inside the cache, made if need be."""
    path = cache_home().joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeliveryError(
            f"cannot make the cache folder {path}: {error.strerror}",
            hint="set XDG_CACHE_HOME to a folder that can be written",
        ) from error
    return path


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the user's lock of this name: of two clones that want the same thing, the second waits."""
    from filelock import FileLock, Timeout  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    file = FileLock(folder("locks") / f"{name}.lock")
    try:
        file.acquire(timeout=0)
    except Timeout:
        console.say(f"… another run holds the lock {name!r}; waiting for it")
        try:
            file.acquire(timeout=_LOCK_SECONDS)
        except Timeout as error:
            raise DeliveryError(
                f"wait for another run to free the lock {name!r}: it has not for {_LOCK_SECONDS // 60} minutes",
                hint=f"end that run; `fuser {file.lock_file}` names it",
            ) from error
    try:
        yield
    finally:
        file.release()


def size() -> int:
    """How many bytes the cache takes on disk: what is mounted in it is counted where it lies."""
    return _size(folder())


def _size(root: Path) -> int:
    device = root.stat().st_dev
    sizes: dict[int, int] = {}  # by inode: a file with two names takes its room once
    for parent, folders, names in os.walk(root):
        for name in [*names, *folders]:
            try:
                status = os.lstat(os.path.join(parent, name))  # noqa: PTH118  # a hot loop
            except FileNotFoundError:  # another run has removed it meanwhile
                continue
            if status.st_dev == device:
                sizes[status.st_ino] = status.st_blocks * 512
            elif name in folders:
                folders.remove(name)
    return sum(sizes.values())


def used(path: Path) -> None:
    """Note that something in the cache is used now, for `remove_unused`."""
    os.utime(path)


def seen_since(kind: str, names: Iterable[str]) -> dict[str, float]:
    """Since when each of these is known to be there (Unix time); those that are not named are forgotten."""
    home = folder("seen", kind)
    since = {}
    for name in names:
        if not (home / name).exists():
            (home / name).touch()
        since[name] = (home / name).stat().st_mtime
    for file in home.iterdir():
        if file.name not in since:
            file.unlink()
    return since


def remove_unused(name: str, days: int) -> int:
    """Remove what is in this folder of the cache and was not used for so many days; how many bytes."""
    limit = time.time() - days * 86_400
    unused = [path for path in folder(name).iterdir() if path.stat().st_mtime < limit]
    freed = sum(_size(path) for path in unused)
    for path in unused:
        _remove(path)
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
