"""The clone, by git."""

from __future__ import annotations

from pathlib import Path

from delivery.tools import command

__all__ = ["changes"]


def changes(root: Path) -> list[str]:
    """The paths that differ from the last commit, new ones too."""
    argv = ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=all"]
    return [line[3:] for line in command.capture(argv, doing="look for changes that are not committed").splitlines()]
