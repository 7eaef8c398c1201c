"""Look at what each environment has that this machine reaches, changing nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from delivery.deploy import follow, helm, kubectl, serving
from delivery.deploy.deployment import deployed
from delivery.deploy.helm import Helm
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.rollout import progress
from delivery.deploy.upgrade import RELEASE, Target
from delivery.errors import DeliveryError
from delivery.host import programs
from delivery.project.declaration import Declaration

__all__ = ["EnvironmentStatus", "look"]

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


def look(declaration: Declaration) -> tuple[EnvironmentStatus, ...]:
    """Every environment that the kubeconfig has a context of; none where kubectl or helm is missing."""
    client, program = programs.find("kubectl"), programs.find("helm")
    if client is None or program is None:
        return ()
    try:
        known, version = kubectl.contexts(client), helm.probe(program)
    except DeliveryError:
        return ()
    places = [
        Target(
            name,
            declared,
            Helm(program, version, context, declared.namespace),
            Kubernetes(client, context, declared.namespace, seconds=_SECONDS),
        )
        for name, declared in declaration.environments.items()
        for context in declaration.contexts(name)
        if context in known
    ]
    return _all(declaration, places)


def _all(declaration: Declaration, places: Sequence[Target]) -> tuple[EnvironmentStatus, ...]:
    if not places:
        return ()
    with ThreadPoolExecutor(len(places)) as pool:
        return tuple(pool.map(lambda place: _look_at(declaration, place), places))


def _look_at(declaration: Declaration, place: Target) -> EnvironmentStatus:
    context = place.kubernetes.context
    try:
        place.kubernetes.reach()
        history = place.helm.history(RELEASE)
        serving_now = deployed(history)
        if serving_now is None:
            return EnvironmentStatus(place.name, context)
        return EnvironmentStatus(
            place.name,
            context,
            serving_now.number,
            tuple(serving.of_revision(declaration, place, serving_now, history).versions.items()),
            progress(follow.workloads(place.kubernetes, RELEASE)),
            f"{serving_now.updated:%Y-%m-%d %H:%M:%S}",
        )
    except DeliveryError as error:
        return EnvironmentStatus(place.name, context, note=f"not known: {error.message}")
