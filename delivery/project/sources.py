"""What the files of the subprojects say: their versions, and what of them users get."""

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

# A change of these may change what is published: they decide on other files.
_RULES = (".dockerignore", ".helmignore")


def file_versions(declaration: Declaration, root: Path) -> dict[str, str]:
    """By subproject, the version that its files say: the same in each of its folders."""
    return {name: _written(declaration, name, root) for name in declaration.subprojects}


def published_paths(
    declaration: Declaration, root: Path, paths: Collection[str]
) -> dict[str, frozenset[str]]:
    """By subproject, which of these paths are in what it publishes."""
    return {
        name: frozenset(
            path for folder in one.folders for path in _covered(declaration, root, folder, paths)
        )
        for name, one in declaration.subprojects.items()
    }


def build_changes(declaration: Declaration, clone: Clone, tags: Collection[Tag]) -> dict[str, str]:
    """By subproject, how delivery.toml builds its images otherwise than at its last tag."""
    last = {name: newest_tag(tags, name) for name in declaration.subprojects}
    commits = {tag.commit for tag in last.values() if tag}
    texts = {commit: git.text_at(clone, commit, "delivery.toml") for commit in commits}
    changes = {
        name: _changed(declaration, texts[tag.commit], _images(declaration, name), tag.name)
        for name, tag in last.items()
        if tag
    }
    return {name: change for name, change in changes.items() if change}


def changelogs(declaration: Declaration, root: Path) -> dict[str, str]:
    """By subproject, the text of its changelog, "" where there is none."""
    return {name: _text(root / one.changelog) for name, one in declaration.subprojects.items()}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _written(declaration: Declaration, name: str, root: Path) -> str:
    folders = declaration.subprojects[name].folders
    versions = {
        folder: _chart_version(root / folder)
        if folder == declaration.chart.folder
        else files.read_version(root / folder)
        for folder in folders
    }
    version = versions[folders[0]]
    if len(set(versions.values())) > 1:
        each = ", ".join(f"{folder} says {version}" for folder, version in versions.items())
        raise DeclarationError(
            f"cannot read the version of {name}: its folders do not agree: {each}",
            hint="one version is for all of them: `./run inv release.prepare` writes it, or correct it by hand",
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
            f"cannot read the version of {folder.name}: Chart.yaml does not say it ({error})",
            hint="write it there as `version: X.Y.Z`",
        ) from error


def _covered(
    declaration: Declaration, root: Path, folder: str, paths: Collection[str]
) -> Iterable[str]:
    """Those of these paths that are in what a folder publishes."""
    inside = {
        path.removeprefix(f"{folder}/"): path for path in paths if path.startswith(f"{folder}/")
    }
    if folder == declaration.chart.folder:
        ignored = ignores.for_chart(root / folder)
    elif any(folder in image.folders for image in declaration.images.values()):
        inside.pop("VERSION", None)  # a build argument, which release.prepare writes
        ignored = ignores.for_image(root / folder)
    else:
        return inside.values()
    return [whole for path, whole in inside.items() if path in _RULES or not ignored(path)]


def _images(declaration: Declaration, name: str) -> list[str]:
    """The images of a subproject and of all that it is made from."""
    subprojects = with_dependencies(declaration, name)
    folders = [folder for one in subprojects for folder in declaration.subprojects[one].folders]
    return [
        image
        for folder in folders
        for image, one in declaration.images.items()
        if one.context == folder
    ]


def _changed(declaration: Declaration, text: str | None, images: Sequence[str], tag: str) -> str:
    """How a tag's delivery.toml builds these images otherwise; "" when it does not."""
    if text is None:
        return f"there was no delivery.toml at {tag}"
    try:
        before = _as_declared(declaration, text)
        if new := [name for name in images if name not in before.images]:
            are = "is" if len(new) == 1 else "are"
            return f"{', '.join(new)} {are} new in delivery.toml since {tag}"
        differing = [
            name
            for name in images
            if before.build_arguments(name) != declaration.build_arguments(name)
        ]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        return f"delivery.toml does not say at {tag} how the images were built"
    if differing:
        return f"delivery.toml has changed the build arguments of {', '.join(differing)}"
    return ""


def _as_declared(declaration: Declaration, text: str) -> Declaration:
    """Today's declaration with an older one's tables on builds.

    They are not validated: an older declaration may have other keys, and lack today's.
    """
    tables: Mapping[str, dict[str, dict[str, object]]] = tomllib.loads(text)
    return declaration.model_copy(
        update={
            "build": Build.model_construct(None, **tables["build"]),
            "upstream": {
                name: Upstream.model_construct(None, **table)
                for name, table in tables["upstream"].items()
            },
            "images": {
                name: Image.model_construct(None, **table)
                for name, table in tables["images"].items()
            },
        }
    )
