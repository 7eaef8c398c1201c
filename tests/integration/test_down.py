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
from tests.integration.conftest import Clone, free_port

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Standing:
    """A compose project with a registry that a cluster pulls from, and nothing else."""

    engine: Engine
    clone: Clone
    project: str
    cluster: str

    @property
    def registry(self) -> str:
        """The name of the registry's container and volume."""
        return f"{self.project}-registry"

    def down(self, *options: str) -> tuple[int, str]:
        """Run the task: its exit code, and what it printed."""
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
def standing(engine: Engine, project: Declaration, clone: Clone) -> Iterator[Standing]:
    made = Standing(engine, clone, *(f"delivery-test-{uuid.uuid4().hex[:8]}" for _ in range(2)))
    image, port = project.upstream["registry"].image, free_port()
    volume = (made.registry, "/var/lib/registry")
    engine.run(image, made.registry, port=(5000, port), volume=volume, environment={})
    engine.write_note(f"{made.cluster}-cluster", {})
    # As `inv cluster.up` leaves a node, which need not run.
    node = engine.client.containers.create(image, labels={"io.x-k8s.kind.cluster": made.cluster})
    told = f'server = "http://{made.registry}:5000"\n'
    node.put_archive("/", archive(f"etc/containerd/certs.d/localhost:{port}/hosts.toml", told))
    try:
        yield made
    finally:
        node.remove(v=True)
        engine.remove_volume(f"{made.cluster}-cluster")
        engine.remove(made.registry)
        engine.remove_volume(made.registry)


def test_a_registry_that_a_cluster_pulls_from_outlives_down(standing: Standing) -> None:
    code, said = standing.down()
    assert code == 0, said
    assert standing.is_running()
    assert f"still runs: the cluster {standing.cluster} pulls from it" in said
    assert f"`kind delete cluster --name {standing.cluster}`" in said

    code, said = standing.down("--volumes", "--yes")
    assert code == 7
    assert f"the cluster {standing.cluster} pulls from it" in said
    assert standing.is_running()

    code, said = standing.down("--registry")
    assert code == 0, said
    assert standing.engine.container(standing.registry) is None
    assert standing.engine.read_note(standing.registry) is not None, "its images stay"
