"""The status of the engine, the images, the platform and the environments."""

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

__all__ = ["Status", "load_status"]

_Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


@dataclass(frozen=True)
class ImageStatus:
    """An image of this project."""

    name: str
    key: str  # of the current sources
    registry: str  # the digest under that key, or why it is missing


@dataclass(frozen=True)
class Status:
    """The status of everything that this machine reaches."""

    engine: str
    upstream: tuple[tuple[str, str], ...]  # upstream images, each with its source
    images: tuple[ImageStatus, ...]
    services: tuple[Service, ...]
    ledger: str = ""  # the readiness that api-rest reports, "" if it does not run
    reasons: tuple[str, ...] = ()  # why api-rest is not ready
    environments: tuple[EnvironmentStatus, ...] = ()  # on Kubernetes
    name: str = ""  # of the compose project
    registry: str = ""
    shared: str = ""  # the note about another clone with the same platform

    @property
    def down(self) -> list[Service]:
        """The services that do not run or are not healthy."""
        return [service for service in self.services if not service.is_healthy]

    @property
    def problems(self) -> list[str]:
        """What is down or behind, each in a few words."""
        states = [
            f"{service.name} is {service.health if service.state == 'running' else service.state}"
            for service in self.down
        ]
        return [*states, *self.reasons]

    def check(self) -> None:
        """Raise PlatformError if a service is down or behind."""
        if not self.problems:
            return
        service = "async-worker" if self.ledger == "degraded" else "api-rest"
        if self.down:
            service = self.down[0].name
        raise PlatformError(
            f"cannot use all of the platform: {'; '.join(self.problems)}",
            hint=f"see `./run inv logs --service {service}`; start it with `./run inv up`",
        )

    def tables(self) -> list[_Table]:
        """The status as tables, for people."""
        tables: list[_Table] = [
            ("upstream images", ("image", "in the engine"), list(self.upstream)),
            (
                "images",
                ("image", "key", "in the registry"),
                [(image.name, image.key, _short(image.registry)) for image in self.images],
            ),
            (
                "the platform",
                ("service", "state", "health", "ports", "image"),
                [
                    (
                        service.name,
                        service.state,
                        service.health or "-",
                        ", ".join(map(str, service.ports)) or "-",
                        _short(service.image),
                    )
                    for service in self.services
                ],
            ),
        ]
        if self.environments:
            rows = [environment.row() for environment in self.environments]
            tables.append(("on Kubernetes", environments.COLUMNS, rows))
        return tables

    def to_json(self) -> dict[str, object]:
        """The status as JSON."""
        deployed = [each.to_json() for each in self.environments]
        return {**asdict(self), "environments": deployed, "problems": self.problems}


def _short(text: str) -> str:
    """A reference without registry and with twelve digits of its digest."""
    return re.sub(r"(?:\S+/)?(\S*sha256:[0-9a-f]{12})[0-9a-f]+", r"\1", text)


def load_status(declaration: Declaration, root: Path = ROOT) -> Status:
    """The current status; nothing is started or changed."""
    engine = docker_api.find()
    services: tuple[Service, ...] = ()
    shared = ""
    if engine:
        project = lifecycle.compose(engine, declaration, lifecycle.released(root), root)
        services = tuple(project.services())
        shared = lifecycle.shared_note(project) if services else ""
    ledger, reasons = _ledger(services)
    return Status(
        engine=engine.describe() if engine else "none answers; `./run inv up` starts an engine",
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
        (image, "missing" if known is None else upstreams.describe_source(known))
        for image, known in labels.items()
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
        ImageStatus(name, key, _digest_or_reason(registry, f"{address}/{name}", key))
        for name, key in keys.items()
    )


def _digest_or_reason(registry: Registry, repository: str, key: str) -> str:
    try:
        return registry.digest(repository, key) or "not built yet"
    except DeliveryError as error:
        return error.message


def _ledger(services: tuple[Service, ...]) -> tuple[str, tuple[str, ...]]:
    """The readiness that a running api-rest reports, and its reasons."""
    running = {service.name: service.ports for service in services if service.state == "running"}
    ports = running.get("api-rest")
    if not ports:
        return "", ()
    try:
        return Ledger(f"http://localhost:{ports[0]}").readiness()
    except PlatformError:
        return "it does not answer", ("api-rest does not answer",)
