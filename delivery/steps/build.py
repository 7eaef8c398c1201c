"""Build the images that the plan misses, all in one BuildKit graph."""

from __future__ import annotations

import shutil
from pathlib import Path

from delivery.core.declaration import Declaration
from delivery.core.plan import Plan, PlannedImage
from delivery.steps import plan as planning
from delivery.steps.registry import have
from delivery.tools import buildx, files, screen, trust
from delivery.tools.engine import Engine
from delivery.tools.files import ROOT

__all__ = ["build", "targets"]


def build(engine: Engine, declaration: Declaration, plan: Plan, root: Path = ROOT) -> dict[str, Path]:
    """Build what is missing; the OCI layout of each, by name (empty folders' names where the engine keeps the images)."""
    if not plan.missing:
        with screen.step("build") as step:
            step.done(f"nothing to do: the registry holds all {len(plan.images)} images under their keys")
        return {}
    graph = targets(declaration, plan, root)
    with screen.step(f"build {', '.join(target.name for target in graph)}") as step:
        for target in graph:
            shutil.rmtree(target.layout, ignore_errors=True)
        for base in plan.bases:
            have(engine, base.pinned, step.line)
        buildx.bake(
            engine, graph, file=files.output("bake.json", root=root), secrets=trust.secrets(), on_line=step.line
        )
        step.done("in one graph")
    return {target.name: target.layout for target in graph}


def targets(declaration: Declaration, plan: Plan, root: Path = ROOT) -> list[buildx.Target]:
    """The bake targets for what is missing; a base of ours is the target itself or what the registry holds, never a stale one."""
    known = {image.name: image for image in plan.images}
    return [
        buildx.Target(
            name=image.name,
            context=root / declaration.images[image.name].context,
            layout=files.output("layouts", image.name, root=root),
            tag=image.tagged,
            arguments=planning.arguments(declaration, image.name, root),
            contexts={image.base: _context(known[image.base])} if image.base in known else {},
        )
        for image in plan.missing
    ]


def _context(base: PlannedImage) -> str:
    return f"target:{base.name}" if base.missing else f"docker-image://{base.pinned}"
