"""A release can be deployed if the registry holds it, complete and as it was published."""

import dataclasses
from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.registry import oci_layout
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import catalog
from delivery.release.released import Release, ReleasedPart
from tests.registries import no_line, write_index


@dataclasses.dataclass
class Published:
    """A registry with one release in it."""

    registry: Registry
    declaration: Declaration
    release: Release

    def add(self, name: str, content: str = "") -> str:
        """Push an artifact to a repository; its digest."""
        layers = [Blob("text/plain", (content or name).encode())]
        return self.registry.push_artifact(
            f"{self.registry.address}/{name}", Artifact("text/plain", layers)
        )

    def publish(self, **changes: object) -> Release:
        """Publish the release with changes."""
        release = dataclasses.replace(self.release, **changes)  # type: ignore[arg-type]
        catalog.push(self.registry, release)
        return release


@pytest.fixture
def published(declaration: Declaration, registry: Registry) -> Published:
    address = registry.address
    made = Published(registry, declaration.with_registry(address), Release({}))
    images = {
        name: ReleasedPart(f"{address}/{name}", "k", made.add(name), "1.0.0")
        for name in ("base-image", "api-rest")
    }
    chart = ReleasedPart(f"{address}/platform-chart", "k", made.add("platform-chart"), "1.2.0")
    made.release = Release(images, "1.2.0", chart, "release", "main", "c0ffee", "me")
    catalog.push(registry, made.release)
    return made


def test_a_release_is_read_as_it_was_published(published: Published) -> None:
    assert catalog.require(published.declaration, published.registry, "1.2.0") == published.release


def test_versions_are_the_releases_newest_first(published: Published) -> None:
    for version in ("1.10.0", "1.10.0-rc.9", "1.10.0-rc.10"):
        published.publish(version=version)
    repository = f"{published.registry.address}/{catalog.REPOSITORY}"
    for tag in ("prune-state", "latest", "0a1b", "1.10", "01.1.1"):
        published.registry.push_artifact(repository, Artifact("x", []), tag=tag)
    assert catalog.versions(published.registry) == [
        "1.10.0",
        "1.10.0-rc.10",
        "1.10.0-rc.9",
        "1.2.0",
    ]
    assert catalog.newest(published.declaration) == catalog.versions(published.registry)
    for number in range(10):
        published.registry.push_artifact(repository, Artifact("x", []), tag=f"2.0.{number}")
    assert catalog.newest(published.declaration) == catalog.versions(published.registry)[:10]


def test_without_a_registry_there_are_no_versions(declaration: Declaration) -> None:
    assert catalog.newest(declaration.with_registry("localhost:1")) == []


def test_a_missing_version_is_an_error_with_the_existing_ones(published: Published) -> None:
    missing = r"version 1\.3\.0: .* holds no such release"
    with pytest.raises(DeclarationError, match=missing) as caught:
        catalog.require(published.declaration, published.registry, "1.3.0")
    assert "choose from 1.2.0;" in caught.value.hint


def test_without_a_release_a_missing_version_says_so(
    declaration: Declaration, registry: Registry
) -> None:
    with pytest.raises(DeclarationError) as caught:
        catalog.require(declaration, registry, "1.0.0")
    assert "none is published yet" in caught.value.hint


@pytest.mark.parametrize("version", ["1/2", "a:b", "", "-x", "sha256:12"])
def test_an_invalid_tag_is_an_error(published: Published, version: str) -> None:
    with pytest.raises(DeclarationError, match="it cannot be a tag"):
        catalog.require(published.declaration, published.registry, version)


def test_another_artifact_is_an_error(published: Published) -> None:
    repository = f"{published.registry.address}/{catalog.REPOSITORY}"
    published.registry.push_artifact(repository, Artifact("x", [Blob("x", b"{}")]), tag="9.9.9")
    with pytest.raises(DeclarationError, match="it is not a release"):
        catalog.require(published.declaration, published.registry, "9.9.9")


def test_a_removed_part_is_an_error(published: Published) -> None:
    gone = published.release.images["api-rest"]
    published.registry.delete(gone.repository, gone.digest)
    with pytest.raises(DeclarationError, match=f"no longer holds {gone.pinned}"):
        catalog.require(published.declaration, published.registry, "1.2.0")


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"images": {}}, "api-rest"),
        ({"chart": None}, "chart"),
        ({"images": {}, "chart": None}, "api-rest, chart"),
    ],
)
def test_an_incomplete_release_is_an_error(
    published: Published, changes: dict[str, object], missing: str
) -> None:
    published.publish(version="2.0.0", **changes)
    with pytest.raises(DeclarationError, match=f"the release has no {missing}$"):
        catalog.require(published.declaration, published.registry, "2.0.0")


def test_a_release_of_another_registry_is_an_error(published: Published) -> None:
    elsewhere = dataclasses.replace(
        published.release.images["api-rest"], repository="registry.example/api-rest"
    )
    published.publish(version="2.0.0", images={"api-rest": elsewhere})
    with pytest.raises(DeclarationError, match="names what is not of localhost"):
        catalog.require(published.declaration, published.registry, "2.0.0")


def check_file(published: Published, release: Release) -> Release:
    return catalog.check_file(published.declaration, published.registry, release, "release.json")


def test_an_unchanged_file_is_accepted(published: Published) -> None:
    assert check_file(published, published.release) == published.release


def changed(published: Published, what: str) -> Release:
    image = published.release.images["api-rest"]
    other = {
        "digest": published.add("api-rest", "another"),
        "repository": f"{published.registry.address}/base-image",
    }
    if what in other:
        changed = dataclasses.replace(image, **{what: other[what]})
        images = {**published.release.images, "api-rest": changed}
        return dataclasses.replace(published.release, images=images)
    if what == "images alone":
        return Release(published.release.images)
    return dataclasses.replace(published.release, **{what: "1.2.1"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("digest", r"not what was published as 1\.2\.0 \(differs: api-rest\)"),
        ("repository", r"not what was published as 1\.2\.0 \(differs: its origin\)"),
        ("commit", r"not what was published as 1\.2\.0 \(differs: its origin\)"),
        ("version", r"holds no release 1\.2\.1"),
        ("images alone", "and no release"),
    ],
)
def test_a_changed_file_is_an_error(published: Published, what: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        check_file(published, changed(published, what))


def test_the_references_are_all_that_is_signed(published: Published) -> None:
    references = catalog.references(published.registry, published.release)
    names = [reference.rpartition("/")[2].partition("@")[0] for reference in references]
    assert names == ["base-image", "api-rest", "platform-chart", "release"]
    for reference in references:
        repository, _, digest = reference.partition("@")
        assert published.registry.digest(repository, digest) == digest


def test_the_references_have_the_image_of_each_platform(
    published: Published, tmp_path: Path
) -> None:
    repository = f"{published.registry.address}/api-rest"
    digest = write_index(tmp_path, {"linux/amd64": b"1", "linux/arm64": b"2"})
    published.registry.push_layout(tmp_path, repository, "k", no_line)
    parts = oci_layout.read(tmp_path).platforms.values()
    release = dataclasses.replace(
        published.release, images={"api-rest": ReleasedPart(repository, "k", digest, "1.0.0")}
    )
    references = catalog.references(published.registry, release)
    assert references[0] == f"{repository}@{digest}"
    assert {f"{repository}@{part}" for part in parts} <= {*references}
