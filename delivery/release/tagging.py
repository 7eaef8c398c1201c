"""What `inv release.finish` tags: each version that is prepared and has no tag yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from delivery.errors import DeclarationError
from delivery.project import changelog
from delivery.project.notices import shorten
from delivery.project.preparation import unprepared
from delivery.project.versions import Checkout

__all__ = ["NewTag", "new_tags"]


@dataclass(frozen=True)
class NewTag:
    """A tag to be made, with what the changelog says of the version as its message."""

    name: str
    message: str


def new_tags(checkout: Checkout) -> list[NewTag]:
    """The tags of a release.

    Raises DeclarationError on any other line than the release line's branch, with changes that are
    not committed, when the versions are not prepared, and when a tag is taken by a commit that this
    one does not have in its history.
    """
    decision, facts = checkout.decision, checkout.facts
    lines, ref = checkout.declaration.gitflow, decision.ref
    if not decision.rules.releases or ref.kind != "branch":
        raise DeclarationError(
            f"cannot finish the release: {ref.name or 'what is checked out'} is not the release line",
            hint=f"merge the release branch into {lines.release[0]}, and run it there",
        )
    if facts.uncommitted:
        raise DeclarationError(
            f"cannot finish the release: {len(facts.uncommitted)} files are not committed ({shorten(facts.uncommitted)})",
            hint="commit them on a branch of their own, or undo them: a tag stands for a commit",
        )
    if missing := unprepared(checkout.versions, facts.changelogs):
        raise DeclarationError(
            "cannot finish the release: it is not prepared",
            details="\n".join(missing),
            hint="on a hotfix or release branch `./run inv release.prepare`, merge that, and run it again",
        )
    changed = [version for version in checkout.versions.values() if version.changed]
    wanted = {f"{version.subproject}-v{version.next}": version for version in changed}
    if taken := [tag.name for tag in facts.tags if tag.name in wanted]:
        raise DeclarationError(
            f"cannot finish the release: {', '.join(taken)} is the tag of another commit already",
            hint="a version is never given twice: merge that commit, or prepare a higher version",
        )
    return [
        NewTag(tag, _message(version.subproject, version.next, facts.changelogs))
        for tag, version in wanted.items()
    ]


def _message(name: str, version: str, changelogs: Mapping[str, str]) -> str:
    section = changelog.section(changelogs[name], version) or ""
    return f"{name} {version}\n\n{section}".rstrip() + "\n"
