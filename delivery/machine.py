"""Facts about this machine: its platform in Docker's notation, its CI server and its user."""

from __future__ import annotations

import getpass
import os
import platform as system

__all__ = ["actor", "builder", "pipeline", "platform"]

_BUILDS = ("BUILD_URL", "CI_JOB_URL")  # of Jenkins, of GitLab
# GitLab has addresses for the pipeline and for each of its jobs.
_PIPELINES = ("BUILD_URL", "CI_PIPELINE_URL", "CI_JOB_URL")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def platform() -> str:
    """The platform that images are built for, such as linux/amd64."""
    machine = system.machine().lower()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def actor() -> str:
    """The name that records carry as responsible: DELIVERY_RESPONSIBLE, else the user's name."""
    if name := os.environ.get("DELIVERY_RESPONSIBLE"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, which containers have
        return f"uid-{os.getuid()}"


def pipeline() -> str:
    """The address of the CI server's pipeline that runs this, or ""."""
    return _first_set(_PIPELINES)


def builder() -> str:
    """The builder that a release names: the address of the CI server's build, else user@host."""
    return _first_set(_BUILDS) or f"{actor()}@{system.node() or 'unknown'}"


def _first_set(variables: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in variables if os.environ.get(name)), "")
