"""Have a program that we or our tests drive: the one that is there if it is fit, else Debian's, else the one a wheel carries."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery import cache, console, process
from delivery.errors import CommandError, DeclarationError, DeliveryError, did_you_mean
from delivery.host import debian, wheel
from delivery.machine import platform
from delivery.project.files import ROOT

__all__ = ["PROGRAMS", "can_install", "ensure", "find", "require"]


@dataclass(frozen=True)
class Versions:
    """Which versions are fit: the arguments that make the program say its own, the oldest, and the first that is too new.

    says finds the version in the answer, unnumbered a build that was not told its own and is taken as it is.
    """

    ask: Sequence[str]
    oldest: tuple[int, int]
    below: tuple[int, int] | None = None
    says: str = r"(\d+)\.(\d+)"
    unnumbered: str = ""

    def __str__(self) -> str:
        return f"{_dotted(self.oldest)} or newer" + (
            f", below {_dotted(self.below)}," if self.below else ""
        )


@dataclass(frozen=True)
class Program:
    """One program: the variable that names it, what it may be called, and where it comes from when it is missing.

    packages are Debian's of it, wheel is the lock in ops/locks/ of the wheel that carries it as the first of its names.
    """

    variable: str
    names: Sequence[str]
    packages: Sequence[str] = ()
    wheel: str = ""
    versions: Versions | None = None


_HELM = ("version", "--short")

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
        packages=("chromium", "fonts-dejavu-core"),
    ),
    "wrk": Program("WRK", ("wrk",), packages=("wrk",)),
    "curl": Program("CURL", ("curl",), packages=("curl",)),
    # It runs on any Java; which one, where Debian's default is missing, is for whoever runs it to find.
    "groovy": Program("GROOVY", ("groovy",), packages=("groovy", "default-jre-headless")),
    # 0.27 is the first that speaks to the containerd 2 of today's node images.
    "kind": Program(
        "KIND", ("kind",), packages=("kind",), versions=Versions(("--version",), (0, 27))
    ),
    # 3 keeps signatures in another way, and asks the network how to sign. Debian's does not know its own version.
    "cosign": Program(
        "COSIGN",
        ("cosign",),
        packages=("cosign",),
        versions=Versions(
            ("version", "--json"),
            (2, 4),
            (3, 0),
            says=r'"gitVersion": "v?(\d+)\.(\d+)',
            unnumbered=r'"gitVersion": "devel"',
        ),
    ),
    # 8.16 is trixie's; its build does not know its own version.
    "gitleaks": Program(
        "GITLEAKS",
        ("gitleaks",),
        packages=("gitleaks",),
        versions=Versions(
            ("version",), (8, 16), (9, 0), unnumbered="version is set by build process"
        ),
    ),
    "helm": Program("HELM", ("helm",), wheel="kubernetes", versions=Versions(_HELM, (3, 18))),
    "helm3": Program(
        "HELM3", ("helm", "helm3"), wheel="helm3", versions=Versions(_HELM, (3, 18), (4, 0))
    ),
    # Kubernetes promises that kubectl works with clusters one minor version older or newer: ours is the node image's.
    "kubectl": Program(
        "KUBECTL",
        ("kubectl",),
        wheel="kubernetes",
        versions=Versions(("version", "--client", "--output=json"), (1, 33), (1, 36)),
    ),
}


def find(name: str) -> str | None:
    """Return where a program is, or None; a name that is not known here is an error."""
    return _look(name, _known(name), [])


def can_install(name: str) -> bool:
    """Whether `ensure` may install a program that is missing."""
    program = _known(name)
    return bool(program.packages and debian.can_install()) or bool(
        program.wheel and platform() == wheel.ARCHITECTURE
    )


def require(name: str) -> str:
    """Return where a program is; an error where there is none. Nothing is installed, and nothing printed."""
    program, unfit = _known(name), list[str]()
    found = _look(name, program, unfit)
    if found is None:
        raise _missing(name, program, unfit)
    return found


def ensure(name: str) -> str:
    """Return where a program is; where it is missing, or not fit, it is installed for us."""
    program = _known(name)
    unfit: list[str] = []
    with console.step(name) as step:
        found = _look(name, program, unfit)
        if found is None and program.packages and debian.can_install():
            debian.install(program.packages, step.line)
            found = find(name)
        if found is None and program.wheel and platform() == wheel.ARCHITECTURE:
            with cache.lock(f"program-{program.wheel}"):
                if not _unpacked(program).exists():
                    wheel.unpack(_lock(program), _unpacked(program).parent, step.line)
            found = find(name)
        if found is None:
            raise _missing(name, program, unfit)
        step.done(found)
    return found


def _missing(name: str, program: Program, unfit: list[str]) -> DeliveryError:
    reason = "; ".join(unfit) or "it is not installed"
    return DeliveryError(f"look for {name}: {reason}", hint=_hint(name, program))


def _look(name: str, program: Program, unfit: list[str]) -> str | None:
    """Where a fit one is: where its variable says, on PATH, or unpacked here. Why others do not serve goes to unfit."""
    if told := os.environ.get(program.variable):
        reason = _unfit(told, program) if shutil.which(told) else "is no program"
        if reason:
            raise DeclarationError(
                f"use {name}: {program.variable}={told} {reason}",
                hint=f"correct or unset {program.variable}",
            )
        return told
    for candidate in program.names:
        if found := shutil.which(candidate):
            reason = _unfit(found, program)
            if not reason:
                return str(Path(found))
            unfit.append(f"{found} {reason}")
    if program.wheel and _unpacked(program).exists():
        cache.mark_used(_unpacked(program).parent)
        return str(_unpacked(program))
    return None


def _unfit(path: str, program: Program) -> str:
    """Why this one does not serve; "" if it does."""
    wanted = program.versions
    if wanted is None:
        return ""
    try:
        said = process.capture([path, *wanted.ask], doing=f"ask {path} for its version")
    except (CommandError, OSError):
        said = ""
    if wanted.unnumbered and re.search(wanted.unnumbered, said):
        return ""
    version = re.search(wanted.says, said)
    if not version:
        return "does not say which version it is"
    number = (int(version[1]), int(version[2]))
    if number < wanted.oldest or (wanted.below and number >= wanted.below):
        return f"is {_dotted(number)}, and {wanted} is needed"
    return ""


def _unpacked(program: Program) -> Path:
    """Where the wheel's program is once unpacked: another lock, another folder."""
    key = hashlib.sha256(_lock(program).read_bytes()).hexdigest()[:16]
    return cache.folder("programs") / f"{program.wheel}-{key}" / program.names[0]


def _lock(program: Program) -> Path:
    return ROOT / "ops" / "locks" / f"{program.wheel}.txt"


def _hint(name: str, program: Program) -> str:
    if program.packages and debian.release() and os.geteuid() != 0:
        return f"as root: apt-get install {' '.join(program.packages)}"
    which = f" {program.versions}" if program.versions else ""
    brew = f"brew install {program.names[0]}, or " if sys.platform == "darwin" else ""
    return f"{brew}install {name}{which} with this system's package manager, or set {program.variable} to where it is"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _known(name: str) -> Program:
    try:
        return PROGRAMS[name]
    except KeyError:
        raise DeclarationError(
            f"look for {name}: not a program of this project",
            hint=did_you_mean(name, PROGRAMS, f"one of {', '.join(PROGRAMS)}"),
        ) from None
