"""The SBOM of each image in the registry: made from the layers of the image, attached once.

Of an image for several platforms, each platform's manifest has its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from delivery.registry import layers, oci_layout
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import sbom
from delivery.release.released import Release
from delivery.release.sbom import Image

__all__ = [
    "artifact",
    "attach",
    "by_platform",
    "document",
    "images_of",
    "make",
    "read",
    "read_or_make",
    "reference",
]

# Images share layers, and a push that is scanned makes each SBOM twice.
_RECORDS = layers.Reader(sbom.is_record)


def images_of(release: Release) -> list[Image]:
    """The images of a release; one for several platforms is a single one here."""
    return [
        Image(name, part.version, part.repository, part.digest)
        for name, part in release.images.items()
    ]


def by_platform(registry: Registry, image: Image, layout: Path | None = None) -> dict[str, Image]:
    """The image of each platform, by platform; an image for a single one is under ""."""
    if layout:
        platforms = oci_layout.read(layout, image.digest).platforms
    else:
        manifest = registry.fetch(image.repository, image.digest)
        platforms = manifest.platforms if manifest else {}
    images = {name: replace(image, digest=digest) for name, digest in platforms.items()}
    return images or {"": image}


def attach(registry: Registry, image: Image, layout: Path | None) -> str:
    """Attach the SBOM of an image to it; the digest of its artifact.

    Does not look for an attached SBOM: what others attached must not be signed.
    """
    return registry.push_artifact(image.repository, artifact(registry, image, layout))


def artifact(registry: Registry, image: Image, layout: Path | None) -> Artifact:
    """The artifact that an image's SBOM is attached as."""
    text = make(registry, image, layout)
    return document(image, sbom.MEDIA_TYPE, f"{image.name}.cdx.json", text)


def document(image: Image, media_type: str, title: str, text: str) -> Artifact:
    """The artifact that a document is attached to an image as."""
    blob = Blob(media_type, text.encode(), {"org.opencontainers.image.title": title})
    return Artifact(media_type, [blob], subject=image.digest)


def read(registry: Registry, repository: str, digest: str) -> str:
    """The SBOM that is attached to an image, or ""."""
    attached = reference(registry, repository, digest).partition("@")[2]
    manifest = registry.fetch(repository, attached) if attached else None
    if manifest is None:
        return ""
    (layer,) = manifest.manifest["layers"]
    return registry.blob(repository, layer["digest"]).decode()


def read_or_make(image: Image) -> tuple[str, bool]:
    """The SBOM that is attached to the image of a platform, else made now; whether it is new."""
    registry = Registry(image.repository)
    if text := read(registry, image.repository, image.digest):
        return text, False
    return make(registry, image), True


def reference(registry: Registry, repository: str, digest: str) -> str:
    """REPOSITORY@sha256:… of the SBOM that is attached to an image, or "".

    Of several, which two pushes at the same time may attach, every run takes the same.
    """
    digests = registry.referrers(repository, digest, sbom.MEDIA_TYPE)
    return f"{repository}@{min(digests)}" if digests else ""


def make(registry: Registry, image: Image, layout: Path | None = None) -> str:
    """The SBOM of an image, from its layout if given, else from the registry.

    Of an image for several platforms it lists the packages of each.
    """
    packages = []
    for part in by_platform(registry, image, layout).values():
        if layout:
            files = _RECORDS.read_layout(layout, part.digest)
        else:
            files = _RECORDS.read_registry(registry, part.repository, part.digest)
        packages += sbom.packages_of_image(files)
    return sbom.render(image, packages)
