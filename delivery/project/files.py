"""The project's files: the declaration, what builds and charts contain, and what tasks write."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from docker.utils.build import exclude_paths

from delivery.errors import DeclarationError
from delivery.project import ignores, saved_settings
from delivery.project.declaration import Declaration, is_local, parse
from delivery.project.keys import File

__all__ = [
    "ROOT",
    "chart_files",
    "context_files",
    "load_declaration",
    "output",
    "parse_declaration",
    "project_name",
    "read_text",
    "read_version",
    "write_atomically",
    "write_text",
]

ROOT = Path(__file__).resolve().parents[2]
_PACKAGED = 0o644  # the mode of every file of a packaged chart


def load_declaration(root: Path = ROOT) -> Declaration:
    """Read and check delivery.toml.

    DELIVERY_REGISTRY overrides the registry's address. If the declared registry is local, so does
    the local registry that this clone's platform was started with.
    """
    file = root / "delivery.toml"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DeclarationError(
            f"cannot read {file}: {error.strerror}", hint="run this in a clone of the project"
        ) from error
    declaration = parse_declaration(text, root)
    address = os.environ.get(saved_settings.REGISTRY)
    if not address and is_local(declaration.registry.address):
        address = saved_settings.load(root, {}).get(saved_settings.REGISTRY)
    if not address:
        return declaration
    try:
        return declaration.with_registry(address)
    except ValueError as error:
        raise DeclarationError(
            f"cannot use DELIVERY_REGISTRY: {address!r} is no registry's address",
            hint="set it to a host with an optional port and path,"
            " as in localhost:5001 or docker.io/acme",
        ) from error


def parse_declaration(text: str, root: Path) -> Declaration:
    """The declaration in a text, checked against the files and folders below root."""
    return parse(
        text,
        is_folder=lambda path: (root / path).is_dir(),
        is_file=lambda path: (root / path).is_file(),
    )


def read_text(file: Path, name: str, hint: str) -> str:
    """The text of a file that a flag names; DeclarationError if it cannot be read.

    name: what the file has to be, such as "the plan".
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise DeclarationError(f"cannot read {name} {file}: {reason}", hint=hint) from error


def write_text(file: Path, text: str, name: str) -> None:
    """Write the file that a flag names; DeclarationError if it cannot be written."""
    output(file.name)  # creates .delivery, where it is usually written
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DeclarationError(
            f"cannot write {name} {file}: {error.strerror}",
            hint="name a writable file, such as `--file .delivery/diff.txt`",
        ) from error


def context_files(folder: Path) -> list[File]:
    """The files that a build of this folder gets.

    Raises DeclarationError for an unreadable file.
    """
    files = []
    for path in sorted(exclude_paths(str(folder), ignores.docker_patterns(folder))):
        file = folder / path
        try:
            mode = file.lstat().st_mode
            if not stat.S_ISDIR(mode):
                files.append(_file(file, path.replace(os.sep, "/"), mode))
        except OSError as error:
            raise _unreadable(folder, path, error.strerror or "", ".dockerignore") from error
    return files


def chart_files(folder: Path) -> list[File]:
    """The files of the packaged chart in this folder, by the bytes that are packaged.

    Raises DeclarationError for a symbolic link, and for an unreadable file or folder.
    """
    is_ignored = ignores.for_chart(folder)
    paths = (path for path in _chart_paths(folder, is_ignored) if not is_ignored(path))
    return sorted(_chart_file(folder, path) for path in paths)


def _chart_file(folder: Path, path: str) -> File:
    file = folder / path
    try:
        mode = file.lstat().st_mode
        if stat.S_ISREG(mode):
            return _file(file, path, _PACKAGED)
        problem = "it is a symbolic link" if stat.S_ISLNK(mode) else "it is no regular file"
    except OSError as error:
        problem = error.strerror or str(error)
    raise _unreadable(folder, path, problem, ".helmignore")


def _unreadable(folder: Path, path: str, problem: str, ignore: str) -> DeclarationError:
    return DeclarationError(
        f"cannot read {folder.name}/{path}: {problem}",
        hint=f"replace it with a file that can be read, or list it in {ignore}",
    )


def _chart_paths(folder: Path, is_ignored: Callable[[str], bool]) -> Iterator[str]:
    """The paths below a chart's folder, without folders; an ignored folder is not read."""

    def fail(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename)).relative_to(folder).as_posix()
        raise _unreadable(folder, path, error.strerror or str(error), ".helmignore") from error

    for parent, folders, names in os.walk(folder, onerror=fail):
        prefix = Path(parent).relative_to(folder)
        folders[:] = [name for name in folders if not is_ignored(f"{(prefix / name).as_posix()}/")]
        # os.walk does not enter a link to a folder, but lists it as a folder.
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from ((prefix / name).as_posix() for name in (*names, *links))


def _file(file: Path, path: str, mode: int) -> File:
    if stat.S_ISLNK(mode):  # Docker copies the link itself
        return File(path, "link", hashlib.sha256(os.fsencode(file.readlink())).hexdigest())
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return File(path, "755" if mode & stat.S_IXUSR else "644", digest)


def output(*parts: str, root: Path = ROOT) -> Path:
    """A path in the folder that tasks write to, which git ignores; creates its parent."""
    path = root.joinpath(".delivery", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that others, reading at any moment, get the old text or the new text."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")  # two processes may write it at once
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_version(folder: Path) -> str:
    """The version in a folder's VERSION or, without that file, in its pyproject.toml."""
    try:
        return (folder / "VERSION").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        pass
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise DeclarationError(
            f"cannot read the version of {folder.name}:"
            f" neither VERSION nor pyproject.toml has it ({error})",
            hint="write it as project.version in pyproject.toml",
        ) from error


def project_name(declared: str, root: Path = ROOT) -> str:
    """The compose project's name: COMPOSE_PROJECT_NAME, else the saved name, else the declared."""
    return saved_settings.load(root, os.environ).get(saved_settings.NAME, declared)
