"""`inv up`, `down`, `status`, `logs`: the whole platform on this machine."""

from __future__ import annotations

import json

from invoke.context import Context

from delivery import console, prompt
from delivery.errors import DeclarationError
from delivery.host import engines
from delivery.platform import lifecycle
from delivery.platform.compose import Compose
from delivery.project import files
from delivery.project.declaration import LOCAL, Declaration
from delivery.tasks.menu import item

__all__ = ["down", "logs", "status", "up"]


@item(help={"monitoring": "also run Prometheus, which measures both apps"})
def up(_context: Context, monitoring: bool = False) -> None:
    """Bring the whole platform up and prove it.

    Finds or starts an engine, gets every upstream image, builds and pushes ours, runs everything, sends an event through.
    The platform's own ledger has it as a deployment to local.
    """
    from delivery.platform import bringing_up

    bringing_up.up(files.load_declaration(), monitoring=monitoring).say()


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
    from delivery.records.deployment import Action, Contents, Deployment

    with recorder.deployment(declaration, "down", Action.REMOVE) as recording, recording.guard():
        running = {service.name for service in project.services() if service.state == "running"}
        address = lifecycle.ledger_address(project)
        known = lifecycle.recorded(address) if "api-rest" in running else {}
        if gone := {name: version for name, version in known.items() if name in running}:
            removed = Deployment(action=Action.REMOVE, environment=LOCAL, contents=Contents(versions=gone))
            recording.start(removed, to=address)


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
