"""Versions: what Conventional Commits since a subproject's last tag make of its next one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from semver import Version as Number

from delivery.project import gitflow
from delivery.project.declaration import Declaration
from delivery.project.facts import Commit, Facts, Tag
from delivery.project.gitflow import Decision, parse_version_tag

__all__ = [
    "BUMPS",
    "Checkout",
    "Version",
    "bump_of",
    "commits_since_tag",
    "counting_start",
    "decide",
    "newer_tags",
    "newest_tag",
    "published_subprojects",
    "with_dependencies",
]

BUMPS = ("major", "minor", "patch")
_HEADER = re.compile(r"(?P<type>[A-Za-z]+)(?:\([^()\n]*\))?(?P<breaking>!)?: ")
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE(?:: | #)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Version:
    """A subproject's version."""

    subproject: str
    last: str  # the newest reached tag's, "" before the first
    written: str  # what its files say
    next: str  # what its next release is called; `last` where nothing of it changed
    published: str  # what this line publishes: X.Y.Z-dev.N, X.Y.Z-rc.N, X.Y.Z, or `last`
    bump: str  # "major", "minor", "patch", "first", or "" where nothing of it changed
    because: str  # why, in a line for people
    commits: tuple[str, ...]  # the subjects of the commits that count, newest first

    @property
    def changed(self) -> bool:
        """Whether it gets a new version."""
        return bool(self.bump)


@dataclass(frozen=True)
class Checkout:
    """What is checked out: the facts, and what is decided from them. `decide` makes it."""

    declaration: Declaration
    facts: Facts
    decision: Decision
    versions: Mapping[str, Version]  # by subproject, those that others are made from first

    @property
    def release(self) -> str:
        """The version that the whole release goes by: the chart's."""
        return self.versions[self.declaration.subproject_of(self.declaration.chart.folder)].next

    @property
    def published(self) -> dict[str, str]:
        """The version that each image, and the chart, is published as, by name."""
        folders = {name: image.context for name, image in self.declaration.images.items()}
        folders[self.declaration.chart.folder] = self.declaration.chart.folder
        subprojects = {
            name: self.declaration.subproject_of(folder) for name, folder in folders.items()
        }
        return {
            name: self.versions[subproject].published for name, subproject in subprojects.items()
        }


def decide(declaration: Declaration, facts: Facts) -> Checkout:
    """What gitflow says of a clone, and the version of every subproject."""
    decision = gitflow.decide(facts.ref, declaration)
    versions: dict[str, Version] = {}
    for name in declaration.subprojects_in_order():
        versions[name] = _Subproject(declaration, facts, decision, name).version(versions)
    return Checkout(declaration, facts, decision, versions)


def bump_of(message: str) -> str:
    """How much of a new version a commit's message asks for: major, minor or patch.

    Whatever is no breaking change and no feature is a patch, also what keeps to no convention: the
    bytes differ, and a published version never gets others.
    """
    header = _HEADER.match(message.lstrip())
    if (header and header["breaking"]) or _BREAKING.search(message):
        return "major"
    return "minor" if header and header["type"].lower() == "feat" else "patch"


def newest_tag(tags: Iterable[Tag], subproject: str, *, merged: bool = True) -> Tag | None:
    """A subproject's tag with the highest version, of those that HEAD has, or of all."""
    ours = [tag for tag in tags if tag.subproject == subproject and (tag.merged or not merged)]
    return max(ours, key=_number, default=None)


def commits_since_tag(facts: Facts, subproject: str) -> list[Commit]:
    """The commits since a subproject's newest reached tag, newest first; all without a tag."""
    last = newest_tag(facts.tags, subproject)
    return [one for one in facts.commits if not last or one.sha in facts.commits_since[last.name]]


def counting_start(tags: Iterable[Tag], base: Tag, how: str) -> Tag:
    """The tag that the N of X.Y.Z-dev.N is counted from, X.Y.Z being a `how` above a base.

    It is the first that may have led to this X.Y.Z: 1.1.0 comes after 1.0.0 as after 1.0.1, so that
    N goes on when 1.0.1 is tagged.
    """
    parts = {"major": 1, "minor": 2}.get(how, 3)
    series = base.version.split(".")[:parts]
    ours = (tag for tag in tags if tag.subproject == base.subproject)
    return min((tag for tag in ours if tag.version.split(".")[:parts] == series), key=_number)


def newer_tags(tags: Iterable[Tag], subproject: str) -> list[Tag]:
    """The tags of a subproject above the newest one that HEAD has, the highest first."""
    ours = [tag for tag in tags if tag.subproject == subproject]
    last = newest_tag(ours, subproject)
    above = [tag for tag in ours if not last or _number(tag) > _number(last)]
    return sorted(above, key=_number, reverse=True)


def with_dependencies(declaration: Declaration, name: str) -> list[str]:
    """A subproject and all that it is made from, which come first."""
    found: list[str] = []
    for before in declaration.subprojects[name].after:
        found += [one for one in with_dependencies(declaration, before) if one not in found]
    return [*found, name]


def published_subprojects(declaration: Declaration, decision: Decision) -> list[str]:
    """The subprojects that a plan publishes: all, or a tag's own and what that is made from."""
    tag = parse_version_tag(decision.ref.name, declaration) if decision.ref.kind == "tag" else None
    return with_dependencies(declaration, tag[0]) if tag else declaration.subprojects_in_order()


