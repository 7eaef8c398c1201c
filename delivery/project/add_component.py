"""Add a component to this clone: its image to delivery.toml, its place in the chart's values."""

from __future__ import annotations

from pathlib import Path

from delivery.errors import DeclarationError
from delivery.project import files
from delivery.project.component import Component, in_declaration, in_values
from delivery.project.declaration import Declaration, parse
from delivery.project.files import ROOT

__all__ = ["add"]


def add(
    declaration: Declaration, name: str, *, folder: str, subproject: str, port: int, root: Path = ROOT
) -> list[str]:
    """Write what a folder with a Dockerfile needs to be built, published and deployed; the files written.

    Nothing is written where anything is wrong, which raises DeclarationError.
    """
    _check(declaration, name, folder, port, root)
    runs = declaration.components()[0]
    home = declaration.images[runs].context
    new = Component(
        name,
        folder,
        declaration.images[runs].base,
        subproject or declaration.subproject_of(home),
        f"{declaration.registry.address}/{name}",
        files.version(root / home),
        port,
    )
    declared, values = root / "delivery.toml", root / declaration.chart.folder / "values.yaml"
    texts = {
        declared: in_declaration(declared.read_text(encoding="utf-8"), new),
        values: in_values(values.read_text(encoding="utf-8"), new),
    }
    parse(texts[declared], is_folder=lambda path: (root / path).is_dir())
    if not any((root / folder / one).exists() for one in ("VERSION", "pyproject.toml")):
        texts[root / folder / "VERSION"] = f"{new.version}\n"
    for file, text in texts.items():
        files.write(file, text)
    return [str(file.relative_to(root)) for file in texts]


def _check(declaration: Declaration, name: str, folder: str, port: int, root: Path) -> None:
    if not declaration.images:
        raise DeclarationError(
            f"cannot add the component {name}: delivery.toml has no image that it could follow",
            hint=f"write [images.{name}] and its folder in a subproject by hand; docs/components.md",
        )
    if name in declaration.images:
        raise DeclarationError(
            f"cannot add the component {name}: delivery.toml has an image of that name", hint="choose another name"
        )
    if not (root / folder / "Dockerfile").is_file():
        raise DeclarationError(
            f"cannot add the component {name}: there is no {folder}/Dockerfile",
            hint="write one, as docs/components.md shows: `ARG BASE_IMAGE=base-image`, `FROM ${BASE_IMAGE}`, …",
        )
    if not 0 <= port < 65_536:  # noqa: PLR2004  # TCP's own
        raise DeclarationError(f"cannot add the component {name}: {port} is no port", hint="1 to 65535, or none")
