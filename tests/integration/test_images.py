"""Our images in the registry: their layers, labels and commands."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.registry.client import Registry
from delivery.release.released import Release

pytestmark = pytest.mark.engine

APPS = ("api-rest", "async-worker")


@pytest.fixture(scope="module")
def release(project: Declaration) -> Release:
    """The release of the last `inv push`, which nox runs first."""
    release = lifecycle.released()
    assert release
    assert set(release.images) == set(project.images)
    return release


def manifest(release: Release, name: str) -> Mapping[str, Any]:
    image = release.images[name]
    found = Registry(image.repository).fetch(image.repository, image.digest)
    assert found
    return found.manifest


def config(release: Release, name: str) -> dict[str, Any]:
    repository = release.images[name].repository
    digest = manifest(release, name)["config"]["digest"]
    return dict(json.loads(Registry(repository).blob(repository, digest))["config"])


def layers(release: Release, name: str) -> list[str]:
    return [layer["digest"] for layer in manifest(release, name)["layers"]]


@pytest.mark.parametrize("app", APPS)
def test_an_app_has_the_layers_of_the_base(release: Release, app: str) -> None:
    base = layers(release, "base-image")
    assert layers(release, app)[: len(base)] == base
    assert len(layers(release, app)) == len(base) + 2  # its dependencies, and its own source


@pytest.mark.parametrize(
    ("app", "module"), [("api-rest", "api_rest"), ("async-worker", "async_worker")]
)
def test_an_app_starts_without_a_shell_and_not_as_root(
    release: Release, app: str, module: str
) -> None:
    started = config(release, app)
    assert started["User"] == "65532:65532"
    assert started["Entrypoint"] == ["/usr/bin/python3", "-m", module]
    assert started["Healthcheck"]["Test"][0] == "CMD"


@pytest.mark.parametrize("name", ["base-image", *APPS])
def test_an_image_has_labels(release: Release, name: str) -> None:
    labels = config(release, name)["Labels"]
    assert labels["org.opencontainers.image.title"] == name
    assert labels["org.opencontainers.image.version"] == files.read_version(files.ROOT / name)


@pytest.mark.parametrize("name", ["base-image", *APPS])
def test_an_image_has_no_shell(engine: Engine, release: Release, name: str) -> None:
    listed = engine.client.containers.run(
        release.images[name].pinned,
        entrypoint=["/usr/bin/python3", "-c"],
        command=["import json, os; print(json.dumps(os.listdir('/bin') + os.listdir('/usr/bin')))"],
        remove=True,
    )
    assert not {"sh", "bash", "dash", "busybox", "apt", "dpkg", "pip"} & set(json.loads(listed))


def test_the_worker_has_a_command(engine: Engine, release: Release) -> None:
    output = engine.client.containers.run(
        release.images["async-worker"].pinned,
        entrypoint=["async-worker"],
        command=["redrive", "--help"],
        remove=True,
    )
    assert b"usage: async-worker redrive" in output
