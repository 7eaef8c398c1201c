"""Upstream images: taken from the engine, else pulled, else built from this project's recipe."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from delivery import cache, console, locks, process
from delivery.errors import DeliveryError, UpstreamError
from delivery.host import buildx, debian, trust
from delivery.host.docker_api import Engine
from delivery.machine import platform
from delivery.project import files
from delivery.project.declaration import Declaration, Upstream
from delivery.project.files import ROOT
from delivery.project.keys import image_key

__all__ = ["RECIPE_KEY", "describe_source", "ensure", "needed"]

# The label of an image that was built from a recipe.
RECIPE_KEY = "delivery-platform.recipe-key"
_ROOT_IMAGE = "debian"  # the base of all other recipes
_FOUND, _PULLED, _BUILT = "already there", "pulled", "built from its recipe"


def needed(declaration: Declaration) -> list[str]:
    """The names of the upstream images that builds and the platform need.

    Leaves out optional images and the large image of the cluster's nodes.
    """
    return [
        name
        for name, upstream in declaration.upstream.items()
        if name != declaration.cluster.node and not upstream.optional
    ]


def ensure(
    engine: Engine, declaration: Declaration, names: Collection[str], root: Path = ROOT
) -> dict[str, str]:
    """Get upstream images; return "already there", "pulled" or "built from its recipe" by name.

    The base of the recipes comes first; the others are built side by side.
    """
    context = _Context(engine, declaration, root)
    others = sorted({*names} - {_ROOT_IMAGE})
    results = _ensure_root(context) if _ROOT_IMAGE in names else {}
    with ExitStack() as held:
        for name in others:  # sorted, so that no two runs wait for each other
            held.enter_context(locks.hold(f"upstream-{name}"))
        results |= {name: _find(context, name) for name in others}
        missing = [name for name in others if results[name] == _BUILT]
        if missing:
            if _ROOT_IMAGE not in results:
                _ensure_root(context)
            _build(context, missing)
    return results


@dataclass(frozen=True)
class _Context:
    engine: Engine
    declaration: Declaration
    root: Path

    def upstream(self, name: str) -> Upstream:
        return self.declaration.upstream[name]

    def labels(self, name: str) -> dict[str, str]:
        """The labels of an image that is built from its recipe."""
        recipe = self.upstream(name).recipe
        return {"delivery-platform.recipe": recipe, RECIPE_KEY: self.key(name)}

    def key(self, name: str) -> str:
        recipe = files.context_files(self.root / self.upstream(name).recipe)
        base = "" if name == _ROOT_IMAGE else self.key(_ROOT_IMAGE)
        return image_key(recipe, arguments={}, platform=platform(), base=base)


def describe_source(labels: dict[str, str]) -> str:
    """The source of an image, by its labels."""
    return "built from the recipe" if RECIPE_KEY in labels else "as published"


def _find(context: _Context, name: str) -> str:
    """Find an image in the engine, else pull it, else answer that it has to be built."""
    upstream = context.upstream(name)
    with console.step(f"upstream image {upstream.image}") as step:
        labels = context.engine.image_labels(upstream.image)
        if labels is not None:
            key = context.key(name)
            if labels.get(RECIPE_KEY, key) == key:
                step.done(f"already there, {describe_source(labels)}")
                return _FOUND
            step.done(f"to be built from {upstream.recipe} (the recipe has changed)")
            return _BUILT
        try:
            context.engine.pull(upstream.image, step.line)
        except DeliveryError as error:
            step.done(f"to be built from {upstream.recipe} (no pull: {error.reason})")
            return _BUILT
        step.done("pulled")
        return _PULLED


def _build(context: _Context, names: Sequence[str]) -> None:
    """Build recipes in one graph, into the engine."""
    base = {"DEBIAN_IMAGE": context.upstream(_ROOT_IMAGE).image}
    graph = [
        buildx.Target(
            name=name,
            context=context.root / context.upstream(name).recipe,
            tag=context.upstream(name).image,
            labels=context.labels(name),
            arguments=base,
        )
        for name in names
    ]
    with console.step(f"build {', '.join(target.tag for target in graph)}") as step:
        buildx.bake(
            context.engine,
            graph,
            file=files.output("bake-upstream.json", root=context.root),
            secrets=trust.secrets(),
            on_line=step.line,
        )


def _ensure_root(context: _Context) -> dict[str, str]:
    with locks.hold(f"upstream-{_ROOT_IMAGE}"):
        result = _find(context, _ROOT_IMAGE)
        if result == _BUILT:
            _build_root(context)
    return {_ROOT_IMAGE: result}


def _build_root(context: _Context) -> None:
    """Build the base with Debian's own tools, or by its Dockerfile.

    A Dockerfile cannot make a root file system.
    """
    upstream = context.upstream(_ROOT_IMAGE)
    script = context.root / upstream.recipe / "build"
    if not script.exists():
        _build(context, [_ROOT_IMAGE])
        return
    if not debian.can_install():
        raise UpstreamError(
            f"cannot build {upstream.image}: its recipe needs root on Debian",
            hint=f"run `docker pull {upstream.image}` where a registry answers, "
            "or run this as root on Debian",
        )
    with console.step(f"build {upstream.image}") as step:
        if not shutil.which("mmdebstrap"):
            debian.install(["mmdebstrap"], step.line)
        tar = cache.folder("roots") / f"{os.getpid()}.tar"
        try:
            process.stream(
                [str(script), str(tar)],
                doing=f"build {upstream.image}",
                on_line=step.line,
                options=process.Options(
                    env={"SOURCE_DATE_EPOCH": str(context.declaration.build.epoch)}
                ),
            )
            context.engine.import_root(tar, upstream.image, context.labels(_ROOT_IMAGE))
        finally:
            tar.unlink(missing_ok=True)
