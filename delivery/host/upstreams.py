"""Have the images that others publish: from the engine, else from their registry, else from our recipe."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from delivery import cache, console, process
from delivery.errors import DeliveryError, UpstreamError
from delivery.host import buildx, debian, trust
from delivery.host.docker_api import Engine
from delivery.machine import platform
from delivery.project import files
from delivery.project.declaration import Declaration, Upstream
from delivery.project.files import ROOT
from delivery.project.keys import image_key

__all__ = ["RECIPE_KEY", "describe_source", "ensure", "ensure_all"]

RECIPE_KEY = (
    "delivery-platform.recipe-key"  # the label that tells a recipe's image from a published one
)
_ROOT_IMAGE = "debian"  # the recipe that the others are built on


def ensure_all(engine: Engine, declaration: Declaration) -> None:
    """Have every upstream image that our images and the platform need, what the recipes stand on first.

    The cluster's nodes are left out: their image is large, and only a cluster needs it. So is what is optional.
    """
    for name in sorted(declaration.upstream, key=lambda one: one != _ROOT_IMAGE):
        if name != declaration.cluster.node and not declaration.upstream[name].optional:
            ensure(engine, declaration, name)


def ensure(engine: Engine, declaration: Declaration, name: str, root: Path = ROOT) -> str:
    """Have one upstream image; say which way it came: "already there", "pulled" or "built from its recipe"."""
    with console.step(f"upstream image {declaration.upstream[name].image}") as step:
        return _ensure(_Making(engine, declaration, root, step), name)


@dataclass(frozen=True)
class _Making:
    """What every step of having an image needs: root is this repository's, step what is printed on."""

    engine: Engine
    declaration: Declaration
    root: Path
    step: console.Step


def _ensure(making: _Making, name: str) -> str:
    engine, declaration, step = making.engine, making.declaration, making.step
    upstream = declaration.upstream[name]
    with cache.lock(f"upstream-{name}"):
        key = _recipe_key(declaration, name, making.root)
        labels = engine.image_labels(upstream.image)
        if labels is not None and labels.get(RECIPE_KEY, key) == key:
            step.done(f"already there, {describe_source(labels)}")
            return "already there"
        refused = ""
        if labels is None:  # one that an older recipe made is made anew, not asked for again
            refused = _pull(engine, upstream.image, step)
            if not refused:
                step.done("pulled")
                return "pulled"
        if (
            name != _ROOT_IMAGE
        ):  # what recipes stand on; whoever wants one image alone may not have it yet
            _ensure(making, _ROOT_IMAGE)
        _build(making, name, key)
        step.done(
            f"built from {upstream.recipe}"
            + (f" (no pull: {refused})" if refused else " (the recipe has changed)")
        )
        return "built from its recipe"


def describe_source(labels: dict[str, str]) -> str:
    """Which way an image came that the engine has, told by its labels."""
    return "built from our recipe" if RECIPE_KEY in labels else "as published"


def _recipe_key(declaration: Declaration, name: str, root: Path) -> str:
    recipe = files.context_files(root / declaration.upstream[name].recipe)
    base = "" if name == _ROOT_IMAGE else _recipe_key(declaration, _ROOT_IMAGE, root)
    return image_key(recipe, arguments={}, platform=platform(), base=base)


def _pull(engine: Engine, image: str, step: console.Step) -> str:
    """Pull an image; the reason when that cannot be done."""
    try:
        engine.pull(image, step.line)
    except DeliveryError as error:
        return error.message.rpartition(": ")[2]
    return ""


def _build(making: _Making, name: str, key: str) -> None:
    upstream = making.declaration.upstream[name]
    labels = {"delivery-platform.recipe": upstream.recipe, RECIPE_KEY: key}
    recipe = making.root / upstream.recipe
    if (recipe / "build").exists():
        _build_root(making, upstream, labels)
        return
    arguments = {"DEBIAN_IMAGE": making.declaration.upstream[_ROOT_IMAGE].image}
    image = buildx.Single(recipe, upstream.image, arguments, labels, trust.secrets())
    buildx.build(making.engine, image, making.step.line)


def _build_root(making: _Making, upstream: Upstream, labels: dict[str, str]) -> None:
    """Make a root file system with Debian's own tools, the one thing that no Dockerfile can begin from nothing."""
    if not debian.can_install():
        raise UpstreamError(
            f"make {upstream.image}: no registry gave it, and its recipe needs root on Debian",
            hint=f"`docker pull {upstream.image}` where there is a registry, or run this as root on Debian",
        )
    if not shutil.which("mmdebstrap"):
        debian.install(["mmdebstrap"], making.step.line)
    tar = cache.folder("roots") / f"{os.getpid()}.tar"
    try:
        process.stream(
            [str(making.root / upstream.recipe / "build"), str(tar)],
            doing=f"make {upstream.image}",
            on_line=making.step.line,
            options=process.Options(env={"SOURCE_DATE_EPOCH": str(making.declaration.build.epoch)}),
        )
        making.engine.import_root(tar, upstream.image, labels)
    finally:
        tar.unlink(missing_ok=True)
