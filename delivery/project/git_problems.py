"""What git and the files say against publishing a commit: each problem with the command that solves it."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

from semver import Version as Number

from delivery.errors import Problem
from delivery.project.declaration import Declaration
from delivery.project.facts import Facts
from delivery.project.gitflow import Decision, Line, rules, version_tag
from delivery.project.preparation import unprepared
from delivery.project.versions import Version, concerned

__all__ = ["hotfix_commands", "of_git"]

_SHOWN = 3  # so many examples make a sentence; the rest is counted


def of_git(
    declaration: Declaration, facts: Facts, decision: Decision, versions: Mapping[str, Version]
) -> list[Problem]:
    """What git and the files say against publishing this; none where the line publishes nothing."""
    if not decision.pushes:
        return []
    found = list[Problem]()
    if facts.uncommitted:
        files = facts.uncommitted
        names = ", ".join(files[:_SHOWN]) + (", …" if len(files) > _SHOWN else "")
        count = "1 file" if len(files) == 1 else f"{len(files)} files"
        found.append(
            Problem(
                f"{count} not in the commit ({names}): what is pushed has to be in git",
                "`git stash --include-untracked` puts them aside; or commit or ignore them",
            )
        )
    if decision.ref.kind == "tag":
        found += _of_tag(declaration, facts, decision, versions)
    if rules(decision.line, declaration.gitflow).prepared:
        found += _of_versions(declaration, facts, decision, versions)
    return found


def _of_tag(
    declaration: Declaration, facts: Facts, decision: Decision, versions: Mapping[str, Version]
) -> list[Problem]:
    name = decision.ref.name
    found = version_tag(name, declaration)
    if found is None:  # no such tag pushes
        return []
    subproject, version = found
    tag = next((tag for tag in facts.tags if tag.name == name), None)
    if tag is None:
        return [Problem(f"this clone has no tag {name}", "`git fetch --tags` gets it")]
    if tag.commit != facts.commit:
        return [
            Problem(f"tag {name} is on {tag.commit[:12]}, and HEAD is {facts.commit[:12]}", f"`git checkout {name}`")
        ]
    if (written := versions[subproject].written) != version:
        return [
            Problem(
                f"tag {name} says {version}, and the files of {subproject} say {written}",
                f"`git tag --delete {name}`, then `./run inv release.finish` on the release line makes it",
            )
        ]
    return []


def _of_versions(
    declaration: Declaration, facts: Facts, decision: Decision, versions: Mapping[str, Version]
) -> list[Problem]:
    """What is not prepared, and what is released elsewhere already."""
    found = list[Problem]()
    hint = _preparing(declaration, decision, versions)
    for name in concerned(declaration, decision):
        version = versions[name]
        taken = [
            tag for tag in facts.tags if tag.subproject == name and tag.version == version.next and not tag.reached
        ]
        if taken:
            message = f"{taken[0].name} is a tag already, on a commit that HEAD does not have"
            found.append(Problem(message, f"`git merge {taken[0].name}`"))
        else:
            clauses = unprepared({name: version}, {name: facts.changelogs.get(name, "")})
            found += [Problem(clause, hint) for clause in clauses]
    return found


def _preparing(declaration: Declaration, decision: Decision, versions: Mapping[str, Version]) -> str:
    """The command that prepares the release, where this line may do so, else off it."""
    if decision.line is Line.CANDIDATE and decision.ref.kind == "branch":
        return "`./run inv release.prepare` writes and commits it"
    ref = quote(decision.ref.name)
    version = versions[declaration.subproject_of(declaration.chart.folder)].next
    into = declaration.gitflow.release[0] if decision.ref.kind == "tag" else ref
    return f"`{hotfix_commands(version, ref)}` writes and commits it: merge that into {into}"


def hotfix_commands(version: str, branch: str, *, bump: bool = False) -> str:
    """The commands that make a hotfix branch and prepare the release of it."""
    number = Number.parse(version)
    return f"git switch -c hotfix/{number.bump_patch() if bump else number} {branch} && ./run inv release.prepare"
