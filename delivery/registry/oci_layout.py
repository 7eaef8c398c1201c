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

__all__ = ["MANIFEST", "Manifest", "blob_file", "digest", "read", "read_blob"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Manifest:
    """A manifest of a registry or a layout."""

    digest: str
    media_type: str
    content: bytes
    manifest: Mapping[str, Any]
    """The content, parsed."""

    @property
    def platforms(self) -> dict[str, str]:
        """The digest of each platform's manifest; empty unless this is an index of images."""
        entries = self.manifest.get("manifests") or ()
        named = {_platform(entry.get("platform") or {}): entry["digest"] for entry in entries}
        return {name: digest for name, digest in named.items() if name and "unknown" not in name}


def digest(folder: Path) -> str:
    """The digest of the image of a layout; RegistryError unless the layout has a single image."""
    try:
        (entry,) = json.loads((folder / "index.json").read_text(encoding="utf-8"))["manifests"]
        return str(entry["digest"])
    except (OSError, ValueError, KeyError) as error:
        raise _invalid(folder, f"it is not an OCI layout with an image ({error})") from error


def read(folder: Path, named: str = "") -> Manifest:
    """The manifest of the image of a layout, or the one with a digest, checked against it."""
    expected = named or digest(folder)
    content = read_blob(folder, expected)
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise _invalid(folder, f"it is not an OCI layout with an image ({error})") from error
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != expected:
        raise _invalid(folder, f"it is damaged: {expected} is not its manifest")
    return Manifest(expected, manifest.get("mediaType", MANIFEST), content, manifest)


def read_blob(folder: Path, named: str) -> bytes:
    """The content of the blob with this digest."""
    try:
        return blob_file(folder, named).read_bytes()
    except OSError as error:
        raise _invalid(folder, f"it is not an OCI layout with an image ({error})") from error


def blob_file(folder: Path, named: str) -> Path:
    """The file of the blob with this digest."""
    return folder / "blobs" / "sha256" / named.partition(":")[2]


def _platform(entry: Mapping[str, str]) -> str:
    """A platform in Docker's notation; "" for an entry without one."""
    parts = (entry.get(name, "") for name in ("os", "architecture", "variant"))
    return "/".join(filter(None, parts))


def _invalid(folder: Path, reason: str) -> RegistryError:
    return RegistryError(f"cannot read the image in {folder}: {reason}", hint="build it again")
