"""`inv release.prepare` and `release.finish`: both say first what they will do."""

from __future__ import annotations

from collections.abc import Sequence

from invoke.context import Context

from delivery import console, prompt
from delivery.project import files
from delivery.tasks.decorator import task

__all__ = ["finish", "prepare"]

_LOOK = ", or look with --dry-run"
_YES = {"yes": "do not ask", "dry-run": "say what would be done, and do nothing"}


@task(
    iterable=["subproject"],
    help={
        **_YES,
        "subproject": "NAME=X.Y.Z sets a version by hand, only upwards; may be said several times",
    },
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
    prepared = preparing.plan(declaration, subproject or ())
    console.table(
        "prepare", ("subproject", "last", "next", "why", "files that change"), prepared.rows()
    )
    if not prepared.texts:
        console.say("nothing to do: the files say these versions")
        return
    if dry_run:
        console.say(f"it would be committed as: {prepared.subject}")
        return
    prompt.confirm(f"commit this as `{prepared.subject}`", "yes", yes=yes, alternative=_LOOK)
    preparing.write(prepared)


@task(
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
    where = f"{push}, which is {finishing.remote_address(push)}" if push else ""
    found = finishing.plan(declaration, compare=None if unpublished else finishing.differences)
    found.say(where)
    if not dry_run and (found.tags or (push and found.names)):
        doing = f"make the tags{' and push them' if push else ''}"
        prompt.confirm(doing, "yes", yes=yes, alternative=_LOOK)
        if found.tags:
            finishing.make_tags(found.tags)
        if push:
            finishing.push_tags(found.names, push)
    if found.names:
        console.say("what is left to be done:")
        for line in finishing.next_commands(
            declaration, found.names, found.branch, pushed=bool(push) and not dry_run
        ):
            console.say(f"  {line}")
