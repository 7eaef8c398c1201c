"""Which versions serve, as far as it can be told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from delivery.core.declaration import Declaration, Environment
from delivery.core.deployment import Revision
from delivery.core.errors import DeclarationError
from delivery.core.release import Release, ReleasedChart, ReleasedImage
from delivery.steps import serving
from delivery.steps import versions as releases
from delivery.steps.deploy import Target

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def release(version: str, digest: str = A, line: str = "release") -> Release:
    return Release(
        {"api-rest": ReleasedImage("localhost:5001/api-rest", "k", digest, f"{version}-app")},
        version,
        ReleasedChart("localhost:5001/platform-chart", "k", B, version),
        line,
    )


class House:
    """Helm with a history: chart and image of each revision."""

    def __init__(self, *revisions: tuple[str, str]) -> None:
        self.revisions = revisions

    def history(self, _release: str) -> tuple[Revision, ...]:
        last = len(self.revisions)
        return tuple(
            Revision(number, "deployed" if number == last else "superseded", datetime.now(UTC), chart, "")
            for number, (chart, _) in enumerate(self.revisions, start=1)
        )

    def values(self, _release: str, revision: int) -> dict[str, Any]:
        return {"components": {"api-rest": {"image": {"digest": self.revisions[revision - 1][1]}}}}


def place(*revisions: tuple[str, str], environment: str = "staging") -> Target:
    declared = Environment(contexts=("staging",), namespace="platform", values="v")
    return Target(environment, declared, cast("Any", House(*revisions)), cast("Any", None))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Release]:
    """What the registry holds, newest first."""
    found: list[Release] = []
    monkeypatch.setattr(serving, "answers", lambda _address: True)
    monkeypatch.setattr(releases, "known", lambda _registry: [one.version for one in found])
    monkeypatch.setattr(
        releases, "find", lambda _registry, version: next(one for one in found if one.version == version)
    )
    return found


def test_a_release_says_its_versions(declaration: Declaration) -> None:
    assert serving.versions(declaration, release("1.0.0")) == {"api-rest": "1.0.0-app", "platform-chart": "1.0.0"}


def test_what_is_no_release_is_named_by_its_content(
    declaration: Declaration, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "ROOT", house)
    image = ReleasedImage("localhost:5001/api-rest", "k", A)
    found = serving.versions(declaration, Release({"api-rest": image}))
    assert found["api-rest"] == "k"
    (house / "platform-chart" / "values.yaml").write_text("more: true\n")
    other = serving.versions(declaration, Release({"api-rest": replace(image, key="revision 3")}))
    assert other["api-rest"] == "sha256:aaaaaaaaaaaa"
    assert other["platform-chart"] != found["platform-chart"]


@pytest.mark.parametrize(
    ("revisions", "new", "expected"),
    [
        ([("platform-1.0.0", A)], release("1.0.0"), {"api-rest", "platform-chart"}),
        ([("platform-1.0.0", A)], release("1.1.0"), {"api-rest"}),
        ([("platform-1.0.0", A)], release("1.1.0", B), set()),
        ([("platform-1.1.0", A)], release("1.1.0-rc.2", B), {"platform-chart"}),
        ([("platform", A)], release("1.1.0", B), set()),
        ([("platform-1.0.0", A)], replace(release("1.0.0", B), chart=None), {"platform-chart"}),
    ],
)
def test_what_serves_already(
    declaration: Declaration, revisions: Sequence[tuple[str, str]], new: Release, expected: set[str]
) -> None:
    assert serving.unchanged(declaration, place(*revisions), release("0.9.0", A), new) == expected


def test_where_nothing_serves_everything_is_new(declaration: Declaration) -> None:
    assert serving.unchanged(declaration, place(), None, release("1.0.0")) == set()


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
def test_a_revision_is_the_release_of_the_same_bytes_that_fits_there(
    declaration: Declaration,
    held: list[Release],
    environment: str,
    versions: Sequence[tuple[str, str]],
    expected: str | None,
) -> None:
    held += [release(version, A, line) for version, line in versions]
    back, served = serving.going_back(
        declaration, place(("platform-1.0.0", A), ("platform-1.1.0", B), environment=environment), 0
    )
    by_digest: Mapping[str, str] = {"api-rest": "sha256:aaaaaaaaaaaa", "platform-chart": "1.0.0"}
    named = {"api-rest": f"{expected}-app", "platform-chart": expected}
    assert back == (named if expected else by_digest)
    assert served == {"api-rest": "sha256:bbbbbbbbbbbb", "platform-chart": "1.1.0"}


def test_without_a_registry_digests_are_names(declaration: Declaration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "answers", lambda _address: False)
    back, served = serving.going_back(declaration, place(("platform-1.0.0", A), ("platform-1.1.0", B)), 1)
    assert (back["api-rest"], served["platform-chart"]) == ("sha256:aaaaaaaaaaaa", "1.1.0")


def test_where_there_is_nothing_to_go_back_to_it_is_an_error(declaration: Declaration) -> None:
    with pytest.raises(DeclarationError, match="there is no earlier revision"):
        serving.going_back(declaration, place(("platform-1.0.0", A)), 0)


def test_what_serves_now_is_named(declaration: Declaration, held: list[Release]) -> None:
    held.append(release("1.0.0"))
    found = serving.current(declaration, place(("platform-1.0.0", A)))
    assert found == {"api-rest": "1.0.0-app", "platform-chart": "1.0.0"}
    assert serving.current(declaration, place()) == {}
