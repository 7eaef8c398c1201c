"""The user's folders, as the XDG base directory specification says, shared by every clone.

The cache can be removed at any time; the state folder keeps events until they are delivered.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from delivery.errors import DeliveryError

__all__ = [
    "cache_home",
    "clean",
    "first_seen",
    "folder",
    "mark_used",
    "remove_unused",
    "size",
    "state_home",
]

_NAME = "delivery-platform"


def cache_home() -> Path:
    """The cache folder, which need not exist yet."""
    return _home("XDG_CACHE_HOME", ".cache")


def state_home() -> Path:
    """The state folder, which need not exist yet."""
    return _home("XDG_STATE_HOME", ".local/state")


def _home(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification: a relative path is invalid and to be ignored.
    return (Path(value) if value.startswith("/") else Path.home() / default) / _NAME


def folder(*parts: str) -> Path:
    """A folder below the cache, which is created where it is missing."""
    path = cache_home().joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeliveryError(
            f"cannot create the cache folder {path}: {error.strerror}",
            hint="set XDG_CACHE_HOME to a writable folder",
        ) from error
    return path


def size() -> int:
    """The bytes that the cache takes on disk, without other file systems mounted in it."""
    return _size(folder())


def _size(root: Path) -> int:
    device = root.stat().st_dev
    sizes: dict[int, int] = {}  # by inode: a file with two names counts once
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


def mark_used(path: Path) -> None:
    """Record that a folder of the cache was used now, for `remove_unused`."""
    os.utime(path)


def first_seen(kind: str, names: Iterable[str]) -> dict[str, float]:
    """When each name was first passed here (Unix time); names that are not passed are forgotten."""
    home = folder("seen", kind)
    seen = {}
    for name in names:
        if not (home / name).exists():
            (home / name).touch()
        seen[name] = (home / name).stat().st_mtime
    for file in home.iterdir():
        if file.name not in seen:
            file.unlink()
    return seen


def remove_unused(name: str, days: int) -> int:
    """Remove entries of a cache folder that were not used for so many days; return their bytes."""
    limit = time.time() - days * 86_400
    unused = [path for path in folder(name).iterdir() if path.stat().st_mtime < limit]
    freed = sum(_size(path) for path in unused)
    for path in unused:
        _remove(path)
    return freed


def clean() -> None:
    """Remove the whole cache."""
    _remove(folder())


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise DeliveryError(
            f"cannot remove {path}: {error.strerror} ({error.filename})",
            hint="stop the programs that use it, which `fuser -vm` names; or remove it by hand",
        ) from error
