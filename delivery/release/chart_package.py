"""The packaged chart, and its artifact in a registry: https://helm.sh/docs/topics/registries."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from delivery.errors import DeclarationError
from delivery.project.keys import File
from delivery.registry.client import Artifact, Blob, Registry

__all__ = ["artifact", "fetch", "package", "push", "read_file"]

_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_METADATA = "Chart.yaml"
_HINT = "name a release that `inv push` has published"


def package(
    folder: Path, files: Iterable[File], replaced: Mapping[str, str], *, epoch: int
) -> bytes:
    """The chart of a folder as a .tgz for Helm, with the text of some files replaced (by path).

    The same content gives the same bytes: every time is the epoch, every owner root.
    """
    metadata = replaced.get(_METADATA) or (folder / _METADATA).read_text(encoding="utf-8")
    name = _parse_metadata(metadata)["name"]
    packed = io.BytesIO()
    with (
        gzip.GzipFile(
            filename="", mode="wb", fileobj=packed, mtime=epoch, compresslevel=9
        ) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        # Helm requires that Chart.yaml is the first.
        for file in sorted(files, key=lambda file: (file.path != _METADATA, file.path)):
            text = replaced.get(file.path)
            content = (folder / file.path).read_bytes() if text is None else text.encode()
            entry = tarfile.TarInfo(f"{name}/{file.path}")
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def push(registry: Registry, repository: str, key: str, packed: bytes) -> str:
    """Push a packaged chart under its content key; its digest."""
    # The digests of images, which the chart has, may have changed since for the same keys.
    return registry.push_artifact(repository, artifact(packed), tag=key, overwrite=True)


def artifact(packed: bytes) -> Artifact:
    """The artifact of a packaged chart."""
    metadata = _parse_metadata(read_file(packed, _METADATA) or "")
    return Artifact(
        _CONFIG,
        [Blob(_CONTENT, packed)],
        config=Blob(_CONFIG, json.dumps(metadata, sort_keys=True, separators=(",", ":")).encode()),
        annotations={
            "org.opencontainers.image.title": str(metadata["name"]),
            "org.opencontainers.image.version": str(metadata["version"]),
        },
    )


def fetch(registry: Registry, repository: str, digest: str) -> bytes:
    """The packaged chart of a digest in a registry; DeclarationError if it is missing."""
    action = f"cannot fetch the chart {repository}@{digest}"
    manifest = registry.fetch(repository, digest)
    if manifest is None:
        raise DeclarationError(
            f"{action}: the registry does not hold it",
            hint="publish it again by `./run inv build push`",
        )
    layers = manifest.manifest.get("layers", ())
    digests = [layer["digest"] for layer in layers if layer["mediaType"] == _CONTENT]
    if len(digests) != 1:
        raise DeclarationError(f"{action}: it is not a chart", hint=_HINT)
    return registry.blob(repository, digests[0])


def read_file(packed: bytes, path: str) -> str | None:
    """The text of a file of a packaged chart, by its path in the chart; None if missing."""
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
            for member in tar:
                if member.isreg() and member.name.partition("/")[2] == path:
                    content = tar.extractfile(member)
                    return content.read().decode() if content else None
    except (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"cannot read {path} of a chart: it is not a chart ({error})", hint=_HINT
        ) from error
    return None


def _parse_metadata(text: str) -> dict[str, object]:
    try:
        metadata = yaml.safe_load(text)
        return {**metadata, "name": str(metadata["name"]), "version": str(metadata["version"])}
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise DeclarationError(
            f"cannot read the chart's {_METADATA}: {error}", hint="give it a name and a version"
        ) from error
