"""Which paths .dockerignore and .helmignore leave out, also for files that no longer exist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docker.utils.build import PatternMatcher

from delivery.project import helmignore

__all__ = ["docker_patterns", "for_chart", "for_image"]


def docker_patterns(folder: Path) -> list[str]:
    """The patterns of a build context's .dockerignore."""
    lines = _text(folder / ".dockerignore").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def for_image(folder: Path) -> Callable[[str], bool]:
    """A function: whether a build of this folder ignores a path, relative to it."""
    matcher = PatternMatcher([*docker_patterns(folder), "!Dockerfile"])
    exceptions = [pattern.cleaned_pattern for pattern in matcher.patterns if pattern.exclusion]

    def matches(path: str) -> bool:
        return bool(matcher.matches(path))  # type: ignore[arg-type]  # it takes text, not PathLike

    def is_ignored(path: str) -> bool:
        folders = (path[:at] for at, character in enumerate(path) if character == "/")
        # Docker skips an ignored folder, unless an exception may be below it.
        return matches(path) or any(
            matches(folder) and not any(exception.startswith(folder) for exception in exceptions)
            for folder in folders
        )

    return is_ignored


def for_chart(folder: Path) -> Callable[[str], bool]:
    """A function: whether Helm ignores a path, relative to the chart's folder.

    The path of a folder ends with a slash.
    """
    file = folder / ".helmignore"
    rules = helmignore.parse(_text(file), file=f"{folder.name}/{file.name}")
    return lambda path: helmignore.is_ignored(rules, path)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
