"""A folder with an image as BuildKit writes it.

The format: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.errors import RegistryError

__all__ = ["MANIFEST", "Manifest", "blob", "digest", "read"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Manifest:
    """A manifest as a registry or a layout gave it: its digest, its media type, its bytes, and what they say."""

    digest: str
    media_type: str
    content: bytes
    manifest: Mapping[str, Any]


def digest(folder: Path) -> str:
    """The digest of the one image of a layout; RegistryError where it is none."""
    try:
        (entry,) = json.loads((folder / "index.json").read_text(encoding="utf-8"))["manifests"]
        return str(entry["digest"])
    except (OSError, ValueError, KeyError) as error:
        raise _no_layout(folder, error) from error


def read(folder: Path) -> Manifest:
    """The manifest of that image, checked against its digest."""
    named = digest(folder)
    try:
        content = blob(folder, named).read_bytes()
        manifest = json.loads(content)
    except (OSError, ValueError) as error:
        raise _no_layout(folder, error) from error
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != named:
        raise RegistryError(
            f"read the image in {folder}: it is damaged: {named} is not its manifest",
            hint="build it anew",
        )
    return Manifest(named, manifest.get("mediaType", MANIFEST), content, manifest)


def blob(folder: Path, named: str) -> Path:
    """The file of a blob with this digest."""
    return folder / "blobs" / "sha256" / named.partition(":")[2]


def _no_layout(folder: Path, error: Exception) -> RegistryError:
    return RegistryError(
        f"read the image in {folder}: it is not an OCI layout with one image ({error})",
        hint="build it anew",
    )
