"""A deploy is of the requested release, if the environment allows it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from delivery.build import planning
from delivery.build.plan import Images, Plan, make_images, make_plan
from delivery.deploy import selection
from delivery.deploy.selection import DOCKER, DeployRequest, choose_platform, environment_to_verify
from delivery.errors import DeclarationError, SignatureError
from delivery.project.declaration import Declaration
from delivery.project.gitflow import Line
from delivery.release import attesting, catalog, signing
from delivery.release.provenance import Builder
from delivery.release.released import Release, ReleasedPart
from tests.deploy.cluster import Terminal
from tests.project.examples import checkout, decision, version

PUBLISHED = Release(
    {"api-rest": ReleasedPart("localhost:5001/api-rest", "k", "sha256:" + "c" * 64)}, "1.0.0"
)


REQUIRE = catalog.require


@pytest.fixture(autouse=True)
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions whose signatures were verified; the registry has every version."""
    versions: list[str] = []

    def require(_declaration: object, _registry: object, version: str, _hint: str = "") -> Release:
        return replace(PUBLISHED, version=version)

    monkeypatch.setattr(catalog, "require", require)
    monkeypatch.setattr(catalog, "check_file", lambda *arguments: arguments[2])
    monkeypatch.setattr(catalog, "references", lambda _registry, release: release.version)

    def verify(_: object, references: object, *, builders: Sequence[Builder]) -> None:
        name = references if isinstance(references, str) else "provenance"
        versions.append(f"{name} by {' or '.join(builders)}")

    monkeypatch.setattr(signing, "verify", verify)
    monkeypatch.setattr(attesting, "verify", verify)
    return versions


def test_the_platform_is_a_flag_or_the_users_choice(terminal: Terminal) -> None:
    assert choose_platform(DeployRequest(), DOCKER) == DOCKER
    assert choose_platform(DeployRequest(), "") == "kubernetes"
    terminal.answer("docker", "")
    assert choose_platform(DeployRequest(), "") == DOCKER
    assert choose_platform(DeployRequest(), "") == "kubernetes"
    for request in (DeployRequest("staging"), DeployRequest(yes=True)):
        assert choose_platform(request, "") == "kubernetes"  # not asked
    with pytest.raises(DeclarationError, match="the input has ended"):
        choose_platform(DeployRequest(), "")


