"""`inv cluster.up`, `down`, `status`: a Kubernetes cluster on this machine, for `inv deploy --environment local`."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.host import engines
from delivery.project import files
from delivery.tasks.decorator import task

__all__ = ["down", "status", "up"]


@task()
def up(_context: Context) -> None:
    """Make a local Kubernetes cluster, or mend the one there is.

    One worker for spot, one for on-demand, one without a label. Its nodes pull from the local registry.
    """
    from delivery.cluster import local_cluster

    engine = engines.ensure()
    cluster = local_cluster.up(engine, files.load_declaration())
    console.say("")
    console.say(f"context        {cluster.context}: kubectl --context {cluster.context} get nodes")
    if engine.is_private:
        console.say(f"engine         export DOCKER_HOST={engine.address}")
    console.say(
        "next           ./run inv deploy --environment local --platform kubernetes, ./run inv cluster.down"
    )


@task()
def down(_context: Context) -> None:
    """Remove the local Kubernetes cluster and what runs in it."""
    from delivery.cluster import local_cluster

    declaration = files.load_declaration()
    local_cluster.down(engines.require(), declaration)
    console.say(
        f"the image of its nodes stays, as does the registry {declaration.registry.address}: `./run inv down` stops it"
    )


@task()
def status(_context: Context, json_: bool = False) -> None:
    """Show the nodes of the local Kubernetes cluster."""
    from delivery.cluster import local_cluster

    found = local_cluster.status(engines.require(), files.load_declaration())
    if json_:
        console.data(found.as_json())
        return
    if not found.nodes:
        console.say(f"there is no cluster {found.name}; `./run inv cluster.up` makes one")
        return
    console.table(
        f"cluster {found.name}", ("node", "role", "container", "kubernetes", "labels"), found.rows()
    )
    console.say("")
    console.say(f"context        {found.context}")
    console.say(f"node image     {found.image}, {found.way}")
    console.say(
        f"subnets        {'kept on this host' if found.kept else 'not kept here; `./run inv cluster.up` repairs it'}"
    )
