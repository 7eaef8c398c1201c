"""The problems that keep a commit from being published, and notes on it for people."""

from __future__ import annotations

import re
from shlex import quote

from semver import Version as Number

from delivery.errors import Problem
from delivery.project.gitflow import parse_version_tag
from delivery.project.preparation import develop_commands, unprepared
from delivery.project.versions import Checkout, newer_tags, published_subprojects
from delivery.words import plural, shorten

__all__ = ["git_problems", "hotfix_commands", "notes"]

_BRANCH_VERSION = re.compile(r"(?:^|/)v?([0-9]+(?:\.[0-9]+){0,2})(?:\.x)?$")


def git_problems(checkout: Checkout) -> list[Problem]:
    """The problems of a checkout, each with the command that solves it; none on a feature.

    Uncommitted files are the only one: committed, they may make or solve any other.
    """
    if not checkout.decision.pushes:
        return []
    if files := checkout.facts.uncommitted:
        message = f"{plural(len(files), 'file')} not committed ({shorten(files)})"
        them = "it" if len(files) == 1 else "them"
        hint = (
            f"commit or ignore {them}, or put {them} aside with `git stash --include-untracked`;"
            " `./run inv up` runs this clone as it is"
        )
        return [Problem(message, hint)]
    problems = list[Problem]()
    if checkout.decision.ref.kind == "tag":
        problems += _tag_problems(checkout)
    if checkout.decision.rules.prepared:
        problems += _version_problems(checkout)
    return problems


def notes(checkout: Checkout) -> list[str]:
    """Notes on a checkout that stop nothing, each a sentence."""
    return [
        *_ref_notes(checkout),
        *(_unmerged_notes(checkout) or _unmerged_tag_notes(checkout)),
        *_branch_name_notes(checkout),
        *_missing_tag_notes(checkout),
    ]


def hotfix_commands(version: str, branch: str, *, bump: bool = False) -> str:
    """The commands that create a hotfix branch and prepare its release; bump raises the version."""
    hotfix = Number.parse(version).bump_patch() if bump else version
    return f"git switch -c hotfix/{hotfix} {branch} && ./run inv release.prepare"


def _tag_problems(checkout: Checkout) -> list[Problem]:
    """The problems of building a version tag."""
    name, facts = checkout.decision.ref.name, checkout.facts
    if not (parsed := parse_version_tag(name, checkout.declaration)):
        return []
    subproject, version = parsed
    written = checkout.versions[subproject].written
    commit = next((tag.commit for tag in facts.tags if tag.name == name), None)
    if commit is None:
        return [Problem(f"this clone has no tag {name}", "run `git fetch --tags`")]
    if commit != facts.commit:
        message = f"tag {name} is on {commit[:12]}, and HEAD is {facts.commit[:12]}"
        return [Problem(message, f"run `git checkout {name}`")]
    if written != version:
        message = f"tag {name} is for {version}, and the files of {subproject} say {written}"
        hint = f"run `git tag --delete {name}`, then `./run inv release.finish` on the release line"
        return [Problem(message, hint)]
    return []


def _version_problems(checkout: Checkout) -> list[Problem]:
    """The versions that are not prepared, or that another commit has already."""
    problems = list[Problem]()
    unmerged = {tag.name for tag in checkout.facts.tags if not tag.merged}
    for name in published_subprojects(checkout.declaration, checkout.decision):
        version = checkout.versions[name]
        if (tag := f"{name}-v{version.next}") in unmerged:
            message = f"tag {tag} exists already, on a commit that HEAD lacks"
            problems.append(Problem(message, f"run `git merge {tag}`"))
        else:
            clauses = unprepared({name: version}, checkout.facts.changelogs)
            problems += [Problem(clause, _preparation_hint(checkout)) for clause in clauses]
    decision = checkout.decision
    released = checkout.facts.tags or decision.ref.kind != "branch"
    if problems and decision.rules.releases and not released:
        return [_first_release_problem(checkout)]
    return problems


def _first_release_problem(checkout: Checkout) -> Problem:
    """The problem of the release line before the first release: a hotfix has nothing to fix."""
    name, develop = checkout.decision.ref.name, checkout.declaration.gitflow.develop[0]
    return Problem(
        f"nothing is released yet, and {name} publishes only a prepared release",
        f"run `{develop_commands(develop, quote(name))}` if there is no {develop} yet, and prepare"
        " the first release from there (docs/releasing.md)",
    )


def _preparation_hint(checkout: Checkout) -> str:
    """How to prepare the release: here, or on a branch off this line."""
    decision = checkout.decision
    if decision.rules.prepares and decision.ref.kind == "branch":
        return "run `./run inv release.prepare`"
    ref = quote(decision.ref.name)
    into = checkout.declaration.gitflow.release[0] if decision.ref.kind == "tag" else ref
    return f"run `{hotfix_commands(checkout.release, ref)}`, then merge that branch into {into}"


def _ref_notes(checkout: Checkout) -> list[str]:
    ref, checked_out = checkout.decision.ref, checkout.facts.checked_out
    if not ref.kind:
        how = "pass `--branch NAME`, or set BRANCH_NAME as Jenkins does"
        return [f"HEAD is detached, and no branch is given: {how}"]
    if ref.kind == "branch" and checked_out not in {"", ref.name}:
        return [f"git has {checked_out} checked out, and this is decided for {ref.name}"]
    return []


def _unmerged_notes(checkout: Checkout) -> list[str]:
    """The release line's commits that develop, or the branch of a release, lacks."""
    if not (unmerged := checkout.facts.unmerged):
        return []
    lines, ref = checkout.declaration.gitflow, checkout.decision.ref.name
    releases = checkout.decision.rules.releases
    ahead, behind = (ref, lines.develop[0]) if releases else (lines.release[0], ref)
    shown = shorten([f"{commit.sha[:9]} {commit.subject}" for commit in unmerged])
    commits = plural(len(unmerged), "commit")
    return [f"{behind} lacks {commits} of {ahead} ({shown}): merge {ahead} into {behind}"]


def _unmerged_tag_notes(checkout: Checkout) -> list[str]:
    newer = [newer_tags(checkout.facts.tags, name) for name in checkout.versions]
    return [
        f"{tags[0].name} is not in HEAD's history: its changes may be missing here"
        for tags in newer
        if tags
    ]


def _branch_name_notes(checkout: Checkout) -> list[str]:
    """A note if a release or hotfix branch has the name of another version."""
    rules, name = checkout.decision.rules, checkout.decision.ref.name
    if not (rules.prepares and rules.prepared) or not (named := _BRANCH_VERSION.search(name)):
        return []
    release, chart = checkout.release, checkout.declaration.chart.folder
    if f"{release}.".startswith(f"{named[1]}."):
        return []
    subproject = checkout.declaration.subproject_of(chart)
    return [f"the branch is called {name}, but the release is {subproject} {release}"]


def _missing_tag_notes(checkout: Checkout) -> list[str]:
    tagged = {tag.subproject for tag in checkout.facts.tags}
    if not (missing := [name for name in checkout.versions if name not in tagged]):
        return []
    names = ", ".join(missing)
    hint = "if the server has it, run `git fetch --tags`"
    return [f"this clone has no version tag of {names}: {hint}"]
