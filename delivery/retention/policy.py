"""The clean-up of a registry: which of its manifests stay, which go, and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

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
    """A manifest that a repository of ours holds."""

    repository: str
    digest: str
    tags: tuple[str, ...]
    of: frozenset[str]  # what it is attached to, or the index that it is a part of
    blobs: Mapping[str, int]  # the bytes of all that it is made of, itself included, by digest

    @property
    def pinned(self) -> str:
        """The reference that always means it."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Use:
    """What somebody runs, or may go back to."""

    who: str
    digests: frozenset[str]
    version: str = ""  # the release's, where it is known


@dataclass(frozen=True)
class Registered:
    """What our repositories in a registry hold."""

    repositories: tuple[str, ...]  # in the order of removal; that of the releases is the first
    held: tuple[Held, ...]
    releases: Mapping[str, Release]  # by version
    seen: Mapping[str, date]  # when a reference was first seen without a release


@dataclass(frozen=True)
class Verdict:
    """What happens to a manifest, and why."""

    held: Held
    goes: bool
    because: str
    orphan: bool = False


@dataclass(frozen=True)
class Outcome:
    """What happens to every manifest."""

    verdicts: tuple[Verdict, ...]  # those that go come first, in the order of removal
    seen: Mapping[str, date]  # what the next clean-up has to know

    @property
    def going(self) -> tuple[Held, ...]:
        """What goes: a release before what it names, a part before its whole."""
        return tuple(verdict.held for verdict in self.verdicts if verdict.goes)

    @property
    def freed(self) -> int:
        """The bytes that nothing needs any more once all of that is gone."""
        kept = {
            digest for verdict in self.verdicts if not verdict.goes for digest in verdict.held.blobs
        }
        lost = {digest: size for held in self.going for digest, size in held.blobs.items()}
        return sum(size for digest, size in lost.items() if digest not in kept)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The verdicts as a table: repository, tags (without any the digest), what happens, why."""
        return [
            (
                verdict.held.repository,
                ", ".join(_short(tag) for tag in verdict.held.tags) or verdict.held.digest[:19],
                "goes" if verdict.goes else "stays",
                verdict.because,
            )
            for verdict in self.verdicts
        ]

    def to_json(self) -> dict[str, object]:
        """The verdicts for a machine, and the bytes that are freed."""
        verdicts = [
            {
                "repository": verdict.held.repository,
                "digest": verdict.held.digest,
                "tags": list(verdict.held.tags),
                "goes": verdict.goes,
                "because": verdict.because,
            }
            for verdict in self.verdicts
        ]
        return {"manifests": verdicts, "freed_bytes": self.freed}


def subject_of(tag: str) -> str:
    """The digest that a tag of cosign's, or of a list of referrers, stands for, or ""."""
    found = _SUBJECT.fullmatch(tag)
    return f"sha256:{found[1]}" if found else ""


def decide(registered: Registered, uses: Sequence[Use], policy: Prune, today: date) -> Outcome:
    """Decide for every manifest.

    Releases X.Y.Z stay for ever, of each other line the newest. What is in use stays, and so does
    all that a staying release names, and what belongs to it. What no release names may be a push
    under way: it stays for some days after it was first seen.
    """
    decision = _Decision(registered, uses, policy, today)
    verdicts = [decision.verdict(held) for held in registered.held]
    seen = {
        verdict.held.pinned: registered.seen.get(verdict.held.pinned, today)
        for verdict in verdicts
        if verdict.orphan
    }
    return Outcome(tuple(sorted(verdicts, key=decision.order)), seen)


def state(seen: Mapping[str, date]) -> str:
    """The text that is kept in the registry between two clean-ups."""
    return (
        json.dumps(
            {"seen": {pinned: day.isoformat() for pinned, day in sorted(seen.items())}}, indent=2
        )
        + "\n"
    )


