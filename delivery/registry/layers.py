"""The files of an image, read out of its layers without an engine, and the sizes of its layers.

The format: https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
"""

from __future__ import annotations

import io
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delivery.errors import RegistryError
from delivery.registry import oci_layout
from delivery.registry.client import Registry

__all__ = ["Layer", "merge", "read_layout", "read_registry", "read_sizes"]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"  # hides what the layers below have in this folder
_MAX_LINKS = 8  # links to links that are followed

Selects = Callable[[str], bool]
"""Whether the file of a path, without its first slash, is read."""


@dataclass(frozen=True)
class Layer:
    """A layer of an image, and its size."""

    digest: str
    packed: int
    """The bytes in the registry."""
    unpacked: int
    """The sum of the sizes of its files."""


@dataclass
class _Tree:
    """The selected files with their content, and the targets of links."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def read_layout(layout: Path, selects: Selects) -> dict[str, bytes]:
    """The selected files of the image of an OCI layout, by path without the first slash."""
    action = f"read the image in {layout}"
    digests = _digests(oci_layout.read(layout).manifest, action)
    return merge((oci_layout.read_blob(layout, digest) for digest in digests), selects, action)


def read_registry(
    registry: Registry, repository: str, digest: str, selects: Selects
) -> dict[str, bytes]:
    """The selected files of an image in a registry, by path without the first slash."""
    action = f"read the image {repository}@{digest[:19]}…"
    manifest = _manifest(registry, repository, digest, action)
    layers = (registry.blob(repository, layer) for layer in _digests(manifest, action))
    return merge(layers, selects, action)


def read_sizes(registry: Registry, repository: str, digest: str) -> list[Layer]:
    """The layers of an image in a registry, lowest first; downloads each of them."""
    action = f"read the layers of {repository}"
    layers = []
    for layer in _digests(_manifest(registry, repository, digest, action), action):
        blob = registry.blob(repository, layer)
        with tarfile.open(fileobj=io.BytesIO(blob), mode="r:*") as tar:
            unpacked = sum(member.size for member in tar if member.isreg())
        layers.append(Layer(layer, len(blob), unpacked))
    return layers


def merge(layers: Iterable[bytes], selects: Selects, action: str) -> dict[str, bytes]:
    """The selected files of layers (tar archives, lowest first), each laid over those below.

    A file that a link leads to also counts under the name of the link.
    """
    tree = _Tree()
    for layer in layers:
        try:
            with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as tar:
                _add(tar, tree, selects)
        except (tarfile.TarError, zlib.error, EOFError, KeyError, OSError) as error:
            raise RegistryError(
                f"cannot {action}: a layer is not a tar archive packed by gzip: {error}",
                hint="build the image by `./run inv push`; no other compression is read here",
            ) from error
    return _with_links(tree, selects)


def _manifest(registry: Registry, repository: str, digest: str, action: str) -> Mapping[str, Any]:
    manifest = registry.fetch(repository, digest)
    if manifest is None:
        raise RegistryError(
            f"cannot {action}: the registry holds no such image",
            hint="push it by `./run inv push`",
        )
    return manifest.manifest


def _digests(manifest: Mapping[str, Any], action: str) -> list[str]:
    layers = manifest.get("layers")
    if layers is None:
        raise RegistryError(
            f"cannot {action}: it is not the image of one platform",
            hint="name the image of a platform",
        )
    return [layer["digest"] for layer in layers]


def _add(tar: tarfile.TarFile, tree: _Tree, selects: Selects) -> None:
    """Lay a layer over a tree. Its whiteouts hide only what is below, in any order of its files."""
    above = _Tree()
    for member in tar:
        path = posixpath.normpath(member.name).lstrip("/")
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            _remove(tree, folder, itself=False)
        elif name.startswith(_WHITEOUT):
            _remove(tree, posixpath.join(folder, name.removeprefix(_WHITEOUT)))
        elif member.isdir():
            # A folder replaces a file, but adds to an existing folder.
            tree.files.pop(path, None)
            tree.links.pop(path, None)
        else:
            _remove(tree, path)
            if member.issym():
                above.links[path] = member.linkname
            elif selects(path) and (content := tar.extractfile(member)):
                above.files[path] = content.read()
    tree.files |= above.files
    tree.links |= above.links


def _remove(tree: _Tree, path: str, *, itself: bool = True) -> None:
    """Remove a path and everything below it."""
    below = f"{path}/" if path else ""
    for entries in (tree.files, tree.links):
        for entry in list(entries):
            if entry.startswith(below) or (itself and entry == path):
                del entries[entry]


def _with_links(tree: _Tree, selects: Selects) -> dict[str, bytes]:
    files = dict(tree.files)
    for _ in range(_MAX_LINKS):
        linked = {}
        for link, value in tree.links.items():
            # normpath keeps two slashes at the beginning.
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(link), value))
            target = target.lstrip("/")
            for path, content in files.items():
                name = link + path[len(target) :]
                is_target = path == target or path.startswith(f"{target}/")
                if is_target and name not in files and selects(name):
                    linked[name] = content
        if not linked:
            break
        files |= linked
    return files
