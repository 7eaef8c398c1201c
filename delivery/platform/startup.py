"""Start the platform on this machine, check it, and record a deployment to local."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from delivery import console
from delivery.deploy import freezing, inventory
from delivery.deploy.selection import DeployRequest, choose_version, find_release, resolve
from delivery.errors import DeclarationError
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.platform.compose import Compose
from delivery.project import files, saved_settings
from delivery.project.declaration import LOCAL, Declaration, is_local
from delivery.records import recorder, sending
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.records.recorder import Recording
from delivery.registry import client, local_registry
from delivery.release import catalog, releasing
from delivery.release.released import Release

__all__ = ["Running", "deploy", "up"]

_DELIVER_SECONDS = 3.0
_MakeRelease = Callable[[Engine], Release]


@dataclass(frozen=True)
class Running:
    """The running platform."""

    engine: Engine
    registry: str
    ledger: str  # its address
    event: str  # the id of the check's
    ports: dict[str, tuple[int, ...]]  # by service
    not_started: tuple[str, ...]  # components that are in no compose file

    def say(self) -> None:
        """Print the addresses of everything."""
        event = f"{self.ledger}/deployments/{self.event}"
        rows = [
            ("the ledger", f"{self.ledger}/  (this event: {event})"),
            ("", "open to write: it has no token, and listens on this machine alone"),
            ("Kafka", f"localhost:{self.ports['kafka'][0]}"),
            ("database", f"localhost:{self.ports['database'][0]}"),
        ]
        if prometheus := self.ports.get("prometheus"):
            rows.append(("Prometheus", f"http://localhost:{prometheus[0]}/"))
        rows.append(("registry", self.registry))
        if self.engine.is_private:
            rows.append(("engine", f"export DOCKER_HOST={self.engine.address}"))
        if self.not_started:
            names = ", ".join(self.not_started)
            rows += [
                ("not started", f"{names}: built, and in the registry"),
                ("", "`./run inv deploy --platform kubernetes` runs every component"),
            ]
        rows.append(("next", "./run inv status, ./run inv logs --follow, ./run inv down"))
        console.say("\n".join(["", *(f"{name:<15}{text}" for name, text in rows)]))


def up(declaration: Declaration, *, monitoring: bool = False) -> Running:
    """Start the platform with images of this clone's sources."""
    engine, release = _prepare(
        declaration,
        lambda engine: releasing.ensure_images(engine, declaration),
        monitoring=monitoring,
    )
    with recorder.deployment(declaration, "up", Action.DEPLOY) as recording:
        return _start(declaration, engine, release, recording, monitoring=monitoring)


def deploy(declaration: Declaration, request: DeployRequest) -> Running:
    """Start the platform with the requested release."""
    with recorder.deployment(declaration, "deploy", Action.DEPLOY) as recording:
        make = _release_maker(declaration, request)
        recording.override = freezing.check(declaration, LOCAL, request.override)
        engine, release = _prepare(declaration, make)
        return _start(declaration, engine, release, recording)


def _release_maker(declaration: Declaration, request: DeployRequest) -> _MakeRelease:
    """The function that gets the requested release, once an engine answers."""
    environment, release = resolve(declaration, request)
    if environment != LOCAL:
        raise DeclarationError(
            f"cannot deploy to {environment} with docker: it is for local only",
            hint="omit --platform, or pass --platform kubernetes",
        )
    version = request.version
    if release is None and not version:
        version = choose_version(declaration, LOCAL, {}, ask=request.is_interactive)
    if version == catalog.DEPLOYED:
        raise DeclarationError(
            f"cannot deploy --version {catalog.DEPLOYED} with docker: only a cluster has it",
            hint=f"pass --version {catalog.CURRENT} or X.Y.Z",
        )
    declared = declaration.environments.get(LOCAL)
    signed = request.signed or bool(declared and declared.signed)

    def make(engine: Engine) -> Release:
        if version != catalog.CURRENT:
            local_registry.ensure(engine, declaration)
        published = find_release(declaration, LOCAL, release, version, signed=signed)
        return published or releasing.ensure_images(engine, declaration)

    return make


def _prepare(
    declaration: Declaration, make: _MakeRelease, *, monitoring: bool = False
) -> tuple[Engine, Release]:
    """The engine and the release to run, once all ports are known to be free."""
    engine = engines.ensure()
    # Before the long steps: a taken port should not fail a run after minutes of building.
    planned = lifecycle.compose(engine, declaration, lifecycle.released(), monitoring=monitoring)
    lifecycle.check_ports(planned)
    if note := lifecycle.shared_note(planned):
        console.say(note)
    try:
        release = make(engine)
    finally:
        # A registry that was started outlives a failed build: `inv down` must know its name.
        if client.is_reachable(declaration.registry.address):
            _save_settings(declaration)
    if monitoring:
        optional = [name for name, image in declaration.upstream.items() if image.optional]
        upstreams.ensure(engine, declaration, optional)
    return engine, release


def _save_settings(declaration: Declaration) -> None:
    """Save the ports, the registry and the name for later commands; print them if they changed."""
    local = is_local(declaration.registry.address)
    if settings := saved_settings.save(files.ROOT, os.environ, is_local=local):
        names = ", ".join(f"{name}={value}" for name, value in settings.items())
        console.say(f"later commands in this clone use {names} too (saved in .delivery/ports.json)")


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
    with recording.guard():  # an error here must not keep the platform from starting
        apps = _apps(declaration, project, release)
    _record_start(recording, apps, project, release)
    ports = {service.name: service.ports for service in lifecycle.up(project, release)}
    ledger = f"http://localhost:{ports['api-rest'][0]}"
    return Running(
        engine=engine,
        registry=declaration.registry.address,
        ledger=ledger,
        event=_check(recording, apps, release, ledger),
        ports=ports,
        not_started=tuple(name for name in declaration.components() if name not in ports),
    )


def _apps(declaration: Declaration, project: Compose, release: Release) -> Contents:
    """The components in the compose files, without the chart."""
    if release.chart:
        contents = inventory.contents_of_release(declaration, release)
    else:
        contents = inventory.contents_of_clone(declaration, release.images)
    return contents.only(set(declaration.components()) & set(project.declared()))


def _record_start(recording: Recording, apps: Contents, project: Compose, release: Release) -> None:
    """Record the start of the deployment, unless all apps run already."""
    with recording.guard():
        running = lifecycle.running(project, release)
        if not running.issuperset(apps.versions):
            deployment = _deployment(apps, apps.only(running))
            recording.start(deployment, release, ledger=lifecycle.ledger_address(project))


def _check(recording: Recording, apps: Contents, release: Release, address: str) -> str:
    """Check the platform; record unchanged apps that the ledger does not know to run.

    The ledger's data may have been removed, or an earlier record failed.
    """
    unchanged = recording.run is None
    if unchanged:
        with recording.guard():
            # Events of an earlier deployment may still wait.
            sending.deliver(seconds=_DELIVER_SECONDS)
    image = release.images["api-rest"]
    event = lifecycle.check(address, apps.versions.get("api-rest") or image.version or image.key)
    if unchanged:
        with recording.guard():
            if not lifecycle.is_recorded(address, apps.versions):
                deployment = _deployment(apps, apps)
                recording.start(deployment, release, ledger=address)
                recording.finish(deployment.ended(Outcome.UNCHANGED))
    return event


def _deployment(apps: Contents, previous: Contents) -> Deployment:
    return Deployment(
        action=Action.DEPLOY, environment=LOCAL, contents=apps, previous_contents=previous
    )
