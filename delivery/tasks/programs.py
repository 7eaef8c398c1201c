"""`inv program`: what tests and benchmarks drive."""

from __future__ import annotations

from invoke.context import Context

from delivery.steps import programs
from delivery.tasks.menu import item

__all__ = ["program"]


@item(help={"name": "chromium (the page's tests) or wrk (the benchmarks)"})
def program(_context: Context, name: str) -> None:
    """Find a program that tests need, or install Debian's."""
    programs.ensure(name)
