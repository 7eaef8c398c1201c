"""What an image was built from, by digest: upstream images, its base, and lock files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from delivery.build.plan import PlannedImage
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT

__all__ = ["is_recorded", "load", "record"]

_LOCK = re.compile(r"(.*/)?([^/]+\.lock|go\.sum|package-lock\.json|(packages|requirements)\.txt)")


def record(
    engine: Engine, declaration: Declaration, image: PlannedImage, root: Path = ROOT
) -> None:
    """Keep the digests of the upstream images that an image was just built from."""
    file = _file(image, root)
    for old in file.parent.glob(f"{image.build_name}@*"):
        old.unlink()
    declared = declaration.images[image.name]
    names = {declared.base, declared.builder} & {*declaration.upstream}
    references = sorted(declaration.upstream[name].image for name in names if name)
    digests = {reference: engine.image_digest(reference) for reference in references}
    files.write_atomically(file, json.dumps(digests, indent=2) + "\n")


def is_recorded(image: PlannedImage, root: Path = ROOT) -> bool:
    """Whether it is known what an image was built from, which was built here."""
    return _file(image, root).is_file()


def load(
    declaration: Declaration, image: PlannedImage, ours: Mapping[str, str], root: Path = ROOT
) -> dict[str, str]:
    """The digests of what an image that was built here was built from, by name.

    ours: the digests of our images.
    """
    declared = declaration.images[image.name]
    base = {declared.base: ours[declared.base]} if declared.base in ours else {}
    locks = {
        f"{folder}/{file.path}": f"sha256:{file.digest}"
        for folder in declared.folders
        for file in files.context_files(root / folder)
        if _LOCK.fullmatch(file.path)
    }
    upstream = json.loads(_file(image, root).read_text(encoding="utf-8"))
    return {**upstream, **base, **locks}


def _file(image: PlannedImage, root: Path) -> Path:
    return files.output("materials", f"{image.build_name}@{image.key}", root=root)
