"""What serves in an environment, and the names of what would: the versions that the ledger and helm's history have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from delivery.deploy.helm_values import pinned_images
from delivery.deploy.history import History, Revision
from delivery.deploy.selection import check_line
from delivery.deploy.target import Target
from delivery.errors import DeclarationError, DeliveryError
from delivery.project import files, gather
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.project.keys import chart_key
from delivery.records.deployment import Contents
from delivery.registry.client import Registry, is_reachable
from delivery.release import catalog
from delivery.release.released import Release, ReleasedPart

__all__ = [
    "Serving",
    "contents_of_clone",
    "contents_of_images",
    "contents_of_release",
    "look",
    "revision_contents",
]

_LOOKED_AT = 20  # the newest releases, searched for what a revision is
_DIGEST_SHOWN = len("sha256:") + 12
_KEY_SHOWN = 7
_CHART = re.compile(r"-(?P<version>[0-9]+\.[0-9]+\.[0-9]+.*)$")


@dataclass(frozen=True)
class Serving:
    """What serves: helm's revision, the images' (repository, digest) by name, and their versions with the chart's."""

    revision: Revision
    images: Mapping[str, tuple[str, str]]
    contents: Contents


def look(declaration: Declaration, target: Target) -> Serving | None:
    """What serves in an environment; None where nothing does."""
    history = target.helm.history()
    revision = history.serving
    if revision is None:
        return None
    images = pinned_images(target.helm.values(revision.number))
    return Serving(revision, images, _contents(declaration, target, history, revision, images))


def revision_contents(
    declaration: Declaration, target: Target, history: History, revision: Revision
) -> Contents:
    """What a revision of this history is made of."""
    images = pinned_images(target.helm.values(revision.number))
    return _contents(declaration, target, history, revision, images)


def _contents(
    declaration: Declaration,
    target: Target,
    history: History,
    revision: Revision,
    images: Mapping[str, tuple[str, str]],
) -> Contents:
    """The versions that a revision was described with.

    One that an earlier version of this project made has no description: it is named after a release
    of the same bytes, else by its digests.
    """
    # A component that was declared since is not in it.
    digests = {name: images[name][1] for name in declaration.components() if name in images}
    folder = declaration.chart.folder
    versions = history.versions(revision)
    if versions.keys() >= {*digests, folder}:
        return Contents(
            versions={name: versions[name] for name in (*digests, folder)}, digests=digests
        )
    with suppress(
        DeliveryError
    ):  # a registry that cannot be asked names nothing, and stops nothing
        if release := _published(declaration, target.name, digests, revision):
            return contents_of_release(declaration, release)
    named = contents_of_images(declaration, images)
    chart = _chart_version(revision) or revision.chart
    return named.model_copy(update={"versions": {**named.versions, folder: chart}})


def contents_of_release(declaration: Declaration, release: Release) -> Contents:
    """The components and the chart of a published release."""
    folder = declaration.chart.folder
    parts = {
        name: release.images[name] for name in declaration.components() if name in release.images
    }
    named: dict[str, ReleasedPart] = {
        **parts,
        **({folder: release.chart} if release.chart else {}),
    }
    return Contents(
        versions={name: part.version for name, part in named.items()},
        digests={name: part.digest for name, part in named.items()},
    )


def contents_of_images(
    declaration: Declaration, images: Mapping[str, tuple[str, str]], serving: Contents | None = None
) -> Contents:
    """Components of which the digests are all that is known; what serves with the same bytes keeps its name."""
    digests = {name: images[name][1] for name in declaration.components() if name in images}
    made = Contents(
        versions={name: digest[:_DIGEST_SHOWN] for name, digest in digests.items()}, digests=digests
    )
    return _keep_names(made, serving)


def contents_of_clone(
    declaration: Declaration, images: Mapping[str, ReleasedPart], serving: Contents | None = None
) -> Contents:
    """The images and the chart of this clone: each named by its version to come and its key.

    What serves with the same bytes keeps its name: one image has one name.
    """
    folder = declaration.chart.folder
    coming = _coming(declaration)
    keys = {name: images[name].key for name in declaration.components() if name in images}
    keys[folder] = chart_key(
        files.chart_files(ROOT / folder), version="", images={}, epoch=declaration.build.epoch
    )
    made = Contents(
        versions={name: _unreleased(coming.get(name, ""), key) for name, key in keys.items()},
        digests={
            name: images[name].digest if name in images else key for name, key in keys.items()
        },
    )
    return _keep_names(made, serving)


def _keep_names(made: Contents, serving: Contents | None) -> Contents:
    """The same, where bytes that serve already keep the name that they have; a digest is none."""
    names = serving.versions if serving else {}
    same = made.unchanged_from(serving) if serving else set()
    kept = {name: names[name] for name in same if not _is_digest(names[name])}
    return made.model_copy(update={"versions": {**made.versions, **kept}})


def _coming(declaration: Declaration) -> dict[str, str]:
    """The versions to come, as git says; none where there is no git."""
    try:
        return gather.load_checkout(declaration, ROOT, ask=False).published
    except DeliveryError:
        return {}


def _is_digest(version: str) -> bool:
    return version.startswith("sha256:")


def _unreleased(version: str, key: str) -> str:
    return f"{version}+{key[:_KEY_SHOWN]}" if version else key[:_KEY_SHOWN]


def _chart_version(revision: Revision) -> str:
    found = _CHART.search(revision.chart)
    return found["version"] if found else ""


def _published(
    declaration: Declaration, environment: str, digests: Mapping[str, str], revision: Revision
) -> Release | None:
    """The release that a revision is, of those in the registry.

    Of several with the same bytes it is one of the environment's line.
    """
    address = declaration.registry.address
    if not is_reachable(address):
        return None
    registry = Registry(address)
    lines = {line for line, name in declaration.gitflow.deploys.items() if name == environment}
    matching = []
    for version in catalog.versions(registry)[:_LOOKED_AT]:
        release = catalog.find(registry, version)
        if (
            release is None
            or not _may_be(revision, release.version)
            or not _fits(declaration, environment, release)
        ):
            continue
        if all(
            name in release.images and release.images[name].digest == digest
            for name, digest in digests.items()
        ):
            matching.append(release)
    return next(
        (release for release in matching if release.line in lines),
        matching[0] if matching else None,
    )


def _may_be(revision: Revision, version: str) -> bool:
    """Whether a revision's chart may be of this version; a candidate is packaged as the version to come."""
    return _chart_version(revision) in {version, version.partition("-")[0]}


def _fits(declaration: Declaration, environment: str, release: Release) -> bool:
    try:
        check_line(environment, release, declaration)
    except DeclarationError:
        return False
    return True
