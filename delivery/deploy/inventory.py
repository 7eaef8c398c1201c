"""What is deployed to an environment, and the versions by which the ledger and helm name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from delivery.deploy.helm_values import pinned_images
from delivery.deploy.history import History, Revision
from delivery.deploy.selection import is_allowed
from delivery.deploy.target import Target
from delivery.errors import DeliveryError
from delivery.project import files, gather
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.project.keys import chart_key
from delivery.records.deployment import Contents
from delivery.registry.client import Registry, is_reachable
from delivery.release import catalog
from delivery.release.released import Release, ReleasedPart

__all__ = [
    "Deployed",
    "contents_of_clone",
    "contents_of_images",
    "contents_of_release",
    "read_deployed",
    "read_revision",
]

_SEARCHED = 20  # how many of the newest releases are compared with a revision
_DIGEST_SHOWN = len("sha256:") + 12
_KEY_SHOWN = 7
_CHART = re.compile(r"-(?P<version>[0-9]+\.[0-9]+\.[0-9]+.*)$")


@dataclass(frozen=True)
class Deployed:
    """What a revision deployed to an environment."""

    revision: Revision
    images: Mapping[str, tuple[str, str]]  # (repository, digest) by component
    contents: Contents


def read_deployed(declaration: Declaration, target: Target) -> Deployed | None:
    """What is deployed to an environment; None when nothing is."""
    history = target.helm.history()
    return (
        read_revision(declaration, target, history, history.deployed) if history.deployed else None
    )


def read_revision(
    declaration: Declaration, target: Target, history: History, revision: Revision
) -> Deployed:
    """What a revision of this history deployed."""
    images = pinned_images(revision.values)
    # A component that was declared later is not in it.
    digests = {name: images[name][1] for name in declaration.components() if name in images}
    folder = declaration.chart.folder
    versions = history.versions(revision)
    if versions.keys() >= {*digests, folder}:
        named = {name: versions[name] for name in (*digests, folder)}
        return Deployed(revision, images, Contents(versions=named, digests=digests))
    # Made by an earlier version of this project, or by a user's own helm: it is named after a
    # release of the same bytes, else by its digests.
    with suppress(DeliveryError):  # a registry that does not answer must not stop a deploy
        if release := _find_published(declaration, target.name, digests, revision):
            return Deployed(revision, images, contents_of_release(declaration, release))
    contents = contents_of_images(declaration, images)
    chart = _chart_version(revision) or revision.chart
    contents = contents.model_copy(update={"versions": {**contents.versions, folder: chart}})
    return Deployed(revision, images, contents)


def contents_of_release(declaration: Declaration, release: Release) -> Contents:
    """The components and the chart of a published release."""
    names = [name for name in declaration.components() if name in release.images]
    parts: dict[str, ReleasedPart] = {name: release.images[name] for name in names}
    if release.chart:
        parts[declaration.chart.folder] = release.chart
    return Contents(
        versions={name: part.version for name, part in parts.items()},
        digests={name: part.digest for name, part in parts.items()},
    )


def contents_of_images(
    declaration: Declaration,
    images: Mapping[str, tuple[str, str]],
    previous: Contents | None = None,
) -> Contents:
    """Components of which only the digests are known; unchanged bytes keep their previous name."""
    digests = {name: images[name][1] for name in declaration.components() if name in images}
    versions = {name: digest[:_DIGEST_SHOWN] for name, digest in digests.items()}
    versions |= _kept_names(Contents(versions=versions, digests=digests), previous)
    return Contents(versions=versions, digests=digests)


def contents_of_clone(
    declaration: Declaration, images: Mapping[str, ReleasedPart], previous: Contents | None = None
) -> Contents:
    """The clone's images and chart: each named by its next version and its key.

    Unchanged bytes keep their previous name, so that an image has a single name.
    """
    folder = declaration.chart.folder
    keys = {name: images[name].key for name in declaration.components() if name in images}
    keys[folder] = chart_key(
        files.chart_files(ROOT / folder), version="", images={}, epoch=declaration.build.epoch
    )
    digests = {name: images[name].digest if name in images else key for name, key in keys.items()}
    versions = {name: key[:_KEY_SHOWN] for name, key in keys.items()}
    kept = _kept_names(Contents(versions=versions, digests=digests), previous)
    if versions.keys() - kept.keys():  # else Git need not be asked
        for name, next_version in _next_versions(declaration).items():
            if name in versions:
                versions[name] = f"{next_version}+{versions[name]}"
    return Contents(versions=versions | kept, digests=digests)


def _kept_names(contents: Contents, previous: Contents | None) -> dict[str, str]:
    """The previous names of unchanged bytes, except those that are only digests."""
    if previous is None:
        return {}
    names = {name: previous.versions[name] for name in contents.unchanged_from(previous)}
    return {name: version for name, version in names.items() if not version.startswith("sha256:")}


def _next_versions(declaration: Declaration) -> dict[str, str]:
    """The versions that this clone would publish; empty without git."""
    try:
        return gather.load_checkout(declaration, ROOT, ask=False).published
    except DeliveryError:
        return {}


def _chart_version(revision: Revision) -> str:
    match = _CHART.search(revision.chart)
    return match["version"] if match else ""


def _find_published(
    declaration: Declaration, environment: str, digests: Mapping[str, str], revision: Revision
) -> Release | None:
    """The published release with a revision's bytes, preferably of the environment's line."""
    address = declaration.registry.address
    if not is_reachable(address):
        return None
    registry = Registry(address)
    lines = {line for line, name in declaration.gitflow.deploys.items() if name == environment}
    matches = []
    for version in catalog.versions(registry)[:_SEARCHED]:
        release = catalog.find(registry, version)
        if release is None or not is_allowed(environment, release, declaration):
            continue
        if _has_chart(release, revision) and _has_images(release, digests):
            matches.append(release)
    of_line = [release for release in matches if release.line in lines]
    return next(iter([*of_line, *matches]), None)


def _has_chart(release: Release, revision: Revision) -> bool:
    """Whether a revision's chart may be the release's: a candidate's is packaged as X.Y.Z."""
    return _chart_version(revision) in {release.version, release.version.partition("-")[0]}


def _has_images(release: Release, digests: Mapping[str, str]) -> bool:
    released = {name: image.digest for name, image in release.images.items()}
    return all(released.get(name) == digest for name, digest in digests.items())
