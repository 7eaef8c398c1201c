"""A chart is packaged reproducibly, and read back from a registry unchanged."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project.keys import File
from delivery.registry.client import Artifact, Registry
from delivery.release import chart_package

METADATA = "apiVersion: v2\nname: platform\nversion: 1.2.0\n"
FILES = [
    File("values.yaml", "644", ""),
    File("Chart.yaml", "644", ""),
    File("templates/a.yaml", "644", ""),
]
EPOCH = 1767225600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    for file, text in (
        ("Chart.yaml", METADATA),
        ("values.yaml", "a: 1\n"),
        ("templates/a.yaml", "kind: A\n"),
    ):
        (tmp_path / file).write_text(text)
    return tmp_path


def test_the_same_files_give_the_same_bytes(folder: Path) -> None:
    first = chart_package.package(folder, FILES, {}, epoch=EPOCH)
    os.utime(folder / "values.yaml", (1, 1))
    (folder / "values.yaml").chmod(0o600)
    assert chart_package.package(folder, FILES[::-1], {}, epoch=EPOCH) == first
    assert chart_package.package(folder, FILES, {}, epoch=EPOCH + 1) != first


def test_a_package_has_the_files_under_the_charts_name_with_replaced_texts(folder: Path) -> None:
    packed = chart_package.package(folder, FILES, {"values.yaml": "a: 2\n"}, epoch=EPOCH)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert tar.getnames() == [
            "platform/Chart.yaml",
            "platform/templates/a.yaml",
            "platform/values.yaml",
        ]
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(EPOCH, 0, 0o644)}
    assert int.from_bytes(packed[4:8], "little") == EPOCH  # of the compressed stream
    assert chart_package.read_file(packed, "values.yaml") == "a: 2\n"
    assert chart_package.read_file(packed, "templates/a.yaml") == "kind: A\n"
    assert chart_package.read_file(packed, "values-local.yaml") is None


@pytest.fixture
def repository(registry: Registry) -> str:
    return f"{registry.address}/platform-chart"


def test_a_chart_is_read_back_from_a_registry(
    folder: Path, registry: Registry, repository: str
) -> None:
    packed = chart_package.package(folder, FILES, {}, epoch=EPOCH)
    digest = chart_package.push(registry, repository, "k1", packed)
    assert chart_package.push(registry, repository, "k2", packed) == digest
    assert registry.digest(repository, "k1") == digest
    assert chart_package.fetch(registry, repository, digest) == packed
    stored = registry.fetch(repository, digest)
    assert stored
    config = registry.blob(repository, stored.manifest["config"]["digest"])
    assert config == b'{"apiVersion":"v2","name":"platform","version":"1.2.0"}'
    # Of other images, under the same key.
    other = chart_package.package(folder, FILES, {"values.yaml": "a: 2\n"}, epoch=EPOCH)
    replaced = chart_package.push(registry, repository, "k1", other)
    assert digest != replaced == registry.digest(repository, "k1")


def test_an_invalid_chart_is_an_error(registry: Registry, repository: str) -> None:
    other = registry.push_artifact(repository, Artifact("text/plain", []))
    with pytest.raises(DeclarationError, match="it is not a chart"):
        chart_package.fetch(registry, repository, other)
    with pytest.raises(DeclarationError, match="the registry does not hold it"):
        chart_package.fetch(registry, repository, "sha256:" + "0" * 64)
    for packed in (b"no archive", gzip.compress(b"no tar"), gzip.compress(b"cut off")[:-9]):
        message = r"cannot read values\.yaml of a chart: it is not a chart"
        with pytest.raises(DeclarationError, match=message):
            chart_package.read_file(packed, "values.yaml")


@pytest.mark.parametrize("text", ["a: [", "version: 1.0.0", "- a"])
def test_a_chart_without_name_or_version_is_an_error(folder: Path, text: str) -> None:
    with pytest.raises(DeclarationError, match=r"cannot read the chart's Chart\.yaml"):
        chart_package.package(folder, FILES, {"Chart.yaml": text}, epoch=EPOCH)
