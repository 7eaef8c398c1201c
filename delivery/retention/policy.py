"""The decision which manifests of a registry are removed, and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

import semver

from delivery.errors import RegistryError
from delivery.project.declaration import Prune
from delivery.release.released import Release
from delivery.words import first_three

__all__ = [
    "STATE",
    "PrunePlan",
    "RegistryContents",
    "StoredManifest",
    "Use",
    "Verdict",
    "dump_state",
    "make_plan",
    "parse_state",
    "release_digests",
    "subject_of",
]

STATE = "prune-state"  # the tag, beside the releases, of the state that the next run reads
_SUBJECT = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
_LINES = {"dev": "develop", "rc": "candidate"}  # by the first part of a pre-release
_DIGEST_LENGTH = 19  # of a digest in a table


@dataclass(frozen=True)
class StoredManifest:
    """A manifest in a repository of the registry."""

    repository: str
    digest: str
    tags: tuple[str, ...]
    belongs_to: frozenset[str]  # the digests that it is attached to, or the indexes it is part of
    blobs: Mapping[str, int]  # the size of each blob and of the manifest itself, by digest
    members: frozenset[str] = frozenset()  # the digests of its images, if it is an index

    @property
    def pinned(self) -> str:
        """The reference by digest."""
        return f"{self.repository}@{self.digest}"

    @property
    def label(self) -> str:
        """The tags, else the digest, short enough for a table."""
        return ", ".join(_short(tag) for tag in self.tags) or self.digest[:_DIGEST_LENGTH]


@dataclass(frozen=True)
class Use:
    """Digests that an environment or a file uses."""

    user: str
    digests: frozenset[str]
    version: str = ""  # the release's, if known


@dataclass(frozen=True)
class RegistryContents:
    """The repositories of this project in a registry."""

    repositories: tuple[str, ...]  # in the order of removal: that of the releases is the first
    manifests: tuple[StoredManifest, ...]
    releases: Mapping[str, Release]  # by version
    first_seen: Mapping[str, date]  # when a run first saw a manifest that no release names


@dataclass(frozen=True)
class Verdict:
    """Whether a manifest is removed, and why."""

    manifest: StoredManifest
    is_removed: bool
    reason: str
    is_unnamed: bool = False  # no release names it

    def to_json(self) -> dict[str, object]:
        """The verdict as a JSON document."""
        return {
            "repository": self.manifest.repository,
            "digest": self.manifest.digest,
            "tags": list(self.manifest.tags),
            "goes": self.is_removed,
            "because": self.reason,
        }


@dataclass(frozen=True)
class PrunePlan:
    """A verdict on each manifest of a registry, and what it follows from."""

    contents: RegistryContents
    uses: Sequence[Use]
    policy: Prune
    today: date
    verdicts: tuple[Verdict, ...]  # the removed ones first, in the order of removal

    @property
    def removed(self) -> tuple[StoredManifest, ...]:
        """The manifests to remove: a release before its images, an attachment before its subject.

        An index before its members: what an interrupted run leaves is whole.
        """
        return tuple(verdict.manifest for verdict in self.verdicts if verdict.is_removed)

    @property
    def first_seen(self) -> dict[str, date]:
        """The state for the next run: when each manifest was first seen without a release."""
        names = [verdict.manifest.pinned for verdict in self.verdicts if verdict.is_unnamed]
        return {name: self.contents.first_seen.get(name, self.today) for name in names}

    @property
    def freed_bytes(self) -> int:
        """The bytes that only removed manifests need."""
        kept = {
            digest
            for verdict in self.verdicts
            if not verdict.is_removed
            for digest in verdict.manifest.blobs
        }
        blobs = {digest: size for each in self.removed for digest, size in each.blobs.items()}
        return sum(size for digest, size in blobs.items() if digest not in kept)

    def with_releases(self, releases: Mapping[str, Release]) -> PrunePlan:
        """The plan for a registry that also has these releases."""
        contents = replace(self.contents, releases={**self.contents.releases, **releases})
        return make_plan(contents, self.uses, self.policy, self.today)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The verdicts as rows of a table: repository, tags or digest, verdict, reason."""
        return [
            (
                verdict.manifest.repository,
                verdict.manifest.label,
                "remove" if verdict.is_removed else "keep",
                verdict.reason,
            )
            for verdict in self.verdicts
        ]

    def to_json(self) -> dict[str, object]:
        """The plan as a JSON document."""
        verdicts = [verdict.to_json() for verdict in self.verdicts]
        return {"manifests": verdicts, "freed_bytes": self.freed_bytes}


