"""Build the images that the registry does not hold, in a single BuildKit graph."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from delivery import console
from delivery.build import materials, planning
from delivery.build.plan import Images, PlannedImage
from delivery.errors import EngineError
from delivery.host import buildx, trust, upstreams
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import Declaration, Image
from delivery.project.files import ROOT
from delivery.registry import oci_layout
from delivery.registry.local_registry import pull_missing

__all__ = ["build", "layout_folder", "report_nothing_to_build", "targets"]

_UNFINISHED = ".part"
# A file beside those of the OCI layout: the digest of the base that the image was built on.
_BASE = "base"


def report_nothing_to_build(images: Images) -> None:
    """Print that the registry holds every image."""
    with console.step("build") as step:
        step.done(f"nothing to do: the registry holds all {len(images.all)} images")


def build(
    engine: Engine,
    declaration: Declaration,
    images: Images,
    root: Path = ROOT,
    *,
    ensured: Collection[str] = (),
) -> dict[str, Path]:
    """Build the missing images that were not built here before; the OCI layout of each, by name.

    An engine with the classic image store keeps each image under its key, and writes no layout.
    ensured: the upstream images that the engine has.
    """
    if not images.missing:
        report_nothing_to_build(images)
        return {}
    _check_store(engine, images)
    layouts = {image.name: layout_folder(image, root) for image in images.missing}
    outdated: list[PlannedImage] = []
    for image in images.missing:  # each after its base
        base_is_outdated = image.base in {base.name for base in outdated}
        if base_is_outdated or not _is_built(engine, images, image, root):
            outdated.append(image)
    if not outdated:
        with console.step("build") as step:
            step.done(f"nothing to do: {', '.join(layouts)} built before")
        return layouts
    upstreams.ensure(
        engine, declaration, _upstream_images(declaration, outdated) - {*ensured}, root
    )
    graph = targets(declaration, images, outdated, root)
    planned = {image.name: image for image in images.all}
    with console.step(f"build {', '.join(target.name for target in graph)}") as step:
        for target in graph:
            for old in target.layout.parent.glob(f"{planned[target.name].build_name}@*"):
                shutil.rmtree(old)
        for base in images.bases:
            pull_missing(engine, base.pinned, step.line, platforms=list(base.platforms))
        file, secrets = files.output("bake.json", root=root), trust.secrets()
        buildx.bake(engine, graph, file=file, secrets=secrets, on_line=step.line)
        for target in graph:  # each after its base
            materials.record(engine, declaration, planned[target.name], root)
            if engine.oci_layouts:
                base_digest = _base_digest(images, planned[target.name], root)
                (target.layout / _BASE).write_text(base_digest, encoding="utf-8")
                # Only a finished layout has its final name.
                target.layout.rename(layouts[target.name])
        step.done("in one graph")
    return layouts


def targets(
    declaration: Declaration, images: Images, outdated: Sequence[PlannedImage], root: Path = ROOT
) -> list[buildx.Target]:
    """The bake targets for outdated images and the missing ones that they are built on.

    A base is another target, or the digest that the registry holds: never a tag of the engine,
    which may be outdated. The builder's cache has a base that was built before.
    """
    planned = {image.name: image for image in images.all}
    names = {image.name for image in outdated}
    for image in reversed(images.missing):  # each before its base
        if image.name in names:
            names.add(image.base)
    return [
        buildx.Target(
            name=image.name,
            context=root / declaration.images[image.name].context,
            layout=layout_folder(image, root).with_suffix(_UNFINISHED),
            tag=image.tagged,
            arguments=planning.build_arguments(declaration, image.name, root),
            contexts=_contexts(declaration.images[image.name], planned, root),
            dated=declaration.is_dated(image.name),
            platforms=tuple(image.platforms),
        )
        for image in images.missing
        if image.name in names
    ]


def layout_folder(image: PlannedImage, root: Path = ROOT) -> Path:
    """The folder of the OCI layout of an image that is built here."""
    return files.output("layouts", f"{image.build_name}@{image.key}", root=root)


def _check_store(engine: Engine, images: Images) -> None:
    """Raise EngineError if the engine cannot keep an image for several platforms."""
    indexes = [image for image in images.missing if image.is_index]
    if indexes and not engine.oci_layouts:
        raise EngineError(
            f"cannot build {indexes[0].name} for {', '.join(indexes[0].platforms)}: the engine has "
            "the classic image store, which keeps one platform of an image",
            hint='enable "containerd-snapshotter" under "features" in its daemon.json, or build '
            "with another engine",
        )


def _contexts(image: Image, planned: Mapping[str, PlannedImage], root: Path) -> dict[str, str]:
    """The named contexts of a Dockerfile: declared folders, and the base if it is ours."""
    contexts = {name: str(root / folder) for name, folder in image.contexts.items()}
    if base := planned.get(image.base):
        target, existing = f"target:{base.name}", f"docker-image://{base.pinned}"
        contexts[base.name] = target if base.missing else existing
    return contexts


def _is_built(engine: Engine, images: Images, image: PlannedImage, root: Path) -> bool:
    """Whether an image was built here before, on the base that it has now.

    Its content key names only that of the base, under which anyone may push other content.
    """
    if not materials.is_recorded(image, root):
        return False
    if not engine.oci_layouts:
        return engine.image_labels(image.tagged) is not None
    file = layout_folder(image, root) / _BASE
    return file.is_file() and file.read_text(encoding="utf-8") == _base_digest(images, image, root)


def _base_digest(images: Images, image: PlannedImage, root: Path) -> str:
    """The digest of the base of an image, in the registry or as built here; "" if not ours."""
    base = next((other for other in images.all if other.name == image.base), None)
    if base is None or base.digest:
        return base.digest if base else ""
    layout = layout_folder(base, root)
    return oci_layout.digest(layout) if layout.is_dir() else ""


def _upstream_images(declaration: Declaration, images: Sequence[PlannedImage]) -> set[str]:
    """The names of the upstream images that these are built on, and by."""
    builders = (declaration.images[image.name].builder for image in images)
    names = {*(image.base for image in images), *builders}
    return {name for name in declaration.upstream if name in names}
