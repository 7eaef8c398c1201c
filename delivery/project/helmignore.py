"""What Helm leaves out of a packaged chart: the rules of .helmignore, which are neither Docker's nor git's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from delivery.errors import DeclarationError

__all__ = ["Rule", "ignored", "read"]

_DEFAULT = "templates/.?*"  # helm's own, after the chart's


@dataclass(frozen=True)
class Rule:
    """A line of .helmignore: what it matches (a whole path, or a name), folders alone or not, and whether it says what stays."""

    pattern: re.Pattern[str]
    whole: bool
    folders: bool
    negated: bool

    def leaves_out(self, path: str, *, folder: bool) -> bool:
        """Whether it leaves this one out. Helm takes `!x` for: leave out what is not x."""
        if self.folders and not folder:
            return self.negated
        found = self.pattern.fullmatch(path if self.whole else path.rpartition("/")[2])
        return bool(found) != self.negated


def read(text: str, *, file: str = ".helmignore") -> tuple[Rule, ...]:
    """The rules of a .helmignore, with Helm's own; raise DeclarationError for a line that Helm refuses."""
    lines = [line.strip() for line in text.split("\n")]
    return tuple(
        _rule(line, file) for line in [*lines, _DEFAULT] if line and not line.startswith("#")
    )


def ignored(rules: Sequence[Rule], path: str) -> bool:
    """Whether the file at this path, relative to the chart, stays out of the package, by itself or with a folder above it.

    The path of a folder ends with a slash.
    """
    parts = path.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    if any(_left_out(rules, folder, folder=True) for folder in above):
        return True
    return not path.endswith("/") and _left_out(rules, path, folder=False)


def _left_out(rules: Sequence[Rule], path: str, *, folder: bool) -> bool:
    return any(rule.leaves_out(path, folder=folder) for rule in rules)


def _rule(line: str, file: str) -> Rule:
    bare = line.removeprefix("!")
    name = bare.removesuffix("/")
    try:
        pattern = _pattern(name.removeprefix("/"))
    except (ValueError, re.error) as error:
        raise DeclarationError(
            f"read {file}: {line!r} is no rule of Helm's: {error}",
            hint="* and ? match inside a name, [a-z] one of a set, ** nothing",
        ) from error
    return Rule(
        pattern, whole="/" in name, folders=bare.endswith("/"), negated=line.startswith("!")
    )


def _pattern(glob: str) -> re.Pattern[str]:
    """Go's filepath.Match as a regular expression: no wildcard matches a slash."""
    meanings = {"*": "[^/]*", "?": "[^/]"}
    if "**" in glob:
        raise ValueError("Helm knows no **")
    found, at = list[str](), 0
    while at < len(glob):
        if glob[at] == "[":
            piece, at = _set(glob, at)
        elif glob[at] == "\\":
            if at + 1 == len(glob):
                raise ValueError("a \\ stands before a character")
            piece, at = re.escape(glob[at + 1]), at + 2
        else:
            piece, at = meanings.get(glob[at], re.escape(glob[at])), at + 1
        found.append(piece)
    return re.compile("".join(found), re.DOTALL)


def _set(glob: str, start: int) -> tuple[str, int]:
    """A set [a-z] or [^a-z] that begins here, and where it ends."""
    found = re.compile(
        r"\[(\^?)((?:\\.|[^\\\]-])(?:-(?:\\.|[^\\\]-]))?(?:(?:\\.|[^\\\]-])(?:-(?:\\.|[^\\\]-]))?)*)\]"
    ).match(glob, start)
    if not found:
        raise ValueError("a set in brackets is not closed, or empty")
    members = re.sub(r"\\?([^\w-])", r"\\\1", found[2])
    return f"(?!/)[{found[1]}{members}]", found.end()
