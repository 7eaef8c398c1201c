"""Find a Docker engine, or start a private engine."""

from __future__ import annotations

import functools
import os
import sys

from delivery import console, locks, process
from delivery.errors import EngineError
from delivery.host import bridges, buildx, debian, docker_api, dockerd
from delivery.host.docker_api import Engine

__all__ = ["check_can_start", "down", "ensure", "missing_plugins", "require"]

_PLUGINS = {"buildx": "docker-buildx", "compose": "docker-compose"}


def ensure() -> Engine:
    """The engine that answers, or a private engine, which is installed and started."""
    with console.step("engine") as step, locks.hold("engine"):
        engine = docker_api.find()
        if engine is None:
            check_can_start()
            dockerd.start(step.line)
            engine = docker_api.find()
            if engine is None:
                raise EngineError(
                    "cannot start a private engine: it listens, but does not answer",
                    hint="see its log, which `./run inv engine.status` names",
                )
        _ensure_plugins(engine, step)
        step.done(engine.describe())
    return engine


def require() -> Engine:
    """The engine that answers; raise EngineError if none does."""
    engine = docker_api.find()
    if engine is None:
        raise EngineError(
            "cannot use a Docker engine: none answers",
            hint="run `./run inv up` or `./run inv engine.up`, which start an engine",
        )
    return engine


def down() -> bool:
    """Stop the private engine and remove its bridges, firewall rules and mounts.

    Returns False if it did not run.
    """
    dockerd.revive()
    engine = docker_api.find_private()
    engine_bridges = engine.bridges() if engine else []
    policy = dockerd.previous_policy()
    did_run = dockerd.stop()
    if engine_bridges:
        bridges.remove(engine_bridges, policy)
    dockerd.unmount()
    return did_run


def check_can_start() -> None:
    """Raise EngineError if no engine can be installed on this machine."""
    if debian.can_install():
        return
    if sys.platform == "darwin":
        hint = "start Docker Desktop, colima, OrbStack or Rancher Desktop, then run this again"
    elif debian.release() and os.geteuid() != 0:
        hint = (
            "run the same command as root, which installs and starts Debian's engine; or let an "
            "administrator install docker.io and add you to the group docker"
        )
    else:
        hint = "install and start Docker Engine 23 or newer, or set DOCKER_HOST to a running engine"
    message = "cannot use a Docker engine: none answers at DOCKER_HOST or in the Docker context"
    raise EngineError(message, hint=hint)


def _ensure_plugins(engine: Engine, step: console.Step) -> None:
    missing = missing_plugins(engine)
    if missing and debian.can_install():
        debian.install(missing, step.line)
        missing = missing_plugins(engine)
    if missing:
        raise EngineError(
            f"cannot use the docker command line: its plugins {', '.join(missing)} are missing",
            hint="install them; in Docker's own packages they are docker-buildx-plugin and "
            "docker-compose-plugin",
        )


def missing_plugins(engine: Engine) -> list[str]:
    """Debian's packages of the plugins that the docker command line lacks."""
    with process.side_by_side() as pool:
        has = pool.map(functools.partial(buildx.has_plugin, engine), _PLUGINS)
        return [package for package, found in zip(_PLUGINS.values(), has, strict=True) if not found]
