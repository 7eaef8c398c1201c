"""Deploy a release to an environment: choose it, roll it out, and record what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from delivery import prompt
from delivery.deploy import serving, upgrade
from delivery.deploy.helm_values import image_values
from delivery.deploy.selection import Request, choose_version, find, resolve
from delivery.deploy.serving import Serving
from delivery.deploy.target import Options, Target, connect
from delivery.deploy.upgrade import Chart
from delivery.errors import DeclarationError
from delivery.host import engines
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, is_local
from delivery.project.files import ROOT
from delivery.records import recorder
from delivery.records.deployment import Action, Contents, Deployment
from delivery.registry import mirroring
from delivery.registry.client import Registry
from delivery.release import catalog, chart_package, releasing
from delivery.release.released import Release

__all__ = ["deploy"]


@dataclass(frozen=True)
class _Selected:
    """What is deployed: the images' (repository, digest) by name, and their names with the chart's.

    release is the published one; None for this clone's sources, or what serves already. engine is
    the one that built it, if any.
    """

    images: Mapping[str, tuple[str, str]]
    contents: Contents
    release: Release | None = None
    engine: Engine | None = None


def deploy(declaration: Declaration, request: Request, options: Options, root: Path = ROOT) -> Deployment:
    """Deploy what is requested, and wait until it serves; a failure is rolled back, and recorded."""
    with recorder.deployment(declaration, "deploy", Action.DEPLOY) as recording:
        environment, release = resolve(declaration, request)
        target = connect(declaration, environment, request.context)
        current = serving.look(declaration, target)
        selected = _select(declaration, target, current, request, release)
        deployment = Deployment(
            action=Action.DEPLOY,
            environment=target.name,
            context=target.kubernetes.context,
            namespace=target.kubernetes.namespace,
            contents=selected.contents,
            before=current.contents if current else Contents(),
        )
        recording.start(deployment, selected.release)
        done = upgrade.upgrade(target, deployment, _chart(declaration, selected), options, root)
        recording.finish(done)
        return done


def _select(
    declaration: Declaration,
    target: Target,
    current: Serving | None,
    request: Request,
    release: Release | None,
) -> _Selected:
    version = request.version
    if release is None and not version:
        version = choose_version(declaration, target.name, _keep(current), ask=request.may_ask)
    signed = request.signed or target.declared.signed
    release = find(declaration, target.name, release, version, signed=signed)
    if target.declared.confirm:
        doing = f"deploy {release.version if release else version} to {target}"
        prompt.confirm(doing, target.name, yes=request.yes)
    if release:
        return _Selected(_pinned(release), serving.contents_of_release(declaration, release), release)
    if version == catalog.CURRENT:
        return _from_clone(declaration, current)
    return _as_deployed(declaration, current)


def _pinned(release: Release) -> dict[str, tuple[str, str]]:
    return {name: (image.repository, image.digest) for name, image in release.images.items()}


def _from_clone(declaration: Declaration, current: Serving | None) -> _Selected:
    """What this clone's sources make."""
    engine = engines.ensure()
    made = releasing.make(engine, declaration)
    contents = serving.contents_of_clone(declaration, made.images, current.contents if current else None)
    return _Selected(_pinned(made), contents, engine=engine)


def _as_deployed(declaration: Declaration, current: Serving | None) -> _Selected:
    """The images that serve already, by this clone's chart."""
    if current is None or not current.images:
        raise DeclarationError("deploy what is deployed: nothing is", hint=f"--version {catalog.CURRENT}, or X.Y.Z")
    if missing := [name for name in declaration.components() if name not in current.images]:
        raise DeclarationError(
            f"cannot deploy what is deployed: it has no {', '.join(missing)}, which delivery.toml declares",
            hint=f"--version {catalog.CURRENT} builds this clone's sources, --version X.Y.Z is a release",
        )
    images, chart = current.contents, serving.contents_of_clone(declaration, {}, current.contents)
    contents = Contents(versions={**images.versions, **chart.versions}, digests={**images.digests, **chart.digests})
    return _Selected(current.images, contents)


def _keep(current: Serving | None) -> dict[str, str]:
    """The answer that leaves the images as they are, with its meaning, if any serve."""
    if current is None or not current.images:
        return {}
    names = ", ".join(f"{name} {current.contents.versions[name]}" for name in current.images)
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
