"""Each subproject's next version, from the Conventional Commits since its last tag."""

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
    last: str  # the newest merged tag's version, "" without such a tag
    written: str  # the version in its files
    next: str  # the version of its next release; `last` if it has not changed
    published: str  # what this line publishes: X.Y.Z-dev.N, X.Y.Z-rc.N, X.Y.Z, or `last`
    bump: str  # "major", "minor", "patch", "first", or "" if it has not changed
    because: str  # why it has this version, in a line for people
    commits: tuple[str, ...]  # the subjects of the commits that change it, newest first

    @property
    def changed(self) -> bool:
        """Whether it gets a new version."""
        return bool(self.bump)


@dataclass(frozen=True)
class Checkout:
    """The commit that is checked out: its facts, and the decisions from them."""

    declaration: Declaration
    facts: Facts
    decision: Decision
    versions: Mapping[str, Version]  # by subproject, each after those that it is built on

    @property
    def release(self) -> str:
        """The version of the whole release: the chart's."""
        return self.versions[self.declaration.subproject_of(self.declaration.chart.folder)].next

    @property
    def published(self) -> dict[str, str]:
        """The version that each image, and the chart, is published as, by name."""
        chart = self.declaration.chart.folder
        folders = {name: image.context for name, image in self.declaration.images.items()}
        return {
            name: self.versions[self.declaration.subproject_of(folder)].published
            for name, folder in {**folders, chart: chart}.items()
        }


def decide(declaration: Declaration, facts: Facts) -> Checkout:
    """The gitflow decision for a clone, and the version of every subproject."""
    decision = gitflow.decide(facts.ref, declaration)
    versions: dict[str, Version] = {}
    for name in declaration.subprojects_in_order():
        versions[name] = _Subproject(declaration, facts, decision, name).version(versions)
    return Checkout(declaration, facts, decision, versions)


def bump_of(message: str) -> str:
    """How far a commit raises the version: "major", "minor" or "patch".

    A commit without a conventional message is a patch: it may change published bytes, and a
    published version never changes.
    """
    header = _HEADER.match(message.lstrip())
    if (header and header["breaking"]) or _BREAKING.search(message):
        return "major"
    return "minor" if header and header["type"].lower() == "feat" else "patch"


def newest_tag(tags: Iterable[Tag], subproject: str) -> Tag | None:
    """A subproject's merged tag with the highest version."""
    candidates = [tag for tag in tags if tag.subproject == subproject and tag.merged]
    return max(candidates, key=_number, default=None)


def commits_since_tag(facts: Facts, subproject: str) -> list[Commit]:
    """The commits since a subproject's newest merged tag, newest first; all without a tag."""
    last = newest_tag(facts.tags, subproject)
    if last is None:
        return list(facts.commits)
    return [commit for commit in facts.commits if commit.sha in facts.commits_since[last.name]]


def counting_start(tags: Iterable[Tag], base: Tag, bump: str) -> Tag:
    """The tag from which the N of X.Y.Z-dev.N is counted, if X.Y.Z is `bump` above `base`.

    It is the oldest tag with the same next version, so that N does not start again at a tag in
    between: 1.1.0 follows 1.0.0 as well as 1.0.1.
    """
    parts = {"major": 1, "minor": 2}.get(bump, 3)
    series = base.version.split(".")[:parts]
    candidates = (tag for tag in tags if tag.subproject == base.subproject)
    return min((tag for tag in candidates if tag.version.split(".")[:parts] == series), key=_number)


def newer_tags(tags: Iterable[Tag], subproject: str) -> list[Tag]:
    """The tags of a subproject above its newest merged tag, if it has any; the highest first."""
    candidates = [tag for tag in tags if tag.subproject == subproject]
    last = newest_tag(candidates, subproject)
    newer = [tag for tag in candidates if not last or _number(tag) > _number(last)]
    return sorted(newer, key=_number, reverse=True)


def with_dependencies(declaration: Declaration, name: str) -> list[str]:
    """A subproject after all that it is built on, directly or not."""
    names: list[str] = []
    for dependency in declaration.subprojects[name].after:
        names += with_dependencies(declaration, dependency)
    return [*dict.fromkeys(names), name]


def published_subprojects(declaration: Declaration, decision: Decision) -> list[str]:
    """The subprojects that a plan publishes: all, or a tag's own and those that it is built on."""
    tag = parse_version_tag(decision.ref.name, declaration) if decision.ref.kind == "tag" else None
    return with_dependencies(declaration, tag[0]) if tag else declaration.subprojects_in_order()


@dataclass(frozen=True)
class _Change:
    """Why a subproject gets a new version."""

    bump: str  # "" if it has not changed
    because: str


