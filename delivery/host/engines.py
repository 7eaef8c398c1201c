"""Have a Docker engine: the one that is there, or a private one."""

from __future__ import annotations

import os
import sys

from delivery import cache, console
from delivery.errors import EngineError
from delivery.host import bridges, buildx, debian, docker_api, dockerd
from delivery.host.docker_api import Engine

__all__ = ["down", "ensure", "require"]

_PLUGINS = {"buildx": "docker-buildx", "compose": "docker-compose"}


def ensure() -> Engine:
    """The engine to work with; where none answers, Debian's is installed and started for us."""
    with console.step("engine") as step, cache.lock("engine"):
        found = docker_api.find()
        if found is None:
            _may_start()
            dockerd.start(step.line)
            found = docker_api.find()
            if found is None:
                raise EngineError(
                    "start a private engine: it listens, but does not answer", hint=_LOG_HINT
                )
        _have_plugins(found, step)
        step.done(found.describe())
    return found


def require() -> Engine:
    """The engine that answers; an error when none does."""
    found = docker_api.find()
    if found is None:
        raise EngineError(
            "ask the Docker engine: none answers",
            hint="`./run inv up`, or `./run inv engine.up`, starts one",
        )
    return found


def down() -> bool:
    """Stop the private engine, and take its bridges, rules and mounts off this machine; say whether it ran."""
    dockerd.revive()
    found = docker_api.find_private()
    made = found.bridges() if found else []
    policy = dockerd.policy_before()
    ran = dockerd.stop()
    if made:
        bridges.remove(made, policy)
    dockerd.unmount()
    return ran


_LOG_HINT = "`./run inv engine.status` names its log"


def _may_start() -> None:
    if debian.can_install():
        return
    looked = "asked the current Docker context and DOCKER_HOST"
    if sys.platform == "darwin":
        hint = "start Docker Desktop (or colima, OrbStack, Rancher Desktop), then run the same command again"
    elif debian.release() and os.geteuid() != 0:
        hint = (
            "as root, the same command installs and starts Debian's engine by itself; "
            "or have an administrator install docker.io and add you to the group docker, then log in anew"
        )
    else:
        hint = "install Docker Engine 23 or newer for this system and start it, or set DOCKER_HOST to one that runs"
    raise EngineError(f"find a Docker engine: none answers ({looked})", hint=hint)


def _have_plugins(found: Engine, step: console.Step) -> None:
    missing = [
        package for plugin, package in _PLUGINS.items() if not buildx.has_plugin(found, plugin)
    ]
    if missing and debian.can_install():
        debian.install(missing, step.line)
        missing = [
            package for plugin, package in _PLUGINS.items() if not buildx.has_plugin(found, plugin)
        ]
    if missing:
        raise EngineError(
            f"use the docker command line: its plugins {', '.join(missing)} are missing",
            hint="install them (Docker's own packages call them docker-buildx-plugin and docker-compose-plugin)",
        )
