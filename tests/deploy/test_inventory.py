"""Which versions serve, as far as it can be told."""

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
    """Helm with a history: chart and image of each revision, and what it is described with."""

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
                )
                for number, (chart, _, *description) in enumerate(self.revisions, start=1)
            )
        )

    def values(self, revision: int) -> dict[str, Any]:
        image = {"repository": "localhost:5001/api-rest", "digest": self.revisions[revision - 1][1]}
        return {"components": {"api-rest": {"image": image}}}


def target(*revisions: tuple[str, ...], environment: str = "staging") -> Target:
    declared = Environment(contexts=("staging",), namespace="platform", values="v")
    return Target(environment, declared, cast("Any", Helm(*revisions)), cast("Any", None))


def look(
    declaration: Declaration, *revisions: tuple[str, ...], environment: str = "staging"
) -> Contents:
    """What serves, of these revisions."""
    found = inventory.look(declaration, target(*revisions, environment=environment))
    assert found
    return found.contents


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Release]:
    """What the registry holds, newest first."""
    found: list[Release] = []
    monkeypatch.setattr(inventory, "is_reachable", lambda _address: True)
    monkeypatch.setattr(catalog, "versions", lambda _registry: [one.version for one in found])
    monkeypatch.setattr(
        catalog,
        "find",
        lambda _registry, version: next(one for one in found if one.version == version),
    )
    return found


@pytest.fixture(autouse=True)
def decided(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What git says of the versions to come."""
    found = {"api-rest": "0.1.0-dev.26", "platform-chart": "0.1.0-dev.30"}
    monkeypatch.setattr(inventory, "_coming", lambda _declaration: found)
    return found


def test_a_release_says_its_versions_and_digests(declaration: Declaration) -> None:
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


def test_what_is_unreleased_is_named_by_the_version_to_come_and_its_bytes(
    declaration: Declaration, clone: Path, decided: dict[str, str]
) -> None:
    found = inventory.contents_of_clone(declaration, images())
    assert found.versions["api-rest"] == "0.1.0-dev.26+cd38d5a"
    assert found.digests["api-rest"] == A
    chart = found.versions["platform-chart"]
    assert chart == f"0.1.0-dev.30+{found.digests['platform-chart'][:7]}"
    assert (
        inventory.contents_of_clone(declaration, images("0" * 32, B)).versions["platform-chart"]
        == chart
    )
    (clone / "platform-chart" / "values.yaml").write_text("more: true\n")
    assert inventory.contents_of_clone(declaration, images()).versions["platform-chart"] != chart
    decided.clear()  # no git
    assert inventory.contents_of_clone(declaration, images()).versions["api-rest"] == "cd38d5a"


@pytest.mark.usefixtures("clone")
def test_what_serves_with_the_same_bytes_keeps_its_name(
    declaration: Declaration, decided: dict[str, str]
) -> None:
    before = inventory.contents_of_clone(declaration, images())
    decided |= {"api-rest": "0.1.0-dev.27", "platform-chart": "0.1.0-dev.31"}
    assert inventory.contents_of_clone(declaration, images(), before) == before
    other = inventory.contents_of_clone(declaration, images("0" * 32, B), before)
    assert other.versions["api-rest"] == "0.1.0-dev.27+0000000"
    assert other.versions["platform-chart"] == before.versions["platform-chart"]


@pytest.mark.parametrize(
    ("revision", "new", "expected"),
    [
        (("platform-1.0.0", A), release("1.0.0"), {"api-rest", "platform-chart"}),
        (("platform-1.0.0", A), release("1.1.0"), {"api-rest"}),
        (("platform-1.0.0", A), release("1.1.0", B), set()),
        (("platform", A), release("1.1.0", B), set()),
        (
            ("platform-1.1.0", A, "api-rest 1.1.0-app, platform-chart 1.1.0-rc.1"),
            release("1.1.0-rc.2", B),
            set(),
        ),
        (
            ("platform-1.1.0", A, "api-rest 1.1.0-app, platform-chart 1.1.0-rc.2"),
            release("1.1.0-rc.2", B),
            {"platform-chart"},
        ),
    ],
)
@pytest.mark.usefixtures("held")
def test_what_serves_already_is_unchanged(
    declaration: Declaration, revision: tuple[str, ...], new: Release, expected: set[str]
) -> None:
    assert (
        inventory.contents_of_release(declaration, new).unchanged_from(look(declaration, revision))
        == expected
    )


def test_where_nothing_is_deployed_nothing_serves(declaration: Declaration) -> None:
    assert inventory.look(declaration, target()) is None


def test_a_revision_is_what_it_was_described_with_and_nobody_is_asked(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "is_reachable", None)
    description = "api-rest 0.1.0-dev.26+cd38d5a, platform-chart 0.1.0-dev.30+0123456"
    found = inventory.look(
        declaration, target(("platform-0.1.0", B), ("platform-0.1.0", A, description))
    )
    assert found
    assert (found.revision.number, found.images) == (
        2,
        {"api-rest": ("localhost:5001/api-rest", A)},
    )
    assert found.contents == Contents(
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
def test_a_revision_without_a_description_is_the_release_of_the_same_bytes_that_fits_there(
    declaration: Declaration,
    held: list[Release],
    environment: str,
    versions: Sequence[tuple[str, str]],
    expected: str | None,
) -> None:
    held += [release(version, A, line) for version, line in versions]
    found = look(declaration, ("platform-1.0.0", A), environment=environment)
    by_digest = {"api-rest": "sha256:aaaaaaaaaaaa", "platform-chart": "1.0.0"}
    named = {"api-rest": f"{expected}-app", "platform-chart": expected}
    assert found.versions == (named if expected else by_digest)
    assert found.digests["api-rest"] == A


def test_without_a_registry_digests_are_names(declaration: Declaration) -> None:
    assert look(declaration, ("platform-1.0.0", A)).versions["api-rest"] == "sha256:aaaaaaaaaaaa"


@pytest.mark.parametrize("description", ["", "api-rest 1.0.0-app, platform-chart 1.0.0"])
def test_a_revision_from_before_a_component_was_added_is_known_all_the_same(
    declaration: Declaration, held: list[Release], description: str
) -> None:
    held += [] if description else [release("1.0.0")]
    more = {**declaration.images, "greeter": declaration.images["api-rest"]}
    later = declaration.model_copy(update={"images": more})
    found = look(later, ("platform-1.0.0", A, description))
    assert found.versions == {"api-rest": "1.0.0-app", "platform-chart": "1.0.0"}
    assert found.digests["api-rest"] == A
