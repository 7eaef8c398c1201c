"""Gitflow: the decision for a branch, a pull request or a tag."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

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
    "preview_name",
    "rules",
]

# At most nine digits in a number keep a version below the 128 characters of a Docker tag.
_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")


class Line(StrEnum):
    """The lines of gitflow; `rules` and `branch_patterns` describe each."""

    FEATURE = "feature"
    PREVIEW = "preview"
    DEVELOP = "develop"
    CANDIDATE = "candidate"
    RELEASE = "release"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of a line. No field has a default, so that a new line has to decide each."""

    pushes: bool  # versions; a line that deploys without them pushes images by content key
    deploys: bool  # to its environment of `gitflow.deploys`
    suffix: str  # the suffix of its versions
    prepares: bool  # release.prepare may run on it
    prepared: bool  # it publishes only versions that release.prepare wrote
    releases: bool  # it publishes X.Y.Z, and release.finish tags it


_RULES = {
    Line.FEATURE: Rules(
        pushes=False, deploys=False, suffix="dev", prepares=False, prepared=False, releases=False
    ),
    Line.PREVIEW: Rules(
        pushes=False, deploys=True, suffix="dev", prepares=False, prepared=False, releases=False
    ),
    Line.DEVELOP: Rules(
        pushes=True, deploys=True, suffix="dev", prepares=True, prepared=False, releases=False
    ),
    Line.CANDIDATE: Rules(
        pushes=True, deploys=True, suffix="rc", prepares=True, prepared=True, releases=False
    ),
    Line.RELEASE: Rules(
        pushes=True, deploys=True, suffix="", prepares=False, prepared=True, releases=True
    ),
}


def rules(line: Line) -> Rules:
    """The rules of a line."""
    return _RULES[line]


def branch_patterns(line: Line, gitflow: Gitflow) -> tuple[str, ...]:
    """The names and patterns of a line's branches, which the key of its name in [gitflow] has."""
    return () if line is Line.FEATURE else tuple(getattr(gitflow, line))


@dataclass(frozen=True)
class Decision:
    """The decision for a ref."""

    ref: Ref
    line: Line
    because: str  # why it is on this line, as a sentence
    pushes: bool  # versions
    suffix: str  # of its versions: "dev", "rc", or "" for releases
    environment: str  # the environment that it is deployed to, "" for none
    gates: tuple[str, ...]  # "checks"; then "approval" if the environment asks for confirmation

    @property
    def pushes_images(self) -> bool:
        """Whether images are pushed, with versions or by content key alone, to be deployed."""
        return self.pushes or bool(self.environment)

    @property
    def rules(self) -> Rules:
        """The rules of its line."""
        return rules(self.line)


def decide(ref: Ref, declaration: Declaration) -> Decision:
    """The decision for a ref: the same on a laptop and on a CI server."""
    line, because = _line(ref, declaration)
    does = rules(line)
    environment = ""
    if does.deploys and ref.kind != "tag":
        environments = {str(name): value for name, value in declaration.gitflow.deploys.items()}
        environment = environments.get(line, "")
        if line is Line.PREVIEW and environment:
            environment = preview_name(environment, ref.name)
    declared = declaration.environment(environment)
    approval = declared is not None and declared.confirm
    return Decision(
        ref=ref,
        line=line,
        because=because,
        pushes=does.pushes,
        suffix=does.suffix,
        environment=environment,
        gates=("checks", "approval") if approval else ("checks",),
    )


def preview_name(environment: str, branch: str) -> str:
    """The name of a branch's preview: readable, and another one for each branch."""
    words = re.sub(r"[^a-z0-9]+", "-", branch.lower())[:24].strip("-")
    digest = hashlib.sha256(branch.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return "-".join(filter(None, (environment, words, digest)))


def line_of(branch: str, declaration: Declaration) -> tuple[Line, str]:
    """The line of a branch, and the name or pattern that matches it ("" if none does).

    A name wins over patterns, and a longer pattern over a shorter. No two lines have the same.
    """
    matching = [
        (pattern, line)
        for line in Line
        for pattern in branch_patterns(line, declaration.gitflow)
        # No branch ends with a slash, so release/* does not match `release/`.
        if fnmatchcase(branch, pattern) and not branch.endswith("/")
    ]
    pattern, line = max(
        matching,
        key=lambda match: (not match[0].endswith("*"), len(match[0])),
        default=("", Line.FEATURE),
    )
    return line, pattern


def parse_version_tag(name: str, declaration: Declaration) -> tuple[str, str] | None:
    """The subproject and version of a tag NAME-vX.Y.Z; None for any other tag."""
    subproject, _, version = name.rpartition("-v")
    if subproject in declaration.subprojects and is_version(version):
        return subproject, version
    return None


def is_version(text: str) -> bool:
    """Whether this is a version X.Y.Z and nothing more."""
    return bool(_VERSION.fullmatch(text))


def _line(ref: Ref, declaration: Declaration) -> tuple[Line, str]:
    only_checked = "is built and checked, and not pushed"
    match ref.kind:
        case "branch":
            line, pattern = line_of(ref.name, declaration)
            if not pattern:
                return line, f"branch {ref.name} is on no line of gitflow: it {only_checked}"
            one_of = "" if pattern == ref.name else f", one of {pattern},"
            return line, f"branch {ref.name}{one_of} is on the {line} line"
        case "tag" if tag := parse_version_tag(ref.name, declaration):
            return Line.RELEASE, f"tag {ref.name} is version {tag[1]} of {tag[0]}"
        case "tag":
            return Line.FEATURE, f"tag {ref.name} is no version of a subproject: it {only_checked}"
        case "pull-request":
            return Line.FEATURE, f"pull request {ref.name} {only_checked}"
        case _:
            return Line.FEATURE, f"HEAD is detached, and no branch is given: it {only_checked}"
