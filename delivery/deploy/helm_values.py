"""The values that name images by digest: written for helm, and read from a revision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["image_values", "pinned_images"]


def image_values(
    images: Mapping[str, tuple[str, str]],
    components: Iterable[str],
    mirrored: Mapping[str, tuple[str, str]],
) -> dict[str, Any]:
    """The values for each component's image and for mirrored upstream images.

    images and mirrored are (repository, digest), by component and by the chart's key.
    """
    pinned = {name: _value(images[name]) for name in components}
    return {"components": pinned, **{key: _value(image) for key, image in mirrored.items()}}


def _value(image: tuple[str, str]) -> dict[str, Any]:
    repository, digest = image
    return {"image": {"repository": repository, "digest": digest}}


def pinned_images(values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The (repository, digest) of each component that a revision's values name by digest."""
    components = values.get("components")
    if not isinstance(components, dict):
        return {}
    images = {name: (component or {}).get("image") or {} for name, component in components.items()}
    return {
        name: (str(image["repository"]), str(image["digest"]))
        for name, image in images.items()
        if image.get("repository") and image.get("digest")
    }
