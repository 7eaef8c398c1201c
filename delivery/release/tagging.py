"""What `inv release.finish` tags: each subproject's version that is prepared, published, and has no tag yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from delivery.errors import DeclarationError
from delivery.project import changelog
from delivery.project.declaration import Declaration
from delivery.project.facts import Facts
from delivery.project.gitflow import Decision, Line
from delivery.project.preparation import unprepared
from delivery.project.versions import Version
from delivery.release.released import Release

__all__ = ["NewTag", "chart_version", "differences", "new_tags"]


@dataclass(frozen=True)
class NewTag:
    """A tag to be made: its name, and its message, which is what the changelog says of the version."""

    name: str
    subproject: str
    version: str
    message: str


def new_tags(
    declaration: Declaration,
    facts: Facts,
    decision: Decision,
    versions: Mapping[str, Version],
    changelogs: Mapping[str, str],
) -> list[NewTag]:
    """The tags of a release; changelogs are by subproject.

    Raises DeclarationError on any other line than the release line's branch, with changes that are not committed, when the
    versions are not prepared, and when a tag is taken by a commit that this one does not have in its history.
    """
    if decision.line is not Line.RELEASE or decision.ref.kind != "branch":
        raise DeclarationError(
            f"finish the release: {decision.ref.name or 'what is checked out'} is not the release line",
            hint=f"merge the release branch into {declaration.gitflow.release[0]}, and run it there",
        )
    if facts.uncommitted:
        raise DeclarationError(
            f"finish the release: {len(facts.uncommitted)} files are not committed ({', '.join(facts.uncommitted[:3])})",
            hint="commit them on a branch of their own, or undo them: a tag stands for a commit",
        )
    if missing := unprepared(versions, changelogs):
        raise DeclarationError(
            "finish the release: it is not prepared",
            details="\n".join(missing),
            hint="on a hotfix or release branch `./run inv release.prepare`, merge that, and run it again",
        )
    wanted = {name: version for name, version in versions.items() if version.changed}
    taken = {(tag.subproject, tag.version): tag.name for tag in facts.tags}
    if there := [taken[name, version.next] for name, version in wanted.items() if (name, version.next) in taken]:
        raise DeclarationError(
            f"finish the release: {', '.join(there)} is the tag of another commit already",
            hint="a version is never given twice: merge that commit, or prepare a higher version",
        )
    return [
        NewTag(f"{name}-v{version.next}", name, version.next, _message(name, version.next, changelogs[name]))
        for name, version in wanted.items()
    ]


def chart_version(declaration: Declaration, versions: Mapping[str, Version]) -> str:
    """The version that the whole release goes by: the chart's."""
    return versions[declaration.subproject_of(declaration.chart.folder)].next


def differences(release: Release, planned: Mapping[str, tuple[str, str]]) -> list[str]:
    """How a release that the registry holds differs from these sources, each as a clause.

    planned has, for each image and for "chart", its version and the content key of the sources.
    """
    there = {name: (version, key) for name, (version, key, _digest) in release.content.items()}
    found = [f"it has no {name}" for name in planned if name not in there]
    for name, (version, key) in planned.items():
        if name not in there:
            continue
        if there[name][0] != version:
            found.append(f"its {name} is {there[name][0] or 'of no version'}, and {version} is to be tagged")
        elif there[name][1] != key:
            found.append(f"its {name} was made from {there[name][1]}, and the sources here are {key}")
    return found


def _message(name: str, version: str, text: str) -> str:
    return f"{name} {version}\n\n{changelog.section(text, version)}\n".rstrip() + "\n"
