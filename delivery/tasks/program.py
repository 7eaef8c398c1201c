"""`inv program`: what we and our tests drive."""

from __future__ import annotations

from invoke.context import Context

from delivery.host import programs
from delivery.tasks.menu import item

__all__ = ["program"]


@item(help={"name": f"one of {', '.join(programs.PROGRAMS)}"})
def program(_context: Context, name: str) -> None:
    """Find a program that we or our tests drive, or install it."""
    programs.ensure(name)
