"""Two projects of different names on one engine do not affect each other."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.platform.compose import Compose
from delivery.project.declaration import Declaration

pytestmark = pytest.mark.engine

FILE = "docker-compose.yaml"


@pytest.fixture
def folder(project: Declaration, tmp_path: Path) -> Path:
    """A clone whose compose file has a fixed name, as ours, and a service with data."""
    service = {
        "image": project.upstream["debian"].image,
        "command": ["sleep", "600"],
        "init": True,
        "volumes": ["data:/data"],
    }
    declared = {"name": "fixed", "services": {"database": service}, "volumes": {"data": {}}}
    (tmp_path / FILE).write_text(json.dumps(declared))
    return tmp_path


@contextmanager
def brought_up(engine: Engine, folder: Path, name: str) -> Iterator[Compose]:
    compose = Compose(engine, name, folder, (FILE,), {})
    compose.up(lambda _line: None)
    try:
        yield compose
    finally:
        compose.down(lambda _line: None, volumes=True)


def test_a_destroyed_project_keeps_the_other_and_its_data(engine: Engine, folder: Path) -> None:
    names = [f"delivery-test-{word}-{uuid.uuid4().hex[:8]}" for word in ("first", "second")]
    with (
        brought_up(engine, folder, names[0]) as first,
        brought_up(engine, folder, names[1]) as second,
    ):
        previous = second.services(), second.volumes()
        assert previous[1] == [f"{names[1]}_data"]
        first.down(lambda _line: None, volumes=True)
        assert (first.services(), first.volumes()) == ([], [])
        assert (second.services(), second.volumes()) == previous


def test_a_clone_of_the_same_name_is_reported_as_shared(
    engine: Engine, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / FILE).write_text((folder / FILE).read_text())
    name = f"delivery-test-{uuid.uuid4().hex[:8]}"
    with brought_up(engine, folder, name) as first:
        second = Compose(engine, name, other, (FILE,), {})
        assert lifecycle.shared_note(first) == ""
        assert str(folder) in lifecycle.shared_note(second)
