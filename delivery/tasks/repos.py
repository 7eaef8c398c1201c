"""`inv repos.split`: make a repository of each subproject."""

from __future__ import annotations

import shlex
from pathlib import Path

from delivery import console
from delivery.tasks.decorator import load_declaration, task

__all__ = ["split"]


@task(
    help={
        "to": "a new or empty folder for the repositories",
        "only": "a single subproject: base-image, apps or platform-chart",
    }
)
def split(to: str, only: str = "") -> None:
    """Make a repository of each subproject, with its own history and tags.

    This clone does not change. A later split has the same commits and the new ones.
    """
    from delivery.split import splitting

    repositories = splitting.split(load_declaration(), Path(to).expanduser().resolve(), only)
    console.say("push: git -C FOLDER push --all ADDRESS && git -C FOLDER push --tags ADDRESS")
    for repository in repositories:
        console.say(f"  {shlex.quote(str(repository))}")