@dataclass(frozen=True)
class _Reason:
    """Why there is a new version: how much of one, and the words for it."""

    level: str  # "" for none
    because: str


@dataclass(frozen=True)
class _Subproject:
    """A subproject on its way to a version."""

    declaration: Declaration
    facts: Facts
    decision: Decision
    name: str

    def version(self, others: Mapping[str, Version]) -> Version:
        """Its version; others are the versions of what it is made from."""
        if self.base:
            reason, following = self._above(self.base, others)
            first = counting_start(self.facts.tags, self.base, reason.level)
        else:
            reason, following, first = self._first(), self.written, None
        published = following
        if reason.level and self.decision.suffix:
            published = f"{following}-{self.decision.suffix}.{max(1, self._count(first))}"
        return Version(
            subproject=self.name,
            last=self.last.version if self.last else "",
            written=self.written,
            next=following,
            published=published,
            bump=reason.level,
            because=reason.because,
            commits=tuple(commit.subject for commit in self.commits) if reason.level else (),
        )

    @cached_property
    def written(self) -> str:
        """The version that its files say."""
        return self.facts.file_versions[self.name]

    @cached_property
    def last(self) -> Tag | None:
        """The newest tag that HEAD has."""
        return newest_tag(self.facts.tags, self.name)

    @cached_property
    def base(self) -> Tag | None:
        """The tag that the next version is above.

        It is the last one, or a newer one that HEAD lacks, where the next release is far off: a fix
        on develop comes after a hotfix that is not merged yet. What a release has already is not
        above it, and is called as it was before that release was.
        """
        if not self.decision.rules.prepared:
            for tag in newer_tags(self.facts.tags, self.name):
                if self._count(tag):
                    return tag
        return self.last

    @cached_property
    def commits(self) -> list[Commit]:
        """The commits since its last tag that change what its users get."""
        return self._commits_of(self.name)

    def _commits_of(self, subproject: str) -> list[Commit]:
        """The commits since this one's last tag that change what users of another get."""
        covered = self.facts.published_paths[subproject]
        commits = commits_since_tag(self.facts, self.name)
        return [commit for commit in commits if not covered.isdisjoint(commit.paths)]

    def _count(self, tag: Tag | None) -> int:
        """The N of X.Y.Z-dev.N: how many commits that a tag lacks may have changed the bytes.

        It grows with whatever changes a key while X.Y.Z stays: files of it and of what it is made
        from, what their builds are told (VERSION, delivery.toml), and merges, which bring a hotfix
        that is counted no more because its tag is here now.
        """
        paths = {"delivery.toml"}
        for name in with_dependencies(self.declaration, self.name):
            paths |= self.facts.published_paths[name]
            paths |= {f"{it}/VERSION" for it in self.declaration.subprojects[name].folders}
        commits = self.facts.commits
        if tag:
            commits = tuple(one for one in commits if one.sha in self.facts.commits_since[tag.name])
        return sum(not paths.isdisjoint((*one.paths, *one.merged_paths)) for one in commits)

    def _first(self) -> _Reason:
        """Why it gets its first version."""
        if tag := newest_tag(self.facts.tags, self.name, merged=False):
            return _Reason("first", f"{tag.name} is not in HEAD's history")
        return _Reason("first", "no version of it is tagged yet")

    def _above(self, base: Tag, others: Mapping[str, Version]) -> tuple[_Reason, str]:
        """How much above its base it is, and what it is called: at least what is written."""
        reason = self._reason(base, others)
        says = f"its files say {self.written}"
        if not reason.level and self.last and self.written == self.last.version:
            return _Reason("", f"nothing of it has changed since {self.last.name}"), self.written
        if not reason.level:
            # Builds are told what is written, so they give other bytes than the last version's.
            reason = _Reason("patch", says)
        number, written = _number(base), Number.parse(self.written)
        if reason.level == "major" and number.major == 0:  # as semver's §4 has it, and Cargo
            reason = _Reason("minor", f"{reason.because}: breaking, below 1.0.0")
        following = number.next_version(reason.level)
        if written <= following:
            return reason, str(following)
        how = "patch"
        if written.major > number.major or written.minor > number.minor:
            how = "major" if written.major > number.major else "minor"
        because = says if reason.because == says else f"{says}; {reason.because}"
        return _Reason(how, because), self.written

    def _reason(self, base: Tag, others: Mapping[str, Version]) -> _Reason:
        """Why it gets a new version, by git alone; no level for none."""
        apart = self.facts.commits_since[base.name]
        new = [one for one in self.commits if base == self.last or one.sha in apart]
        below = with_dependencies(self.declaration, self.name)[:-1]
        changed = [one for one in below if others[one].changed or self._commits_of(one)]
        if new:
            return _most(new)
        if changed:
            return _Reason("patch", ", ".join(f"{one} {others[one].next}" for one in changed))
        if declared := self.facts.build_changes.get(self.name):
            return _Reason("patch", declared)
        if self.commits or not self.last:
            return _Reason("patch", f"{base.name} is not merged here")
        return _Reason("", "")


def _most(commits: Sequence[Commit]) -> _Reason:
    """The commits' reason: the one that asks for most."""
    levels = [bump_of(commit.message) for commit in commits]
    most = min(levels, key=BUMPS.index)
    subject = commits[levels.index(most)].subject
    more = f" (and {len(commits) - 1} more)" if len(commits) > 1 else ""
    return _Reason(most, f"{subject}{more}")


def _number(tag: Tag) -> Number:
    return Number.parse(tag.version)
