"""Run the platform here: the external dependencies from docker-compose.yaml, and both apps beside them, by digest."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery import cache, console
from delivery.errors import DeclarationError, PlatformError, PortTakenError, did_you_mean
from delivery.host.docker_api import MANAGED, Engine
from delivery.machine import actor
from delivery.platform.compose import Compose, Service
from delivery.project import files, saved_settings
from delivery.project.declaration import LOCAL, Declaration, image_variable
from delivery.project.files import ROOT
from delivery.records.deployment import content_name
from delivery.records.ledger import Ledger
from delivery.registry import local_registry
from delivery.registry.local_registry import pull_missing
from delivery.release.released import Release, read_release

__all__ = [
    "Proof",
    "check_ports",
    "compose",
    "data",
    "down",
    "is_recorded",
    "ledger_address",
    "logs",
    "prove",
    "recorded",
    "released",
    "remove_clusters",
    "running",
    "shared",
    "up",
]


_FILES = ("docker-compose.yaml", "ops/docker-compose.apps.yaml")
_STORED_SECONDS = 60


@dataclass(frozen=True)
class Proof:
    """An event that went the whole way: its id, and the seconds from the broker's answer until it could be read back."""

    identifier: str
    address: str
    seconds: float


def released(root: Path = ROOT) -> Release | None:
    """The release that was published from this clone last, or None."""
    file = files.output("release.json", root=root)
    return read_release(file.read_text(encoding="utf-8"), file=str(file)) if file.exists() else None


def compose(
    engine: Engine,
    declaration: Declaration,
    release: Release | None,
    root: Path = ROOT,
    *,
    monitoring: bool = False,
) -> Compose:
    """The compose project of the platform, reading each of our images by digest; monitoring: Prometheus is brought up too."""
    variables = {
        image_variable(name): upstream.image for name, upstream in declaration.upstream.items()
    }
    for name, image in (release.images if release else {}).items():
        variables[image_variable(name)] = image.pinned
    variables |= saved_settings.load(root, os.environ)
    profiles = ("monitoring",) if monitoring else ()
    return Compose(
        engine, files.project_name(declaration.name, root), root, _FILES, variables, profiles
    )


def up(project: Compose, release: Release) -> list[Service]:
    """Bring everything up and wait until it is healthy; unchanged containers go on as they are."""
    with console.step("platform") as step, cache.lock("platform"):
        running_before = {
            service.id for service in project.services() if service.state == "running"
        }
        for image in release.images.values():
            pull_missing(project.engine, image.pinned, step.line)
        project.up(step.line)
        after = project.services()
        begun = [service.name for service in after if service.id not in running_before]
        if begun:
            step.done(f"{', '.join(begun)} started; all healthy")
        else:
            step.done(f"{', '.join(service.name for service in after)} already up and healthy")
    return after


def running(project: Compose, release: Release) -> set[str]:
    """The images of a release that run and are well, by digest."""
    pinned = {name: image.pinned for name, image in release.images.items()}
    return {
        service.name
        for service in project.services()
        if service.is_well and service.image == pinned.get(service.name)
    }


def ledger_address(project: Compose) -> str:
    """Where the platform's own ledger is, whether or not it runs."""
    return f"http://localhost:{dict(project.ports())['api-rest']}"


def recorded(address: str) -> dict[str, str]:
    """The versions that a ledger says run here, by component; none where it does not answer."""
    try:
        return Ledger(address).running(LOCAL)
    except PlatformError:
        return {}


def is_recorded(address: str, versions: Mapping[str, str]) -> bool:
    """Whether a ledger says that these run here, by their bytes; not where it does not answer."""
    known = recorded(address)
    return all(
        content_name(known.get(name, "")) == content_name(version)
        for name, version in versions.items()
    )


def shared(project: Compose) -> str:
    """What to tell whoever shares the platform with another clone of its name; "" where nobody does."""
    folders = project.other_folders()
    if not folders:
        return ""
    return (
        f"note: {project.name} is also the platform of the clone in {', '.join(folders)}: "
        "another `name` in delivery.toml, and other ports, make one beside it"
    )


def data(project: Compose, declaration: Declaration) -> list[str]:
    """The volumes that `down` removes when it is to remove the data, by name."""
    registry = local_registry.container_name(declaration)
    ours = project.engine.volumes(f"{MANAGED}=true")
    return [*project.volumes(), *(name for name in ours if name == registry)]


