"""The rules of .helmignore, by which Helm leaves files out of a packaged chart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from delivery.errors import DeclarationError

__all__ = ["Rule", "is_ignored", "parse"]

_DEFAULT = "templates/.?*"  # Helm adds it to the chart's rules
_SET = re.compile(
    r"\[(\^?)((?:\\.|[^\\\]-])(?:-(?:\\.|[^\\\]-]))?(?:(?:\\.|[^\\\]-])(?:-(?:\\.|[^\\\]-]))?)*)\]"
)


@dataclass(frozen=True)
class Rule:
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


def parse(text: str, *, file: str = ".helmignore") -> tuple[Rule, ...]:
    """The rules of a .helmignore, and Helm's own; raises DeclarationError for an invalid line."""
    lines = (line.strip() for line in [*text.split("\n"), _DEFAULT])
    return tuple(_rule(line, file) for line in lines if line and not line.startswith("#"))


def is_ignored(rules: Sequence[Rule], path: str) -> bool:
    """Whether Helm leaves a path, relative to the chart, out of the package.

    The path of a folder ends with a slash. An ignored folder hides its files.
    """
    folders = [path[:at] for at, character in enumerate(path) if character == "/"]
    if any(rule.matches(folder, is_folder=True) for folder in folders for rule in rules):
        return True
    return not path.endswith("/") and any(rule.matches(path, is_folder=False) for rule in rules)


def _rule(line: str, file: str) -> Rule:
    bare = line.removeprefix("!")
    name = bare.removesuffix("/")
    try:
        pattern = _pattern(name.removeprefix("/"))
    except (ValueError, re.error) as error:
        raise DeclarationError(
            f"cannot read {file}: Helm refuses the rule {line!r}: {error}",
            hint="use * and ? for a part of a name, and [a-z] for a character; ** is not known",
        ) from error
    return Rule(
        pattern, whole="/" in name, folders=bare.endswith("/"), negated=line.startswith("!")
    )


def _pattern(glob: str) -> re.Pattern[str]:
    """Go's filepath.Match as a regular expression: no wildcard matches a slash."""
    if "**" in glob:
        raise ValueError("Helm does not know **")
    wildcards = {"*": "[^/]*", "?": "[^/]"}
    pieces, at = list[str](), 0
    while at < len(glob):
        if glob[at] == "[":
            piece, at = _set(glob, at)
        elif glob[at] == "\\":
            if at + 1 == len(glob):
                raise ValueError("it ends with a \\")
            piece, at = re.escape(glob[at + 1]), at + 2
        else:
            piece, at = wildcards.get(glob[at], re.escape(glob[at])), at + 1
        pieces.append(piece)
    return re.compile("".join(pieces), re.DOTALL)


def _set(glob: str, start: int) -> tuple[str, int]:
    """The set [a-z] or [^a-z] that begins at `start`, as a regular expression, and its end."""
    match = _SET.match(glob, start)
    if not match:
        raise ValueError("a set in brackets is not closed, or empty")
    members = re.sub(r"\\?([^\w-])", r"\\\1", match[2])
    return f"(?!/)[{match[1]}{members}]", match.end()
