"""Pruning a real registry frees bytes, and what is kept can be pulled."""

import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, Prune
from delivery.registry import local_registry
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import catalog
from delivery.release.released import Release, ReleasedPart
from delivery.retention import pruning
from delivery.retention.policy import PrunePlan
from tests.ports import free_port
from tests.registries import write_layout

pytestmark = pytest.mark.engine

TODAY = date(2026, 11, 21)


@pytest.fixture
def declared(
    engine: Engine, project: Declaration, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Declaration]:
    """This project with a registry of its own, started as `inv up` starts one."""
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"delivery-test-{uuid.uuid4().hex[:8]}")
    made = project.with_registry(f"localhost:{free_port()}").model_copy(
        update={"prune": Prune(develop=1, candidate=1, days=7)}
    )
    try:
        local_registry.ensure(engine, made)
        yield made
    finally:
        engine.remove(local_registry.container_name(made))
        engine.remove_volume(local_registry.container_name(made))


def publish(declaration: Declaration, registry: Registry, version: str, folder: Path) -> Release:
    """Publish a release: an image with a layer of a megabyte and an attachment, and a chart."""
    name = declaration.components()[0]
    repository, chart = (
        f"{registry.address}/{name}",
        f"{registry.address}/{declaration.chart.folder}",
    )
    write_layout(folder / version, version.encode() * 200_000)
    image = registry.push_layout(folder / version, repository, f"key-{version}", lambda _line: None)
    registry.push_artifact(
        repository, Artifact("x/sbom", [Blob("x/y", version.encode())], subject=image)
    )
    registry.put_tag(repository, version, image)
    packed = registry.push_artifact(
        chart, Artifact("x/chart", [Blob("x/y", version.encode())]), tag=version
    )
    made = Release(
        {name: ReleasedPart(repository, f"key-{version}", image, version)},
        version,
        ReleasedPart(chart, f"key-{version}", packed, version),
    )
    catalog.push(registry, made)
    return made


def volume_bytes(engine: Engine, declaration: Declaration) -> int:
    """The size of the registry's volume."""
    output = engine.execute(
        local_registry.container_name(declaration), ["du", "-s", "-k", "/var/lib/registry"]
    )
    return int(output.split()[0]) * 1024


def test_pruning_removes_old_releases_and_frees_their_bytes(
    engine: Engine, declared: Declaration, tmp_path: Path
) -> None:
    registry = Registry(declared.registry.address)
    old = publish(declared, registry, "1.0.0-dev.1", tmp_path)
    kept = [
        publish(declared, registry, version, tmp_path)
        for version in ("1.0.0-dev.2", "1.0.0-rc.1", "1.0.0")
    ]
    (image,) = old.images.values()
    write_layout(tmp_path / "pushing", b"pushing")
    pushing = registry.push_layout(
        tmp_path / "pushing", image.repository, "key-pushing", lambda _line: None
    )

    def plan(days: int = 0) -> PrunePlan:
        uses = pruning.find_uses(declared, list(declared.environments), (), tmp_path)
        return pruning.plan(declared, registry, uses, TODAY + timedelta(days=days))

    before = volume_bytes(engine, declared)
    first = plan()
    # The release, its chart, its image, what is attached to the image, and the list of that.
    assert len(first.removed) == 5
    assert pruning.prune(registry, first) == 5
    assert registry.fetch(image.repository, image.digest) is None
    assert catalog.versions(registry) == ["1.0.0", "1.0.0-rc.1", "1.0.0-dev.2"]
    for release in kept:
        (part,) = release.images.values()
        assert registry.blob(part.repository, _layer(registry, part))
        assert len(registry.referrers(part.repository, part.digest)) == 1
    assert registry.digest(image.repository, "key-pushing") == pushing
    pruning.collect_garbage(engine, declared)
    assert before - volume_bytes(engine, declared) > 2_000_000
    for release in kept:
        (part,) = release.images.values()
        assert registry.blob(part.repository, _layer(registry, part))
    assert plan(6).removed == ()
    later = plan(7)
    assert [manifest.digest for manifest in later.removed] == [pushing]
    pruning.prune(registry, later)
    assert registry.digest(image.repository, "key-pushing") == ""


def _layer(registry: Registry, image: ReleasedPart) -> str:
    manifest = registry.fetch(image.repository, image.digest)
    assert manifest
    return str(manifest.manifest["layers"][0]["digest"])
