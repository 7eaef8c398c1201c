"""Upstream images: taken from the engine, else pulled, else built from this project's recipe."""

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

# The label of an image that was built from a recipe.
RECIPE_KEY = "delivery-platform.recipe-key"
_ROOT_IMAGE = "debian"  # the base of all other recipes


def ensure_all(engine: Engine, declaration: Declaration) -> list[str]:
    """Get every upstream image that builds and the platform need, the base of the recipes first.

    Leaves out optional images and the large image of the cluster's nodes. Returns the names.
    """
    names = [
        name
        for name in sorted(declaration.upstream, key=lambda name: name != _ROOT_IMAGE)
        if name != declaration.cluster.node and not declaration.upstream[name].optional
    ]
    for name in names:
        ensure(engine, declaration, name)
    return names


def ensure(engine: Engine, declaration: Declaration, name: str, root: Path = ROOT) -> str:
    """Get an upstream image; return "already there", "pulled" or "built from its recipe"."""
    with console.step(f"upstream image {declaration.upstream[name].image}") as step:
        return _ensure(_Context(engine, declaration, root, step), name)


@dataclass(frozen=True)
class _Context:
    engine: Engine
    declaration: Declaration
    root: Path
    step: console.Step


def _ensure(context: _Context, name: str) -> str:
    engine, declaration, step = context.engine, context.declaration, context.step
    upstream = declaration.upstream[name]
    with cache.lock(f"upstream-{name}"):
        key = _recipe_key(declaration, name, context.root)
        labels = engine.image_labels(upstream.image)
        if labels is not None and labels.get(RECIPE_KEY, key) == key:
            step.done(f"already there, {describe_source(labels)}")
            return "already there"
        reason = "the recipe has changed"
        if labels is None:
            pull_error = _pull(engine, upstream.image, step)
            if not pull_error:
                step.done("pulled")
                return "pulled"
            reason = f"no pull: {pull_error}"
        if name != _ROOT_IMAGE:  # a single image may be requested before its base exists
            _ensure(context, _ROOT_IMAGE)
        _build(context, name, key)
        step.done(f"built from {upstream.recipe} ({reason})")
        return "built from its recipe"


def describe_source(labels: dict[str, str]) -> str:
    """The source of an image, by its labels."""
    return "built from the recipe" if RECIPE_KEY in labels else "as published"


def _recipe_key(declaration: Declaration, name: str, root: Path) -> str:
    recipe = files.context_files(root / declaration.upstream[name].recipe)
    base = "" if name == _ROOT_IMAGE else _recipe_key(declaration, _ROOT_IMAGE, root)
    return image_key(recipe, arguments={}, platform=platform(), base=base)


def _pull(engine: Engine, image: str, step: console.Step) -> str:
    """Pull an image; return the reason if that fails, else ""."""
    try:
        engine.pull(image, step.line)
    except DeliveryError as error:
        return error.reason
    return ""


def _build(context: _Context, name: str, key: str) -> None:
    upstream = context.declaration.upstream[name]
    labels = {"delivery-platform.recipe": upstream.recipe, RECIPE_KEY: key}
    recipe = context.root / upstream.recipe
    if (recipe / "build").exists():
        _build_root(context, upstream, labels)
        return
    arguments = {"DEBIAN_IMAGE": context.declaration.upstream[_ROOT_IMAGE].image}
    image = buildx.Single(recipe, upstream.image, arguments, labels, trust.secrets())
    buildx.build(context.engine, image, context.step.line)


def _build_root(context: _Context, upstream: Upstream, labels: dict[str, str]) -> None:
    """Build a root file system with Debian's own tools: a Dockerfile cannot do that."""
    if not debian.can_install():
        raise UpstreamError(
            f"cannot build {upstream.image}: its recipe needs root on Debian",
            hint=f"run `docker pull {upstream.image}` where a registry answers, "
            "or run this as root on Debian",
        )
    if not shutil.which("mmdebstrap"):
        debian.install(["mmdebstrap"], context.step.line)
    tar = cache.folder("roots") / f"{os.getpid()}.tar"
    try:
        process.stream(
            [str(context.root / upstream.recipe / "build"), str(tar)],
            doing=f"build {upstream.image}",
            on_line=context.step.line,
            options=process.Options(
                env={"SOURCE_DATE_EPOCH": str(context.declaration.build.epoch)}
            ),
        )
        context.engine.import_root(tar, upstream.image, labels)
    finally:
        tar.unlink(missing_ok=True)
