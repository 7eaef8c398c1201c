"""`inv repos.split`: three repositories out of this one."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from delivery import console
from delivery.project import files
from delivery.tasks.decorator import task

__all__ = ["split"]


@task(
    help={
        "to": "a folder that is new or empty; each repository becomes a folder in it",
        "only": "one subproject instead of all: base-image, apps or platform-chart",
    }
)
def split(_context: Context, to: str, only: str = "") -> None:
    """Make a repository of each subproject.

    Each has its own history and tags, and this clone is not changed. Splitting again later gives
    the same commits, and those that came since.
    """
    from delivery.split import splitting

    repositories = splitting.split(files.load_declaration(), Path(to).expanduser().absolute(), only)
    console.say("push one: git -C FOLDER push --all ADDRESS && git -C FOLDER push --tags ADDRESS")
    for repository in repositories:
        console.say(f"  {repository}")
