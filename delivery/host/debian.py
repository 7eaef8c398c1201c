"""Debian's release and package manager."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from delivery import cache, locks, process
from delivery.errors import EngineError

__all__ = ["can_install", "install", "release"]

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # as apt sets it
# Slim images lack this folder, without which Java's packages fail to install.
_MANUALS = Path("/usr/share/man/man1")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Bookworm's docker.io (20.10) lacks BuildKit's plugin and cannot run privileged containers on every
# kernel. Trixie's 26.1 can, and runs on bookworm's libc. Trixie's runc does not: a pin below the
# default keeps all other packages at bookworm's version.
_NEWER = {"bookworm": "trixie"}
_FROM_NEWER = (
    "docker.io",
    "docker-cli",
    "docker-buildx",
    "docker-compose",
    "kind",
    "cosign",
    "gitleaks",
)


def release() -> str:
    """The code name of this machine's Debian release, or "" for another system."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return ""
    return system.get("VERSION_CODENAME", "") if system.get("ID") == "debian" else ""


def can_install() -> bool:
    """Whether packages can be installed: as root, on a Debian release that has them."""
    return release() in {"bookworm", "trixie"} and os.geteuid() == 0


def install(packages: Sequence[str], on_line: Callable[[str], None]) -> None:
    """Install packages without starting services; apt's configuration does not change."""
    suite = release()
    apt_options = _apt_options(suite) if suite in _NEWER else []
    names = [
        f"{name}/{_NEWER[suite]}" if suite in _NEWER and name in _FROM_NEWER else name
        for name in packages
    ]
    options = process.Options(env={"DEBIAN_FRONTEND": "noninteractive"})
    with suppress(OSError):  # apt reports what it cannot write
        _MANUALS.mkdir(parents=True, exist_ok=True)
    with locks.hold("apt"):
        process.stream(
            ["apt-get", *apt_options, "update"],
            doing="read Debian's package lists",
            on_line=on_line,
            options=options,
        )
        process.stream(
            [
                "apt-get",
                *apt_options,
                *_no_services(),
                "install",
                "--yes",
                "--no-install-recommends",
                *names,
            ],
            doing=f"install {' '.join(packages)}",
            on_line=on_line,
            options=options,
        )


def _apt_options(suite: str) -> list[str]:
    """Options of apt for a call: this release and, with low priority, the newer."""
    home = cache.folder("apt")
    sources = home / "sources.d"
    lists = home / "lists"
    for folder in (sources, lists / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    newer = _NEWER[suite]
    (sources / "delivery.sources").write_text(
        f"Types: deb\nURIs: {_mirror(suite)}\nSuites: {suite} {suite}-updates {newer}\n"
        f"Components: main\nSigned-By: {_KEYRING}\n",
        encoding="utf-8",
    )
    preferences = home / "preferences"
    preferences.write_text(
        f"Package: *\nPin: release n={newer}\nPin-Priority: 100\n", encoding="utf-8"
    )
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": sources,
        "Dir::Etc::Preferences": preferences,
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": lists,
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _mirror(suite: str) -> str:
    """The mirror that this machine uses for the release."""
    listed = process.capture(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"],
        doing="read apt's Debian mirror",
    )
    match = re.search(rf"^{suite} (\S+)$", listed, re.MULTILINE)
    if not match:
        raise EngineError(
            f"cannot read apt's Debian mirror: apt has no source for {suite}",
            hint=f"add Debian's {suite} main to apt's sources",
        )
    return match[1]


def _no_services() -> list[str]:
    """Options of apt that keep packages from starting services.

    Packages start services by these programs, which do nothing during this call. Debian's
    policy-rc.d would affect other calls, and stay after a `kill -9`.
    """
    programs = cache.folder("apt", "no-services")
    for name in ("invoke-rc.d", "deb-systemd-invoke"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    return ["-o", f"DPkg::Path={programs}:{_PATH}"]
