"""The subprojects' files: versions, changelogs, and which paths are published."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from delivery.errors import DeclarationError
from delivery.project import files, git, ignores
from delivery.project.declaration import Build, Declaration, Image, Upstream
from delivery.project.facts import Tag
from delivery.project.git import Clone
from delivery.project.gitflow import is_version
from delivery.project.versions import newest_tag, with_dependencies

__all__ = ["build_changes", "changelogs", "file_versions", "published_paths"]

_IGNORE_FILES = (".dockerignore", ".helmignore")  # they decide on the published paths


def file_versions(declaration: Declaration, root: Path) -> dict[str, str]:
    """The version in each subproject's files: the same in each of its folders."""
    return {name: _version(declaration, name, root) for name in declaration.subprojects}


def published_paths(
    declaration: Declaration, root: Path, paths: Collection[str]
) -> dict[str, frozenset[str]]:
    """Those of these paths whose content each subproject publishes."""
    return {
        name: frozenset(
            path
            for folder in subproject.folders
            for path in _published(declaration, root, folder, paths)
        )
        for name, subproject in declaration.subprojects.items()
    }


def build_changes(declaration: Declaration, clone: Clone, tags: Collection[Tag]) -> dict[str, str]:
    """How delivery.toml builds a subproject's images differently since its last tag, if it does."""
    last = {name: newest_tag(tags, name) for name in declaration.subprojects}
    commits = {tag.commit for tag in last.values() if tag}
    texts = {commit: git.text_at(clone, commit, "delivery.toml") for commit in commits}
    changes = {
        name: _build_change(declaration, texts[tag.commit], _images(declaration, name), tag.name)
        for name, tag in last.items()
        if tag
    }
    return {name: change for name, change in changes.items() if change}


def changelogs(declaration: Declaration, root: Path) -> dict[str, str]:
    """The text of each subproject's changelog, "" without a file."""
    return {
        name: _text(root / subproject.changelog)
        for name, subproject in declaration.subprojects.items()
    }


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _version(declaration: Declaration, name: str, root: Path) -> str:
    folders = declaration.subprojects[name].folders
    chart = declaration.chart.folder
    versions = {
        folder: (_chart_version if folder == chart else files.read_version)(root / folder)
        for folder in folders
    }
    version = versions[folders[0]]
    if len(set(versions.values())) > 1:
        each = ", ".join(f"{folder} has {version}" for folder, version in versions.items())
        raise DeclarationError(
            f"cannot read the version of {name}: its folders differ: {each}",
            hint="write the same version into each, or run `./run inv release.prepare`",
        )
    if not is_version(version):
        raise DeclarationError(
            f"cannot read the version of {name}: {version!r} is no version",
            hint="write it as X.Y.Z, as in 1.2.0",
        )
    return version


def _chart_version(folder: Path) -> str:
    try:
        text = (folder / "Chart.yaml").read_text(encoding="utf-8")
        return str(yaml.safe_load(text)["version"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"cannot read the version of {folder.name}: Chart.yaml has none ({error})",
            hint="write it there as `version: X.Y.Z`",
        ) from error


def _published(
    declaration: Declaration, root: Path, folder: str, paths: Collection[str]
) -> Iterable[str]:
    """Those of these paths whose content a folder publishes."""
    prefix = f"{folder}/"
    below = {path.removeprefix(prefix): path for path in paths if path.startswith(prefix)}
    if folder == declaration.chart.folder:
        is_ignored = ignores.for_chart(root / folder)
    elif any(folder in image.folders for image in declaration.images.values()):
        below.pop("VERSION", None)  # release.prepare writes it; builds get it as an argument
        is_ignored = ignores.for_image(root / folder)
    else:
        return below.values()
    return [path for name, path in below.items() if name in _IGNORE_FILES or not is_ignored(name)]


def _images(declaration: Declaration, name: str) -> list[str]:
    """The images of a subproject and of all that it is built on."""
    return [
        image
        for subproject in with_dependencies(declaration, name)
        for folder in declaration.subprojects[subproject].folders
        for image, declared in declaration.images.items()
        if declared.context == folder
    ]


def _build_change(
    declaration: Declaration, text: str | None, images: Sequence[str], tag: str
) -> str:
    """How delivery.toml builds these images differently since a tag, as a clause, or ""."""
    if text is None:
        return f"delivery.toml did not exist at {tag}"
    try:
        old = _old_declaration(declaration, text)
        if new := [name for name in images if name not in old.images]:
            verb = "is" if len(new) == 1 else "are"
            return f"{', '.join(new)} {verb} new in delivery.toml since {tag}"
        differing = [
            name
            for name in images
            if old.build_arguments(name) != declaration.build_arguments(name)
        ]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        return f"delivery.toml of {tag} does not say how the images were built"
    if differing:
        return f"delivery.toml has changed the build arguments of {', '.join(differing)}"
    return ""


def _old_declaration(declaration: Declaration, text: str) -> Declaration:
    """The declaration with the tables on builds of an older declaration.

    They are not validated: an older declaration may have other keys.
    """
    tables: Mapping[str, dict[str, dict[str, object]]] = tomllib.loads(text)
    models: Mapping[str, type[Upstream | Image]] = {"upstream": Upstream, "images": Image}
    update: dict[str, object] = {
        key: {name: model.model_construct(None, **table) for name, table in tables[key].items()}
        for key, model in models.items()
    }
    build = Build.model_construct(None, **tables["build"])
    return declaration.model_copy(update={"build": build, **update})
