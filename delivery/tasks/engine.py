"""`inv engine.up`, `down`, `status`, `env`: the Docker engine."""

from __future__ import annotations

import shlex

from delivery import console
from delivery.tasks.decorator import task

__all__ = ["down", "env", "status", "up"]


@task(stage="prepare", step="engine.up")
def up() -> None:
    """Find a Docker engine, or start a private engine."""
    from delivery.host import engines

    engine = engines.ensure()
    if engine.is_private:
        console.say(_export(engine.address))


@task()
def down() -> None:
    """Stop the private engine and its containers; its images and data stay.

    Other engines do not change.
    """
    from delivery.host import engines

    with console.step("private engine") as step:
        step.done("stopped; network cleaned up" if engines.down() else "does not run")
    console.say("its images, volumes and build cache stay: `./run inv cache.clean` removes them")


@task()
def env(json_: bool = False) -> None:
    """Print variables for the docker command line: eval "$(./run inv engine.env)".

    --json also has BUILD_CA, the CA bundle for builds.
    """
    from delivery.host import engines, trust

    engine = engines.require()
    address = engine.environment.get("DOCKER_HOST")
    if json_:
        known = {"DOCKER_HOST": address, "BUILD_CA": trust.secrets().get("build-ca")}
        console.data({name: str(value) for name, value in known.items() if value})
        return
    console.say(_export(address) if address else ": the docker command line needs no variable")


@task()
def status(json_: bool = False) -> None:
    """Show the engine that answers."""
    from delivery.host import docker_api, dockerd

    engine = docker_api.find()
    if json_:
        known = (
            {"address": engine.address, "version": engine.version, "private": engine.is_private}
            if engine
            else {}
        )
        console.data({"answers": engine is not None, **known})
        return
    if not engine:
        console.say("no Docker engine answers; `./run inv engine.up` starts an engine")
        return
    console.say(engine.describe())
    if engine.is_private:
        console.say(f"process {dockerd.pid()}, log {dockerd.log()}")
        console.say(_export(engine.address))


def _export(address: str) -> str:
    """The shell command that makes docker use this engine."""
    return f"export DOCKER_HOST={shlex.quote(address)}"