def make_plan(
    contents: RegistryContents, uses: Sequence[Use], policy: Prune, today: date
) -> PrunePlan:
    """Decide about every manifest of a registry.

    Kept are: releases X.Y.Z, the newest releases of each other line, everything in use, and
    everything that a kept release names, with its attachments. A manifest that no release names may
    belong to a push that has not ended: it is kept for some days after it was first seen.
    """
    decision = _Decision(contents, uses, policy, today)
    verdicts = [decision.verdict(manifest) for manifest in contents.manifests]
    return PrunePlan(
        contents, uses, policy, today, tuple(sorted(verdicts, key=decision.removal_order))
    )


def subject_of(tag: str) -> str:
    """The digest that a tag of cosign's, or of a list of referrers, belongs to, else ""."""
    match = _SUBJECT.fullmatch(tag)
    return f"sha256:{match[1]}" if match else ""


def release_digests(release: Release) -> frozenset[str]:
    """The digests of everything that a release names."""
    return frozenset(digest for _, _, digest in release.content.values())


def dump_state(first_seen: Mapping[str, date]) -> str:
    """The state that the registry keeps for the next run, as text."""
    seen = {pinned: day.isoformat() for pinned, day in sorted(first_seen.items())}
    return json.dumps({"seen": seen}, indent=2) + "\n"


