"""Push what was built, believing no push before the registry has given the same bytes back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from delivery.core.plan import Plan, PlannedImage
from delivery.core.release import Release, make_release
from delivery.tools import files, screen
from delivery.tools.engine import Engine
from delivery.tools.files import ROOT
from delivery.tools.patience import patiently
from delivery.tools.registry import Registry, login

__all__ = ["publish"]


def publish(engine: Engine, registry: Registry, plan: Plan, layouts: Mapping[str, Path], root: Path = ROOT) -> Release:
    """Push every missing image under its key, and write release.json for what is deployed from now on."""
    pushed = {image.name: _push(engine, registry, image, layouts[image.name]) for image in plan.missing}
    release = make_release(plan, pushed)
    files.output("release.json", root=root).write_text(release.to_json(), encoding="utf-8")
    return release


def _push(engine: Engine, registry: Registry, image: PlannedImage, layout: Path) -> str:
    with screen.step(f"push {image.name}") as step:
        if engine.oci_layouts:
            digest = registry.push_layout(layout, image.repository, image.key, step.line)
        else:
            digest = patiently(lambda: engine.push(image.tagged, step.line, login=login(registry.address)))
            registry.verify(image.repository, image.key, digest)
        step.done(f"{image.repository}@{digest[:19]}…, read back and equal")
    return digest
