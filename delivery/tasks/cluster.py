"""`inv cluster.up`, `down`, `status`: a Kubernetes cluster on this machine, for `inv deploy --environment local`."""

from __future__ import annotations

import json

from invoke.context import Context

from delivery.steps import engine as engines
from delivery.tasks.menu import item
from delivery.tools import files, screen

__all__ = ["down", "status", "up"]


@item()
def up(_context: Context) -> None:
    """Make a local Kubernetes cluster, or mend the one there is.

    One worker for spot, one for on-demand, one without a label. Its nodes pull from the local registry.
    """
    from delivery.steps import cluster as clusters  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    engine = engines.ensure()
    cluster = clusters.up(engine, files.load_declaration())
    screen.say("")
    screen.say(f"context        {cluster.context}: kubectl --context {cluster.context} get nodes")
    if engine.private:
        screen.say(f"engine         export DOCKER_HOST={engine.address}")
    screen.say("next           ./run inv deploy --environment local --platform kubernetes, ./run inv cluster.down")


@item()
def down(_context: Context) -> None:
    """Remove the local Kubernetes cluster and what runs in it."""
    from delivery.steps import cluster as clusters  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    declaration = files.load_declaration()
    clusters.down(engines.require(), declaration)
    screen.say(
        f"the image of its nodes stays, as does the registry {declaration.registry.address}: `./run inv down` stops it"
    )


@item(help={"json": "print it for a machine to read"})
def status(_context: Context, json_: bool = False) -> None:  # noqa: FBT001, FBT002  # how invoke declares a flag
    """Show the nodes of the local Kubernetes cluster."""
    from delivery.steps import cluster as clusters  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    found = clusters.look(engines.require(), files.load_declaration())
    if json_:
        screen.data(json.dumps(found.as_json(), indent=2))
        return
    if not found.nodes:
        screen.say(f"there is no cluster {found.name}; `./run inv cluster.up` makes one")
        return
    screen.table(f"cluster {found.name}", ("node", "role", "container", "kubernetes", "labels"), found.rows())
    screen.say("")
    screen.say(f"context        {found.context}")
    screen.say(f"node image     {found.image}, {found.way}")
    screen.say(
        f"subnets        {'kept on this host' if found.kept else 'not kept here; `./run inv cluster.up` mends it'}"
    )
