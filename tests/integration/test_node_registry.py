"""A cluster that pulls from a registry is known by the files of its nodes."""

import io
import tarfile
import uuid

import pytest

from delivery.cluster import local_cluster
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration

pytestmark = pytest.mark.engine


def archive(path: str, content: str) -> bytes:
    """A tar archive of one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(path)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()


def test_a_cluster_that_does_not_run_still_pulls_from_its_registry(
    engine: Engine, project: Declaration
) -> None:
    cluster, registry = (f"delivery-test-{uuid.uuid4().hex[:8]}" for _ in range(2))
    image, labels = project.upstream["registry"].image, {"io.x-k8s.kind.cluster": cluster}
    node = engine.client.containers.create(image, labels=labels)
    try:
        hosts = f'server = "http://{registry}:5000"\n'
        node.put_archive("/", archive("etc/containerd/certs.d/localhost:5001/hosts.toml", hosts))
        assert local_cluster.clusters_pulling_from(engine, registry) == [], "another's cluster"
        engine.write_note(f"{cluster}-cluster", {})
        assert local_cluster.clusters_pulling_from(engine, registry) == [cluster]
        assert local_cluster.clusters_pulling_from(engine, "another") == []
    finally:
        node.remove(v=True)
        engine.remove_volume(f"{cluster}-cluster")
