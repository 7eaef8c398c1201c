"""`inv up`, `down`, `status`, `logs`: the whole platform on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from invoke.context import Context

from delivery import console, prompt
from delivery.errors import DeclarationError
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.platform.compose import Compose
from delivery.project import files, remembered
from delivery.project.declaration import LOCAL, Declaration, is_local
from delivery.release import releasing
from delivery.release.contents import Contents
from delivery.release.released import Release
from delivery.tasks.menu import item

if TYPE_CHECKING:  # a command that does not need it starts sooner
    from delivery.records.recorder import Deploy

__all__ = ["bring_up", "down", "logs", "status", "up"]

_DELIVER_SECONDS = 3.0


@item(help={"monitoring": "also run Prometheus, which measures both apps"})
def up(_context: Context, monitoring: bool = False) -> None:
    """Bring the whole platform up and prove it.

    Finds or starts an engine, gets every upstream image, builds and pushes ours, runs everything, sends an event through.
    The platform's own ledger has it as a deployment to local.
    """
    declaration = files.load_declaration()
    bring_up(declaration, lambda engine: releasing.make(engine, declaration), monitoring=monitoring)


def bring_up(
    declaration: Declaration,
    make: Callable[[Engine], Release],
    recording: Deploy | None = None,
    *,
    monitoring: bool = False,
) -> None:
    """Run what make releases, beside what it depends on, and prove it; say where everything is.

    It is recorded as a deployment to local, in recording where the caller has one.
    """
    from delivery.records import recorder

    engine = engines.ensure()
    # Before the long steps: nobody wants to hear of a taken port after minutes of building.
    before = lifecycle.compose(engine, declaration, lifecycle.released(), monitoring=monitoring)
    lifecycle.check_ports(before)
    _tell_shared(before)
    remembered.keep(files.ROOT, os.environ, is_local=is_local(declaration.registry.address))
    release = make(engine)
    if monitoring:
        upstreams.ensure(engine, declaration, "prometheus")
    project = lifecycle.compose(engine, declaration, release, monitoring=monitoring)
    with nullcontext(recording) if recording else recorder.deploying(declaration, "up") as deploy:
        apps = Contents({})
        with deploy.quietly():
            apps = _apps(declaration, project, release)
        _begin(deploy, apps, project, release)
        services = lifecycle.up(project, release)
        ports = {service.name: service.ports for service in services}
        address = f"http://localhost:{ports['api-rest'][0]}"
        if not deploy.is_begun:
            with deploy.quietly():
                recorder.deliver(seconds=_DELIVER_SECONDS)  # an earlier deployment may still wait
        image = release.images["api-rest"]
        proof = lifecycle.prove(address, apps.versions.get("api-rest") or image.version or image.key)
        if not deploy.is_begun:
            _record_what_runs(deploy, apps, release, address)
    console.say("")
    console.say(f"the ledger     {proof.address}/  (this event: {proof.address}/deployments/{proof.identifier})")
    console.say(f"Kafka          localhost:{ports['kafka'][0]}")
    console.say(f"database       localhost:{ports['database'][0]}")
    if ports.get("prometheus"):  # it runs, by this command or an earlier one
        console.say(f"Prometheus     http://localhost:{ports['prometheus'][0]}/")
    console.say(f"registry       {declaration.registry.address}")
    if engine.private:
        console.say(f"engine         export DOCKER_HOST={engine.address}")
    if still := [name for name in declaration.components() if name not in ports]:
        console.say(f"not started    {', '.join(still)}: built, and in the registry")
        console.say("               `./run inv deploy --platform kubernetes` runs every component")
    console.say("next           ./run inv status, ./run inv logs --follow, ./run inv down")


def _begin(deploy: Deploy, apps: Contents, project: Compose, release: Release) -> None:
    """Record that the apps are being deployed, unless all of them run already."""
    with deploy.quietly():
        running = lifecycle.running(project, release)
        if not running.issuperset(apps.versions):
            address = lifecycle.ledger_address(project)
            deploy.begin(LOCAL, apps, release, unchanged=running, to=address)


def _record_what_runs(deploy: Deploy, apps: Contents, release: Release, address: str) -> None:
    """Record apps that run unchanged, where the ledger does not say that they do.

    Its data may be gone, or they were brought up when nobody recorded it.
    """
    with deploy.quietly():
        if not lifecycle.is_recorded(address, apps.versions):
            deploy.begin(LOCAL, apps, release, to=address)
            deploy.unchanged()


def _apps(declaration: Declaration, project: Compose, release: Release) -> Contents:
    """The apps that are brought up: those of ours that the compose files name; not the chart."""
    from delivery.deploy import serving

    found = serving.contents(declaration, release)
    started = project.declared()
    names = [name for name in declaration.components() if name in started]
    return Contents(*({name: each[name] for name in names} for each in (found.versions, found.digests)))


def _tell_shared(project: Compose) -> None:
    if told := lifecycle.shared(project):
        console.say(told)


@item(
    help={
        "volumes": "also remove the data: Kafka's, the database's, Prometheus', and the local registry's images",
        "registry": "stop the local registry even while a local cluster pulls from it",
        "yes": "remove the data without being asked for the project's name",
    }
)
def down(
    _context: Context,
    volumes: bool = False,
    registry: bool = False,
    yes: bool = False,
) -> None:
    """Bring the platform down; its data stays.

    The local registry is left running while a local cluster pulls from it.
    """
    declaration = files.load_declaration()
    project = lifecycle.compose(engines.require(), declaration, lifecycle.released())
    _tell_shared(project)
    if volumes and not yes:
        _confirm(project.name, lifecycle.data(project, declaration))
    if not volumes:  # the ledger goes with them
        _record_removal(declaration, project)
    users = lifecycle.down(project, declaration, volumes=volumes, registry=registry)
    if not volumes:
        console.say("its data stays; `./run inv down --volumes` removes it")
    if users:
        remove = lifecycle.remove_clusters(declaration, users)
        console.say(f"the registry goes on for {', '.join(users)}: to stop it, {remove},")
        console.say("then `./run inv down`; or at once `./run inv down --registry`")
    if project.engine.private:
        console.say("the private engine goes on; `./run inv engine.down` stops it")


def _record_removal(declaration: Declaration, project: Compose) -> None:
    """Record that the apps are gone while their ledger can still be told: it is one of them."""
    from delivery.records import recorder

    with recorder.removing(declaration, "down") as recording, recording.quietly():
        running = {service.name for service in project.services() if service.state == "running"}
        address = lifecycle.ledger_address(project)
        known = lifecycle.recorded(address) if "api-rest" in running else {}
        if gone := {name: version for name, version in known.items() if name in running}:
            recording.begin(LOCAL, Contents(gone), to=address)


def _confirm(name: str, volumes: list[str]) -> None:
    """Have whoever is at the terminal type the project's name before its data is removed."""
    if not volumes:
        return
    console.say(f"this removes the data of {name}: the volumes {', '.join(volumes)}")
    if not prompt.someone():
        raise DeclarationError(
            f"remove the data of {name}: nobody is here to confirm it", hint="--yes does; or leave --volumes out"
        )
    if not prompt.typed(f"Type {name} to go on:", name):
        raise DeclarationError(
            f"remove the data of {name}: it was not confirmed",
            hint="nothing was changed; without --volumes the data stays",
        )


@item(help={"json": "print it for a machine to read"})
def status(_context: Context, json_: bool = False) -> None:
    """Show the engine, the images, the platform here and each environment that this machine reaches.

    Fails when a service of the platform here is down or behind.
    """
    from delivery.platform import overview

    found = overview.look(files.load_declaration())
    if json_:
        console.data(json.dumps(found.as_json(), indent=2))
    else:
        console.say(f"engine: {found.engine}")
        for title, columns, rows in found.tables():
            console.say("")
            console.table(title, columns, rows)
        if found.ledger:
            console.say(f"\nledger: {found.ledger}")
        if not found.services:
            console.say("\nnothing is up; `./run inv up` brings the platform up")
    found.check()


@item(
    help={
        "service": "only this service (api-rest, async-worker, kafka, database, prometheus); may be given several times",
        "follow": "go on printing what comes",
        "tail": "how many lines of each to begin with",
    },
    iterable=["service"],
)
def logs(_context: Context, service: list[str], follow: bool = False, tail: int = 50) -> None:
    """Show what the platform's containers print."""
    project = lifecycle.compose(engines.require(), files.load_declaration(), lifecycle.released())
    lifecycle.logs(project, service, follow=follow, tail=tail)
