"""Pushes to a real registry, also with faults in front of it."""

from pathlib import Path

import pytest

from delivery.errors import EngineError, RegistryError
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry.client import Artifact, Blob, Registry
from tests.registries import (
    Break,
    Fault,
    failing,
    forward_to,
    no_line,
    no_pause,
    serving,
    sha256,
    write_layout,
)

pytestmark = pytest.mark.engine


# Registries differ in what they keep of an interrupted request; tests/registry has other faults.
@pytest.mark.parametrize(
    "fault",
    [
        failing(2, "PUT", "/uploads/", (503, {}, b"busy")),
        failing(2, "PUT", "/uploads/", Break("request")),
        failing(2, "PUT", "/uploads/", Break("answer")),
        failing(2, "PUT", "/manifests/", Break("request")),
        failing(2, "PUT", "/uploads/", Break("stall", 1.0)),
    ],
    ids=["503-upload", "reset-in-upload", "reset-after-upload", "reset-in-manifest", "slow-upload"],
)
def test_a_temporary_failure_is_retried(
    address: str, tmp_path: Path, fault: Fault, request: pytest.FixtureRequest
) -> None:
    built = write_layout(tmp_path, request.node.name.encode() * 5000)
    with serving(forward_to(f"http://{address}"), fault) as (proxy, _):
        client = Registry(proxy, pause=no_pause, timeout=(5, 0.5))
        assert client.push_layout(tmp_path, f"{proxy}/retried", "k1", no_line) == built
    assert Registry(address).digest(f"{address}/retried", "k1") == built


def test_an_engine_pushes_and_pulls_with_a_login(
    engine: Engine, project: Declaration, locked: str
) -> None:
    reference = f"{locked}/with-login:k1"
    engine.client.images.get(project.upstream["registry"].image).tag(reference)
    try:
        with pytest.raises(RegistryError, match=f"push {reference}: "):
            engine.push(reference, no_line)
        digest = engine.push(reference, no_line, login=("me", "secret"))
    finally:
        engine.client.images.remove(reference)
    pinned = f"{locked}/with-login@{digest}"
    with pytest.raises((RegistryError, EngineError), match=f"pull {pinned}: "):
        engine.pull(pinned, no_line)
    engine.pull(pinned, no_line, login=("me", "secret"))
    engine.client.images.remove(pinned)


def test_artifacts_are_attached_listed_and_fetched(address: str, tmp_path: Path) -> None:
    image = write_layout(tmp_path)
    client, app = Registry(address), f"{address}/attached"
    client.push_layout(tmp_path, app, "k1", no_line)
    assert client.referrers(app, image) == []
    pushed = [
        client.push_artifact(
            app, Artifact(f"text/{kind}", [Blob("text/plain", kind.encode())], subject=image)
        )
        for kind in ("sbom", "signature", "sbom")
    ]
    assert pushed[0] == pushed[2]
    assert client.referrers(app, image) == pushed[:2]
    assert client.referrers(app, image, "text/signature") == [pushed[1]]
    sbom = client.fetch(app, pushed[0])
    assert sbom
    assert client.blob(app, sbom.manifest["layers"][0]["digest"]) == b"sbom"


def test_a_deleted_manifest_loses_its_tags_and_can_be_pushed_again(
    address: str, tmp_path: Path
) -> None:
    image = write_layout(tmp_path)
    client, app = Registry(address), f"{address}/deleted"
    for _ in range(2):
        client.push_layout(tmp_path, app, "k1", no_line)
        client.put_tag(app, "1.0.0", image)
        client.delete(app, image)
        assert client.tags(app) == []
        assert client.fetch(app, image) is None
    client.delete(app, image)


def test_blobs_are_mounted_from_a_sibling(address: str, tmp_path: Path) -> None:
    image = write_layout(tmp_path, b"base" * 10_000)
    client, lines = Registry(address), list[str]()
    client.push_layout(tmp_path, f"{address}/sibling", "k1", no_line)
    siblings, other = [f"{address}/nothing", f"{address}/sibling"], f"{address}/other"
    pushed = client.push_layout(tmp_path, other, "k1", lines.append, mount_from=siblings)
    assert pushed == image
    assert [line.partition(" from ")[2] for line in lines] == [f"{address}/sibling"] * 2
    assert client.blob(other, sha256(b"base" * 10_000)) == b"base" * 10_000
