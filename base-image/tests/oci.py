"""Read an image from the OCI layout that BuildKit and `docker save` write."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 4096


@dataclass(frozen=True)
class Image:
    """One image."""

    digest: str
    config: Mapping[str, Any]
    layers: tuple[bytes, ...]
    """Compressed, as they are pushed."""
    files: Mapping[str, tarfile.TarInfo]
    contents: Mapping[str, bytes]

    @property
    def bytes_on_disk(self) -> int:
        return sum(file.size for file in self.files.values() if file.isreg())

    @property
    def bytes_in_blocks(self) -> int:
        return sum(-(-file.size // BLOCK) * BLOCK for file in self.files.values() if file.isreg())

    @property
    def bytes_pushed(self) -> int:
        return sum(len(layer) for layer in self.layers)


def read(path: Path) -> Image:
    with tarfile.open(path) as layout:

        def blob(digest: str) -> bytes:
            stream = layout.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert stream is not None, f"{digest} is not in {path}"
            return stream.read()

        index_stream = layout.extractfile("index.json")
        assert index_stream is not None, f"{path} is not an OCI layout"
        digest = _manifest_digest(json.load(index_stream), blob)
        manifest = json.loads(blob(digest))
        layers = tuple(_as_pushed(blob(layer["digest"])) for layer in manifest["layers"])
        config = json.loads(blob(manifest["config"]["digest"]))
    files: dict[str, tarfile.TarInfo] = {}
    contents: dict[str, bytes] = {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
            for member in archive:
                name = member.name.strip("/")
                files[name] = member
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None:
                    contents[name] = stream.read()
    return Image(digest, config, layers, files, contents)


def _manifest_digest(index: Mapping[str, Any], blob: Callable[[str], bytes]) -> str:
    """Return the digest of the only image. An index may contain an index, and attestations."""
    images = [
        entry
        for entry in index["manifests"]
        if entry.get("platform", {}).get("architecture") != "unknown"
    ]
    assert len(images) == 1, f"expected one image, not {len(images)}"
    if "index" in images[0]["mediaType"] or "list" in images[0]["mediaType"]:
        return _manifest_digest(json.loads(blob(images[0]["digest"])), blob)
    digest: str = images[0]["digest"]
    return digest


def _as_pushed(layer: bytes) -> bytes:
    """Compress a layer as the engine does for a push, unless it is compressed."""
    return (
        layer if layer.startswith(b"\x1f\x8b") else gzip.compress(layer, compresslevel=6, mtime=0)
    )
