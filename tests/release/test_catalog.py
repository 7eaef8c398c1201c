"""What can be deployed is a release that the registry holds, whole and as it was published."""

import dataclasses
from collections.abc import Iterator

import pytest

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import catalog
from delivery.release.released import Release, ReleasedPart
from tests.registries import FakeRegistry, serving


@dataclasses.dataclass
class Place:
    """A registry with one release in it."""

    registry: Registry
    declaration: Declaration
    release: Release

    def of(self, name: str, content: str = "") -> str:
        """Have an artefact in a repository; its digest."""
        layers = [Blob("text/plain", (content or name).encode())]
        return self.registry.push_artifact(
            f"{self.registry.address}/{name}", Artifact("text/plain", layers)
        )

    def publish(self, **changes: object) -> Release:
        """Publish a release that differs in this."""
        release = dataclasses.replace(self.release, **changes)  # type: ignore[arg-type]
        catalog.push(self.registry, release)
        return release


@pytest.fixture
def place(declaration: Declaration) -> Iterator[Place]:
    with serving(FakeRegistry()) as (address, _):
        made = Place(Registry(address), declaration.with_registry(address), Release({}))
        images = {
            name: ReleasedPart(f"{address}/{name}", "k", made.of(name), "1.0.0")
            for name in ("base-image", "api-rest")
        }
        chart = ReleasedPart(f"{address}/platform-chart", "k", made.of("platform-chart"), "1.2.0")
        made.release = Release(images, "1.2.0", chart, "release", "main", "c0ffee", "me")
        catalog.push(made.registry, made.release)
        yield made


def test_a_version_is_found_as_it_was_published(place: Place) -> None:
    assert catalog.require(place.declaration, place.registry, "1.2.0") == place.release


def test_versions_are_the_releases_newest_first(place: Place) -> None:
    for version in ("1.10.0", "1.10.0-rc.9", "1.10.0-rc.10"):
        place.publish(version=version)
    repository = f"{place.registry.address}/{catalog.REPOSITORY}"
    for tag in ("prune-state", "latest", "0a1b", "1.10", "01.1.1"):
        place.registry.push_artifact(repository, Artifact("x", []), tag=tag)
    assert catalog.versions(place.registry) == ["1.10.0", "1.10.0-rc.10", "1.10.0-rc.9", "1.2.0"]
    assert catalog.newest(place.declaration) == catalog.versions(place.registry)


def test_no_version_is_offered_where_no_registry_answers(declaration: Declaration) -> None:
    assert catalog.newest(declaration.with_registry("localhost:1")) == []


def test_a_version_that_is_not_there_is_named_with_those_that_are(
    place: Place, declaration: Declaration
) -> None:
    with pytest.raises(
        DeclarationError, match=r"version 1\.3\.0: .* holds no such release"
    ) as caught:
        catalog.require(place.declaration, place.registry, "1.3.0")
    assert "it holds: 1.2.0;" in caught.value.hint
    with serving(FakeRegistry()) as (address, _), pytest.raises(DeclarationError) as caught:
        catalog.require(declaration, Registry(address), "1.0.0")
    assert "no release yet" in caught.value.hint


@pytest.mark.parametrize("version", ["1/2", "a:b", "", "-x", "sha256:12"])
def test_what_cannot_be_a_tag_is_not_asked_for(place: Place, version: str) -> None:
    with pytest.raises(DeclarationError, match="that cannot be a tag"):
        catalog.require(place.declaration, place.registry, version)


def test_what_is_no_release_of_ours_is_an_error(place: Place) -> None:
    repository = f"{place.registry.address}/{catalog.REPOSITORY}"
    place.registry.push_artifact(repository, Artifact("x", [Blob("x", b"{}")]), tag="9.9.9")
    with pytest.raises(DeclarationError, match="it is none of ours"):
        catalog.require(place.declaration, place.registry, "9.9.9")


def test_a_part_that_was_removed_is_named(place: Place) -> None:
    gone = place.release.images["api-rest"]
    place.registry.delete(gone.repository, gone.digest)
    with pytest.raises(DeclarationError, match=f"no longer holds {gone.pinned}"):
        catalog.require(place.declaration, place.registry, "1.2.0")


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"images": {}}, "api-rest"),
        ({"chart": None}, "chart"),
        ({"images": {}, "chart": None}, "api-rest, chart"),
    ],
)
def test_a_release_that_is_not_whole_is_refused(
    place: Place, changes: dict[str, object], lacks: str
) -> None:
    place.publish(version="2.0.0", **changes)
    with pytest.raises(DeclarationError, match=f"the release has no {lacks}$"):
        catalog.require(place.declaration, place.registry, "2.0.0")


def test_a_release_of_another_registry_is_refused(place: Place) -> None:
    elsewhere = dataclasses.replace(
        place.release.images["api-rest"], repository="registry.example/api-rest"
    )
    place.publish(version="2.0.0", images={"api-rest": elsewhere})
    with pytest.raises(DeclarationError, match="names what is not of localhost"):
        catalog.require(place.declaration, place.registry, "2.0.0")


def test_a_file_that_is_what_was_published_passes(place: Place) -> None:
    assert (
        catalog.check_file(place.declaration, place.registry, place.release, "release.json")
        == place.release
    )


def changed(place: Place, what: str) -> Release:
    image = place.release.images["api-rest"]
    other = {
        "digest": dataclasses.replace(image, digest=place.of("api-rest", "another")),
        "repository": dataclasses.replace(image, repository=f"{place.registry.address}/base-image"),
    }
    if what in other:
        return dataclasses.replace(
            place.release, images={**place.release.images, "api-rest": other[what]}
        )
    if what == "images alone":
        return Release(place.release.images)
    return dataclasses.replace(place.release, **{what: "1.2.1"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("digest", r"not what was published as 1\.2\.0 \(differs: api-rest\)"),
        ("repository", r"not what was published as 1\.2\.0 \(differs: its origin\)"),
        ("commit", r"not what was published as 1\.2\.0 \(differs: its origin\)"),
        ("version", r"holds no release 1\.2\.1"),
        ("images alone", "and no release"),
    ],
)
def test_a_file_that_was_changed_is_refused(place: Place, what: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        catalog.check_file(place.declaration, place.registry, changed(place, what), "release.json")


def test_all_of_a_release_is_what_is_signed(place: Place) -> None:
    pins = catalog.references(place.registry, place.release)
    names = [pin.rpartition("/")[2].partition("@")[0] for pin in pins]
    assert names == ["base-image", "api-rest", "platform-chart", "release"]
    for pin in pins:
        repository, _, digest = pin.partition("@")
        assert place.registry.digest(repository, digest) == digest
