"""What is left out of images and of the packaged chart, by path alone: also for files that are not there any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docker.utils.build import PatternMatcher

from delivery.project import helmignore

__all__ = ["for_chart", "for_image"]

_DOCKERIGNORE = ".dockerignore"
_HELMIGNORE = ".helmignore"


def for_image(folder: Path) -> Callable[[str], bool]:
    """Whether a build of this folder leaves a path (relative to it) out of its context, .dockerignore obeyed as keys obey it."""
    text = _text(folder / _DOCKERIGNORE)
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")
    ]
    matcher = PatternMatcher([*lines, "!Dockerfile"])
    kept = [pattern.cleaned_pattern for pattern in matcher.patterns if pattern.exclusion]

    def matches(path: str) -> bool:
        return bool(matcher.matches(path))  # type: ignore[arg-type]  # the stubs say PathLike; it takes text alone

    def ignored(path: str) -> bool:
        parts = path.split("/")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        # A folder that is left out is not gone into, unless an exception may lie below it.
        closed = (
            folder
            for folder in above
            if matches(folder) and not any(one.startswith(folder) for one in kept)
        )
        return any(True for _ in closed) or matches(path)

    return ignored


def for_chart(folder: Path) -> Callable[[str], bool]:
    """Whether Helm leaves a path (relative to the chart's folder) out of its package, .helmignore obeyed as Helm obeys it."""
    rules = helmignore.read(_text(folder / _HELMIGNORE), file=f"{folder.name}/{_HELMIGNORE}")
    return lambda path: helmignore.ignored(rules, path)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
