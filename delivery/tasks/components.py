"""`inv component.add`: declare a further component."""

from __future__ import annotations

from delivery import console
from delivery.tasks.decorator import load_declaration, task

__all__ = ["add"]


@task(
    help={
        "name": "of its image and its objects in the cluster",
        "folder": "of its Dockerfile; default: its name",
        "port": "that it listens on, for a Service; default: none",
        "subproject": "whose version it has; default: that of the other components",
    }
)
def add(name: str, folder: str = "", port: int = 0, subproject: str = "") -> None:
    """Declare a component: its image in delivery.toml, its values in the chart.

    Edit both by hand afterwards. docs/components.md explains the rest.
    """
    from delivery.project import component

    new = component.Component(name, folder or name, subproject, port)
    files_written = component.add(load_declaration(), new)
    console.say(f"written: {', '.join(files_written)}")
    console.say("next: see `git diff`, run `./run inv build`, read docs/components.md")
