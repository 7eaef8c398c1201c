"""Have a registry to push to: the declared one, started here when it is a local one that does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from delivery import console
from delivery.errors import EngineError, PortTakenError, Problem, RegistryError
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import Declaration, is_local
from delivery.registry import client
from delivery.registry.client import Registry

__all__ = [
    "check",
    "connect",
    "container_name",
    "ensure",
    "login_problem",
    "pull_missing",
    "unreachable_problem",
    "wait_until_ready",
]

_PATIENCE_SECONDS = 30


def container_name(declaration: Declaration) -> str:
    """The name of the local registry's container and volume: one for each compose project."""
    return f"{files.project_name(declaration.name)}-registry"


def ensure(engine: Engine, declaration: Declaration) -> Registry:
    """The registry of the declaration, answering."""
    address = declaration.registry.address
    with console.step(f"registry {address}") as step:
        if client.is_reachable(address):
            step.done("answers")
        elif is_local(address):
            _start(
                engine, declaration.upstream["registry"].image, address, container_name(declaration)
            )
            step.done(f"started, keeps its images in the volume {container_name(declaration)}")
        else:
            raise _silent(address)
    return Registry(address)


def connect(declaration: Declaration) -> Registry:
    """The registry of the declaration, answering; an engine is asked only where a local one is to be started."""
    if client.is_reachable(declaration.registry.address):
        return Registry(declaration.registry.address)
    if not is_local(declaration.registry.address):
        raise _silent(declaration.registry.address)
    engine = engines.ensure()
    upstreams.ensure(engine, declaration, "registry")
    return ensure(engine, declaration)


def pull_missing(engine: Engine, pinned: str, on_line: Callable[[str], None]) -> None:
    """Have an image of ours in the engine. We pull it, since only we know a login that the environment gives."""
    if engine.image_labels(pinned) is None:
        engine.pull(pinned, on_line, login=client.login(pinned))


def unreachable_problem(declaration: Declaration) -> Problem | None:
    """The problem that the declared registry, which does not answer, cannot be started here either."""
    address = declaration.registry.address
    return None if is_local(address) else Problem.from_error(_silent(address))


def login_problem(declaration: Declaration) -> Problem | None:
    """The problem that the declared registry asks for a login, and there is none."""
    error = client.missing_login(declaration.registry.address)
    return Problem.from_error(error) if error else None


def check(declaration: Declaration) -> None:
    """Raise RegistryError for a registry that is to be pushed to and cannot be: silent, or without a login."""
    address = declaration.registry.address
    if problem := (login_problem if client.is_reachable(address) else unreachable_problem)(
        declaration
    ):
        raise problem.error()


def _silent(address: str) -> RegistryError:
    return RegistryError(
        f"reach the registry {address}: it does not answer",
        hint="check the address in delivery.toml (or DELIVERY_REGISTRY) and the network",
    )


def _start(engine: Engine, image: str, address: str, container: str) -> None:
    port = int(address.partition("/")[0].partition(":")[2] or "80")
    elsewhere = [taken for taken, (holder, _) in engine.publishers().items() if holder == container]
    if elsewhere:
        raise RegistryError(
            f"start a registry at {address}: this project's runs at localhost:{elsewhere[0]}, and others may be using it",
            hint=f"DELIVERY_REGISTRY=localhost:{elsewhere[0]}; or `./run inv down` first, which leaves its images; or another "
            "COMPOSE_PROJECT_NAME, for one beside it",
        )
    engine.remove(container)  # one that stopped; its images are in the volume
    try:
        engine.run(
            image,
            container,
            port=(5000, port),
            volume=(container, "/var/lib/registry"),
            environment={"REGISTRY_STORAGE_DELETE_ENABLED": "true"},
        )
    except EngineError as error:
        engine.remove(container)
        if (
            "port is already allocated" in error.message
            or "address already in use" in error.message
        ):
            raise PortTakenError(
                f"start a registry at {address}: port {port} is taken",
                hint=f"free it (`ss -ltnp 'sport = :{port}'` names who has it), or choose another: "
                f"DELIVERY_REGISTRY=localhost:{port + 1} ./run inv up",
            ) from error
        raise
    wait_until_ready(address, container, f"start a registry at {address}")


def wait_until_ready(address: str, container: str, doing: str) -> None:
    """Wait until the registry in a container of ours answers; raise RegistryError when it does not in time."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not client.is_reachable(address):
        if time.monotonic() > deadline:
            raise RegistryError(
                f"{doing}: it has not answered in {_PATIENCE_SECONDS} s",
                hint=f"`docker logs {container}` says why",
            )
        time.sleep(0.1)
