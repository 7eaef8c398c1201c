"""`inv down` leaves the local registry to the clusters that pull from it."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from tests.integration.conftest import Clone
from tests.ports import free_port

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class PulledRegistry:
    """A compose project with only a registry, which a cluster pulls from."""

    engine: Engine
    clone: Clone
    project: str
    cluster: str

    @property
    def registry(self) -> str:
        """The name of the container and of the volume."""
        return f"{self.project}-registry"

    def down(self, *options: str) -> tuple[int, str]:
        """Run `inv down`; return its exit code and its output."""
        done = self.clone.inv("down", *options, environment={"COMPOSE_PROJECT_NAME": self.project})
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def is_running(self) -> bool:
        """Whether the registry runs."""
        container = self.engine.container(self.registry)
        return container is not None and container.status == "running"


def archive(path: str, content: str) -> bytes:
    """A tar archive of one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(path)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()


@pytest.fixture
def pulled(engine: Engine, project: Declaration, clone: Clone) -> Iterator[PulledRegistry]:
    fixture = PulledRegistry(
        engine, clone, *(f"delivery-test-{uuid.uuid4().hex[:8]}" for _ in range(2))
    )
    image, port = project.upstream["registry"].image, free_port()
    volume = (fixture.registry, "/var/lib/registry")
    engine.run(image, fixture.registry, port=(5000, port), volume=volume, environment={})
    engine.write_note(f"{fixture.cluster}-cluster", {})
    # A node of `inv cluster.up`, which does not need to run.
    node = engine.client.containers.create(image, labels={"io.x-k8s.kind.cluster": fixture.cluster})
    hosts = f'server = "http://{fixture.registry}:5000"\n'
    node.put_archive("/", archive(f"etc/containerd/certs.d/localhost:{port}/hosts.toml", hosts))
    try:
        yield fixture
    finally:
        node.remove(v=True)
        engine.remove_volume(f"{fixture.cluster}-cluster")
        engine.remove(fixture.registry)
        engine.remove_volume(fixture.registry)


def test_down_leaves_a_registry_that_a_cluster_pulls_from(pulled: PulledRegistry) -> None:
    code, output = pulled.down()
    assert code == 0, output
    assert pulled.is_running()
    assert f"still runs: the cluster {pulled.cluster} pulls from it" in output
    assert f"`kind delete cluster --name {pulled.cluster}`" in output

    code, output = pulled.down("--volumes", "--yes")
    assert code == 7
    assert f"the cluster {pulled.cluster} pulls from it" in output
    assert pulled.is_running()

    code, output = pulled.down("--registry")
    assert code == 0, output
    assert pulled.engine.container(pulled.registry) is None
    assert pulled.engine.read_note(pulled.registry) is not None, "its images stay"
