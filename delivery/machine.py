"""The machine that we run on: its platform as images name it, and who works on it."""

from __future__ import annotations

import getpass
import os
import platform as system

__all__ = ["builder", "pipeline", "platform", "user"]

_BUILDS = ("BUILD_URL", "CI_JOB_URL")  # of Jenkins, of GitLab
# The whole pipeline before a job of it.
_PIPELINES = ("BUILD_URL", "CI_PIPELINE_URL", "CI_JOB_URL")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def platform() -> str:
    """The platform that images are built for here, such as linux/amd64."""
    machine = system.machine().lower()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def user() -> str:
    """Who is responsible for what is done here: DELIVERY_RESPONSIBLE, else the user's name."""
    if name := os.environ.get("DELIVERY_RESPONSIBLE"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        return f"uid-{os.getuid()}"


def pipeline() -> str:
    """The address of the build that this runs in; "" by hand."""
    return next((os.environ[name] for name in _PIPELINES if os.environ.get(name)), "")


def builder() -> str:
    """Who builds, for a release's record: the CI server's build by its address, else the user and this machine."""
    if told := next((os.environ[name] for name in _BUILDS if os.environ.get(name)), ""):
        return told
    return f"{user()}@{system.node() or 'unknown'}"
