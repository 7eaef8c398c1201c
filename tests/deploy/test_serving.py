"""Which versions serve, as far as it can be told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from delivery.deploy import serving
from delivery.deploy.deployment import Revision, describe
from delivery.deploy.upgrade import Target
from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration, Environment
from delivery.records import recorder
from delivery.release import catalog
from delivery.release.contents import Contents
from delivery.release.released import Release, ReleasedChart, ReleasedImage

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def release(version: str, digest: str = A, line: str = "release") -> Release:
    return Release(
        {"api-rest": ReleasedImage("localhost:5001/api-rest", "k", digest, f"{version}-app")},
        version,
        ReleasedChart("localhost:5001/platform-chart", "k", B, version),
        line,
    )


class House:
    """Helm with a history: chart and image of each revision, and what it says that it is made of."""

    def __init__(self, *revisions: tuple[str, ...]) -> None:
        self.revisions = revisions

    def history(self, _release: str) -> tuple[Revision, ...]:
        last = len(self.revisions)
        return tuple(
            Revision(number, "deployed" if number == last else "superseded", datetime.now(UTC), chart, "".join(said))
            for number, (chart, _, *said) in enumerate(self.revisions, start=1)
        )

    def values(self, _release: str, revision: int) -> dict[str, Any]:
        return {
            "components": {
                "api-rest": {
                    "image": {"repository": "localhost:5001/api-rest", "digest": self.revisions[revision - 1][1]}
                }
            }
        }


def place(*revisions: tuple[str, ...], environment: str = "staging") -> Target:
    declared = Environment(contexts=("staging",), namespace="platform", values="v")
    return Target(environment, declared, cast("Any", House(*revisions)), cast("Any", None))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Release]:
    """What the registry holds, newest first."""
    found: list[Release] = []
    monkeypatch.setattr(serving, "answers", lambda _address: True)
    monkeypatch.setattr(catalog, "known", lambda _registry: [one.version for one in found])
    monkeypatch.setattr(
        catalog, "find", lambda _registry, version: next(one for one in found if one.version == version)
    )
    return found


@pytest.fixture(autouse=True)
def decided(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What git says of the versions to come."""
    found = {"api-rest": "0.1.0-dev.26", "platform-chart": "0.1.0-dev.30"}
    monkeypatch.setattr(recorder, "decided", lambda _declaration: found)
    return found


def test_a_release_says_its_versions_and_digests(declaration: Declaration) -> None:
    expected = Contents({"api-rest": "1.0.0-app", "platform-chart": "1.0.0"}, {"api-rest": A, "platform-chart": B})
    assert serving.contents(declaration, release("1.0.0")) == expected


@pytest.fixture
def clone(house: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(serving, "ROOT", house)
    return house


def unreleased(key: str = "cd38d5a" + "0" * 25, digest: str = A) -> Release:
    return Release({"api-rest": ReleasedImage("localhost:5001/api-rest", key, digest)})


def test_what_is_no_release_is_named_by_the_version_to_come_and_its_bytes(
    declaration: Declaration, clone: Path, decided: dict[str, str]
) -> None:
    found = serving.contents(declaration, unreleased())
    assert found.versions["api-rest"] == "0.1.0-dev.26+cd38d5a"
    assert found.digests["api-rest"] == A
    chart = found.versions["platform-chart"]
    assert chart == f"0.1.0-dev.30+{found.digests['platform-chart'][:7]}"
    assert serving.contents(declaration, unreleased("0" * 32, B)).versions["platform-chart"] == chart
    (clone / "platform-chart" / "values.yaml").write_text("more: true\n")
    assert serving.contents(declaration, unreleased()).versions["platform-chart"] != chart
    decided.clear()  # no git
    assert serving.contents(declaration, unreleased()).versions["api-rest"] == "cd38d5a"


@pytest.mark.usefixtures("clone")
def test_what_runs_already_keeps_its_name(declaration: Declaration, decided: dict[str, str]) -> None:
    before = serving.contents(declaration, unreleased())
    decided |= {"api-rest": "0.1.0-dev.27", "platform-chart": "0.1.0-dev.31"}
    assert serving.contents(declaration, unreleased(), before) == before
    other = serving.contents(declaration, unreleased("0" * 32, B), before)
    assert other.versions["api-rest"] == "0.1.0-dev.27+0000000"
    again = replace(unreleased(), images={"api-rest": ReleasedImage("r/api-rest", "revision 3", A)})
    assert serving.contents(declaration, again, before) == before
    assert serving.contents(declaration, again).versions["api-rest"] == "sha256:aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("revision", "new", "expected"),
    [
        (("platform-1.0.0", A), release("1.0.0"), {"api-rest", "platform-chart"}),
        (("platform-1.0.0", A), release("1.1.0"), {"api-rest"}),
        (("platform-1.0.0", A), release("1.1.0", B), set()),
        (("platform-1.1.0", A), release("1.1.0-rc.2", B), {"platform-chart"}),
        (("platform", A), release("1.1.0", B), set()),
        (("platform-1.1.0", A, "api-rest 1.1.0-app, platform-chart 1.1.0-rc.1"), release("1.1.0-rc.2", B), set()),
        (
            ("platform-1.1.0", A, "api-rest 1.1.0-app, platform-chart 1.1.0-rc.2"),
            release("1.1.0-rc.2", B),
            {"platform-chart"},
        ),
    ],
)
def test_what_serves_already(
    declaration: Declaration, revision: tuple[str, ...], new: Release, expected: set[str]
) -> None:
    made, unchanged = serving.to_deploy(declaration, place(revision), release("0.9.0", A), new)
    assert made == serving.contents(declaration, new)
    assert unchanged == expected


