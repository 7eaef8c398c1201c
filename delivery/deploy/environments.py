"""Read what is deployed to each environment that this machine reaches, changing nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from delivery.deploy import follow, inventory
from delivery.deploy.rollout import progress
from delivery.deploy.target import Target, reachable
from delivery.errors import DeliveryError
from delivery.host import programs
from delivery.project.declaration import Declaration

__all__ = ["EnvironmentStatus", "status"]

_SECONDS = 5.0  # how long a cluster may take to answer


@dataclass(frozen=True)
class EnvironmentStatus:
    """What is deployed to an environment in a context."""

    name: str
    context: str
    revision: int = 0  # 0 when nothing is deployed
    versions: tuple[tuple[str, str], ...] = ()
    pods: str = ""
    deployed_at: str = ""
    note: str = ""  # why the rest is not known

    def row(self) -> tuple[str, ...]:
        """The environment for people."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions)
        return (
            self.name,
            self.context,
            str(self.revision or "-"),
            self.note or versions or "nothing is deployed",
            self.pods or "-",
            self.deployed_at or "-",
        )


def status(declaration: Declaration) -> tuple[EnvironmentStatus, ...]:
    """Every environment whose context is in the kubeconfig; empty without kubectl or helm."""
    kubectl, helm = programs.find("kubectl"), programs.find("helm")
    if kubectl is None or helm is None:
        return ()
    try:
        by_name = reachable(declaration, declaration.environments, helm, kubectl)
    except DeliveryError:
        return ()
    targets = [target for targets in by_name.values() for target in targets]
    if not targets:
        return ()
    with ThreadPoolExecutor(len(targets)) as pool:
        return tuple(pool.map(lambda target: _status(declaration, target), targets))


def _status(declaration: Declaration, target: Target) -> EnvironmentStatus:
    kubernetes = target.kubernetes.within(_SECONDS)
    context = kubernetes.context
    try:
        kubernetes.reach()
        deployed = inventory.read_deployed(declaration, target)
        if deployed is None:
            return EnvironmentStatus(target.name, context)
        return EnvironmentStatus(
            target.name,
            context,
            deployed.revision.number,
            tuple(deployed.contents.versions.items()),
            progress(follow.workloads(kubernetes)),
            f"{deployed.revision.updated:%Y-%m-%d %H:%M:%S}",
        )
    except DeliveryError as error:
        return EnvironmentStatus(target.name, context, note=f"not known: {error.message}")
