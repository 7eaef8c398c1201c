"""The clean-up of a registry: which of its manifests stay, which go, and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import semver

from delivery.errors import RegistryError
from delivery.project.declaration import Prune
from delivery.release.released import Release

__all__ = [
    "STATE",
    "Held",
    "Outcome",
    "Registered",
    "Use",
    "Verdict",
    "decide",
    "digests",
    "read_state",
    "state",
    "subject_of",
]

STATE = "prune-state"  # the tag, beside the releases, of what a clean-up remembers for the next one
_SUBJECT = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
_LINES = {"dev": "develop", "rc": "candidate"}
_SHOWN = 3


@dataclass(frozen=True)
class Held:
    """A manifest that a repository of ours holds.

    of are the digests that it belongs to in the same repository: what it is attached to, or the index that it is a part of.
    blobs has the bytes of all that it is made of, itself included, by digest.
    """

    repository: str
    digest: str
    tags: tuple[str, ...]
    of: frozenset[str]
    blobs: Mapping[str, int]

    @property
    def pinned(self) -> str:
        """The reference that always means it."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Use:
    """What somebody runs, or may go back to: who, the digests, and the version of the release where it is known."""

    who: str
    digests: frozenset[str]
    version: str = ""


@dataclass(frozen=True)
class Registered:
    """What is known of a registry.

    repositories are ours, in the order in which things are removed from them: that of the releases comes first. held are the
    manifests in them, releases what the releases say by version, and seen when which reference was first seen without a release.
    """

    repositories: tuple[str, ...]
    held: tuple[Held, ...]
    releases: Mapping[str, Release]
    seen: Mapping[str, date]


@dataclass(frozen=True)
class Verdict:
    """What happens to a manifest, and why."""

    held: Held
    goes: bool
    because: str
    orphan: bool = False


