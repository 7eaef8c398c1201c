"""The bill of materials beside each image in the registry: made from the image's own layers, attached once."""

from __future__ import annotations

from pathlib import Path

from delivery.registry import layers
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import sbom
from delivery.release.released import ReleasedPart
from delivery.release.sbom import Image

__all__ = ["artifact", "attach", "make", "read", "read_or_make", "reference"]


def attach(registry: Registry, image: Image, layout: Path | None) -> str:
    """Attach an image's bill of materials to it; the digest of the artefact that holds the bill.

    The image is read from its layout where there is one, else out of the registry. Whether another
    bill is attached is not looked at: a caller that signs the result must not get somebody else's.
    """
    return registry.push_artifact(image.repository, artifact(registry, image, layout))


def artifact(registry: Registry, image: Image, layout: Path | None) -> Artifact:
    """What an image's bill of materials is attached as."""
    title = {"org.opencontainers.image.title": f"{image.name}.cdx.json"}
    blob = Blob(sbom.MEDIA_TYPE, make(registry, image, layout).encode(), title)
    return Artifact(sbom.MEDIA_TYPE, [blob], subject=image.digest)


def read(registry: Registry, repository: str, digest: str) -> str:
    """The bill of materials that is attached to an image, or "" where there is none."""
    bill = reference(registry, repository, digest)
    artifact = registry.fetch(repository, bill.partition("@")[2]) if bill else None
    if artifact is None:
        return ""
    (layer,) = artifact.manifest["layers"]
    return registry.blob(repository, layer["digest"]).decode()


def read_or_make(name: str, image: ReleasedPart) -> tuple[str, bool]:
    """The bill that is attached to a released image, else one made now; whether it was made."""
    registry = Registry(image.repository)
    if text := read(registry, image.repository, image.digest):
        return text, False
    return make(registry, Image(name, image.version, image.repository, image.digest)), True


def reference(registry: Registry, repository: str, digest: str) -> str:
    """REPOSITORY@sha256:… of the artefact with an image's bill; "" where there is none.

    Of several, which only a race makes, every run takes the same one.
    """
    referrers = registry.referrers(repository, digest)
    bills = [item.digest for item in referrers if item.artifact_type == sbom.MEDIA_TYPE]
    return f"{repository}@{min(bills)}" if bills else ""


def make(registry: Registry, image: Image, layout: Path | None = None) -> str:
    """The bill of materials of an image, from its layout where there is one, else out of the registry."""
    if layout:
        files = layers.read_layout(layout, sbom.is_record)
    else:
        files = layers.read_registry(registry, image.repository, image.digest, sbom.is_record)
    return sbom.render(image, sbom.packages_of_image(files))
