"""The releases in the registry, and whether they may be deployed."""

from __future__ import annotations

import re
from collections.abc import Iterable

import semver

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.registry import client
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import attached_sboms
from delivery.release.released import Release, read_release

__all__ = [
    "CURRENT",
    "DEPLOYED",
    "REPOSITORY",
    "artifact",
    "check_file",
    "choices",
    "find",
    "newest",
    "newest_first",
    "push",
    "references",
    "require",
    "versions",
]

CURRENT = "current"  # where a version may be named: this clone's sources
DEPLOYED = "deployed"  # where a version may be named: what the environment runs
REPOSITORY = "release"  # beside those of our images
_TYPE = "application/vnd.delivery-platform.release.v1+json"
_SHOWN = 10
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def versions(registry: Registry) -> list[str]:
    """The versions of the releases in the registry, newest first."""
    return newest_first(registry.tags(f"{registry.address}/{REPOSITORY}"))


def newest(declaration: Declaration) -> list[str]:
    """The newest versions, for a prompt; none if the registry does not answer."""
    registry = client.find(declaration.registry.address)
    return versions(registry)[:_SHOWN] if registry else []


def newest_first(tags: Iterable[str]) -> list[str]:
    """The tags that are versions, newest first."""
    valid = (tag for tag in tags if semver.Version.is_valid(tag))
    return sorted(valid, key=semver.Version.parse, reverse=True)


def find(registry: Registry, version: str) -> Release | None:
    """The release of a version in the registry, or None."""
    repository = f"{registry.address}/{REPOSITORY}"
    manifest = registry.fetch(repository, version)
    if manifest is None:
        return None
    layers = manifest.manifest.get("layers", ())
    digests = [layer["digest"] for layer in layers if layer.get("mediaType") == _TYPE]
    if len(digests) != 1:
        raise DeclarationError(
            f"cannot read the release {repository}:{version}: it is not a release",
            hint="see what else writes to this tag",
        )
    text = registry.blob(repository, digests[0]).decode()
    return read_release(text, file=f"{repository}:{version}")


def push(registry: Registry, release: Release) -> str:
    """Publish a release: push its artifact under its version; the artifact's digest."""
    repository = f"{registry.address}/{REPOSITORY}"
    return registry.push_artifact(repository, artifact(release), tag=release.version)


def artifact(release: Release) -> Artifact:
    """The artifact of a release: release.json is its only layer."""
    title = {"org.opencontainers.image.title": "release.json"}
    return Artifact(
        _TYPE,
        [Blob(_TYPE, release.to_json().encode(), title)],
        annotations={
            "org.opencontainers.image.version": release.version,
            "org.opencontainers.image.revision": release.commit,
        },
    )


def require(declaration: Declaration, registry: Registry, version: str, hint: str = "") -> Release:
    """The release of a version; DeclarationError unless the registry holds it and all its parts.

    hint: for a version that is not published, instead of the published ones.
    """
    if not _TAG.fullmatch(version):
        raise DeclarationError(
            f"cannot deploy version {version!r}: it cannot be a tag",
            hint=f"pass --version X.Y.Z, or --version {CURRENT} for this clone's sources",
        )
    release = find(registry, version)
    if release is None:
        raise DeclarationError(
            f"cannot deploy version {version}: {registry.address} holds no such release",
            hint=hint or f"{choices(registry)}; --version {CURRENT} deploys this clone's sources",
        )
    _check_complete(declaration, registry, release)
    return release


def check_file(
    declaration: Declaration, registry: Registry, release: Release, file: str
) -> Release:
    """The release of a file; DeclarationError unless the registry holds it and all its parts."""
    action = f"cannot deploy {file}"
    if not release.version:
        raise DeclarationError(
            f"{action}: it names the current images of a clone, and no release",
            hint=f"publish it by `./run inv push`; --version {CURRENT} deploys a clone to local",
        )
    published = find(registry, release.version)
    if published is None:
        raise DeclarationError(
            f"{action}: {registry.address} holds no release {release.version}",
            hint=choices(registry),
        )
    if published != release:
        names = {**published.content, **release.content}
        changed = [
            name for name in names if published.content.get(name) != release.content.get(name)
        ]
        raise DeclarationError(
            f"{action}: it is not what was published as {release.version} "
            f"(differs: {', '.join(changed) or 'its origin'})",
            hint=f"the file was changed; --version {release.version} deploys what was published",
        )
    _check_complete(declaration, registry, release)
    return release


def references(registry: Registry, release: Release) -> list[str]:
    """All that is signed of a release, by digest: its parts, its SBOMs and the release itself.

    Of an image for several platforms also each platform's.
    """
    repository = f"{registry.address}/{REPOSITORY}"
    images = [
        part
        for image in attached_sboms.images_of(release)
        for part in attached_sboms.by_platform(registry, image).values()
    ]
    sboms = (attached_sboms.reference(registry, each.repository, each.digest) for each in images)
    digest = registry.digest(repository, release.version)
    parts = (part.pinned for part in release.parts)
    by_platform = (f"{each.repository}@{each.digest}" for each in images)
    references = [*parts, *by_platform, *filter(None, sboms), f"{repository}@{digest}"]
    return list(dict.fromkeys(references))


def _check_complete(declaration: Declaration, registry: Registry, release: Release) -> None:
    """Raise DeclarationError unless a release has all parts, and this registry holds them."""
    action = f"cannot deploy version {release.version}"
    absent = [name for name in declaration.components() if name not in release.images]
    absent += [] if release.chart else ["chart"]
    if absent:
        raise DeclarationError(
            f"{action}: the release has no {', '.join(absent)}",
            hint="deploy a release that this clone's delivery.toml describes",
        )
    own = f"{registry.address}/"
    if foreign := [part.pinned for part in release.parts if not part.repository.startswith(own)]:
        raise DeclarationError(
            f"{action}: it names what is not of {registry.address}: {', '.join(foreign)}",
            hint="set DELIVERY_REGISTRY to the registry of the release",
        )
    digests = registry.digests((part.repository, part.digest) for part in release.parts)
    missing = [part.pinned for part, known in zip(release.parts, digests, strict=True) if not known]
    if missing:
        raise DeclarationError(
            f"{action}: {registry.address} no longer holds {', '.join(missing)}",
            hint="run `./run inv push` at the commit of that release: it pushes what was removed",
        )


def choices(registry: Registry) -> str:
    """The hint for an unknown version: the newest releases of the registry."""
    releases = versions(registry)
    if not releases:
        return "publish a release by `./run inv push`: none is published yet"
    more = " …" if len(releases) > _SHOWN else ""
    return f"choose from {', '.join(releases[:_SHOWN])}{more}"
