"""Bring the platform up on this machine, prove it, and record it as a deployment to local."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from delivery import console
from delivery.deploy import inventory
from delivery.deploy.selection import DeployRequest, choose_version, find_release, resolve
from delivery.errors import DeclarationError
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.platform.compose import Compose
from delivery.platform.lifecycle import Proof
from delivery.project import files, saved_settings
from delivery.project.declaration import LOCAL, Declaration, is_local
from delivery.records import recorder, sending
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.records.recorder import Recording
from delivery.registry import local_registry
from delivery.release import catalog, releasing
from delivery.release.released import Release

__all__ = ["Running", "deploy", "up"]

_DELIVER_SECONDS = 3.0
_Make = Callable[[Engine], Release]


@dataclass(frozen=True)
class Running:
    """The platform as it was brought up: its proof, each service's ports, and what no service runs."""

    engine: Engine
    registry: str
    proof: Proof
    ports: dict[str, tuple[int, ...]]
    not_started: tuple[str, ...]

    def say(self) -> None:
        """Print where everything is."""
        ledger, event = (
            f"{self.proof.address}/",
            f"{self.proof.address}/deployments/{self.proof.identifier}",
        )
        rows = [
            ("the ledger", f"{ledger}  (this event: {event})"),
            ("Kafka", f"localhost:{self.ports['kafka'][0]}"),
            ("database", f"localhost:{self.ports['database'][0]}"),
        ]
        if prometheus := self.ports.get("prometheus"):  # it runs, by this command or an earlier one
            rows.append(("Prometheus", f"http://localhost:{prometheus[0]}/"))
        rows.append(("registry", self.registry))
        if self.engine.is_private:
            rows.append(("engine", f"export DOCKER_HOST={self.engine.address}"))
        if self.not_started:
            rows.append(
                ("not started", f"{', '.join(self.not_started)}: built, and in the registry")
            )
            rows.append(("", "`./run inv deploy --platform kubernetes` runs every component"))
        rows.append(("next", "./run inv status, ./run inv logs --follow, ./run inv down"))
        console.say("\n".join(["", *(f"{name:<15}{text}" for name, text in rows)]))


def up(declaration: Declaration, *, monitoring: bool = False) -> Running:
    """Bring up what this clone's sources make."""
    engine, release = _prepare(
        declaration,
        lambda engine: releasing.ensure_images(engine, declaration),
        monitoring=monitoring,
    )
    with recorder.deployment(declaration, "up", Action.DEPLOY) as recording:
        return _start(declaration, engine, release, recording, monitoring=monitoring)


def deploy(declaration: Declaration, request: DeployRequest) -> Running:
    """Bring up the requested release."""
    with recorder.deployment(declaration, "deploy", Action.DEPLOY) as recording:
        engine, release = _prepare(declaration, _maker(declaration, request))
        return _start(declaration, engine, release, recording)


def _maker(declaration: Declaration, request: DeployRequest) -> _Make:
    environment, release = resolve(declaration, request)
    if environment != LOCAL:
        raise DeclarationError(
            f"deploy to {environment}: docker is for local only",
            hint="leave --platform out, or say kubernetes",
        )
    version = request.version
    if release is None and not version:
        version = choose_version(declaration, LOCAL, {}, ask=request.is_interactive)
    if version == catalog.DEPLOYED:
        raise DeclarationError(
            "cannot deploy what is deployed by docker: no cluster is asked",
            hint=f"--version {catalog.CURRENT}, or X.Y.Z",
        )
    declared = declaration.environments.get(LOCAL)
    signed = request.signed or bool(declared and declared.signed)

    def make(engine: Engine) -> Release:
        if version != catalog.CURRENT:
            local_registry.ensure(engine, declaration)
        found = find_release(declaration, LOCAL, release, version, signed=signed)
        return found or releasing.ensure_images(engine, declaration)

    return make


def _prepare(
    declaration: Declaration, make: _Make, *, monitoring: bool = False
) -> tuple[Engine, Release]:
    """The engine, and the release to run, once nothing is in the way of its ports."""
    engine = engines.ensure()
    # Before the long steps: nobody wants to hear of a taken port after minutes of building.
    planned = lifecycle.compose(engine, declaration, lifecycle.released(), monitoring=monitoring)
    lifecycle.check_ports(planned)
    if note := lifecycle.shared(planned):
        console.say(note)
    saved_settings.save(files.ROOT, os.environ, is_local=is_local(declaration.registry.address))
    release = make(engine)
    if monitoring:
        for name, upstream in declaration.upstream.items():
            if upstream.optional:
                upstreams.ensure(engine, declaration, name)
    return engine, release


def _start(
    declaration: Declaration,
    engine: Engine,
    release: Release,
    recording: Recording,
    *,
    monitoring: bool = False,
) -> Running:
    project = lifecycle.compose(engine, declaration, release, monitoring=monitoring)
    apps = Contents()
    with recording.guard():  # what cannot be named is brought up all the same
        apps = _apps(declaration, project, release)
    _record_start(recording, apps, project, release)
    ports = {service.name: service.ports for service in lifecycle.up(project, release)}
    proof = _prove(recording, apps, release, f"http://localhost:{ports['api-rest'][0]}")
    return Running(
        engine=engine,
        registry=declaration.registry.address,
        proof=proof,
        ports=ports,
        not_started=tuple(name for name in declaration.components() if name not in ports),
    )


def _apps(declaration: Declaration, project: Compose, release: Release) -> Contents:
    """The components that the compose files name; not the chart."""
    if release.chart:
        contents = inventory.contents_of_release(declaration, release)
    else:
        contents = inventory.contents_of_clone(declaration, release.images)
    return contents.only(set(declaration.components()) & set(project.declared()))


def _record_start(recording: Recording, apps: Contents, project: Compose, release: Release) -> None:
    """Record that the apps are being deployed, unless all of them run already."""
    with recording.guard():
        running = lifecycle.running(project, release)
        if not running.issuperset(apps.versions):
            deployment = _deployment(apps, apps.only(running))
            recording.start(deployment, release, ledger=lifecycle.ledger_address(project))


def _prove(recording: Recording, apps: Contents, release: Release, address: str) -> Proof:
    """Prove the platform; record apps that run unchanged where the ledger does not say that they do.

    Its data may be gone, or they were brought up when nobody recorded it.
    """
    already_ran = recording.run is None
    if already_ran:
        with recording.guard():
            sending.deliver(seconds=_DELIVER_SECONDS)  # an earlier deployment may still wait
    image = release.images["api-rest"]
    proof = lifecycle.prove(address, apps.versions.get("api-rest") or image.version or image.key)
    if already_ran:
        with recording.guard():
            if not lifecycle.is_recorded(address, apps.versions):
                deployment = _deployment(apps, apps)
                recording.start(deployment, release, ledger=address)
                recording.finish(deployment.ended(Outcome.UNCHANGED))
    return proof


def _deployment(apps: Contents, before: Contents) -> Deployment:
    return Deployment(action=Action.DEPLOY, environment=LOCAL, contents=apps, before=before)
