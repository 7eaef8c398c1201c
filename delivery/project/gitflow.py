"""Gitflow: what a branch, a pull request or a tag means for the pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from delivery.project.declaration import Declaration, Gitflow
from delivery.project.facts import Ref

__all__ = [
    "Decision",
    "Line",
    "Rules",
    "branch_patterns",
    "decide",
    "is_version",
    "line_of",
    "parse_version_tag",
    "rules",
]

# Nine digits a number keep every version below the 128 characters of a Docker tag.
_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")


class Line(StrEnum):
    """The lines of gitflow; `rules` has what each does, `branches` which branches are of it."""

    FEATURE = "feature"
    DEVELOP = "develop"
    CANDIDATE = "candidate"
    RELEASE = "release"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a line does. No field has a default: a new line pushes nothing unless it says so."""

    pushes: bool
    deploys: bool  # to the environment that `gitflow.deploys` has for it
    suffix: str  # what follows X.Y.Z in its versions
    prepares: bool  # release.prepare runs here
    prepared: bool  # it publishes only versions that release.prepare has written
    releases: bool  # it publishes X.Y.Z, and release.finish tags it


def rules(line: Line) -> Rules:
    """What a line does: the table of all lines."""
    no, yes = False, True
    match line:
        case Line.FEATURE:
            return Rules(pushes=no, deploys=no, suffix="dev", prepares=no, prepared=no, releases=no)
        case Line.DEVELOP:
            return Rules(
                pushes=yes, deploys=yes, suffix="dev", prepares=yes, prepared=no, releases=no
            )
        case Line.CANDIDATE:
            return Rules(
                pushes=yes, deploys=yes, suffix="rc", prepares=yes, prepared=yes, releases=no
            )
        case Line.RELEASE:
            return Rules(
                pushes=yes, deploys=yes, suffix="", prepares=no, prepared=yes, releases=yes
            )
        case _:
            assert_never(line)


def branch_patterns(line: Line, gitflow: Gitflow) -> tuple[str, ...]:
    """The names and patterns of a line's branches; none for the line of every other branch."""
    match line:
        case Line.FEATURE:
            return ()
        case Line.DEVELOP:
            return gitflow.develop
        case Line.CANDIDATE:
            return gitflow.candidate
        case Line.RELEASE:
            return gitflow.release
        case _:
            assert_never(line)


@dataclass(frozen=True)
class Decision:
    """What is to happen for a ref."""

    ref: Ref
    line: Line
    because: str  # why it is of this line, as a sentence
    pushes: bool
    suffix: str  # what follows X.Y.Z in versions: "dev", "rc", or "" for releases
    environment: str  # where it is deployed to, "" for nowhere
    gates: tuple[str, ...]  # "checks", then "approval" where the environment wants a confirmation

    @property
    def rules(self) -> Rules:
        """What its line does."""
        return rules(self.line)


def decide(ref: Ref, declaration: Declaration) -> Decision:
    """The decision for a ref; pure, and the same on a laptop and on a CI server."""
    line, because = _line(ref, declaration)
    does = rules(line)
    environment = ""
    if does.deploys and ref.kind != "tag":
        deploys = {str(name): one for name, one in declaration.gitflow.deploys.items()}
        environment = deploys.get(line, "")
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

    A name goes before patterns, a longer pattern before a shorter one. Where two lines have the
    same pattern, the first of `Line` is taken.
    """
    matching = [
        (pattern, line)
        for line in Line
        for pattern in branch_patterns(line, declaration.gitflow)
        if _matches(branch, pattern)
    ]
    # max() keeps the first of equals.
    pattern, line = max(matching, key=lambda rule: _rank(rule[0]), default=("", Line.FEATURE))
    return line, pattern


def parse_version_tag(name: str, declaration: Declaration) -> tuple[str, str] | None:
    """The subproject and version of a tag NAME-vX.Y.Z; None for any other tag."""
    subproject, _, version = name.rpartition("-v")
    if subproject in declaration.subprojects and is_version(version):
        return subproject, version
    return None


def is_version(text: str) -> bool:
    """Whether this is a version X.Y.Z, with nothing before or behind."""
    return bool(_VERSION.fullmatch(text))


def _rank(pattern: str) -> tuple[bool, int]:
    return not pattern.endswith("*"), len(pattern)


def _matches(branch: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        # No branch ends with a slash, so `release/` is none of release/*.
        return branch.startswith(pattern[:-1]) and not branch.endswith("/")
    return branch == pattern


def _line(ref: Ref, declaration: Declaration) -> tuple[Line, str]:
    nowhere = "is built and checked, and goes nowhere"
    match ref.kind:
        case "branch":
            line, pattern = line_of(ref.name, declaration)
            if not pattern:
                return line, f"branch {ref.name} is on no line of gitflow, so it {nowhere}"
            one_of = "" if pattern == ref.name else f", one of {pattern},"
            return line, f"branch {ref.name}{one_of} is on the {line} line"
        case "tag" if tag := parse_version_tag(ref.name, declaration):
            return Line.RELEASE, f"tag {ref.name} is version {tag[1]} of {tag[0]}"
        case "tag":
            return Line.FEATURE, f"tag {ref.name} is no version of a subproject, so it {nowhere}"
        case "pull-request":
            return Line.FEATURE, f"pull request {ref.name} {nowhere}"
        case _:
            return Line.FEATURE, f"nothing says which branch this is, so it {nowhere}"
