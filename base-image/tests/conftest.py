"""The engine and the image under test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import oci
import pytest
from engine import Engine, docker
from support import DESCRIPTION, SUBPROJECT, measured_sizes

CONTEXT = ("Dockerfile", ".dockerignore", "ca-certificates", "rootfs", "scripts")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine. Without one, tests are skipped, or fail if DOCKER_HOST is set."""
    if shutil.which("docker") is None or docker("version", check=False).returncode:
        reason = "no Docker engine answers; start one, or set DOCKER_HOST to where it is"
        (pytest.fail if "DOCKER_HOST" in os.environ else pytest.skip)(reason)
    engine = Engine()
    yield engine
    if engine.containers:
        docker("rm", "--force", *engine.containers, check=False)
    if engine.tags:
        docker("image", "rm", "--force", *engine.tags, check=False)


@pytest.fixture(scope="session")
def layouts(engine: Engine) -> None:
    """Skip if the engine has the classic image store, which cannot write OCI layouts."""
    del engine
    if "io.containerd.snapshotter" not in docker("info", "--format", "{{.DriverStatus}}").stdout:
        pytest.skip("the engine has no containerd image store")


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The image under test: BASE_IMAGE_REF, or built from this folder."""
    return os.environ.get("BASE_IMAGE_REF") or engine.load("base", SUBPROJECT)


@pytest.fixture(scope="session")
def container(engine: Engine, image: str) -> str:
    """A container of the image under test, which runs until the end."""
    return engine.start(image)


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], oci.Image]:
    """Read an image of the engine: its files, layers and configuration."""

    def export(image: str) -> oci.Image:
        archive = tmp_path_factory.mktemp("exported") / "image.tar"
        docker("image", "save", "--output", str(archive), image)
        return oci.read(archive)

    return export


@pytest.fixture(scope="session")
def exported(image: str, export: Callable[[str], oci.Image]) -> oci.Image:
    """The image under test."""
    return export(image)


@pytest.fixture(scope="session")
def described(engine: Engine, layouts: None, tmp_path_factory: pytest.TempPathFactory) -> oci.Image:
    """The image of this folder, built with labels and a fixed date."""
    del layouts
    archive = tmp_path_factory.mktemp("described") / "image.tar"
    engine.build(SUBPROJECT, *DESCRIPTION, f"--output=type=oci,dest={archive}")
    return oci.read(archive)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A copy of the build context, which a test may change."""
    copy = tmp_path / "context"
    copy.mkdir()
    for name in CONTEXT:
        source = SUBPROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
    return copy


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the measured sizes."""
    if measured_sizes in config.stash:
        terminalreporter.write_line(config.stash[measured_sizes])
