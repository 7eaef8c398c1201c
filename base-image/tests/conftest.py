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
    """Skip without an engine, but fail when DOCKER_HOST promises one. Remove at the end what was tagged."""
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
    """Skip where the engine has the classic image store, whose builder writes no OCI layouts."""
    del engine
    if "io.containerd.snapshotter" not in docker("info", "--format", "{{.DriverStatus}}").stdout:
        pytest.skip(
            "the engine has no containerd image store, so its builder writes no OCI layouts"
        )


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The image under test: BASE_IMAGE_REF, or what this folder builds."""
    return os.environ.get("BASE_IMAGE_REF") or engine.load("base", SUBPROJECT)


@pytest.fixture(scope="session")
def container(engine: Engine, image: str) -> str:
    """A container of the image under test that runs as long as the tests."""
    return engine.start(image)


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], oci.Image]:
    """Read an image of the engine's: its files, layers and configuration."""

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
    """What this folder builds when it is told what to write on the image, and of what time it is to be."""
    del layouts
    archive = tmp_path_factory.mktemp("described") / "image.tar"
    engine.build(
        SUBPROJECT, *DESCRIPTION, f"--output=type=oci,dest={archive},rewrite-timestamp=true"
    )
    return oci.read(archive)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A copy of the build context to change."""
    copy = tmp_path / "context"
    copy.mkdir()
    for name in CONTEXT:
        source = SUBPROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
    return copy


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the sizes that were measured, passed or failed."""
    if measured_sizes in config.stash:
        terminalreporter.write_line(config.stash[measured_sizes])
