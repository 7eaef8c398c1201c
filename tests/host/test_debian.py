"""Debian's packages come from this machine's mirror, and leave its lists and services as they were."""

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
    told = {"ID": system, "VERSION_CODENAME": release}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: told)


@pytest.fixture
def bookworm(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "debian", "bookworm")


@pytest.fixture
def trixie(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "debian", "trixie")


def quiet(_line: str) -> None:
    pass


@pytest.mark.usefixtures("bookworm")
def test_bookworm_takes_the_engine_from_trixie_and_the_rest_from_itself(
    fp: FakeProcess, tmp_path: Path
) -> None:
    manuals: list[bool] = []  # Java's packages link theirs into a folder that slim images lack
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
TOLD = """#!/bin/sh
echo "$0" >> '{told}'
"""


@pytest.mark.usefixtures("trixie")
@pytest.mark.skipif(
    not shutil.which("dpkg-deb") or os.geteuid() != 0,
    reason="packages are installed by root on Debian alone",
)
def test_a_real_package_manager_starts_no_service_and_nothing_is_left_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    system = root(tmp_path, told)
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
        f'Dir::Bin::dpkg "{shutil.which("dpkg")}"; APT::Sandbox::User ""; APT::Get::AllowUnauthenticated "true";',
        f'DPkg::Path "{system}/usr/sbin:{debian._PATH}";',
        "DPkg::Options { " + " ".join(f'"{option}";' for option in options) + " };",
    ]
    settings.write_text("\n".join(lines))
    monkeypatch.setenv("APT_CONFIG", str(settings))
    before = files(system)
    debian.install([str(package(tmp_path))], print)
    assert not told.exists(), told.read_text()
    assert files(system) - before == {"configured"}


def root(folder: Path, told: Path) -> Path:
    """An empty Debian, whose programs that start services say that they were called."""
    system = folder / "root"
    folders = "var/lib/dpkg/info var/lib/dpkg/updates var/lib/apt/lists/partial"
    folders += " var/cache/apt/archives/partial var/log usr/sbin etc/apt"
    for name in folders.split():
        (system / name).mkdir(parents=True)
    (system / "var/lib/dpkg/status").touch()
    (system / "etc/apt/sources.list").touch()
    for name in ("invoke-rc.d", "deb-systemd-invoke"):
        program = system / "usr/sbin" / name
        program.write_text(TOLD.format(told=told))
        program.chmod(0o755)
    return system


def files(system: Path) -> set[str]:
    """Everything but what package managers note down."""
    found = {str(file.relative_to(system)) for file in system.rglob("*")}
    return {name for name in found if not name.startswith("var/")}


def package(folder: Path) -> Path:
    """A package with a service."""
    control = folder / "package" / "DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text(
        "Package: ours\nVersion: 1\nArchitecture: all\nMaintainer: us <us@example.org>\nDescription: ours\n"
    )
    (control / "postinst").write_text(SCRIPT)
    (control / "postinst").chmod(0o755)
    made = folder / "ours.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", control.parent, made],
        check=True,
        capture_output=True,
    )
    return made


@pytest.mark.usefixtures("bookworm")
def test_a_machine_without_a_mirror_is_an_error(fp: FakeProcess) -> None:
    fp.register(TARGETS, stdout=[])
    with pytest.raises(EngineError, match="apt lists no source for bookworm"):
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
def test_installs_only_as_root_on_a_debian_it_knows(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, user: int, *, expected: bool
) -> None:
    on(monkeypatch, system, release)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert debian.can_install() is expected