@dataclass(frozen=True)
class _Subproject:
    """Decides the version of a subproject."""

    declaration: Declaration
    facts: Facts
    decision: Decision
    name: str

    def version(self, others: Mapping[str, Version]) -> Version:
        """The subproject's version; others are the versions of those that it is built on."""
        if self.base:
            change, following = self._above(self.base, others)
            start = counting_start(self.facts.tags, self.base, change.bump)
        else:
            change, following, start = self._first(), self.written, None
        published = following
        if change.bump and self.decision.suffix:
            published = f"{following}-{self.decision.suffix}.{max(1, self._count(start))}"
        return Version(
            subproject=self.name,
            last=self.last.version if self.last else "",
            written=self.written,
            next=following,
            published=published,
            bump=change.bump,
            because=change.because,
            commits=tuple(commit.subject for commit in self.commits) if change.bump else (),
        )

    @cached_property
    def written(self) -> str:
        """The version in its files."""
        return self.facts.file_versions[self.name]

    @cached_property
    def last(self) -> Tag | None:
        """Its newest merged tag."""
        return newest_tag(self.facts.tags, self.name)

    @cached_property
    def base(self) -> Tag | None:
        """The tag that the next version is above.

        It is the last merged tag. On a line that publishes unprepared versions, a newer tag that
        lacks a change of HEAD comes first: a fix on develop is above a hotfix that is not merged.
        """
        newer = [] if self.decision.rules.prepared else newer_tags(self.facts.tags, self.name)
        return next((tag for tag in newer if self._count(tag)), self.last)

    @cached_property
    def commits(self) -> list[Commit]:
        """The commits since its last tag that change its published paths."""
        return self._commits_of(self.name)

    def _commits_of(self, subproject: str) -> list[Commit]:
        """The commits since its own last tag that change a subproject's published paths."""
        published = self.facts.published_paths[subproject]
        commits = commits_since_tag(self.facts, self.name)
        return [commit for commit in commits if not published.isdisjoint(commit.paths)]

    def _count(self, tag: Tag | None) -> int:
        """The N of X.Y.Z-dev.N: how many commits since a tag may have changed the published bytes.

        These are the commits that change its files, the files of what it is built on, or what their
        builds get (VERSION, delivery.toml). Merges count too: once a merged hotfix has a tag of its
        own, its commit no longer counts, and N must not fall.
        """
        paths = {"delivery.toml"}
        for name in with_dependencies(self.declaration, self.name):
            folders = self.declaration.subprojects[name].folders
            paths |= self.facts.published_paths[name] | {f"{folder}/VERSION" for folder in folders}
        shas = self.facts.commits_since[tag.name] if tag else None
        return sum(
            not paths.isdisjoint((*commit.paths, *commit.merged_paths))
            for commit in self.facts.commits
            if shas is None or commit.sha in shas
        )

    def _first(self) -> _Change:
        """Why it gets its first version."""
        if tags := newer_tags(self.facts.tags, self.name):
            return _Change("first", f"{tags[0].name} is not in HEAD's history")
        return _Change("first", "it has no version tag yet")

    def _above(self, base: Tag, others: Mapping[str, Version]) -> tuple[_Change, str]:
        """The change since `base`, and the next version: at least the version in its files."""
        change = self._change(base, others)
        files_say = f"its files say {self.written}"
        if not change.bump and self.last and self.written == self.last.version:
            return _Change("", f"it has not changed since {self.last.name}"), self.written
        if not change.bump:
            # The version in the files is a build argument, so the bytes differ from the last ones.
            change = _Change("patch", files_say)
        number, written = _number(base), Number.parse(self.written)
        if change.bump == "major" and number.major == 0:  # as semver's §4 has it, and Cargo
            change = _Change("minor", f"{change.because}: breaking, below 1.0.0")
        following = number.next_version(change.bump)
        if written <= following:
            return change, str(following)
        bump = "patch"
        if written.major > number.major or written.minor > number.minor:
            bump = "major" if written.major > number.major else "minor"
        because = files_say if change.because == files_say else f"{files_say}; {change.because}"
        return _Change(bump, because), self.written

    def _change(self, base: Tag, others: Mapping[str, Version]) -> _Change:
        """The change since `base` by git alone."""
        since_base = self.facts.commits_since[base.name]
        new = [commit for commit in self.commits if base == self.last or commit.sha in since_base]
        if new:
            return _largest(new)
        changed = [
            name
            for name in with_dependencies(self.declaration, self.name)[:-1]
            if others[name].changed or self._commits_of(name)
        ]
        if changed:
            return _Change("patch", ", ".join(f"{name} {others[name].next}" for name in changed))
        if change := self.facts.build_changes.get(self.name):
            return _Change("patch", change)
        if self.commits or not self.last:
            return _Change("patch", f"{base.name} is not merged here")
        return _Change("", "")


def _largest(commits: Sequence[Commit]) -> _Change:
    """The change of the commit that raises the version furthest."""
    bumps = [bump_of(commit.message) for commit in commits]
    largest = min(bumps, key=BUMPS.index)
    subject = commits[bumps.index(largest)].subject
    more = f" (and {len(commits) - 1} more)" if len(commits) > 1 else ""
    return _Change(largest, f"{subject}{more}")


def _number(tag: Tag) -> Number:
    return Number.parse(tag.version)
