"""The user's folders, as the XDG base directory specification says, shared by every clone."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache", "state"]

_NAME = "delivery-platform"


def cache() -> Path:
    """The folder for what can be made anew, which need not exist yet."""
    return _folder("XDG_CACHE_HOME", ".cache")


def state() -> Path:
    """The folder for what has to outlive the cache, which need not exist yet."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, default: str) -> Path:
    home = os.environ.get(variable, "")
    # The specification: a relative path is invalid and to be ignored.
    return (Path(home) if home.startswith("/") else Path.home() / default) / _NAME
