"""What git and the files say against publishing a commit, and what people should know of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from shlex import quote

from semver import Version as Number

from delivery.errors import Problem
from delivery.project.gitflow import parse_version_tag
from delivery.project.preparation import unprepared
from delivery.project.versions import Checkout, newer_tags, published_subprojects

__all__ = ["git_problems", "hotfix_commands", "notes", "plural", "shorten"]

_SHOWN = 3  # so many examples make a sentence
_BRANCH_VERSION = re.compile(r"(?:^|/)v?([0-9]+(?:\.[0-9]+){0,2})(?:\.x)?$")


def shorten(names: Sequence[str]) -> str:
    """The first few names, as a part of a sentence."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def plural(items: Sequence[str], what: str) -> str:
    """How many there are, as a part of a sentence."""
    return f"{len(items)} {what}{'' if len(items) == 1 else 's'}"


def git_problems(checkout: Checkout) -> list[Problem]:
    """Each problem with the command that solves it; none where the line publishes nothing."""
    if not checkout.decision.pushes:
        return []
    found = list[Problem]()
    if files := checkout.facts.uncommitted:
        found.append(
            Problem(
                f"{plural(files, 'file')} not in the commit ({shorten(files)}): what is pushed has to be in git",
                "`git stash --include-untracked` puts them aside; or commit or ignore them",
            )
        )
    if checkout.decision.ref.kind == "tag":
        found += _of_tag(checkout)
    if checkout.decision.rules.prepared:
        found += _of_versions(checkout)
    return found


def notes(checkout: Checkout) -> list[str]:
    """What a user should know and nothing is stopped for, each as a sentence."""
    return [
        *_notes_of_ref(checkout),
        *(_notes_of_unmerged(checkout) or _notes_of_tags_elsewhere(checkout)),
        *_notes_of_branch_name(checkout),
        *_notes_of_missing_tags(checkout),
    ]


def hotfix_commands(version: str, branch: str, *, bump: bool = False) -> str:
    """The commands that make a hotfix branch and prepare the release of it."""
    number = Number.parse(version)
    hotfix = number.bump_patch() if bump else number
    return f"git switch -c hotfix/{hotfix} {branch} && ./run inv release.prepare"


def _of_tag(checkout: Checkout) -> list[Problem]:
    """What keeps the commit of a version's tag from being that version."""
    name, facts = checkout.decision.ref.name, checkout.facts
    if not (version_of := parse_version_tag(name, checkout.declaration)):
        return []
    subproject, version = version_of
    written = checkout.versions[subproject].written
    commit = next((tag.commit for tag in facts.tags if tag.name == name), None)
    if commit is None:
        problem = Problem(f"this clone has no tag {name}", "`git fetch --tags` gets it")
    elif commit != facts.commit:
        where = f"tag {name} is on {commit[:12]}, and HEAD is {facts.commit[:12]}"
        problem = Problem(where, f"`git checkout {name}`")
    elif written != version:
        problem = Problem(
            f"tag {name} says {version}, and the files of {subproject} say {written}",
            f"`git tag --delete {name}`, then `./run inv release.finish` on the release line makes it",
        )
    else:
        return []
    return [problem]


def _of_versions(checkout: Checkout) -> list[Problem]:
    """What is not prepared, and what is released elsewhere already."""
    found = list[Problem]()
    for name in published_subprojects(checkout.declaration, checkout.decision):
        version = checkout.versions[name]
        tag = next(
            (tag for tag in checkout.facts.tags if tag.name == f"{name}-v{version.next}"), None
        )
        if tag and not tag.merged:
            message = f"{tag.name} is a tag already, on a commit that HEAD does not have"
            found.append(Problem(message, f"`git merge {tag.name}`"))
        else:
            clauses = unprepared({name: version}, checkout.facts.changelogs)
            found += [Problem(clause, _to_prepare(checkout)) for clause in clauses]
    return found


def _to_prepare(checkout: Checkout) -> str:
    """The command that prepares the release, where this line may do so, else off it."""
    decision = checkout.decision
    if decision.rules.prepares and decision.ref.kind == "branch":
        return "`./run inv release.prepare` writes and commits it"
    ref = quote(decision.ref.name)
    into = checkout.declaration.gitflow.release[0] if decision.ref.kind == "tag" else ref
    commands = hotfix_commands(checkout.release, ref)
    return f"`{commands}` writes and commits it: merge that into {into}"


def _notes_of_ref(checkout: Checkout) -> list[str]:
    ref, checked_out = checkout.decision.ref, checkout.facts.checked_out
    if not ref.kind:
        doing = "`--branch NAME` or BRANCH_NAME, as Jenkins sets it, does"
        return [f"HEAD is detached, and nothing says for which branch: {doing}"]
    if ref.kind == "branch" and checked_out not in {"", ref.name}:
        return [f"git has {checked_out} checked out, and this is decided as for {ref.name}"]
    return []


def _notes_of_unmerged(checkout: Checkout) -> list[str]:
    """What develop, or a branch that a release is prepared on, lacks of the release line."""
    if not (unmerged := checkout.facts.unmerged):
        return []
    lines, ref = checkout.declaration.gitflow, checkout.decision.ref.name
    releases = checkout.decision.rules.releases
    ahead, behind = (ref, lines.develop[0]) if releases else (lines.release[0], ref)
    shown = shorten(
        [f"{sha[:9]} {subject}" for sha, subject in (one.split(" ", 1) for one in unmerged)]
    )
    commits = plural(unmerged, "commit")
    return [f"{behind} lacks {commits} of {ahead} ({shown}): merge {ahead} into {behind}"]


def _notes_of_tags_elsewhere(checkout: Checkout) -> list[str]:
    newer = [newer_tags(checkout.facts.tags, name) for name in checkout.versions]
    return [
        f"{tags[0].name} is not in HEAD's history: what it has may be missing here"
        for tags in newer
        if tags
    ]


def _notes_of_branch_name(checkout: Checkout) -> list[str]:
    """Whether a branch that only release candidates come from is called after another version."""
    rules, name = checkout.decision.rules, checkout.decision.ref.name
    if not (rules.prepares and rules.prepared) or not (said := _BRANCH_VERSION.search(name)):
        return []
    release, chart = checkout.release, checkout.declaration.chart.folder
    if f"{release}.".startswith(f"{said[1]}."):
        return []
    subproject = checkout.declaration.subproject_of(chart)
    expected = f"{subproject}, which the release goes by, is to be {release}"
    return [f"the branch is called {name}, and {expected}"]


def _notes_of_missing_tags(checkout: Checkout) -> list[str]:
    tagged = {tag.subproject for tag in checkout.facts.tags}
    if not (missing := [name for name in checkout.versions if name not in tagged]):
        return []
    fetch = "where the server has one, `git fetch --tags` gets it"
    return [f"there is no version's tag of {', '.join(missing)}: {fetch}"]
