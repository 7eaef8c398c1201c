"""`inv images.sbom` and `inv signing.*`."""

import getpass
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from invoke.collection import Collection

from delivery import machine
from delivery.platform import lifecycle
from delivery.project.declaration import Declaration
from delivery.registry import oci_layout
from delivery.registry.client import Registry
from delivery.release import attached_sboms, attesting, catalog, cosign, signing
from delivery.release.released import Release, ReleasedPart
from delivery.release.sbom import Image, Package, render
from delivery.tasks import supply
from tests.registries import FakeRegistry, serving, write_index, write_layout
from tests.tasks.running import inv

TASKS = Collection(supply.sbom)
TASKS.add_collection(Collection("signing", supply.keys, supply.sign, supply.verify))
API, CHART = (f"sha256:{letter * 64}" for letter in "ab")
BOTTLE = Package("pypi", "bottle", "0.13.4", "pkg:pypi/bottle@0.13.4", licences=("MIT",))
RELEASE = Release(
    {"api-rest": ReleasedPart("localhost:5001/api-rest", "k", API, "1.2.0")},
    version="1.0.0",
    chart=ReleasedPart("localhost:5001/platform-chart", "k", CHART, "1.0.0"),
)
CATALOG = {
    "0.9.0": Release(
        {"api-rest": ReleasedPart("localhost:5001/api-rest", "k", CHART, "1.1.0")}, version="0.9.0"
    )
}


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[Release | None]:
    """The releases of this clone; the last one counts."""
    last: list[Release | None] = [RELEASE]
    monkeypatch.setattr(lifecycle, "released", lambda: last[-1])
    monkeypatch.setattr(catalog, "find", lambda _registry, version: CATALOG.get(version))
    monkeypatch.setattr(catalog, "versions", lambda _registry: ["2.0.0", "1.0.0"])
    monkeypatch.setattr(
        catalog, "references", lambda _registry, release: [f"all of {release.version}"]
    )
    return last


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The calls of sign and verify."""
    made: list[tuple[str, list[str]]] = []

    def recorder(name: str) -> object:
        def step(_declaration: Declaration, parts: Iterable[str | ReleasedPart]) -> None:
            made.append((name, [part if isinstance(part, str) else part.digest for part in parts]))

        return step

    monkeypatch.setattr(signing, "sign", recorder("sign"))
    monkeypatch.setattr(signing, "verify", recorder("verify"))
    monkeypatch.setattr(attesting, "renew", recorder("sign provenance"))
    monkeypatch.setattr(attesting, "verify", recorder("verify provenance"))
    monkeypatch.setenv(cosign.KEY, "-----BEGIN")
    return made


@pytest.fixture
def image(
    released: list[Release | None], tmp_path: Path
) -> Iterator[tuple[Registry, ReleasedPart]]:
    """A release with one image in a registry, without an SBOM."""
    with serving(FakeRegistry()) as (address, _):
        registry, repository = Registry(address), f"{address}/api-rest"
        write_layout(tmp_path, bytes(1024))  # an empty tar archive
        digest = registry.push_layout(tmp_path, repository, "k", lambda _line: None)
        made = ReleasedPart(repository, "k", digest, "1.2.0")
        released.append(Release({"api-rest": made}))
        yield registry, made


def test_the_sbom_of_the_registry_is_shown(
    image: tuple[Registry, ReleasedPart],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry, made = image
    text = render(Image("api-rest", "1.2.0", made.repository, made.digest), [BOTTLE])
    with monkeypatch.context() as patched:
        patched.setattr(attached_sboms, "make", lambda *_: text)
        attached_sboms.attach(
            registry, Image("api-rest", "1.2.0", made.repository, made.digest), None
        )
    assert inv(TASKS, "sbom", "--image", "api-rest") == 0
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines()[1:]] == [
        ["kind", "name", "version", "licences"],
        ["pypi", "bottle", "0.13.4", "MIT"],
    ]
    assert "the registry has none" not in printed
    assert inv(TASKS, "sbom", "--image", "api-rest", "--json") == 0
    assert capsys.readouterr().out == text


def test_without_an_sbom_a_new_one_is_shown(
    image: tuple[Registry, ReleasedPart], capsys: pytest.CaptureFixture[str]
) -> None:
    registry, made = image
    assert inv(TASKS, "sbom", "--image", "api-rest") == 0
    assert "(new: the registry has none)" in capsys.readouterr().out
    assert inv(TASKS, "sbom", "--image", "api-rest", "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["metadata"]["component"]["bom-ref"] == made.digest
    assert registry.referrers(made.repository, made.digest) == []


@pytest.fixture
def index(released: list[Release | None], tmp_path: Path) -> Iterator[dict[str, str]]:
    """A release with an image for two platforms; the digest of each."""
    with serving(FakeRegistry()) as (address, _):
        registry, repository = Registry(address), f"{address}/api-rest"
        write_index(tmp_path, {"linux/amd64": bytes(1024), "linux/arm64": bytes(2048)})
        digest = registry.push_layout(tmp_path, repository, "k", lambda _line: None)
        released.append(Release({"api-rest": ReleasedPart(repository, "k", digest, "1.2.0")}))
        yield oci_layout.read(tmp_path).platforms


@pytest.mark.parametrize(
    ("flags", "platform"),
    [((), "linux/arm64"), (("--platform", "linux/amd64"), "linux/amd64")],
)
def test_the_sbom_of_a_platform_is_shown(
    index: dict[str, str],
    flags: tuple[str, ...],
    platform: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(machine, "platform", lambda: "linux/arm64")
    assert inv(TASKS, "sbom", "--image", "api-rest", *flags, "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["metadata"]["component"]["bom-ref"] == index[platform]


def test_on_a_machine_of_neither_platform_the_first_is_shown(
    index: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "platform", lambda: "linux/riscv64")
    assert inv(TASKS, "sbom", "--image", "api-rest", "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["metadata"]["component"]["bom-ref"] == index["linux/amd64"]


@pytest.mark.usefixtures("index")
def test_an_unknown_platform_is_an_error_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert inv(TASKS, "sbom", "--image", "api-rest", "--platform", "linux/riscv64") == 2
    printed = capsys.readouterr().err
    assert "cannot show an SBOM: there is no api-rest for linux/riscv64" in printed
    assert "linux/amd64, linux/arm64" in printed


@pytest.mark.usefixtures("image")
def test_an_image_for_a_single_platform_is_shown_without_naming_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert inv(TASKS, "sbom", "--image", "api-rest", "--platform", "linux/amd64") == 2
    printed = capsys.readouterr().err
    assert "cannot show an SBOM for linux/amd64: api-rest is no image for several" in printed
    assert "omit --platform" in printed


@pytest.mark.usefixtures("released")
def test_an_unknown_image_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert inv(TASKS, "sbom", "--image", "nginx") == 2
    assert "nginx is no image of this project" in capsys.readouterr().err


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    "task", [("sbom", "--image", "api-rest"), ("signing.sign",), ("signing.verify",)]
)
def test_without_a_release_the_tasks_fail(
    released: list[Release | None], task: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    released.append(None)
    assert inv(TASKS, *task) == 2
    assert "this clone has no release yet" in capsys.readouterr().err


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize("verb", ["sign", "verify"])
@pytest.mark.parametrize(
    ("flags", "version", "image"),
    [((), "1.0.0", API), (("--version", "0.9.0"), "0.9.0", CHART)],
)
def test_all_references_of_a_release_are_signed_and_verified(
    calls: list[tuple[str, list[str]]], verb: str, flags: tuple[str, ...], version: str, image: str
) -> None:
    assert inv(TASKS, f"signing.{verb}", *flags) == 0
    assert calls == [(verb, [f"all of {version}"]), (f"{verb} provenance", [image])]


def test_a_local_release_has_only_images(
    released: list[Release | None],
    calls: list[tuple[str, list[str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    released.append(Release(RELEASE.images))
    assert inv(TASKS, "signing.verify", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"signed": [f"localhost:5001/api-rest@{API}"]}
    pinned = [f"localhost:5001/api-rest@{API}"]
    assert calls == [("verify", pinned), ("verify provenance", [API])]


@pytest.mark.usefixtures("released", "calls")
@pytest.mark.parametrize(
    "task", [("sbom", "--image", "api-rest"), ("signing.sign",), ("signing.verify",)]
)
def test_an_unknown_release_is_an_error(
    task: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert inv(TASKS, *task, "--version", "7.0.0") == 2
    printed = capsys.readouterr().err
    assert "localhost:5001 has no release 7.0.0" in printed
    assert "choose from 2.0.0, 1.0.0" in printed


@pytest.mark.usefixtures("released")
def test_sign_needs_a_key(
    calls: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(cosign.KEY)
    assert inv(TASKS, "signing.sign") == 2
    assert "DELIVERY_SIGNING_KEY is not set" in capsys.readouterr().err
    assert calls == []


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str]]:
    """The folder and the password of each key pair that was made."""
    made: list[tuple[Path, str]] = []
    monkeypatch.setattr(
        signing, "key_pair", lambda folder, password: made.append((folder, password))
    )
    monkeypatch.delenv(cosign.PASSWORD, raising=False)
    return made


@pytest.mark.parametrize("password", ["open sesame", ""])
def test_keys_reads_the_password_from_the_environment(
    pairs: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv(cosign.PASSWORD, password)
    assert inv(TASKS, "signing.keys", "--to", "here") == 0
    assert pairs == [(Path("here"), password)]


@pytest.mark.parametrize(
    ("answers", "code", "made"),
    [(["one", "one"], 0, [(Path("here"), "one")]), (["one", "two"], 2, [])],
)
def test_a_terminal_asks_twice_for_the_password(
    pairs: list[tuple[Path, str]],
    monkeypatch: pytest.MonkeyPatch,
    answers: list[str],
    code: int,
    made: list[tuple[Path, str]],
) -> None:
    inputs = iter(answers)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(inputs))
    assert inv(TASKS, "signing.keys", "--to", "here") == code
    assert pairs == made


def test_without_a_terminal_the_hint_names_the_variable(
    pairs: list[tuple[Path, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert inv(TASKS, "signing.keys", "--to", "here") == 2
    assert "set COSIGN_PASSWORD" in capsys.readouterr().err
    assert pairs == []
