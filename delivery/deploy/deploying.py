"""Deploy a release to an environment: select it, roll it out, and record the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from delivery import prompt
from delivery.deploy import inventory, upgrade
from delivery.deploy.helm_values import image_values
from delivery.deploy.inventory import Deployed
from delivery.deploy.locked_target import lock_target
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
class _Selection:
    """What to deploy: a release, this clone's images, or (without either) the deployed images."""

    images: Mapping[str, tuple[str, str]]  # (repository, digest) by name
    release: Release | None = None
    built: Mapping[str, ReleasedPart] = field(default_factory=dict)  # from this clone's sources
    engine: Engine | None = None  # the engine that built them


def deploy(
    declaration: Declaration, request: DeployRequest, options: Options, root: Path = ROOT
) -> Deployment:
    """Deploy what is requested, and wait until it is ready; roll back a failure.

    The deployment starts, and is recorded, when this process has the environment's lock.
    """
    with recorder.deployment(declaration, "deploy", Action.DEPLOY) as recording:
        environment, release = resolve(declaration, request)
        target = connect(declaration, environment, request.context)
        recording.read_token = target.ledger_token
        selection = _select(declaration, target, request, release)
        inputs = upgrade.write_files(target, _chart(declaration, selection), root)
        with lock_target(target, options) as locked:
            deployment = _start(declaration, target, selection, recording)
            done = upgrade.upgrade(locked, deployment, inputs, root)
        recording.finish(done)
        return done


def _start(
    declaration: Declaration, target: Target, selection: _Selection, recording: Recording
) -> Deployment:
    """Record the start of the deployment; a failure to name the contents does not stop it."""
    contents = previous = Contents()
    with recording.guard():
        if deployed := inventory.read_deployed(declaration, target):
            previous = deployed.contents
        contents = _contents(declaration, selection, previous)
    deployment = target.deployment(Action.DEPLOY, contents, previous)
    if contents.versions:
        recording.start(deployment, selection.release)
    return deployment


def _contents(declaration: Declaration, selection: _Selection, previous: Contents) -> Contents:
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


def _select(
    declaration: Declaration, target: Target, request: DeployRequest, release: Release | None
) -> _Selection:
    version, ask = request.version, request.is_interactive
    if release is None and not version:
        answer = _keep_answer(inventory.read_deployed(declaration, target)) if ask else {}
        version = choose_version(declaration, target.name, answer, ask=ask)
    signed = request.signed or target.environment.signed
    release = find_release(declaration, target.name, release, version, signed=signed)
    if target.environment.confirm:
        action = f"deploy {release.version if release else version} to {target}"
        prompt.confirm(action, target.name, yes=request.yes)
    if release:
        return _Selection(_pinned(release.images), release=release)
    if version == catalog.CURRENT:
        engine = engines.ensure()
        built = releasing.ensure_images(engine, declaration).images
        return _Selection(_pinned(built), built=built, engine=engine)
    return _select_deployed(declaration, inventory.read_deployed(declaration, target))


def _pinned(images: Mapping[str, ReleasedPart]) -> dict[str, tuple[str, str]]:
    return {name: (image.repository, image.digest) for name, image in images.items()}


def _select_deployed(declaration: Declaration, deployed: Deployed | None) -> _Selection:
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
    return _Selection(deployed.images)


def _keep_answer(deployed: Deployed | None) -> dict[str, str]:
    """The answer that keeps the deployed images, with its meaning; empty without any."""
    if deployed is None or not deployed.images:
        return {}
    versions, number = deployed.contents.versions, deployed.revision.number
    names = ", ".join(f"{name} {versions[name]}" for name in deployed.contents.digests)
    return {catalog.DEPLOYED: f"the deployed images: revision {number}, {names}"}


def _chart(declaration: Declaration, selection: _Selection) -> Chart:
    """The chart with its values; a local registry also gets the upstream images."""
    registry = Registry(declaration.registry.address)
    engine = selection.engine
    if engine is None and is_local(declaration.registry.address):
        engine = engines.ensure()
    mirrored = mirroring.mirror(engine, declaration, registry) if engine else {}
    values = image_values(selection.images, declaration.components(), mirrored)
    folder = Path(declaration.chart.folder)
    chart = selection.release.chart if selection.release else None
    packed = chart_package.fetch(registry, chart.repository, chart.digest) if chart else None
    return Chart(folder, values, packed)
