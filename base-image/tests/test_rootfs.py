import marshal
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rootfs
from rootfs import PruneList, compile_library, missing_libraries, parse_prune_list, selected

PYC_HEADER = 16
UNCHECKED_HASH = 0b01


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"value = {name!r}\n", encoding="utf-8")


def test_a_prune_list_has_patterns_and_comments() -> None:
    text = "## Docs\nusr/share/doc/*/*\n!usr/share/doc/*/copyright\n\n# why\n  usr/share/man\n"
    assert parse_prune_list(text) == PruneList(
        remove=("usr/share/doc/*/*", "usr/share/man"), keep=("usr/share/doc/*/copyright",)
    )


def test_exceptions_are_not_selected(tmp_path: Path) -> None:
    write(tmp_path, "doc/a/copyright", "doc/a/changelog", "doc/b/copyright")
    paths = selected(tmp_path, PruneList(remove=("doc/*/*",), keep=("doc/*/copyright",)))
    assert paths == {"doc/*/*": [tmp_path / "doc/a/changelog"]}


def test_a_file_is_not_selected_through_a_link(tmp_path: Path) -> None:
    write(tmp_path, "doc/a/changelog")
    (tmp_path / "doc/b").symlink_to("a")
    paths = selected(tmp_path, PruneList(remove=("doc/*/*",), keep=()))
    assert paths == {"doc/*/*": [tmp_path / "doc/a/changelog"]}


def test_links_are_selected(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    paths = selected(tmp_path, PruneList(remove=("link",), keep=()))
    assert paths == {"link": [tmp_path / "link"]}


def test_folders_are_removed_with_their_content(tmp_path: Path) -> None:
    write(tmp_path, "man/man1/a.1")
    rootfs.remove(tmp_path / "man")
    assert not (tmp_path / "man").exists()


def test_a_link_is_removed_without_its_target(tmp_path: Path) -> None:
    write(tmp_path, "a/file")
    (tmp_path / "b").symlink_to("a")
    rootfs.remove(tmp_path / "b")
    assert (tmp_path / "a/file").exists()
    assert not (tmp_path / "b").is_symlink()


def library_root(root: Path) -> Path:
    """Write a small Python library."""
    write(root, "lib/module.py", "lib/package/__init__.py", "lib/package/inner.py")
    (root / "lib/alias.py").symlink_to("module.py")
    return root


def test_sources_become_bytecode(tmp_path: Path) -> None:
    compile_library(library_root(tmp_path), Path("lib"))
    names = {
        path.relative_to(tmp_path).as_posix()
        for path in (tmp_path / "lib").rglob("*")
        if not path.is_dir()
    }
    assert names == {
        "lib/module.pyc",
        "lib/package/__init__.pyc",
        "lib/package/inner.pyc",
        "lib/alias.pyc",
    }


def test_links_are_to_bytecode(tmp_path: Path) -> None:
    compile_library(library_root(tmp_path), Path("lib"))
    assert (tmp_path / "lib/alias.pyc").read_bytes() == (tmp_path / "lib/module.pyc").read_bytes()


def test_bytecode_needs_no_source(tmp_path: Path) -> None:
    compile_library(library_root(tmp_path), Path("lib"))
    header = (tmp_path / "lib/module.pyc").read_bytes()[:PYC_HEADER]
    assert int.from_bytes(header[4:8], "little") == UNCHECKED_HASH


def test_bytecode_has_the_path_in_the_image(tmp_path: Path) -> None:
    compile_library(library_root(tmp_path), Path("lib"))
    compiled = (tmp_path / "lib/package/inner.pyc").read_bytes()
    code = marshal.loads(compiled[PYC_HEADER:])  # noqa: S302 -- compiled by this test
    assert code.co_filename == "/lib/package/inner.py"


def test_bytecode_does_not_depend_on_folder_and_time(tmp_path: Path) -> None:
    first, second = library_root(tmp_path / "first"), tmp_path / "second place"
    shutil.copytree(first, second, symlinks=True, copy_function=shutil.copy)
    for root in (first, second):
        compile_library(root, Path("lib"))
    for path in (first / "lib").rglob("*.pyc"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_a_syntax_error_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/bad.py").write_text("def\n", encoding="utf-8")
    with pytest.raises(py_compile.PyCompileError):
        compile_library(tmp_path, Path("lib"))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program whose libraries are missing."""
    target = tmp_path / "usr/bin/program"
    target.parent.mkdir(parents=True)
    shutil.copy2(Path(sys.executable).resolve(), target)
    return target


def test_missing_libraries_are_named(tmp_path: Path, program: Path) -> None:
    assert "libc.so.6" in missing_libraries(tmp_path)[program]


def test_existing_libraries_are_not_missing(tmp_path: Path, program: Path) -> None:
    write(
        tmp_path,
        *(f"usr/lib/x86_64-linux-gnu/{name}" for name in missing_libraries(tmp_path)[program]),
    )
    assert missing_libraries(tmp_path) == {}


def test_only_an_extension_module_may_lack_a_library(tmp_path: Path, program: Path) -> None:
    nothing = PruneList(remove=(), keep=())
    with pytest.raises(rootfs.RootfsError, match=r"^/usr/bin/program needs .*libc\.so\.6"):
        rootfs.create([], nothing, tmp_path)
    module = tmp_path / rootfs.EXTENSIONS / "module.so"
    module.parent.mkdir(parents=True)
    program.rename(module)
    rootfs.create([], nothing, tmp_path)
    assert not module.exists()


def test_the_error_of_an_unreadable_package_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 2, "", "not a Debian format archive\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(rootfs.RootfsError, match=r"bad\.deb .*: not a Debian format archive"):
        rootfs.unpack(tmp_path / "bad.deb", tmp_path)
