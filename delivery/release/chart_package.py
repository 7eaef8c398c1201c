"""The chart as one file, and the file in a registry, as Helm stores it there: https://helm.sh/docs/topics/registries."""

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


def package(
    folder: Path, files: Iterable[File], replaced: Mapping[str, str], *, epoch: int
) -> bytes:
    """The chart in this folder as a .tgz that Helm installs, with these files, some of them replaced (path → text).

    The same content gives the same bytes, whenever and wherever: every time is the epoch, every owner root.
    """
    name = _metadata(replaced.get(_METADATA) or (folder / _METADATA).read_text(encoding="utf-8"))[
        "name"
    ]
    packed = io.BytesIO()
    with (
        gzip.GzipFile(
            filename="", mode="wb", fileobj=packed, mtime=epoch, compresslevel=9
        ) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for file in sorted(
            files, key=lambda one: (one.path != _METADATA, one.path)
        ):  # Helm wants Chart.yaml first
            text = replaced.get(file.path)
            content = (folder / file.path).read_bytes() if text is None else text.encode()
            entry = tarfile.TarInfo(f"{name}/{file.path}")
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def push(registry: Registry, repository: str, key: str, packed: bytes) -> str:
    """Push a packaged chart under its key; its digest."""
    # A key says what went in; a registry that lost the images and got others has other digests now.
    return registry.push_artifact(repository, artifact(packed), tag=key, overwrite=True)


def artifact(packed: bytes) -> Artifact:
    """What a packaged chart is pushed as."""
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        text = tar.extractfile(tar.getmembers()[0])
        metadata = _metadata(text.read().decode() if text else "")
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
    """The packaged chart that a registry holds under this digest; raise DeclarationError when it holds none."""
    doing = f"get the chart {repository}@{digest}"
    found = registry.fetch(repository, digest)
    if found is None:
        raise DeclarationError(
            f"{doing}: the registry has none", hint="publish it anew: `./run inv build push`"
        )
    layers = [
        layer["digest"]
        for layer in found.manifest.get("layers", ())
        if layer["mediaType"] == _CONTENT
    ]
    if len(layers) != 1:
        raise DeclarationError(
            f"{doing}: that is no chart", hint="name a release that `inv push` has published"
        )
    return registry.blob(repository, layers[0])


def read_file(packed: bytes, path: str) -> str | None:
    """The text of a file of a packaged chart, its path relative to the chart; None when it has none."""
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
            for member in tar:
                if member.isreg() and member.name.partition("/")[2] == path:
                    content = tar.extractfile(member)
                    return content.read().decode() if content else None
    except (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"cannot read {path} of a chart: that is no chart ({error})",
            hint="name a release that `inv push` has published",
        ) from error
    return None


def _metadata(text: str) -> dict[str, object]:
    try:
        found = yaml.safe_load(text)
        return {**found, "name": str(found["name"]), "version": str(found["version"])}
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise DeclarationError(
            f"read the chart's {_METADATA}: {error}", hint="it needs name and version, in YAML"
        ) from error
