"""Split this repository: one repository a subproject, with its own history and tags."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from delivery import console
from delivery.errors import DeclarationError, did_you_mean
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT

__all__ = ["history_refs", "renames", "split"]

# What every repository gets from the root of this one.
_COMMON = (".gitignore", "LICENSE")
_COMPOSE = ("docker-compose.yaml", "ops/docker-compose.apps.yaml")
# ops/repos/NAME/ holds the root files of a repository that are not this one's root files.
_ROOTS = "ops/repos"
# Where these were earlier: the same history has to give the same commits as before.
_FORMER_COMMON = ".editorconfig"
_FORMER_COMPOSE = "docker-compose.apps.yaml"
_FORMER_ROOTS = "repos"


def split(declaration: Declaration, to: Path, only: str = "", root: Path = ROOT) -> list[Path]:
    """Make a repository of each subproject, or of one, under the folder `to`.

    Each has the commits that touch it, its own tags, and no remote; this clone is not changed. The
    same history gives the same commits, so a later split continues where an earlier one ended.
    Raises DeclarationError for an unknown subproject, a folder that is not empty or inside of this
    clone, and a shallow clone.
    """
    if only and only not in declaration.subprojects:
        known = declaration.subprojects
        raise DeclarationError(
            f"cannot split the repository: --only {only} is no subproject",
            hint=did_you_mean(only, known, f"one of {', '.join(known)}"),
        )
    clone = git.load_clone(root)
    _check(to, clone)
    if changed := git.changes(root):
        listed = ", ".join(changed[:3])
        console.say(f"{len(changed)} uncommitted files get into no repository: {listed}")
    current, refs = history_refs(declaration, clone)
    repositories = list[Path]()
    try:
        for name in [only] if only else declaration.subprojects_in_order():
            repository = to / name
            repositories.append(repository)
            with console.step(f"split {name}") as step:
                git.copy_history(
                    root, repository, checked_out=current, branches=refs, tags=f"{name}-v*"
                )
                git.filter_history(
                    repository, renames=renames(declaration, name), on_line=step.line
                )
                commits, tags = git.log(repository, "HEAD"), git.tags(repository)
                step.done(f"{repository}, {len(commits)} commits, {len(tags)} tags")
    except BaseException:
        for repository in repositories:
            shutil.rmtree(repository, ignore_errors=True)
        raise
    return repositories


def renames(declaration: Declaration, name: str) -> dict[str, str]:
    """The paths of a subproject's repository, each with its new path; a folder ends with a slash.

    The only folder of a subproject becomes the root (""); several stay beside each other.
    """
    folders = declaration.subprojects[name].folders
    common = {path: path for path in (*_COMMON, _FORMER_COMMON)}
    if len(folders) == 1:
        return {**common, f"{folders[0]}/": ""}
    compose = {path: path.removeprefix("ops/") for path in (*_COMPOSE, _FORMER_COMPOSE)}
    roots = {f"{folder}/{name}/": "" for folder in (_ROOTS, _FORMER_ROOTS)}
    return {**common, **compose, **{f"{folder}/": f"{folder}/" for folder in folders}, **roots}


def history_refs(declaration: Declaration, clone: git.Clone) -> tuple[str, Mapping[str, str]]:
    """The branch that a new repository has checked out, and its branches with the refs they come from.

    The branch is the one checked out here, else the first release branch that exists. Beside it
    stand the develop and release branches that exist.
    """
    flow, branches = declaration.gitflow, clone.branch_refs()
    releases = [name for name in flow.release if name in branches] or flow.release
    current = clone.branch or releases[0]
    kept = {name: branches[name] for name in (*flow.develop, *flow.release) if name in branches}
    return current, {**kept, current: "HEAD"}


def _check(to: Path, clone: git.Clone) -> None:
    cannot = "cannot split the repository:"
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        state = "is not empty" if to.is_dir() else "is a file"
        raise DeclarationError(f"{cannot} {to} {state}", hint="name a folder that is new or empty")
    if to.resolve().is_relative_to(clone.root.resolve()):
        raise DeclarationError(
            f"{cannot} {to} is inside of this clone", hint="name a folder elsewhere"
        )
    if clone.shallow_boundary:
        hint = "run `git fetch --unshallow --tags`, then try again"
        raise DeclarationError(f"{cannot} this clone lacks a part of its history", hint=hint)
