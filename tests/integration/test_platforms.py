"""A release of images for two processors: indexes, signed, and built on by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery import machine
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry.client import Manifest, Registry
from delivery.release import cosign, sbom, signing
from tests.integration import small
from tests.integration.conftest import running_registry
from tests.integration.small import Small

pytestmark = pytest.mark.engine

PLATFORMS = ["linux/amd64", "linux/arm64"]
PASSWORD = "of this test"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a signing key."""
    programs.ensure("cosign")
    folder = tmp_path_factory.mktemp("signing") / "keys"
    signing.key_pair(folder, PASSWORD)
    return folder


def push(clone: Small, key: Path, *more: str) -> str:
    """Push with the signing key; the output."""
    environment = {cosign.KEY: str(key / "cosign.key"), cosign.PASSWORD: PASSWORD}
    return clone.succeed("push", *more, environment=environment)


@pytest.fixture(scope="module")
def published(
    engine: Engine, project: Declaration, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Small]:
    """The small project with two platforms and a public key, pushed and signed."""
    if not engine.oci_layouts:
        pytest.skip("the engine has no containerd image store, which keeps several platforms")
    folder = tmp_path_factory.mktemp("platforms")
    with running_registry(engine, project) as address:
        clone = small.make(folder / "small", address)
        file = clone.folder / "delivery.toml"
        platforms = f"[build]\nplatforms = {json.dumps(PLATFORMS)}\n"
        file.write_text(file.read_text().replace("[build]\n", platforms))
        clone.require_signatures(key / "cosign.pub")
        push(clone, key)
        yield clone


def manifest(image: dict[str, str], digest: str = "") -> Manifest:
    """The manifest of a released image, or of one of its members."""
    repository = image["repository"]
    found = Registry(repository).fetch(repository, digest or image["digest"])
    assert found is not None
    return found


def test_a_published_image_is_an_index_with_an_sbom_for_each_platform(published: Small) -> None:
    registry = Registry(published.registry)
    for image in published.released()["images"].values():
        index = manifest(image)
        assert list(index.platforms) == PLATFORMS
        for digest in index.platforms.values():
            (attached,) = registry.referrers(image["repository"], digest)
            assert [attached] == registry.referrers(image["repository"], digest, sbom.MEDIA_TYPE)


def test_indexes_and_their_members_are_signed_and_a_second_push_does_nothing(
    published: Small, key: Path
) -> None:
    printed = push(published, key, "signing.verify")
    assert "is published already, and the same" in printed
    # Three indexes, each of two images with an SBOM; the chart and the release.
    assert "signatures: 17 good" in printed
    assert "provenance: 3 built by ci" in printed


def test_this_machine_takes_its_own_image_out_of_the_index(
    published: Small, tmp_path: Path
) -> None:
    clone = published.clone(tmp_path / "clone")
    printed = clone.succeed("images.ensure", environment={"DELIVERY_ECHO": "1"})
    assert "docker buildx bake" not in printed
    own = clone.released()["images"]
    for name, image in published.released()["images"].items():
        assert own[name]["digest"] == manifest(image).platforms[machine.platform()]


def test_an_app_is_built_on_each_platform_of_its_base_and_again_to_be_signed(
    published: Small, key: Path, tmp_path: Path
) -> None:
    clone = published.clone(tmp_path / "clone")
    clone.commit("fix(apps): a file", {"api-rest/file": "another"})
    clone.succeed("push")
    images = clone.released()["images"]
    assert images["base-image"] == published.released()["images"]["base-image"]
    base, app = images["base-image"], images["api-rest"]
    for platform in PLATFORMS:
        below, above = (
            manifest(image, manifest(image).platforms[platform]).manifest["layers"]
            for image in (base, app)
        )
        assert [layer["digest"] for layer in above][:-1] == [layer["digest"] for layer in below]
    # Anyone may have pushed it: with the key it is built again, and has the same digest.
    printed = push(clone.clone(tmp_path / "ci"), key, "signing.verify")
    assert "build again api-rest: in the registry" in printed
    assert "signatures: 17 good" in printed
