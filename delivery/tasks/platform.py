"""`inv up`, `down`, `status`, `logs`: the whole platform on this machine."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.host import engines
from delivery.platform import lifecycle
from delivery.project import files
from delivery.tasks.decorator import task

__all__ = ["down", "logs", "status", "up"]


@task(help={"monitoring": "also run Prometheus, which measures both apps"})
def up(_context: Context, monitoring: bool = False) -> None:
    """Bring the whole platform up and prove it.

    Finds or starts an engine, gets every upstream image, builds and pushes ours, runs everything, sends an event through.
    The platform's own ledger has it as a deployment to local.
    """
    from delivery.platform import bringing_up

    bringing_up.up(files.load_declaration(), monitoring=monitoring).say()


@task(
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
    from delivery.platform import taking_down

    taking_down.down(files.load_declaration(), volumes=volumes, registry=registry, yes=yes)


@task()
def status(_context: Context, json_: bool = False) -> None:
    """Show the engine, the images, the platform here and each environment that this machine reaches.

    Fails when a service of the platform here is down or behind.
    """
    from delivery.platform import overview

    found = overview.look(files.load_declaration())
    if json_:
        console.data(found.to_json())
    else:
        console.say(f"platform: {found.name}, registry {found.registry}\nengine: {found.engine}")
        if found.shared:
            console.say(found.shared)
        for title, columns, rows in found.tables():
            console.say("")
            console.table(title, columns, rows)
        if found.ledger:
            console.say(f"\nledger: {found.ledger}")
        if not found.services:
            console.say("\nnothing is up; `./run inv up` brings the platform up")
    found.check()


@task(
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
