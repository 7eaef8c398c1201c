"""`inv release.prepare` and `release.finish`: write versions, tag releases."""

from __future__ import annotations

from collections.abc import Sequence

from delivery import console
from delivery.tasks.decorator import load_declaration, task

__all__ = ["finish", "prepare"]

_ALTERNATIVE = " or --dry-run"
_HELP = {"yes": "do not ask", "dry-run": "only show what would be done"}


@task(
    iterable=["subproject"],
    help={
        **_HELP,
        "subproject": "NAME=X.Y.Z sets a higher version by hand; may be repeated",
    },
)
def prepare(
    subproject: Sequence[str] | None = None,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Write the next versions and changelogs and commit them.

    Shows the changes first. Unchanged subprojects keep their versions.
    """
    from delivery import prompt
    from delivery.release import preparing

    declaration = load_declaration()
    prepared = preparing.plan(declaration, subproject or ())
    console.table(
        "prepare", ("subproject", "last", "next", "why", "files that change"), prepared.rows()
    )
    if not prepared.texts:
        console.say("nothing to do: the files have these versions")
        return
    if dry_run:
        console.say(f"the commit would be: {prepared.subject}")
        return
    prompt.confirm(f"commit this as `{prepared.subject}`", "yes", yes=yes, alternative=_ALTERNATIVE)
    preparing.write(prepared)


@task(
    help={
        **_HELP,
        "push": "the remote to push the tags to; default: keep them in this clone",
        "unpublished": "also tag without a release in the registry",
    }
)
def finish(
    push: str = "",
    yes: bool = False,
    dry_run: bool = False,
    unpublished: bool = False,
) -> None:
    """Tag the release of this branch.

    On main or master, once the registry has the release of these sources.
    """
    from delivery import prompt
    from delivery.release import finishing

    declaration = load_declaration()
    remote = f"{push} ({finishing.remote_address(push)})" if push else ""
    tagging = finishing.plan(declaration, unpublished=unpublished)
    tagging.show(remote)
    if not dry_run and (tagging.tags or (push and tagging.names)):
        doing = f"make the tags{' and push them' if push else ''}"
        prompt.confirm(doing, "yes", yes=yes, alternative=_ALTERNATIVE)
        if tagging.tags:
            finishing.make_tags(tagging.tags)
        if push:
            finishing.push_tags(tagging.names, push)
    if tagging.names:
        console.say("next:")
        for line in finishing.next_commands(
            declaration, tagging.names, tagging.branch, pushed=bool(push) and not dry_run
        ):
            console.say(f"  {line}")
