"""`inv ci.program`: helper programs."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.host import programs
from delivery.tasks.decorator import task

__all__ = ["program"]


@task(help={"name": f"any of {', '.join(programs.PROGRAMS)}"})
def program(_context: Context, name: str, json_: bool = False) -> None:
    """Find or install a helper program; --json prints its path."""
    path = programs.ensure(name)
    if json_:
        console.data({"path": str(path)})
