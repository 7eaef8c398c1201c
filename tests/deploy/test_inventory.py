"""Which versions are deployed, as far as that is known."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from delivery.deploy import inventory
from delivery.deploy.history import History, Revision
from delivery.deploy.target import Target
from delivery.project.declaration import Declaration, Environment
from delivery.records.deployment import Contents
from delivery.release import catalog
from delivery.release.released import Release, ReleasedPart

AT = datetime(2026, 11, 28, tzinfo=UTC)
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def release(version: str, digest: str = A, line: str = "release") -> Release:
    return Release(
        {"api-rest": ReleasedPart("localhost:5001/api-rest", "k", digest, f"{version}-app")},
        version,
        ReleasedPart("localhost:5001/platform-chart", "k", B, version),
        line,
    )


class Helm:
    """Helm with a history: the chart, image digest and description of each revision."""

    def __init__(self, *revisions: tuple[str, ...]) -> None:
        self.revisions = revisions

    def history(self) -> History:
        last = len(self.revisions)
        return History(
            tuple(
                Revision(
                    number,
                    "deployed" if number == last else "superseded",
                    AT,
                    chart,
                    "".join(description),
                    values=values(digest),
                )
                for number, (chart, digest, *description) in enumerate(self.revisions, start=1)
            )
        )


def values(digest: str) -> dict[str, Any]:
    image = {"repository": "localhost:5001/api-rest", "digest": digest}
    return {"components": {"api-rest": {"image": image}}}


def target(*revisions: tuple[str, ...], environment: str = "staging") -> Target:
    declared = Environment(contexts=("staging",), namespace="platform", values="v")
    return Target(environment, declared, cast("Any", Helm(*revisions)))


def look(
    declaration: Declaration, *revisions: tuple[str, ...], environment: str = "staging"
) -> Contents:
    """What is deployed, with these revisions."""
    deployed = inventory.read_deployed(declaration, target(*revisions, environment=environment))
    assert deployed
    return deployed.contents


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[Release]:
    """The releases of the registry, newest first."""
    releases: list[Release] = []
    monkeypatch.setattr(inventory, "is_reachable", lambda _address: True)
    monkeypatch.setattr(catalog, "versions", lambda _registry: [each.version for each in releases])
    monkeypatch.setattr(
        catalog,
        "find",
        lambda _registry, version: next(each for each in releases if each.version == version),
    )
    return releases


@pytest.fixture(autouse=True)
def next_versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions that this clone would publish."""
    versions = {"api-rest": "0.1.0-dev.26", "platform-chart": "0.1.0-dev.30"}
    monkeypatch.setattr(inventory, "_next_versions", lambda _declaration: versions)
    return versions


def test_the_contents_of_a_release(declaration: Declaration) -> None:
    assert inventory.contents_of_release(declaration, release("1.0.0")) == Contents(
        versions={"api-rest": "1.0.0-app", "platform-chart": "1.0.0"},
        digests={"api-rest": A, "platform-chart": B},
    )


