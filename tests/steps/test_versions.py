"""What can be deployed is what the registry holds of every component, and this clone's sources."""

import subprocess
from pathlib import Path
from typing import cast

import pytest

from delivery.core.declaration import Declaration
from delivery.core.errors import DeclarationError
from delivery.steps import versions
from delivery.tools.registry import Registry


class Held:
    """A registry that holds these: "name:tag"."""

    def __init__(self, *held: str) -> None:
        self.held = held
        self.address = "localhost:5001"

    def digest(self, repository: str, reference: str) -> str:
        name = repository.removeprefix("localhost:5001/")
        return f"sha256:{name}" if f"{name}:{reference}" in self.held else ""

    def tags(self, repository: str) -> list[str]:
        name = repository.removeprefix("localhost:5001/")
        return [one.partition(":")[2] for one in self.held if one.startswith(f"{name}:")]


def registry(*held: str) -> Registry:
    return cast("Registry", Held(*held))


@pytest.fixture
def two(declaration: Declaration) -> Declaration:
    """The small declaration with a second image that runs."""
    images = {**declaration.images, "async-worker": declaration.images["api-rest"]}
    return declaration.model_copy(update={"images": images})


def test_components_are_the_images_that_no_other_stands_on(two: Declaration) -> None:
    assert versions.components(two) == ["api-rest", "async-worker"]


def test_a_version_is_every_components_image_by_digest(two: Declaration) -> None:
    release = versions.held(two, registry("api-rest:1.0.0", "async-worker:1.0.0"), "1.0.0")
    assert {name: image.pinned for name, image in release.images.items()} == {
        "api-rest": "localhost:5001/api-rest@sha256:api-rest",
        "async-worker": "localhost:5001/async-worker@sha256:async-worker",
    }


def test_one_that_is_not_whole_is_named_with_those_that_are(two: Declaration) -> None:
    held = registry("api-rest:1.0.0", "async-worker:1.0.0", "api-rest:1.1.0")
    with pytest.raises(
        DeclarationError, match=r"version 1\.1\.0: localhost:5001 holds no async-worker of it"
    ) as caught:
        versions.held(two, held, "1.1.0")
    assert "every component of: 1.0.0;" in caught.value.hint


def test_where_there_is_none_yet_the_error_says_so(two: Declaration) -> None:
    with pytest.raises(DeclarationError) as caught:
        versions.held(two, registry(), "1.0.0")
    assert "no version yet" in caught.value.hint


@pytest.mark.parametrize("version", ["1/2", "a:b", "", "-x", "sha256:12"])
def test_what_cannot_be_a_tag_is_not_asked_for(two: Declaration, version: str) -> None:
    with pytest.raises(DeclarationError, match="that cannot be a tag"):
        versions.held(two, registry(), version)


def test_sources_that_no_commit_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(DeclarationError, match="to production: git does not know"):
        versions.refuse_changes("production", tmp_path)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    versions.refuse_changes("production", tmp_path)
    for name in "abcd":
        (tmp_path / name).touch()
    with pytest.raises(DeclarationError, match=r"to production: 4 files are not committed \(a, b, c, …\)"):
        versions.refuse_changes("production", tmp_path)
