"""The versions of what is deployed, and the digests behind them, for ledger and helm's history."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from delivery.deploy.deployment import (
    Revision,
    check_line,
    deployed,
    deployed_images,
    name_unreleased,
    rollback_target,
    versions_of,
)
from delivery.deploy.upgrade import RELEASE, Target
from delivery.errors import DeclarationError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.project.keys import chart_key
from delivery.records import recorder
from delivery.registry.client import Registry, answers
from delivery.release import catalog
from delivery.release.contents import Contents, bytes_of
from delivery.release.released import Release, ReleasedImage

__all__ = ["contents", "current", "going_back", "of_revision", "to_deploy"]

_LOOKED_AT = 20  # so many releases, the newest, are looked at for what a revision is
_SHOWN = len("sha256:") + 12
_CHART = re.compile(r"-(?P<version>[0-9]+\.[0-9]+\.[0-9]+.*)$")
_NOTHING = Contents({})


def contents(declaration: Declaration, release: Release, before: Contents = _NOTHING) -> Contents:
    """What a release is made of, with the chart.

    What is no release is named by the version to come and its bytes. Where its bytes are those of
    before, it keeps that name: one image has one name.
    """
    images = {name: release.images[name] for name in declaration.components() if name in release.images}
    folder = declaration.chart.folder
    key = "" if release.chart else _chart_key(declaration)
    digests = {name: image.digest for name, image in images.items()}
    digests[folder] = release.chart.digest if release.chart else key
    released = release.chart and all(image.version for image in images.values())
    coming = {} if released else recorder.decided(declaration)
    versions = {name: _image_name(name, image, before, coming) for name, image in images.items()}
    if release.chart:
        versions[folder] = release.chart.version
    else:
        name = name_unreleased(coming.get(folder, ""), key)
        known = before.versions.get(folder, "")
        versions[folder] = known if bytes_of(known) == bytes_of(name) else name
    return Contents(versions, digests)


def _image_name(name: str, image: ReleasedImage, before: Contents, coming: Mapping[str, str]) -> str:
    if image.version:
        return image.version
    if before.digests.get(name) == image.digest and name in before.versions:
        return before.versions[name]
    if image.key.startswith("revision "):
        return image.digest[:_SHOWN]
    return name_unreleased(coming.get(name, ""), image.key)


def _chart_key(declaration: Declaration) -> str:
    """The key of the chart's folder; its images are values, and are not part of it."""
    listed = files.chart_files(ROOT / declaration.chart.folder)
    return chart_key(listed, version="", images={}, epoch=declaration.build.epoch)


def to_deploy(
    declaration: Declaration, place: Target, now: Release | None, release: Release
) -> tuple[Contents, set[str]]:
    """What a release is made of, and which of it serves already.

    Of a chart that nothing is known about, the bytes count as those that serve.
    """
    history = place.helm.history(RELEASE)
    serving = deployed(history)
    if now is None or serving is None:
        return contents(declaration, release), set()
    versions = versions_of(serving, history)
    before = Contents(versions, {name: image.digest for name, image in now.images.items()})
    made = contents(declaration, release, before)
    same = {name for name, digest in made.digests.items() if before.digests.get(name) == digest}
    folder = declaration.chart.folder
    if folder in versions:
        is_same = bytes_of(versions[folder]) == bytes_of(made.versions[folder])
    else:
        is_same = release.chart is None or _is_of(serving, release.chart.version)
    return made, same | ({folder} if is_same else set())


def _is_of(revision: Revision, version: str) -> bool:
    """Whether a revision's chart may be the one of this version; candidates are packaged as the version to come."""
    told = _CHART.search(revision.chart)
    return told is not None and told["version"] in {version, version.partition("-")[0]}


def going_back(declaration: Declaration, place: Target, told: int) -> tuple[Contents, Contents]:
    """What a rollback brings back, and what serves until then."""
    history = place.helm.history(RELEASE)
    serving = deployed(history)
    return of_revision(declaration, place, rollback_target(history, told), history), (
        of_revision(declaration, place, serving, history) if serving else _NOTHING
    )


def current(declaration: Declaration, place: Target) -> Contents:
    """What serves; nothing where nothing does."""
    history = place.helm.history(RELEASE)
    serving = deployed(history)
    return of_revision(declaration, place, serving, history) if serving else _NOTHING


def of_revision(
    declaration: Declaration,
    place: Target,
    revision: Revision,
    history: Sequence[Revision] | None = None,
) -> Contents:
    """What a revision of this history says that it is made of.

    One that an earlier version of this project made says nothing: it is a release with the same
    bytes, else its digests name it.
    """
    history = place.helm.history(RELEASE) if history is None else history
    images = deployed_images(place.helm.values(RELEASE, revision.number))
    # A component that was declared since is not in it.
    digests = {name: images[name][1] for name in declaration.components() if name in images}
    folder = declaration.chart.folder
    versions = versions_of(revision, history)
    if versions.keys() >= {*digests, folder}:
        return Contents({name: versions[name] for name in (*digests, folder)}, digests)
    release = _release(declaration, place.name, digests, revision)
    if release:
        return contents(declaration, release)
    chart = _CHART.search(revision.chart)
    found = {name: digest[:_SHOWN] for name, digest in digests.items()}
    return Contents({**found, folder: chart["version"] if chart else revision.chart}, digests)


def _release(
    declaration: Declaration, environment: str, digests: Mapping[str, str], revision: Revision
) -> Release | None:
    """The release that a revision is, of those that the registry holds: the same bytes may have been published under several."""
    address = declaration.registry.address
    if not answers(address):
        return None
    registry = Registry(address)
    lines = {line for line, name in declaration.gitflow.deploys.items() if name == environment}
    alike = []
    for version in catalog.known(registry)[:_LOOKED_AT]:
        release = catalog.find(registry, version)
        if release is None or not _is_of(revision, release.version) or not _fits(declaration, environment, release):
            continue
        if all(name in release.images and release.images[name].digest == digest for name, digest in digests.items()):
            alike.append(release)
    return next((release for release in alike if release.line in lines), alike[0] if alike else None)


def _fits(declaration: Declaration, environment: str, release: Release) -> bool:
    try:
        check_line(environment, release, declaration)
    except DeclarationError:
        return False
    return True