@pytest.fixture
def clone(sample: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(inventory, "ROOT", sample)
    return sample


def images(key: str = "cd38d5a" + "0" * 25, digest: str = A) -> dict[str, ReleasedPart]:
    return {"api-rest": ReleasedPart("localhost:5001/api-rest", key, digest)}


def test_unreleased_images_are_named_by_the_next_version_and_their_key(
    declaration: Declaration, clone: Path, next_versions: dict[str, str]
) -> None:
    contents = inventory.contents_of_clone(declaration, images())
    assert contents.versions["api-rest"] == "0.1.0-dev.26+cd38d5a"
    assert contents.digests["api-rest"] == A
    chart = contents.versions["platform-chart"]
    assert chart == f"0.1.0-dev.30+{contents.digests['platform-chart'][:7]}"
    assert (
        inventory.contents_of_clone(declaration, images("0" * 32, B)).versions["platform-chart"]
        == chart
    )
    (clone / "platform-chart" / "values.yaml").write_text("more: true\n")
    assert inventory.contents_of_clone(declaration, images()).versions["platform-chart"] != chart
    next_versions.clear()  # no git
    assert inventory.contents_of_clone(declaration, images()).versions["api-rest"] == "cd38d5a"


@pytest.mark.usefixtures("clone")
def test_unchanged_bytes_keep_their_name_without_git(
    declaration: Declaration, next_versions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    previous = inventory.contents_of_clone(declaration, images())
    next_versions |= {"api-rest": "0.1.0-dev.27", "platform-chart": "0.1.0-dev.31"}
    with monkeypatch.context() as without_git:
        without_git.setattr(inventory, "_next_versions", None)
        assert inventory.contents_of_clone(declaration, images(), previous) == previous
    by_digest = Contents(versions={"api-rest": A[:19]}, digests={"api-rest": A})
    named = inventory.contents_of_clone(declaration, images(), by_digest)
    assert named.versions["api-rest"] == "0.1.0-dev.27+cd38d5a"
    other = inventory.contents_of_clone(declaration, images("0" * 32, B), previous)
    assert other.versions["api-rest"] == "0.1.0-dev.27+0000000"
    assert other.versions["platform-chart"] == previous.versions["platform-chart"]


def test_without_a_revision_nothing_is_deployed(declaration: Declaration) -> None:
    assert inventory.read_deployed(declaration, target()) is None


def test_a_described_revision_is_named_without_the_registry(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "is_reachable", None)
    description = "api-rest 0.1.0-dev.26+cd38d5a, platform-chart 0.1.0-dev.30+0123456"
    deployed = inventory.read_deployed(
        declaration, target(("platform-0.1.0", B), ("platform-0.1.0", A, description))
    )
    assert deployed
    assert (deployed.revision.number, deployed.images) == (
        2,
        {"api-rest": ("localhost:5001/api-rest", A)},
    )
    assert deployed.contents == Contents(
        versions={"api-rest": "0.1.0-dev.26+cd38d5a", "platform-chart": "0.1.0-dev.30+0123456"},
        digests={"api-rest": A},
    )


@pytest.mark.parametrize(
    ("environment", "versions", "expected"),
    [
        ("production", [("1.0.0", "release"), ("1.0.0-rc.1", "candidate")], "1.0.0"),
        ("staging", [("1.0.0", "release"), ("1.0.0-rc.1", "candidate")], "1.0.0-rc.1"),
        ("staging", [("1.0.0", "release")], "1.0.0"),
        ("production", [("1.0.0-rc.1", "candidate")], None),
        ("staging", [("1.1.0", "release")], None),
        ("staging", [], None),
    ],
)
def test_a_revision_without_versions_is_the_allowed_release_of_the_same_bytes(
    declaration: Declaration,
    published: list[Release],
    environment: str,
    versions: Sequence[tuple[str, str]],
    expected: str | None,
) -> None:
    published += [release(version, A, line) for version, line in versions]
    deployed = look(declaration, ("platform-1.0.0", A), environment=environment)
    by_digest = {"api-rest": "sha256:aaaaaaaaaaaa", "platform-chart": "1.0.0"}
    named = {"api-rest": f"{expected}-app", "platform-chart": expected}
    assert deployed.versions == (named if expected else by_digest)
    assert deployed.digests["api-rest"] == A


@pytest.mark.parametrize(("chart", "version"), [("platform-1.0.0", "1.0.0"), ("other", "other")])
def test_without_a_registry_images_are_named_by_their_digests(
    declaration: Declaration, chart: str, version: str
) -> None:
    versions = {"api-rest": "sha256:aaaaaaaaaaaa", "platform-chart": version}
    assert look(declaration, (chart, A)).versions == versions


@pytest.mark.parametrize("description", ["", "api-rest 1.0.0-app, platform-chart 1.0.0"])
def test_a_revision_is_named_without_a_component_that_was_added_later(
    declaration: Declaration, published: list[Release], description: str
) -> None:
    published += [] if description else [release("1.0.0")]
    more = {**declaration.images, "greeter": declaration.images["api-rest"]}
    later = declaration.model_copy(update={"images": more})
    deployed = look(later, ("platform-1.0.0", A, description))
    assert deployed.versions == {"api-rest": "1.0.0-app", "platform-chart": "1.0.0"}
    assert deployed.digests["api-rest"] == A