def parse_state(text: str, *, file: str) -> dict[str, date]:
    """The state that an earlier run has written; raise RegistryError when it is invalid."""
    try:
        return {pinned: date.fromisoformat(day) for pinned, day in json.loads(text)["seen"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"cannot read {file}: it is not the state of an earlier run "
            f"({type(error).__name__}: {error})",
            hint="delete it: manifests that no release names then count as first seen today",
        ) from error


class _Reason(NamedTuple):
    is_removed: bool
    text: str


def _keep(text: str) -> _Reason:
    return _Reason(is_removed=False, text=text)


def _remove(text: str) -> _Reason:
    return _Reason(is_removed=True, text=text)


class _Decision:
    """What the verdicts follow from, computed once."""

    def __init__(
        self, contents: RegistryContents, uses: Sequence[Use], policy: Prune, today: date
    ) -> None:
        self.contents = contents
        self.days = policy.days
        self.today = today
        self.users = {digest: use.user for use in reversed(uses) for digest in use.digests}
        self.manifests = {(each.repository, each.digest): each for each in contents.manifests}
        self.releases = _decide_releases(contents, uses, policy)
        self.versions: dict[str, list[str]] = {}  # that name a digest, the newest first
        for version in self.releases:
            for digest in release_digests(contents.releases[version]):
                self.versions.setdefault(digest, []).append(version)

    def verdict(self, manifest: StoredManifest, parts: frozenset[str] = frozenset()) -> Verdict:
        """The verdict on a manifest; parts are those that ask for it, so that a cycle ends."""
        own = self._own_reason(manifest)
        if own and not own.is_removed:
            return Verdict(manifest, *own)
        parts |= {manifest.digest}
        wholes = [self.verdict(whole, parts) for whole in self._wholes(manifest, parts)]
        if wholes:
            # A part is kept if any of its wholes is kept.
            whole = min(wholes, key=lambda verdict: verdict.is_removed)
            label = whole.manifest.label.partition(", ")[0]
            reason = f"belongs to {label}, which is {'removed' if whole.is_removed else 'kept'}"
            return Verdict(manifest, whole.is_removed, reason, whole.is_unnamed)
        return Verdict(manifest, *own) if own else self._unnamed(manifest)

    def removal_order(
        self, verdict: Verdict
    ) -> tuple[bool, int, tuple[int, int], tuple[str, ...], str]:
        """The removed manifests first, by repository, an attachment before its subject."""
        manifest = verdict.manifest
        repository = self.contents.repositories.index(manifest.repository)
        rank = self._rank(manifest)
        return not verdict.is_removed, repository, rank, manifest.tags, manifest.digest

    def _wholes(self, manifest: StoredManifest, parts: frozenset[str]) -> list[StoredManifest]:
        """The manifests of the registry that a manifest belongs to."""
        keys = [(manifest.repository, digest) for digest in sorted(manifest.belongs_to - parts)]
        return [self.manifests[key] for key in keys if key in self.manifests]

    def _rank(
        self, manifest: StoredManifest, parts: frozenset[str] = frozenset()
    ) -> tuple[int, int]:
        """A member ranks after its index, an attachment before its subject."""
        parts |= {manifest.digest}
        indexes, subjects = list[tuple[int, int]](), list[tuple[int, int]]()
        for whole in self._wholes(manifest, parts):
            group = indexes if manifest.digest in whole.members else subjects
            group.append(self._rank(whole, parts))
        if indexes:
            return max(indexes)[0] + 1, 0
        if not subjects:
            return 0, 0
        level, rank = min(subjects)
        return level, rank - 1

    def _own_reason(self, manifest: StoredManifest) -> _Reason | None:
        """What uses and releases say of a manifest, whatever it belongs to."""
        if user := self.users.get(manifest.digest):
            return _keep(f"in use: {user}")
        if manifest.repository == self.contents.repositories[0]:
            if STATE in manifest.tags:
                return _keep("the state for the next run")
            reasons = [self.releases[tag] for tag in manifest.tags if tag in self.releases]
            return min(reasons, key=lambda reason: reason.is_removed, default=None)
        versions = self.versions.get(manifest.digest, [])
        if kept := [version for version in versions if not self.releases[version].is_removed]:
            return _keep(f"named by {first_three(kept)}")
        return _remove(f"named only by {first_three(versions)}, removed too") if versions else None

    def _unnamed(self, manifest: StoredManifest) -> Verdict:
        first = self.contents.first_seen.get(manifest.pinned, self.today)
        is_removed = (self.today - first).days >= self.days
        reason = f"no release names it, first seen on {first}"
        if not is_removed:
            reason += f": less than {self.days} days"
        return Verdict(manifest, is_removed, reason, is_unnamed=True)


def _decide_releases(
    contents: RegistryContents, uses: Iterable[Use], policy: Prune
) -> dict[str, _Reason]:
    """The verdict on each release, the newest first."""
    limits = {"develop": policy.develop, "candidate": policy.candidate}
    counts = dict.fromkeys(limits, 0)
    reasons: dict[str, _Reason] = {}
    for version in sorted(contents.releases, key=semver.Version.parse, reverse=True):
        line = _line(version)
        if not line:
            is_final = "-" not in version
            reasons[version] = _keep(
                "releases are kept" if is_final else "of no line that is pruned"
            )
            continue
        counts[line] += 1
        limit = limits[line]
        if counts[line] <= limit:
            reasons[version] = _keep(f"one of the newest {limit} of {line}")
        else:
            reasons[version] = _remove(f"older than the newest {limit} of {line}")
    stored = {manifest.digest for manifest in contents.manifests}
    for use in uses:
        for version in _used_versions(use.version, use.digests & stored, contents.releases):
            reasons[version] = _keep(f"in use: {use.user}")
    return reasons


def _used_versions(
    version: str, digests: frozenset[str], releases: Mapping[str, Release]
) -> list[str]:
    """The releases that are in use: the version if it names all digests, else each that does."""
    versions = [name for name, release in releases.items() if digests <= release_digests(release)]
    if version in versions:
        return [version]
    return versions if digests else []


def _line(version: str) -> str:
    """The line of a version, develop or candidate; "" for others, which are kept."""
    name, _, number = (semver.Version.parse(version).prerelease or "").partition(".")
    return _LINES.get(name, "") if number.isdecimal() else ""


def _short(tag: str) -> str:
    """A tag for a table: a digest in it is cut."""
    return f"{tag[:19]}…{tag[len('sha256-') + 64 :]}" if subject_of(tag) else tag