@pytest.mark.usefixtures("clone")
def test_of_what_is_no_release_the_chart_serves_already_where_its_folder_is_the_same(
    declaration: Declaration, clone: Path
) -> None:
    made = serving.contents(declaration, unreleased())
    there = place(("platform-0.1.0", A, describe(made.versions)))
    new = unreleased("0" * 32, B)
    assert serving.to_deploy(declaration, there, unreleased(), new)[1] == {"platform-chart"}
    (clone / "platform-chart" / "values.yaml").write_text("more: true\n")
    assert serving.to_deploy(declaration, there, unreleased(), new)[1] == set()
    assert serving.to_deploy(declaration, place(("platform-0.1.0", A)), unreleased(), new)[1] == {"platform-chart"}


def test_where_nothing_serves_everything_is_new(declaration: Declaration) -> None:
    assert serving.to_deploy(declaration, place(), None, release("1.0.0"))[1] == set()


def test_a_revision_is_what_it_says_and_nobody_is_asked(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "answers", None)
    said = "api-rest 0.1.0-dev.26+cd38d5a, platform-chart 0.1.0-dev.30+0123456"
    back, served = serving.going_back(
        declaration, place(("platform-0.1.0", A, said), ("platform-0.1.0", B, said.replace("cd", "ab"))), 0
    )
    assert back == Contents(
        {"api-rest": "0.1.0-dev.26+cd38d5a", "platform-chart": "0.1.0-dev.30+0123456"}, {"api-rest": A}
    )
    assert (served.versions["api-rest"], served.digests) == ("0.1.0-dev.26+ab38d5a", {"api-rest": B})


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
    assert back.versions == (named if expected else by_digest)
    assert back.digests["api-rest"] == A
    assert served == Contents({"api-rest": "sha256:bbbbbbbbbbbb", "platform-chart": "1.1.0"}, {"api-rest": B})


def test_without_a_registry_digests_are_names(declaration: Declaration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "answers", lambda _address: False)
    back, served = serving.going_back(declaration, place(("platform-1.0.0", A), ("platform-1.1.0", B)), 1)
    assert (back.versions["api-rest"], served.versions["platform-chart"]) == ("sha256:aaaaaaaaaaaa", "1.1.0")


def test_where_there_is_nothing_to_go_back_to_it_is_an_error(declaration: Declaration) -> None:
    with pytest.raises(DeclarationError, match="there is no earlier revision"):
        serving.going_back(declaration, place(("platform-1.0.0", A)), 0)


def test_what_serves_now_is_named(declaration: Declaration, held: list[Release]) -> None:
    held.append(release("1.0.0"))
    found = serving.current(declaration, place(("platform-1.0.0", A)))
    assert found.versions == {"api-rest": "1.0.0-app", "platform-chart": "1.0.0"}
    assert serving.current(declaration, place()) == Contents({})


@pytest.mark.parametrize("said", ["", "api-rest 1.0.0-app, platform-chart 1.0.0"])
def test_a_revision_from_before_a_component_was_added_is_told_all_the_same(
    declaration: Declaration, held: list[Release], said: str
) -> None:
    held += [] if said else [release("1.0.0")]
    images = {**declaration.images, "greeter": declaration.images["api-rest"]}
    later = declaration.model_copy(update={"images": images})
    found = serving.current(later, place(("platform-1.0.0", A, said)))
    assert found.versions == {"api-rest": "1.0.0-app", "platform-chart": "1.0.0"}
    assert found.digests["api-rest"] == A
