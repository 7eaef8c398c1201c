"""Create the image's file system: unpack Debian packages, prune them, compile Python's library."""

import argparse
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

__all__ = [
    "PruneList",
    "compile_library",
    "main",
    "missing_libraries",
    "parse_prune_list",
    "selected",
    "unpack",
]

LIBRARY = Path("usr/lib/python3.13")
EXTENSIONS = LIBRARY / "lib-dynload"
ELF_MAGIC = b"\x7fELF"
BLOCK = 4096


class RootfsError(Exception):
    """The file system cannot be created; the message says what to change."""


@dataclass(frozen=True, slots=True)
class PruneList:
    """Shell patterns relative to the root."""

    remove: tuple[str, ...]
    keep: tuple[str, ...]
    """Exceptions from `remove`."""


def parse_prune_list(text: str) -> PruneList:
    """Return the patterns of a prune list; "!" keeps, and # begins a comment."""
    lines = [line.strip() for line in text.splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    return PruneList(
        remove=tuple(pattern for pattern in patterns if not pattern.startswith("!")),
        keep=tuple(pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")),
    )


def selected(root: Path, prune: PruneList) -> dict[str, list[Path]]:
    """Return the paths that each pattern removes."""
    kept = {path for pattern in prune.keep for path in _glob(root, pattern)}
    return {
        pattern: [path for path in _glob(root, pattern) if path not in kept]
        for pattern in prune.remove
    }


def _glob(root: Path, pattern: str) -> list[Path]:
    """Return the matching paths. Unlike pathlib's, they never lead through a symbolic link."""
    paths = [root]
    for name in pattern.split("/"):
        folders = [path for path in paths if path.is_dir() and not path.is_symlink()]
        paths = [
            path
            for folder in folders
            for path in sorted(folder.iterdir())
            if fnmatchcase(path.name, name)
        ]
    return paths


def unpack(package: Path, root: Path) -> None:
    """Unpack a package, and record it where scanners look if an image has no dpkg."""
    _dpkg_deb("--extract", str(package), str(root))
    name = _dpkg_deb("--field", str(package), "Package").strip()
    record = root / "var/lib/dpkg/status.d" / name
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(_dpkg_deb("--field", str(package)), encoding="utf-8")


def _dpkg_deb(*arguments: str) -> str:
    argv = ["dpkg-deb", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RootfsError(f"dpkg-deb {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def missing_libraries(root: Path) -> dict[Path, list[str]]:
    """Return the missing libraries of each program and library that needs one."""
    present = {path.name for path in root.glob("usr/lib/**/*.so*")}
    needed = {path: needed_libraries(path) for path in _files(root) if _is_elf(path)}
    missing = {path: sorted(names - present) for path, names in needed.items()}
    return {path: names for path, names in missing.items() if names}


def needed_libraries(path: Path) -> frozenset[str]:
    """Return the names of the shared libraries that a program or library is linked with."""
    with path.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".dynamic")
        if not isinstance(section, DynamicSection):
            return frozenset()
        return frozenset(tag.needed for tag in section.iter_tags("DT_NEEDED"))


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(ELF_MAGIC)) == ELF_MAGIC


def compile_library(root: Path, library: Path = LIBRARY) -> None:
    """Replace Python's sources by bytecode, with the same bytes on every machine and every day."""
    for source in sorted((root / library).rglob("*.py")):
        compiled = source.with_suffix(".pyc")
        if source.is_symlink():
            compiled.symlink_to(source.readlink().with_suffix(".pyc"))
        else:
            py_compile.compile(
                str(source),
                str(compiled),
                dfile=f"/{source.relative_to(root)}",
                doraise=True,
                optimize=0,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        source.unlink()


def create(packages: Iterable[Path], prune: PruneList, root: Path) -> None:
    """Create the file system, and print what it does not contain."""
    for package in sorted(packages):
        unpack(package, root)
    for pattern, paths in selected(root, prune).items():
        if not paths:
            print(f"prune list: {pattern} matches nothing; Debian may have removed these files")
        for path in paths:
            remove(path)
    for path, names in missing_libraries(root).items():
        # An extension module without its library is removed; anything else is an error.
        if path.parent != root / EXTENSIONS:
            raise RootfsError(
                f"/{path.relative_to(root)} needs {', '.join(names)}\n"
                "hint: add the Debian package to packages.txt"
            )
        print(f"removed {path.name}: {', '.join(names)} is not in the image")
        path.unlink()
    compile_library(root)


def _files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path, help="folder of *.deb files")
    parser.add_argument("prune", type=Path, help="prune list")
    parser.add_argument("root", type=Path, help="folder to create")
    options = parser.parse_args(arguments)
    options.root.mkdir(parents=True)
    try:
        create(
            options.packages.glob("*.deb"),
            parse_prune_list(options.prune.read_text(encoding="utf-8")),
            options.root,
        )
    except RootfsError as error:
        print(f"error: cannot create the root file system: {error}", file=sys.stderr)
        return 1
    sizes = [path.stat().st_size for path in _files(options.root)]
    print(
        f"root file system: {len(sizes)} files, {sum(sizes):,} bytes, "
        f"{sum(-(-size // BLOCK) * BLOCK for size in sizes):,} in blocks of {BLOCK}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
