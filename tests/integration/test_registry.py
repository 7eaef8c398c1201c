"""Pushes to a real registry, also with faults before it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from delivery.errors import EngineError, RegistryError
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry.client import Artifact, Blob, Registry, lacks_login
from tests.integration.conftest import running_registry
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


@pytest.fixture(scope="module")
def address(engine: Engine, project: Declaration) -> Iterator[str]:
    with running_registry(engine, project, {"REGISTRY_STORAGE_DELETE_ENABLED": "true"}) as found:
        yield found


def held(address: str, repository: str, tag: str) -> str:
    """The digest that the registry itself gives for a tag."""
    answer = requests.head(
        f"http://{address}/v2/{repository}/manifests/{tag}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        timeout=10,
    )
    return answer.headers["Docker-Content-Digest"]


# What a registry keeps of a request that was cut off is its own: faults without that are proved in tests/registry.
@pytest.mark.parametrize(
    "fault",
    [
        failing(2, "PUT", "/uploads/", (503, {}, b"come back later")),
        failing(2, "PUT", "/uploads/", Break("request")),
        failing(2, "PUT", "/uploads/", Break("answer")),
        failing(2, "PUT", "/manifests/", Break("request")),
        failing(2, "PUT", "/uploads/", Break("stall", 1.0)),
    ],
    ids=["503-upload", "reset-in-upload", "reset-after-upload", "reset-in-manifest", "slow-upload"],
)
def test_what_passes_is_waited_out(address: str, tmp_path: Path, fault: Fault, request: pytest.FixtureRequest) -> None:
    built = write_layout(tmp_path, request.node.name.encode() * 5000)
    with serving(forward_to(f"http://{address}"), fault) as (proxy, _):
        client = Registry(proxy, pause=no_pause, timeout=(5, 0.5))
        assert client.push_layout(tmp_path, f"{proxy}/drill", "k1", no_line) == built
    assert held(address, "drill", "k1") == built


def test_a_registry_that_wants_a_login_gets_one(locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = write_layout(tmp_path)
    with pytest.raises(RegistryError, match="the registry answered 401"):
        Registry(locked).push_layout(tmp_path, f"{locked}/app", "k1", no_line)
    assert lacks_login(locked)
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")
    assert Registry(locked).push_layout(tmp_path, f"{locked}/app", "k1", no_line) == built


def test_an_engine_pushes_and_pulls_with_the_login_it_is_given(
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


def test_artefacts_are_attached_found_and_fetched(address: str, tmp_path: Path) -> None:
    image = write_layout(tmp_path)
    client, app = Registry(address), f"{address}/attached"
    client.push_layout(tmp_path, app, "k1", no_line)
    assert client.referrers(app, image) == []
    pushed = [
        client.push_artifact(app, Artifact(f"text/{kind}", [Blob("text/plain", kind.encode())], subject=image))
        for kind in ("sbom", "signature", "sbom")
    ]
    assert pushed[0] == pushed[2]
    assert [(one.digest, one.artifact_type) for one in client.referrers(app, image)] == [
        (pushed[0], "text/sbom"),
        (pushed[1], "text/signature"),
    ]
    sbom = client.fetch(app, pushed[0])
    assert sbom
    assert client.blob(app, sbom.manifest["layers"][0]["digest"]) == b"sbom"


def test_what_is_deleted_is_gone_with_its_tags_and_can_be_pushed_again(address: str, tmp_path: Path) -> None:
    image = write_layout(tmp_path)
    client, app = Registry(address), f"{address}/deleted"
    for _ in range(2):
        client.push_layout(tmp_path, app, "k1", no_line)
        client.put_tag(app, "1.0.0", image)
        client.delete(app, image)
        assert client.tags(app) == []
        assert client.fetch(app, image) is None
    client.delete(app, image)


def test_blobs_are_taken_over_from_a_sibling(address: str, tmp_path: Path) -> None:
    image = write_layout(tmp_path, b"base" * 10_000)
    client = Registry(address)
    client.push_layout(tmp_path, f"{address}/sibling", "k1", no_line)
    sent = client.sent
    mount_from = [f"{address}/nothing", f"{address}/sibling"]
    assert client.push_layout(tmp_path, f"{address}/taker", "k1", no_line, mount_from=mount_from) == image
    assert client.sent - sent < 1000
    assert client.blob(f"{address}/taker", sha256(b"base" * 10_000)) == b"base" * 10_000
