"""`inv repos.split`, `repos.check`: three repositories out of this one, and the proof that each stands alone."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from delivery import console
from delivery.errors import DeliveryError
from delivery.project import files
from delivery.tasks.menu import item

__all__ = ["check", "split"]

_ONLY = "one subproject instead of all: base-image, apps or platform-chart"


@item(help={"to": "a folder that is new or empty; each repository becomes a folder in it", "only": _ONLY})
def split(_context: Context, to: str, only: str = "") -> None:
    """Make a repository of each subproject.

    Each has its own history and tags, and this clone is not changed. Splitting again later gives the same commits, and those that
    came since.
    """
    from delivery.split import splitting

    made = splitting.split(files.load_declaration(), Path(to).expanduser().absolute(), only)
    console.say("to push one to a server: git -C FOLDER push --all ADDRESS && git -C FOLDER push --tags ADDRESS")
    for repository in made:
        console.say(f"  {repository}")


@item(
    help={
        "to": "where to do it, a folder that is new or empty, which stays; without it a temporary one",
        "only": _ONLY,
        "quick": "collect the tests instead of running them",
    }
)
def check(
    _context: Context,
    to: str = "",
    only: str = "",
    quick: bool = False,
) -> None:
    """Prove that each subproject stands alone.

    Each is split off, and what its READMEs say of building and testing is done.
    """
    from delivery.split import splitting

    folder = Path(to).expanduser().absolute() if to else None
    found = splitting.check(files.load_declaration(), folder, only, quick=quick)
    rows = [("✓" if one.good else "✗", one.repository, one.what, one.found) for one in found]
    console.table("repositories", ("", "repository", "what", "found"), rows)
    if bad := [f"{one.repository}: {one.what}" for one in found if not one.good]:
        raise DeliveryError(
            f"check the repositories: {len(bad)} of {len(found)} proofs failed ({'; '.join(bad)})",
            hint="the lines above say why; --to DIR keeps the repositories to look at",
        )
