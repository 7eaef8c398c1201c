"""Add a component to this clone: its image to delivery.toml, its place in the chart's values."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from delivery.errors import DeclarationError
from delivery.project import files
from delivery.project.declaration import Declaration, parse
from delivery.project.files import ROOT

__all__ = ["Component", "add", "add_to_declaration", "add_to_values"]

_TABLE = re.compile(r"^\[(?P<name>[^\]]+)\]$", re.MULTILINE)
_COMPONENTS = re.compile(r"^components:$\n(?P<body>(?:[ \t].*\n|\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Component:
    """An image of ours that the chart is to run."""

    name: str
    folder: str
    """Its build context."""
    subproject: str = ""
    """Whose version it has; "" for that of the components that are there."""
    port: int = 0
    """The one that it listens on; 0 for none."""


def add(declaration: Declaration, new: Component, root: Path = ROOT) -> list[str]:
    """Write what a folder with a Dockerfile needs to be built, published and deployed; the files.

    Nothing is written where anything is wrong, which raises DeclarationError.
    """
    _check(declaration, new, root)
    sibling = declaration.images[declaration.components()[0]]
    new = replace(new, subproject=new.subproject or declaration.subproject_of(sibling.context))
    version = files.read_version(root / sibling.context)
    image = f'{{repository: {declaration.registry.address}/{new.name}, tag: {version}, digest: ""}}'
    declared, values = root / "delivery.toml", root / declaration.chart.folder / "values.yaml"
    texts = {
        declared: add_to_declaration(declared.read_text(encoding="utf-8"), new, sibling.base),
        values: add_to_values(values.read_text(encoding="utf-8"), new, image),
    }
    parse(texts[declared], is_folder=lambda path: (root / path).is_dir())
    if not any((root / new.folder / one).exists() for one in ("VERSION", "pyproject.toml")):
        texts[root / new.folder / "VERSION"] = f"{version}\n"
    for file, text in texts.items():
        files.write_atomically(file, text)
    return [str(file.relative_to(root)) for file in texts]


def _check(declaration: Declaration, new: Component, root: Path) -> None:
    doing = f"cannot add the component {new.name}"
    if not declaration.images:
        raise DeclarationError(
            f"{doing}: delivery.toml has no image that it could follow",
            hint=f"write [images.{new.name}] and its folder in a subproject by hand; docs/components.md",
        )
    if new.name in declaration.images:
        raise DeclarationError(
            f"{doing}: delivery.toml has an image of that name", hint="choose another name"
        )
    if not (root / new.folder / "Dockerfile").is_file():
        raise DeclarationError(
            f"{doing}: there is no {new.folder}/Dockerfile",
            hint="write one, as docs/components.md shows: `ARG BASE_IMAGE=base-image`, `FROM ${BASE_IMAGE}`, …",
        )
    if new.port not in range(65_536):
        raise DeclarationError(f"{doing}: {new.port} is no port", hint="1 to 65535, or none")


def add_to_declaration(text: str, new: Component, base: str) -> str:
    """delivery.toml's text with its image on this base; DeclarationError where there is no place."""
    tables = {found["name"]: found for found in _TABLE.finditer(text)}
    images = [found for name, found in tables.items() if name.startswith("images.")]
    subproject = tables.get(f"subprojects.{new.subproject}")
    if not images or subproject is None:
        missing = "[images.…]" if not images else f"[subprojects.{new.subproject}]"
        raise DeclarationError(
            f"cannot add {new.name} to delivery.toml: it has no table {missing}",
            hint=f"write one [images.{new.name}] and name its folder in a subproject by hand; docs/components.md",
        )
    start = subproject.end()
    listed = re.compile(r"^folders = \[(?P<rest>[^\]\n]*)\]$", re.MULTILINE).search(
        text, start, _end(text, start)
    )
    if listed is None:
        raise DeclarationError(
            f"cannot add {new.folder} to the subproject {new.subproject}: its folders are not one line",
            hint=f'add "{new.folder}" to them by hand',
        )
    text = f'{text[: listed.end("rest")]}, "{new.folder}"{text[listed.end("rest") :]}'
    place = _end(text, images[-1].end())
    lines = f'[images.{new.name}]\ncontext = "{new.folder}"\nbase = "{base}"\n'
    return f"{text[:place].rstrip()}\n\n{lines}\n{text[place:].lstrip()}"


def _end(text: str, start: int) -> int:
    """Where a table ends: before the next one, or the comment in front of it."""
    found = re.compile(r"^(?:\[|#)", re.MULTILINE).search(text, start)
    return found.start() if found else len(text)


def add_to_values(text: str, new: Component, image: str) -> str:
    """values.yaml's text with it among the components; DeclarationError where there is no place."""
    found = _COMPONENTS.search(text)
    if found is None:
        raise DeclarationError(
            f"cannot add {new.name} to the chart's values: they have no map `components:`",
            hint="write one, at the beginning of a line; docs/components.md",
        )
    if re.search(rf"^  {re.escape(new.name)}:", found["body"], re.MULTILINE):
        raise DeclarationError(
            f"cannot add {new.name} to the chart's values: it is a component there already",
            hint="it needs only delivery.toml's part; docs/components.md",
        )
    lines = [f"  {new.name}:", f"    image: {image}"]
    if new.port:
        lines += [f"    ports: {{http: {new.port}}}", "    service: {enabled: true}"]
    body = found["body"].rstrip()
    return (
        f"{text[: found.start('body')]}{body}\n\n"
        + "\n".join(lines)
        + f"\n\n{text[found.end('body') :]}"
    )
