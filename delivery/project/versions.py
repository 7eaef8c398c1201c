"""Versions: what Conventional Commits since a subproject's last tag make of its next one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from semver import Version as Number

from delivery.project.declaration import Declaration
from delivery.project.facts import Commit, Facts, Tag
from delivery.project.gitflow import Decision, Line, rules, version_tag

__all__ = ["Version", "concerned", "decide", "later", "level", "newest", "notes"]

_DECLARATION = "delivery.toml"
_SHOWN = 3  # so many examples make a sentence; the rest is counted
_LEVELS = ("major", "minor", "patch")
_HEADER = re.compile(r"(?P<type>[A-Za-z]+)(?:\([^()\n]*\))?(?P<breaking>!)?: ")
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE(?:: | #)", re.MULTILINE)
_BRANCH_VERSION = re.compile(r"(?:^|/)v?([0-9]+(?:\.[0-9]+){0,2})(?:\.x)?$")


@dataclass(frozen=True)
class Version:
    """A subproject's version in a plan.

    last is the newest reached tag's version ("" before the first), written what its files say, next what its next release is
    called (last itself when nothing of it changed), published what this line publishes it as: X.Y.Z-dev.N, X.Y.Z-rc.N, X.Y.Z, or
    last when nothing changed. bump is "major", "minor", "patch", "first" or "" (unchanged); because says why, in a line for
    people. commits are the subjects of the commits that count, newest first.
    """

    subproject: str
    last: str
    written: str
    next: str
    published: str
    bump: str
    because: str
    commits: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether it gets a new version."""
        return bool(self.bump)


@dataclass(frozen=True)
class _Reason:
    """Why there is a new version: how much of one, and the words for it."""

    level: str
    because: str


def decide(declaration: Declaration, facts: Facts, decision: Decision) -> dict[str, Version]:
    """The version of every subproject, those that others are made from first."""
    decided: dict[str, Version] = {}
    for name in declaration.subprojects_in_order():
        decided[name] = _decide(declaration, facts, decision, name, decided)
    return decided


def notes(declaration: Declaration, facts: Facts, decision: Decision, versions: Mapping[str, Version]) -> list[str]:
    """What a user should know and nothing is stopped for, each as a sentence: hotfixes that develop lacks, above all."""
    return [
        *_notes_of_ref(facts, decision),
        *_notes_of_hotfixes(declaration, facts, decision, versions),
        *_notes_of_branch_name(declaration, decision, versions),
        *_notes_of_tags(facts, versions),
    ]


def level(message: str) -> str:
    """How much of a new version a commit's message asks for: major, minor or patch.

    Whatever is no breaking change and no feature is a patch, also what keeps to no convention: the bytes differ, and a published
    version never gets others.
    """
    header = _HEADER.match(message.lstrip())
    if (header and header["breaking"]) or _BREAKING.search(message):
        return "major"
    return "minor" if header and header["type"].lower() == "feat" else "patch"


def newest(tags: Iterable[Tag], subproject: str, *, reached: bool = True) -> Tag | None:
    """The tag with the highest version of a subproject, of those that HEAD has, or of all; None when there is none."""
    ours = [tag for tag in tags if tag.subproject == subproject and (tag.reached or not reached)]
    return max(ours, key=lambda tag: Number.parse(tag.version), default=None)


def anchor(tags: Iterable[Tag], base: Tag, how: str) -> Tag:
    """The tag that the N of X.Y.Z-dev.N is counted from, where X.Y.Z is so much (major, minor, patch) above a base.

    It is the first that may have led to this X.Y.Z: 1.1.0 comes after 1.0.0 as after 1.0.1, so that N goes on when 1.0.1 is
    tagged.
    """
    parts = {"major": 1, "minor": 2}.get(how, 3)
    series = base.version.split(".")[:parts]
    alike = [tag for tag in tags if tag.subproject == base.subproject and tag.version.split(".")[:parts] == series]
    return min(alike, key=lambda tag: Number.parse(tag.version))


def later(tags: Iterable[Tag], subproject: str) -> list[Tag]:
    """The tags of a subproject above the newest one that HEAD has, the highest first."""
    last = newest(tags, subproject)
    ours = [tag for tag in tags if tag.subproject == subproject]
    above = [tag for tag in ours if not last or _above(tag.version, last.version)]
    return sorted(above, key=lambda tag: Number.parse(tag.version), reverse=True)


