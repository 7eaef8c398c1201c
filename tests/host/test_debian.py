"""Debian's packages come from this machine's mirror, and leave its lists and services as they were."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import cache
from delivery.errors import DeliveryError, EngineError
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


SECURITY = ["trixie http://mirror/debian/", "trixie-security http://mirror/security/"]
OFFERED = """
    libc6 |  2.41-12 | http://mirror/debian trixie/main amd64 Packages
 libssl3t64 | 3.5.7-1~deb13u3 | http://mirror/security trixie-security/main amd64 Packages
 libssl3t64 | 3.5.7-1~deb13u2 | http://mirror/debian trixie/main amd64 Packages
 libssl3t64 | 3.5.7-1~deb13u2 | http://mirror/debian trixie/main Sources
"""


@pytest.mark.usefixtures("trixie")
def test_what_a_release_offers_is_read_by_lists_of_its_own(fp: FakeProcess) -> None:
    fp.register(TARGETS, stdout=SECURITY, occurrences=2)
    fp.register(["apt-get", fp.any()])
    fp.register(["apt-cache", fp.any()], stdout=OFFERED)
    assert debian.offered("forky", "arm64", ["libc6", "libssl3t64", "gone"], quiet) == {
        "libc6": [debian.Offered("2.41-12", security=False)],
        "libssl3t64": [
            debian.Offered(
                "3.5.7-1~deb13u3", security=False
            ),  # of another suite than the one that was asked for
            debian.Offered("3.5.7-1~deb13u2", security=False),
        ],
    }
    home = cache.folder("apt", "forky-arm64")
    signed = "Components: main\nArchitectures: arm64\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    assert (home / "delivery.sources").read_text() == (
        f"Types: deb\nURIs: http://mirror/debian/\nSuites: forky forky-updates\n{signed}\n"
        f"Types: deb\nURIs: http://mirror/security/\nSuites: forky-security\n{signed}"
    )
    *_, update, query = ([str(word) for word in call] for call in fp.calls)
    assert update[-3:] == ["-o", "APT::Update::Error-Mode=any", "update"]
    assert query[-4:] == ["madison", "libc6", "libssl3t64", "gone"]
    told = [" ".join(word for word in call if "::" in word) for call in (update, query)]
    for settings in told:
        assert (
            f"Dir::Etc::SourceList={home}/delivery.sources Dir::Etc::SourceParts=/dev/null"
            in settings
        )
        assert (
            f"Dir::State::Lists={home}/lists Dir::State::status=/dev/null Dir::Cache={home}"
            in settings
        )
        assert "APT::Architecture=arm64" in settings


@pytest.mark.usefixtures("trixie")
def test_a_security_update_is_told(fp: FakeProcess) -> None:
    fp.register(TARGETS, stdout=SECURITY, occurrences=2)
    fp.register(["apt-get", fp.any()])
    fp.register(["apt-cache", fp.any()], stdout=OFFERED)
    offered = debian.offered("trixie", "amd64", ["libssl3t64"], quiet)
    assert [one.security for one in offered["libssl3t64"]] == [True, False]


@pytest.mark.usefixtures("trixie")
def test_without_a_source_of_security_updates_nothing_is_said_of_them(fp: FakeProcess) -> None:
    fp.register(TARGETS, stdout=SECURITY[:1], occurrences=2)
    with pytest.raises(EngineError, match="apt lists no source for trixie-security"):
        debian.offered("trixie", "amd64", ["libc6"], quiet)


def test_where_there_is_no_debian_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "ubuntu", "noble")
    with pytest.raises(DeliveryError, match="this machine is no Debian"):
        debian.offered("trixie", "amd64", ["libc6"], quiet)
