"""Debian's packages come from this machine's mirror, and leave its lists and services as they were."""

import os
import platform
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery.core.errors import EngineError
from delivery.tools import cache, debian

TARGETS = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]


@pytest.fixture
def bookworm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian", "VERSION_CODENAME": "bookworm"})
    monkeypatch.setattr(debian, "_POLICY", tmp_path / "policy-rc.d")


def quiet(_line: str) -> None:
    pass


@pytest.mark.usefixtures("bookworm")
def test_bookworm_takes_the_engine_from_trixie_and_the_rest_from_itself(fp: FakeProcess, tmp_path: Path) -> None:
    policies: list[str] = []
    fp.register(TARGETS, stdout=["bookworm-security http://mirror/security/", "bookworm http://mirror/debian/"])
    fp.register(["apt-get", fp.any(), "update"])
    fp.register(
        ["apt-get", fp.any(), "install", "--yes", "--no-install-recommends", "docker.io/trixie", "runc"],
        callback=lambda _process: policies.append((tmp_path / "policy-rc.d").read_text()),
    )
    debian.install(["docker.io", "runc"], quiet)
    sources = (cache.folder("apt") / "sources.d" / "delivery.sources").read_text()
    assert "URIs: http://mirror/debian/\nSuites: bookworm bookworm-updates trixie\n" in sources
    assert (cache.folder("apt") / "preferences").read_text() == "Package: *\nPin: release n=trixie\nPin-Priority: 100\n"
    assert policies == ["#!/bin/sh\nexit 101\n"]
    assert not (tmp_path / "policy-rc.d").exists()


@pytest.mark.usefixtures("bookworm")
def test_a_policy_of_the_machines_own_stays(fp: FakeProcess, tmp_path: Path) -> None:
    (tmp_path / "policy-rc.d").write_text("theirs")
    fp.register(TARGETS, stdout=["bookworm http://mirror/debian/"])
    fp.register(["apt-get", fp.any()], occurrences=2)
    debian.install(["runc"], quiet)
    assert (tmp_path / "policy-rc.d").read_text() == "theirs"


@pytest.mark.usefixtures("bookworm")
def test_a_machine_without_a_mirror_is_an_error(fp: FakeProcess) -> None:
    fp.register(TARGETS, stdout=[])
    with pytest.raises(EngineError, match="apt lists no source for bookworm"):
        debian.install(["runc"], quiet)


@pytest.mark.parametrize(
    ("system", "user", "expected"),
    [
        ({"ID": "debian", "VERSION_CODENAME": "bookworm"}, 0, True),
        ({"ID": "debian", "VERSION_CODENAME": "trixie"}, 0, True),
        ({"ID": "debian", "VERSION_CODENAME": "trixie"}, 1000, False),
        ({"ID": "debian", "VERSION_CODENAME": "buster"}, 0, False),
        ({"ID": "ubuntu", "VERSION_CODENAME": "noble"}, 0, False),
    ],
)
def test_installs_only_as_root_on_a_debian_it_knows(
    monkeypatch: pytest.MonkeyPatch, system: dict[str, str], user: int, *, expected: bool
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert debian.can_install() is expected
