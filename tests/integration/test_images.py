"""Our images in the registry: their layers, labels and commands."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.registry.client import Registry
from delivery.release.released import Release

pytestmark = pytest.mark.engine

APPS = ("api-rest", "async-worker")


def manifest(released: Release, name: str) -> Mapping[str, Any]:
    image = released.images[name]
    found = Registry(image.repository).fetch(image.repository, image.digest)
    assert found
    return found.manifest


def config(released: Release, name: str) -> dict[str, Any]:
    repository = released.images[name].repository
    digest = manifest(released, name)["config"]["digest"]
    return dict(json.loads(Registry(repository).blob(repository, digest))["config"])


def layers(released: Release, name: str) -> list[str]:
    return [layer["digest"] for layer in manifest(released, name)["layers"]]


@pytest.mark.parametrize("app", APPS)
def test_an_app_has_the_layers_of_the_base(released: Release, app: str) -> None:
    base = layers(released, "base-image")
    assert layers(released, app)[: len(base)] == base
    assert len(layers(released, app)) == len(base) + 2  # its dependencies, and its own source


@pytest.mark.parametrize(
    ("app", "module"), [("api-rest", "api_rest"), ("async-worker", "async_worker")]
)
def test_an_app_starts_without_a_shell_and_not_as_root(
    released: Release, app: str, module: str
) -> None:
    started = config(released, app)
    assert started["User"] == "65532:65532"
    assert started["Entrypoint"] == ["/usr/bin/python3", "-m", module]
    assert started["Healthcheck"]["Test"][0] == "CMD"


@pytest.mark.parametrize("name", ["base-image", *APPS])
def test_an_image_has_labels(released: Release, name: str) -> None:
    labels = config(released, name)["Labels"]
    assert labels["org.opencontainers.image.title"] == name
    assert labels["org.opencontainers.image.version"] == files.read_version(files.ROOT / name)


@pytest.mark.parametrize("name", ["base-image", *APPS])
def test_an_image_has_no_shell(engine: Engine, released: Release, name: str) -> None:
    listed = engine.client.containers.run(
        released.images[name].pinned,
        entrypoint=["/usr/bin/python3", "-c"],
        command=["import json, os; print(json.dumps(os.listdir('/bin') + os.listdir('/usr/bin')))"],
        remove=True,
    )
    assert not {"sh", "bash", "dash", "busybox", "apt", "dpkg", "pip"} & set(json.loads(listed))


def test_the_worker_has_a_command(engine: Engine, released: Release) -> None:
    output = engine.client.containers.run(
        released.images["async-worker"].pinned,
        entrypoint=["async-worker"],
        command=["redrive", "--help"],
        remove=True,
    )
    assert b"usage: async-worker redrive" in output
