"""Add a component to this clone: its image to delivery.toml, its entry to the chart's values."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from delivery.errors import DeclarationError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT

__all__ = ["Component", "add", "add_to_declaration", "add_to_values"]

_TABLE = re.compile(r"^\[(?P<name>[^\]]+)\]$", re.MULTILINE)
_NEXT = re.compile(r"^(?:\[|#)", re.MULTILINE)
_FOLDERS = re.compile(r"^folders = \[(?P<list>[^\]\n]*)\]$", re.MULTILINE)
_COMPONENTS = re.compile(r"^components:$\n(?P<body>(?:[ \t].*\n|\n)*)", re.MULTILINE)
_MANUAL = "docs/components.md shows how"


@dataclass(frozen=True)
class Component:
    """A new component."""

    name: str
    folder: str  # its build context
    subproject: str = ""  # "" for that of the existing components
    port: int = 0  # the port that it listens on, 0 for none


def add(declaration: Declaration, new: Component, root: Path = ROOT) -> list[str]:
    """Write what a folder with a Dockerfile needs to be built and deployed; the changed files.

    A mistake raises DeclarationError before any file is written.
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
    files.parse_declaration(texts[declared], root)
    if not any((root / new.folder / name).exists() for name in ("VERSION", "pyproject.toml")):
        texts[root / new.folder / "VERSION"] = f"{version}\n"
    for file, text in texts.items():
        files.write_atomically(file, text)
    return [str(file.relative_to(root)) for file in texts]


def _check(declaration: Declaration, new: Component, root: Path) -> None:
    problem, hint = "", ""
    if not declaration.images:
        problem = "delivery.toml has no image to copy the base and subproject from"
        hint = f"write [images.{new.name}], and its folder into a subproject; {_MANUAL}"
    elif new.name in declaration.images:
        problem, hint = "delivery.toml has an image of that name", "choose another name"
    elif not (root / new.folder / "Dockerfile").is_file():
        problem, hint = f"there is no {new.folder}/Dockerfile", f"write it; {_MANUAL}"
    elif new.port not in range(65_536):
        problem, hint = f"{new.port} is not a valid port", "pass a number from 1 to 65535, or none"
    if problem:
        raise DeclarationError(f"cannot add the component {new.name}: {problem}", hint=hint)


def add_to_declaration(text: str, new: Component, base: str) -> str:
    """delivery.toml's text with the component's image; raises DeclarationError without a place."""
    tables = {table["name"]: table for table in _TABLE.finditer(text)}
    images = [table for name, table in tables.items() if name.startswith("images.")]
    subproject = tables.get(f"subprojects.{new.subproject}")
    if not images or subproject is None:
        missing = "[images.…]" if not images else f"[subprojects.{new.subproject}]"
        raise DeclarationError(
            f"cannot add {new.name} to delivery.toml: it has no table {missing}",
            hint=f"write [images.{new.name}], and its folder into a subproject; {_MANUAL}",
        )
    start = subproject.end()
    folders = _FOLDERS.search(text, start, _table_end(text, start))
    if folders is None:
        raise DeclarationError(
            f"cannot add {new.folder} to the subproject {new.subproject}:"
            " its folders take several lines",
            hint=f'add "{new.folder}" to them',
        )
    text = f'{text[: folders.end("list")]}, "{new.folder}"{text[folders.end("list") :]}'
    end = _table_end(text, images[-1].end())
    lines = f'[images.{new.name}]\ncontext = "{new.folder}"\nbase = "{base}"\n'
    return f"{text[:end].rstrip()}\n\n{lines}\n{text[end:].lstrip()}"


def _table_end(text: str, start: int) -> int:
    """The end of a table: the next table, or the comment before it."""
    following = _NEXT.search(text, start)
    return following.start() if following else len(text)


def add_to_values(text: str, new: Component, image: str) -> str:
    """values.yaml's text with the component; raises DeclarationError without a place for it."""
    components = _COMPONENTS.search(text)
    if components is None:
        raise DeclarationError(
            f"cannot add {new.name} to the chart's values: they have no map `components:`",
            hint=f"write it, without spaces before it; {_MANUAL}",
        )
    if re.search(rf"^  {re.escape(new.name)}:", components["body"], re.MULTILINE):
        raise DeclarationError(
            f"cannot add {new.name} to the chart's values: they have a component of that name",
            hint=f"write its image into delivery.toml alone; {_MANUAL}",
        )
    lines = [f"  {new.name}:", f"    image: {image}"]
    if new.port:
        lines += [f"    ports: {{http: {new.port}}}", "    service: {enabled: true}"]
    before, after = text[: components.start("body")], text[components.end("body") :]
    return f"{before}{components['body'].rstrip()}\n\n" + "\n".join(lines) + f"\n\n{after}"