@pytest.mark.parametrize(
    ("request_", "platform", "message"),
    [
        (DeployRequest(), "vm", "--platform vm is unknown"),
        (DeployRequest("staging"), DOCKER, "docker is for local only"),
        (DeployRequest(context="kind-sample"), DOCKER, "--context names a cluster"),
    ],
)
def test_an_impossible_platform_is_refused(
    request_: DeployRequest, platform: str, message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        choose_platform(request_, platform)


def find(
    declaration: Declaration, environment: str, version: str, *, signed: bool = False
) -> Release | None:
    return selection.find_release(declaration, environment, None, version, signed=signed)


@pytest.mark.parametrize("version", ["current", "deployed"])
def test_only_local_takes_an_unreleased_version_and_never_signed(
    declaration: Declaration, version: str
) -> None:
    assert find(declaration, "local", version) is None
    with pytest.raises(DeclarationError, match=f"cannot deploy {version} to develop: it is no rel"):
        find(declaration, "develop", version)
    with pytest.raises(DeclarationError, match="signatures are required"):
        find(declaration, "local", version, signed=True)


PREVIEW = "preview-feature-x-123456"


def test_a_preview_takes_the_sources_unless_a_version_is_given(
    with_previews: Declaration, terminal: Terminal
) -> None:
    terminal.answer()  # nothing is asked
    assert selection.choose_version(with_previews, PREVIEW, {}, ask=True) == "current"
    assert find(with_previews, PREVIEW, "current") is None
    assert find(with_previews, PREVIEW, "1.0.0")
    with pytest.raises(DeclarationError, match="signatures are required"):
        find(with_previews, PREVIEW, "current", signed=True)


def test_the_plan_of_a_preview_needs_no_release(
    with_previews: Declaration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = planned(with_previews, Line.PREVIEW, PREVIEW)
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: plan)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    request = DeployRequest(plan=str(file))
    assert selection.resolve(with_previews, request) == (PREVIEW, None)


@pytest.mark.parametrize(
    ("environment", "version", "allowed"),
    [
        ("production", "1.2.0", True),
        ("production", "1.2.0-rc.1", False),
        ("production", "1.2.0-dev.7", False),
        ("staging", "1.2.0-dev.7", True),
        ("develop", "1.2.0", True),
    ],
)
def test_production_takes_releases_only(
    declaration: Declaration, environment: str, version: str, *, allowed: bool
) -> None:
    if allowed:
        assert find(declaration, environment, version)
    else:
        with pytest.raises(DeclarationError, match="and production takes releases only"):
            find(declaration, environment, version)


def test_signatures_are_verified_on_request(
    declaration: Declaration, verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find(declaration, "staging", "1.0.0")
    assert verified == []
    find(declaration, "staging", "1.2.0", signed=True)
    assert verified == ["1.2.0 by ci or laptop", "provenance by ci or laptop"]
    verified.clear()
    find(declaration, "production", "1.2.0", signed=True)
    assert verified == ["1.2.0 by ci", "provenance by ci"]

    def refuse(*_: object, **__: object) -> None:
        raise SignatureError("unsigned")

    monkeypatch.setattr(signing, "verify", refuse)
    with pytest.raises(SignatureError):
        find(declaration, "develop", "1.1.0", signed=True)


def test_a_release_file_names_the_release(declaration: Declaration, tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    file.write_text(PUBLISHED.to_json())
    request = DeployRequest("staging", file=str(file))
    assert selection.resolve(declaration, request) == ("staging", PUBLISHED)
    file.write_text("{}")
    with pytest.raises(DeclarationError, match=r"cannot read .*release\.json: it is not a release"):
        selection.resolve(declaration, request)
    file.unlink()
    with pytest.raises(DeclarationError, match=r"cannot read the release .*\.json: No such file"):
        selection.resolve(declaration, request)


def test_only_one_of_version_release_and_plan_is_taken(declaration: Declaration) -> None:
    with pytest.raises(DeclarationError, match="each name what to deploy"):
        selection.resolve(declaration, DeployRequest(version="1.0.0", file="release.json"))


def planned(declaration: Declaration, line: Line, environment: str, key: str = "k") -> Plan:
    versions = {
        name: version(name, "1.0.0", last="0.9.0", bump="minor")
        for name in ("base-image", "apps", "platform-chart")
    }
    clone = checkout(declaration, decision(line, "b", environment), versions)
    images = make_images(declaration, {"base-image": "b", "api-rest": key}, {}, clone)
    images = Images(tuple(image for image in images.all if image.name == "api-rest"))
    return make_plan(clone, images, ("k", ""))


def test_a_plan_names_the_environment_and_the_release(
    declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(declaration, Line.CANDIDATE, "staging")
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: plan)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    for environment in ("", "staging"):
        resolved = selection.resolve(declaration, DeployRequest(environment, plan=str(file)))
        assert resolved == ("staging", replace(PUBLISHED, version=plan.version))
    with pytest.raises(
        DeclarationError, match=r"the plan .*plan\.json is for staging, not develop"
    ):
        selection.resolve(declaration, DeployRequest("develop", plan=str(file)))


def test_a_plan_that_is_not_published_yet_is_refused_with_the_command_that_does_it(
    declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(declaration, Line.CANDIDATE, "staging")
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: plan)
    monkeypatch.setattr(catalog, "require", REQUIRE)
    monkeypatch.setattr(catalog, "find", lambda *_: None)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    with pytest.raises(DeclarationError, match="holds no such release") as caught:
        selection.resolve(declaration, DeployRequest(plan=str(file)))
    assert caught.value.hint == "publish it by `./run inv build push`"


@pytest.mark.parametrize(
    ("written", "current", "message"),
    [
        ((Line.CANDIDATE, "staging"), (Line.DEVELOP, "develop"), "it is outdated"),
        ((Line.CANDIDATE, "staging"), (Line.CANDIDATE, "staging", "other"), "it is outdated"),
        ((Line.FEATURE, ""), (Line.FEATURE, ""), "is deployed nowhere"),
        ((Line.CANDIDATE, "staging", "x"), (Line.CANDIDATE, "staging", "x"), "has other images"),
    ],
)
def test_a_plan_that_is_not_true_any_more_is_refused(
    declaration: Declaration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: Any,  # arguments of planned
    current: Any,
    message: str,
) -> None:
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: planned(declaration, *current))
    file = tmp_path / "plan.json"
    file.write_text(planned(declaration, *written).to_json())
    with pytest.raises(DeclarationError, match=message):
        selection.resolve(declaration, DeployRequest(plan=str(file)))


@pytest.mark.parametrize(
    ("plan", "environment", "message"),
    [
        ((Line.FEATURE, ""), "", "it is deployed nowhere"),
        ((Line.DEVELOP, "develop"), "production", "is for develop, not production"),
        (None, "", "no environment given"),
    ],
)
def test_the_environment_to_verify_is_given_or_planned(
    declaration: Declaration,
    tmp_path: Path,
    plan: tuple[Line, str] | None,
    environment: str,
    message: str,
) -> None:
    file = tmp_path / "plan.json"
    if plan:
        file.write_text(planned(declaration, *plan).to_json())
    with pytest.raises(DeclarationError, match=message) as error:
        environment_to_verify(declaration, environment, str(file) if plan else "")
    if not plan:
        names = ", ".join(declaration.environments)
        assert error.value.hint == f"pass --environment with one of {names}, or --plan"
    file.write_text(planned(declaration, Line.CANDIDATE, "staging").to_json())
    assert environment_to_verify(declaration, "", str(file)) == "staging"
    assert environment_to_verify(declaration, "staging", "") == "staging"
