"""The project's own files: the declaration, build contexts, and what the tasks leave behind."""

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
    "read_version",
    "write_atomically",
]

ROOT = Path(__file__).resolve().parents[2]
_PACKAGED = 0o644  # the mode of every file of a packaged chart


def load_declaration(root: Path = ROOT) -> Declaration:
    """Read and check delivery.toml; DELIVERY_REGISTRY overrides the registry's address.

    So does the local registry that this clone's platform was brought up with, where the declared
    one is local too.
    """
    file = root / "delivery.toml"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DeclarationError(
            f"read {file}: {error.strerror}",
            hint="run this from a clone of the project, which has one",
        ) from error
    declaration = parse(text, is_folder=lambda path: (root / path).is_dir())
    address = os.environ.get(saved_settings.REGISTRY) or _kept_registry(declaration, root)
    if not address:
        return declaration
    try:
        return declaration.with_registry(address)
    except ValueError as error:
        raise DeclarationError(
            f"read DELIVERY_REGISTRY: {address!r} is no registry's address",
            hint="give a host with an optional port and path, as in localhost:5001 or docker.io/acme",
        ) from error


def _kept_registry(declaration: Declaration, root: Path) -> str:
    kept = saved_settings.load(root, {}).get(saved_settings.REGISTRY, "")
    if kept:
        kept = kept if is_local(declaration.registry.address) else ""
    return kept


def context_files(folder: Path) -> list[File]:
    """What a build of this folder can see, .dockerignore obeyed. A file that cannot be read is an error."""
    try:
        ignore = (folder / ".dockerignore").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        ignore = []
    patterns = [line.strip() for line in ignore if line.strip() and not line.startswith("#")]
    found = []
    for path in sorted(exclude_paths(str(folder), patterns)):
        file = folder / path
        try:
            mode = file.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            found.append(_file(file, path.replace(os.sep, "/"), mode))
        except OSError as error:
            raise DeclarationError(
                f"take the key of {folder.name}: cannot read {path}: {error.strerror}",
                hint="a key covers every file of the build context; make it readable or list it in .dockerignore",
            ) from error
    return found


def chart_files(folder: Path) -> list[File]:
    """What the packaged chart in this folder has, .helmignore obeyed, each file by the bytes that are packaged.

    A link counts as what it leads to, as Helm takes it. One that leads out of the folder is an error, as is
    a file or folder that cannot be read.
    """
    ignored = ignores.for_chart(folder)
    home = os.path.realpath(folder)
    found = []
    for path in _below(folder, ignored):
        try:
            file = Path(os.path.realpath(folder / path, strict=True))
            why = "" if file.is_file() else "it is no regular file"
            why = why if file.is_relative_to(home) else "it leads out of the folder"
            if not why:
                found.append(_file(file, path, _PACKAGED))
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            raise _unreadable(folder, path, why)
    return sorted(found)


def _unreadable(folder: Path, path: str, why: str) -> DeclarationError:
    return DeclarationError(
        f"cannot compute the key of {folder.name}: cannot read {path}: {why}",
        hint="a chart has what is below its folder; copy the file to there, or list it in .helmignore",
    )


def _below(folder: Path, ignored: Callable[[str], bool]) -> Iterator[str]:
    """The paths of the files below a chart's folder and of what is none, links to folders followed."""

    def fail(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename)).relative_to(folder).as_posix()
        raise _unreadable(folder, path, error.strerror or str(error)) from error

    for place, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        above = Path(place).relative_to(folder)
        for name in [*folders]:
            path = (above / name).as_posix()
            if ignored(f"{path}/"):
                folders.remove(name)
            elif f"{os.path.realpath(place)}/".startswith(f"{os.path.realpath(folder / path)}/"):
                folders.remove(name)  # it leads to a folder that it is in
                names.append(name)
        yield from (path for name in names if not ignored(path := (above / name).as_posix()))


def _file(file: Path, path: str, mode: int) -> File:
    if stat.S_ISLNK(mode):
        return File(path, "link", hashlib.sha256(os.fsencode(file.readlink())).hexdigest())
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return File(path, "755" if mode & stat.S_IXUSR else "644", digest)


def output(*parts: str, root: Path = ROOT) -> Path:
    """A path inside the folder for what the tasks make here (ignored by git), its parent made if need be."""
    path = root.joinpath(".delivery", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, text: str) -> None:
    """Write a file that others may read at any moment: they find the old text or the new one, whole."""
    begun = path.with_name(f"{path.name}.{os.getpid()}")  # two processes may write it at once
    begun.write_text(text, encoding="utf-8")
    begun.replace(path)


def read_version(folder: Path) -> str:
    """The version of the subproject in this folder: of its pyproject.toml, or of its file VERSION."""
    try:
        return (folder / "VERSION").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        pass
    try:
        return str(
            tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"][
                "version"
            ]
        )
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise DeclarationError(
            f"read the version of {folder.name}: neither VERSION nor pyproject.toml says one ({error})",
            hint="write it as project.version in pyproject.toml",
        ) from error


def project_name(declared: str, root: Path = ROOT) -> str:
    """What the compose project is called: by COMPOSE_PROJECT_NAME as set now, else as kept, else as declared."""
    return saved_settings.load(root, os.environ).get(saved_settings.NAME, declared)
