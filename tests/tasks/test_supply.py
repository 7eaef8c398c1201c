"""What an image is made of is shown as it is attached, and what is signed is the whole of a release."""

import getpass
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.program import Program

from delivery.platform import lifecycle
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.registry.client import Registry
from delivery.release import attached_sboms, catalog, cosign, signing
from delivery.release.released import Release, ReleasedPart
from delivery.release.sbom import Image, Package, render
from delivery.tasks import supply
from tests.registries import FakeRegistry, serving, write_layout

MENU = Collection(supply.sbom)
MENU.add_collection(Collection("signing", supply.keys, supply.sign, supply.verify))
API, CHART = (f"sha256:{letter * 64}" for letter in "ab")
BOTTLE = Package("pypi", "bottle", "0.13.4", "pkg:pypi/bottle@0.13.4", licences=("MIT",))
RELEASE = Release(
    {"api-rest": ReleasedPart("localhost:5001/api-rest", "k", API, "1.2.0")},
    version="1.0.0",
    chart=ReleasedPart("localhost:5001/platform-chart", "k", CHART, "1.0.0"),
)
HELD = {
    "0.9.0": Release(
        {"api-rest": ReleasedPart("localhost:5001/api-rest", "k", CHART, "1.1.0")}, version="0.9.0"
    )
}


def inv(*arguments: str) -> int:
    try:
        Program(namespace=MENU).run(["inv", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> list[Release | None]:
    """What this clone has released last."""
    last: list[Release | None] = [RELEASE]
    monkeypatch.setattr(lifecycle, "released", lambda: last[-1])
    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(catalog, "find", lambda _registry, version: HELD.get(version))
    monkeypatch.setattr(
        catalog, "references", lambda _registry, release: [f"all of {release.version}"]
    )
    return last


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What was signed or checked."""
    made: list[tuple[str, list[str]]] = []

    def note(what: str) -> object:
        def step(_declaration: Declaration, pinned: Sequence[str]) -> None:
            made.append((what, list(pinned)))

        return step

    monkeypatch.setattr(signing, "sign", note("sign"))
    monkeypatch.setattr(signing, "verify", note("verify"))
    monkeypatch.setenv(cosign.KEY, "-----BEGIN")
    return made


@pytest.fixture
def image(
    released: list[Release | None], tmp_path: Path
) -> Iterator[tuple[Registry, ReleasedPart]]:
    """A release whose one image is in a registry, with nothing attached to it."""
    with serving(FakeRegistry()) as (address, _):
        registry, repository = Registry(address), f"{address}/api-rest"
        write_layout(tmp_path, bytes(1024))  # the end of a tar archive, and so one without files
        digest = registry.push_layout(tmp_path, repository, "k", lambda _line: None)
        made = ReleasedPart(repository, "k", digest, "1.2.0")
        released.append(Release({"api-rest": made}))
        yield registry, made


def test_what_is_attached_is_shown(
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
    assert inv("sbom", "--image", "api-rest") == 0
    told = capsys.readouterr().out
    assert [line.split() for line in told.splitlines()[1:]] == [
        ["kind", "name", "version", "licences"],
        ["pypi", "bottle", "0.13.4", "MIT"],
    ]
    assert "none is attached" not in told
    assert inv("sbom", "--image", "api-rest", "--json") == 0
    assert capsys.readouterr().out == text


def test_what_is_not_attached_is_made_now_and_that_is_said(
    image: tuple[Registry, ReleasedPart], capsys: pytest.CaptureFixture[str]
) -> None:
    registry, made = image
    assert inv("sbom", "--image", "api-rest") == 0
    assert "(made now: none is attached)" in capsys.readouterr().out
    assert inv("sbom", "--image", "api-rest", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metadata"]["component"]["bom-ref"] == made.digest
    assert registry.referrers(made.repository, made.digest) == []


@pytest.mark.usefixtures("released")
def test_an_image_that_is_not_ours_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert inv("sbom", "--image", "nginx") == 2
    assert "nginx is no image of ours" in capsys.readouterr().err


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    "task", [("sbom", "--image", "api-rest"), ("signing.sign",), ("signing.verify",)]
)
def test_before_anything_is_released_there_is_nothing_to_do(
    released: list[Release | None], task: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    released.append(None)
    assert inv(*task) == 2
    assert "nothing is released from this clone yet" in capsys.readouterr().err


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize("what", ["sign", "verify"])
@pytest.mark.parametrize(("asked", "version"), [((), "1.0.0"), (("--version", "0.9.0"), "0.9.0")])
def test_a_release_is_signed_and_checked_whole(
    calls: list[tuple[str, list[str]]], what: str, asked: tuple[str, ...], version: str
) -> None:
    assert inv(f"signing.{what}", *asked) == 0
    assert calls == [(what, [f"all of {version}"])]


def test_what_a_clone_made_for_itself_is_its_images(
    released: list[Release | None],
    calls: list[tuple[str, list[str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    released.append(Release(RELEASE.images))
    assert inv("signing.verify", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"signed": [f"localhost:5001/api-rest@{API}"]}
    assert calls == [("verify", [f"localhost:5001/api-rest@{API}"])]


@pytest.mark.usefixtures("released", "calls")
@pytest.mark.parametrize(
    "task", [("sbom", "--image", "api-rest"), ("signing.sign",), ("signing.verify",)]
)
def test_a_release_that_is_not_there_is_an_error(
    task: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert inv(*task, "--version", "7.0.0") == 2
    assert "localhost:5001 holds no release 7.0.0" in capsys.readouterr().err


@pytest.mark.usefixtures("released")
def test_who_asks_to_sign_needs_a_key(
    calls: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(cosign.KEY)
    assert inv("signing.sign") == 2
    assert "DELIVERY_SIGNING_KEY is not set" in capsys.readouterr().err
    assert calls == []


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str]]:
    """The key pairs that were made: the folder and the password of each."""
    made: list[tuple[Path, str]] = []
    monkeypatch.setattr(
        signing, "key_pair", lambda folder, password: made.append((folder, password))
    )
    monkeypatch.delenv(cosign.PASSWORD, raising=False)
    return made


@pytest.mark.parametrize("password", ["open sesame", ""])
def test_a_key_takes_the_password_of_the_environment(
    pairs: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv(cosign.PASSWORD, password)
    assert inv("signing.keys", "--to", "here") == 0
    assert pairs == [(Path("here"), password)]


@pytest.mark.parametrize(
    ("answers", "code", "made"),
    [(["one", "one"], 0, [(Path("here"), "one")]), (["one", "two"], 2, [])],
)
def test_on_a_terminal_the_password_is_asked_for_twice(
    pairs: list[tuple[Path, str]],
    monkeypatch: pytest.MonkeyPatch,
    answers: list[str],
    code: int,
    made: list[tuple[Path, str]],
) -> None:
    given = iter(answers)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(given))
    assert inv("signing.keys", "--to", "here") == code
    assert pairs == made


def test_where_nobody_can_be_asked_the_error_says_how_to_give_it(
    pairs: list[tuple[Path, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert inv("signing.keys", "--to", "here") == 2
    assert "set COSIGN_PASSWORD" in capsys.readouterr().err
    assert pairs == []
