"""The versions of what is deployed, for the ledger: a release's own, and those of a revision that only says digests."""

from __future__ import annotations

import re
from collections.abc import Mapping

from delivery.core.declaration import Declaration
from delivery.core.deployment import Revision, check_line, deployed, rollback_target
from delivery.core.errors import DeclarationError
from delivery.core.keys import chart_key
from delivery.core.release import Release
from delivery.steps import versions as releases
from delivery.steps.deploy import RELEASE, Target
from delivery.tools import files
from delivery.tools.files import ROOT
from delivery.tools.registry import Registry, answers

__all__ = ["current", "going_back", "of_revision", "unchanged", "versions"]

_LOOKED_AT = 20  # so many releases, the newest, are looked at for what a revision is
_SHOWN = len("sha256:") + 12
_CHART = re.compile(r"-(?P<version>[0-9]+\.[0-9]+\.[0-9]+.*)$")


def versions(declaration: Declaration, release: Release) -> dict[str, str]:
    """The version of each component and of the chart; of what is no release, what names its content."""
    found = {}
    for name in declaration.components():
        image = release.images[name]
        key = image.digest[:_SHOWN] if image.key.startswith("revision ") else image.key
        found[name] = image.version or key
    folder = declaration.chart.folder
    found[folder] = release.chart.version if release.chart else _chart_key(declaration, release)
    return found


def _chart_key(declaration: Declaration, release: Release) -> str:
    names = {name: release.images[name].pinned for name in declaration.components()}
    listed = files.chart_files(ROOT / declaration.chart.folder)
    return chart_key(listed, version="", images=names, epoch=declaration.build.epoch)


def unchanged(declaration: Declaration, place: Target, now: Release | None, release: Release) -> set[str]:
    """The components whose bytes serve already, and the chart where nothing says that it is another one."""
    if now is None:
        return set()
    found = {
        name
        for name in declaration.components()
        if name in now.images and now.images[name].digest == release.images[name].digest
    }
    serving = deployed(place.helm.history(RELEASE))
    if serving is None or release.chart is None or _is_of(serving, release.chart.version):
        found.add(declaration.chart.folder)
    return found


def _is_of(revision: Revision, version: str) -> bool:
    """Whether a revision's chart may be the one of this version; candidates are packaged as the version to come."""
    told = _CHART.search(revision.chart)
    return told is not None and told["version"] in {version, version.partition("-")[0]}


def going_back(declaration: Declaration, place: Target, told: int) -> tuple[dict[str, str], dict[str, str]]:
    """The versions that a rollback brings back, and those that serve until then."""
    history = place.helm.history(RELEASE)
    serving = deployed(history)
    return of_revision(declaration, place, rollback_target(history, told)), (
        of_revision(declaration, place, serving) if serving else {}
    )


def current(declaration: Declaration, place: Target) -> dict[str, str]:
    """The versions that serve; none where nothing does."""
    serving = deployed(place.helm.history(RELEASE))
    return of_revision(declaration, place, serving) if serving else {}


def of_revision(declaration: Declaration, place: Target, revision: Revision) -> dict[str, str]:
    """The versions of a revision: those of a release with the same bytes, else what names them."""
    values = place.helm.values(RELEASE, revision.number).get("components", {})
    digests = {
        name: str(values[name]["image"]["digest"]) for name in declaration.components() if isinstance(values, dict)
    }
    release = _release(declaration, place.name, digests, revision)
    if release:
        return versions(declaration, release)
    chart = _CHART.search(revision.chart)
    found = {name: digest[:_SHOWN] for name, digest in digests.items()}
    return {**found, declaration.chart.folder: chart["version"] if chart else revision.chart}


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
    for version in releases.known(registry)[:_LOOKED_AT]:
        release = releases.find(registry, version)
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
