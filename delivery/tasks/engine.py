"""`inv engine.up`, `down`, `status`: the Docker engine that everything here runs on."""

from __future__ import annotations

import shlex

from invoke.context import Context

from delivery import console
from delivery.host import docker_api, dockerd, engines, trust
from delivery.tasks.decorator import task

__all__ = ["down", "env", "status", "up"]


@task(stage="prepare", step="engine.up")
def up(_context: Context) -> None:
    """Find a Docker engine, or start a private one."""
    found = engines.ensure()
    if found.is_private:
        console.say(_export(found.address))


@task()
def down(_context: Context) -> None:
    """Stop the private engine; its images and data stay.

    What runs there stops with it. Another engine is left alone.
    """
    with console.step("private engine") as step:
        step.done("stopped; its bridges and rules are gone" if engines.down() else "does not run")
    console.say("its images, volumes and build cache stay: `./run inv cache.clean` removes them")


@task()
def env(_context: Context, json_: bool = False) -> None:
    """Print how to talk to it: eval "$(./run inv engine.env)".

    --json has the CAs that builds need, too, as the variable BUILD_CA.
    """
    found = engines.require()
    address = found.environment.get("DOCKER_HOST")
    if json_:
        known = {"DOCKER_HOST": address, "BUILD_CA": trust.secrets().get("build-ca")}
        console.data({name: str(value) for name, value in known.items() if value})
        return
    console.say(_export(address) if address else ": the docker command line talks to it as it is")


@task()
def status(_context: Context, json_: bool = False) -> None:
    """Show which engine answers, and how to talk to it."""
    found = docker_api.find()
    if json_:
        known = (
            {"address": found.address, "version": found.version, "private": found.is_private}
            if found
            else {}
        )
        console.data({"answers": found is not None, **known})
        return
    if not found:
        console.say("no Docker engine answers; `./run inv engine.up` finds or starts one")
        return
    console.say(found.describe())
    if found.is_private:
        console.say(f"process {dockerd.pid()}, log {dockerd.log()}")
        console.say(_export(found.address))


def _export(address: str) -> str:
    """The line that leads a shell's docker command there."""
    return f"export DOCKER_HOST={shlex.quote(address)}"
