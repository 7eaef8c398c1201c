"""The real engine: what is not ours stays, and what a registry gives is pulled."""

import tarfile
import uuid
from pathlib import Path

import pytest
from docker.errors import NotFound

from delivery.core.declaration import Declaration, Upstream
from delivery.core.errors import EngineError, NotOursError, RegistryError
from delivery.steps import upstream as upstreams
from delivery.tools.engine import Engine
from delivery.tools.files import ROOT
from tests.integration.conftest import free_port

pytestmark = pytest.mark.engine


@pytest.fixture
def name() -> str:
    return f"delivery-test-{uuid.uuid4().hex[:8]}"


def test_a_container_that_is_not_ours_is_never_removed(engine: Engine, project: Declaration, name: str) -> None:
    theirs = engine.client.containers.create(project.upstream["debian"].image, name=name)
    try:
        with pytest.raises(NotOursError, match=f"remove the container {name}: it is not this project's"):
            engine.remove(name)
        assert engine.container(name) is not None
    finally:
        theirs.remove()


def test_a_volume_that_is_not_ours_is_never_removed(engine: Engine, name: str) -> None:
    theirs = engine.client.volumes.create(name)
    try:
        with pytest.raises(NotOursError, match=f"remove the volume {name}: it is not this project's"):
            engine.remove_volume(name)
        engine.client.volumes.get(name)
    finally:
        theirs.remove()


def test_what_is_ours_is_removed_with_its_data(engine: Engine, project: Declaration, name: str) -> None:
    engine.run(
        project.upstream["registry"].image,
        name,
        port=(5000, free_port()),
        volume=(name, "/var/lib/registry"),
        environment={},
    )
    assert engine.remove(name)
    assert engine.remove_volume(name)
    assert engine.container(name) is None
    with pytest.raises(NotFound):
        engine.client.volumes.get(name)
    assert not engine.remove(name)
    assert not engine.remove_volume(name)


def test_an_upstream_image_is_pulled_where_a_registry_gives_it(engine: Engine, project: Declaration, name: str) -> None:
    published = f"{project.registry.address}/{name}:1"
    engine.client.images.get(project.upstream["registry"].image).tag(published)
    engine.push(published, lambda _: None)
    engine.client.images.remove(published)
    upstream = Upstream.model_construct(image=published, recipe=project.upstream["registry"].recipe)
    declared = project.model_copy(update={"upstream": {**project.upstream, "published": upstream}})
    try:
        assert upstreams.ensure(engine, declared, "published", ROOT) == "pulled"
        assert engine.image_labels(published) is not None
    finally:
        engine.client.images.remove(published)


def test_an_image_that_nobody_has_cannot_be_pulled(engine: Engine, project: Declaration, name: str) -> None:
    with pytest.raises((RegistryError, EngineError), match=f"pull {project.registry.address}/{name}:1: "):
        engine.pull(f"{project.registry.address}/{name}:1", lambda _: None)


def test_a_root_file_system_becomes_an_image(engine: Engine, tmp_path: Path, name: str) -> None:
    (tmp_path / "hello").write_text("hello")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(tmp_path / "hello", "hello")
    engine.import_root(tmp_path / "root.tar", f"{name}:1", {"made-by": "test"})
    try:
        image = engine.client.images.get(f"{name}:1")
        assert image.labels == {"made-by": "test"}
        assert image.attrs["Config"]["Cmd"] == ["bash"]
    finally:
        engine.client.images.remove(f"{name}:1")