@dataclass(frozen=True)
class Outcome:
    """The verdicts, those that go in the order in which they are to go; seen is what the next clean-up has to know."""

    verdicts: tuple[Verdict, ...]
    seen: Mapping[str, date]

    @property
    def going(self) -> tuple[Held, ...]:
        """What goes, in order: releases before what they name, what is attached before what it is attached to."""
        return tuple(verdict.held for verdict in self.verdicts if verdict.goes)

    @property
    def freed(self) -> int:
        """The bytes that nothing needs any more once all of that is gone."""
        kept = {digest for verdict in self.verdicts if not verdict.goes for digest in verdict.held.blobs}
        lost = {digest: size for held in self.going for digest, size in held.blobs.items()}
        return sum(size for digest, size in lost.items() if digest not in kept)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The verdicts as a table: repository, tags (a digest where there is none), what happens, why."""
        return [
            (
                verdict.held.repository,
                ", ".join(_short(tag) for tag in verdict.held.tags) or verdict.held.digest[:19],
                "goes" if verdict.goes else "stays",
                verdict.because,
            )
            for verdict in self.verdicts
        ]


def subject_of(tag: str) -> str:
    """The digest that a tag says its manifest belongs to (a list of what is attached, cosign's), or ""."""
    found = _SUBJECT.fullmatch(tag)
    return f"sha256:{found[1]}" if found else ""


def decide(there: Registered, uses: Sequence[Use], policy: Prune, today: date) -> Outcome:
    """Decide for every manifest.

    Releases X.Y.Z stay for ever, of each other line the newest; what is in use stays, and so does all that a staying release
    names, and what belongs to it. What no release names may be a push under way: it stays for some days after it was first seen.
    """
    judge = _Judge(there, uses, policy, today)
    verdicts = [judge.verdict(held) for held in there.held]
    seen = {verdict.held.pinned: there.seen.get(verdict.held.pinned, today) for verdict in verdicts if verdict.orphan}
    return Outcome(tuple(sorted(verdicts, key=judge.order)), seen)


def state(seen: Mapping[str, date]) -> str:
    """The text that is kept in the registry between two clean-ups."""
    return json.dumps({"seen": {pinned: day.isoformat() for pinned, day in sorted(seen.items())}}, indent=2) + "\n"


def read_state(text: str, *, file: str) -> dict[str, date]:
    """Read it again; raise RegistryError when it is none."""
    try:
        return {pinned: date.fromisoformat(day) for pinned, day in json.loads(text)["seen"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"read {file}: it is not what a clean-up wrote ({type(error).__name__}: {error})",
            hint="delete it: what no release names is then counted from today",
        ) from error


class _Judge:
    """What the verdicts of one clean-up go by, worked out once."""

    def __init__(self, there: Registered, uses: Sequence[Use], policy: Prune, today: date) -> None:
        self.there = there
        self.policy = policy
        self.today = today
        self.used = {digest: use.who for use in reversed(uses) for digest in use.digests}
        self.known = {(held.repository, held.digest): held for held in there.held}
        self.staying = _staying(there, uses, policy)
        self.named = _naming(there.releases, self.staying)
        self.naming_in_vain = _naming(there.releases, set(there.releases) - set(self.staying))

    def verdict(self, held: Held, asked: frozenset[str] = frozenset()) -> Verdict:
        """What happens to a manifest; asked are those that this is found out for, so that no circle is followed."""
        if reason := self._stays_by_itself(held):
            return Verdict(held, goes=False, because=reason)
        above = [
            self.verdict(self.known[held.repository, digest], asked | {held.digest})
            for digest in sorted(held.of - asked - {held.digest})
            if (held.repository, digest) in self.known
        ]
        if above:
            kept = [one for one in above if not one.goes]
            decisive = (kept or above)[0]
            return Verdict(
                held, not kept, f"belongs to {_name(decisive.held)}, which {_does(decisive)}", decisive.orphan
            )
        if reason := self._goes_by_itself(held):
            return Verdict(held, goes=True, because=reason)
        return self._orphan(held)

    def order(self, verdict: Verdict) -> tuple[bool, int, int, tuple[str, ...], str]:
        """What stays comes last; what goes comes before what it belongs to, and what no tag finds before what lists it."""
        held = verdict.held
        place = self.there.repositories.index(held.repository)
        return not verdict.goes, place, -self._depth(held, frozenset()), held.tags, held.digest

    def _depth(self, held: Held, asked: frozenset[str]) -> int:
        above = [
            self.known[held.repository, digest]
            for digest in held.of - asked - {held.digest}
            if (held.repository, digest) in self.known
        ]
        return max((1 + self._depth(one, asked | {held.digest}) for one in above), default=0)

    def _stays_by_itself(self, held: Held) -> str:
        if who := self.used.get(held.digest):
            return f"in use: {who}"
        if held.repository == self.there.repositories[0]:
            if STATE in held.tags:
                return "what this clean-up remembers"
            return next((self.staying[tag] for tag in held.tags if tag in self.staying), "")
        names = self.named.get(held.digest, ())
        return f"named by {_listed(names)}" if names else ""

    def _goes_by_itself(self, held: Held) -> str:
        if held.repository == self.there.repositories[0]:
            versions = [tag for tag in held.tags if tag in self.there.releases]
            line = _line(versions[0]) if versions else ""
            return f"older than the newest {getattr(self.policy, line)} of {line}" if line else ""
        names = self.naming_in_vain.get(held.digest, ())
        return f"named by nothing but {_listed(names)}, which goes too" if names else ""

    def _orphan(self, held: Held) -> Verdict:
        first = self.there.seen.get(held.pinned, self.today)
        since = f"no release names it, seen since {first}"
        if (self.today - first).days >= self.policy.days:
            return Verdict(held, goes=True, because=since, orphan=True)
        return Verdict(held, goes=False, because=f"{since}: less than {self.policy.days} days", orphan=True)


def _staying(there: Registered, uses: Iterable[Use], policy: Prune) -> dict[str, str]:
    """The releases that stay, each with why."""
    found: dict[str, str] = {}
    rank = {"develop": 0, "candidate": 0}
    for version in sorted(there.releases, key=semver.Version.parse, reverse=True):
        line = _line(version)
        if not line:
            found[version] = "releases stay for ever" if "-" not in version else "of no line that is cleaned up"
            continue
        keep = getattr(policy, line)
        if rank[line] < keep:
            found[version] = f"one of the newest {keep} of {line}"
        rank[line] += 1
    ours = {held.digest for held in there.held}
    for use in uses:
        found.update(dict.fromkeys(_meant(use.version, use.digests & ours, there.releases), f"in use: {use.who}"))
    return found


def _meant(version: str, used: frozenset[str], releases: Mapping[str, Release]) -> list[str]:
    """The releases that a use may be of: the one of its version if that has all that is used, else all that have."""
    having = [one for one, release in releases.items() if used <= digests(release)]
    if version in having:
        return [version]
    return having if used else []


def _line(version: str) -> str:
    """The line that a version comes from: develop, candidate, or "" for a release and for what is none of ours."""
    before, _, number = (semver.Version.parse(version).prerelease or "").partition(".")
    return _LINES.get(before, "") if number.isdecimal() else ""


def _naming(releases: Mapping[str, Release], versions: Iterable[str]) -> dict[str, list[str]]:
    """The versions that name each digest, newest first."""
    found: dict[str, list[str]] = {}
    for version in sorted(versions, key=semver.Version.parse, reverse=True):
        for digest in digests(releases[version]):
            found.setdefault(digest, []).append(version)
    return found


def digests(release: Release) -> frozenset[str]:
    """The digests of all that a release names."""
    return frozenset(digest for _, _, digest in release.content.values())


def _name(held: Held) -> str:
    return _short(held.tags[0]) if held.tags else held.digest[:19]


def _short(tag: str) -> str:
    """A tag as people read it: one that holds a whole digest is cut."""
    subject = subject_of(tag)
    return f"{tag[:19]}…{tag[len('sha256-') + 64 :]}" if subject else tag


def _does(verdict: Verdict) -> str:
    return "goes" if verdict.goes else "stays"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
