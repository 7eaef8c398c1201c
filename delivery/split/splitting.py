"""Split this repository: a repository for each subproject, with its history and tags."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from delivery import console
from delivery.errors import DeclarationError, check_known
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.words import plural, shorten

__all__ = ["history_refs", "renames", "split"]

# Root files that every repository gets.
_COMMON = (".gitignore", "LICENSE")
_COMPOSE = ("docker-compose.yaml", "ops/docker-compose.apps.yaml")
# ops/repos/NAME/ has the root files of a repository that differ from this one's.
_ROOTS = "ops/repos"


def split(declaration: Declaration, to: Path, only: str = "", root: Path = ROOT) -> list[Path]:
    """Create a repository for each subproject, or only for `only`, in the folder `to`.

    Each has the commits that touch it, its tags, and no remote; this clone does not change. The
    same history gives the same commits, so that a later split continues an earlier split.

    Raises DeclarationError for an unknown subproject, for a folder that is not empty, cannot be
    made or is inside this clone, and for a shallow clone.
    """
    if only:
        message = f"cannot split the repository: --only {only} is no subproject"
        check_known(only, declaration.subprojects, message)
    clone = git.load_clone(root)
    try:
        _check(to, clone)
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeclarationError(
            f"cannot split the repository: {to}: {error.strerror}",
            hint="pass a folder that can be made and written to",
        ) from error
    if changed := git.changes(root):
        console.say(f"{plural(len(changed), 'uncommitted file')} left out: {shorten(changed)}")
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
                made = git.load_clone(repository)
                commits = plural(len(git.history(made)), "commit")
                tags = plural(len(made.tags), "tag")
                step.done(f"{shlex.quote(str(repository))}, {commits}, {tags}")
    except BaseException:
        for repository in repositories:
            shutil.rmtree(repository, ignore_errors=True)
        raise
    return repositories


def renames(declaration: Declaration, name: str) -> dict[str, str]:
    """The paths of a subproject's repository, each with its new path; a folder ends with a slash.

    A subproject's only folder becomes the root (""); several folders keep their names.
    """
    folders = declaration.subprojects[name].folders
    common = {path: path for path in _COMMON}
    if len(folders) == 1:
        return {**common, f"{folders[0]}/": ""}
    compose = {path: path.removeprefix("ops/") for path in _COMPOSE}
    kept = {f"{folder}/": f"{folder}/" for folder in folders}
    return {**common, **compose, **kept, f"{_ROOTS}/{name}/": ""}


def history_refs(declaration: Declaration, clone: git.Clone) -> tuple[str, Mapping[str, str]]:
    """The branch that a new repository has checked out, and the ref of each of its branches.

    It has the branch that is checked out here, else the first release branch, and all develop and
    release branches of this clone.
    """
    flow, branches = declaration.gitflow, clone.branch_refs()
    releases = [name for name in flow.release if name in branches] or flow.release
    current = clone.branch or releases[0]
    kept = {name: branches[name] for name in (*flow.develop, *flow.release) if name in branches}
    return current, {**kept, current: "HEAD"}


def _check(to: Path, clone: git.Clone) -> None:
    problem, hint = "", "pass a new or empty folder"
    if to.exists() and not to.is_dir():
        problem = f"{to} is a file"
    elif to.exists() and any(to.iterdir()):
        problem = f"{to} is not empty"
    elif to.resolve().is_relative_to(clone.root.resolve()):
        problem, hint = f"{to} is inside this clone", "pass a folder elsewhere"
    elif clone.shallow_boundary:
        problem = "this clone is shallow"
        hint = "run `git fetch --unshallow --tags`, then try again"
    if problem:
        raise DeclarationError(f"cannot split the repository: {problem}", hint=hint)
