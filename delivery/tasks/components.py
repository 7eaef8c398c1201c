"""`inv component.add`: a further image of ours that the chart runs."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.project import files
from delivery.tasks.decorator import task

__all__ = ["add"]


@task(
    help={
        "name": "what it is called: its image, and its objects in the cluster",
        "folder": "the folder of its Dockerfile; without it the one of its name",
        "port": "the port that it listens on, which gets a Service; without it none",
        "subproject": "whose version it has; without it that of the other components",
    }
)
def add(
    _context: Context, name: str, folder: str = "", port: int = 0, subproject: str = ""
) -> None:
    """Declare a component: its image in delivery.toml, its place in the chart's values.

    Both are plain text afterwards, to be changed by hand. docs/components.md goes the whole way.
    """
    from delivery.project import component

    new = component.Component(name, folder or name, subproject, port)
    written = component.add(files.load_declaration(), new)
    console.say(f"written: {', '.join(written)}")
    console.say(
        "next: `git diff` shows it; `./run inv build` builds it; docs/components.md goes on from there"
    )
