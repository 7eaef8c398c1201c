"""Deploy a release to an environment: choose it, roll it out, and record what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from delivery import prompt
from delivery.deploy import inventory, upgrade
from delivery.deploy.helm_values import image_values
from delivery.deploy.inventory import Serving
from delivery.deploy.locked_target import Held, hold
from delivery.deploy.selection import DeployRequest, choose_version, find_release, resolve
from delivery.deploy.target import Options, Target, connect
from delivery.deploy.upgrade import Chart
from delivery.errors import DeclarationError
from delivery.host import engines
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, is_local
from delivery.project.files import ROOT
from delivery.records import recorder
from delivery.records.deployment import Action, Contents, Deployment
from delivery.records.recorder import Recording
from delivery.registry import mirroring
from delivery.registry.client import Registry
from delivery.release import catalog, chart_package, releasing
from delivery.release.released import Release, ReleasedPart

__all__ = ["deploy"]


@dataclass(frozen=True)
class _Selected:
    """What is deployed: the images' (repository, digest) by name.

    release is the published one. built are the images that this clone's sources make, and engine
    what built them; without either, the images are those that serve already.
    """

    images: Mapping[str, tuple[str, str]]
    release: Release | None = None
    built: Mapping[str, ReleasedPart] = field(default_factory=dict)
    engine: Engine | None = None


def deploy(
    declaration: Declaration, request: DeployRequest, options: Options, root: Path = ROOT
) -> Deployment:
    """Deploy what is requested, and wait until it serves; a failure is rolled back, and recorded.

    It starts, and is recorded, once no other deploy is under way.
    """
    with recorder.deployment(declaration, "deploy", Action.DEPLOY) as recording:
        environment, release = resolve(declaration, request)
        target = connect(declaration, environment, request.context)
        selected = _select(declaration, target, request, release)
        given = upgrade.write_files(target, _chart(declaration, selected), root)
        with hold(target, options) as held:
            deployment = _started(declaration, held, selected, recording)
            done = upgrade.upgrade(held, deployment, given, root)
        recording.finish(done)
        return done


def _started(
    declaration: Declaration, held: Held, selected: _Selected, recording: Recording
) -> Deployment:
    """The deployment as it starts now, recorded; what cannot be named is deployed all the same."""
    contents = before = Contents()
    with recording.guard():
        if current := inventory.look(declaration, held.target):
            before = current.contents
        contents = _contents(declaration, selected, before)
    deployment = held.target.deployment(Action.DEPLOY, contents, before)
    if contents.versions:
        recording.start(deployment, selected.release)
    return deployment


def _contents(declaration: Declaration, selected: _Selected, before: Contents) -> Contents:
    if selected.release:
        return inventory.contents_of_release(declaration, selected.release)
    of_clone = inventory.contents_of_clone(declaration, selected.built, before)
    if selected.built:
        return of_clone
    kept = inventory.contents_of_images(declaration, selected.images, before)
    return Contents(
        versions={**kept.versions, **of_clone.versions},
        digests={**kept.digests, **of_clone.digests},
    )


def _select(
    declaration: Declaration, target: Target, request: DeployRequest, release: Release | None
) -> _Selected:
    version = request.version
    if release is None and not version:
        kept = _keep(inventory.look(declaration, target)) if request.may_ask else {}
        version = choose_version(declaration, target.name, kept, ask=request.may_ask)
    signed = request.signed or target.declared.signed
    release = find_release(declaration, target.name, release, version, signed=signed)
    if target.declared.confirm:
        doing = f"deploy {release.version if release else version} to {target}"
        prompt.confirm(doing, target.name, yes=request.yes)
    if release:
        return _Selected(_pinned(release.images), release=release)
    if version == catalog.CURRENT:
        engine = engines.ensure()
        built = releasing.ensure_images(engine, declaration).images
        return _Selected(_pinned(built), built=built, engine=engine)
    return _as_deployed(declaration, inventory.look(declaration, target))


def _pinned(images: Mapping[str, ReleasedPart]) -> dict[str, tuple[str, str]]:
    return {name: (image.repository, image.digest) for name, image in images.items()}


def _as_deployed(declaration: Declaration, current: Serving | None) -> _Selected:
    """The images that serve already, by this clone's chart."""
    if current is None or not current.images:
        raise DeclarationError(
            "deploy what is deployed: nothing is", hint=f"--version {catalog.CURRENT}, or X.Y.Z"
        )
    if missing := [name for name in declaration.components() if name not in current.images]:
        raise DeclarationError(
            f"cannot deploy what is deployed: it has no {', '.join(missing)}, which delivery.toml declares",
            hint=f"--version {catalog.CURRENT} builds this clone's sources, --version X.Y.Z is a release",
        )
    return _Selected(current.images)


def _keep(current: Serving | None) -> dict[str, str]:
    """The answer that leaves the images as they are, with its meaning, if any serve."""
    if current is None or not current.images:
        return {}
    names = ", ".join(
        f"{name} {current.contents.versions[name]}" for name in current.contents.digests
    )
    return {catalog.DEPLOYED: f"what runs now: revision {current.revision.number}, {names}"}


def _chart(declaration: Declaration, selected: _Selected) -> Chart:
    """The chart with the values for what was selected; upstream images go to a local registry, too."""
    registry = Registry(declaration.registry.address)
    engine = selected.engine
    if engine is None and is_local(declaration.registry.address):
        engine = engines.ensure()
    mirrored = mirroring.mirror(engine, declaration, registry) if engine else {}
    values = image_values(selected.images, declaration.components(), mirrored)
    folder = Path(declaration.chart.folder)
    chart = selected.release.chart if selected.release else None
    packed = chart_package.fetch(registry, chart.repository, chart.digest) if chart else None
    return Chart(folder, values, packed)
