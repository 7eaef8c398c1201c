"""`inv up`, `down`, `status`, `logs`: the whole platform on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable

from invoke.context import Context

from delivery.core.declaration import Declaration
from delivery.core.release import Release
from delivery.steps import engine as engines
from delivery.steps import platform as platforms
from delivery.steps import release as releases
from delivery.steps import upstream as upstreams
from delivery.tasks.menu import item
from delivery.tools import files, screen
from delivery.tools.engine import Engine

__all__ = ["bring_up", "down", "logs", "status", "up"]


@item(help={"monitoring": "also run Prometheus, which measures both apps"})
def up(_context: Context, monitoring: bool = False) -> None:  # noqa: FBT001, FBT002  # how invoke declares a flag
    """Bring the whole platform up and prove it.

    Finds or starts an engine, gets every upstream image, builds and pushes ours, runs everything, sends an event through.
    """
    declaration = files.load_declaration()
    bring_up(declaration, lambda engine: releases.make(engine, declaration), monitoring=monitoring)


def bring_up(declaration: Declaration, make: Callable[[Engine], Release], *, monitoring: bool = False) -> None:
    """Run what make releases, beside what it depends on, and prove it; say where everything is."""
    engine = engines.ensure()
    # Before the long steps: nobody wants to hear of a taken port after minutes of building.
    platforms.check_ports(platforms.compose(engine, declaration, platforms.released(), monitoring=monitoring))
    release = make(engine)
    if monitoring:
        upstreams.ensure(engine, declaration, "prometheus")
    services = platforms.up(platforms.compose(engine, declaration, release, monitoring=monitoring), release)
    ports = {service.name: service.ports for service in services}
    proof = platforms.prove(f"http://localhost:{ports['api-rest'][0]}", release)
    screen.say("")
    screen.say(f"the ledger     {proof.address}/  (this event: {proof.address}/deployments/{proof.identifier})")
    screen.say(f"Kafka          localhost:{ports['kafka'][0]}")
    screen.say(f"database       localhost:{ports['database'][0]}")
    if ports.get("prometheus"):  # it runs, by this command or an earlier one
        screen.say(f"Prometheus     http://localhost:{ports['prometheus'][0]}/")
    screen.say(f"registry       {declaration.registry.address}")
    if engine.private:
        screen.say(f"engine         export DOCKER_HOST={engine.address}")
    screen.say("next           ./run inv status, ./run inv logs --follow, ./run inv down")


@item(help={"volumes": "also remove the data: Kafka's, the database's, Prometheus', and the local registry's images"})
def down(_context: Context, volumes: bool = False) -> None:  # noqa: FBT001, FBT002  # how invoke declares a flag
    """Bring the platform down; its data stays."""
    declaration = files.load_declaration()
    project = platforms.compose(engines.require(), declaration, platforms.released())
    platforms.down(project, declaration, volumes=volumes)
    if project.engine.private:
        screen.say("the private engine goes on; `./run inv engine.down` stops it")


@item(help={"json": "print it for a machine to read"})
def status(_context: Context, json_: bool = False) -> None:  # noqa: FBT001, FBT002  # how invoke declares a flag
    """Show the engine, the images, and what runs."""
    from delivery.steps import status as statuses  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    found = statuses.look(files.load_declaration())
    if json_:
        screen.data(json.dumps(found.as_json(), indent=2))
        return
    screen.say(f"engine: {found.engine}")
    for title, columns, rows in found.tables():
        screen.say("")
        screen.table(title, columns, rows)


@item(
    help={
        "service": "only this service (api-rest, async-worker, kafka, database, prometheus); may be given several times",
        "follow": "go on printing what comes",
        "tail": "how many lines of each to begin with",
    },
    iterable=["service"],
)
def logs(_context: Context, service: list[str], follow: bool = False, tail: int = 50) -> None:  # noqa: FBT001, FBT002
    """Show what the platform's containers print."""
    project = platforms.compose(engines.require(), files.load_declaration(), platforms.released())
    platforms.logs(project, service, follow=follow, tail=tail)
