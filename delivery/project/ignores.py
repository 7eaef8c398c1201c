"""Which paths .dockerignore and .helmignore leave out, also for files that no longer exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from docker.utils.build import PatternMatcher

from delivery.errors import DeclarationError

__all__ = ["docker_patterns", "for_chart", "for_image"]

_HELMS_OWN = "templates/.?*"  # Helm adds it to the chart's rules
_MEMBER = r"(?:\\.|[^\\\]-])"
# A part of a rule of .helmignore: Go's filepath.Match.
_TOKEN = re.compile(
    rf"\\(?P<escaped>.)|\[(?P<negation>\^?)(?P<set>(?:{_MEMBER}(?:-{_MEMBER})?)+)\]"
    r"|(?P<wildcard>[*?])|(?P<plain>[^\\\[])",
    re.DOTALL,
)


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
        # Docker skips an ignored folder, unless an exception may be below it.
        return matches(path) or any(
            matches(folder) and not any(exception.startswith(folder) for exception in exceptions)
            for folder in _folders(path)
        )

    return is_ignored


def for_chart(folder: Path) -> Callable[[str], bool]:
    """A function: whether Helm ignores a path, relative to the chart's folder.

    The path of a folder ends with a slash. An ignored folder hides its files. Raises
    DeclarationError for a rule that Helm refuses.
    """
    file = folder / ".helmignore"
    lines = (line.strip() for line in [*_text(file).split("\n"), _HELMS_OWN])
    name = f"{folder.name}/{file.name}"
    rules = [_rule(line, name) for line in lines if line and not line.startswith("#")]

    def is_ignored(path: str) -> bool:
        if any(rule.matches(folder, is_folder=True) for folder in _folders(path) for rule in rules):
            return True
        return not path.endswith("/") and any(rule.matches(path, is_folder=False) for rule in rules)

    return is_ignored


def _folders(path: str) -> list[str]:
    """The folders that a path is in; with a slash at its end the path itself, too."""
    return [path[:at] for at, character in enumerate(path) if character == "/"]


@dataclass(frozen=True)
class _Rule:
    """A line of .helmignore."""

    pattern: re.Pattern[str]
    whole: bool  # the pattern is for the whole path, not for the last name
    folders: bool  # it is for folders alone
    negated: bool  # it begins with "!"

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Whether the rule leaves a path out. For Helm, `!x` leaves out all that is not x."""
        if self.folders and not is_folder:
            return self.negated
        match = self.pattern.fullmatch(path if self.whole else path.rpartition("/")[2])
        return bool(match) != self.negated


def _rule(line: str, file: str) -> _Rule:
    bare = line.removeprefix("!")
    name = bare.removesuffix("/")
    try:
        pattern = _pattern(name.removeprefix("/"))
    except (ValueError, re.error) as error:
        raise DeclarationError(
            f"cannot read {file}: Helm refuses the rule {line!r}: {error}",
            hint="use * and ? for a part of a name, and [a-z] for a character; ** is not known",
        ) from error
    return _Rule(
        pattern, whole="/" in name, folders=bare.endswith("/"), negated=line.startswith("!")
    )


def _pattern(glob: str) -> re.Pattern[str]:
    """A regular expression in which no wildcard matches a slash."""
    if "**" in glob:
        raise ValueError("Helm does not know **")
    tokens = [*_TOKEN.finditer(glob)]
    if "".join(token[0] for token in tokens) != glob:
        raise ValueError("a set in brackets is empty or not closed, or it ends with a \\")
    return re.compile("".join(map(_expression, tokens)), re.DOTALL)


def _expression(token: re.Match[str]) -> str:
    if token["set"]:
        members = re.sub(r"\\?([^\w-])", r"\\\1", token["set"])
        return f"(?!/)[{token['negation']}{members}]"
    if token["wildcard"]:
        return "[^/]*" if token["wildcard"] == "*" else "[^/]"
    return re.escape(token["escaped"] or token["plain"])


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
