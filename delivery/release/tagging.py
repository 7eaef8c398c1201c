"""The tags that `inv release.finish` makes: of each prepared version without a tag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from delivery.errors import DeclarationError
from delivery.project import changelog
from delivery.project.preparation import unprepared
from delivery.project.versions import Checkout
from delivery.words import plural, shorten

__all__ = ["NewTag", "new_tags"]


@dataclass(frozen=True)
class NewTag:
    """A tag to make, with the version's section of the changelog as its message."""

    name: str
    message: str


def new_tags(checkout: Checkout) -> list[NewTag]:
    """The tags of a release.

    Raises DeclarationError on another branch than the release line's, with uncommitted changes, for
    versions that are not prepared, and for a tag that a commit outside its history has.
    """
    decision, facts = checkout.decision, checkout.facts
    lines, ref = checkout.declaration.gitflow, decision.ref
    if not decision.rules.releases or ref.kind != "branch":
        raise DeclarationError(
            f"cannot finish the release: {ref.name or 'this commit'} is not on the release line",
            hint=f"merge the release branch into {lines.release[0]}, and finish on that branch",
        )
    if facts.uncommitted:
        raise DeclarationError(
            f"cannot finish the release: {plural(len(facts.uncommitted), 'file')} not committed "
            f"({shorten(facts.uncommitted)})",
            hint="commit them on another branch, or undo them: a tag names a commit",
        )
    if missing := unprepared(checkout.versions, facts.changelogs):
        raise DeclarationError(
            "cannot finish the release: it is not prepared",
            details="\n".join(missing),
            hint="run `./run inv release.prepare` on a hotfix or release branch, merge it, and "
            "finish again",
        )
    changed = [version for version in checkout.versions.values() if version.changed]
    tags = {f"{version.subproject}-v{version.next}": version for version in changed}
    if taken := [tag.name for tag in facts.tags if tag.name in tags]:
        raise DeclarationError(
            f"cannot finish the release: {', '.join(taken)} is already a tag of another commit",
            hint="merge that commit, or prepare a higher version: no version is given twice",
        )
    return [
        NewTag(tag, _message(version.subproject, version.next, facts.changelogs))
        for tag, version in tags.items()
    ]


def _message(name: str, version: str, changelogs: Mapping[str, str]) -> str:
    section = changelog.section(changelogs[name], version) or ""
    return f"{name} {version}\n\n{section}".rstrip() + "\n"
