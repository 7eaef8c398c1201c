"""Gitflow: what a branch, a pull request or a tag means for the pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from delivery.core.declaration import Declaration
from delivery.core.facts import Ref

__all__ = ["Decision", "Line", "decide", "is_version", "line_of", "version_tag"]

# Nine digits a number: whatever is made of it is far from the 128 characters that a Docker tag may have.
_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")


class Line(StrEnum):
    """The four lines of docs/ARCHITECTURE.md's table."""

    FEATURE = "feature"
    DEVELOP = "develop"
    CANDIDATE = "candidate"
    RELEASE = "release"


_SUFFIXES = {Line.DEVELOP: "dev", Line.CANDIDATE: "rc"}


@dataclass(frozen=True)
class Decision:
    """What is to happen for a ref: its line and why, whether images are pushed, where to, and what stands before that.

    suffix is what follows X.Y.Z in version tags ("dev", "rc", or "" for releases and for what gets no tags). environment is ""
    where nothing is deployed. gates are in order: "checks" always, "approval" where the environment wants a confirmation.
    """

    ref: Ref
    line: Line
    because: str
    pushes: bool
    suffix: str
    environment: str
    gates: tuple[str, ...]


def decide(ref: Ref, declaration: Declaration) -> Decision:
    """The decision for a ref; pure, and the same on a laptop and on a CI server."""
    line, because = _line(ref, declaration)
    deploys = {str(of): environment for of, environment in declaration.gitflow.deploys.items()}
    environment = "" if ref.kind == "tag" else deploys.get(line, "")
    approval = bool(environment) and declaration.environments[environment].confirm
    return Decision(
        ref=ref,
        line=line,
        because=because,
        pushes=line is not Line.FEATURE,
        suffix=_SUFFIXES.get(line, ""),
        environment=environment,
        gates=("checks", "approval") if approval else ("checks",),
    )


def line_of(branch: str, declaration: Declaration) -> tuple[Line, str]:
    """The line of a branch, and the name or pattern that says so ("" where none does).

    A name goes before patterns, a longer pattern before a shorter one; of equals the line that goes less far is taken.
    """
    rules = [
        (pattern, line)
        for line, patterns in (
            (Line.DEVELOP, declaration.gitflow.develop),
            (Line.CANDIDATE, declaration.gitflow.candidate),
            (Line.RELEASE, declaration.gitflow.release),
        )
        for pattern in patterns
        if _matches(branch, pattern)
    ]
    # max() keeps the first of equals.
    pattern, line = max(rules, key=lambda rule: (not rule[0].endswith("*"), len(rule[0])), default=("", Line.FEATURE))
    return line, pattern


def version_tag(name: str, declaration: Declaration) -> tuple[str, str] | None:
    """The subproject and the version X.Y.Z that a tag NAME-vX.Y.Z is of; None for any other tag."""
    subproject, _, version = name.rpartition("-v")
    return (subproject, version) if subproject in declaration.subprojects and is_version(version) else None


def is_version(text: str) -> bool:
    """Whether this is a version X.Y.Z, with nothing before or behind."""
    return bool(_VERSION.fullmatch(text))


def _matches(branch: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return branch.startswith(pattern[:-1]) and not branch.endswith("/")  # which no branch does
    return branch == pattern


def _line(ref: Ref, declaration: Declaration) -> tuple[Line, str]:
    if ref.kind == "pull-request":
        return Line.FEATURE, f"pull request {ref.name} is built and checked, and goes nowhere"
    if ref.kind == "tag":
        return _line_of_tag(ref.name, declaration)
    if ref.kind != "branch":
        return Line.FEATURE, "nothing says which branch this is, so it is built and checked, and goes nowhere"
    line, pattern = line_of(ref.name, declaration)
    if line is Line.FEATURE:
        return line, f"branch {ref.name} is on no line of gitflow, so it is built and checked, and goes nowhere"
    by = f"branch {ref.name}" if pattern == ref.name else f"branch {ref.name}, one of {pattern},"
    return line, f"{by} is on the {line} line"


def _line_of_tag(name: str, declaration: Declaration) -> tuple[Line, str]:
    found = version_tag(name, declaration)
    if found:
        return Line.RELEASE, f"tag {name} is version {found[1]} of {found[0]}"
    return Line.FEATURE, f"tag {name} is no version of a subproject, so it is built and checked, and goes nowhere"
