"""An image's files, read out of its layers without an engine.

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

__all__ = ["in_layout", "in_registry", "union"]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"  # whoever wrote it wants nothing of this folder from the layers below
_DEEPEST = 8  # links to links that are followed


@dataclass
class _Tree:
    """Files that are wanted with their content, and where links lead to."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def in_layout(layout: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The wanted files of the one image of an OCI layout, by path without the first slash; RegistryError where it is none."""
    doing = f"read the image in {layout}"
    layers = (
        oci_layout.blob(layout, one) for one in _layers(oci_layout.read(layout).manifest, doing)
    )
    try:
        return union((layer.read_bytes() for layer in layers), wanted, doing)
    except OSError as error:
        raise RegistryError(
            f"{doing}: it is not an OCI layout with one image ({error})", hint="build it anew"
        ) from error


def in_registry(
    registry: Registry, repository: str, digest: str, wanted: Callable[[str], bool]
) -> dict[str, bytes]:
    """The wanted files of an image in a registry, by path without the first slash."""
    doing = f"read the image {repository}@{digest[:19]}…"
    found = registry.fetch(repository, digest)
    if found is None:
        raise RegistryError(
            f"{doing}: the registry holds no such image",
            hint="`./run inv push` pushes what is missing",
        )
    return union(
        (registry.blob(repository, layer) for layer in _layers(found.manifest, doing)),
        wanted,
        doing,
    )


def union(layers: Iterable[bytes], wanted: Callable[[str], bool], doing: str) -> dict[str, bytes]:
    """What is left of layers (tar archives, packed by gzip or not, lowest first) once they are laid one upon another.

    A file that a link leads to also counts under the link's name, be the link to the file or to its folder.
    """
    tree = _Tree()
    for layer in layers:
        try:
            with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as tar:
                _lay(tar, tree, wanted)
        except (tarfile.TarError, zlib.error, EOFError, KeyError, OSError) as error:
            raise RegistryError(
                f"{doing}: a layer is no tar archive packed by gzip: {error}",
                hint="images are built by `./run inv push`, whose layers are; another compression is not read here",
            ) from error
    return _through_links(tree, wanted)


def _layers(manifest: Mapping[str, Any], doing: str) -> list[str]:
    layers = manifest.get("layers")
    if layers is None:
        raise RegistryError(
            f"{doing}: it is not the image of one platform", hint="name the image of a platform"
        )
    return [layer["digest"] for layer in layers]


def _lay(tar: tarfile.TarFile, tree: _Tree, wanted: Callable[[str], bool]) -> None:
    """Lay a layer over what is there. It hides only what is below it, wherever in the archive it says so."""
    above = _Tree()
    for member in tar:
        path = posixpath.normpath(member.name).lstrip("/")
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            _drop(tree, folder, itself=False)
        elif name.startswith(_WHITEOUT):
            _drop(tree, posixpath.join(folder, name.removeprefix(_WHITEOUT)))
        elif member.isdir():
            # A folder in the place of a file; into one that is there, it only lays more.
            tree.files.pop(path, None)
            tree.links.pop(path, None)
        else:
            _drop(tree, path)
            if member.issym():
                above.links[path] = member.linkname
            elif wanted(path):
                content = tar.extractfile(member)
                if content is not None:
                    above.files[path] = content.read()
    tree.files |= above.files
    tree.links |= above.links


def _drop(tree: _Tree, path: str, *, itself: bool = True) -> None:
    """Take away what is under a path, and what is at it."""
    below = f"{path}/" if path else ""
    for kept in (tree.files, tree.links):
        for one in [one for one in kept if one.startswith(below) or (itself and one == path)]:
            del kept[one]


def _through_links(tree: _Tree, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    found = dict(tree.files)
    for _ in range(_DEEPEST):
        more = {}
        for link, told in tree.links.items():
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(link), told)).lstrip(
                "/"
            )
            for path, content in found.items():
                name = link + path[len(target) :]
                if (
                    (path == target or path.startswith(f"{target}/"))
                    and name not in found
                    and wanted(name)
                ):
                    more[name] = content
        if not more:
            break
        found |= more
    return found
