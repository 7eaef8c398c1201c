"""Two projects of different names on one engine: what one does leaves the other as it is."""

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
    """A clone whose compose file has a fixed name in it, as ours has, and a service with data."""
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
    made = Compose(engine, name, folder, (FILE,), {})
    made.up(lambda _line: None)
    try:
        yield made
    finally:
        made.down(lambda _line: None, volumes=True)


def test_one_that_is_destroyed_leaves_the_other_and_its_data(engine: Engine, folder: Path) -> None:
    names = [f"delivery-test-{word}-{uuid.uuid4().hex[:8]}" for word in ("one", "two")]
    with brought_up(engine, folder, names[0]) as one, brought_up(engine, folder, names[1]) as two:
        before = two.services(), two.volumes()
        assert before[1] == [f"{names[1]}_data"]
        one.down(lambda _line: None, volumes=True)
        assert (one.services(), one.volumes()) == ([], [])
        assert (two.services(), two.volumes()) == before


def test_a_clone_of_the_same_name_is_told_that_it_shares(
    engine: Engine, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / FILE).write_text((folder / FILE).read_text())
    name = f"delivery-test-{uuid.uuid4().hex[:8]}"
    with brought_up(engine, folder, name) as first:
        second = Compose(engine, name, other, (FILE,), {})
        assert lifecycle.shared(first) == ""
        assert str(folder) in lifecycle.shared(second)
