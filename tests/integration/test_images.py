"""Our images in the registry: their layers, labels and commands."""

import json
from typing import Any, cast

import pytest
import requests

from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.project import files
from delivery.project.declaration import Declaration
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


def manifest(release: Release, name: str) -> dict[str, Any]:
    image = release.images[name]
    host, _, repository = image.repository.partition("/")
    answer = requests.get(
        f"http://{host}/v2/{repository}/manifests/{image.digest}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        timeout=10,
    )
    return cast("dict[str, Any]", answer.json())


def config(release: Release, name: str) -> dict[str, Any]:
    image = release.images[name]
    host, _, repository = image.repository.partition("/")
    digest = manifest(release, name)["config"]["digest"]
    return cast(
        "dict[str, Any]",
        requests.get(f"http://{host}/v2/{repository}/blobs/{digest}", timeout=10).json()["config"],
    )


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


@pytest.mark.parametrize("app", APPS)
def test_all_wrong_settings_are_reported_together(
    engine: Engine, release: Release, app: str
) -> None:
    container = engine.client.containers.run(
        release.images[app].pinned,
        detach=True,
        environment={"BROKER_URL": "http://nowhere", "DB_PORT": "many"},
    )
    try:
        assert container.wait(timeout=30)["StatusCode"] == 2
        output = container.logs().decode()
    finally:
        container.remove(force=True)
    assert all(name in output for name in ("BROKER_URL", "DB_PORT"))
    assert "Traceback" not in output


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
