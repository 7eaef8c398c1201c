"""The SBOM of each image in the registry: made from the layers of the image, attached once."""

from __future__ import annotations

from pathlib import Path

from delivery.registry import layers
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import sbom
from delivery.release.released import ReleasedPart
from delivery.release.sbom import Image

__all__ = ["artifact", "attach", "make", "read", "read_or_make", "reference"]


def attach(registry: Registry, image: Image, layout: Path | None) -> str:
    """Attach the SBOM of an image to it; the digest of its artifact.

    Does not look for an attached SBOM: what others attached must not be signed.
    """
    return registry.push_artifact(image.repository, artifact(registry, image, layout))


def artifact(registry: Registry, image: Image, layout: Path | None) -> Artifact:
    """The artifact that an image's SBOM is attached as."""
    title = {"org.opencontainers.image.title": f"{image.name}.cdx.json"}
    blob = Blob(sbom.MEDIA_TYPE, make(registry, image, layout).encode(), title)
    return Artifact(sbom.MEDIA_TYPE, [blob], subject=image.digest)


def read(registry: Registry, repository: str, digest: str) -> str:
    """The SBOM that is attached to an image, or ""."""
    attached = reference(registry, repository, digest).partition("@")[2]
    manifest = registry.fetch(repository, attached) if attached else None
    if manifest is None:
        return ""
    (layer,) = manifest.manifest["layers"]
    return registry.blob(repository, layer["digest"]).decode()


def read_or_make(name: str, image: ReleasedPart) -> tuple[str, bool]:
    """The SBOM that is attached to a released image, else made now; whether it is new."""
    registry = Registry(image.repository)
    if text := read(registry, image.repository, image.digest):
        return text, False
    return make(registry, Image(name, image.version, image.repository, image.digest)), True


def reference(registry: Registry, repository: str, digest: str) -> str:
    """REPOSITORY@sha256:… of the SBOM that is attached to an image, or "".

    Of several, which two pushes at the same time may attach, every run takes the same.
    """
    referrers = registry.referrers(repository, digest)
    digests = [item.digest for item in referrers if item.artifact_type == sbom.MEDIA_TYPE]
    return f"{repository}@{min(digests)}" if digests else ""


def make(registry: Registry, image: Image, layout: Path | None = None) -> str:
    """The SBOM of an image, from its layout if given, else from the registry."""
    if layout:
        files = layers.read_layout(layout, sbom.is_record)
    else:
        files = layers.read_registry(registry, image.repository, image.digest, sbom.is_record)
    return sbom.render(image, sbom.packages_of_image(files))