def check_ports(project: Compose) -> None:
    """Raise PortTakenError when a port that the platform is to publish is somebody else's."""
    ports = project.ports()
    first: dict[int, str] = {}
    for service, port in ports:
        if (other := first.setdefault(port, service)) != service:
            raise PortTakenError(
                f"cannot bring the platform up: {other} and {service} are both to publish port {port}",
                hint=f"choose another: {_another_port(service, port)}",
            )
    publishers = project.engine.publishers()
    ours = {
        port
        for service in project.services()
        if service.state == "running"
        for port in service.ports
    }
    for service, port in ports:
        if port in ours or _free(port):
            continue
        holder = f"the container {publishers[port][0]}" if port in publishers else "another program"
        raise PortTakenError(
            f"bring the platform up: port {port}, which {service} is to publish, is taken by {holder}",
            hint=f"free it (`ss -ltnp 'sport = :{port}'` names who has it), or choose another: "
            f"{_another_port(service, port)}",
        )


def _another_port(service: str, port: int) -> str:
    """The command that gives a service the next port."""
    return f"{saved_settings.PORTS.get(service, 'the port')}={port + 1} ./run inv up"


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def prove(address: str, version: str) -> Proof:
    """Record in the ledger that this version of api-rest runs here.

    Taken by the API, carried by Kafka, stored by the worker, read back.
    """
    ledger = Ledger(address)
    with console.step("prove") as step:
        identifier = ledger.post(
            {
                "component": "api-rest",
                "version": version,
                "environment": LOCAL,
                "responsible": actor(),
                "stage": "verify",
                "status": "succeeded",
            }
        )
        stored, seconds = ledger.wait_for(identifier, seconds=_STORED_SECONDS)
        if (stored["id"], stored["component"]) != (identifier, "api-rest"):
            raise PlatformError(
                f"prove the platform: event {identifier} came back as {stored}",
                hint="`./run inv logs --service async-worker` says what was stored",
            )
        step.done(
            f"event {identifier} posted, carried by Kafka, stored by the worker, read back after {seconds * 1000:.0f} ms"
        )
    return Proof(identifier, address, seconds)


def down(project: Compose, declaration: Declaration, *, volumes: bool, registry: bool) -> list[str]:
    """Stop and remove what `up` started: containers and local registry; their data when asked.

    The registry is left as it is while local clusters pull from it, unless `registry` says that it
    is to go all the same. Returns those clusters.
    """
    from delivery.cluster import local_cluster  # noqa: PLC0415  # only here: `up` starts sooner

    container = local_registry.container_name(declaration)
    users = [] if registry else local_cluster.clusters_pulling_from(project.engine, container)
    if users and volumes:
        raise PlatformError(
            f"bring the platform down: {_pulls(users)} from the registry whose images are to go",
            hint=f"first {remove_clusters(declaration, users)}; or, to leave its nodes without "
            "images, `./run inv down --volumes --registry`",
        )
    with console.step("platform") as step, cache.lock("platform"):
        project.down(step.line, volumes=volumes)
        step.done("down; its volumes are gone" if volumes else "down; its volumes stay")
    with console.step("registry") as step:
        if users:
            step.done(f"left as it is: {_pulls(users)} from it")
            return users
        gone = project.engine.remove(container)
        if volumes:
            project.engine.remove_volume(container)
        ended = "stopped" if gone else "none of ours runs"
        step.done(f"{ended}; its images are gone" if volumes and gone else ended)
    return []


def remove_clusters(declaration: Declaration, names: Sequence[str]) -> str:
    """The commands that remove local clusters, to be told to a user."""
    ours = {declaration.name: "./run inv cluster.down"}
    commands = [ours.get(name, f"kind delete cluster --name {name}") for name in names]
    return " and ".join(f"`{command}`" for command in commands)


def _pulls(names: Sequence[str]) -> str:
    only = len(names) == 1
    return (
        f"the {'cluster' if only else 'clusters'} {', '.join(names)} {'pulls' if only else 'pull'}"
    )


def logs(project: Compose, services: list[str], *, follow: bool, tail: int) -> None:
    """Print what the services print; a service that is not ours is an error."""
    known = project.declared()
    if unknown := [name for name in services if name not in known]:
        raise DeclarationError(
            f"show the logs: there is no service {', '.join(unknown)}",
            hint=did_you_mean(unknown[0], known, f"known: {', '.join(known)}"),
        )
    if not project.services():
        console.say("nothing is up; `./run inv up` brings the platform up")
    project.logs(services, console.say, follow=follow, tail=tail)
