"""The declared registry; if it is local and does not answer, it is started here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from delivery import console
from delivery.errors import EngineError, PortTakenError, RegistryError
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import Declaration, is_local
from delivery.registry import client
from delivery.registry.client import Registry

__all__ = [
    "connect",
    "container_name",
    "ensure",
    "pull_missing",
    "refusal",
    "wait_until_ready",
]

_START_SECONDS = 30


def container_name(declaration: Declaration) -> str:
    """The name of the local registry's container and volume, of which each project has its own."""
    return f"{files.project_name(declaration.name)}-registry"


def ensure(engine: Engine, declaration: Declaration) -> Registry:
    """The declared registry, which answers; started here if it is local."""
    address = declaration.registry.address
    with console.step(f"registry {address}") as step:
        if client.is_reachable(address):
            step.done("answers")
        elif is_local(address):
            container = container_name(declaration)
            _start(engine, declaration.upstream["registry"].image, address, container)
            step.done(f"started, keeps its images in the volume {container}")
        else:
            raise _unreachable(address)
    return Registry(address)


def connect(declaration: Declaration) -> Registry:
    """The declared registry, which answers; needs an engine only to start it."""
    address = declaration.registry.address
    if registry := client.find(address):
        return registry
    if not is_local(address):
        raise _unreachable(address)
    engine = engines.ensure()
    upstreams.ensure(engine, declaration, ["registry"])
    return ensure(engine, declaration)


def pull_missing(
    engine: Engine,
    pinned: str,
    on_line: Callable[[str], None],
    *,
    platforms: Sequence[str] = (),
) -> None:
    """Pull an image, unless the engine has it, with the login that the environment gives.

    Of platforms each is pulled: the engine does not say which of them it has.
    """
    if platforms:
        for platform in platforms:
            engine.pull(pinned, on_line, login=client.login(pinned), platform=platform)
    elif engine.image_labels(pinned) is None:
        engine.pull(pinned, on_line, login=client.login(pinned))


def refusal(declaration: Declaration) -> RegistryError | None:
    """The error of a push to the declared registry, if it is unreachable or asks for a login.

    A local registry that is unreachable is none: it can be started.
    """
    address = declaration.registry.address
    if client.is_reachable(address):
        return client.missing_login(address)
    return None if is_local(address) else _unreachable(address)


def _unreachable(address: str) -> RegistryError:
    return RegistryError(
        f"cannot reach the registry {address}: it does not answer",
        hint="check the address in delivery.toml (or DELIVERY_REGISTRY) and the network",
    )


def _start(engine: Engine, image: str, address: str, container: str) -> None:
    port = int(address.partition("/")[0].partition(":")[2] or "80")
    ports = [other for other, (name, _) in engine.publishers().items() if name == container]
    if ports and port not in ports:
        raise RegistryError(
            f"cannot start a registry at {address}: this project's registry runs at "
            f"localhost:{ports[0]}, and other clones may use it",
            hint=f"set DELIVERY_REGISTRY=localhost:{ports[0]}; or run `./run inv down` first, "
            "which keeps its images; or set another COMPOSE_PROJECT_NAME, for a second registry",
        )
    if not ports:  # else the engine has just started it, and it does not answer yet
        _run(engine, image, port, container)
    wait_until_ready(address, container, f"start a registry at {address}")


def _run(engine: Engine, image: str, port: int, container: str) -> None:
    engine.remove(container)  # a stopped container; its images are in the volume
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
        taken = ("port is already allocated", "address already in use")
        if any(reason in error.message for reason in taken):
            raise PortTakenError(
                f"cannot start a registry at localhost:{port}: port {port} is taken",
                hint=f"free it (`ss -ltnp 'sport = :{port}'` names its process), or choose "
                f"another: DELIVERY_REGISTRY=localhost:{port + 1} ./run inv up",
            ) from error
        raise


def wait_until_ready(address: str, container: str, action: str) -> None:
    """Wait until the registry in a container answers; RegistryError when it does not in time."""
    deadline = time.monotonic() + _START_SECONDS
    while not client.is_reachable(address):
        if time.monotonic() > deadline:
            raise RegistryError(
                f"cannot {action}: it has not answered in {_START_SECONDS} s",
                hint=f"see `docker logs {container}`",
            )
        time.sleep(0.1)
