"""What a deploy gives to helm: the images of a release, or of this clone, and their chart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from delivery import prompt
from delivery.build import planning
from delivery.deploy import inventory
from delivery.deploy.helm_values import image_values
from delivery.deploy.inventory import Deployed
from delivery.deploy.selection import DeployRequest, choose_version, find_release
from delivery.deploy.target import Target
from delivery.deploy.upgrade import Chart
from delivery.errors import DeclarationError
from delivery.host import docker_api, engines
from delivery.project.declaration import Declaration, is_local
from delivery.records.deployment import Contents
from delivery.registry import local_registry, mirroring
from delivery.registry.client import Registry
from delivery.release import catalog, chart_package, releasing
from delivery.release.released import Release, ReleasedPart, released_images

__all__ = ["Selection", "make_chart", "named_contents", "select"]


@dataclass(frozen=True)
class Selection:
    """What to deploy: a release, this clone's images, or (without either) the deployed images."""

    images: Mapping[str, tuple[str, str]]  # (repository, digest) by name
    release: Release | None = None
    built: Mapping[str, ReleasedPart] = field(default_factory=dict)  # from this clone's sources


def select(
    declaration: Declaration, target: Target, request: DeployRequest, release: Release | None
) -> Selection:
    """The images to deploy, after the user has confirmed them; builds those of `current`."""
    version, ask = request.version, request.is_interactive
    if release is None and not version:
        answer = _keep_answer(inventory.read_deployed(declaration, target)) if ask else {}
        version = choose_version(declaration, target.name, answer, ask=ask)
    signed = request.signed or target.environment.signed
    release = find_release(declaration, target.name, release, version, signed=signed)
    if target.environment.confirm and not request.dry_run:
        action = f"deploy {release.version if release else version} to {target}"
        prompt.confirm(action, target.name, yes=request.yes)
    if release:
        return Selection(_pinned(release.images), release=release)
    if version == catalog.CURRENT:
        is_preview = declaration.is_preview(target.name)
        if request.dry_run:
            built = _built_before(declaration, for_push=is_preview)
        else:
            registry = local_registry.connect(declaration)
            platforms = planning.published_platforms(declaration) if is_preview else ()
            built = releasing.push_images(declaration, registry, platforms).images
        return Selection(_pinned(built), built=built)
    return _select_deployed(declaration, inventory.read_deployed(declaration, target))


def _pinned(images: Mapping[str, ReleasedPart]) -> dict[str, tuple[str, str]]:
    return {name: (image.repository, image.digest) for name, image in images.items()}


def _built_before(declaration: Declaration, *, for_push: bool) -> Mapping[str, ReleasedPart]:
    """The clone's images as the registry has them; DeclarationError if one is not built yet.

    for_push: for the platforms that a push builds for, else for this machine's.
    """
    platforms = planning.published_platforms(declaration) if for_push else ()
    registry = Registry(declaration.registry.address)
    images = planning.plan_images(declaration, registry, platforms=platforms)
    if images.missing:
        names = ", ".join(image.name for image in images.missing)
        raise DeclarationError(
            f"cannot compare {catalog.CURRENT}: not built yet: {names}",
            hint=f"build and push them by `./run inv {'push' if for_push else 'images.ensure'}`",
        )
    return released_images(images, {})


def _select_deployed(declaration: Declaration, deployed: Deployed | None) -> Selection:
    """The deployed images, for this clone's chart."""
    if deployed is None or not deployed.images:
        raise DeclarationError(
            "cannot deploy the deployed images: nothing is deployed",
            hint=f"pass --version {catalog.CURRENT} or --version X.Y.Z",
        )
    if missing := [name for name in declaration.components() if name not in deployed.images]:
        raise DeclarationError(
            "cannot deploy the deployed images: "
            f"delivery.toml also declares {', '.join(missing)}, which is not deployed",
            hint=f"pass --version {catalog.CURRENT} to build this clone's sources, "
            "or --version X.Y.Z",
        )
    return Selection(deployed.images)


def _keep_answer(deployed: Deployed | None) -> dict[str, str]:
    """The answer that keeps the deployed images, with its meaning; empty without any."""
    if deployed is None or not deployed.images:
        return {}
    versions, number = deployed.contents.versions, deployed.revision.number
    names = ", ".join(f"{name} {versions[name]}" for name in deployed.contents.digests)
    return {catalog.DEPLOYED: f"the deployed images: revision {number}, {names}"}


def make_chart(declaration: Declaration, selection: Selection, *, dry_run: bool = False) -> Chart:
    """The chart with its values; a local registry also gets the upstream images.

    dry_run: it gets nothing, and the values name those that it has.
    """
    registry = Registry(declaration.registry.address)
    mirrored = (
        mirroring.mirrored(declaration, registry) if dry_run else _mirror(declaration, registry)
    )
    values = image_values(selection.images, declaration.components(), mirrored)
    folder = Path(declaration.chart.folder)
    chart = selection.release.chart if selection.release else None
    packed = chart_package.fetch(registry, chart.repository, chart.digest) if chart else None
    return Chart(folder, values, packed)


def _mirror(declaration: Declaration, registry: Registry) -> dict[str, tuple[str, str]]:
    if not is_local(registry.address):
        return {}
    # `ensure` also looks for plugins that only a build needs, which takes three times as long.
    engine = docker_api.find() or engines.ensure()
    return mirroring.mirror(engine, declaration, registry)


def named_contents(declaration: Declaration, selection: Selection, previous: Contents) -> Contents:
    """The versions and digests of a selection; unchanged bytes keep their previous name."""
    if selection.release:
        return inventory.contents_of_release(declaration, selection.release)
    of_clone = inventory.contents_of_clone(declaration, selection.built, previous)
    if selection.built:
        return of_clone
    images = inventory.contents_of_images(declaration, selection.images, previous)
    return Contents(
        versions={**images.versions, **of_clone.versions},
        digests={**images.digests, **of_clone.digests},
    )
