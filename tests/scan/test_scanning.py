"""Every image of ours is looked at wherever it is, and what cannot be looked at is told."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from delivery.build import planning
from delivery.errors import CommandError, DeliveryError, EngineError, ScanError
from delivery.host import debian, programs
from delivery.project.declaration import Declaration
from delivery.registry.client import Registry
from delivery.release import sboms
from delivery.release.bom import Image
from delivery.scan import pypi, scanning
from delivery.scan.findings import CURRENT, OLD, UNSEEN, Finding
from delivery.scan.gitleaks import Gitleaks
from tests.registries import FullRegistry, serving, write_layout
from tests.repositories import Repository

STATUS = "var/lib/dpkg/status.d/"
DEBIAN = {
    "usr/lib/os-release": 'ID=debian\nVERSION_ID="13"\n',
    f"{STATUS}libpython3.13-minimal": "Package: libpython3.13-minimal\nVersion: 3.13.5-2\nArchitecture: amd64\n",
    f"{STATUS}libc6": "Package: libc6\nVersion: 2.41-12\nArchitecture: amd64\n",
}
APP = {
    **DEBIAN,
    "usr/a/bottle.dist-info/METADATA": "Metadata-Version: 2.4\nName: bottle\nVersion: 0.13.3\n",
    "usr/a/api.dist-info/METADATA": "Metadata-Version: 2.4\nName: api_rest\nVersion: 0.1.0\n",
}


def layer(files: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


def leave_layout(
    house: Path, declaration: Declaration, name: str, files: Mapping[str, str]
) -> tuple[Path, str]:
    """Leave an image as `inv build` does; its folder and its digest."""
    folder = house / ".delivery" / "layouts" / f"{name}@{planning.keys(declaration, house)[name]}"
    return folder, write_layout(folder, layer(files))


@pytest.fixture
def built(declaration: Declaration, house: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose images are built and not pushed."""
    (house / "api-rest" / "pyproject.toml").write_text(
        '[project]\nname = "api-rest"\nversion = "0.1.0"\n'
    )
    leave_layout(house, declaration, "base-image", DEBIAN)
    leave_layout(house, declaration, "api-rest", APP)
    monkeypatch.setattr(scanning, "answers", lambda _address: False)
    monkeypatch.setattr(Registry, "digest", None)  # it does not answer
    return house


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the indexes were asked for; they have a newer Python, as a security update, and a newer bottle."""
    calls: list[tuple[str, ...]] = []

    def offered(
        suite: str, architecture: str, names: Sequence[str], _on_line: object
    ) -> dict[str, list[object]]:
        calls.append((suite, architecture, *names))
        return {
            "libc6": [debian.Offered("2.41-12", security=False)],
            "libpython3.13-minimal": [
                debian.Offered("3.13.5-3", security=True),
                debian.Offered("3.13.5-2", security=False),
            ],
        }

    def newest(names: Sequence[str], python: str, architecture: str) -> dict[str, str]:
        calls.append((python, architecture, *names))
        return {"bottle": "0.13.4"}

    monkeypatch.setattr(debian, "offered", offered)
    monkeypatch.setattr(pypi, "newest", newest)
    return calls


def packages(declaration: Declaration, house: Path) -> list[tuple[str, str, str, str, bool]]:
    return [
        (one.image, one.name, one.state, one.newest, one.security)
        for one in scanning.packages(declaration, house)
    ]


def test_what_is_built_is_looked_at_before_it_is_pushed(
    declaration: Declaration, built: Path, asked: list[tuple[str, ...]]
) -> None:
    assert packages(declaration, built) == [
        ("api-rest", "libc6", CURRENT, "2.41-12", False),
        ("api-rest", "libpython3.13-minimal", OLD, "3.13.5-3", True),
        ("api-rest", "bottle", OLD, "0.13.4", False),
        ("base-image", "libc6", CURRENT, "2.41-12", False),
        ("base-image", "libpython3.13-minimal", OLD, "3.13.5-3", True),
    ]
    # Nobody is asked for api-rest: on an index that would be somebody else's.
    assert asked == [
        ("trixie", "amd64", "libc6", "libpython3.13-minimal"),
        ("3.13", "amd64", "bottle"),
    ]
    left = built / ".delivery" / "scan"
    report = json.loads((left / "packages.json").read_text())["packages"]
    assert [(package["name"], package["newest"]) for package in report[3:]] == [
        ("libc6", "2.41-12"),
        ("libpython3.13-minimal", "3.13.5-3"),
    ]
    bill = json.loads((left / "api-rest.cdx.json").read_text())
    assert {one["name"] for one in bill["components"]} == {
        "api_rest",
        "bottle",
        "libc6",
        "libpython3.13-minimal",
    }


def test_the_bill_is_the_one_that_a_push_attaches(
    declaration: Declaration, built: Path, asked: list[object]
) -> None:
    folder, digest = built / ".delivery" / "layouts", ""
    (folder,) = folder.glob("api-rest@*")
    digest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
    scanning.packages(declaration, built)
    image = Image("api-rest", "0.1.0", "localhost:5001/api-rest", digest)
    told = (built / ".delivery" / "scan" / "api-rest.cdx.json").read_text()
    assert told == sboms.make(Registry("localhost:5001"), image, folder)
    assert asked


@pytest.fixture
def pushed(declaration: Declaration, house: Path) -> Iterator[tuple[Declaration, Path]]:
    """A clone that has built nothing, whose images are in a registry; one has its bill attached."""
    with serving(FullRegistry()) as (address, _):
        here, registry = declaration.at(address), Registry(address)
        for name, files in (("base-image", DEBIAN), ("api-rest", APP)):
            folder = house / name
            digest = write_layout(folder.with_suffix(".layout"), layer(files))
            key = planning.keys(here, house)[name]
            registry.push_layout(
                folder.with_suffix(".layout"), f"{address}/{name}", key, lambda _line: None
            )
            if name == "api-rest":
                sboms.attach(
                    registry, Image(name, "as it was pushed", f"{address}/{name}", digest), None
                )
        yield here, house


@pytest.mark.usefixtures("asked")
def test_what_is_pushed_already_is_looked_at_in_the_registry(
    pushed: tuple[Declaration, Path],
) -> None:
    declaration, house = pushed
    assert {one[0] for one in packages(declaration, house)} == {"base-image", "api-rest"}
    told = json.loads((house / ".delivery" / "scan" / "api-rest.cdx.json").read_text())
    assert told["metadata"]["component"]["version"] == "as it was pushed"


def test_an_image_that_is_nowhere_is_an_error(declaration: Declaration, built: Path) -> None:
    (built / "api-rest" / "Dockerfile").write_text("FROM something else\n")
    with pytest.raises(ScanError, match="api-rest is not to be had as it is now") as caught:
        scanning.packages(declaration, built)
    assert "./run inv build" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            EngineError("read Debian's package lists: this is no Debian"),
            "read Debian's package lists: this is no Debian",
        ),
        (
            CommandError("ask", argv=["x"], returncode=1, tail="a\nno route to host\n"),
            "ask; no route to host",
        ),
        (CommandError("ask", argv=["x"], returncode=1, tail=""), "ask"),
    ],
)
def test_an_index_that_cannot_be_asked_leaves_its_packages_unseen(
    declaration: Declaration,
    built: Path,
    asked: list[object],
    monkeypatch: pytest.MonkeyPatch,
    error: DeliveryError,
    why: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(debian, "offered", fail)
    found = scanning.packages(declaration, built)
    assert {(one.state, one.why) for one in found if one.kind == "deb"} == {(UNSEEN, why)}
    assert [one.state for one in found if one.kind == "pypi"] == [OLD]
    assert asked


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "clone")
    made.commit("one", "a")
    made.commit("two", "a")
    made.branch("other", "HEAD~1")
    made.commit("three", "b")
    made.switch("main")
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(Gitleaks, "files", lambda _: (1, [Finding("", "a", 1, "r")]))
    return made


@pytest.mark.parametrize(
    ("everything", "of", "count"), [(False, "main", 2), (True, "every ref", 3)]
)
def test_secrets_are_looked_for_in_files_and_commits(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    of: str,
    count: int,
    *,
    everything: bool,
) -> None:
    told: list[bool] = []

    def commits(_: Gitleaks, *, everything: bool) -> list[Finding]:
        told.append(everything)
        return [Finding("c" * 40, "a", 1, "r"), Finding("", "a", 1, "r")]

    monkeypatch.setattr(Gitleaks, "commits", commits)
    expected = [Finding("", "a", 1, "r"), Finding("c" * 40, "a", 1, "r")]
    assert scanning.secrets(repository.root, everything=everything) == expected
    assert told == [everything]
    report = json.loads((repository.root / ".delivery" / "scan" / "secrets.json").read_text())
    assert {name: report[name] for name in ("files", "commits", "of", "shallow")} == {
        "files": 1,
        "commits": count,
        "of": of,
        "shallow": False,
    }
    assert report["findings"][0] == {"commit": "", "file": "a", "line": 1, "rule": "r"}
    assert len(report["findings"]) == 2


def test_a_shallow_clone_is_told(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Gitleaks, "commits", lambda _, everything: [] if not everything else None)
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", repository.root.as_uri(), str(shallow))
    scanning.secrets(shallow)
    said = " ".join(capsys.readouterr().out.split())
    assert "this clone is shallow; `git fetch --unshallow --tags` fetches the older commits" in said
    assert (
        json.loads((shallow / ".delivery" / "scan" / "secrets.json").read_text())["shallow"] is True
    )