def _decide(
    declaration: Declaration, facts: Facts, decision: Decision, name: str, before: Mapping[str, Version]
) -> Version:
    written, last = facts.written[name], newest(facts.tags, name)
    base = _base(declaration, facts, decision, name)
    counting = _counting(facts, name, name)
    left = [commit for commit in counting if base == last or base is None or commit.sha in facts.apart[base.name]]
    reason = _reason(declaration, facts, name, left, before)
    if base is None:
        coming, reason = written, _Reason("first", _why_first(facts, name))
    else:
        if not reason.level and (counting or not last):
            reason = _Reason("patch", f"{base.name} is not merged here")
        coming, reason = _raised(base.version, last.version if last else "", written, reason)
    if not reason.level and last:
        because = f"nothing of it has changed since {last.name}"
        return Version(name, last.version, written, last.version, last.version, "", because, ())
    suffix = decision.suffix
    number = max(1, _number(declaration, facts, name, base and anchor(facts.tags, base, reason.level)))
    return Version(
        subproject=name,
        last=last.version if last else "",
        written=written,
        next=coming,
        published=f"{coming}-{suffix}.{number}" if suffix else coming,
        bump=reason.level,
        because=reason.because,
        commits=tuple(commit.subject for commit in counting),
    )


def _base(declaration: Declaration, facts: Facts, decision: Decision, name: str) -> Tag | None:
    """The tag that the next version is above: the newest that HEAD has, or, where the next release is far off, a newer one.

    A fix on develop comes after a hotfix that is not merged yet. What a release has already is not above it, and is called as it
    was before that release was.
    """
    last = newest(facts.tags, name)
    if not rules(decision.line, declaration.gitflow).prepared:
        for tag in later(facts.tags, name):
            if _number(declaration, facts, name, tag):
                return tag
    return last


def _reason(
    declaration: Declaration, facts: Facts, name: str, counting: Sequence[Commit], before: Mapping[str, Version]
) -> _Reason:
    """Why a subproject gets a new version, by git alone: the commits that ask for most, else what it is made from."""
    below = [one for one in _closure(declaration, name) if one != name]
    made_from = [f"{one} {before[one].next}" for one in below if before[one].changed or _counting(facts, one, name)]
    if counting:
        return _most(counting)
    if made_from:
        return _Reason("patch", ", ".join(made_from))
    if changed := facts.declared_anew.get(name):
        return _Reason("patch", changed)
    return _Reason("", "")


def _why_first(facts: Facts, name: str) -> str:
    """Why a subproject gets its first version: the newest of its tags, if any, is not HEAD's."""
    tag = newest(facts.tags, name, reached=False)
    return f"{tag.name} is not in HEAD's history" if tag else "no version of it is tagged yet"


def _most(commits: Sequence[Commit]) -> _Reason:
    levels = [level(commit.message) for commit in commits]
    most = min(levels, key=_LEVELS.index)
    subject = next(commit.subject for commit, how in zip(commits, levels, strict=True) if how == most)
    return _Reason(most, f"{subject} (and {len(commits) - 1} more)" if len(commits) > 1 else subject)


def _raised(base: str, last: str, written: str, reason: _Reason) -> tuple[str, _Reason]:
    """The next version over a base, and how much of one it is; at least what is written, which says that it is wanted."""
    number = Number.parse(base)
    if reason.level == "major" and number.major == 0:
        reason = _Reason("minor", f"{reason.because}: breaking, below 1.0.0")  # as semver's §4 has it, and Cargo
    coming = number.next_version(reason.level) if reason.level else number
    wanted = Number.parse(written)
    if not reason.level and written != last:  # it is told to builds, so they give other bytes than the last version's
        reason, coming = _Reason("patch", f"its files say {written}"), number.bump_patch()
    if wanted <= coming:
        return str(coming), reason
    how = "major" if wanted.major > number.major else "minor" if wanted.minor > number.minor else "patch"
    because = f"its files say {written}"
    return written, _Reason(how, because if reason.because in {"", because} else f"{because}; {reason.because}")


def _counting(facts: Facts, name: str, since: str) -> list[Commit]:
    """The commits since a subproject's last tag that change what users of this one get."""
    covered = facts.covered[name]
    return [commit for commit in facts.since[since] if not covered.isdisjoint(commit.paths)]