def read_state(text: str, *, file: str) -> dict[str, date]:
    """Read it again; raise RegistryError when it is none."""
    try:
        return {pinned: date.fromisoformat(day) for pinned, day in json.loads(text)["seen"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"read {file}: it is not what a clean-up wrote ({type(error).__name__}: {error})",
            hint="delete it: what no release names is then counted from today",
        ) from error


class _Reason(NamedTuple):
    goes: bool
    because: str


def _stays(because: str) -> _Reason:
    return _Reason(goes=False, because=because)


def _goes(because: str) -> _Reason:
    return _Reason(goes=True, because=because)


class _Decision:
    """What the verdicts of one clean-up follow from, computed once."""

    def __init__(
        self, registered: Registered, uses: Sequence[Use], policy: Prune, today: date
    ) -> None:
        self.registered = registered
        self.days = policy.days
        self.today = today
        self.used = {digest: use.who for use in reversed(uses) for digest in use.digests}
        self.known = {(held.repository, held.digest): held for held in registered.held}
        self.releases = _releases(registered, uses, policy)
        self.naming: dict[str, list[str]] = {}  # the versions that name a digest, newest first
        for version in self.releases:
            for digest in digests(registered.releases[version]):
                self.naming.setdefault(digest, []).append(version)

    def verdict(self, held: Held, asked: frozenset[str] = frozenset()) -> Verdict:
        """What happens to a manifest.

        `asked` are the manifests that this is decided for, so that no circle is followed.
        """
        own = self._by_itself(held)
        if own and not own.goes:
            return Verdict(held, *own)
        wholes = [self.verdict(whole, asked | {held.digest}) for whole in self._wholes(held, asked)]
        if wholes:
            decisive = min(wholes, key=lambda whole: whole.goes)
            because = (
                f"belongs to {_name(decisive.held)}, which {'goes' if decisive.goes else 'stays'}"
            )
            return Verdict(held, decisive.goes, because, decisive.orphan)
        return Verdict(held, *own) if own else self._orphan(held)

    def order(self, verdict: Verdict) -> tuple[bool, int, int, tuple[str, ...], str]:
        """What goes comes first, in the order of repositories, and a part before its whole."""
        held = verdict.held
        repository = self.registered.repositories.index(held.repository)
        return not verdict.goes, repository, -self._depth(held), held.tags, held.digest

    def _wholes(self, held: Held, asked: frozenset[str]) -> list[Held]:
        """What a manifest belongs to, of what is in the registry."""
        wanted = [(held.repository, digest) for digest in sorted(held.of - asked - {held.digest})]
        return [self.known[key] for key in wanted if key in self.known]

    def _depth(self, held: Held, asked: frozenset[str] = frozenset()) -> int:
        wholes = self._wholes(held, asked)
        return max((1 + self._depth(whole, asked | {held.digest}) for whole in wholes), default=0)

    def _by_itself(self, held: Held) -> _Reason | None:
        """What its uses and the releases say of a manifest, whatever it belongs to."""
        if who := self.used.get(held.digest):
            return _stays(f"in use: {who}")
        if held.repository == self.registered.repositories[0]:
            if STATE in held.tags:
                return _stays("what this clean-up remembers")
            reasons = [self.releases[tag] for tag in held.tags if tag in self.releases]
            return min(reasons, key=lambda reason: reason.goes, default=None)
        versions = self.naming.get(held.digest, [])
        if staying := [version for version in versions if not self.releases[version].goes]:
            return _stays(f"named by {_listed(staying)}")
        return (
            _goes(f"named by nothing but {_listed(versions)}, which goes too") if versions else None
        )

    def _orphan(self, held: Held) -> Verdict:
        first = self.registered.seen.get(held.pinned, self.today)
        goes = (self.today - first).days >= self.days
        because = f"no release names it, seen since {first}"
        return Verdict(
            held, goes, because if goes else f"{because}: less than {self.days} days", orphan=True
        )


def _releases(registered: Registered, uses: Iterable[Use], policy: Prune) -> dict[str, _Reason]:
    """What happens to each release, newest first."""
    keep = {"develop": policy.develop, "candidate": policy.candidate}
    left = dict(keep)
    reasons: dict[str, _Reason] = {}
    for version in sorted(registered.releases, key=semver.Version.parse, reverse=True):
        line = _line(version)
        if not line:
            because = (
                "of no line that is cleaned up" if "-" in version else "releases stay for ever"
            )
            reasons[version] = _stays(because)
        elif left[line]:
            left[line] -= 1
            reasons[version] = _stays(f"one of the newest {keep[line]} of {line}")
        else:
            reasons[version] = _goes(f"older than the newest {keep[line]} of {line}")
    ours = {held.digest for held in registered.held}
    for use in uses:
        for version in _versions(use.version, use.digests & ours, registered.releases):
            reasons[version] = _stays(f"in use: {use.who}")
    return reasons


def _versions(version: str, used: frozenset[str], releases: Mapping[str, Release]) -> list[str]:
    """The releases that a use may be of: its version's if that names all that is used, else all that do."""
    having = [name for name, release in releases.items() if used <= digests(release)]
    if version in having:
        return [version]
    return having if used else []


def _line(version: str) -> str:
    """The line that a version comes from: develop, candidate, or "" for others, which stay."""
    name, _, number = (semver.Version.parse(version).prerelease or "").partition(".")
    return _LINES.get(name, "") if number.isdecimal() else ""


def digests(release: Release) -> frozenset[str]:
    """The digests of all that a release names."""
    return frozenset(digest for _, _, digest in release.content.values())


def _name(held: Held) -> str:
    return _short(held.tags[0]) if held.tags else held.digest[:19]


def _short(tag: str) -> str:
    """A tag as people read it: one that holds a whole digest is cut."""
    subject = subject_of(tag)
    return f"{tag[:19]}…{tag[len('sha256-') + 64 :]}" if subject else tag


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
