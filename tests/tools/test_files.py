"""A key sees what a build sees: no more, no less."""

import os
import socket
from pathlib import Path

import pytest

from delivery.core.errors import DeclarationError
from delivery.tools import files
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


def test_lists_what_a_build_sees(context: Path) -> None:
    assert paths(context) == [".dockerignore", "Dockerfile", "keep.md", "src/app.py"]


def test_neither_time_nor_umask_nor_place_changes_a_file(
    context: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    for file in files.context_files(context):
        (other / file.path).parent.mkdir(exist_ok=True)
        (other / file.path).write_bytes((context / file.path).read_bytes())
        (other / file.path).chmod(0o600)
        os.utime(other / file.path, (0, 0))
    assert files.context_files(other) == files.context_files(context)


def test_a_program_is_not_the_same_as_a_text(context: Path) -> None:
    before = files.context_files(context)
    (context / "src" / "app.py").chmod(0o755)
    assert files.context_files(context) != before


def test_a_link_counts_by_where_it_leads(context: Path) -> None:
    (context / "link").symlink_to("nowhere")
    (link,) = [file for file in files.context_files(context) if file.path == "link"]
    assert link.mode == "link"


def test_a_file_that_cannot_be_read_is_an_error(context: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:  # what even root cannot read
        listening.bind(str(context / "socket"))
        with pytest.raises(DeclarationError, match="cannot read socket: No such device or address"):
            files.context_files(context)


def test_a_folder_without_a_declaration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="No such file"):
        files.load_declaration(tmp_path)


def test_the_environment_names_another_registry(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (house / "delivery.toml").write_text(DECLARATION)
    monkeypatch.setenv("DELIVERY_REGISTRY", "docker.io/acme")
    assert files.load_declaration(house).registry.address == "docker.io/acme"


def test_an_address_that_is_none_is_an_error(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (house / "delivery.toml").write_text(DECLARATION)
    monkeypatch.setenv("DELIVERY_REGISTRY", "http://docker.io")
    with pytest.raises(DeclarationError, match=r"DELIVERY_REGISTRY: 'http://docker\.io' is no registry's address"):
        files.load_declaration(house)


def test_reads_the_version_of_a_subproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    assert files.version(tmp_path) == "1.2.3"
    (tmp_path / "VERSION").write_text("2.0.0\n")
    assert files.version(tmp_path) == "2.0.0"


def test_a_subproject_without_a_version_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="neither VERSION nor"):
        files.version(tmp_path)


def test_the_projects_own_declaration_is_good() -> None:
    assert files.load_declaration().parents_first() == ["base-image", "api-rest", "async-worker"]


def test_a_file_is_replaced_whole_so_that_a_reader_never_finds_half_of_it(tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    files.write(file, "old")
    with file.open(encoding="utf-8") as reader:
        files.write(file, "new")
        assert reader.read() == "old"
    assert file.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [file]
