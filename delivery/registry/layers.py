"""The files of an image, read out of its layers without an engine, and the sizes of its layers.

The format: https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delivery.errors import RegistryError
from delivery.registry import oci_layout
from delivery.registry.client import Manifest, Registry

__all__ = ["Layer", "Reader", "merge", "read_archive", "read_sizes"]

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


@dataclass
class _Changes:
    """What a layer changes in what is below: it removes paths, then adds a tree."""

    added: _Tree = field(default_factory=_Tree)
    removed: list[str] = field(default_factory=list)  # with everything below them
    emptied: list[str] = field(default_factory=list)  # folders that stay
    folders: list[str] = field(default_factory=list)  # which replace files, and add to folders


class Reader:
    """Reads the selected files of images; a layer that several of them have is read once."""

    def __init__(self, selects: Selects) -> None:
        self._selects = selects
        self._known: dict[str, _Changes] = {}

    def read_layout(self, layout: Path, digest: str = "") -> dict[str, bytes]:
        """The files of an image of an OCI layout, by path without the first slash.

        digest: that of a platform's image; by default the layout has a single one.
        """
        action = f"read the image in {layout}"
        digests = _digests(oci_layout.read(layout, digest).manifest, action)
        return self._read(digests, lambda layer: oci_layout.read_blob(layout, layer), action)

    def read_registry(self, registry: Registry, repository: str, digest: str) -> dict[str, bytes]:
        """The files of an image in a registry, by path without the first slash."""
        action = f"read the image {repository}@{digest[:19]}…"
        digests = _digests(_manifest(registry, repository, digest, action).manifest, action)
        return self._read(digests, lambda layer: registry.blob(repository, layer), action)

    def _read(
        self, digests: Sequence[str], read: Callable[[str], bytes], action: str
    ) -> dict[str, bytes]:
        for digest in digests:
            if digest not in self._known:
                self._known[digest] = _changes(read(digest), self._selects, action)
        return _lay((self._known[digest] for digest in digests), self._selects)


def read_archive(archive: Path, selects: Selects) -> dict[str, bytes]:
    """The selected files of the image in an archive of `docker save`."""
    action = f"read the image in {archive}"
    with tarfile.open(archive) as tar:

        def read(name: str) -> bytes:
            content = tar.extractfile(name)
            return content.read() if content else b""

        (image,) = json.loads(read("manifest.json"))
        return merge((read(name) for name in image["Layers"]), selects, action)


def read_sizes(registry: Registry, repository: str, digest: str) -> dict[str, list[Layer]]:
    """The layers of an image in a registry, lowest first, for each of its platforms.

    An image for a single one is under "". Downloads each layer.
    """
    action = f"read the layers of {repository}"
    manifest = _manifest(registry, repository, digest, action)
    manifests = {
        platform: _manifest(registry, repository, part, action).manifest
        for platform, part in manifest.platforms.items()
    } or {"": manifest.manifest}
    digests = {platform: _digests(each, action) for platform, each in manifests.items()}
    sizes = dict[str, Layer]()
    for layer in {layer for layers in digests.values() for layer in layers}:
        blob = registry.blob(repository, layer)
        with tarfile.open(fileobj=io.BytesIO(blob), mode="r:*") as tar:
            unpacked = sum(member.size for member in tar if member.isreg())
        sizes[layer] = Layer(layer, len(blob), unpacked)
    return {platform: [sizes[each] for each in layers] for platform, layers in digests.items()}


def merge(layers: Iterable[bytes], selects: Selects, action: str) -> dict[str, bytes]:
    """The selected files of layers (tar archives, lowest first), each laid over those below.

    A file that a link leads to also counts under the name of the link.
    """
    return _lay((_changes(layer, selects, action) for layer in layers), selects)


def _lay(layers: Iterable[_Changes], selects: Selects) -> dict[str, bytes]:
    tree = _Tree()
    for changes in layers:
        for path in changes.emptied:
            _remove(tree, path, itself=False)
        for path in changes.removed:
            _remove(tree, path)
        for path in changes.folders:
            tree.files.pop(path, None)
            tree.links.pop(path, None)
        tree.files |= changes.added.files
        tree.links |= changes.added.links
    return _with_links(tree, selects)


def _manifest(registry: Registry, repository: str, digest: str, action: str) -> Manifest:
    manifest = registry.fetch(repository, digest)
    if manifest is None:
        raise RegistryError(
            f"cannot {action}: the registry holds no such image",
            hint="push it by `./run inv push`",
        )
    return manifest


def _digests(manifest: Mapping[str, Any], action: str) -> list[str]:
    layers = manifest.get("layers")
    if layers is None:
        raise RegistryError(
            f"cannot {action}: it is not the image of one platform",
            hint="name the image of a platform",
        )
    return [layer["digest"] for layer in layers]


def _changes(layer: bytes, selects: Selects, action: str) -> _Changes:
    """What a layer changes. Its whiteouts hide only what is below, in any order of its files."""
    changes = _Changes()
    try:
        with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as tar:
            for member in tar:
                _add(tar, member, changes, selects)
    except (tarfile.TarError, zlib.error, EOFError, KeyError, OSError) as error:
        raise RegistryError(
            f"cannot {action}: a layer is not a tar archive packed by gzip: {error}",
            hint="build the image by `./run inv push`; no other compression is read here",
        ) from error
    return changes


def _add(
    tar: tarfile.TarFile, member: tarfile.TarInfo, changes: _Changes, selects: Selects
) -> None:
    path = posixpath.normpath(member.name).lstrip("/")
    folder, name = posixpath.split(path)
    if name == _OPAQUE:
        changes.emptied.append(folder)
    elif name.startswith(_WHITEOUT):
        changes.removed.append(posixpath.join(folder, name.removeprefix(_WHITEOUT)))
    elif member.isdir():
        changes.folders.append(path)
    else:
        changes.removed.append(path)
        if member.issym():
            changes.added.links[path] = member.linkname
        elif selects(path) and (content := tar.extractfile(member)):
            changes.added.files[path] = content.read()


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
