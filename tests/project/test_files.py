"""A content key covers the files that a build or a package contains, and no others."""

import errno
import hashlib
import io
import os
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from delivery.errors import DeclarationError
from delivery.project import files, saved_settings
from delivery.release import chart_package
from tests.conftest import DECLARATION


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text("app")
    (tmp_path / "src" / "app.pyc").write_text("junk")
    (tmp_path / "notes.md").write_text("notes")
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    (tmp_path / ".dockerignore").write_text("# not for builds\n**/*.pyc\n*.md\n!keep.md\n")
    (tmp_path / "keep.md").write_text("kept")
    return tmp_path


def paths(folder: Path) -> list[str]:
    return [file.path for file in files.context_files(folder)]


def test_the_dockerignore_is_applied(context: Path) -> None:
    assert paths(context) == [".dockerignore", "Dockerfile", "keep.md", "src/app.py"]


def test_time_umask_and_folder_change_nothing(
    context: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    for file in files.context_files(context):
        (other / file.path).parent.mkdir(exist_ok=True)
        (other / file.path).write_bytes((context / file.path).read_bytes())
        (other / file.path).chmod(0o600)
        os.utime(other / file.path, (0, 0))
    assert files.context_files(other) == files.context_files(context)


def test_an_executable_file_differs(context: Path) -> None:
    before = files.context_files(context)
    (context / "src" / "app.py").chmod(0o755)
    assert files.context_files(context) != before


def test_a_link_counts_by_its_target(context: Path) -> None:
    (context / "link").symlink_to("nowhere")
    (link,) = [file for file in files.context_files(context) if file.path == "link"]
    assert link.mode == "link"
    assert link.digest == hashlib.sha256(b"nowhere").hexdigest()  # Docker keeps it as a link


def test_an_unreadable_file_is_an_error(context: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:  # even root cannot read it
        listening.bind(str(context / "socket"))
        with pytest.raises(
            DeclarationError, match=r"cannot read .*/socket: No such device or address"
        ):
            files.context_files(context)


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "chart"
    (folder / "templates").mkdir(parents=True)
    (folder / "files").mkdir()
    (folder / "templates" / "a.yaml").write_text("kind: A\n")
    (folder / "Chart.yaml").write_text("name: platform\nversion: 1.0.0\n")
    (folder / ".helmignore").write_text("/ignored\n/.venv/\n")
    return folder


def test_a_charts_files_are_the_packaged_bytes(chart: Path) -> None:
    before = files.chart_files(chart)
    packed = chart_package.package(chart, before, {}, epoch=0)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        content = {item.name.removeprefix("platform/"): tar.extractfile(item) for item in tar}
        digests = {
            path: hashlib.sha256(file.read()).hexdigest() for path, file in content.items() if file
        }
    assert {file.path: file.digest for file in before} == digests
    (chart / "templates" / "a.yaml").chmod(0o755)  # the packaged mode is always the same
    assert files.chart_files(chart) == before
    assert chart_package.package(chart, before, {}, epoch=0) == packed
    (chart / "templates" / "a.yaml").write_text("kind: B\n")
    changed = {
        new.path for old, new in zip(before, files.chart_files(chart), strict=True) if old != new
    }
    assert changed == {"templates/a.yaml"}


@pytest.mark.parametrize("target", ["../Chart.yaml", "../templates", "..", "nowhere"])
def test_a_link_in_a_chart_is_an_error_unless_it_is_ignored(chart: Path, target: str) -> None:
    (chart / "files" / "link").symlink_to(target)
    with pytest.raises(
        DeclarationError,
        match="cannot read chart/files/link: it is a symbolic link",
    ):
        files.chart_files(chart)
    (chart / ".helmignore").write_text("/files/link\n")
    assert [file.path for file in files.chart_files(chart)] == [
        ".helmignore",
        "Chart.yaml",
        "templates/a.yaml",
    ]


def test_a_socket_in_a_chart_is_an_error(chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chart)  # the path of a socket is limited to 108 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(DeclarationError, match=r"cannot read .*/socket: it is no regular file"):
            files.chart_files(chart)


def test_an_unreadable_folder_is_an_error(chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path) == chart / "templates":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root can read every folder
    with pytest.raises(DeclarationError, match="cannot read chart/templates: Permission denied"):
        files.chart_files(chart)
    (chart / ".helmignore").write_text("/templates/\n")
    assert [file.path for file in files.chart_files(chart)] == [".helmignore", "Chart.yaml"]


def test_an_ignored_folder_is_skipped(chart: Path) -> None:
    (chart / ".venv").mkdir()
    (chart / ".venv" / "link").symlink_to("nowhere")
    assert not [file for file in files.chart_files(chart) if file.path.startswith(".venv")]


def test_a_missing_declaration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="No such file"):
        files.load_declaration(tmp_path)


def test_a_variable_overrides_the_registry(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sample / "delivery.toml").write_text(DECLARATION)
    monkeypatch.setenv("DELIVERY_REGISTRY", "docker.io/acme")
    assert files.load_declaration(sample).registry.address == "docker.io/acme"


def test_an_invalid_address_is_an_error(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sample / "delivery.toml").write_text(DECLARATION)
    monkeypatch.setenv("DELIVERY_REGISTRY", "http://docker.io")
    with pytest.raises(
        DeclarationError, match=r"DELIVERY_REGISTRY: 'http://docker\.io' is no registry's address"
    ):
        files.load_declaration(sample)


def test_a_version_is_read_from_either_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    assert files.read_version(tmp_path) == "1.2.3"
    (tmp_path / "VERSION").write_text("2.0.0\n")
    assert files.read_version(tmp_path) == "2.0.0"


def test_a_missing_version_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="neither VERSION nor"):
        files.read_version(tmp_path)


def test_a_file_is_replaced_atomically(tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    files.write_atomically(file, "old")
    with file.open(encoding="utf-8") as reader:
        files.write_atomically(file, "new")
        assert reader.read() == "old"
    assert file.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [("localhost:5001", "localhost:5002"), ("docker.io/acme", "docker.io/acme")],
)
def test_a_saved_local_registry_overrides_a_declared_local_one(
    sample: Path, monkeypatch: pytest.MonkeyPatch, declared: str, expected: str
) -> None:
    (sample / "delivery.toml").write_text(DECLARATION.replace("localhost:5001", declared))
    saved_settings.save(sample, {"DELIVERY_REGISTRY": "localhost:5002"}, is_local=True)
    assert files.load_declaration(sample).registry.address == expected
    monkeypatch.setenv("DELIVERY_REGISTRY", "localhost:5003")
    assert files.load_declaration(sample).registry.address == "localhost:5003"
