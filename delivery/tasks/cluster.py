"""`inv cluster.up`, `down`, `status`: a local Kubernetes cluster."""

from __future__ import annotations

from delivery import console
from delivery.tasks.decorator import load_declaration, task

__all__ = ["down", "status", "up"]


@task()
def up() -> None:
    """Create or repair the local Kubernetes cluster.

    It has workers for spot, for on-demand and without a label. Nodes pull from the local registry.
    """
    from delivery.cluster import local_cluster
    from delivery.host import engines

    engine = engines.ensure()
    cluster = local_cluster.up(engine, load_declaration())
    console.say("")
    console.say(f"context        {cluster.context}: kubectl --context {cluster.context} get nodes")
    if engine.is_private:
        console.say(f"engine         export DOCKER_HOST={engine.address}")
    deploy = "./run inv deploy --environment local --platform kubernetes"
    console.say(f"next           {deploy}, ./run inv cluster.down")


@task()
def down() -> None:
    """Remove the local Kubernetes cluster and everything in it."""
    from delivery.cluster import local_cluster
    from delivery.host import engines

    declaration = load_declaration()
    local_cluster.down(engines.require(), declaration)
    registry = declaration.registry.address
    console.say(f"its node image stays; `./run inv down` stops the registry {registry}")


@task()
def status(json_: bool = False) -> None:
    """Show the nodes of the local Kubernetes cluster."""
    from delivery.cluster import local_cluster
    from delivery.host import engines

    cluster = local_cluster.status(engines.require(), load_declaration())
    if json_:
        console.data(cluster.to_json())
        return
    if not cluster.nodes:
        console.say(f"there is no cluster {cluster.name}; `./run inv cluster.up` creates it")
        return
    console.table(
        f"cluster {cluster.name}",
        ("node", "role", "container", "kubernetes", "labels"),
        cluster.rows(),
    )
    console.say("")
    console.say(f"context        {cluster.context}")
    console.say(f"node image     {cluster.image}, {cluster.way}")
    kept = "reserved" if cluster.kept else "not reserved; `./run inv cluster.up` repairs that"
    console.say(f"subnets        {kept}")
