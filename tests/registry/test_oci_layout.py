"""A layout has an image, or an index of the images of several platforms."""

import json
from pathlib import Path
from typing import Any

import pytest

from delivery.errors import RegistryError
from delivery.registry import oci_layout
from delivery.registry.oci_layout import Manifest
from tests.registries import write_index, write_layout

LAYERS = {"linux/amd64": b"1", "linux/arm64": b"2"}


def index_of(*platforms: dict[str, str] | None) -> Manifest:
    entries = [
        {"digest": f"sha256:{number}", **({"platform": platform} if platform else {})}
        for number, platform in enumerate(platforms)
    ]
    content: dict[str, Any] = {"manifests": entries}
    return Manifest("sha256:0", "", json.dumps(content).encode(), content)


def test_an_index_names_the_image_of_each_platform(tmp_path: Path) -> None:
    digest = write_index(tmp_path, LAYERS)
    index = oci_layout.read(tmp_path)
    assert (oci_layout.digest(tmp_path), index.digest) == (digest, digest)
    assert index.media_type == "application/vnd.oci.image.index.v1+json"
    assert list(index.platforms) == list(LAYERS)
    for platform, part in index.platforms.items():
        (layer,) = oci_layout.read(tmp_path, part).manifest["layers"]
        assert oci_layout.read_blob(tmp_path, layer["digest"]) == LAYERS[platform]


def test_a_single_image_names_no_platform(tmp_path: Path) -> None:
    write_layout(tmp_path)
    assert oci_layout.read(tmp_path).platforms == {}


@pytest.mark.parametrize("platform", [None, {"os": "unknown", "architecture": "unknown"}])
def test_what_is_no_image_of_a_platform_is_left_out(platform: dict[str, str] | None) -> None:
    arm = {"os": "linux", "architecture": "arm", "variant": "v7"}
    assert index_of(platform, arm).platforms == {"linux/arm/v7": "sha256:1"}


def test_a_damaged_manifest_of_a_platform_is_an_error(tmp_path: Path) -> None:
    write_index(tmp_path, LAYERS)
    part = oci_layout.read(tmp_path).platforms["linux/arm64"]
    file = oci_layout.blob_file(tmp_path, part)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(RegistryError, match=f"{part} is not its manifest"):
        oci_layout.read(tmp_path, part)
