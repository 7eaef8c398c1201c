"""`inv ci.program`: helper programs."""

from __future__ import annotations

from delivery import console
from delivery.tasks.decorator import task

__all__ = ["program"]


@task(help={"name": "a helper program, such as helm; an unknown name lists all"})
def program(name: str, json_: bool = False) -> None:
    """Find or install a helper program; --json prints its path."""
    from delivery.host import programs

    path = programs.ensure(name)
    if json_:
        console.data({"path": str(path)})
