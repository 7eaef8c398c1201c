"""Gitflow: what a branch, a pull request or a tag means for the pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from delivery.project.declaration import Declaration, Gitflow
from delivery.project.facts import Ref

__all__ = ["Decision", "Line", "Rules", "decide", "is_version", "line_of", "rules", "version_tag"]

# Nine digits a number: whatever is made of it is far from the 128 characters that a Docker tag may have.
_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")


class Line(StrEnum):
    """The four lines of docs/ARCHITECTURE.md's table; `rules` has what each of them does."""

    FEATURE = "feature"
    DEVELOP = "develop"
    CANDIDATE = "candidate"
    RELEASE = "release"


@dataclass(frozen=True)
class Rules:
    """What a line does with a commit.

    suffix is what follows X.Y.Z in its versions. prepared: it publishes only what release.prepare
    has written. branches are its names and patterns, none for the line of every other branch.
    environment is where it is deployed to, "" for nowhere.
    """

    pushes: bool
    suffix: str
    prepared: bool
    branches: tuple[str, ...] = ()
    environment: str = ""


def rules(line: Line, gitflow: Gitflow) -> Rules:
    """What a line does. Each is written out, so that a new one pushes nothing unless it says so."""
    match line:
        case Line.FEATURE:
            return Rules(pushes=False, suffix="dev", prepared=False)
        case Line.DEVELOP:
            return Rules(
                pushes=True,
                suffix="dev",
                prepared=False,
                branches=gitflow.develop,
                environment=gitflow.deploys.get("develop", ""),
            )
        case Line.CANDIDATE:
            return Rules(
                pushes=True,
                suffix="rc",
                prepared=True,
                branches=gitflow.candidate,
                environment=gitflow.deploys.get("candidate", ""),
            )
        case Line.RELEASE:
            return Rules(
                pushes=True,
                suffix="",
                prepared=True,
                branches=gitflow.release,
                environment=gitflow.deploys.get("release", ""),
            )
        case _:
            assert_never(line)


@dataclass(frozen=True)
class Decision:
    """What is to happen for a ref: its line and why, whether images are pushed, where to, and what stands before that.

    suffix is what follows X.Y.Z in versions ("dev", "rc", or "" for releases). environment is ""
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
    does = rules(line, declaration.gitflow)
    environment = "" if ref.kind == "tag" else does.environment
    approval = bool(environment) and declaration.environments[environment].confirm
    return Decision(
        ref=ref,
        line=line,
        because=because,
        pushes=does.pushes,
        suffix=does.suffix,
        environment=environment,
        gates=("checks", "approval") if approval else ("checks",),
    )


def line_of(branch: str, declaration: Declaration) -> tuple[Line, str]:
    """The line of a branch, and the name or pattern that says so ("" where none does).

    A name goes before patterns, a longer pattern before a shorter one; of equals the line that goes less far is taken.
    """
    matching = [
        (pattern, line)
        for line in Line
        for pattern in rules(line, declaration.gitflow).branches
        if _matches(branch, pattern)
    ]
    # max() keeps the first of equals.
    pattern, line = max(matching, key=lambda rule: _rank(rule[0]), default=("", Line.FEATURE))
    return line, pattern


def version_tag(name: str, declaration: Declaration) -> tuple[str, str] | None:
    """The subproject and the version X.Y.Z that a tag NAME-vX.Y.Z is of; None for any other tag."""
    subproject, _, version = name.rpartition("-v")
    return (subproject, version) if subproject in declaration.subprojects and is_version(version) else None


def is_version(text: str) -> bool:
    """Whether this is a version X.Y.Z, with nothing before or behind."""
    return bool(_VERSION.fullmatch(text))


def _rank(pattern: str) -> tuple[bool, int]:
    return not pattern.endswith("*"), len(pattern)


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
