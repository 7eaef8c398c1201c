"""Look at what there is, changing nothing."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from delivery.build import planning
from delivery.deploy import environments
from delivery.deploy.environments import EnvironmentStatus
from delivery.errors import DeliveryError, PlatformError
from delivery.host import docker_api, upstreams
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.platform.compose import Service
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records.ledger import Ledger
from delivery.registry import client
from delivery.registry.client import Registry

__all__ = ["Status", "look"]

_Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


@dataclass(frozen=True)
class ImageStatus:
    """An image of ours: its content key now, and whether the registry holds it ("" when no registry answers)."""

    name: str
    key: str
    registry: str


@dataclass(frozen=True)
class Status:
    """What there is: the engine, upstream images with the way they came, our images, the platform's containers.

    name: what the platform here is called. ledger: what api-rest says of itself, "" where it does not
    run; reasons: what it lacks.
    environments: those on Kubernetes that this machine reaches.
    """

    engine: str
    upstream: tuple[tuple[str, str], ...]
    images: tuple[ImageStatus, ...]
    services: tuple[Service, ...]
    ledger: str = ""
    reasons: tuple[str, ...] = ()
    environments: tuple[EnvironmentStatus, ...] = ()
    name: str = ""
    registry: str = ""
    shared: str = ""

    @property
    def down(self) -> list[Service]:
        """What was brought up, and does not run or is not healthy."""
        return [one for one in self.services if not one.is_well]

    @property
    def problems(self) -> list[str]:
        """What is down or behind, a few words each."""
        states = [
            f"{one.name} is {one.health if one.state == 'running' else one.state}"
            for one in self.down
        ]
        return [*states, *self.reasons]

    def check(self) -> None:
        """Raise PlatformError when anything that was brought up is down or behind."""
        if not self.problems:
            return
        service = (
            self.down[0].name
            if self.down
            else "async-worker"
            if self.ledger == "degraded"
            else "api-rest"
        )
        raise PlatformError(
            f"cannot use all of the platform: {'; '.join(self.problems)}",
            hint=f"`./run inv logs --service {service}` says why, `./run inv up` starts what is down",
        )

    def tables(self) -> list[_Table]:
        """The status for people."""
        tables: list[_Table] = [
            ("upstream images", ("image", "in the engine"), list(self.upstream)),
            (
                "our images",
                ("image", "key", "in the registry"),
                [(one.name, one.key, _short(one.registry)) for one in self.images],
            ),
            (
                "the platform",
                ("service", "state", "health", "ports", "image"),
                [
                    (
                        one.name,
                        one.state,
                        one.health or "-",
                        ", ".join(map(str, one.ports)) or "-",
                        _short(one.image),
                    )
                    for one in self.services
                ],
            ),
        ]
        if self.environments:
            columns = ("environment", "context", "revision", "versions", "pods", "deployed (UTC)")
            tables.append(("on Kubernetes", columns, [one.row() for one in self.environments]))
        return tables

    def as_json(self) -> dict[str, object]:
        """The status for a machine."""
        return {**asdict(self), "problems": self.problems}


def _short(text: str) -> str:
    """A reference as people compare it: no registry, twelve digits of a digest."""
    return re.sub(r"(?:\S+/)?(\S*sha256:[0-9a-f]{12})[0-9a-f]+", r"\1", text)


def look(declaration: Declaration, root: Path = ROOT) -> Status:
    """The status as it is now; what does not answer is said, not started."""
    engine = docker_api.find()
    services: tuple[Service, ...] = ()
    shared = ""
    if engine:
        project = lifecycle.compose(engine, declaration, lifecycle.released(root), root)
        services = tuple(project.services())
        shared = lifecycle.shared(project) if services else ""
    ledger, reasons = _ledger(services)
    return Status(
        engine=engine.describe() if engine else "none answers; `./run inv up` finds or starts one",
        upstream=_upstream(engine, declaration) if engine else (),
        images=_images(declaration, root),
        services=services,
        ledger=ledger,
        reasons=reasons,
        environments=environments.status(declaration),
        name=files.project_name(declaration.name, root),
        registry=declaration.registry.address,
        shared=shared,
    )


def _upstream(engine: Engine, declaration: Declaration) -> tuple[tuple[str, str], ...]:
    labels = {
        upstream.image: engine.image_labels(upstream.image)
        for upstream in declaration.upstream.values()
    }
    return tuple(
        (image, "not there" if found is None else upstreams.describe_source(found))
        for image, found in labels.items()
    )


def _images(declaration: Declaration, root: Path) -> tuple[ImageStatus, ...]:
    keys = planning.content_keys(declaration, root)
    address = declaration.registry.address
    if not client.is_reachable(address):
        return tuple(
            ImageStatus(name, key, "the registry does not answer") for name, key in keys.items()
        )
    registry = Registry(address)
    return tuple(
        ImageStatus(name, key, _held(registry, f"{address}/{name}", key))
        for name, key in keys.items()
    )


def _held(registry: Registry, repository: str, key: str) -> str:
    try:
        return registry.digest(repository, key) or "not built yet"
    except DeliveryError as error:
        return error.message


def _ledger(services: tuple[Service, ...]) -> tuple[str, tuple[str, ...]]:
    """What a running api-rest says of itself, and why."""
    ports = [
        one.ports
        for one in services
        if one.name == "api-rest" and one.state == "running" and one.ports
    ]
    if not ports:
        return "", ()
    try:
        return Ledger(f"http://localhost:{ports[0][0]}").readiness()
    except PlatformError:
        return "it does not answer", ("api-rest does not answer",)
