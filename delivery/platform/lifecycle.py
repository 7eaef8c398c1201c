"""Run the platform by docker compose: its dependencies, and the apps by digest."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from delivery import console, locks
from delivery.cluster import local_cluster
from delivery.errors import PlatformError, PortTakenError, check_known
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
    "check",
    "check_ports",
    "compose",
    "data_volumes",
    "down",
    "is_recorded",
    "ledger_address",
    "logs",
    "recorded",
    "released",
    "remove_clusters",
    "running",
    "shared_note",
    "up",
]

_FILES = ("docker-compose.yaml", "ops/docker-compose.apps.yaml")
_STORED_SECONDS = 60


def released(root: Path = ROOT) -> Release | None:
    """The last release of this clone, or None."""
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
    """The compose project of the platform, with images by digest; monitoring: with Prometheus."""
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
    """Start the platform and wait until it is healthy; unchanged containers are not restarted."""
    with console.step("platform") as step, locks.hold("platform"):
        running = {service.id for service in project.services() if service.state == "running"}
        for image in release.images.values():
            pull_missing(project.engine, image.pinned, step.line)
        project.up(step.line)
        services = project.services()
        started = [service.name for service in services if service.id not in running]
        if started:
            step.done(f"{', '.join(started)} started; all healthy")
        else:
            names = ", ".join(service.name for service in services)
            step.done(f"{names} already up and healthy")
    return services


def running(project: Compose, release: Release) -> set[str]:
    """The images of a release, by name, whose containers run and are healthy."""
    pinned = {name: image.pinned for name, image in release.images.items()}
    return {
        service.name
        for service in project.services()
        if service.is_healthy and service.image == pinned.get(service.name)
    }


def ledger_address(project: Compose) -> str:
    """The address of the platform's own ledger, whether or not it runs."""
    return f"http://localhost:{dict(project.ports())['api-rest']}"


def recorded(address: str) -> dict[str, str]:
    """The versions in local by component, from a ledger; empty if it does not answer."""
    try:
        return Ledger(address).running(LOCAL)
    except PlatformError:
        return {}


def is_recorded(address: str, versions: Mapping[str, str]) -> bool:
    """Whether a ledger knows that the contents of these versions run in local."""
    known = recorded(address)
    return all(
        content_name(known.get(name, "")) == content_name(version)
        for name, version in versions.items()
    )


def shared_note(project: Compose) -> str:
    """A note if another clone uses the same platform, else ""."""
    folders = project.other_folders()
    if not folders:
        return ""
    return (
        f"note: {project.name} is also the platform of the clone in {', '.join(folders)}: "
        "set another `name` in delivery.toml, and other ports, for a separate platform"
    )


def data_volumes(project: Compose, declaration: Declaration) -> list[str]:
    """The names of the volumes that `down` removes with the data."""
    registry = local_registry.container_name(declaration)
    managed = project.engine.volumes(f"{MANAGED}=true")
    return [*project.volumes(), *(name for name in managed if name == registry)]


def check_ports(project: Compose) -> None:
    """Raise PortTakenError if another program has a port that the platform publishes."""
    ports = project.ports()
    first: dict[int, str] = {}
    for service, port in ports:
        if (other := first.setdefault(port, service)) != service:
            raise PortTakenError(
                f"cannot start the platform: {other} and {service} both publish port {port}",
                hint=f"choose another port: {_next_port(service, port)}",
            )
    publishers = project.engine.publishers()
    running = {
        port
        for service in project.services()
        if service.state == "running"
        for port in service.ports
    }
    for service, port in ports:
        if port in running or _is_free(port):
            continue
        holder = f"the container {publishers[port][0]}" if port in publishers else "another program"
        raise PortTakenError(
            f"cannot start the platform: port {port} of {service} is taken by {holder}",
            hint=f"free it (`ss -ltnp 'sport = :{port}'` shows the program), or choose another: "
            f"{_next_port(service, port)}",
        )


def _next_port(service: str, port: int) -> str:
    """The command that starts the platform with the next port for a service."""
    return f"{saved_settings.PORTS.get(service, 'the port')}={port + 1} ./run inv up"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def check(address: str, version: str) -> str:
    """Check the platform: post an event (this version of api-rest is verified) and read it back.

    Returns the event's id.
    """
    ledger = Ledger(address)
    with console.step("verify") as step:
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
                f"cannot verify the platform: event {identifier} came back as {stored}",
                hint="see `./run inv logs --service async-worker`",
            )
        step.done(
            f"event {identifier} posted, sent through Kafka, stored by the worker, "
            f"read back after {seconds * 1000:.0f} ms"
        )
    return identifier


def down(project: Compose, declaration: Declaration, *, volumes: bool, registry: bool) -> list[str]:
    """Stop and remove the platform and the local registry; with volumes=True also their data.

    The registry stays while local clusters pull from it, unless registry is true. Returns the names
    of those clusters.
    """
    container = local_registry.container_name(declaration)
    users = [] if registry else local_cluster.clusters_pulling_from(project.engine, container)
    if users and volumes:
        raise PlatformError(
            f"cannot remove the registry's images: {_pulls(users)} from it",
            hint=f"first run {remove_clusters(declaration, users)}; or, to leave its nodes without "
            "images, `./run inv down --volumes --registry`",
        )
    with console.step("platform") as step, locks.hold("platform"):
        project.down(step.line, volumes=volumes)
        step.done("stopped; its volumes are removed" if volumes else "stopped; its volumes stay")
    with console.step("registry") as step:
        if users:
            step.done(f"still runs: {_pulls(users)} from it")
            return users
        stopped = project.engine.remove(container)
        if volumes:
            project.engine.remove_volume(container)
        result = "stopped" if stopped else "does not run"
        step.done(f"{result}; its images are removed" if volumes and stopped else result)
    return []


def remove_clusters(declaration: Declaration, names: Sequence[str]) -> str:
    """The commands that remove local clusters, for a hint."""
    own = {declaration.name: "./run inv cluster.down"}
    commands = [own.get(name, f"kind delete cluster --name {name}") for name in names]
    return " and ".join(f"`{command}`" for command in commands)


def _pulls(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the cluster {names[0]} pulls"
    return f"the clusters {', '.join(names)} pull"


def logs(project: Compose, services: list[str], *, follow: bool, tail: int) -> None:
    """Print the logs of these services, or of all."""
    known = project.declared()
    for name in services:
        check_known(name, known, f"cannot show the logs: there is no service {name}")
    if not project.services():
        console.say("nothing is up; `./run inv up` starts the platform")
    project.logs(services, console.say, follow=follow, tail=tail)
