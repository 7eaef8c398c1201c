"""Have a program that tests or benchmarks drive: the one that is there, or Debian's."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery.core.errors import DeclarationError, DeliveryError
from delivery.tools import debian, screen

__all__ = ["PROGRAMS", "ensure", "find"]


@dataclass(frozen=True)
class Program:
    """One program: the variable that names it, what it may be called, Debian's packages of it."""

    variable: str
    names: Sequence[str]
    packages: Sequence[str]


PROGRAMS = {
    "chromium": Program(
        "CHROMIUM",
        (
            "chromium",
            "chromium-browser",
            "google-chrome",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        ),
        # A browser without a font draws boxes.
        ("chromium", "fonts-dejavu-core"),
    ),
    "wrk": Program("WRK", ("wrk",), ("wrk",)),
}


def find(name: str) -> str | None:
    """Return where a program is, or None; a name that is not known here is an error."""
    program = _known(name)
    if told := os.environ.get(program.variable):
        if not shutil.which(told):
            raise DeclarationError(
                f"use {name}: {program.variable}={told} is no program", hint=f"correct or unset {program.variable}"
            )
        return told
    for candidate in program.names:
        if found := shutil.which(candidate):
            return str(Path(found))
    return None


def ensure(name: str) -> str:
    """Return where a program is; where it is missing, Debian's is installed."""
    program = _known(name)
    with screen.step(name) as step:
        found = find(name)
        if found is None and debian.can_install():
            debian.install(program.packages, step.line)
            found = find(name)
        if found is None:
            raise DeliveryError(f"look for {name}: it is not installed", hint=_hint(name, program))
        step.done(found)
    return found


def _hint(name: str, program: Program) -> str:
    if debian.release() and os.geteuid() != 0:
        return f"as root: apt-get install {' '.join(program.packages)}"
    brew = "brew install, or " if sys.platform == "darwin" else ""
    return f"{brew}install {name} with this system's package manager, or set {program.variable} to where it is"


def _known(name: str) -> Program:
    try:
        return PROGRAMS[name]
    except KeyError:
        raise DeclarationError(
            f"look for {name}: not a program of this project", hint=f"one of {', '.join(PROGRAMS)}"
        ) from None
