"""Packages come from the machine's mirror; its apt sources and services do not change."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import cache
from delivery.errors import EngineError
from delivery.host import debian

TARGETS = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]


@pytest.fixture(autouse=True)
def _own_manuals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debian, "_MANUALS", tmp_path / "man" / "man1")


def on(monkeypatch: pytest.MonkeyPatch, system: str, release: str) -> None:
    values = {"ID": system, "VERSION_CODENAME": release}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: values)


@pytest.fixture
def bookworm(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "debian", "bookworm")


@pytest.fixture
def trixie(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "debian", "trixie")


def quiet(_line: str) -> None:
    pass


@pytest.mark.usefixtures("bookworm")
def test_bookworm_gets_only_the_engine_from_trixie(fp: FakeProcess, tmp_path: Path) -> None:
    manuals: list[bool] = []  # slim images lack the folder, which Java's packages need
    fp.register(
        TARGETS,
        stdout=["bookworm-security http://mirror/security/", "bookworm http://mirror/debian/"],
    )
    fp.register(["apt-get", fp.any(), "update"])
    fp.register(
        [
            "apt-get",
            fp.any(),
            "install",
            "--yes",
            "--no-install-recommends",
            "docker.io/trixie",
            "runc",
        ],
        callback=lambda _process: manuals.append((tmp_path / "man" / "man1").is_dir()),
    )
    debian.install(["docker.io", "runc"], quiet)
    sources = (cache.folder("apt") / "sources.d" / "delivery.sources").read_text()
    assert "URIs: http://mirror/debian/\nSuites: bookworm bookworm-updates trixie\n" in sources
    assert (
        cache.folder("apt") / "preferences"
    ).read_text() == "Package: *\nPin: release n=trixie\nPin-Priority: 100\n"
    assert manuals == [True]


SCRIPT = """#!/bin/sh
set -e
touch "$DPKG_ROOT/configured"
# As debhelper writes it.
invoke-rc.d --skip-systemd-native ours start || exit 1
deb-systemd-invoke start ours.service >/dev/null || true
"""
LOGGING = """#!/bin/sh
echo "$0" >> '{log}'
"""


@pytest.mark.usefixtures("trixie")
@pytest.mark.skipif(
    not shutil.which("dpkg-deb") or os.geteuid() != 0,
    reason="needs root on Debian",
)
def test_real_apt_starts_no_service_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    system = root(tmp_path, log)
    monkeypatch.setattr(debian, "_PATH", f"{system / 'usr/sbin'}:{debian._PATH}")
    settings = tmp_path / "apt.conf"
    options = [
        f"--root={system}",
        "--force-script-chrootless",
        "--force-not-root",
        "--log=/dev/null",
    ]
    lines = [
        f'Dir "{system}";',
        'Dir::Etc::SourceParts "/dev/null"; Dir::Etc::Parts "/dev/null"; Dir::Log "var/log";',
        f'Dir::Bin::dpkg "{shutil.which("dpkg")}"; APT::Sandbox::User "";',
        'APT::Get::AllowUnauthenticated "true";',
        f'DPkg::Path "{system}/usr/sbin:{debian._PATH}";',
        "DPkg::Options { " + " ".join(f'"{option}";' for option in options) + " };",
    ]
    settings.write_text("\n".join(lines))
    monkeypatch.setenv("APT_CONFIG", str(settings))
    previous = files(system)
    debian.install([str(package(tmp_path))], print)
    assert not log.exists(), log.read_text()
    assert files(system) - previous == {"configured"}


def root(folder: Path, log: Path) -> Path:
    """An empty Debian whose programs for services log their calls."""
    system = folder / "root"
    folders = "var/lib/dpkg/info var/lib/dpkg/updates var/lib/apt/lists/partial"
    folders += " var/cache/apt/archives/partial var/log usr/sbin etc/apt"
    for name in folders.split():
        (system / name).mkdir(parents=True)
    (system / "var/lib/dpkg/status").touch()
    (system / "etc/apt/sources.list").touch()
    for name in ("invoke-rc.d", "deb-systemd-invoke"):
        program = system / "usr/sbin" / name
        program.write_text(LOGGING.format(log=log))
        program.chmod(0o755)
    return system


def files(system: Path) -> set[str]:
    """The files, without those of the package managers."""
    names = {str(file.relative_to(system)) for file in system.rglob("*")}
    return {name for name in names if not name.startswith("var/")}


def package(folder: Path) -> Path:
    """A package with a service."""
    control = folder / "package" / "DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text(
        "Package: ours\nVersion: 1\nArchitecture: all\n"
        "Maintainer: us <us@example.org>\nDescription: ours\n"
    )
    (control / "postinst").write_text(SCRIPT)
    (control / "postinst").chmod(0o755)
    file = folder / "ours.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", control.parent, file],
        check=True,
        capture_output=True,
    )
    return file


@pytest.mark.usefixtures("bookworm")
def test_a_machine_without_a_mirror_is_an_error(fp: FakeProcess) -> None:
    fp.register(TARGETS, stdout=[])
    with pytest.raises(EngineError, match="apt has no source for bookworm"):
        debian.install(["runc"], quiet)


@pytest.mark.parametrize(
    ("system", "release", "user", "expected"),
    [
        ("debian", "bookworm", 0, True),
        ("debian", "trixie", 0, True),
        ("debian", "trixie", 1000, False),
        ("debian", "buster", 0, False),
        ("ubuntu", "noble", 0, False),
    ],
)
def test_packages_are_installed_only_as_root_on_a_known_debian(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, user: int, *, expected: bool
) -> None:
    on(monkeypatch, system, release)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert debian.can_install() is expected
