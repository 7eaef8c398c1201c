"""A further component: the lines that delivery.toml and the chart's values get for it, in place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from delivery.errors import DeclarationError

__all__ = ["Component", "in_declaration", "in_values"]

_TABLE = re.compile(r"^\[(?P<name>[^\]]+)\]$", re.MULTILINE)
_COMPONENTS = re.compile(r"^components:$\n(?P<body>(?:[ \t].*\n|\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Component:
    """An image of ours that the chart is to run.

    folder is its build context, base the image of ours that it stands on, repository where it is
    published, version its subproject's, port the one that it listens on (0: none).
    """

    name: str
    folder: str
    base: str
    subproject: str
    repository: str
    version: str
    port: int = 0


def in_declaration(text: str, new: Component) -> str:
    """delivery.toml's text with its image, in its subproject; raise DeclarationError where there is no place."""
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
    listed = re.compile(r"^folders = \[(?P<rest>[^\]\n]*)\]$", re.MULTILINE).search(text, start, _end(text, start))
    if listed is None:
        raise DeclarationError(
            f"cannot add {new.folder} to the subproject {new.subproject}: its folders are not one line",
            hint=f'add "{new.folder}" to them by hand',
        )
    text = f'{text[: listed.end("rest")]}, "{new.folder}"{text[listed.end("rest") :]}'
    place = _end(text, images[-1].end())
    lines = f'[images.{new.name}]\ncontext = "{new.folder}"\nbase = "{new.base}"\n'
    return f"{text[:place].rstrip()}\n\n{lines}\n{text[place:].lstrip()}"


def _end(text: str, start: int) -> int:
    """Where a table ends: before the next one, or the comment in front of it."""
    found = re.compile(r"^(?:\[|#)", re.MULTILINE).search(text, start)
    return found.start() if found else len(text)


def in_values(text: str, new: Component) -> str:
    """values.yaml's text with it among the components; raise DeclarationError where there is no place."""
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
    lines = [f"  {new.name}:", f'    image: {{repository: {new.repository}, tag: {new.version}, digest: ""}}']
    if new.port:
        lines += [f"    ports: {{http: {new.port}}}", "    service: {enabled: true}"]
    body = found["body"].rstrip()
    return f"{text[: found.start('body')]}{body}\n\n" + "\n".join(lines) + f"\n\n{text[found.end('body') :]}"
