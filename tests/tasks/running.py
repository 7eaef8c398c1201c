"""Run a task in a test: its function alone, or by its command line."""

from typing import Any

from invoke.collection import Collection
from invoke.program import Program

__all__ = ["inv", "run"]


def run(task: Any, **flags: Any) -> None:
    """Call a task's function with these flags; its errors are not caught."""
    task.body.__wrapped__(**flags)


def inv(namespace: Collection, *arguments: str) -> int:
    """Run a command line of these tasks; return the exit code."""
    try:
        Program(namespace=namespace).run(["inv", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
