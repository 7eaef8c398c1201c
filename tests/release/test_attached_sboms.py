"""The SBOM of an image is made from its layers, and attached once."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import attached_sboms, sbom
from delivery.release.sbom import Image
from tests.registries import FakeRegistry, serving, write_layout

RECORD = b"Metadata-Version: 2.4\nName: bottle\nVersion: 0.13.4\n"


def image_layer() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        member = tarfile.TarInfo("usr/lib/python3/dist-packages/bottle-0.13.4.dist-info/METADATA")
        member.size = len(RECORD)
        tar.addfile(member, io.BytesIO(RECORD))
    return made.getvalue()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    write_layout(tmp_path, image_layer())
    return tmp_path


@pytest.fixture
def pushed(layout: Path) -> Iterator[tuple[Registry, Image]]:
    """A registry with the image pushed to it."""
    with serving(FakeRegistry()) as (address, _):
        registry, repository = Registry(address), f"{address}/api-rest"
        digest = registry.push_layout(layout, repository, "k", lambda _line: None)
        yield registry, Image("api-rest", "1.2.0", repository, digest)


def test_the_sbom_of_an_image_is_attached_to_it(
    pushed: tuple[Registry, Image], layout: Path
) -> None:
    registry, image = pushed
    assert attached_sboms.reference(registry, image.repository, image.digest) == ""
    made = attached_sboms.attach(registry, image, layout)
    assert (
        attached_sboms.reference(registry, image.repository, image.digest)
        == f"{image.repository}@{made}"
    )
    (referrer,) = registry.referrers(image.repository, image.digest)
    assert (referrer.digest, referrer.artifact_type) == (made, "application/vnd.cyclonedx+json")
    text = attached_sboms.read(registry, image.repository, image.digest)
    assert text == attached_sboms.make(registry, image)
    assert [package.purl for package in sbom.parse(text)] == ["pkg:pypi/bottle@0.13.4"]
    assert json.loads(text)["metadata"]["component"]["version"] == "1.2.0"


def test_with_a_layout_no_layer_is_downloaded(layout: Path) -> None:
    with serving(FakeRegistry()) as (address, seen):
        registry, repository = Registry(address), f"{address}/api-rest"
        digest = registry.push_layout(layout, repository, "k", lambda _line: None)
        image = Image("api-rest", "1.2.0", repository, digest)
        seen.clear()
        attached_sboms.make(registry, image, layout)
        assert seen == []
        attached_sboms.make(registry, image)
        assert [line for line in seen if "/blobs/" in line]


def test_the_same_sbom_is_attached_once_under_a_predictable_digest(
    pushed: tuple[Registry, Image], layout: Path
) -> None:
    registry, image = pushed
    first = registry.artifact_digest(
        image.repository, attached_sboms.artifact(registry, image, layout)
    )
    assert attached_sboms.reference(registry, image.repository, image.digest) == ""
    assert attached_sboms.attach(registry, image, layout) == first
    assert attached_sboms.attach(registry, image, None) == first
    assert len(registry.referrers(image.repository, image.digest)) == 1


def test_other_attached_artifacts_are_not_sboms(pushed: tuple[Registry, Image]) -> None:
    registry, image = pushed
    other = registry.push_artifact(
        image.repository, Artifact("text/plain", [Blob("text/plain", b"x")], subject=image.digest)
    )
    assert attached_sboms.read(registry, image.repository, image.digest) == ""
    assert attached_sboms.attach(registry, image, None) != other
    assert attached_sboms.read(registry, image.repository, image.digest)


def test_of_several_sboms_every_run_takes_the_same(
    pushed: tuple[Registry, Image],
) -> None:
    registry, image = pushed
    digests = [
        registry.push_artifact(
            image.repository,
            Artifact(sbom.MEDIA_TYPE, [Blob(sbom.MEDIA_TYPE, content)], subject=image.digest),
        )
        for content in (b"1", b"2", b"3")
    ]
    assert (
        attached_sboms.reference(registry, image.repository, image.digest)
        == f"{image.repository}@{min(digests)}"
    )
    assert (
        attached_sboms.read(registry, image.repository, image.digest).encode()
        == [b"1", b"2", b"3"][digests.index(min(digests))]
    )
