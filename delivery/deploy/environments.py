"""Look at what each environment has that this machine reaches, changing nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from delivery.deploy import follow, inventory
from delivery.deploy.helm import RELEASE
from delivery.deploy.rollout import progress
from delivery.deploy.target import Target, reachable
from delivery.errors import DeliveryError
from delivery.host import programs
from delivery.project.declaration import Declaration

__all__ = ["EnvironmentStatus", "status"]

_SECONDS = 5.0  # that a cluster has to answer


@dataclass(frozen=True)
class EnvironmentStatus:
    """An environment in a context: the revision that serves, with its versions, its pods, its time.

    revision: 0 where nothing is deployed; note: why nothing more is known.
    """

    name: str
    context: str
    revision: int = 0
    versions: tuple[tuple[str, str], ...] = ()
    pods: str = ""
    deployed_at: str = ""
    note: str = ""

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
    """Every environment that the kubeconfig has a context of; none where kubectl or helm is missing."""
    client, program = programs.find("kubectl"), programs.find("helm")
    if client is None or program is None:
        return ()
    try:
        by_name = reachable(declaration, declaration.environments, program, client)
    except DeliveryError:
        return ()
    targets = [target for targets in by_name.values() for target in targets]
    if not targets:
        return ()
    with ThreadPoolExecutor(len(targets)) as pool:
        return tuple(pool.map(lambda target: _look_at(declaration, target), targets))


def _look_at(declaration: Declaration, target: Target) -> EnvironmentStatus:
    kubernetes = target.kubernetes.within(_SECONDS)
    context = kubernetes.context
    try:
        kubernetes.reach()
        current = inventory.look(declaration, target)
        if current is None:
            return EnvironmentStatus(target.name, context)
        return EnvironmentStatus(
            target.name,
            context,
            current.revision.number,
            tuple(current.contents.versions.items()),
            progress(follow.workloads(kubernetes, RELEASE)),
            f"{current.revision.updated:%Y-%m-%d %H:%M:%S}",
        )
    except DeliveryError as error:
        return EnvironmentStatus(target.name, context, note=f"not known: {error.message}")
