"""The SBOM of an image is made from its layers, and attached once."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from delivery.registry import layers
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import attached_sboms, sbom
from delivery.release.sbom import Image
from tests.registries import FakeRegistry, no_line, serving, write_index, write_layout

RECORD = "Metadata-Version: 2.4\nName: {name}\nVersion: 0.13.4\n"


def image_layer(name: str = "bottle") -> bytes:
    made, record = io.BytesIO(), RECORD.format(name=name).encode()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        path = f"usr/lib/python3/dist-packages/{name}-0.13.4.dist-info/METADATA"
        member = tarfile.TarInfo(path)
        member.size = len(record)
        tar.addfile(member, io.BytesIO(record))
    return made.getvalue()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    write_layout(tmp_path, image_layer())
    return tmp_path


@pytest.fixture
def image(registry: Registry, layout: Path) -> Image:
    """The image, pushed to the registry."""
    repository = f"{registry.address}/api-rest"
    digest = registry.push_layout(layout, repository, "k", no_line)
    return Image("api-rest", "1.2.0", repository, digest)


def test_the_sbom_of_an_image_is_attached_to_it(
    registry: Registry, image: Image, layout: Path
) -> None:
    assert attached_sboms.reference(registry, image.repository, image.digest) == ""
    made = attached_sboms.attach(registry, image, layout)
    assert (
        attached_sboms.reference(registry, image.repository, image.digest)
        == f"{image.repository}@{made}"
    )
    cyclonedx = "application/vnd.cyclonedx+json"
    assert registry.referrers(image.repository, image.digest, cyclonedx) == [made]
    text = attached_sboms.read(registry, image.repository, image.digest)
    assert text == attached_sboms.make(registry, image)
    assert [package.purl for package in sbom.parse(text)] == ["pkg:pypi/bottle@0.13.4"]
    assert json.loads(text)["metadata"]["component"]["version"] == "1.2.0"


def test_with_a_layout_no_layer_is_downloaded(
    layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(FakeRegistry()) as (address, seen):
        registry, repository = Registry(address), f"{address}/api-rest"
        digest = registry.push_layout(layout, repository, "k", no_line)
        image = Image("api-rest", "1.2.0", repository, digest)
        seen.clear()
        attached_sboms.make(registry, image, layout)
        assert seen == []
        monkeypatch.setattr(attached_sboms, "_RECORDS", layers.Reader(sbom.is_record))
        attached_sboms.make(registry, image)
        assert [line for line in seen if "/blobs/" in line]


def test_the_same_sbom_is_attached_once_under_a_predictable_digest(
    registry: Registry, image: Image, layout: Path
) -> None:
    first = registry.artifact_digest(
        image.repository, attached_sboms.artifact(registry, image, layout)
    )
    assert attached_sboms.reference(registry, image.repository, image.digest) == ""
    assert attached_sboms.attach(registry, image, layout) == first
    assert attached_sboms.attach(registry, image, None) == first
    assert len(registry.referrers(image.repository, image.digest)) == 1


def test_other_attached_artifacts_are_not_sboms(registry: Registry, image: Image) -> None:
    other = registry.push_artifact(
        image.repository, Artifact("text/plain", [Blob("text/plain", b"x")], subject=image.digest)
    )
    assert attached_sboms.read(registry, image.repository, image.digest) == ""
    assert attached_sboms.attach(registry, image, None) != other
    assert attached_sboms.read(registry, image.repository, image.digest)


def test_of_several_sboms_every_run_takes_the_same(registry: Registry, image: Image) -> None:
    texts = {}
    for text in ("1", "2", "3"):
        artifact = attached_sboms.document(image, sbom.MEDIA_TYPE, "title", text)
        texts[registry.push_artifact(image.repository, artifact)] = text
    reference = attached_sboms.reference(registry, image.repository, image.digest)
    assert reference == f"{image.repository}@{min(texts)}"
    assert attached_sboms.read(registry, image.repository, image.digest) == texts[min(texts)]


def purls(text: str) -> list[str]:
    return [package.purl for package in sbom.parse(text)]


@pytest.mark.parametrize("with_layout", [True, False])
def test_each_platform_of_an_index_has_an_sbom_of_its_own(
    registry: Registry, tmp_path: Path, *, with_layout: bool
) -> None:
    parts = {"linux/amd64": image_layer("bottle"), "linux/arm64": image_layer("kettle")}
    digest = write_index(tmp_path, parts)
    layout = tmp_path if with_layout else None
    repository = f"{registry.address}/api-rest"
    registry.push_layout(tmp_path, repository, "k", no_line)
    index = Image("api-rest", "1.2.0", repository, digest)
    images = attached_sboms.by_platform(registry, index, layout)
    for image in images.values():
        attached_sboms.attach(registry, image, layout)
    texts = {
        platform: attached_sboms.read(registry, repository, image.digest)
        for platform, image in images.items()
    }
    assert attached_sboms.read(registry, repository, digest) == ""
    whole = attached_sboms.make(registry, index, layout)
    assert {platform: purls(text) for platform, text in texts.items()} == {
        "linux/amd64": ["pkg:pypi/bottle@0.13.4"],
        "linux/arm64": ["pkg:pypi/kettle@0.13.4"],
    }
    for platform, image in images.items():
        assert json.loads(texts[platform])["metadata"]["component"]["bom-ref"] == image.digest
    assert purls(whole) == ["pkg:pypi/bottle@0.13.4", "pkg:pypi/kettle@0.13.4"]


def test_an_image_for_a_single_platform_is_its_own(registry: Registry, image: Image) -> None:
    assert attached_sboms.by_platform(registry, image) == {"": image}
