"""The releases that the registry holds, and what of them may be deployed."""

from __future__ import annotations

import re
from collections.abc import Iterable

import semver

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.registry.client import Artifact, Blob, Registry, is_reachable
from delivery.release import attached_sboms
from delivery.release.released import Release, read_release

__all__ = [
    "CURRENT",
    "DEPLOYED",
    "REPOSITORY",
    "artifact",
    "check_file",
    "find",
    "newest",
    "push",
    "references",
    "require",
    "versions",
]

CURRENT = "current"  # the sources of this clone as they are
DEPLOYED = "deployed"  # what the environment runs now
REPOSITORY = "release"  # beside our images: an artefact a release, its one layer release.json
_TYPE = "application/vnd.delivery-platform.release.v1+json"
_SHOWN = 10
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def versions(registry: Registry) -> list[str]:
    """The versions that the registry holds a release of, newest first."""
    return newest_first(registry.tags(f"{registry.address}/{REPOSITORY}"))


def newest(declaration: Declaration) -> list[str]:
    """The newest of them, for a question; none where the registry does not answer now."""
    address = declaration.registry.address
    return versions(Registry(address))[:_SHOWN] if is_reachable(address) else []


def find(registry: Registry, version: str) -> Release | None:
    """The release that the registry holds under this version, or None."""
    repository = f"{registry.address}/{REPOSITORY}"
    found = registry.fetch(repository, version)
    if found is None:
        return None
    layers = [
        layer["digest"]
        for layer in found.manifest.get("layers", ())
        if layer.get("mediaType") == _TYPE
    ]
    if len(layers) != 1:
        raise DeclarationError(
            f"read the release {repository}:{version}: it is none of ours",
            hint="something else writes to this tag",
        )
    return read_release(
        registry.blob(repository, layers[0]).decode(), file=f"{repository}:{version}"
    )


def push(registry: Registry, release: Release) -> str:
    """Put a release into the registry under its version, which publishes it; the digest of its artefact."""
    return registry.push_artifact(
        f"{registry.address}/{REPOSITORY}", artifact(release), tag=release.version
    )


def artifact(release: Release) -> Artifact:
    """What a release is put as."""
    title = {"org.opencontainers.image.title": "release.json"}
    return Artifact(
        _TYPE,
        [Blob(_TYPE, release.to_json().encode(), title)],
        annotations={
            "org.opencontainers.image.version": release.version,
            "org.opencontainers.image.revision": release.commit,
        },
    )


def require(declaration: Declaration, registry: Registry, version: str) -> Release:
    """The release of this version; raise DeclarationError unless the registry holds it with all that it names."""
    if not _TAG.fullmatch(version):
        raise DeclarationError(
            f"deploy version {version!r}: that cannot be a tag",
            hint=f"--version X.Y.Z, or `{CURRENT}` for this clone's sources",
        )
    release = find(registry, version)
    if release is None:
        raise DeclarationError(
            f"deploy version {version}: {registry.address} holds no such release",
            hint=f"it holds: {_listed(versions(registry))}; `{CURRENT}` is what this clone's sources make",
        )
    _whole(declaration, registry, release)
    return release


def check_file(
    declaration: Declaration, registry: Registry, release: Release, file: str
) -> Release:
    """The release that a file tells of; raise DeclarationError unless the registry holds that very release, whole."""
    doing = f"deploy {file}"
    if not release.version:
        raise DeclarationError(
            f"{doing}: it names images that a clone made for itself, and no release",
            hint=f"`./run inv push` publishes one; --version {CURRENT} deploys a clone to local",
        )
    there = find(registry, release.version)
    if there is None:
        raise DeclarationError(
            f"{doing}: {registry.address} holds no release {release.version}",
            hint=f"it holds: {_listed(versions(registry))}",
        )
    if there != release:
        differing = [
            name for name, part in there.content.items() if release.content.get(name) != part
        ]
        differing += [name for name in release.content if name not in there.content]
        raise DeclarationError(
            f"{doing}: it is not what was published as {release.version} (differs: {', '.join(differing) or 'its origin'})",
            hint=f"the file was changed; --version {release.version} deploys what was published",
        )
    _whole(declaration, registry, release)
    return release


def _whole(declaration: Declaration, registry: Registry, release: Release) -> None:
    """Raise DeclarationError unless the release has a chart and every component, and this registry holds all of it."""
    doing = f"deploy version {release.version}"
    lacking = [name for name in declaration.components() if name not in release.images]
    if lacking or release.chart is None:
        raise DeclarationError(
            f"{doing}: the release has no {', '.join([*lacking, *([] if release.chart else ['chart'])])}",
            hint="it was made by another declaration; deploy one that this clone's delivery.toml describes",
        )
    elsewhere = [
        part.pinned
        for part in release.parts
        if not part.repository.startswith(f"{registry.address}/")
    ]
    if elsewhere:
        raise DeclarationError(
            f"{doing}: it names what is not of {registry.address}: {', '.join(elsewhere)}",
            hint="a release is of one registry; set DELIVERY_REGISTRY to that one",
        )
    if missing := [
        part.pinned for part in release.parts if not registry.digest(part.repository, part.digest)
    ]:
        raise DeclarationError(
            f"{doing}: {registry.address} no longer holds {', '.join(missing)}",
            hint="something has removed it; `./run inv push` at that release's commit puts it back",
        )


def references(registry: Registry, release: Release) -> list[str]:
    """Everything of a release by digest, its images' bills of materials and the release itself too: what is signed."""
    repository = f"{registry.address}/{REPOSITORY}"
    bills = [
        attached_sboms.reference(registry, image.repository, image.digest)
        for image in release.images.values()
    ]
    return [
        *release.pins,
        *(bill for bill in bills if bill),
        f"{repository}@{registry.digest(repository, release.version)}",
    ]


def _listed(versions: list[str]) -> str:
    return (
        ", ".join(versions[:_SHOWN]) + (" …" if len(versions) > _SHOWN else "")
        if versions
        else "no release yet"
    )


def newest_first(tags: Iterable[str]) -> list[str]:
    """The tags that are versions, newest first."""
    return sorted(
        (tag for tag in tags if semver.Version.is_valid(tag)),
        key=semver.Version.parse,
        reverse=True,
    )