def _number(declaration: Declaration, facts: Facts, name: str, tag: Tag | None) -> int:
    """The N of X.Y.Z-dev.N: how many commits that this tag does not have may have changed what is published.

    It has to grow with whatever changes a key while X.Y.Z stays: files of it and of what it is made from, what is told to their
    builds (VERSION, delivery.toml), and merges, which bring a hotfix that is counted no more because its tag is here now.
    """
    paths = {_DECLARATION}
    for one in _closure(declaration, name):
        paths |= facts.covered[one]
        paths |= {f"{folder}/VERSION" for folder in declaration.subprojects[one].folders}
    apart = None if tag is None else facts.apart[tag.name]
    return sum(1 for commit in facts.commits if (apart is None or commit.sha in apart) and _touches(commit, paths))


def _touches(commit: Commit, paths: Collection[str]) -> bool:
    return any(path in paths for path in (*commit.paths, *commit.brought))


def _closure(declaration: Declaration, name: str) -> list[str]:
    """A subproject and all that it is made from, which come first."""
    found: list[str] = []
    for before in declaration.subprojects[name].after:
        found += [one for one in _closure(declaration, before) if one not in found]
    return [*found, name]


def concerned(declaration: Declaration, decision: Decision) -> list[str]:
    """The subprojects that a plan publishes: all, or a tag's own and what that is made from."""
    found = version_tag(decision.ref.name, declaration) if decision.ref.kind == "tag" else None
    return _closure(declaration, found[0]) if found else declaration.subprojects_in_order()


def _notes_of_ref(facts: Facts, decision: Decision) -> list[str]:
    if not decision.ref.kind:
        return [
            "HEAD is detached, and nothing says for which branch: `--branch NAME` or BRANCH_NAME, as Jenkins sets it, does"
        ]
    if decision.ref.kind == "branch" and facts.checked_out not in {"", decision.ref.name}:
        return [f"git has {facts.checked_out} checked out, and this is decided as for {decision.ref.name}"]
    return []


def _notes_of_hotfixes(
    declaration: Declaration, facts: Facts, decision: Decision, versions: Mapping[str, Version]
) -> list[str]:
    found = list[str]()
    if facts.unmerged:
        ahead, behind = declaration.gitflow.release[0], decision.ref.name
        if decision.line is Line.RELEASE:
            ahead, behind = decision.ref.name, declaration.gitflow.develop[0]
        shown = _few([_short(one) for one in facts.unmerged])
        found.append(
            f"{behind} lacks {_count(facts.unmerged, 'commit')} of {ahead} ({shown}): merge {ahead} into {behind}"
        )
    for name, version in () if found else versions.items():
        highest = newest(facts.tags, name, reached=False)
        if highest and not highest.reached and (not version.last or _above(highest.version, version.last)):
            found.append(f"{highest.name} is not in HEAD's history: what it has may be missing here")
    return found


def _notes_of_branch_name(declaration: Declaration, decision: Decision, versions: Mapping[str, Version]) -> list[str]:
    if decision.line is not Line.CANDIDATE or not (said := _BRANCH_VERSION.search(decision.ref.name)):
        return []
    chart = versions[declaration.subproject_of(declaration.chart.folder)]
    if chart.next.split(".")[: said[1].count(".") + 1] == said[1].split("."):
        return []
    return [
        f"the branch is called {decision.ref.name}, and {chart.subproject}, which the release goes by, is to be {chart.next}"
    ]


def _notes_of_tags(facts: Facts, versions: Mapping[str, Version]) -> list[str]:
    missing = [name for name in versions if not any(tag.subproject == name for tag in facts.tags)]
    if not missing:
        return []
    return [f"there is no version's tag of {', '.join(missing)}: where the server has one, `git fetch --tags` gets it"]


def _above(one: str, other: str) -> bool:
    return Number.parse(one) > Number.parse(other)


def _count(items: Sequence[str], what: str) -> str:
    return f"{len(items)} {what}{'' if len(items) == 1 else 's'}"


def _few(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", …" if len(items) > _SHOWN else "")


def _short(commit: str) -> str:
    sha, _, subject = commit.partition(" ")
    return f"{sha[:9]} {subject}"
