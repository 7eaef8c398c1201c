"""`inv plan`, `push`, `sizes`: our images, without running them."""

from __future__ import annotations

import json

from invoke.context import Context

from delivery.core.errors import DeclarationError
from delivery.steps import engine as engines
from delivery.steps import plan as planning
from delivery.steps import platform as platforms
from delivery.steps import release as releases
from delivery.tasks.menu import item
from delivery.tools import files, screen
from delivery.tools.registry import Registry

__all__ = ["plan", "push", "sizes"]


@item(help={"json": "print it for a machine to read"})
def plan(_context: Context, json_: bool = False) -> None:  # noqa: FBT001, FBT002  # how invoke declares a flag
    """Show what would be built and pushed."""
    declaration = files.load_declaration()
    found = planning.look(declaration, Registry(declaration.registry.address))
    if json_:
        screen.say(json.dumps(found.as_json(), indent=2))
    else:
        screen.table("plan", ("image", "key", "to do"), found.rows())


@item()
def push(_context: Context) -> None:
    """Build and push what the registry lacks.

    Writes .delivery/release.json, which says what is deployed from then on.
    """
    declaration = files.load_declaration()
    releases.make(engines.ensure(), declaration)


@item()
def sizes(_context: Context) -> None:
    """Show how large our images are, and their layers."""
    release = platforms.released()
    if release is None:
        raise DeclarationError("show the sizes: nothing is released from this clone yet", hint="`./run inv push` does")
    registry = Registry(files.load_declaration().registry.address)
    found = {name: registry.layers(image.repository, image.digest) for name, image in release.images.items()}
    rows = [
        (
            name,
            f"{sum(layer.unpacked for layer in layers) / 1e6:.1f} MB",
            f"{sum(layer.packed for layer in layers) / 1e6:.1f} MB",
            " ".join(layer.digest[7:19] for layer in layers),
        )
        for name, layers in found.items()
    ]
    screen.table("sizes", ("image", "on disk", "gzip", "layers"), rows)
