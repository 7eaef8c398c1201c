"""The API of a real engine: only this project's objects are removed."""

import shutil
import sys
import tarfile
import uuid
from pathlib import Path

import pytest
from docker.errors import NotFound

from delivery.errors import ForeignError
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry import local_registry
from delivery.registry.client import Registry
from tests.commands import output
from tests.ports import free_port

pytestmark = pytest.mark.engine


@pytest.fixture
def name() -> str:
    return f"delivery-test-{uuid.uuid4().hex[:8]}"


def test_foreign_containers_and_volumes_are_never_removed(
    engine: Engine, project: Declaration, name: str
) -> None:
    container = engine.client.containers.create(project.upstream["debian"].image, name=name)
    volume = engine.client.volumes.create(name)
    try:
        with pytest.raises(
            ForeignError, match=f"remove the container {name}: it is not this project's"
        ):
            engine.remove(name)
        with pytest.raises(
            ForeignError, match=f"remove the volume {name}: it is not this project's"
        ):
            engine.remove_volume(name)
        engine.client.containers.get(name)
        engine.client.volumes.get(name)
    finally:
        container.remove()
        volume.remove()


def test_a_managed_container_is_removed_with_its_data(
    engine: Engine, project: Declaration, name: str
) -> None:
    engine.run(
        project.upstream["registry"].image,
        name,
        port=(5000, free_port()),
        volume=(name, "/var/lib/registry"),
        environment={},
    )
    assert engine.remove(name)
    assert engine.remove_volume(name)
    with pytest.raises(NotFound):
        engine.client.volumes.get(name)
    assert not engine.remove(name)
    assert not engine.remove_volume(name)


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


def test_only_unused_images_of_this_project_are_removed(
    engine: Engine, project: Declaration, tmp_path: Path, name: str
) -> None:
    registry = Registry(local_registry.ensure(engine, project).address)
    names = [f"{name}-{kind}" for kind in ("unused", "tagged", "used", "foreign")]
    pinned = {image: _by_digest(engine, registry.address, image, tmp_path) for image in names}
    engine.tag(pinned[names[1]], f"{registry.address}/{names[1]}", "1")
    container = engine.client.containers.create(pinned[names[2]], ["none"], name=name)
    try:
        unused = engine.unused_images([f"{registry.address}/{image}" for image in names[:3]])
        assert len(unused) == 1
        engine.remove_images(unused)
        removed = [image for image in names if engine.image_labels(pinned[image]) is None]
        assert removed == [names[0]]
    finally:
        container.remove()
        for image in names:
            registry.delete(f"{registry.address}/{image}", pinned[image].partition("@")[2])
            if engine.image_labels(pinned[image]) is not None:
                engine.client.images.remove(pinned[image], force=True)


def _by_digest(engine: Engine, address: str, name: str, folder: Path) -> str:
    """An image that the engine has pulled by digest, without a tag, like those of a platform."""
    file, reference = folder / f"{name}.tar", f"{address}/{name}:1"
    with tarfile.open(file, "w") as tar:
        tar.add(ROOT / "delivery.toml", name)
    engine.import_root(file, reference, {})
    pinned = f"{address}/{name}@{engine.push(reference, lambda _line: None)}"
    engine.client.images.remove(reference)
    engine.pull(pinned, lambda _line: None)
    return pinned


# Makes a Docker engine's bridge and rules in a network namespace, removes them, prints the rest.
NETWORK = """
import subprocess
from delivery.host.bridges import Bridge
from delivery.host import bridges

def run(line):
    return subprocess.run(line.split(), check=True, capture_output=True, text=True).stdout

policy = bridges.policy()
run("ip link add br-test type bridge")
run("iptables -N DOCKER")
run("iptables -A FORWARD -o br-test -j DOCKER")
run("iptables -P FORWARD DROP")
run("iptables -t nat -A POSTROUTING -s 10.9.0.0/24 ! -o br-test -j MASQUERADE")
run("iptables -A INPUT -i lo -j ACCEPT")
bridges.remove([Bridge("br-test", ("10.9.0.0/24",)), Bridge("br-gone", ())], policy)
print(bridges.policy(), policy)
print(run("iptables-save -t filter"), run("iptables-save -t nat"), run("ip -brief link"))
"""


@pytest.mark.skipif(not shutil.which("unshare"), reason="Linux has network namespaces")
def test_bridges_and_rules_of_a_private_engine_are_removed() -> None:
    printed = output(["unshare", "--net", sys.executable, "-c", NETWORK], folder=ROOT)
    policies, *lines = printed.splitlines()
    assert policies.split()[0] == policies.split()[1]
    remaining = "\n".join(lines)
    assert "-A INPUT -i lo -j ACCEPT" in remaining
    assert "br-test" not in remaining
    assert "DOCKER" not in remaining
    assert "MASQUERADE" not in remaining
