"""`inv release.prepare` and `release.finish`: both say first what they will do."""

from __future__ import annotations

from collections.abc import Sequence

from invoke.context import Context

from delivery import console, prompt
from delivery.errors import DeclarationError
from delivery.project import files
from delivery.tasks.menu import item

__all__ = ["finish", "prepare"]

_YES = {"yes": "do not ask", "dry-run": "say what would be done, and do nothing"}


@item(
    iterable=["subproject"],
    help={**_YES, "subproject": "NAME=X.Y.Z sets a version by hand, only upwards; may be said several times"},
)
def prepare(
    _context: Context,
    subproject: Sequence[str] | None = None,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Write next versions and changelogs; commit them.

    It says first what changes, and why; what did not change keeps its version.
    """
    from delivery.release import preparing

    declaration = files.load_declaration()
    prepared = preparing.look(declaration, subproject or ())
    console.table("prepare", ("subproject", "last", "next", "why", "files that change"), prepared.rows())
    if not prepared.texts:
        console.say("nothing to do: the files say these versions")
        return
    if dry_run:
        console.say(f"it would be committed as: {prepared.subject}")
        return
    _confirm("prepare the release", f"commit this as `{prepared.subject}`?", yes=yes)
    preparing.write(prepared)


@item(
    help={
        **_YES,
        "push": "the remote that the tags are pushed to; without it they stay in this clone",
        "unpublished": "tag what the registry holds no release of",
    }
)
def finish(
    _context: Context,
    push: str = "",
    yes: bool = False,
    dry_run: bool = False,
    unpublished: bool = False,
) -> None:
    """Tag what was released from this branch.

    On main or master, once the registry holds the release of these sources.
    """
    from delivery.release import finishing

    declaration = files.load_declaration()
    where = f"{push}, which is {finishing.address(push)}" if push else ""
    found = finishing.look(declaration, published=None if unpublished else finishing.published)
    if found.tags:
        rows = [(tag.name, _first_line(tag.message)) for tag in found.tags]
        console.table(f"finish {found.version}", ("tag", "says"), rows)
    else:
        console.say(f"nothing to tag: {', '.join(found.there) or 'nothing changed since the last tags'}")
    if push and found.names:
        console.say(f"to be pushed to {where}: {', '.join(found.names)}")
    if not dry_run and (found.tags or (push and found.names)):
        _confirm("finish the release", f"make them{' and push them' if push else ''}?", yes=yes)
        if found.tags:
            finishing.make(found.tags)
        if push:
            finishing.push(found.names, push)
    if found.names:
        console.say("what is left to be done:")
        for line in finishing.next_commands(declaration, found.names, found.branch, pushed=bool(push) and not dry_run):
            console.say(f"  {line}")


def _first_line(message: str) -> str:
    """What a changelog's section begins with."""
    return next((line for line in message.splitlines()[1:] if line and not line.startswith("#")), "")


def _confirm(doing: str, question: str, *, yes: bool) -> None:
    if yes:
        return
    if not prompt.someone():
        raise DeclarationError(
            f"{doing}: nobody is here to confirm it", hint="say it with --yes, or look with --dry-run"
        )
    if not prompt.typed(f"{question} type yes to go on:", "yes"):
        raise DeclarationError(f"{doing}: not confirmed", hint="type yes, or say --yes")
