"""Build the images that the registry lacks, all in one BuildKit graph."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from delivery import console
from delivery.build import planning
from delivery.build.plan import Images, PlannedImage
from delivery.host import buildx, trust, upstreams
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import Declaration, Image
from delivery.project.files import ROOT
from delivery.registry import oci_layout
from delivery.registry.local_registry import pull_missing

__all__ = ["build", "layout_folder", "report_nothing_to_build", "targets"]

_UNFINISHED = ".part"
# A file beside what a layout has by its standard: the digest of the base of ours that it stands on.
_BASE = "base"


def report_nothing_to_build(images: Images) -> None:
    """Say that the registry holds every image."""
    with console.step("build") as step:
        step.done(
            f"nothing to do: the registry holds all {len(images.all)} images under their keys"
        )


def build(
    engine: Engine, declaration: Declaration, images: Images, root: Path = ROOT
) -> dict[str, Path]:
    """Build what is missing and was not built before; the OCI layout of each, by name.

    Where the engine keeps images itself it has each under its key, and no layout is there.
    """
    layouts = {image.name: layout_folder(image, root) for image in images.missing}
    left: list[PlannedImage] = []
    for image in images.missing:  # each after its base
        if image.base in {one.name for one in left} or not _is_built(engine, images, image, root):
            left.append(image)
    if not left:
        with console.step("build") as step:
            step.done(f"nothing to do: {', '.join(layouts)} built before")
        return layouts
    for name in _stands_on(declaration, left):
        upstreams.ensure(engine, declaration, name, root)
    graph = targets(declaration, images, left, root)
    known = {image.name: image for image in images.all}
    with console.step(f"build {', '.join(target.name for target in graph)}") as step:
        for target in graph:
            for old in target.layout.parent.glob(f"{target.name}@*"):
                shutil.rmtree(old)
        for base in images.bases:
            pull_missing(engine, base.pinned, step.line)
        buildx.bake(
            engine,
            graph,
            file=files.output("bake.json", root=root),
            secrets=trust.secrets(),
            on_line=step.line,
        )
        if engine.oci_layouts:  # a folder of the final name is a layout that was finished
            for target in graph:  # each after its base
                (target.layout / _BASE).write_text(
                    _base(images, known[target.name], root), encoding="utf-8"
                )
                target.layout.rename(layouts[target.name])
        step.done("in one graph")
    return layouts


def targets(
    declaration: Declaration, images: Images, left: Sequence[PlannedImage], root: Path = ROOT
) -> list[buildx.Target]:
    """The bake targets for what is left; a base of ours is the target itself or what the registry holds, never a stale one.

    What others of them stand on is among them, even when it was built before: the builder knows it still.
    """
    known = {image.name: image for image in images.all}
    wanted = {image.name for image in left}
    for image in reversed(images.missing):  # what stands on others comes first
        wanted |= {image.base} if image.name in wanted else set()
    return [
        buildx.Target(
            name=image.name,
            context=root / declaration.images[image.name].context,
            layout=layout_folder(image, root).with_suffix(_UNFINISHED),
            tag=image.tagged,
            arguments=planning.build_arguments(declaration, image.name, root),
            contexts=_contexts(declaration.images[image.name], known, root),
        )
        for image in images.missing
        if image.name in wanted
    ]


def _contexts(image: Image, known: Mapping[str, PlannedImage], root: Path) -> dict[str, str]:
    """What the Dockerfile's names stand for: folders, and the base where it is one of ours."""
    folders = {name: str(root / folder) for name, folder in image.contexts.items()}
    base = {image.base: _context(known[image.base])} if image.base in known else {}
    return {**folders, **base}


def layout_folder(image: PlannedImage, root: Path = ROOT) -> Path:
    """Where an image that was built here is, as an OCI layout."""
    return files.output("layouts", f"{image.name}@{image.key}", root=root)


def _is_built(engine: Engine, images: Images, image: PlannedImage, root: Path) -> bool:
    """Whether it was built here before, on the base that it is to stand on now.

    A key names the base's key, under which anybody may have put what the registry held then.
    """
    if not engine.oci_layouts:
        return engine.image_labels(image.tagged) is not None
    base = layout_folder(image, root) / _BASE
    return base.is_file() and base.read_text(encoding="utf-8") == _base(images, image, root)


def _base(images: Images, image: PlannedImage, root: Path) -> str:
    """The digest of its base of ours, in the registry or as built here; "" where there is none."""
    base = next((one for one in images.all if one.name == image.base), None)
    if base is None or base.digest:
        return base.digest if base else ""
    built = layout_folder(base, root)
    return oci_layout.digest(built) if built.is_dir() else ""


def _stands_on(declaration: Declaration, left: Sequence[PlannedImage]) -> list[str]:
    """The upstream images that these are built on and with."""
    used = [name for image in left for name in (image.base, declaration.images[image.name].builder)]
    return [name for name in declaration.upstream if name in used]


def _context(base: PlannedImage) -> str:
    return f"target:{base.name}" if base.missing else f"docker-image://{base.pinned}"
