"""Our images for two processors: those of the other run in an emulator, and digests repeat."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from delivery import machine
from delivery.build import building, planning
from delivery.host import buildx, trust
from delivery.host.buildx import Target
from delivery.host.docker_api import MANAGED, Engine
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.registry import layers, oci_layout
from tests.commands import output
from tests.integration import small

pytestmark = [pytest.mark.engine, pytest.mark.emulated]

OWN, OTHER = "linux/amd64", "linux/arm64"
PLATFORMS = [OWN, OTHER]
MODULES = {"api-rest": "api_rest", "async-worker": "async_worker"}
# The stages that write files of an image.
STAGES = ["rootfs", "certificates", "image", "dependencies", "shared", "application"]


@pytest.fixture(scope="module", autouse=True)
def two_platforms(engine: Engine) -> None:
    """Skip where images of two platforms cannot be made, or those of the other not be run."""
    if not engine.oci_layouts:
        pytest.skip("the engine has no containerd image store, which keeps several platforms")
    if machine.platform() != OWN:
        pytest.skip(f"the emulator is for {OTHER} on {OWN}")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the images in another folder, whose builds replace none of this clone."""
    folder = tmp_path_factory.mktemp("copy") / "with, a comma"
    for name in small.source_folders():
        shutil.copytree(files.ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def layouts(engine: Engine, project: Declaration, copy: Path) -> dict[str, Path]:
    """The OCI layout of each image for both platforms."""
    images = planning.plan_images(project, None, copy, platforms=PLATFORMS)
    return building.build(engine, project, images, copy)


def manifest(layout: Path, platform: str) -> dict[str, Any]:
    """The manifest of a platform's image."""
    return dict(oci_layout.read(layout, oci_layout.read(layout).platforms[platform]).manifest)


def test_the_image_of_this_processor_is_the_same_as_without_the_other(
    engine: Engine, project: Declaration, layouts: Mapping[str, Path], copy: Path
) -> None:
    alone = building.build(engine, project, planning.plan_images(project, None, copy), copy)
    for name, layout in layouts.items():
        assert oci_layout.digest(alone[name]) == oci_layout.read(layout).platforms[OWN]


def test_a_repeated_build_gives_the_same_indexes(layouts: Mapping[str, Path], copy: Path) -> None:
    again, file = copy.parent / "again", copy.parent / "again.json"
    bake = json.loads((copy / ".delivery" / "bake.json").read_text())
    for name, target in bake["target"].items():
        target["output"] = [f"type=oci,tar=false,dest={again / name}"]
        target["platforms"] = PLATFORMS
        target["no-cache-filter"] = STAGES
    file.write_text(json.dumps(bake))
    for path in copy.rglob("*"):  # an old checkout
        os.utime(path, (981158400, 981158400), follow_symlinks=False)
    argv = ["docker", "buildx", "bake", "--file", str(file), "--provenance=false"]
    output(argv)
    assert {name: oci_layout.digest(again / name) for name in layouts} == {
        name: oci_layout.digest(layout) for name, layout in layouts.items()
    }


@pytest.fixture(scope="module")
def emulator(engine: Engine, project: Declaration, copy: Path) -> bytes:
    """The program that runs those of the other processor."""
    image = Target(
        name="emulator",
        context=Path(__file__).parent / "emulator",
        tag="",
        layout=copy.parent / "emulator",
        arguments={"DEBIAN_IMAGE": project.upstream["debian"].image},
    )
    file, secrets = copy.parent / "emulator.json", trust.secrets()
    buildx.bake(engine, [image], file=file, secrets=secrets, on_line=lambda _: None)
    return layers.Reader(lambda _: True).read_layout(image.layout)["emulator"]


@pytest.fixture(scope="module")
def roots(
    layouts: Mapping[str, Path], emulator: bytes, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The file system of each app's image of the other processor, with the emulator in it."""
    roots = {}
    for name in MODULES:
        roots[name] = tmp_path_factory.mktemp(name)
        for layer in manifest(layouts[name], OTHER)["layers"]:
            blob = io.BytesIO(oci_layout.read_blob(layouts[name], layer["digest"]))
            with tarfile.open(fileobj=blob, mode="r:*") as tar:
                tar.extractall(roots[name], filter="tar")
        (roots[name] / "emulator").write_bytes(emulator)
        (roots[name] / "emulator").chmod(0o755)
    return roots


def test_every_program_is_for_the_other_processor(roots: Mapping[str, Path]) -> None:
    for root in roots.values():
        programs = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
        assert {machine_of(path) for path in programs if path.name != "emulator"} == {"", "AArch64"}


def machine_of(path: Path) -> str:
    """The processor that a program or a library is for; "" for any other file."""
    with path.open("rb") as file:
        is_elf = file.read(4) == b"\x7fELF"
        return str(ELFFile(file).get_machine_arch()) if is_elf else ""


class Emulated:
    """The Python of an image of the other processor."""

    def __init__(self, engine: Engine, project: Declaration, root: Path) -> None:
        self._engine = engine
        self._debian = project.upstream["debian"].image
        self._root = root

    def python(self, *arguments: str) -> str:
        """Run it with the files of its image alone; return the output."""
        output: bytes = self._engine.client.containers.run(
            self._debian,
            ["chroot", "/image", "/emulator", "/usr/bin/python3", "-B", *arguments],
            volumes={str(self._root): {"bind": "/image", "mode": "ro"}},
            network_mode="none",
            labels={MANAGED: "true"},
            remove=True,
        )
        return output.decode().strip()


@pytest.fixture(params=MODULES)
def app(
    request: pytest.FixtureRequest, engine: Engine, project: Declaration, roots: Mapping[str, Path]
) -> tuple[str, Emulated]:
    """The module of an app, and the emulated Python of its image."""
    name = str(request.param)
    return MODULES[name], Emulated(engine, project, roots[name])


IMPORTS = """
import importlib, pathlib, pkgutil, platform, ssl, sys
assert len(ssl.create_default_context().get_ca_certs()) > 100
for package in (sys.argv[1], "ledger"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith("healthcheck"):
            importlib.import_module(module.name)
print(platform.machine())
"""


def test_an_app_can_be_imported_and_trusts_public_authorities(app: tuple[str, Emulated]) -> None:
    module, emulated = app
    assert emulated.python("-c", IMPORTS, module) == "aarch64"
