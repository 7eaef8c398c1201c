"""One commit as git tells it: who made it, when, and what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from delivery import process
from delivery.errors import CommandError

__all__ = ["Described", "describe"]

_FORMAT = "%H%x00%aN%x00%cI%x00%s"
_ENVIRONMENT = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
_SECONDS = 20


@dataclass(frozen=True)
class Described:
    """A commit: its SHA, its author's name, when it was committed (RFC 3339), its message's first line."""

    sha: str
    author: str
    committed_at: str
    subject: str


def describe(root: Path, commit: str = "HEAD") -> Described | None:
    """A commit of the clone at this folder; None where there is no such commit, no clone, or no git."""
    if commit.startswith("-"):
        return None
    argv = ["git", "-C", str(root), "--no-pager", "--no-replace-objects", "log", "-1", "--no-show-signature"]
    argv += ["--no-color", "--encoding=UTF-8", f"--format={_FORMAT}", commit, "--"]
    try:
        printed = process.capture(argv, doing="read the commit", env=_ENVIRONMENT, timeout=_SECONDS)
    except (CommandError, OSError):
        return None
    parts = printed.removesuffix("\n").split("\0")
    return Described(*parts) if len(parts) == 4 else None  # noqa: PLR2004  # as many as the format has
