"""Look before acting: what the files, the declaration and the registry say is to be done."""

from __future__ import annotations

from pathlib import Path

from delivery.core.declaration import Declaration
from delivery.core.keys import image_key
from delivery.core.plan import Plan, make_plan
from delivery.tools import files
from delivery.tools.files import ROOT
from delivery.tools.machine import platform
from delivery.tools.registry import Registry

__all__ = ["arguments", "keys", "look"]


def look(declaration: Declaration, registry: Registry, root: Path = ROOT) -> Plan:
    """The plan: keys from the files, and one question an image to the registry."""
    named = keys(declaration, root)
    held = {name: registry.digest(f"{declaration.registry.address}/{name}", key) for name, key in named.items()}
    return make_plan(declaration, named, held)


def keys(declaration: Declaration, root: Path = ROOT) -> dict[str, str]:
    """The content key of each of our images, by name; asks no engine and no network."""
    found: dict[str, str] = {}
    for name in declaration.parents_first():
        image = declaration.images[name]
        below = found.get(image.base) or declaration.upstream[image.base].image
        found[name] = image_key(
            files.context_files(root / image.context),
            arguments=arguments(declaration, name, root),
            platform=platform(),
            base=below,
        )
    return found


def arguments(declaration: Declaration, name: str, root: Path = ROOT) -> dict[str, str]:
    """The build arguments of one of our images: what the declaration decides, and its subproject's version."""
    return {**declaration.arguments(name), "VERSION": files.version(root / declaration.images[name].context)}
